"""The pictures of chapter 04: a layer and the chunk that is being worked on; bytes and seconds."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import StrMethodFormatter

from efftx.plots.colours import BUCKET_COLOURS, INK, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import powers_of_two

VECTORS, WIDE = BUCKET_COLOURS[0], BUCKET_COLOURS[1]
BYTES = 4  # of a float32 number
PANEL = 2.6  # height of all positions, in the units of the picture
WIDEST = 4.0  # of the hidden layer


def mib(n_numbers: int) -> str:
    """The size of so many float32 numbers, for people."""
    size = n_numbers * BYTES / 2**20
    return f"{size:,.0f} MiB" if size >= 10 else f"{size:.2g} MiB"


@course_style()
def draw_layer(length: int, d_model: int, d_ff: int, chunk_len: int) -> Figure:
    """Input, hidden layer and output of a feed-forward layer, to scale, and the chunk at work.

    What exists is filled; what would exist without chunks is dashed. The chunk drawn is the second,
    or the only one.
    """
    chunk_len = min(chunk_len, length)
    figure, ax = new_figure(9, 3.4)
    narrow = max(WIDEST * d_model / d_ff, 0.12)
    parts = [("x", narrow, d_model), ("hidden", WIDEST, d_ff), ("output", narrow, d_model)]
    start = min(chunk_len, length - chunk_len)
    left = 0.0
    for name, width, n_columns in parts:
        wide = name == "hidden"
        _draw_rows(ax, (left, width), (0, 1), VECTORS, filled=not wide)
        if wide:
            _draw_rows(ax, (left, width), (start / length, chunk_len / length), WIDE, filled=True)
        exists = chunk_len if wide else length
        label = f"{name}\n{exists:,} × {n_columns:,}\n{mib(exists * n_columns)}"
        ax.text(left + width / 2, -0.15, label, ha="center", va="top", fontsize=9)
        left += width + 1.2
    _arrows(ax, narrow, (start + chunk_len / 2) / length)
    ax.set(xlim=(-1.1, left), ylim=(-1.1, PANEL + 0.1))
    ax.text(-0.25, PANEL / 2, f"{length:,} positions", rotation=90, ha="center", va="center")
    ax.axis("off")
    return figure


def _draw_rows(ax: Axes, x, rows, colour: str, *, filled: bool) -> None:
    """A box over a share of the positions, counted from the top."""
    (left, width), (first, share) = x, rows
    style = {"facecolor": colour} if filled else {"fill": False, "linestyle": "--"}
    bottom = PANEL * (1 - first - share)
    ax.add_patch(Rectangle((left, bottom), width, PANEL * share, edgecolor=INK, **style))


def _arrows(ax: Axes, narrow: float, middle: float) -> None:
    y = PANEL * (1 - middle)
    for left in (narrow + 0.15, narrow + WIDEST + 1.35):
        head = {"arrowstyle": "->", "color": ORANGE, "linewidth": 2}
        ax.annotate("", (left + 0.9, y), (left, y), arrowprops=head)


def show_layer(chunk_len: int, *, length: int, d_model: int, d_ff: int) -> None:
    """Widget callback: the layer with another chunk length, and what it comes to in words."""
    n_chunks = -(-length // chunk_len)
    chunks = "one chunk" if n_chunks == 1 else f"{n_chunks:,} chunks"
    weights = 2 * d_model * d_ff
    hidden = min(chunk_len, length) * d_ff
    share = "more" if hidden > weights else "less"
    show(
        draw_layer(length, d_model, d_ff, chunk_len),
        f"{chunks.capitalize()} of {chunk_len:,} positions. Of the hidden layer {mib(hidden)} "
        f"exist at a time, where all of it would be {mib(length * d_ff)}. That is {share} than the "
        f"two weight matrices, {mib(weights)}, which no chunking makes smaller.",
    )


@course_style()
def draw_costs(
    chunk_lens, n_bytes, seconds, *, levels: dict[str, int], whole_seconds: float
) -> Figure:
    """Working memory and time of a layer's forward and backward pass against the chunk length.

    ``levels`` are other numbers of bytes to compare with, by name, as that of the layer without
    chunks; they and its time, ``whole_seconds``, are drawn as dashed lines.
    """
    figure, (memory, time) = new_figure(9, 3.5, ncols=2)
    memory.loglog(chunk_lens, [n / 2**20 for n in n_bytes], marker="o", base=2)
    for name, level in levels.items():
        _level(memory, chunk_lens, level / 2**20, name)
    memory.set(title="working memory", ylabel="MiB")
    memory.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    memory.set_ylim(top=2 * max(levels.values()) / 2**20)
    time.semilogx(chunk_lens, [1000 * s for s in seconds], marker="o", base=2)
    _level(time, chunk_lens, 1000 * whole_seconds, "without chunks")
    time.set(title="forward and backward", ylabel="milliseconds")
    time.set_ylim(bottom=0)
    for ax in (memory, time):
        ax.set_xlabel("chunk length m (positions)")
        powers_of_two(ax, chunk_lens, fontsize=8)
    return figure


def _level(ax: Axes, x, y: float | int, name: str) -> None:
    ax.axhline(y, color=INK, linewidth=1, linestyle="--")
    style = {"ha": "right", "fontsize": 9, "color": INK}
    ax.annotate(name, (x[-1], y), xytext=(0, 3), textcoords="offset points", **style)
