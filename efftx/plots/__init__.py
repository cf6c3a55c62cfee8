"""Figures and widget callbacks: they take arrays and know no model."""

from efftx.plots.figures import course_style, new_figure, png, show

__all__ = ["course_style", "new_figure", "png", "show"]
