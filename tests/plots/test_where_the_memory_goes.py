"""The pictures of chapter 02, over everything that its sliders can be set to."""

import itertools
from dataclasses import replace

import pytest

from efftx.memory.ledger import Step, entries
from efftx.plots import figures
from efftx.plots import where_the_memory_goes as pictures

MODEL = Step(
    n_layers=12, d_model=768, d_ff=3072, n_heads=12, d_head=64, vocab=32_000, length=4096, batch=2
)
BUDGET = 16 * 2**30


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"attention": "lsh", "reversible": True},
        {"attention": "blocked", "ff_chunk_len": 64, "loss_chunk_len": 64},
    ],
)
def test_the_pieces_are_all_entries(how):
    step = replace(MODEL, **how)
    assert sum(pictures.pieces(step).values()) == sum(entries(step).values())


def test_bars_are_as_long_as_the_ledger():
    steps = {"full": MODEL, "blocked": replace(MODEL, attention="blocked")}
    figure = pictures.draw_bars(steps, budget=BUDGET)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == list(steps)
    ends = [0.0, 0.0]
    for bars in ax.containers:
        for row, bar in enumerate(bars):
            assert bar.get_x() == pytest.approx(ends[row])
            ends[row] += bar.get_width()
    totals = [sum(entries(step).values()) / 2**30 for step in steps.values()]
    assert ends == pytest.approx(totals)
    assert ax.lines[0].get_xdata()[0] == 16
    assert ends[0] < ax.get_xlim()[1]


CHOICES = {
    "length": (256, 4096, 2**20),
    "n_layers": (1, 48),
    "batch": (1, 64),
    "attention": ("full", "blocked", "lsh"),
    "reversible": (False, True),
    "chunks": (False, True),
    "small_optimiser": (False, True),
}


def test_the_widget_speaks_of_every_setting(monkeypatch):
    monkeypatch.setattr(pictures, "draw_bars", lambda *_, **__: None)
    said = []
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for values in itertools.product(*CHOICES.values()):
        pictures.show_ledger(**dict(zip(CHOICES, values, strict=True)), model=MODEL, budget=BUDGET)
    assert len(said) == 3 * 2 * 2 * 3 * 2 * 2 * 2
    assert all("The largest batch is" in caption for caption in said)
    assert {" fits into " in caption for caption in said} == {True, False}
    short, long = said[0], said[-1]
    assert short.startswith("1 block on one example of 256 positions takes")
    assert long.startswith("48 blocks on 64 examples of 1,048,576 positions take")


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    techniques = {"attention": "full", "reversible": True, "chunks": True, "small_optimiser": True}
    pictures.show_ledger(4096, 12, 2, **techniques, model=MODEL, budget=BUDGET)
    assert "<img src=" in pages[0].data


def test_curves_have_dots_and_a_line():
    figure = pictures.draw_curves({"batch": ((1, 2), (2**20, 2**21), (2**20, 2**22))})
    line, dots = figure.axes[0].lines
    assert line.get_ydata().tolist() == [1, 4]
    assert dots.get_ydata().tolist() == [1, 2]
    assert figure.axes[0].get_xlabel() == "batch"


def test_batches_stand_side_by_side():
    figure = pictures.draw_batches((64, 128), {"quoted": [12, 6], "predicted": [13, 6]})
    heights = [[bar.get_height() for bar in bars] for bars in figure.axes[0].containers]
    assert heights == [[12, 6], [13, 6]]
    left = [bars[0].get_x() for bars in figure.axes[0].containers]
    assert left[0] + 0.4 == pytest.approx(left[1])
