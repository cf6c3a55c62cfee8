"""The pictures of chapter 07: buckets on the circle and in a text, collisions, what rounds find."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, Wedge

from efftx.numbers.hashing import (
    N_DIRECTIONS,
    N_TURNS,
    TURNS,
    buckets_of,
    directions,
    fan,
    found_by,
    shares_together,
)
from efftx.plots.colours import BLUE, GREY, INK, MARKERS, ORANGE, bucket_colour, letter
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import side_by_side

# On the circle


@course_style()
def draw_circles(pairs: np.ndarray, rotations: np.ndarray) -> Figure:
    """Each pair of vectors (row) under each rotation (column): the arcs are the buckets.

    ``pairs`` is (n_pairs, 2, 2), vectors of length one; ``rotations`` (n_hashes, 2, n_buckets / 2).
    """
    shape = dict(nrows=len(pairs), ncols=len(rotations), squeeze=False)
    figure, axes = new_figure(7.5, 2.55 * len(pairs), **shape)
    for row, pair in zip(axes, pairs, strict=True):
        for n, (ax, rotation) in enumerate(zip(row, rotations, strict=True)):
            first, second = draw_circle(ax, rotation, pair)
            said = f"bucket {first}, both" if first == second else f"buckets {first} and {second}"
            ax.set_title(f"rotation {n + 1}: {said}", fontsize=9, weight="normal")
    return figure


def draw_circle(ax: Axes, rotation: np.ndarray, pair: np.ndarray) -> tuple[int, int]:
    """The circle with its buckets as arcs and two vectors on it; returns their buckets."""
    _draw_arcs(ax, rotation)
    buckets = buckets_of(pair, rotation[None])[0]
    together = buckets[0] == buckets[1]
    for name, (x, y) in zip("xy", pair, strict=True):
        ax.plot([0, x], [0, y], color=INK, linewidth=1.2)
        ax.plot(x, y, "o", color=INK if together else ORANGE, markersize=6)
        ax.text(1.5 * x, 1.5 * y, name, ha="center", va="center", style="italic", fontsize=11)
    ax.set(xlim=(-1.6, 1.6), ylim=(-1.4, 1.6), aspect="equal")
    ax.axis("off")
    return int(buckets[0]), int(buckets[1])


def _draw_arcs(ax: Axes, rotation: np.ndarray) -> None:
    angles = 2 * np.pi / N_DIRECTIONS * (np.arange(N_DIRECTIONS) + 0.5)
    buckets = buckets_of(directions(angles), rotation[None])[0]
    border = 360 / N_DIRECTIONS * np.flatnonzero(buckets != np.roll(buckets, 1))
    for start, end in zip(border, [*border[1:], border[0] + 360], strict=True):
        middle = math.radians((start + end) / 2)
        bucket = buckets[int((start + end) / 2 / 360 * N_DIRECTIONS) % N_DIRECTIONS]
        arc = Wedge((0, 0), 1.35, start, end, width=0.25, facecolor=bucket_colour(bucket))
        arc.set(edgecolor="white", linewidth=1.5)
        ax.add_patch(arc)
        x, y = 1.22 * np.cos(middle), 1.22 * np.sin(middle)
        ax.text(x, y, str(bucket), ha="center", va="center", fontsize=8, color=INK)


@course_style()
def turn_the_circle(turn: int, apart: int, n_buckets: int) -> None:
    """Widget callback: two vectors ``apart`` degrees apart in the ``turn``-th of many rotations."""
    figure, (left, right) = new_figure(8, 3.4, ncols=2, width_ratios=[1, 1.25])
    pair = directions(np.radians([90 + apart / 2, 90 - apart / 2]))
    first, second = draw_circle(left, fan(TURNS[turn - 1], n_buckets), pair)
    shares = shares_together(n_buckets)
    right.plot(np.arange(0, 181, 5), shares[::5], ".", color=GREY)
    right.plot([0, 360 / n_buckets, 180], [1, 0, 0], color=BLUE, linewidth=1.5)
    right.plot(apart, shares[apart], "o", color=ORANGE, markersize=9)
    right.set(xlabel="angle between x and y (degrees)", ylabel="share of turns")
    right.set(xticks=range(0, 181, 30), xlim=(-5, 185))
    right.set_title(f"the same bucket, in {N_TURNS} turns")
    where = f"bucket {first}, both" if first == second else f"buckets {first} and {second}"
    show(
        figure,
        f"Turn {turn}: {where}. At {apart} degrees, x and y share one of {n_buckets} buckets in "
        f"{round(N_TURNS * shares[apart])} of {N_TURNS} random turns (orange). The line is "
        "1 - angle / width of an arc.",
    )


# In a text


@course_style()
def draw_text(text: str, buckets: np.ndarray, per_row: int = 64) -> Figure:
    """The text in rows, every character in its bucket's colour."""
    n_rows = math.ceil(len(text) / per_row)
    figure, ax = new_figure(9, 0.34 * n_rows + 0.1)
    for i, (character, bucket) in enumerate(zip(text, buckets, strict=True)):
        x, y = i % per_row, -1.6 * (i // per_row)
        look = {"facecolor": bucket_colour(bucket), "edgecolor": "white", "linewidth": 0.5}
        ax.add_patch(Rectangle((x, y), 1, 1.4, **look))
        ax.text(x + 0.5, y + 0.65, letter(character), ha="center", va="center", fontsize=8)
    ax.set(xlim=(0, per_row), ylim=(-1.6 * (n_rows - 1) - 0.1, 1.5))
    ax.axis("off")
    return figure


@course_style()
def draw_sizes(sizes: dict[str, np.ndarray]) -> Figure:
    """How many vectors each bucket holds, the fullest first, for each named kind of vectors."""
    figure, ax = new_figure(7, 3)
    places, width = side_by_side(len(next(iter(sizes.values()))), len(sizes))
    for place, (name, counts) in zip(places, sizes.items(), strict=True):
        ax.bar(1 + place, np.sort(counts)[::-1], width, label=name)
    mean, ticks = counts.mean(), range(1, len(counts) + 1)
    ax.axhline(mean, color=INK, linewidth=1, linestyle="--", label=f"all alike: {mean:.0f}")
    ax.set(xlabel="bucket, the fullest first", ylabel="vectors in the bucket", xticks=ticks)
    ax.legend()
    return figure


# Collisions


@course_style()
def draw_curves(degrees, curves: dict[str, tuple], *, ylabel: str = "chance to meet") -> Figure:
    """Chances against the angle, a named line each: (theory,) or (theory, measured, deviation).

    ``degrees`` are the angles of every array; measured points get bars of two deviations.
    """
    figure, ax = new_figure(7, 3.6)
    for n, (name, (theory, *measured)) in enumerate(curves.items()):
        (line,) = ax.plot(degrees, theory, label=name, linewidth=1.5)
        if measured:
            frequency, deviation = measured
            shape = dict(fmt=MARKERS[n % len(MARKERS)], color=line.get_color(), capsize=2)
            ax.errorbar(degrees, frequency, 2 * np.asarray(deviation), linewidth=1, **shape)
    ax.set(xlabel="angle between the vectors (degrees)", ylabel=ylabel)
    ax.set(xticks=range(0, 181, 30), xlim=(0, max(degrees)), ylim=(-0.03, 1.03))
    ax.legend()
    return figure


@course_style()
def draw_angles(angles: dict[str, np.ndarray]) -> Figure:
    """How the angles (degrees) between all pairs are spread, for each named kind of vectors."""
    figure, ax = new_figure(7, 2.8)
    for name, values in angles.items():
        look = {"weights": np.full(len(values), 100 / len(values)), "histtype": "step"}
        ax.hist(values, range(0, 181, 3), linewidth=1.8, label=name, **look)
    ax.set(xlabel="angle between two vectors (degrees)", xticks=range(0, 181, 30))
    ax.set(ylabel="% of pairs in 3 degrees")
    ax.legend()
    return figure


# What rounds find


@course_style()
def draw_found(found: dict[str, tuple], n_hashes: tuple[int, ...]) -> Figure:
    """Share of the attention found against the scores computed, a named line each.

    ``found`` holds (scores as a share of all pairs, mass), an entry for each of ``n_hashes``.
    """
    figure, ax = new_figure(7, 3.8)
    for marker, (name, (scores, mass)) in zip(MARKERS, found.items(), strict=False):
        ax.plot(scores, mass, marker=marker, label=name, linewidth=1.5)
    smallest = 0.8 * min(np.min(scores) for scores, _ in found.values())
    largest = max(1.0, *(np.max(scores) for scores, _ in found.values()))
    ax.axvline(1, color=GREY, linestyle="--", linewidth=1, label="the full matrix")
    ax.set_xscale("log")
    ax.set_xticks([0.01, 0.03, 0.1, 0.3, 1, 3], ["1%", "3%", "10%", "30%", "all", "3 ×"])
    ax.minorticks_off()
    ax.set(xlim=(smallest, 1.1 * largest), ylim=(0, 1.03))
    ax.set(xlabel="scores computed, of the full matrix", ylabel="share of the attention found")
    ax.legend(title=f"points: {', '.join(map(str, n_hashes))} rounds", title_fontsize=9)
    return figure


@course_style()
def show_found(
    n_hashes: int, n_buckets: int, *, weights: np.ndarray, rounds: dict[int, np.ndarray]
) -> None:
    """Widget callback: which part of an attention map the first ``n_hashes`` rounds find.

    ``weights`` (length, length) is the map; ``rounds`` holds (most_rounds, length) buckets for each
    number of buckets.
    """
    buckets, so_far = rounds[n_buckets], range(1, len(rounds[n_buckets]) + 1)
    n_pairs, n_queries = math.comb(len(weights), 2), len(weights) - 1  # the first query has none
    reached = [found_by(buckets[:n]) for n in so_far]
    pairs = np.array([found.sum() / n_pairs for found in reached])
    mass = np.array([weights[found].sum() / n_queries for found in reached])
    figure, (left, right) = new_figure(8.5, 3.9, ncols=2)
    _draw_map(left, weights, reached[n_hashes - 1])
    for values, name, line in [(mass, "of the attention", BLUE), (pairs, "of the pairs", GREY)]:
        right.plot(so_far, values, ".-", color=line, label=name)
        right.plot(n_hashes, values[n_hashes - 1], "o", color=line, markersize=9)
    right.set(xlabel="rounds of hashing", ylabel="share found", ylim=(0, 1.03))
    right.legend(loc="upper left", bbox_to_anchor=(0, 0.97))
    show(
        figure,
        f"{n_hashes} {'rounds' if n_hashes > 1 else 'round'} with {n_buckets} buckets compare "
        f"{pairs[n_hashes - 1]:.0%} of the pairs and find {mass[n_hashes - 1]:.0%} of the "
        "attention. Blue is found and orange is missed, the darker the more weight; grey was "
        "compared and has none.",
    )


def _draw_map(ax: Axes, weights: np.ndarray, found: np.ndarray) -> None:
    """Weights in blue where found and in orange where not; grey: found though it has no weight."""
    strength = np.sqrt(np.tril(weights, -1))[..., None]  # the root shows small weights too
    ink = np.where(found[..., None], to_rgb(BLUE), to_rgb(ORANGE))
    paper = np.where(found, 0.93, 1.0)[..., None]
    ax.imshow((1 - strength) * paper + strength * ink)
    ax.set(xlabel="key", ylabel="query")
    ax.grid(False)
