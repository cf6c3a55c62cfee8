"""The pictures of chapter 07, over everything that its sliders can be set to."""

import math
import re

import numpy as np
import pytest
from matplotlib.patches import Wedge

from efftx.numbers import hashing as numbers
from efftx.plots import figures
from efftx.plots import hashing as pictures

N_BUCKETS = (2, 4, 6, 8)
APART = range(0, 181, 10)
LENGTH, MOST_ROUNDS = 12, 3
RNG = np.random.default_rng(0)
ROUNDS = {b: RNG.integers(b, size=(MOST_ROUNDS, LENGTH)) for b in (2, 4)}
WEIGHTS = np.tril(RNG.exponential(size=(LENGTH, LENGTH)), -1)
WEIGHTS[0, 0] = 1
WEIGHTS /= WEIGHTS.sum(axis=1, keepdims=True)


@pytest.fixture
def shown(monkeypatch):
    """What a widget shows: its figures and their captions."""
    pages = []
    monkeypatch.setattr(pictures, "show", lambda figure, caption: pages.append((figure, caption)))
    return pages


def arcs(ax) -> list[Wedge]:
    return [patch for patch in ax.patches if isinstance(patch, Wedge)]


# On the circle


@pytest.mark.parametrize("n_buckets", N_BUCKETS)
@pytest.mark.parametrize("turn", [0.0, 1.0, 5.0])
def test_arcs_are_the_buckets(n_buckets, turn):
    _, ax = figures.new_figure(3, 3)
    rotation = numbers.fan(turn, n_buckets)
    pictures.draw_circle(ax, rotation, np.eye(2))
    assert len(arcs(ax)) == n_buckets
    for arc in arcs(ax):
        assert arc.theta2 - arc.theta1 == pytest.approx(360 / n_buckets, abs=1)
        inside = np.radians(np.linspace(arc.theta1 + 1, arc.theta2 - 1, 9))
        (buckets,) = numbers.buckets_of(numbers.directions(inside), rotation[None])
        assert len(set(buckets)) == 1
        assert matches(arc.get_facecolor(), pictures.bucket_colour(buckets[0]))


def matches(rgba, name: str) -> bool:
    return np.allclose(rgba[:3], [int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_circles_say_who_is_together():
    close = numbers.directions(np.radians([1, 2]))
    opposite = numbers.directions(np.radians([0, 180]))
    figure = pictures.draw_circles(np.stack([close, opposite]), numbers.fan(np.pi, 4)[None])
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["rotation 1: bucket 2, both", "rotation 1: buckets 2 and 0"]


SETTINGS = [(turn, 60) for turn in range(1, 13)] + [(1, apart) for apart in APART]


@pytest.mark.parametrize("n_buckets", N_BUCKETS)
@pytest.mark.parametrize(("turn", "apart"), SETTINGS)
def test_the_circle_turns_to_every_setting(turn, apart, n_buckets, shown):
    pictures.turn_the_circle(turn, apart, n_buckets)
    ((figure, caption),) = shown
    count = int(re.search(r"in (\d+) of 200", caption)[1])
    assert count == round(200 * numbers.shares_together(n_buckets)[apart])
    (orange,) = [line for line in figure.axes[1].lines if line.get_markersize() == 9]
    assert orange.get_ydata()[0] == pytest.approx(count / 200)
    pair = numbers.directions(np.radians([90 + apart / 2, 90 - apart / 2]))
    rotation = numbers.fan(numbers.TURNS[turn - 1], n_buckets)
    together = len(set(numbers.buckets_of(pair, rotation[None])[0])) == 1
    assert ("both" in caption) == together
    assert together or apart > 0


# In a text


def test_every_character_has_its_bucket_s_colour():
    text, buckets = "a b\na b", np.array([0, 1, 2, 3, 0, 1, 9])
    (ax,) = pictures.draw_text(text, buckets, per_row=4).axes
    assert [label.get_text() for label in ax.texts] == list("a␣b↵a␣b")
    for box, bucket in zip(ax.patches, buckets, strict=True):
        assert matches(box.get_facecolor(), pictures.bucket_colour(bucket))
    assert [box.get_x() for box in ax.patches] == [0, 1, 2, 3, 0, 1, 2]
    assert len({box.get_y() for box in ax.patches}) == 2


def test_sizes_stand_in_falling_order_beside_their_mean():
    sizes = {"real": np.array([1, 7, 4, 0]), "random": np.array([3, 3, 2, 4])}
    (ax,) = pictures.draw_sizes(sizes).axes
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [7, 4, 1, 0, 4, 3, 3, 2]
    assert ax.lines[0].get_ydata()[0] == 3


# Curves


def test_curves_have_lines_by_theory_and_points_where_measured():
    degrees, theory = np.array([0, 90, 180]), np.array([1, 0.5, 0])
    curves = {"both": (theory, theory + 0.01, np.full(3, 0.02)), "theory": (theory / 2,)}
    (ax,) = pictures.draw_curves(degrees, curves).axes
    lines = [line for line in ax.lines if len(line.get_ydata()) == 3]
    assert {line.get_label() for line in lines} >= {"both", "theory"}
    assert len(ax.containers) == 1  # of points with bars
    points = ax.containers[0].lines[0]
    np.testing.assert_allclose(points.get_ydata(), theory + 0.01)
    assert points.get_color() == ax.lines[0].get_color()


def test_angles_are_shares_of_all_pairs():
    (ax,) = pictures.draw_angles({"one": np.array([10, 10, 100]), "two": np.array([50])}).axes
    one, two = sorted(max(outline.get_xy()[:, 1]) for outline in ax.patches)
    assert (one, two) == (pytest.approx(200 / 3), 100)


def test_found_is_held_against_the_full_matrix():
    figure = pictures.draw_found({"4 buckets": ([0.25, 1.5], [0.5, 0.8])}, (1, 2))
    line, full = figure.axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.25, 1.5], [0.5, 0.8])
    assert list(full.get_xdata()) == [1, 1]
    assert figure.axes[0].get_xlim()[1] > 1.5


# What rounds find


@pytest.mark.parametrize("n_buckets", ROUNDS)
@pytest.mark.parametrize("n_hashes", range(1, MOST_ROUNDS + 1))
def test_the_map_shows_what_is_found(n_hashes, n_buckets, shown):
    pictures.show_found(n_hashes, n_buckets, weights=WEIGHTS, rounds=ROUNDS)
    figure, caption = shown[0]
    rounds = ROUNDS[n_buckets][:n_hashes]
    found = {
        (i, j) for i in range(LENGTH) for j in range(i) if (rounds[:, i] == rounds[:, j]).any()
    }
    mass = sum(WEIGHTS[pair] for pair in found) / (LENGTH - 1)
    pairs = len(found) / math.comb(LENGTH, 2)
    assert f"compare {pairs:.0%} of the pairs and find {mass:.0%} of" in caption
    picture = np.asarray(figure.axes[0].images[0].get_array())
    blue = picture[..., 2] > picture[..., 0]
    assert {(i, j) for i, j in np.argwhere(blue)} == found
    mass_line, _, pairs_line, _ = figure.axes[1].lines
    assert mass_line.get_ydata()[n_hashes - 1] == pytest.approx(mass)
    assert pairs_line.get_ydata()[n_hashes - 1] == pytest.approx(pairs)


def test_widgets_show_figures(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.turn_the_circle(1, 30, 4)
    pictures.show_found(1, 2, weights=WEIGHTS, rounds=ROUNDS)
    assert len(pages) == 2
    assert all("<img src=" in page.data for page in pages)
