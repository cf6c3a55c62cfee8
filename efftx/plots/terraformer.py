"""The pictures of chapter 12: source before target, what a token reads, seconds against bytes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from efftx.numbers.terraformer import weights_read
from efftx.plots.colours import BUCKET_COLOURS, INK, MARKERS, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import name_bars, side_by_side, stacked_bars

BYTES = 4  # of a float32 number
PARTS = ("attention", "feed-forward", "controller", "readout")
PART_COLOURS = dict(zip(PARTS, BUCKET_COLOURS, strict=False))


# The source before the target -----------------------------------------------------------------


@course_style()
def draw_source_first(n_source: int, n_padding: int, n_target: int) -> Figure:
    """What the decoder reads: the source's vectors, the target's, and padding behind them."""
    figure, ax = new_figure(9, 2.4)
    rows = {
        "encoder's output": [("s", n_source), ("·", n_padding)],
        "decoder reads": [("s", n_source), ("t", n_target), ("·", n_padding)],
        "to the readout": [("", n_source), ("y", n_target)],
    }
    colours = {"s": BUCKET_COLOURS[0], "t": BUCKET_COLOURS[1], "y": BUCKET_COLOURS[3], "·": "white"}
    for i, (name, parts) in enumerate(rows.items()):
        ax.text(-0.3, -i, name, ha="right", va="center")
        left = 0
        for sign, count in parts:
            for n in range(count if sign else 0):
                label = sign if sign == "·" else f"{sign}$_{{{n}}}$"
                _cell(ax, left + n, -i, label, colours[sign])
            left += count
    ax.set(xlim=(-4.2, n_source + n_padding + n_target + 0.2), ylim=(-2.6, 0.6))
    ax.axis("off")
    return figure


def _cell(ax: Axes, left: int, middle: int, label: str, colour: str) -> None:
    box = Rectangle((left, middle - 0.35), 1, 0.7, facecolor=colour, edgecolor=INK, linewidth=0.8)
    ax.add_patch(box)
    ax.text(left + 0.5, middle, label, ha="center", va="center")


# What a token reads ---------------------------------------------------------------------------


@course_style()
def draw_reads(reads: dict[str, dict[str, int]]) -> Figure:
    """A bar for each model, in millions of weights, in the colours of its parts."""
    figure, ax = new_figure(9, 0.9 + 0.45 * len(reads))
    millions = {
        name: {part: row.get(part, 0) / 1e6 for part in PARTS} for name, row in reads.items()
    }
    y, totals = stacked_bars(ax, millions, PART_COLOURS, height=0.7)
    name_bars(ax, y, totals, [f"{total:,.1f} M" for total in totals], room=1.17, color=INK)
    ax.set(xlabel="weights that one token reads (millions)")
    ax.legend(loc="lower right")
    return figure


def show_reads(
    model: str,
    sparse_ff: bool,
    sparse_qkv: bool,
    sparse_readout: bool,
    *,
    gb_per_second: float | int,
) -> None:
    """Widget callback: what a token reads, and what that takes if memory is all that counts."""
    dense = weights_read(model, False, False, False)
    ours = weights_read(model, sparse_ff, sparse_qkv, sparse_readout)
    total, of_dense = sum(ours.values()), sum(dense.values())
    seconds = total * BYTES / (gb_per_second * 1e9)
    show(
        draw_reads({"dense": dense, "as chosen": ours}),
        f"A token reads {total / 1e6:,.1f} million weights, in the dense model "
        f"{of_dense / total:.1f} times as many. At {gb_per_second:.0f} GB/s that is "
        f"{1000 * seconds:,.1f} ms a token, or {1 / seconds:,.0f} tokens a second, in float32.",
    )


# Seconds --------------------------------------------------------------------------------------


@course_style()
def draw_bytes_against_time(measured: dict[str, tuple], gb_per_second: float | int) -> Figure:
    """Each model at (bytes read, seconds) of a token; the line is what memory allows."""
    figure, ax = new_figure(7, 3.8)
    n_bytes = np.array([point[0] for point in measured.values()])
    ends = np.array([n_bytes.min() / 2, n_bytes.max() * 2])
    line = 1000 * ends / (gb_per_second * 1e9)
    ax.loglog(ends / 1e6, line, "--", color=INK, linewidth=1)
    ax.annotate(
        f"{gb_per_second:.0f} GB/s",
        (ends.prod() ** 0.5 / 1e6, line.prod() ** 0.5),
        xytext=(6, -12),
        textcoords="offset points",
    )
    for i, (name, (read, seconds)) in enumerate(measured.items()):
        marker = MARKERS[i % len(MARKERS)]
        ax.plot(read / 1e6, 1000 * seconds, marker, markersize=8, color=f"C{i}", label=name)
    ax.set(xlabel="weights that one token reads (MB)", ylabel="milliseconds a token")
    _plain_numbers(ax.xaxis, ax.yaxis)
    ax.legend(loc="upper left")
    return figure


@course_style()
def draw_speedups(tables: dict[str, dict[str, float | int]]) -> Figure:
    """Bars: how many times faster than dense, for each source of figures and each technique.

    They begin at 1, so what is slower than dense hangs down.
    """
    figure, ax = new_figure(9, 3.4)
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    places, width = side_by_side(len(names), len(tables), share=0.88)
    for x, (source, table) in zip(places, tables.items(), strict=True):
        heights = np.array([table.get(name, np.nan) for name in names])
        bars = ax.bar(x, heights - 1, width, bottom=1, label=source)
        ax.bar_label(bars, [_times(height) for height in heights], fontsize=7, padding=2)
    ax.set_yscale("log")
    speedups = [1, *(height for table in tables.values() for height in table.values())]
    ax.set_ylim(0.75 * min(speedups), 1.8 * max(speedups))
    _plain_numbers(ax.yaxis)
    ax.axhline(1, color=INK, linewidth=0.8)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="times faster than dense")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left")
    return figure


def _plain_numbers(*axes: Axis) -> None:
    """On a logarithmic axis 1, 2, 5, 10 and not 10¹."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _times(height: float | int) -> str:
    return "" if np.isnan(height) else f"{height:.3g}×"


@course_style()
def draw_savings(tables: dict[str, dict[str, float | int]]) -> Figure:
    """What feed-forward and QKV save alone, one upon the other, beside what both save together.

    Each table has the keys "+FF", "+QKV" and "both", in percent of the dense model's time.
    """
    figure, ax = new_figure(8, 3.4)
    for i, saved in enumerate(tables.values()):
        alone = {"feed-forward alone": saved["+FF"], "QKV alone": max(saved["+QKV"], 0)}
        bottom = 0.0
        for (name, height), colour in zip(alone.items(), BUCKET_COLOURS, strict=False):
            label = name if i == 0 else None
            ax.bar(i - 0.2, height, 0.36, bottom=bottom, color=colour, label=label)
            bottom += height
        label = "both together" if i == 0 else None
        ax.bar(i + 0.2, saved["both"], 0.36, color=ORANGE, label=label)
    ax.set_xticks(range(len(tables)), list(tables))
    ax.set(ylabel="saved, % of dense", ylim=(0, 135))
    ax.set_yticks(range(0, 101, 20))
    ax.grid(axis="x", visible=False)
    ax.legend(ncols=3, loc="upper center")
    return figure
