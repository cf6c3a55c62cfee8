"""What the pictures of several chapters are made of: lines with names, bars in parts, axes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes


def named_line(ax: Axes, x, y, name: str, **look) -> None:
    """A line with its name at its end, in its colour, instead of a legend."""
    (line,) = ax.plot(x, y, **look)
    place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
    ax.annotate(name, (x[-1], y[-1]), color=line.get_color(), **place)


def stacked_bars(
    ax: Axes, rows: dict[str, dict], colours: dict | None = None, **look
) -> tuple[np.ndarray, np.ndarray]:
    """A horizontal bar for each row, the first on top, made of its parts.

    ``rows`` holds sizes by part by row. Returns the bars' places and their lengths.
    """
    y, left = -np.arange(len(rows)), np.zeros(len(rows))
    for part in dict.fromkeys(part for row in rows.values() for part in row):
        sizes = np.array([row.get(part, 0) for row in rows.values()])
        ax.barh(y, sizes, left=left, label=part, color=(colours or {}).get(part), **look)
        left += sizes
    ax.set_yticks(y, list(rows))
    return y, left


def name_bars(ax: Axes, y, sizes, names: Sequence[str], *, room: float = 1.2, **look) -> None:
    """A name behind the end of each bar; the axis is ``room`` times as long as the longest."""
    for place, size, name in zip(y, sizes, names, strict=True):
        ax.text(size, place, f" {name}", va="center", **look)
    ax.set_xlim(0, room * max(sizes))
    ax.grid(False, axis="y")


def side_by_side(n_groups: int, n_bars: int, share: float = 0.8) -> tuple[np.ndarray, float]:
    """(n_bars, n_groups) places for groups of bars around 0, 1, 2, …, and the width of a bar."""
    width = share / n_bars
    offsets = (np.arange(n_bars) - (n_bars - 1) / 2) * width
    return np.arange(n_groups) + offsets[:, None], width


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """At each step the mean of the last ``window`` values, at the beginning of those there are."""
    ends = range(1, len(values) + 1)
    return np.array([np.mean(values[max(0, end - window) : end]) for end in ends])


def powers_of_two(ax: Axes, numbers: Sequence, labels: Sequence[str] | None = None, **look) -> None:
    """A logarithmic x axis with a tick at each of these numbers and no other."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(numbers, labels or [f"{n:,.0f}" for n in numbers], **look)
    ax.minorticks_off()
