"""The pictures of chapter 14: what they say of devices, over all that the widget can be set to."""

from itertools import product

import numpy as np
import pytest

from efftx.numbers import your_own_experiments as numbers
from efftx.plots import your_own_experiments as pictures
from efftx.results import recorded

COMPILED = recorded("devices")["compiled"]
DEVICES, LENGTHS = (1, 2, 4, 8), (2**20, 2**22)
GRID = list(product(DEVICES, numbers.STRATEGIES, LENGTHS))
BUCKETS = np.random.default_rng(0).integers(6, size=32)


@pytest.mark.parametrize("n_devices", [2, 4, 5])
def test_in_a_ring_every_device_meets_all_keys_once(n_devices):
    whose = np.array(
        [[numbers.keys_of(t, d, n_devices) for d in range(n_devices)] for t in range(n_devices)]
    )
    for meets in (*whose, *whose.T):
        assert sorted(meets) == list(range(n_devices))
    (ax,) = pictures.draw_ring(n_devices).axes
    words = [text.get_text() for text in ax.texts]
    assert sum("later" in word for word in words) == n_devices * (n_devices - 1) // 2


def test_who_travels_has_a_line_in_its_bucket_s_colour():
    leaves = numbers.leaves_home(BUCKETS, 4)
    assert 0 < leaves.sum() < 32
    assert not numbers.leaves_home(np.arange(32) // 8, 4).any()
    (ax,) = pictures.draw_sorting(BUCKETS, 4, chunk_len=4).axes
    quiet = [line.get_color() == "#DDDDDD" for line in ax.lines]
    assert quiet == list(~leaves)
    assert len(ax.patches) == 2 * 32


def test_lines_of_what_is_held():
    held = numbers.held_mib(COMPILED, numbers.RING, 2**20)
    assert list(held) == list(DEVICES)
    curve = {n: parts["beside them"] for n, parts in held.items()}
    (ax,) = pictures.draw_held({"ring": curve}).axes
    assert list(ax.lines[0].get_ydata()) == list(curve.values())


@pytest.mark.parametrize(("devices", "strategy", "length"), GRID)
def test_the_widget_over_its_whole_grid(devices, strategy, length, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "show", lambda figure, caption: shown.append((figure, caption)))
    pictures.explore_strategies(COMPILED, devices, strategy, length)
    ((figure, caption),) = shown
    held = sum(numbers.held_mib(COMPILED, strategy, length)[devices].values())
    assert f"each holds {held:,.0f} MiB" in caption
    assert ("Nothing travels" in caption) == (devices == 1)
    left, right = figure.axes
    ends = [bar.get_x() + bar.get_width() for bar in left.patches]
    assert min(abs(end - held) for end in ends) < 1e-6
    sent = [numbers.sent_bytes(name, devices, length) for name in numbers.STRATEGIES]
    widths = [bar.get_width() * 2**20 for bar in right.patches]
    assert widths == pytest.approx([n or 0 for n in sent])


def test_a_stopped_run_is_two_pieces_of_one_curve():
    straight = np.linspace(8, 4, 10)
    (ax,) = pictures.draw_resumed(straight, straight, saved=4, stopped=6).axes
    whole, before, after, cut = ax.lines
    assert list(whole.get_ydata()) == [*before.get_ydata(), *after.get_ydata()]
    assert len(before.get_ydata()) == 4
    assert cut.get_xdata()[0] == 6
