"""The picture of an experiment whose outcome was predicted before it was run."""

from matplotlib.figure import Figure

from efftx.plots.colours import QUIET
from efftx.plots.figures import course_style, new_figure
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
