"""The pictures of chapter 03: blocks undone one by one, memory and drift against depth, BLEU."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efftx.numbers.reversible_layers import errors_by_level
from efftx.plots.colours import GREY, INK, MARKERS, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import named_line

MIB = 2**20
EMPTY = "#F2F2F2"
FLOOR = 1e-9  # relative errors below it, and 0, are drawn here


@course_style()
def draw_inversion(stored: np.ndarray, rebuilt: np.ndarray, n_undone: int | None = None) -> Figure:
    """The first stream on its way up, on its way down, and how far the two are apart.

    Both are (levels, 2, length, d_model): the input, then what each block leaves. Only what the
    first ``n_undone`` steps down have rebuilt is drawn, by default everything.
    """
    top = len(stored) - 1
    lowest = 0 if n_undone is None else top - n_undone
    figure, axes = new_figure(
        9, 4.4, nrows=3, ncols=top + 1, sharey="row", height_ratios=(1.2, 1.2, 1)
    )
    for level in range(top + 1):
        shade = np.abs(stored[level, 0]).max()
        _draw_stream(axes[0, level], stored[level, 0], shade)
        _draw_stream(axes[1, level], rebuilt[level, 0] if level >= lowest else None, shade)
        axes[0, level].set_title("input" if level == 0 else f"block {level}", fontsize=9)
    axes[0, 0].set_ylabel("forward →", weight="bold")
    axes[1, 0].set_ylabel("← rebuilt", weight="bold")
    _draw_level_errors(axes[2], errors_by_level(stored, rebuilt), lowest)
    _frame(axes[0, top], INK)
    _frame(axes[1, lowest], ORANGE)
    return figure


def _draw_stream(ax: Axes, stream: np.ndarray | None, shade: float) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    if stream is None:
        ax.set_facecolor(EMPTY)
    else:
        ax.imshow(stream, cmap="RdBu", vmin=-shade, vmax=shade, interpolation="none", aspect="auto")


def _frame(ax: Axes, colour: str) -> None:
    for side in ax.spines.values():
        side.set(visible=True, edgecolor=colour, linewidth=2.5)


def _draw_level_errors(axes, errors: np.ndarray, lowest: int) -> None:
    for level, ax in enumerate(axes):
        ax.set_yscale("log")
        ax.set(ylim=(FLOOR / 2, 1e-4), xlim=(-1, 1), xticks=[])
        ax.set_yticks([FLOOR, 1e-7, 1e-5], ["0", "$10^{-7}$", "$10^{-5}$"])
        ax.minorticks_off()
        if level >= lowest:
            ax.plot([0], [max(errors[level], FLOOR)], "o", color=ORANGE)
    axes[0].set_ylabel("relative\nerror")


def undo_blocks(n_undone: int, *, stored: np.ndarray, rebuilt: np.ndarray) -> None:
    """Widget callback: the picture after so many steps down."""
    top = len(stored) - 1
    level = top - n_undone
    error = errors_by_level(stored, rebuilt)[level]
    where = "the input" if level == 0 else f"what block {level} left"
    if n_undone == 0:
        said = "Nothing is undone yet: in memory are the two streams after the last block."
    else:
        blocks = "1 block is" if n_undone == 1 else f"{n_undone} blocks are"
        said = (
            f"{blocks} undone. In memory are two streams, and they are {where}, "
            f"with a relative error of {error:.1e}."
        )
    show(draw_inversion(stored, rebuilt, n_undone), said)


@course_style()
def draw_memory(depths, n_bytes: dict[str, np.ndarray]) -> Figure:
    """Temporary memory of a training step against the number of blocks, a line for each way."""
    figure, ax = new_figure(7, 3.6)
    for (name, values), marker in zip(n_bytes.items(), MARKERS, strict=False):
        named_line(ax, depths, np.asarray(values) / MIB, name, marker=marker)
    ax.set(xlabel="blocks", ylabel="temporary memory (MiB)", xticks=depths)
    ax.set_xlim(0, depths[-1] * 1.3)
    ax.set_ylim(bottom=0)
    return figure


@course_style()
def draw_drift(n_undone, errors: dict[str, np.ndarray]) -> Figure:
    """Relative error of the streams against the number of blocks undone, a line for each dtype."""
    figure, ax = new_figure(7, 3.6)
    for (name, values), marker in zip(errors.items(), MARKERS, strict=False):
        named_line(ax, n_undone, values, name, marker=marker)
    ax.set_yscale("log")
    ax.set_xscale("log", base=2)
    ax.set_xticks(n_undone, [str(n) for n in n_undone])
    ax.set(xlabel="blocks undone", ylabel="relative error of the rebuilt streams")
    ax.set_xlim(right=n_undone[-1] * 4)
    return figure


@course_style()
def draw_bleu(plain, reversible, interval) -> Figure:
    """Each seed's pair of scores, and the mean of the differences with its 95 % interval."""
    plain, reversible = np.asarray(plain), np.asarray(reversible)
    figure, (scores, gap) = new_figure(9, 3.2, ncols=2, width_ratios=(2, 1))
    seeds = np.arange(len(plain))
    for x, y, name, marker in (
        (seeds - 0.06, plain, "plain", "o"),
        (seeds + 0.06, reversible, "reversible", "s"),
    ):
        scores.plot(x, y, marker, label=name, markersize=7)
    scores.set(xlabel="seed", ylabel="BLEU, held-out numbers", xticks=seeds)
    scores.legend()
    differences = reversible - plain
    gap.axhline(0, color=INK, linewidth=1)
    gap.plot(np.zeros(len(seeds)), differences, "o", color=GREY, label="one seed")
    mean = differences.mean()
    reach = [[mean - interval[0]], [interval[1] - mean]]
    gap.errorbar(
        [0.5], [mean], yerr=reach, fmt="D", color=ORANGE, capsize=5, label="mean, 95 % interval"
    )
    gap.set(ylabel="reversible − plain (BLEU)", xticks=[], xlim=(-0.6, 1.1))
    gap.legend(loc="upper center", bbox_to_anchor=(0.5, -0.03))
    return figure
