"""What was predicted before it was measured, in the picture of what was measured.

In an exercise `draw_experiment` is given the prediction. In a chapter `ask` shows a box for a
number, and its `Asked.show` a figure into which whatever the reader types there is drawn, before
the figure was made or after. Without a kernel, or a number, the figure stands alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import ipywidgets as widgets
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efftx.plots.colours import QUIET
from efftx.plots.figures import course_style, new_figure, page
from efftx.plots.parts import named_line

PREDICTED = "C3"  # none of the curves has it


@course_style()
def draw_experiment(
    curves: dict[str, dict], x: str, y: str, *, predicted=None, limit=None, log: str = "xy"
) -> Figure:
    """What was measured, and where the prediction lies.

    ``curves`` holds y by x by name, ``predicted`` is a place on the x axis, ``limit`` a pair of a
    name and a height. ``log`` names the axes that are logarithmic.
    """
    figure, ax = new_figure(7.5, 3.8)
    for name, points in curves.items():
        named_line(ax, list(points), list(points.values()), name, marker="o")
    if limit is not None:
        name, height = limit
        ax.axhline(height, color=QUIET, linewidth=1, linestyle="--")
        ax.annotate(
            name, (0, height), (4, 4), ("axes fraction", "data"), "offset points", color=QUIET
        )
    if predicted is not None:
        ax.axvline(predicted, color=PREDICTED, linewidth=1.5, linestyle=":")
        place = (predicted, 1), (0, 4), ("data", "axes fraction"), "offset points"
        ax.annotate("you predicted", *place, ha="center", color=PREDICTED)
    if "x" in log:
        ticks = sorted({place for points in curves.values() for place in points})
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
    if "y" in log:
        ax.set_yscale("log")
    ax.set(xlabel=x, ylabel=y)
    return figure


def ask(what: str, *, along: Literal["x", "y"] = "y", panel: int = 0) -> "Asked":
    """A box for a guess of ``what``, a number on this axis of the figure's panel."""
    look = {"style": {"description_width": "initial"}, "layout": {"width": "32em"}}
    box = widgets.Text(
        description=f"Your guess, {what}:", placeholder="a number", continuous_update=False, **look
    )
    asked = Asked(box, widgets.Label(), along, panel)
    display(widgets.HBox([asked.box, asked.reply]))
    return asked


@dataclass(frozen=True)
class Asked:
    """A guess that is asked for: nothing until the reader types it, and what they like after."""

    box: widgets.Text
    reply: widgets.Label  # what is wrong with it, if something is
    along: str
    panel: int

    @property
    def number(self) -> float | None:
        return number_in(self.box.value)

    def show(self, figure: Figure, caption: str) -> None:
        """Display the figure with its caption, as `efftx.plots.show` does, and the guess in it."""
        handle = display(self._page(figure, caption), display_id=True)
        self.box.observe(lambda _: handle.update(self._page(figure, caption)), "value")

    def _page(self, figure: Figure, caption: str):
        ax = figure.axes[self.panel]
        self.reply.value = self._objection(ax)
        if self.number is None or self.reply.value:
            return page(figure, caption)
        with marked(ax, self.along, self.number):
            return page(figure, caption)

    def _objection(self, ax: Axes) -> str:
        text = self.box.value.strip()
        if text and self.number is None:
            return f"“{text}” is no number. Type one like 12, 0.5 or 3e6."
        logarithmic = getattr(ax, f"get_{self.along}scale")() == "log"
        return "It is more than 0." if text and logarithmic and self.number <= 0 else ""


def number_in(text: str) -> float | None:
    """The number that a reader typed, with or without commas; None where it is none."""
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


@contextmanager
@course_style()
def marked(ax: Axes, along: str, number: float) -> Iterator[None]:
    """Within the block a line stands at the number, and the axis reaches it."""
    limits, set_limits = getattr(ax, f"get_{along}lim")(), getattr(ax, f"set_{along}lim")
    line = (ax.axhline if along == "y" else ax.axvline)(
        number, color=PREDICTED, linewidth=1.5, linestyle=":"
    )
    place = (1, number) if along == "y" else (number, 1)
    where = ("axes fraction", "data") if along == "y" else ("data", "axes fraction")
    name = ax.annotate(
        "your guess", place, (0, 4), where, "offset points", ha="right", color=PREDICTED
    )
    set_limits(min(*limits, number), max(*limits, number))
    yield
    set_limits(limits)
    line.remove()
    name.remove()
