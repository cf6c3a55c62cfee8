"""Figures and widget callbacks: they take arrays and know no model."""

from efftx.plots.figures import course_style, new_figure, png, show
from efftx.plots.guesses import ask

__all__ = ["ask", "course_style", "new_figure", "png", "show"]
