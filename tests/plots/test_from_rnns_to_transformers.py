"""The pictures of chapter 01, over everything that its sliders can be set to."""

import numpy as np
import pytest

from efftx.plots import figures
from efftx.plots import from_rnns_to_transformers as pictures

RNG = np.random.default_rng(0)
WORDS = [
    (["forty", "-", "two"], ["zwei", "und", "vierzig", "END"]),
    (["one", " hundred"], ["ein", "hundert", "END"]),
]
MAPS = [RNG.dirichlet(np.ones(4), size=(2, 4, 5)) for _ in WORDS]  # with padding behind the words


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


# Lines


def test_lines_against_the_length_end_at_their_names():
    series = {"LSTM": np.array([1.0, 4.0]), "attention": np.array([0.5, 8.0])}
    (ax,) = pictures.draw_against_length((16, 64), series, ylabel="milliseconds").axes
    assert texts(ax) == ["LSTM", "attention"]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 4], [0.5, 8]]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["16", "64"]


def test_influence_is_drawn_by_distance():
    """The last position comes first: its distance is 0."""
    (ax,) = pictures.draw_influence({"LSTM": np.array([0.01, 0.1, 1.0])}).axes
    assert list(ax.lines[0].get_xdata()) == [0, 1, 2]
    assert list(ax.lines[0].get_ydata()) == [1.0, 0.1, 0.01]


# Weights and the widget


def test_a_frame_marks_where_each_row_looks_most():
    source, target = WORDS[0]
    weights = MAPS[0][0, 0, : len(target), : len(source)]
    ax = pictures.draw_weights(weights, target, source).axes[0]
    frames = [(round(box.get_x() + 0.5), round(box.get_y() + 0.5)) for box in ax.patches]
    assert frames == [(column, row) for row, column in enumerate(weights.argmax(axis=1))]
    assert [label.get_text() for label in ax.get_yticklabels()] == target
    assert [label.get_text() for label in ax.get_xticklabels()] == source


@pytest.mark.parametrize("number", range(len(WORDS)))
@pytest.mark.parametrize("layer", range(2))
@pytest.mark.parametrize("head", range(4))
def test_the_widget_says_where_each_word_looks(number, layer, head, monkeypatch):
    drawn, said = [], []
    monkeypatch.setattr(pictures, "draw_weights", lambda *shown: drawn.append(shown))
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    pictures.show_looks(number, layer, head, maps=MAPS, words=WORDS)
    source, target = WORDS[number]
    weights = MAPS[number][layer, head, : len(target), : len(source)]
    np.testing.assert_array_equal(drawn[0][0], weights)
    assert f"Layer {layer}, head {head}." in said[0]
    for word, row in zip(target, weights, strict=True):
        assert f"{word} at {source[row.argmax()].strip()}" in said[0]


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.show_looks(0, 1, 2, maps=MAPS, words=WORDS)
    assert "<img src=" in pages[0].data


# What models cost


def test_systems_stand_where_their_numbers_say():
    systems = {"old": (24.0, 1e20), "new": (27.0, 3e18)}
    (ax,) = pictures.draw_bleu_against_flops(systems, ours=("new",)).axes
    points = {(line.get_xdata()[0], line.get_ydata()[0]): line.get_color() for line in ax.lines}
    assert points == {(1e20, 24.0): pictures.BLUE, (3e18, 27.0): pictures.ORANGE}
    assert texts(ax) == ["old", "new"]


def test_bars_stand_in_their_order_and_one_stands_out():
    values = {"a": 58.6, "people": 87.1, "b": 89.4}
    (ax,) = pictures.draw_bars(values, xlabel="average", stands_out="people", start=50).axes
    assert [bar.get_width() for bar in ax.patches] == list(values.values())
    assert texts(ax) == ["58.6", "87.1", "89.4"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2


def test_bytes_are_bars_and_machines_are_lines():
    (ax,) = pictures.draw_bytes({"small": 5.36e9, "large": 2.8e12}, has={"a card": 12e9}).axes
    assert [bar.get_width() for bar in ax.patches] == [5.36e9, 2.8e12]
    assert list(ax.lines[0].get_xdata()) == [12e9, 12e9]
    assert {"5.36 GB", "2.8 TB", "a card"} <= set(texts(ax))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (5_362_270_208, "5.36 GB"),
        (2.8e15, "2.8e+03 TB"),
    ],
)
def test_bytes_to_read(count, text):
    assert pictures.readable_bytes(count) == text
