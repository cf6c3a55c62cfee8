"""The pictures of chapter 03, over everything that its slider can be set to."""

import numpy as np
import pytest

from efftx.plots import figures
from efftx.plots import reversible_layers as pictures

N_BLOCKS = 4
STORED = np.random.default_rng(0).normal(size=(N_BLOCKS + 1, 2, 6, 5))
WRONG = 1e-7 * np.arange(N_BLOCKS + 1)[::-1]  # relative, more of it the further down
REBUILT = STORED * (1 + WRONG[:, None, None, None])
STEPS = range(N_BLOCKS + 1)


@pytest.mark.parametrize("n_undone", STEPS)
def test_only_what_is_rebuilt_is_drawn(n_undone):
    figure = pictures.draw_inversion(STORED, REBUILT, n_undone)
    forward, rebuilt, errors = np.array(figure.axes).reshape(3, N_BLOCKS + 1)
    assert all(ax.images for ax in forward)
    drawn = [bool(ax.images) for ax in rebuilt]
    assert drawn == [bool(ax.lines) for ax in errors]
    assert drawn == [level >= N_BLOCKS - n_undone for level in range(N_BLOCKS + 1)]
    shown = [ax.lines[0].get_ydata()[0] for ax in errors if ax.lines]
    assert shown == pytest.approx(np.maximum(WRONG, pictures.FLOOR)[N_BLOCKS - n_undone :])


def test_stored_and_rebuilt_have_one_scale_of_colours():
    figure = pictures.draw_inversion(STORED, REBUILT)
    forward, rebuilt, _ = np.array(figure.axes).reshape(3, N_BLOCKS + 1)
    for above, below in zip(forward, rebuilt, strict=True):
        assert above.images[0].get_clim() == below.images[0].get_clim()


def test_the_widget_says_where_it_is(monkeypatch):
    said = []
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for n_undone in STEPS:
        pictures.undo_blocks(n_undone, stored=STORED, rebuilt=REBUILT)
    assert "Nothing is undone yet" in said[0]
    assert said[1].startswith(
        "1 block is undone. In memory are two streams, and they are what block 3"
    )
    assert "4 blocks are undone" in said[4]
    assert "the input, with a relative error of 4.0e-07" in said[4]


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.undo_blocks(2, stored=STORED, rebuilt=REBUILT)
    assert "<img src=" in pages[0].data


@pytest.mark.parametrize("draw", [pictures.draw_memory, pictures.draw_drift])
def test_lines_end_at_their_names(draw):
    values = {"plain": np.array([1.0, 4.0]), "reversible": np.array([1.0, 1.0])}
    (ax,) = draw((2, 32), values).axes
    unit = pictures.MIB if draw is pictures.draw_memory else 1
    assert [text.get_text() for text in ax.texts] == list(values)
    for line, series in zip(ax.lines, values.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata() * unit, series)


def test_bleu_shows_every_seed_and_the_interval():
    scores, gap = pictures.draw_bleu([80.0, 82.0], [81.0, 82.5], (0.25, 1.25)).axes
    assert [line.get_ydata().tolist() for line in scores.lines] == [[80, 82], [81, 82.5]]
    (bar,) = (segment for bars in gap.collections for segment in bars.get_segments())
    np.testing.assert_allclose(bar[:, 1], [0.25, 1.25])
