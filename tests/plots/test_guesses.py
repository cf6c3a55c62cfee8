"""The picture of an experiment shows what was measured, and where the prediction lies."""

from efftx.plots.guesses import draw_experiment

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
