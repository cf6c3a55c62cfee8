"""The pictures of chapter 11, over everything that its widget can be set to."""

import itertools

import numpy as np
import pytest

from efftx.numbers import sparse_qkv as numbers
from efftx.plots import figures
from efftx.plots import sparse_qkv as pictures

D_MODEL = 64
MODULES = (1, 2, 4, 8, 16, 32, 64)
GRID = list(itertools.product(MODULES, numbers.CONTENTS))


@pytest.fixture
def shown(monkeypatch):
    """What the widget shows: its figures and their captions."""
    pages = []
    monkeypatch.setattr(pictures, "show", lambda figure, caption: pages.append((figure, caption)))
    return pages


# What a token reads


def test_bars_are_the_weights_in_megabytes():
    reads = {
        "dense": {"attention": 1_000_000, "feed-forward": 2_000_000},
        "sparse": {"attention": 500_000, "feed-forward": 250_000},
    }
    figure = pictures.draw_reads(reads, {"dense": 0.2, "sparse": 0.1})
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [4, 2, 8, 1]
    assert [bar.get_x() for bar in left.patches] == [0, 0, 4, 2]
    assert [bar.get_width() for bar in right.patches] == [0.2, 0.1]
    assert [label.get_text() for label in left.get_yticklabels()] == list(reads)
    assert [text.get_text().strip() for text in left.texts] == ["12.0", "3.0"]


# Parameters


def test_curves_are_the_papers_formula_and_least_at_the_root():
    sparse, factors = pictures.draw_parameters(D_MODEL).axes[0].lines[:2]
    counted = [s * D_MODEL + D_MODEL**2 // s for s in MODULES]
    assert factors.get_ydata().tolist() == counted
    assert MODULES[int(np.argmin(counted))] == 8
    convolutions = np.array([27 * (D_MODEL // s) ** 2 for s in MODULES])
    np.testing.assert_array_equal(sparse.get_ydata(), counted + convolutions)


# What D and E make


def test_matrices_are_cut_into_their_modules():
    figure = pictures.draw_matrices({"one": np.eye(6), "two": np.ones((6, 6))}, 3)
    for ax, name in zip(figure.axes, ["one", "two"], strict=True):
        assert ax.get_title(loc="left") == name
        assert [line.get_xdata()[0] for line in ax.lines] == [1.5, 3.5]


# The widget


def test_the_widget_says_something_else_everywhere(shown):
    for n_modules, content in GRID:
        pictures.show_modules(n_modules, content, d_model=D_MODEL)
    captions = [caption for _, caption in shown]
    assert len(set(captions)) == len(GRID)
    assert captions[0].startswith("1 module of 64 numbers: D and E have 4,160 parameters, a dense")
    assert captions[9].startswith("8 modules of 8 numbers: D and E have 1,024 parameters")
    assert captions[-1].startswith("64 modules of 1 number: ")
    permutations = [caption for caption in captions if "Right: a permutation." in caption]
    assert all("misses its goal by 0%" in caption for caption in permutations)
    assert len(permutations) == len(MODULES)


@pytest.mark.parametrize(("n_modules", "content"), GRID)
def test_the_widget_marks_its_modules_and_draws_their_borders(shown, n_modules, content):
    pictures.show_modules(n_modules, content, d_model=D_MODEL)
    left, right = shown[0][0].axes
    assert left.lines[-1].get_xdata().tolist() == [n_modules]
    assert len(right.lines) == n_modules - 1


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.show_modules(8, numbers.CONTENTS[0], d_model=D_MODEL)
    assert "<img src=" in pages[0].data


# How they learn


def test_losses_are_means_without_the_steep_beginning():
    losses = {"dense": np.arange(10.0), "sparse": np.ones(10)}
    figure = pictures.draw_learning(losses, {"dense": 3.25, "sparse": 3.5}, window=2)
    left, right = figure.axes
    dense, sparse = left.lines
    assert dense.get_xdata().tolist() == [4, 5, 6, 7, 8, 9, 10]
    np.testing.assert_allclose(dense.get_ydata(), [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5])
    np.testing.assert_allclose(sparse.get_ydata(), 1)
    assert [(x, y) for line in right.lines for x, y in line.get_xydata()] == [(3.25, 0), (3.5, 1)]
    assert [label.get_text() for label in right.get_yticklabels()] == ["dense", "sparse"]
    assert [text.get_text() for text in right.texts] == ["3.25", "3.50"]
    for line, point in zip(left.lines, right.lines, strict=True):
        assert line.get_color() == point.get_color()


# What a kernel sees


def test_reach_is_drawn_as_measured():
    slopes = np.arange(12.0).reshape(4, 3)
    figure = pictures.draw_reach(slopes, position=2, module=1)
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.images[0].get_array(), slopes)
    assert ax.patches[0].get_xy() == (0.5, 1.5)
