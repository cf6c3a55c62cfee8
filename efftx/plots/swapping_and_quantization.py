"""The pictures of chapter 05: codes and their errors, small steps, moments, losses, the ledger."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efftx.numbers.swapping_and_quantization import (
    bits_per_number,
    error_of_codes,
    quantize_to_bits,
)
from efftx.plots.colours import INK, MARKERS, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import name_bars, running_mean, side_by_side, stacked_bars

BITS = tuple(range(2, 9))
BLOCK_LENS = (16, 64, 256, 1024, 4096)
SPOILED = "#AAAAAA"


@course_style()
def draw_codes(numbers: np.ndarray, bits: int, block_len: int) -> Figure:
    """How often each code is used, and the error of this choice among those with other bits."""
    codes, _ = quantize_to_bits(numbers, bits, block_len)
    figure, (left, right) = new_figure(9, 3.2, ncols=2)
    largest = 2 ** (bits - 1) - 1
    used, counts = np.unique(codes, return_counts=True)
    left.bar(used, 100 * counts / codes.size, width=1)
    left.set(xlabel=f"code, of −{largest} … {largest}", ylabel="numbers with this code (%)")
    left.set_xlim(-largest - 1, largest + 1)
    _draw_error_against_bits(right, numbers, bits, block_len)
    return figure


def _draw_error_against_bits(ax: Axes, numbers: np.ndarray, bits: int, block_len: int) -> None:
    for shown, marker in zip(BLOCK_LENS, (*MARKERS, "P", "X"), strict=False):
        x = [bits_per_number(b, shown) for b in BITS]
        chosen = shown == block_len
        line = {"color": ORANGE if chosen else SPOILED, "zorder": 3 if chosen else 2}
        errors = [100 * error_of_codes(numbers, b, shown) for b in BITS]
        ax.plot(x, errors, marker=marker, markersize=4, linewidth=1, label=str(shown), **line)
    here = bits_per_number(bits, block_len), 100 * error_of_codes(numbers, bits, block_len)
    ax.plot(*here, "o", markersize=13, fillstyle="none", color=INK)
    ax.set_yscale("log")
    ax.set(xlabel="bits per number, absmax included", ylabel="relative error (%)")
    ax.legend(title="block_len")


def explore_codes(bits: int, block_len: int, *, numbers: np.ndarray) -> None:
    """Widget callback: the codes of these numbers, and what they cost."""
    error = error_of_codes(numbers, bits, block_len)
    n_codes = 2**bits - 1
    show(
        draw_codes(numbers, bits, block_len),
        f"{bits} bits are {n_codes} codes. In blocks of {block_len} they take "
        f"{bits_per_number(bits, block_len):.3g} bits a number and are off by {error:.2%}. Left: "
        "how often each code is used. Right: the circle is this choice.",
    )


@course_style()
def draw_error_bars(errors: dict[str, dict[str, float | int]]) -> Figure:
    """For each named matrix a bar for each way of grouping, in percent."""
    figure, ax = new_figure(8, 3.2)
    groupings = list(next(iter(errors.values())))
    places, width = side_by_side(len(errors), len(groupings))
    for x, grouping in zip(places, groupings, strict=True):
        ax.bar(x, [100 * matrix[grouping] for matrix in errors.values()], width, label=grouping)
    ax.set_xticks(range(len(errors)), list(errors))
    ax.set(ylabel="relative error (%)")
    ax.grid(axis="x", visible=False)
    ax.legend(title="one absmax for", ncols=len(groupings), loc="upper left")
    ax.set_ylim(top=130 * max(max(matrix.values()) for matrix in errors.values()))
    return figure


@course_style()
def draw_walks(exact: np.ndarray, nearest: np.ndarray, stochastic: np.ndarray) -> Figure:
    """A weight over many small steps: (n_steps,) twice, and (n_walks, n_steps) at random."""
    figure, ax = new_figure(7, 3.2)
    steps = np.arange(1, len(exact) + 1)
    for i, walk in enumerate(stochastic[:12]):
        label = "stochastic, one walk each" if i == 0 else None
        ax.plot(steps, walk, color="#99CCEE", linewidth=0.8, label=label)
    ax.plot(steps, stochastic.mean(0), label="stochastic, their mean")
    ax.plot(steps, nearest, color=ORANGE, label="to the nearest code")
    ax.plot(steps, exact, "--", color=INK, linewidth=1, label="float32")
    ax.set(xlabel="step", ylabel="the weight, in codes")
    ax.legend()
    return figure


@course_style()
def draw_reach_of_codes(divisors: np.ndarray, smallest: dict[str, float | int]) -> Figure:
    """How √v is spread within its block, and where each code begins to tell it from zero.

    ``divisors`` are √v divided by the largest of their block; ``smallest`` the smallest of them
    that is not rounded to zero, by the code's name.
    """
    figure, ax = new_figure(8, 3.2)
    low = min(-5.5, np.floor(np.log10(min(smallest.values()))))
    shown = np.log10(np.maximum(divisors, 10.0**low))
    ax.hist(shown, bins=60, color="#AACCE4")
    styles = ("-", "--", ":")
    for (name, value), style in zip(smallest.items(), styles, strict=False):
        ax.axvline(np.log10(value), color=ORANGE, linestyle=style, label=name)
    ticks = np.arange(int(low), 1)
    ax.set_xticks(ticks, [f"$10^{{{t}}}$" for t in ticks])
    ax.set(xlabel="√v, as a part of the largest in its block", ylabel="parameters")
    ax.legend(title="zero to the left of", loc="upper left", bbox_to_anchor=(0.06, 1))
    return figure


@course_style()
def draw_losses(losses: dict[str, np.ndarray], *, window: int = 10) -> Figure:
    """The training loss of each run, as means of the last steps."""
    figure, ax = new_figure(7, 3.2)
    styles = ("-", "--", ":")
    for (name, values), style in zip(losses.items(), styles, strict=False):
        steps = np.arange(1, len(values) + 1)
        ax.plot(steps, running_mean(values, window), style, label=name)
    shown = np.concatenate(list(losses.values()))
    shown = shown[np.isfinite(shown)]
    ax.set_ylim(0.9 * shown.min(), min(1.1 * shown.max(), 12))
    ax.set(xlabel="step", ylabel=f"bits per byte, mean of the last {window}")
    ax.legend()
    return figure


@course_style()
def draw_ledger(rows: dict[str, dict[str, float | int]]) -> Figure:
    """A bar for each row of {part: GiB on the device}, one above the other."""
    figure, ax = new_figure(9, 0.9 + 0.42 * len(rows))
    y, totals = stacked_bars(ax, rows, height=0.7)
    name_bars(ax, y, totals, [f"{total:.2f}" for total in totals], room=1.3, color=INK)
    ax.set(xlabel="GiB on the device")
    ax.legend(loc="lower right")
    return figure
