"""The pictures of chapter 09, over everything that its sliders can be set to."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from efftx.memory.flops import step_flops
from efftx.memory.ledger import Step, entries
from efftx.plots import figures
from efftx.plots import reformer as pictures

STEP = Step(n_layers=6, d_model=256, d_ff=1024, n_heads=4, d_head=64, vocab=256, length=2**14)
RATE, BUDGET = 1e11, 16 * 2**30
MEASURED = ((2**14, 0.5, 4.0), (2**20, 7.5, 300.0))
CHOICES = {
    "length": pictures.LENGTHS,
    "n_layers": (1, 2, 6, 12, 24, 48),
    "n_hashes": (1, 2, 4, 8),
}


def test_only_the_named_parts_are_exchanged():
    """All have the same sizes, and a Reformer one projection less in each layer."""
    full, blocked, reformer = pictures.models(STEP).values()
    assert full == STEP
    assert replace(blocked, attention="full") == STEP
    assert replace(reformer, **{name: getattr(STEP, name) for name in pictures.EXCHANGED}) == STEP


def test_lines_are_the_ledgers_and_the_arithmetics():
    memory, time = pictures.draw_costs(STEP, rate=RATE, budget=BUDGET, measured=MEASURED).axes
    for line, seconds, (name, step) in zip(
        memory.lines, time.lines, pictures.models(STEP).items(), strict=False
    ):
        at = list(line.get_xdata()).index(STEP.length)
        assert line.get_label() == seconds.get_label() == name
        assert line.get_ydata()[at] == pytest.approx(sum(entries(step).values()) / 2**30)
        assert seconds.get_ydata()[at] == pytest.approx(step_flops(step) / RATE)
    dots = {ax: ax.lines[3].get_ydata().tolist() for ax in (memory, time)}
    assert dots == {memory: [0.5, 7.5], time: [4, 300]}
    assert [text.get_text() for text in memory.texts] == ["16.00 GiB"]


def test_the_transformer_is_steeper():
    memory, time = pictures.draw_costs(STEP, rate=RATE).axes
    slopes = [
        [np.log(ys[-1] / ys[-2]) / np.log(2) for line in ax.lines[:3] for ys in [line.get_ydata()]]
        for ax in (memory, time)
    ]
    np.testing.assert_allclose(slopes, [[2, 1, 1], [2, 2, 1]], atol=0.15)


def test_the_widget_speaks_of_every_setting(monkeypatch):
    drawn, said = [], []
    monkeypatch.setattr(pictures, "draw_costs", lambda step, **how: drawn.append((step, how)))
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for values in itertools.product(*CHOICES.values()):
        how = dict(zip(CHOICES, values, strict=True))
        pictures.show_costs(**how, sizes=STEP, rate=RATE, budget=BUDGET, measured=MEASURED)
        step, how = drawn[-1]
        assert (step.length, step.n_layers, step.n_hashes) == values
        assert bool(how["measured"]) == (values[1:] == (6, 1))
    assert len(set(said)) == len(said) == 11 * 6 * 4
    assert all(caption.count("at least") == 3 for caption in said)
    assert said[0].startswith(
        "A training step of 1 layer on 1,024 tokens; the Reformer with 1 round. Transformer:"
    )
    assert "Transformer: " in said[-1]
    assert said[-1].count("does not fit into 16.00 GiB") >= 2


@pytest.mark.parametrize("length", pictures.LENGTHS)
def test_every_length_can_be_drawn(length):
    figure = pictures.draw_costs(replace(STEP, length=length), rate=RATE, measured=MEASURED)
    assert all(np.isfinite(line.get_ydata()).all() for ax in figure.axes for line in ax.lines)


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.show_costs(4096, 12, 2, sizes=STEP, rate=RATE, budget=BUDGET)
    assert "<img src=" in pages[0].data


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0021, "2.1 ms"), (3.0, "3 seconds"), (300.0, "5 minutes"), (2e5, "2.31 days")],
)
def test_times_are_for_people(seconds, text):
    assert pictures.in_time(seconds) == text


def test_lengths_are_short():
    assert [pictures.short(n) for n in (2**10, 2**18, 2**20)] == ["1k", "256k", "1M"]


def test_steps_start_at_zero():
    time, memory = pictures.draw_steps((2**14, 2**16), (250.0, 260.0), (0.5, 0.9)).axes
    assert (time.get_ylim()[0], memory.get_ylim()[0]) == (0, 0)
    assert time.lines[0].get_ydata().tolist() == [250, 260]
    assert memory.lines[0].get_ydata().tolist() == [0.5, 0.9]


def test_tables_leave_empty_what_was_not_measured():
    table = np.array([[100.0, 94.8], [np.nan, 99.9]])
    how = {"trained": ["Full", "LSH-4"], "evaluated": ["Full", "LSH-4"]}
    figure = pictures.draw_accuracies({"here": table, "paper": table}, **how)
    for ax in figure.axes:
        assert [text.get_text() for text in ax.texts] == ["100.0", "94.8", "", "99.9"]
    assert figure.axes[1].get_title(loc="left") == "paper"


def test_every_seed_is_a_dot_beside_the_interval():
    seeds = {
        "full": {"by_seed": [1.0, 1.1, 1.2], "mean": 1.1, "interval_95": [0.85, 1.35]},
        "LSH": {"by_seed": [2.0, 2.0, 2.0], "mean": 2.0, "interval_95": [2.0, 2.0]},
    }
    (ax,) = pictures.draw_seeds(seeds, xlabel="bits per byte").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == list(seeds)
    series = [np.asarray(line.get_xdata()).tolist() for line in ax.lines]
    dots = [values for values in series if len(values) == 3]
    assert dots == [each["by_seed"] for each in seeds.values()]
    bars = [segment for bars in ax.collections for segment in bars.get_segments()]
    ends = [bar[:, 0].tolist() for bar in bars]
    assert ends == [pytest.approx(each["interval_95"]) for each in seeds.values()]
    assert [text.get_text() for text in ax.texts] == ["1.100", "2.000"]


def test_a_needles_lines_are_what_was_answered():
    right = {"1": {"64": 0.3, "1000000": 0.1}, "8": {"64": 0.9, "1000000": 0.7}}
    rounds = {n: {"right": shares} for n, shares in right.items()}
    (ax,) = pictures.draw_needle(rounds, by_chance=1 / 64).axes
    *lines, chance = ax.lines
    for line, shares in zip(lines, right.values(), strict=True):
        assert line.get_xdata().tolist() == [64, 1000000]
        assert line.get_ydata().tolist() == list(shares.values())
    assert set(chance.get_ydata()) == {1 / 64}
    assert [text.get_text() for text in ax.texts] == ["1 round", "8 rounds", "by chance"]


def test_work_and_gain_are_the_dots_places():
    models = {"window": (32, 0.01), "exact": (16_384, 1.0)}
    (ax,) = pictures.draw_work({"recall": ("share right", models)}).axes
    assert [tuple(line.get_xydata()[0]) for line in ax.lines] == list(models.values())
    assert [text.get_text() for text in ax.texts] == list(models)
    assert (ax.get_title("left"), ax.get_ylabel()) == ("recall", "share right")
    assert ax.get_xscale() == "log"
