"""The pictures of chapter 08: bucket, sort, chunk, attend; who reaches whom; errors and leaks."""

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from efftx.attention import reach_count, sort_by_bucket
from efftx.plots.colours import BUCKET_COLOURS, INK, MARKERS, ORANGE, bucket_colour, letter
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import named_line, powers_of_two

STEPS = ("the sequence", "1  bucket", "2  sort", "3  chunk", "4  attend")
ROW_HEIGHT, GAP = 2.1, 0.6  # between rows, and between chunks
FAINT = "#AAAAAA"


def _sorted_positions(buckets: np.ndarray) -> np.ndarray:
    return np.asarray(sort_by_bucket(jnp.asarray(buckets), int(buckets.max()) + 1))


def _reached(buckets: np.ndarray, chunk_len: int) -> np.ndarray:
    """(length, length): which query reaches which key."""
    return np.asarray(reach_count(jnp.asarray(buckets)[None], chunk_len=chunk_len)) > 0


@course_style()
def draw_steps(
    text: str, buckets: np.ndarray, chunk_len: int, *, n_steps: int = 4, query: int | None = None
) -> Figure:
    """The first ``n_steps`` of bucket, sort, chunk and attend, as rows from top to bottom.

    ``buckets`` (length,) holds one round's bucket of each character of ``text``. ``query`` is a
    position whose way is drawn in orange: where it is sorted to, and what it attends to.
    """
    order = _sorted_positions(buckets)
    reach = _reached(buckets, chunk_len)
    in_order, place = np.arange(len(text)), np.argsort(order)
    x_chunked = place + GAP * (place // chunk_len)
    width = len(text) + GAP * (len(text) // chunk_len)
    figure, ax = new_figure(9, 5)
    rows = [(in_order, False), (in_order, True), (place, True), (x_chunked, True)]
    for row, (x, coloured) in enumerate(rows[: n_steps + 1]):
        _draw_row(ax, text, x, -ROW_HEIGHT * row, buckets if coloured else None, query)
    if n_steps >= 2:
        _draw_lines(ax, zip(in_order, place, in_order, strict=True), 1, query, faint=0.6)
    if n_steps >= 4:
        _draw_row(ax, text, x_chunked, -ROW_HEIGHT * 4, buckets, query)
        pairs = [(x_chunked[j], x_chunked[i], i) for i, j in zip(*np.nonzero(reach), strict=True)]
        _draw_lines(ax, pairs, 3, query, faint=0.8)
    for row, label in enumerate(STEPS[: n_steps + 1]):
        ax.text(-1, -ROW_HEIGHT * row + 0.5, label, ha="right", va="center", weight="bold")
    ax.set(xlim=(-6, width + 0.5), ylim=(-ROW_HEIGHT * 4 - 0.3, 1.3))
    ax.axis("off")
    return figure


def _draw_row(ax: Axes, text: str, x, y: float, buckets, query: int | None) -> None:
    for i, character in enumerate(text):
        colour = "white" if buckets is None else bucket_colour(buckets[i])
        edge, line = (ORANGE, 2.5) if i == query else ("#888888", 0.6)
        box = Rectangle((x[i], y), 1, 1, facecolor=colour, edgecolor=edge, linewidth=line)
        box.set_zorder(3 if i == query else 2)
        ax.add_patch(box)
        ax.text(
            x[i] + 0.5, y + 0.47, letter(character), ha="center", va="center", fontsize=9, zorder=4
        )


def _draw_lines(ax: Axes, lines, row: int, query: int | None, *, faint: float) -> None:
    """Lines (x above, x below, query that they belong to) from a row down to the next."""
    y = -ROW_HEIGHT * row
    for above, below, i in lines:
        colour, line = (ORANGE, 2) if i == query else (FAINT, faint)
        x = (above + 0.5, below + 0.5)
        ax.plot(x, (y, y - ROW_HEIGHT + 1), color=colour, linewidth=line, zorder=1 + (i == query))


def step_through(step: int, query: int, *, text: str, buckets: np.ndarray, chunk_len: int) -> None:
    """Widget callback: the picture up to a step, with one query's way in orange."""
    keys = np.flatnonzero(_reached(buckets, chunk_len)[query])
    place = int(np.argsort(_sorted_positions(buckets))[query])
    said = [
        f"Query {query} is the character {text[query]!r}.",
        f"It hashes into bucket {buckets[query]}.",
        f"Sorting by (bucket, position) takes it to place {place}.",
        f"That is chunk {place // chunk_len}; it may look there and one chunk back.",
        f"It attends to {len(keys)} of the {query} characters before it"
        + (": " + ", ".join(f"{text[j]!r} at {j}" for j in keys) if len(keys) else "")
        + (", or rather to itself." if not len(keys) else "."),
    ]
    show(
        draw_steps(text, buckets, chunk_len, n_steps=step, query=query), " ".join(said[: step + 1])
    )


@course_style()
def draw_reach(buckets: np.ndarray, chunk_len: int) -> Figure:
    """Which query (row) reaches which key (column): by bucket, sorted, and after chunking.

    ``buckets`` (length,) are those of one round. The three matrices hold the same kind of pairs:
    same bucket and not later; then the same sorted by bucket; then what the chunks leave of it.
    """
    length = len(buckets)
    order = _sorted_positions(buckets)
    position = np.arange(length)
    same = (buckets[:, None] == buckets) & (position < position[:, None])
    reached = _reached(buckets, chunk_len)
    figure, axes = new_figure(9, 3.4, ncols=3)
    panels = [
        ("same bucket, not later", same, position),
        ("the same, sorted", same, order),
        ("own chunk and one before", reached, order),
    ]
    for ax, (title, pairs, by) in zip(axes, panels, strict=True):
        picture = np.where(pairs, buckets[:, None] % len(BUCKET_COLOURS) + 1, 0)[np.ix_(by, by)]
        colours = ListedColormap(["white", *BUCKET_COLOURS])
        ax.imshow(picture, cmap=colours, vmin=0, vmax=len(BUCKET_COLOURS), interpolation="nearest")
        ax.set_title(title)
        ax.set(xlabel="key (sorted)" if by is order else "key", xticks=[], yticks=[])
        ax.grid(False)
        for side in ("top", "right"):
            ax.spines[side].set_visible(True)
    axes[0].set_ylabel("query")
    _outline_windows(axes[2], length, chunk_len)
    return figure


def _outline_windows(ax: Axes, length: int, chunk_len: int) -> None:
    for start in range(0, length, chunk_len):
        left = max(0, start - chunk_len)
        height = min(chunk_len, length - start)
        corner = (left - 0.5, start - 0.5)
        size = (start + height - left, height)
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=INK, linewidth=0.8))


@course_style()
def draw_errors(n_hashes, errors: dict[str, np.ndarray], *, ylabel: str) -> Figure:
    """One line for each named series of errors against the number of rounds."""
    figure, ax = new_figure(7, 3.4)
    for (name, values), marker in zip(errors.items(), MARKERS, strict=False):
        named_line(ax, n_hashes, values, name, marker=marker)
    powers_of_two(ax, n_hashes)
    ax.set(xlabel="rounds of hashing (n_hashes)", ylabel=ylabel)
    ax.set_ylim(bottom=0)
    ax.set_xlim(right=n_hashes[-1] * 1.9)
    return figure


@course_style()
def draw_leak(changes: dict[str, np.ndarray]) -> Figure:
    """How much each position's output changes when only the last position's input changes."""
    figure, axes = new_figure(9, 2.6, ncols=len(changes), sharey=True)
    for ax, (title, change) in zip(np.atleast_1d(axes), changes.items(), strict=True):
        ax.plot(np.arange(len(change)), change, ".", color=ORANGE, markersize=4)
        ax.set_title(title)
        ax.set(xlabel="position")
    np.atleast_1d(axes)[0].set_ylabel("relative change")
    return figure


@course_style()
def draw_times(curves: dict[str, dict[int, float]], *, ylabel: str = "seconds") -> Figure:
    """One line for each named series, length → time; lines of one kind of name share a style."""
    figure, ax = new_figure(8, 4.2)
    styles = {"LSH": "-", "exact": "--"}
    markers = dict.fromkeys(styles, 0)
    for name, seconds in curves.items():
        kind = next(kind for kind in styles if name.startswith(kind))
        marker, markers[kind] = MARKERS[markers[kind]], markers[kind] + 1
        lengths = sorted(seconds)
        ax.plot(lengths, [seconds[n] for n in lengths], styles[kind], marker=marker, label=name)
    ax.set_yscale("log")
    lengths = sorted({length for seconds in curves.values() for length in seconds})
    powers_of_two(ax, lengths, [f"{n // 1024}k" for n in lengths])
    ax.set(xlabel="length (positions)", ylabel=ylabel)
    ax.legend(loc="upper left")
    return figure
