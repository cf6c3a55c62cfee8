"""The pictures of chapter 05, over everything that its sliders can be set to."""

import numpy as np
import pytest

from efftx.numbers import swapping_and_quantization as numbers
from efftx.plots import figures
from efftx.plots import swapping_and_quantization as pictures

NUMBERS = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)


def series(ax) -> dict:
    return {line.get_label(): line.get_ydata() for line in ax.lines}


@pytest.mark.parametrize("bits", pictures.BITS)
@pytest.mark.parametrize("block_len", pictures.BLOCK_LENS)
def test_the_widget_over_its_whole_grid(bits, block_len, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "show", lambda figure, caption: shown.append((figure, caption)))
    pictures.explore_codes(bits, block_len, numbers=NUMBERS)
    ((figure, caption),) = shown
    left, right = figure.axes
    heights = [bar.get_height() for bar in left.patches]
    assert sum(heights) == pytest.approx(100)
    assert len(heights) <= 2**bits - 1
    error = numbers.error_of_codes(NUMBERS, bits, block_len)
    assert f"off by {error:.2%}" in caption
    circle = right.lines[-1]
    assert circle.get_ydata()[0] == pytest.approx(100 * error)
    assert circle.get_xdata()[0] == bits + 32 / block_len


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.explore_codes(4, 64, numbers=NUMBERS)
    assert "<img src=" in pages[0].data


def test_error_bars_have_a_height_for_each_grouping():
    errors = {"w1": {"the whole": 0.02, "a row": 0.01}, "w2": {"the whole": 0.04, "a row": 0.03}}
    (ax,) = pictures.draw_error_bars(errors).axes
    assert [bar.get_height() for bar in ax.patches] == [2, 4, 1, 3]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["w1", "w2"]
    assert max(bar.get_height() for bar in ax.patches) < ax.get_ylim()[1]


def test_walks():
    walks = np.array([[1.0, 2.0], [3.0, 4.0]])
    (ax,) = pictures.draw_walks(np.array([1.0, 1.5]), np.zeros(2), walks).axes
    lines = series(ax)
    assert lines["stochastic, their mean"].tolist() == [2, 3]
    assert lines["to the nearest code"].tolist() == [0, 0]
    assert lines["float32"].tolist() == [1, 1.5]


def test_codes_reach_down_to_their_lines():
    divisors = np.array([1.0, 0.1, 0.0])
    (ax,) = pictures.draw_reach_of_codes(divisors, {"even": 0.01, "roots": 1e-5}).axes
    lines = {line.get_label(): float(line.get_xdata()[0]) for line in ax.lines}
    assert lines == {"even": -2, "roots": -5}
    assert sum(bar.get_height() for bar in ax.patches) == 3


def test_losses_are_running_means():
    (ax,) = pictures.draw_losses({"a": np.arange(1.0, 6), "b": np.ones(5)}, window=2).axes
    assert series(ax)["a"].tolist() == [1, 1.5, 2.5, 3.5, 4.5]
    assert series(ax)["b"].tolist() == [1] * 5


def test_a_loss_that_explodes_does_not_hide_the_others():
    exploded = np.where(np.arange(20) < 10, 400.0, np.nan)
    (ax,) = pictures.draw_losses({"a": np.ones(20), "b": exploded}).axes
    assert ax.get_ylim()[1] <= 12


def test_the_ledgers_bars_stand_end_to_end():
    rows = {"all": {"parameters": 1, "state": 2}, "less": {"parameters": 0.5}}
    (ax,) = pictures.draw_ledger(rows).axes
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0, 1), (0, 0.5), (1, 2), (0.5, 0)]
    assert [text.get_text() for text in ax.texts] == [" 3.00", " 0.50"]
