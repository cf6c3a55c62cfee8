"""What several chapters' pictures are made of."""

import numpy as np

from efftx.plots import new_figure, parts


def test_a_line_has_its_name_at_its_end_in_its_colour():
    _, ax = new_figure(3, 2)
    parts.named_line(ax, [1, 2, 4], np.array([5.0, 6.0, 8.0]), "grows", marker="s")
    (line,), (name,) = ax.lines, ax.texts
    assert (name.get_text(), name.xy) == ("grows", (4, 8.0))
    assert name.get_color() == line.get_color()
    assert line.get_marker() == "s"


def test_bars_stand_on_each_other_from_the_top_and_a_part_may_be_missing():
    _, ax = new_figure(4, 2)
    rows = {"first": {"a": 1, "b": 2}, "second": {"b": 4, "c": 0.5}}
    y, totals = parts.stacked_bars(ax, rows, {"b": "#123456"})
    parts.name_bars(ax, y, totals, [f"{total:.1f} MB" for total in totals], room=1.5)
    bars = {
        (round(bar.get_y() + 0.4), bars.get_label()): (bar.get_x(), bar.get_width())
        for bars in ax.containers
        for bar in bars
    }
    assert bars[0, "a"] == (0, 1)
    assert bars[0, "b"] == (1, 2)
    assert bars[-1, "b"] == (0, 4)
    assert bars[-1, "c"] == (4, 0.5)
    assert [text.get_text().strip() for text in ax.texts] == ["3.0 MB", "4.5 MB"]
    assert ax.get_xlim() == (0, 1.5 * 4.5)
    assert ax.containers[1][0].get_facecolor()[:3] == (0x12 / 255, 0x34 / 255, 0x56 / 255)


def test_bars_side_by_side_touch_and_are_centred():
    places, width = parts.side_by_side(3, 4, share=0.8)
    assert places.shape == (4, 3)
    np.testing.assert_allclose(np.diff(places, axis=0), width)
    np.testing.assert_allclose(places.mean(0), [0, 1, 2], atol=1e-12)
    np.testing.assert_allclose(4 * width, 0.8)


def test_the_running_mean_is_of_the_last_values_or_of_those_there_are():
    np.testing.assert_allclose(parts.running_mean(np.array([2.0, 4, 9, 5]), 2), [2, 3, 6.5, 7])
    assert np.isfinite(parts.running_mean(np.array([np.nan, 1, 1, 1]), 2)).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_only_the_numbers_that_were_measured_have_ticks():
    _, ax = new_figure(3, 2)
    parts.powers_of_two(ax, [1, 2, 1024])
    assert ax.get_xscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "1,024"]
    assert not len(ax.get_xticks(minor=True))
