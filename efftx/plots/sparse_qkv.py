"""The pictures of chapter 11: what a token reads, what D and E make, what a kernel sees, losses."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import StrMethodFormatter

from efftx.numbers.errors import relative_error
from efftx.numbers.sparse_qkv import CONTENTS, divisors, example_matrix
from efftx.plots.colours import BUCKET_COLOURS, INK, MARKERS, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import name_bars, running_mean, stacked_bars
from efftx.sparsity import n_dense_attention, n_multiplicative, n_sparse_qkv

BYTES = 4  # of a float32 number
LINES = ("-", "--", ":")


# What a token reads


@course_style()
def draw_reads(reads: dict[str, dict[str, int]], seconds: dict[str, float]) -> Figure:
    """Left: the weights that a token reads of each kind of block, by part; right: seconds."""
    figure, (left, right) = new_figure(9, 2.9, ncols=2, sharey=True, width_ratios=[1.6, 1])
    megabytes = {
        name: {part: number * BYTES / 1e6 for part, number in numbers.items()}
        for name, numbers in reads.items()
    }
    colours = dict(zip(next(iter(reads.values())), BUCKET_COLOURS, strict=False))
    look, times = {"edgecolor": INK, "linewidth": 0.5}, list(seconds.values())
    rows, totals = stacked_bars(left, megabytes, colours, **look)
    name_bars(left, rows, totals, [f"{total:.1f}" for total in totals], fontsize=9)
    right.barh(rows, times, color="#DDDDDD", **look)
    name_bars(right, rows, times, [f"{time:.3f}" for time in times], fontsize=9)
    right.locator_params(axis="x", nbins=5)
    left.set(xlabel="MB read for a token, one block", title="counted here")
    right.set(xlabel="seconds for a token", title="the paper's whole model")
    left.legend(loc="lower right", bbox_to_anchor=(1, 0.02))
    return figure


# Parameters


@course_style()
def draw_parameters(d_model: int) -> Figure:
    """Parameters against the number of modules, beside those of dense layers."""
    figure, ax = new_figure(7, 3.6)
    _draw_parameters(ax, d_model)
    return figure


def _draw_parameters(ax: Axes, d_model: int) -> None:
    modules = divisors(d_model)
    factors = [n_multiplicative(d_model, s, d_model // s) for s in modules]
    sparse = [n_sparse_qkv(d_model, s) for s in modules]
    for values, name, marker in [
        (sparse, "with q, k and v's convolutions", MARKERS[1]),
        (factors, "D and E", MARKERS[0]),
    ]:
        ax.loglog(modules, values, marker=marker, label=name, base=2)
    for level, name in [(n_dense_attention(d_model), "dense attention"), (d_model**2, "d²")]:
        ax.axhline(level, color=INK, linewidth=1, linestyle="--")
        style = {"textcoords": "offset points", "va": "bottom", "ha": "right", "fontsize": 9}
        ax.annotate(name, (modules[-2], level), xytext=(0, 2), **style)
    ax.axvline(math.sqrt(d_model), color=ORANGE, linewidth=1, linestyle=":", label="√d")
    ax.set_xticks(modules, [str(s) for s in modules])
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.minorticks_off()
    ax.set(xlabel="modules S", ylabel="parameters")
    ax.legend(loc="upper right")


# What D and E make


@course_style()
def draw_matrices(matrices: dict[str, np.ndarray], n_modules: int) -> Figure:
    """Each as a picture, red above 0 and blue below, with lines between the modules.

    They stand one above the other: give a few rows of each, so that single weights can be seen.
    """
    height = 0.5 + sum(0.45 + 8.5 * len(w) / w.shape[1] for w in matrices.values())
    figure, axes = new_figure(9, height, nrows=len(matrices), squeeze=False)
    for ax, (name, w) in zip(axes[:, 0], matrices.items(), strict=True):
        _draw_matrix(ax, w, n_modules)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("")
    ax.set_xlabel("output, module after module")
    return figure


def _draw_matrix(ax: Axes, w: np.ndarray, n_modules: int) -> None:
    most = np.quantile(abs(w), 0.98) or abs(w).max()
    ax.imshow(w, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    for border in range(1, n_modules):
        ax.axvline(border * w.shape[1] / n_modules - 0.5, color=INK, linewidth=0.4)
    ax.set(xlabel="output, module after module", ylabel="input i", xticks=[], yticks=[])
    ax.grid(False)


@course_style()
def show_modules(n_modules: int, content: str, *, d_model: int) -> None:
    """Widget callback: how many parameters S modules have, and the matrix that they make."""
    figure, (left, right) = new_figure(9, 4, ncols=2)
    _draw_parameters(left, d_model)
    d_module = d_model // n_modules
    n_factors = n_multiplicative(d_model, n_modules, d_module)
    left.plot(n_modules, n_factors, "o", color=ORANGE, markersize=10)
    ours, wanted = example_matrix(content, d_model, n_modules)
    _draw_matrix(right, ours, n_modules)
    right.set_title(content, fontsize=10)
    error = relative_error(ours, wanted)
    goal = "" if content == CONTENTS[0] else f" It misses its goal by {error:.0%}."
    show(
        figure,
        f"{_counted(n_modules, 'module')} of {_counted(d_module, 'number')}: D and E have "
        f"{n_factors:,} parameters, a dense matrix {d_model**2:,}. Right: {content}.{goal}",
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


# How they learn


@course_style()
def draw_learning(
    losses: dict[str, np.ndarray], held_out: dict[str, float], *, window: int
) -> Figure:
    """Left: each model's training loss, without its steep beginning; right: held-out text."""
    figure, (left, right) = new_figure(9, 3.2, ncols=2, width_ratios=[2, 1])
    rows = np.arange(len(held_out))
    for row, ((name, values), style) in enumerate(zip(losses.items(), LINES, strict=False)):
        late = slice(2 * window - 1, None)
        steps, means = np.arange(1, len(values) + 1), running_mean(values, window)
        (line,) = left.plot(steps[late], means[late], style, label=name)
        right.plot(held_out[name], row, MARKERS[row], color=line.get_color(), markersize=9)
        right.annotate(
            f"{held_out[name]:.2f}",
            (held_out[name], row),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    left.set(xlabel="step", ylabel="bits per byte", title=f"training, mean of {window} steps")
    left.legend()
    right.set_yticks(rows, list(held_out))
    right.set_ylim(len(held_out) - 0.5, -0.7)
    right.margins(x=0.25)
    right.locator_params(axis="x", nbins=4)
    right.set(xlabel="bits per byte", title="held-out text")
    return figure


# What a kernel sees


@course_style()
def draw_reach(slopes: np.ndarray, position: int, module: int) -> Figure:
    """How strongly one output depends on y at each position and module; (length, S)."""
    figure, ax = new_figure(5.5, 3.3)
    ax.imshow(slopes, cmap="Blues", vmin=0, vmax=slopes.max(), interpolation="nearest")
    ax.add_patch(Rectangle((module - 0.5, position - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2.5))
    n_positions, n_modules = slopes.shape
    ax.set_xticks(np.arange(n_modules + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n_positions + 1) - 0.5, minor=True)
    ax.grid(False, which="major")
    ax.grid(True, which="minor")
    ax.tick_params(which="minor", length=0)
    ax.set(xlabel="module", ylabel="position")
    ax.set(xticks=range(n_modules), yticks=range(n_positions))
    return figure
