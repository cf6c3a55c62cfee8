"""The pictures of chapter 15 show every point, and every point says where it comes from."""

from efftx.numbers.outlook import LENGTHS, SHARES
from efftx.plots import outlook

ALL = [*LENGTHS, *SHARES]


def points(ax) -> set[tuple[float, float]]:
    return {tuple(map(float, pair)) for dots in ax.collections for pair in dots.get_offsets()}


def heights(ax) -> list[float]:
    """Of the horizontal lines."""
    return [line.get_ydata()[0] for line in ax.lines]


def test_lengths_are_all_drawn_and_named():
    (ax,) = outlook.draw_lengths().axes
    assert points(ax) == {(one.date, one.value) for one in LENGTHS}
    assert {one.name for one in LENGTHS} <= {text.get_text() for text in ax.texts}
    assert heights(ax) == [2**20]
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["offered", "tried"]


def test_shares_are_all_drawn_and_named():
    (ax,) = outlook.draw_shares(ours=0.02).axes
    assert points(ax) == {(one.date, one.value) for one in SHARES}
    assert {one.name for one in SHARES} <= {text.get_text() for text in ax.texts}
    assert heights(ax) == [0.02]
    low, high = ax.get_ylim()
    assert all(low < one.value < high for one in SHARES)
