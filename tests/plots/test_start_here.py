"""The pictures of chapter 00 show the numbers that they are given."""

import numpy as np
import pytest

from efftx.plots.start_here import draw_guesses, draw_memory


def points(ax) -> set[tuple[float, float]]:
    return {pair for line in ax.lines for pair in zip(*map(np.ravel, line.get_data()), strict=True)}


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_memory_shows_every_weight_and_both_names():
    weighed = {"full": {2**10: 2**23, 2**12: 2**27}, "LSH": {2**12: 2**22, 2**20: 2**30}}
    (ax,) = draw_memory(weighed, text_length=465_048).axes
    assert points(ax) >= {pair for size in weighed.values() for pair in size.items()}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["full", "LSH"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert 465_048 in {x for x, _ in points(ax)}


@pytest.mark.parametrize("n_sizes", [1, 4])
def test_guesses_names_every_number_of_rounds(n_sizes):
    few = {128 * 2**n: 0.4 + 0.04 * n for n in range(n_sizes)}
    (ax,) = draw_guesses(few, (8192, 0.6), commonest=0.18).axes
    assert points(ax) >= {*few.items(), (8192, 0.6)}
    assert [word for word in words(ax) if "round" in word] == [
        "LSH attention, 1 round",
        *(f"{rounds} rounds" for rounds in (2, 4, 8)[: n_sizes - 1]),
    ]
    assert [label.get_text() for label in ax.get_xticklabels()][-1] == "8,192"
