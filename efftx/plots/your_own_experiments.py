"""The pictures of chapter 14: a stopped run; who holds what on several devices, what travels."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from efftx.numbers.your_own_experiments import (
    COMPILER,
    MIB,
    RING,
    ROUNDS,
    SEQUENCE,
    STRATEGIES,
    held_mib,
    keys_of,
    leaves_home,
    sent_bytes,
    slots_of,
)
from efftx.plots.colours import GREY, INK, ORANGE, QUIET, bucket_colour
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import named_line, powers_of_two, stacked_bars

TRAVELS = {
    SEQUENCE: "vectors to their slots and results back, in every round, and a chunk of halo",
    RING: "the keys and values of each device once round, to the next neighbour only",
    ROUNDS: "the codes of all rounds, and sums of whole outputs",
    COMPILER: "what the compiler found best; it does not say how many bytes",
}

# Who holds what -------------------------------------------------------------------------------


@course_style()
def draw_ring(n_devices: int) -> Figure:
    """Turn by turn whose keys and values are on which device; causal, so that some of them rest."""
    figure, ax = new_figure(8, 0.9 + 0.75 * n_devices)
    for turn in range(n_devices):
        for device in range(n_devices):
            _draw_turn(ax, turn, device, n_devices)
    names = [f"device {device}\nkeeps q{device}" for device in range(n_devices)]
    ax.set_xticks(range(n_devices), names)
    ax.set_yticks(range(0, -n_devices, -1), [f"turn {turn}" for turn in range(n_devices)])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set(xlim=(-0.75, n_devices - 0.25), ylim=(-n_devices + 0.55, 0.45))
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure


def _draw_turn(ax: Axes, turn: int, device: int, n_devices: int) -> None:
    owner = keys_of(turn, device, n_devices)
    works = owner <= device
    colour = bucket_colour(owner)
    look = {"facecolor": colour if works else "white", "edgecolor": colour, "linewidth": 2}
    ax.add_patch(Rectangle((device - 0.32, -turn - 0.25), 0.64, 0.5, **look))
    text = f"k{owner} v{owner}" if works else f"k{owner} v{owner}: later"
    ax.text(device, -turn, text, ha="center", va="center", color=INK if works else QUIET)
    if turn + 1 < n_devices:
        arrow = {"arrowstyle": "->", "color": GREY}
        start, end = (device + 0.34, -turn - 0.1), (device + 0.66, -turn - 0.9)
        ax.annotate("", end, start, arrowprops=arrow)
        if device + 1 == n_devices:  # and it comes in again on the other side
            ax.annotate("", (-0.34, end[1]), (-0.66, start[1]), arrowprops=arrow)


@course_style()
def draw_sorting(buckets: np.ndarray, n_devices: int, chunk_len: int) -> Figure:
    """Positions above, sorted slots below, both in equal shares; who travels has a dark line."""
    share = len(buckets) // n_devices
    place = lambda n: n + 1.5 * (n // share)  # noqa: E731  with a gap between devices
    figure, ax = new_figure(9, 3.4)
    leaves = leaves_home(buckets, n_devices)
    for n, slot in enumerate(slots_of(buckets)):
        colour = bucket_colour(int(buckets[n]))
        look = {"color": colour if leaves[n] else "#DDDDDD", "linewidth": 1.6 if leaves[n] else 1}
        ax.plot([place(n), place(slot)], [1, 0], zorder=1, **look)
        for x, y in ((place(n), 1.0), (place(slot), 0.0)):
            ax.add_patch(Rectangle((x - 0.45, y - 0.09), 0.9, 0.18, color=colour, zorder=2))
    for device in range(n_devices):
        left, right = place(device * share), place((device + 1) * share - 1)
        ax.text((left + right) / 2, 1.17, f"device {device}", ha="center")
        if device + 1 < n_devices:
            start, end = (right - (chunk_len - 1) / 2, -0.12), (right + 2.5, -0.12)
            bent = {"arrowstyle": "->", "color": ORANGE, "connectionstyle": "arc3,rad=0.5"}
            ax.annotate("", end, start, arrowprops=bent)
    ax.text(-0.6, -0.62, "orange: the last chunk, as halo for the next device", color=ORANGE)
    ax.set_yticks([1, 0], ["positions", "slots"])
    ax.set_xticks([])
    ax.set(ylim=(-0.75, 1.3), xlim=(-1, place(len(buckets) - 1) + 1))
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure


# How much -------------------------------------------------------------------------------------


@course_style()
def draw_held(curves: dict[str, dict[int, float]]) -> Figure:
    """MiB on each device against how many there are, a line for each strategy."""
    figure, ax = new_figure(8, 3.8)
    for (name, mib), marker in zip(curves.items(), "osD^", strict=False):
        named_line(ax, list(mib), list(mib.values()), name, marker=marker)
    ax.set_yscale("log", base=2)
    powers_of_two(ax, list(next(iter(curves.values()))))
    ticks = [2**n for n in range(7, 12)]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.set(xlabel="devices", ylabel="MiB on each, beside inputs")
    return figure


@course_style()
def draw_strategies(held: dict[str, dict[str, float]], sent: dict[str, float | None]) -> Figure:
    """What a device holds and what it sends, a bar for each strategy; in MiB."""
    figure, (left, right) = new_figure(9, 2.6, ncols=2)
    y, totals = stacked_bars(left, held, height=0.6)
    left.set(xlabel="MiB that a device holds", xlim=(0, 1.3 * max(totals)))
    left.legend(loc="lower right", fontsize=8)
    right.barh(y, [value or 0 for value in sent.values()], height=0.6, color=GREY)
    for place, value in zip(y, sent.values(), strict=True):
        text = "the compiler's affair" if value is None else f"{value:,.0f}"
        right.text(value or 0, place, f" {text}", va="center")
    right.set_yticks(y, [])
    most = max(value or 0 for value in sent.values())
    right.set(xlabel="MiB that leave a device, forward", xlim=(0, 1.3 * max(most, 1)))
    for ax in (left, right):
        ax.grid(False, axis="y")
    return figure


def explore_strategies(compiled: list[dict], devices: int, strategy: str, length: int) -> None:
    """Widget callback: all strategies at so many devices, and one of them in words."""
    held = {name: held_mib(compiled, name, length)[devices] for name in STRATEGIES}
    sent = {name: sent_bytes(name, devices, length) for name in STRATEGIES}
    mib = {name: None if n is None else n / MIB for name, n in sent.items()}
    whole, leaves = sum(held[strategy].values()), mib[strategy]
    much = "" if leaves is None else f" {leaves:,.0f} MiB leave each device in a forward pass:"
    travels = f"{much} {TRAVELS[strategy]}" if devices > 1 else " Nothing travels"
    show(
        draw_strategies(held, mib),
        f"{strategy}, {length:,} positions on {devices} device{'s' * (devices > 1)}: each holds "
        f"{whole:,.0f} MiB, {held[strategy]['inputs']:,.0f} of them inputs.{travels}.",
    )


# A run that was stopped -------------------------------------------------------------------------


@course_style()
def draw_resumed(straight: np.ndarray, resumed: np.ndarray, saved: int, stopped: int) -> Figure:
    """The losses of a run in one piece, and of one that was stopped and went on from a save."""
    figure, ax = new_figure(7, 3.2)
    steps = np.arange(1, len(straight) + 1)
    ax.plot(steps, straight, linewidth=5, color="#BBD5E8", label="in one piece")
    ax.plot(steps[:saved], resumed[:saved], color=INK, label="before the power cut")
    ax.plot(steps[saved:], resumed[saved:], color=ORANGE, label="after it, from the last save")
    ax.axvline(stopped, color=QUIET, linestyle="--", linewidth=1)
    ax.text(stopped, ax.get_ylim()[1], " power cut", va="top", color=QUIET)
    ax.set(xlabel="step", ylabel="bits per byte")
    ax.legend()
    return figure
