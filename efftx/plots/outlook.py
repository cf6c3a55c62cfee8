"""The pictures of chapter 15: what models could read, and what they used of themselves, by date.

Each point is a `Milestone`, which says where its number stands in the words of whoever made the
model. A model whose numbers were not found there is not in the picture.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from efftx.numbers.outlook import LENGTHS, MILLION, SHARES, Milestone
from efftx.plots.colours import BLUE, INK, ORANGE, QUIET
from efftx.plots.figures import course_style, new_figure


@course_style()
def draw_lengths(milestones: Sequence[Milestone] = LENGTHS, *, promised: int = MILLION) -> Figure:
    """Tokens read at once by date, and a line at what the talk promised."""
    figure, ax = new_figure(9, 4.4)
    _scatter(ax, milestones)
    ax.axhline(promised, color=QUIET, linestyle="--", linewidth=1)
    ax.annotate(
        "the talk's million", (0, promised), (4, 4), ("axes fraction", "data"), "offset points"
    )
    ax.set_yscale("log", base=2)
    ticks = [2**n for n in range(9, 25, 3)]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.set(ylabel="tokens", ylim=(2**8, 2**25))
    ax.legend(loc="lower right")
    return figure


@course_style()
def draw_shares(milestones: Sequence[Milestone] = SHARES, *, ours: float | int) -> Figure:
    """Parameters that a token uses, of all, by date; a line at the course's Terraformer."""
    figure, ax = new_figure(9, 4)
    _scatter(ax, milestones)
    ax.axhline(ours, color=QUIET, linestyle="--", linewidth=1)
    place = (0, ours), (4, 4), ("axes fraction", "data"), "offset points"
    ax.annotate("a Terraformer of 10 billion, counted here", *place)
    ax.set_yscale("log")
    ax.set_yticks([0.01, 0.03, 0.1, 0.3, 1])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    ax.minorticks_off()
    ax.set(ylabel="used for a token", ylim=(0.01, 1.6))
    return figure


def _scatter(ax: Axes, milestones: Sequence[Milestone]) -> None:
    """A point for each, filled where it was offered, and its name above it or below."""
    for tested, name, face in ((False, "offered", BLUE), (True, "tried", "white")):
        here = [one for one in milestones if one.tested == tested]
        if here:
            x, y = [one.date for one in here], [one.value for one in here]
            edge = ORANGE if tested else BLUE
            ax.scatter(x, y, s=42, facecolor=face, edgecolor=edge, label=name, zorder=3)
    for one in milestones:
        ax.annotate(
            one.name,
            (one.date, one.value),
            (0, -8 if one.below else 8),
            textcoords="offset points",
            ha="center",
            va="top" if one.below else "bottom",
            color=INK,
            fontsize=8,
        )
    years = range(min(one.year for one in milestones), max(one.year for one in milestones) + 2)
    ax.set_xticks(years, [str(year) for year in years])
    ax.set_xlim(years[0] - 0.3, years[-1] + 0.2)
