"""The pictures of chapter 10, over everything that its widgets can be set to."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from efftx.numbers import sparse_feed_forward as numbers
from efftx.plots import figures
from efftx.plots import sparse_feed_forward as pictures
from efftx.plots.colours import bucket_colour

TEXT = ("one in each block, the others off;\n" * 4)[:128]
N_LAYERS, N_BLOCKS, N = 2, 5, 8
UNITS = np.random.default_rng(0).integers(N - 1, size=(N_LAYERS, len(TEXT), N_BLOCKS))  # 7 never is
D_MODEL, D_FF = 1024, 4096
SECONDS = {1: 1e-3} | {n: 1e-3 / n**0.5 for n in (2, 4, 8, 16, 32, 64, 128)}


def pixels(ax) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


# Who fires


def test_a_dot_for_each_unit_that_fires():
    fires = np.random.default_rng(1).random((N_LAYERS, 50, 120)) < 0.2
    figure = pictures.draw_firing(fires, TEXT[:30])
    panels = figure.axes[::2]
    for layer, ax in enumerate(panels):
        np.testing.assert_array_equal(pixels(ax), fires[layer, :30, : pictures.UNITS_SHOWN].T)
        assert len(ax.get_xticklabels()) == 30
    for ax in figure.axes[1::2]:
        assert sum(bar.get_height() for bar in ax.patches) == 120  # every unit is counted


def test_losses_are_smoothed_and_named():
    losses = {"dense": np.arange(30.0), "sparse": np.full(30, 2.0)}
    (ax,) = pictures.draw_training(losses, smooth=10).axes
    dense, sparse = ax.lines
    assert (dense.get_label(), sparse.get_label()) == tuple(losses)
    assert (dense.get_xdata()[0], dense.get_ydata()[0]) == pytest.approx((9, 4.5))
    assert sparse.get_ydata() == pytest.approx(2)


# Who is chosen


def test_the_map_has_a_colour_for_each_choice():
    figure = pictures.draw_map(UNITS[:, :64], TEXT[:64], N)
    for layer, ax in enumerate(figure.axes):
        np.testing.assert_array_equal(pixels(ax), UNITS[layer, :64].T)
        image = ax.images[0]
        drawn = [image.cmap(image.norm(unit)) for unit in range(N)]
        assert drawn == [to_rgba(bucket_colour(unit)) for unit in range(N)]


def test_characters_have_the_colour_of_their_unit():
    chosen = UNITS[1, :, 2]
    shares = np.bincount(chosen, minlength=N) / len(chosen)
    letters, load = pictures.draw_block(chosen, TEXT, shares).axes
    assert [box.get_facecolor() for box in letters.patches] == [
        to_rgba(bucket_colour(unit)) for unit in chosen
    ]
    assert len(letters.texts) == len(TEXT)
    assert [bar.get_width() for bar in load.patches] == pytest.approx(shares)


@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_the_map_widget_speaks_of_every_block(layer, monkeypatch):
    monkeypatch.setattr(pictures, "draw_block", lambda *_: None)
    said = []
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for block in range(N_BLOCKS):
        pictures.show_block(layer, block, units=UNITS, text=TEXT, n_units=N)
    assert len(set(said)) == N_BLOCKS
    for block, caption in enumerate(said):
        assert caption.startswith(f"Layer {layer}, block {block}: ")
        assert caption.endswith("1 of the 8 units are never on here.")
        busiest = np.bincount(UNITS[layer, :, block]).argmax()
        assert f"unit that is on. Unit {busiest} is on at " in caption


def test_favourites_are_counted():
    units = np.array([0, 1, 1, 1, 0, 2])[None, :, None]
    said = pictures._favourites(1, units[0, :, 0], "ab ab ")
    assert said == "Unit 1 is on at 50%, most often at b ␣ a ."


def test_the_load_is_sorted_block_by_block():
    loads = np.array([[[0.5, 0.25, 0.25], [0.0, 0.1, 0.9]]])
    (ax,) = pictures.draw_load(loads).axes
    one, other, mean, even = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(one, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(other, [0.9, 0.1, 0])
    np.testing.assert_allclose(mean, [0.7, 0.175, 0.125])
    np.testing.assert_allclose(even, 1 / 3)


# What it costs


@pytest.mark.parametrize("n_units", SECONDS)
def test_units_that_are_on_are_drawn(n_units):
    units, read, speed = pictures.draw_cost(
        n_units, d_model=D_MODEL, d_ff=D_FF, seconds=SECONDS
    ).axes
    on = pixels(units).ravel()
    assert on.size == pictures.UNITS_DRAWN
    assert (on.reshape(-1, n_units).sum(axis=1) == 1).all()
    heights = [bar.get_height() for bar in read.patches]
    of_units, of_controller = numbers.mib_read(n_units, D_MODEL, D_FF)
    assert heights == pytest.approx([32, of_units, 0, of_controller])
    _, measured, here = speed.lines
    assert measured.get_ydata() == pytest.approx([n**0.5 for n in SECONDS])
    assert (here.get_xdata()[0], here.get_ydata()[0]) == pytest.approx((n_units, n_units**0.5))


def test_the_cost_widget_says_something_else_for_every_n(monkeypatch):
    monkeypatch.setattr(pictures, "draw_cost", lambda *_, **__: None)
    said = []
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for n_units in SECONDS:
        pictures.show_cost(n_units, d_model=D_MODEL, d_ff=D_FF, seconds=SECONDS)
    assert len(set(said)) == len(SECONDS)
    assert said[0].startswith("The dense layer: all 4,096 of 4,096 units are on.")
    assert said[6].startswith("N = 64: 64 of 4,096 units are on. A position reads 0.5 MiB")
    times_less = [float(re.search(r"([\d.]+) times less than", caption)[1]) for caption in said]
    assert times_less == sorted(times_less)


@pytest.mark.parametrize("draw", ["block", "cost"])
def test_widgets_show_a_figure(draw, monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    if draw == "block":
        pictures.show_block(1, 3, units=UNITS, text=TEXT, n_units=N)
    else:
        pictures.show_cost(16, d_model=D_MODEL, d_ff=D_FF, seconds=SECONDS)
    assert "<img src=" in pages[0].data


def test_positions_together_are_drawn_with_their_times():
    shares = {"even": ((1, 4), (0.25, 0.7)), "measured": ((1, 4), (0.25, 0.5))}
    seconds = {"dense": ((1, 4), (0.002, 0.003))}
    left, right = pictures.draw_together(shares, seconds).axes
    assert [line.get_label() for line in left.lines] == list(shares)
    assert list(left.lines[1].get_ydata()) == [0.25, 0.5]
    assert list(right.lines[0].get_ydata()) == pytest.approx([2, 3])
