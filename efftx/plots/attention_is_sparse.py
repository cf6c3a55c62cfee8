"""The pictures of chapter 06: losses, attention maps, what the top keys carry, what it costs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from efftx.numbers.attention_is_sparse import attend_to_top
from efftx.numbers.errors import relative_error
from efftx.plots.colours import PALE_BLUE, QUIET, letter
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import powers_of_two, running_mean

WEIGHT_COLOURS = {"cmap": "Blues", "norm": PowerNorm(0.5, vmin=0, vmax=1), "interpolation": "none"}


@course_style()
def draw_losses(losses: np.ndarray, marks: dict[str, float], *, smooth: int = 20) -> Figure:
    """Bits per byte at every step, their running mean, and a dashed line for each mark."""
    figure, ax = new_figure(7, 3.4)
    ax.plot(losses, color=PALE_BLUE, linewidth=1)
    ax.plot(np.arange(smooth - 1, len(losses)), running_mean(losses, smooth)[smooth - 1 :])
    for name, bits in marks.items():
        ax.axhline(bits, color=QUIET, linewidth=1, linestyle="--")
        ax.text(len(losses), bits + 0.12, name, ha="right", color=QUIET, fontsize=9)
    ax.set(xlabel="training step", ylabel="bits per byte", ylim=(0, 8.6), xlim=(0, len(losses)))
    return figure


def readable(text: str) -> list[str]:
    """One visible sign for each character."""
    return [letter(character) for character in text]


@course_style()
def draw_maps(weights: np.ndarray) -> Figure:
    """Every head's map, (n_layers, n_heads, length, length), a row of pictures for each layer."""
    n_layers, n_heads, length, _ = weights.shape
    figure, axes = new_figure(
        9, 2.35 * n_layers + 0.3, nrows=n_layers, ncols=n_heads, squeeze=False
    )
    for (layer, head), ax in np.ndenumerate(axes):
        picture = ax.imshow(weights[layer, head], **WEIGHT_COLOURS)
        ax.set_title(f"layer {layer}, head {head}", fontsize=10)
        ax.set(xticks=[0, length - 1], yticks=[0, length - 1])
        ax.grid(False)
        ax.set_xlabel("key" if layer == n_layers - 1 else "")
        ax.set_ylabel("query" if head == 0 else "")
    _colour_bar(figure, picture, axes)
    return figure


def _colour_bar(figure: Figure, picture, axes) -> None:
    bar = figure.colorbar(picture, ax=axes, fraction=0.025, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "25 %", "50 %", "100 %"])
    bar.set_label("weight", fontsize=9)


def _letter_axes(ax: Axes, text: str) -> None:
    signs, places = readable(text), np.arange(len(text))
    ax.set_xticks(places, signs, fontsize=9, family="DejaVu Sans Mono")
    ax.set_yticks(places, signs, fontsize=9, family="DejaVu Sans Mono")
    ax.tick_params(length=0, pad=2)
    ax.set(xlabel="key", ylabel="query")
    ax.grid(False)


@course_style()
def draw_map(weights: np.ndarray, text: str) -> Figure:
    """One head's map (length, length), with the characters that its rows and columns stand for."""
    figure, ax = new_figure(9, 7.8)
    picture = ax.imshow(weights, **WEIGHT_COLOURS)
    _letter_axes(ax, text)
    _colour_bar(figure, picture, ax)
    return figure


def show_top(
    layer: int, head: int, k: int, *, weights: np.ndarray, values: np.ndarray, text: str
) -> None:
    """Widget callback: a head's map with only the k largest weights of each query.

    ``weights`` (n_layers, n_heads, length, length) and ``values`` (n_layers, n_heads, length,
    d_value) are those of all heads.
    """
    w, v = weights[layer, head], values[layer, head]
    out, kept = attend_to_top(w, v, k)
    error = relative_error(out, w @ v)
    mass = np.where(kept > 0, w, 0).sum(-1).mean()
    keys = "key" if k == 1 else "keys"
    show(
        draw_map(kept, text),
        f"Layer {layer}, head {head}, with the top {k} {keys} of each query. They carry {mass:.0%} "
        f"of the weight on average, and the output is off by {error:.0%}.",
    )


@course_style()
def draw_top_mass(ks, mass: np.ndarray, uniform: np.ndarray) -> Figure:
    """The share that the top k keys carry, (n_layers, n_heads, len(ks)), a panel for each layer."""
    figure, axes = new_figure(9, 3.7, ncols=len(mass), sharey=True, squeeze=False)
    for layer, (ax, heads) in enumerate(zip(axes[0], mass, strict=True)):
        _head_lines(ax, ks, heads, layer)
        _uniform_line(ax, ks, uniform)
        ax.set(xlabel="top k keys", ylim=(0, 1.03))
    axes[0, 0].set_ylabel("share of the weight")
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(0.0, 0.72))
    return figure


@course_style()
def draw_keys_needed(n_keys, needed: np.ndarray, share: float = 0.9) -> Figure:
    """Keys that carry the share, (n_layers, n_heads, len(n_keys)), against how many there are."""
    figure, axes = new_figure(9, 3.7, ncols=len(needed), sharey=True, squeeze=False)
    ticks = [2**n for n in range(1, 8)]
    for layer, (ax, heads) in enumerate(zip(axes[0], needed, strict=True)):
        _head_lines(ax, n_keys, heads, layer)
        _uniform_line(ax, n_keys, [share * n for n in n_keys])
        ax.set_yscale("log", base=2)
        ax.set_yticks(ticks, ticks)
        ax.minorticks_off()
        ax.set_xlabel("keys to choose from, on average")
    axes[0, 0].set_ylabel(f"keys that carry {share:.0%}")
    axes[0, 0].legend(loc="upper left")
    return figure


def _head_lines(ax: Axes, x, heads: np.ndarray, layer: int) -> None:
    for head, (y, marker) in enumerate(zip(heads, "os^D", strict=True)):
        ax.plot(x, y, marker=marker, label=f"head {head}")
    ax.set_title(f"layer {layer}")
    powers_of_two(ax, x)


def _uniform_line(ax: Axes, x, y) -> None:
    ax.plot(x, y, color=QUIET, linestyle="--", linewidth=1.2)
    ax.annotate(
        "uniform attention ",
        (x[-2], y[-2]),
        (-6, 0),
        textcoords="offset points",
        ha="right",
        color=QUIET,
        fontsize=9,
    )


@course_style()
def draw_errors(ks, errors: dict[str, np.ndarray]) -> Figure:
    """Relative error against k: for each name (n_layers, len(ks)), a panel for each layer."""
    n_layers = len(next(iter(errors.values())))
    figure, axes = new_figure(9, 3.4, ncols=n_layers, sharey=True, squeeze=False)
    for layer, ax in enumerate(axes[0]):
        for (name, y), marker in zip(errors.items(), "os", strict=True):
            ax.plot(ks, y[layer], marker=marker, label=name)
        powers_of_two(ax, ks)
        ax.set_title(f"layer {layer}")
        ax.set_xlabel("keys kept of each query")
    axes[0, 0].set(ylabel="relative error", ylim=(0, None))
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, -1].legend()
    return figure


@course_style()
def draw_costs(lengths, memory: dict[str, list], work: dict[str, list]) -> Figure:
    """Bytes and scores against length, both axes logarithmic, a line for each name."""
    figure, (left, right) = new_figure(9, 3.7, ncols=2)
    for ax, costs in ((left, memory), (right, work)):
        for (name, y), marker in zip(costs.items(), "os", strict=True):
            ax.plot(lengths, y, marker=marker, label=name)
        ax.set_yscale("log")
        powers_of_two(ax, lengths, [f"$2^{{{n.bit_length() - 1}}}$" for n in lengths])
        ax.set_xlabel("length L")
    left.set_yticks([1e6, 1e9, 1e12], ["1 MB", "1 GB", "1 TB"])
    left.set_title("working memory")
    right.set_title("scores computed")
    for ax in (left, right):
        ax.minorticks_off()
    left.legend(loc="upper left")
    return figure
