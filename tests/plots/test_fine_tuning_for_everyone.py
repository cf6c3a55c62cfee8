"""The pictures of chapter 13, over everything that its widget can be set to."""

from itertools import product

import pytest

from efftx.numbers import fine_tuning_for_everyone as numbers
from efftx.plots import fine_tuning_for_everyone as pictures

GRID = list(product(numbers.SHAPES, numbers.BITS, (512, 65_536), (True, False)))


@pytest.mark.parametrize(("size", "bits", "length", "checkpoints"), GRID)
def test_the_widget_over_its_whole_grid(size, bits, length, checkpoints, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "show", lambda figure, caption: shown.append((figure, caption)))
    pictures.explore_cards(size, bits, length, checkpoints)
    ((figure, caption),) = shown
    (ax,) = figure.axes
    rows = {m: numbers.gigabytes(size, m, bits, length, checkpoints) for m in numbers.METHODS}
    ends = {round(bar.get_x() + bar.get_width(), 6) for bar in ax.patches}
    for parts in rows.values():
        assert round(sum(parts.values()), 6) in ends
    assert f"{sum(rows['adapters'].values()):.1f} GB" in caption


def test_steps_and_curves():
    steps = pictures.draw_steps({"a": {"arguments": 1.0, "temporaries": 2.0}})
    assert [bar.get_width() for bar in steps.axes[0].patches] == [1, 2]
    curves = pictures.draw_curves({"a": {0: 3.0, 10: 2.0}, "b": {0: 3.0}}, "nats")
    assert [list(line.get_ydata()) for line in curves.axes[0].lines] == [[3, 2], [3]]


def test_a_batch_of_zero_is_a_word():
    (ax,) = pictures.draw_batches({"the talk": {64: 12, 384: 0}, "ours": {64: 1_000}}).axes
    assert [text.get_text() for text in ax.texts] == ["12", "ZERO", "1,000"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["64", "384"]
