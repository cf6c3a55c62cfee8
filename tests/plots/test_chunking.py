"""The pictures of chapter 04, over everything that its slider can be set to."""

import pytest

from efftx.plots import chunking as pictures
from efftx.plots import figures

SIZES = {"length": 16_384, "d_model": 512, "d_ff": 2048}
CHUNK_LENS = [2**n for n in range(4, 15)]


@pytest.mark.parametrize("chunk_len", [*CHUNK_LENS, 1000, 20_000])
def test_the_chunk_at_work_is_drawn_to_scale(chunk_len):
    figure = pictures.draw_layer(**SIZES, chunk_len=chunk_len)
    _, dashed, chunk, _ = figure.axes[0].patches
    share = min(chunk_len, SIZES["length"]) / SIZES["length"]
    assert chunk.get_height() == pytest.approx(share * dashed.get_height())
    assert dashed.get_y() - 1e-9 <= chunk.get_y()
    assert chunk.get_y() + chunk.get_height() <= dashed.get_y() + dashed.get_height() + 1e-9
    assert not dashed.get_fill()


def test_labels_say_what_exists():
    figure = pictures.draw_layer(**SIZES, chunk_len=1024)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert "x\n16,384 × 512\n32 MiB" in labels
    assert "hidden\n1,024 × 2,048\n8 MiB" in labels


def test_the_widget_says_something_else_for_every_chunk(monkeypatch):
    monkeypatch.setattr(pictures, "draw_layer", lambda *_: None)
    said = []
    monkeypatch.setattr(pictures, "show", lambda _, caption: said.append(caption))
    for chunk_len in CHUNK_LENS:
        pictures.show_layer(chunk_len, **SIZES)
    assert len(set(said)) == len(CHUNK_LENS)
    assert said[0].startswith("1,024 chunks of 16 positions.")
    assert said[-1].startswith("One chunk of 16,384 positions. Of the hidden layer 128 MiB")
    # 4 · m · 2,048 bytes against 8 MiB of weights: equal at 1,024.
    assert ["is more than" in caption for caption in said] == [n > 1024 for n in CHUNK_LENS]


def test_the_widget_shows_a_figure(monkeypatch):
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)
    pictures.show_layer(64, **SIZES)
    assert "<img src=" in pages[0].data


def test_costs_are_drawn_beside_their_levels():
    levels = {"without chunks": 2**27, "one array of vectors": 2**22}
    figure = pictures.draw_costs(
        (16, 64), (2**22, 2**23), (0.2, 0.1), levels=levels, whole_seconds=0.15
    )
    memory, time = figure.axes
    assert memory.lines[0].get_ydata().tolist() == [4, 8]
    assert [line.get_ydata()[0] for line in memory.lines[1:]] == [128, 4]
    assert [text.get_text() for text in memory.texts] == list(levels)
    assert time.lines[0].get_ydata().tolist() == [200, 100]
    assert time.lines[1].get_ydata()[0] == pytest.approx(150)
