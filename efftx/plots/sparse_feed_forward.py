"""The pictures of chapter 10: who fires, who is chosen, how even the load is, what it costs."""

from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from efftx.numbers.sparse_feed_forward import mib_read
from efftx.plots.colours import BLUE, INK, MARKERS, ORANGE, PALE_BLUE, QUIET, bucket_colour, letter
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import powers_of_two, running_mean

OFF = "#EEEEEE"
PER_ROW = 64  # characters
UNITS_SHOWN = 96  # of those that fire; more would be thinner than a dot of the screen
UNITS_DRAWN = 512  # of a layer in its blocks


# Who fires


@course_style()
def draw_firing(fires: np.ndarray, text: str) -> Figure:
    """Which of some units fire at which characters, and how often each of all does, by layer.

    ``fires`` is (n_layers, length, d_ff), bool; ``text`` has a character for each position drawn.
    """
    figure, axes = new_figure(9, 5.2, nrows=len(fires), ncols=2, width_ratios=(3, 1))
    for layer, (ax, histogram) in enumerate(axes):
        dots = fires[layer, : len(text), :UNITS_SHOWN].T
        ax.imshow(dots, cmap=ListedColormap([OFF, BLUE]), aspect="auto", interpolation="none")
        ax.set_title(f"layer {layer}: units that fire")
        ax.set_ylabel("unit")
        _letters(ax, text)
        histogram.hist(fires[layer].mean(0), np.linspace(0, 1, 26), color=BLUE)
        histogram.set(title="how often", ylabel="units")
        histogram.xaxis.set_major_formatter(PercentFormatter(1))
    axes[-1, 1].set_xlabel("positions at which it fires")
    return figure


def _letters(ax: Axes, text: str) -> None:
    look = {"fontsize": 8, "family": "DejaVu Sans Mono"}
    ax.set_xticks(range(len(text)), [letter(character) for character in text], **look)
    ax.tick_params(axis="x", length=0, pad=2)
    ax.grid(False)


# Training


@course_style()
def draw_training(losses: dict[str, np.ndarray], *, smooth: int = 20) -> Figure:
    """The running mean of each model's loss, from 8 bits per byte down."""
    figure, ax = new_figure(7, 3.5)
    for name, values in losses.items():
        means = running_mean(values, smooth)[smooth - 1 :]
        ax.plot(np.arange(smooth - 1, len(values)), means, label=name, linewidth=1.5)
    said = f"bits per byte, mean of {smooth} steps"
    ax.set(xlabel="training step", ylabel=said, xlim=(0, None))
    ax.legend()
    return figure


# Who is chosen


@course_style()
def draw_map(units: np.ndarray, text: str, n_units: int) -> Figure:
    """The chosen unit of each block (row) at each character (column), as a colour.

    ``units`` is (n_layers, length, n_blocks).
    """
    figure, axes = new_figure(9, 2.3 * len(units) + 0.4, nrows=len(units), squeeze=False)
    colours = ListedColormap([bucket_colour(unit) for unit in range(n_units)])
    for layer, ax in enumerate(axes[:, 0]):
        ax.imshow(units[layer].T, cmap=colours, vmin=-0.5, vmax=n_units - 0.5, aspect="auto")
        ax.set_title(f"layer {layer}")
        ax.set_ylabel("block")
        _letters(ax, text)
    return figure


def show_block(layer: int, block: int, *, units: np.ndarray, text: str, n_units: int) -> None:
    """Widget callback: a text in the colours of the units that one block chose, and their load.

    ``units`` is (n_layers, length, n_blocks).
    """
    chosen = units[layer, :, block]
    shares = np.bincount(chosen, minlength=n_units) / len(chosen)
    busiest = np.argsort(-shares, kind="stable")[:3].tolist()
    said = [_favourites(unit, chosen, text) for unit in busiest]
    never = int((shares == 0).sum())
    show(
        draw_block(chosen, text, shares),
        f"Layer {layer}, block {block}: each character in the colour of the unit that is on. "
        + " ".join(said)
        + (f" {never} of the {n_units} units are never on here." if never else ""),
    )


@course_style()
def draw_block(chosen: np.ndarray, text: str, shares: np.ndarray) -> Figure:
    """The text in rows, coloured by the chosen unit, and beside it the share of each unit."""
    n_rows = -(-len(text) // PER_ROW)
    figure, (left, right) = new_figure(9, 0.3 * n_rows + 0.6, ncols=2, width_ratios=(4, 1))
    for i, (character, unit) in enumerate(zip(text, chosen, strict=True)):
        x, y = i % PER_ROW, -(i // PER_ROW)
        box = {"facecolor": bucket_colour(unit), "edgecolor": "white", "linewidth": 0.4}
        left.add_patch(Rectangle((x, y), 1, 0.9, **box))
        left.text(x + 0.5, y + 0.42, letter(character), ha="center", va="center", fontsize=7)
    left.set(xlim=(0, PER_ROW), ylim=(1 - n_rows, 1))
    left.axis("off")
    numbers = np.arange(len(shares))
    right.barh(numbers, shares, color=[bucket_colour(unit) for unit in numbers])
    right.axvline(1 / len(shares), color=INK, linewidth=1, linestyle="--")
    right.set(yticks=numbers, ylim=(len(shares) - 0.5, -0.5), ylabel="unit")
    right.set_title("load", fontsize=9)
    right.xaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _favourites(unit: int, chosen: np.ndarray, text: str) -> str:
    """At which characters a unit is on most often, in words."""
    counts = Counter(c for c, u in zip(text, chosen, strict=True) if u == unit)
    if not counts:
        return f"Unit {unit} is never on."
    most = " ".join(letter(character) for character, _ in counts.most_common(5))
    return f"Unit {unit} is on at {counts.total() / len(text):.0%}, most often at {most} ."


@course_style()
def draw_load(loads: np.ndarray) -> Figure:
    """The share of each unit, the busiest first: every block's, their mean, and an even load.

    ``loads`` is (n_layers, n_blocks, N).
    """
    figure, axes = new_figure(9, 3.3, ncols=len(loads), sharey=True, squeeze=False)
    rank = np.arange(1, loads.shape[2] + 1)
    for layer, ax in enumerate(axes[0]):
        in_order = -np.sort(-loads[layer], axis=1)
        ax.plot(rank, in_order.T, color=PALE_BLUE, linewidth=0.8)
        ax.plot(rank, in_order.mean(0), marker="o", color=BLUE, label="mean of the blocks")
        ax.axhline(1 / len(rank), color=INK, linewidth=1, linestyle="--", label="if all were alike")
        ax.set(title=f"layer {layer}", xlabel="unit of its block, the busiest first", xticks=rank)
    axes[0, 0].set(ylabel="positions at which it is on", ylim=(0, None))
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1))
    axes[0, -1].legend()
    return figure


# What it costs


@course_style()
def draw_cost(n_units: int, *, d_model: int, d_ff: int, seconds: dict[int, float]) -> Figure:
    """A layer's units with those that are on, the bytes that are read, and how much faster it is.

    ``seconds`` holds the measured time of a position for each N, N = 1 being the dense layer.
    """
    figure, (units, read, speed) = new_figure(9, 3.4, ncols=3, width_ratios=(1.2, 0.8, 1.5))
    _draw_units(units, n_units)
    of_units, of_controller = np.transpose([mib_read(n, d_model, d_ff) for n in (1, n_units)])
    read.bar([0, 1], of_units, color=BLUE, label="units")
    read.bar([0, 1], of_controller, bottom=of_units, color=ORANGE, label="controller")
    for place, total in enumerate(of_units + of_controller):
        read.text(place, total + 0.02 * of_units[0], f"{total:.3g}", ha="center")
    read.set_xticks([0, 1], ["dense", f"N = {n_units}"])
    read.set(title="MiB read", ylim=(0, 1.4 * of_units[0]))
    read.legend(loc="upper right")
    _draw_speed(speed, n_units, d_model, d_ff, seconds)
    return figure


def _draw_units(ax: Axes, n_units: int) -> None:
    """Some of the layer's units in their blocks; which one is on is drawn at random."""
    draw = np.random.default_rng(0)
    on = np.zeros(UNITS_DRAWN, bool)
    for start in range(0, UNITS_DRAWN, n_units):
        on[start + draw.integers(n_units)] = True
    ax.imshow(on.reshape(-1, 32), cmap=ListedColormap([OFF, BLUE]), vmin=0, vmax=1)
    ax.set(xticks=np.arange(-0.5, 32), yticks=np.arange(-0.5, UNITS_DRAWN // 32))
    ax.set(xticklabels=[], yticklabels=[], title=f"{on.sum()} of {UNITS_DRAWN} units")
    ax.tick_params(length=0)
    ax.grid(color="white", linewidth=0.8)
    ax.set_axisbelow(False)


def _draw_speed(ax: Axes, n_units: int, d_model: int, d_ff: int, seconds) -> None:
    ns = sorted(seconds)
    by_bytes = [sum(mib_read(1, d_model, d_ff)) / sum(mib_read(n, d_model, d_ff)) for n in ns]
    by_clock = [seconds[1] / seconds[n] for n in ns]
    ax.plot(ns, by_bytes, color=QUIET, linestyle="--", label="fewer bytes")
    ax.plot(ns, by_clock, marker="o", color=BLUE, label="faster, measured")
    ax.plot(n_units, by_clock[ns.index(n_units)], "o", color=ORANGE, markersize=10)
    ax.set_yscale("log", base=2)
    powers_of_two(ax, ns)
    ax.yaxis.set_major_formatter("{x:g}×")
    ax.set(title="against dense", xlabel="N, units in a block")
    ax.legend(loc="upper left")


def show_cost(n_units: int, *, d_model: int, d_ff: int, seconds: dict[int, float]) -> None:
    """Widget callback: what one position costs when one unit in N is on."""
    of_units, of_controller = mib_read(n_units, d_model, d_ff)
    fewer = sum(mib_read(1, d_model, d_ff)) / (of_units + of_controller)
    what = "The dense layer: all" if n_units == 1 else f"N = {n_units}:"
    show(
        draw_cost(n_units, d_model=d_model, d_ff=d_ff, seconds=seconds),
        f"{what} {d_ff // n_units:,} of {d_ff:,} units are on. A position reads {of_units:.3g} MiB "
        f"of units and {of_controller:.3g} MiB of the controller, {fewer:.1f} times less "
        f"than the dense layer, and takes {1000 * seconds[n_units]:.3g} ms, "
        f"{seconds[1] / seconds[n_units]:.1f} times less.",
    )


@course_style()
def draw_together(shares: dict[str, tuple], seconds: dict[str, tuple]) -> Figure:
    """Several positions at once: the share of the units that they need, and the time of each.

    Both hold (numbers of positions, values) by name.
    """
    figure, (left, right) = new_figure(9, 3.5, ncols=2)
    for ax, curves in ((left, shares), (right, seconds)):
        for marker, (name, (positions, values)) in zip(MARKERS, curves.items(), strict=False):
            scale = 1 if ax is left else 1000
            ax.plot(positions, scale * np.asarray(values), marker=marker, label=name, linewidth=1.5)
        powers_of_two(ax, positions)
        ax.set_xlabel("positions at once")
        ax.legend()
    left.set(title="units that at least one needs", ylim=(0, 1.03))
    left.yaxis.set_major_formatter(PercentFormatter(1))
    right.set(title="time of a layer for each of them", ylabel="milliseconds", yscale="log")
    return figure
