"""The pictures of chapter 06, over everything that its sliders can be set to."""

import re

import numpy as np
import pytest

from efftx.plots import attention_is_sparse as pictures
from efftx.plots import figures

TEXT = "of all keys a few are used"
N_LAYERS, N_HEADS, LENGTH = 2, 4, len(TEXT)
KS = (1, 2, 4, 8, 16, 32)
RNG = np.random.default_rng(0)
SCORES = 3 * RNG.normal(size=(N_LAYERS, N_HEADS, LENGTH, LENGTH))
ALLOWED = np.tri(LENGTH, dtype=bool)
EXP = np.where(ALLOWED, np.exp(SCORES), 0)
WEIGHTS = (EXP / EXP.sum(-1, keepdims=True)).astype(np.float32)
VALUES = RNG.normal(size=(N_LAYERS, N_HEADS, LENGTH, 8)).astype(np.float32)


def lines(ax) -> list[list[float]]:
    return [list(line.get_ydata()) for line in ax.lines]


# The top keys


# The widget


@pytest.mark.parametrize("layer", range(N_LAYERS))
@pytest.mark.parametrize("head", range(N_HEADS))
def test_widget_says_what_it_shows(layer, head, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "show", lambda *shown_now: shown.append(shown_now))
    for k in KS:
        pictures.show_top(layer, head, k, weights=WEIGHTS, values=VALUES, text=TEXT)
    for k, (figure, caption) in zip(KS, shown, strict=True):
        picture = np.asarray(figure.axes[0].images[0].get_array())
        assert (picture > 0).sum(-1).max() == min(k, LENGTH)
        assert caption.startswith(f"Layer {layer}, head {head}, with the top {k} key")
    largest_first = -np.sort(-WEIGHTS[layer, head], axis=-1)
    for k, (_, caption) in zip(KS, shown, strict=True):
        assert f"{largest_first[:, :k].sum(-1).mean():.0%} of the weight" in caption
    errors = [int(re.search(r"off by (\d+)%", caption)[1]) for _, caption in shown]
    assert errors[0] > errors[2] > errors[-1] == 0


def test_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.show_top(0, 0, 1, weights=WEIGHTS, values=VALUES, text=TEXT)
    assert "<img src=" in pages[0].data
    assert "with the top 1 key of each query" in pages[0].data


# The figures


def test_every_head_has_its_map():
    figure = pictures.draw_maps(WEIGHTS)
    *maps, bar = figure.axes
    assert [ax.get_title(loc="left") for ax in maps] == [
        f"layer {layer}, head {head}" for layer in range(N_LAYERS) for head in range(N_HEADS)
    ]
    for ax, weights in zip(maps, WEIGHTS.reshape(-1, LENGTH, LENGTH), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), weights)
    assert bar.get_ylabel() == "weight"


def test_one_layer_is_a_row_of_maps():
    assert len(pictures.draw_maps(WEIGHTS[:1]).axes) == N_HEADS + 1


def test_a_map_has_its_letters_and_blanks_can_be_seen():
    ax = pictures.draw_map(WEIGHTS[0, 0], TEXT).axes[0]
    letters = [label.get_text() for label in ax.get_yticklabels()]
    assert letters == [label.get_text() for label in ax.get_xticklabels()]
    assert "".join(letters).replace("␣", " ") == TEXT
    assert pictures.readable("a\n\t") == ["a", "↵", "⇥"]


def test_losses_are_smoothed_over_the_steps_before():
    losses = np.linspace(8, 2, 60)
    figure = pictures.draw_losses(losses, {"a table": 4.0}, smooth=10)
    raw, mean, mark = figure.axes[0].lines
    assert list(raw.get_ydata()) == list(losses)
    assert mean.get_xdata()[0] == 9
    assert mean.get_ydata()[0] == pytest.approx(losses[:10].mean())
    assert mean.get_ydata()[-1] == pytest.approx(losses[-10:].mean())
    assert set(mark.get_ydata()) == {4.0}


def test_mass_has_a_line_for_each_head_and_one_for_uniform_attention():
    mass = RNG.random((N_LAYERS, N_HEADS, len(KS)))
    uniform = np.linspace(0.01, 0.5, len(KS))
    figure = pictures.draw_top_mass(KS, mass, uniform)
    for ax, heads in zip(figure.axes, mass, strict=True):
        assert lines(ax) == [*heads.tolist(), uniform.tolist()]


def test_uniform_attention_needs_its_share_of_all_keys():
    figure = pictures.draw_keys_needed([12, 24], np.ones((N_LAYERS, N_HEADS, 2)), share=0.5)
    assert [lines(ax)[-1] for ax in figure.axes] == [[6, 12]] * N_LAYERS


def test_errors_have_a_panel_for_each_layer():
    errors = {"the top k": np.array([[0.5, 0.1], [0.6, 0.2]]), "the last k": np.ones((2, 2))}
    figure = pictures.draw_errors((1, 2), errors)
    assert [lines(ax) for ax in figure.axes] == [[[0.5, 0.1], [1, 1]], [[0.6, 0.2], [1, 1]]]


def test_costs_are_memory_and_work():
    memory = {"whole matrix": [4e6, 64e6], "in blocks": [1e6, 1e6]}
    work = {"whole matrix": [1e6, 16e6], "in blocks": [6e5, 9e6]}
    figure = pictures.draw_costs((1024, 4096), memory, work)
    assert [lines(ax) for ax in figure.axes] == [list(memory.values()), list(work.values())]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["$2^{10}$", "$2^{12}$"]
