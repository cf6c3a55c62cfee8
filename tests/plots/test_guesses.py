"""A picture shows what was measured, and where the prediction lies."""

import pytest

from efftx.plots import figures, guesses, new_figure
from efftx.plots.guesses import ask, draw_experiment, marked, number_in

CURVES = {"stored": {1: 10, 2: 20, 4: 40}, "rebuilt": {1: 15, 4: 15}}


def test_every_curve_the_prediction_and_the_limit_are_there():
    limit = ("a card", 30)
    (ax,) = draw_experiment(CURVES, "layers", "bytes", predicted=2, limit=limit).axes
    drawn = [dict(zip(*map(list, line.get_data()), strict=True)) for line in ax.lines[:2]]
    assert drawn == list(CURVES.values())
    assert {text.get_text() for text in ax.texts} == {*CURVES, "a card", "you predicted"}
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [line.get_xdata()[0] for line in ax.lines[3:]] == [2]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "4"]


def test_without_them_there_are_the_curves():
    (ax,) = draw_experiment(CURVES, "layers", "bytes", log="").axes
    assert len(ax.lines) == 2
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed, and what it becomes, as a handle in a notebook would show it."""
    pages = []

    class Handle:
        update = staticmethod(pages.append)

    def display(page, **_):
        pages.append(page)
        return Handle

    monkeypatch.setattr(guesses, "display", display)
    return pages


def a_figure():
    figure, ax = new_figure(3, 2)
    ax.plot([1, 10])
    return figure


def test_a_guess_is_drawn_when_it_is_typed_and_taken_back(displayed):
    figure, asked = a_figure(), ask("MiB")
    asked.show(figure, "a line")
    plain = figures.page(figure, "a line").data
    asked.box.value = "1,000"
    asked.box.value = ""
    _, alone, with_guess, again = displayed
    assert asked.number is None
    assert alone.data == again.data == plain
    assert with_guess.data != plain
    assert with_guess.data.count("<img") == 1


def test_a_guess_that_came_first_is_there_at_once(displayed):
    asked = ask("MiB")
    asked.box.value = "7"
    asked.show(figure := a_figure(), "a line")
    assert displayed[-1].data != figures.page(figure, "a line").data


@pytest.mark.parametrize("along", ["x", "y"])
def test_the_line_stands_at_the_guess_and_the_axis_reaches_it(along):
    (ax,) = a_figure().axes
    before = len(ax.lines), ax.get_xlim(), ax.get_ylim()
    with marked(ax, along, 50.0):
        assert getattr(ax.lines[-1], f"get_{along}data")()[0] == 50
        assert getattr(ax, f"get_{along}lim")()[1] == 50
    assert (len(ax.lines), ax.get_xlim(), ax.get_ylim()) == before
    assert not ax.texts


@pytest.mark.parametrize("typed", ["many", "-3", "0", "inf", "nan"])
def test_what_cannot_be_drawn_is_answered(typed, displayed):
    figure, asked = a_figure(), ask("MiB")
    figure.axes[0].set_yscale("log")
    asked.show(figure, "a line")
    alone = displayed[-1].data
    asked.box.value = typed
    assert displayed[-1].data == alone
    assert asked.reply.value
    asked.box.value = "3e2"
    assert not asked.reply.value


def test_numbers_are_read_as_people_write_them():
    assert [number_in(text) for text in ("12", " 0.5 ", "3e6", "1,048,576", "")] == [
        12,
        0.5,
        3e6,
        1048576,
        None,
    ]
