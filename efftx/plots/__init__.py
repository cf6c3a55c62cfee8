"""Figures and widget callbacks: they take arrays and know no model."""

from efftx.plots.figures import new_figure, png, show

__all__ = ["new_figure", "png", "show"]
