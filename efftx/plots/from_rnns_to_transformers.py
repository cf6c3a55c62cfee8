"""The pictures of chapter 01: what reaches how far, who looks at whom, and what models cost."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from efftx.plots.colours import BLUE, INK, MARKERS, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import named_line, powers_of_two


@course_style()
def draw_against_length(lengths, series: dict[str, np.ndarray], *, ylabel: str) -> Figure:
    """One line for each named series against the length, both axes logarithmic."""
    figure, ax = new_figure(7, 3.4)
    for (name, values), marker in zip(series.items(), MARKERS, strict=False):
        named_line(ax, lengths, values, name, marker=marker)
    ax.set_yscale("log")
    powers_of_two(ax, lengths)
    ax.set(xlabel="length in positions", ylabel=ylabel)
    ax.set_xlim(right=lengths[-1] * 2.2)
    return figure


@course_style()
def draw_influence(influence: dict[str, np.ndarray]) -> Figure:
    """How strongly the last output depends on each earlier input, by distance; log scale.

    Each series (length,) is ordered by position, so that its last entry has distance 0.
    """
    figure, ax = new_figure(7, 3.4)
    for name, values in influence.items():
        named_line(ax, np.arange(len(values)), values[::-1], name)
    ax.set_yscale("log")
    ax.set(xlabel="distance in positions", ylabel="relative influence")
    farthest = max(map(len, influence.values()))
    ax.set_xticks(range(0, farthest + 1, max(1, farthest // 5)))
    ax.set_xlim(0, farthest * 1.2)
    return figure


@course_style()
def draw_weights(weights: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """A matrix of attention weights (queries, keys), with the words that its rows and columns are.

    The largest weight of each row has an orange frame.
    """
    figure, ax = new_figure(8, 0.9 + 0.42 * len(rows))
    picture = ax.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="source (keys)", ylabel="about to be written (queries)")
    ax.grid(False)
    for row, column in enumerate(weights.argmax(axis=1)):
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.8))
    figure.colorbar(picture, ax=ax, fraction=0.04, label="weight")
    return figure


def show_looks(
    number: int, layer: int, head: int, *, maps: Sequence[np.ndarray], words: Sequence[tuple]
) -> None:
    """Widget callback: where the translation of one number looks, in one head.

    ``maps`` holds (n_layers, n_heads, target, source) for each number, ``words`` the source's
    and the target's words, for whose rows and columns the maps may have padding behind them.
    """
    source, target = words[number]
    weights = maps[number][layer, head, : len(target), : len(source)]
    looks = [source[column].strip() for column in weights.argmax(axis=1)]
    pairs = ", ".join(f"{word} at {look}" for word, look in zip(target, looks, strict=True))
    show(
        draw_weights(weights, target, source),
        f"Layer {layer}, head {head}. Before it writes each word, it looks most: {pairs}.",
    )


@course_style()
def draw_bleu_against_flops(systems: dict[str, tuple[float, float]], ours: Sequence[str]) -> Figure:
    """BLEU against training FLOPs, {name: (BLEU, FLOPs)}; systems in ``ours`` stand out."""
    figure, ax = new_figure(8.5, 4)
    for i, (name, (score, flops)) in enumerate(systems.items()):
        colour, weight = (ORANGE, "bold") if name in ours else (BLUE, "normal")
        ax.plot(flops, score, "o", color=colour, markersize=7)
        side = -1 if i % 2 else 1  # neighbours in the table have their names on different sides
        where = {"xytext": (0, 12 * side), "textcoords": "offset points"}
        centred = {"ha": "center", "va": "center", "fontsize": 9}
        ax.annotate(name, (flops, score), color=colour, weight=weight, **where, **centred)
    ax.set_xscale("log")
    ax.margins(x=0.12, y=0.12)
    ax.set(xlabel="training FLOPs", ylabel="BLEU, English to German")
    return figure


@course_style()
def draw_bars(
    values: dict[str, float], *, xlabel: str, stands_out: str, start: float | int = 0
) -> Figure:
    """Horizontal bars from top to bottom with their values; one is drawn in orange."""
    figure, ax = new_figure(7, 0.8 + 0.4 * len(values))
    colours = [ORANGE if name == stands_out else BLUE for name in values]
    bars = ax.barh(list(values), list(values.values()), color=colours, height=0.62)
    ax.bar_label(bars, [f"{value:.1f}" for value in values.values()], padding=4, color=INK)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set(xlabel=xlabel, xlim=(start, max(values.values()) * 1.08))
    return figure


@course_style()
def draw_bytes(needs: dict[str, float], *, has: dict[str, float]) -> Figure:
    """Horizontal bars of bytes on a log scale, and a vertical line for what each machine has."""
    figure, ax = new_figure(8.5, 1.2 + 0.42 * len(needs))
    bars = ax.barh(list(needs), list(needs.values()), color=BLUE, height=0.62)
    ax.bar_label(bars, [readable_bytes(value) for value in needs.values()], padding=4, color=INK)
    ax.set_xscale("log")
    for name, value in has.items():
        ax.axvline(value, color=ORANGE, linewidth=1.5, linestyle="--")
        above = {"xycoords": ("data", "axes fraction"), "va": "bottom", "ha": "center"}
        ax.annotate(name, (value, 1.01), color=ORANGE, **above)
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ticks = [10.0**power for power in range(9, 13)]
    ax.set_xticks(ticks, [readable_bytes(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="bytes", xlim=(min(needs.values()) / 2, max(needs.values()) * 5))
    return figure


def readable_bytes(count: float | int) -> str:
    """With three digits and a unit of 1,000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
