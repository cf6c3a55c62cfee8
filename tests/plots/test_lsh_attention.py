"""The pictures of chapter 08, over everything that its sliders can be set to."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import reach_count
from efftx.plots import figures
from efftx.plots import lsh_attention as pictures

TEXT = "a hash puts alike with alike, yes"[:32]
BUCKETS = np.random.default_rng(0).integers(0, 8, len(TEXT)).astype(np.int32)
CHUNK_LEN = 4
REACHED = np.asarray(reach_count(jnp.asarray(BUCKETS)[None], chunk_len=CHUNK_LEN))


def labels(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("n_steps", range(5))
def test_each_step_adds_a_row(n_steps):
    figure = pictures.draw_steps(TEXT, BUCKETS, CHUNK_LEN, n_steps=n_steps)
    rows = [label for label in labels(figure) if label in pictures.STEPS]
    assert rows == list(pictures.STEPS[: n_steps + 1])
    assert labels(figure).count("␣") == TEXT.count(" ") * (n_steps + 1)


@pytest.mark.parametrize("query", range(len(TEXT)))
def test_orange_lines_lead_from_what_the_query_attends_to(query):
    figure = pictures.draw_steps(TEXT, BUCKETS, CHUNK_LEN, query=query)
    orange = [line for line in figure.axes[0].lines if line.get_color() == pictures.ORANGE]
    assert len(orange) == 1 + REACHED[query].sum()  # one for its way through the sort


@pytest.mark.parametrize("step", range(5))
def test_widget_speaks_of_every_query(step, monkeypatch):
    monkeypatch.setattr(pictures, "draw_steps", lambda *_, **__: None)
    said = []
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for query in range(len(TEXT)):
        pictures.step_through(step, query, text=TEXT, buckets=BUCKETS, chunk_len=CHUNK_LEN)
    assert len(set(said)) == len(TEXT)
    assert all(len(re.findall(r"[.](?: |$)", caption)) == step + 1 for caption in said)


def test_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.step_through(4, 9, text=TEXT, buckets=BUCKETS, chunk_len=CHUNK_LEN)
    assert "<img src=" in pages[0].data


def test_matrices_show_the_pairs_that_are_reached():
    figure = pictures.draw_reach(BUCKETS, CHUNK_LEN)
    shown = [(np.asarray(ax.images[0].get_array()) > 0).sum() for ax in figure.axes]
    position = np.arange(len(TEXT))
    same = (BUCKETS[:, None] == BUCKETS) & (position < position[:, None])
    assert shown == [same.sum(), same.sum(), REACHED.sum()]


def test_error_lines_end_at_their_names():
    series = {"paper": np.array([0.5, 0.3]), "trax": np.array([0.4, 0.2])}
    figure = pictures.draw_errors((1, 2), series, ylabel="relative error")
    assert labels(figure) == ["paper", "trax"]
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [[0.5, 0.3], [0.4, 0.2]]


def test_leaks_share_their_scale():
    figure = pictures.draw_leak({"anew": np.array([0.1, 0.0]), "given": np.zeros(2)})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["anew", "given"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_times_are_drawn_as_they_were_measured():
    curves = {"LSH, 1 round": {1024: 0.1, 4096: 0.4}, "exact": {1024: 0.05, 4096: 0.8, 8192: 3.2}}
    (ax,) = pictures.draw_times(curves).axes
    assert [line.get_label() for line in ax.lines] == list(curves)
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.1, 0.4], [0.05, 0.8, 3.2]]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1k", "4k", "8k"]
