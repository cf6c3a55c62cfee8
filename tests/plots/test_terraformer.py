"""The pictures of chapter 12, over everything that its switches can be set to."""

from itertools import product

import numpy as np
import pytest

from efftx.numbers import terraformer as numbers
from efftx.plots import figures
from efftx.plots import terraformer as pictures

GRID = list(product(numbers.MODELS, *[(False, True)] * 3))
MEDIUM, BIG = list(numbers.MODELS)[1:]


@pytest.mark.parametrize("setting", GRID)
def test_the_widget_says_what_it_draws(setting, monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.show_reads(*setting, gb_per_second=20)
    total = sum(numbers.weights_read(*setting).values())
    assert f"A token reads {total / 1e6:,.1f} million weights" in pages[0].data
    assert f"{4 * total / 20e6:,.1f} ms a token" in pages[0].data


def test_bars_end_at_their_totals():
    reads = {
        "dense": {"attention": 4_000_000, "readout": 2_000_000},
        "sparse": {"readout": 500_000},
    }
    ax = pictures.draw_reads(reads).axes[0]
    ends = np.array([[bar.get_x() + bar.get_width() for bar in part] for part in ax.containers])
    assert ends[-1].tolist() == [6, 0.5]
    assert [text.get_text().strip() for text in ax.texts[:2]] == ["6.0 M", "0.5 M"]


def test_the_target_follows_the_source_at_once():
    ax = pictures.draw_source_first(n_source=4, n_padding=3, n_target=5).axes[0]
    boxes = [(box.get_x(), round(box.get_y() + 0.35)) for box in ax.patches]
    read = sorted(x for x, row in boxes if row == -1)
    out = sorted(x for x, row in boxes if row == -2)
    assert read == list(range(12))
    assert out == [4, 5, 6, 7, 8]  # below the target's boxes


def test_the_line_is_what_memory_allows():
    measured = {"dense": (80e6, 0.005), "sparse": (8e6, 0.001)}
    ax = pictures.draw_bytes_against_time(measured, 20).axes[0]
    line, *points = ax.lines
    np.testing.assert_allclose(line.get_ydata() / line.get_xdata(), 1000 / 20e3)
    assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in points] == [(80, 5), (8, 1)]


def test_speedups_stand_over_their_bars():
    figure = pictures.draw_speedups({"paper": {"+FF": 1.72, "both": 2.62}, "here": {"both": 7.5}})
    (ax,) = figure.axes
    labels = [text.get_text() for text in ax.texts]
    assert labels == ["1.72×", "2.62×", "", "7.5×"]


def test_what_is_slower_than_dense_hangs_down():
    ax = pictures.draw_speedups({"here": {"+QKV": 0.8, "both": 4.0}}).axes[0]
    slower, faster = ((bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches)
    assert slower == pytest.approx((1, 0.8))
    assert faster == pytest.approx((1, 4))
    assert ax.get_ylim()[0] < 0.8


def test_savings_are_stacked_beside_what_both_save():
    table = {"paper": {"+FF": 40.0, "+QKV": 5.0, "both": 60.0}}
    ff, qkv, both = pictures.draw_savings(table).axes[0].patches
    assert qkv.get_y() == ff.get_height() == 40
    assert both.get_height() == 60
