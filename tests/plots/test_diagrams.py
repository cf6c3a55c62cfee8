"""Diagrams: every arrow joins two boxes, no box covers another, and all of it is in the picture."""

from itertools import combinations

import pytest
from matplotlib.patches import FancyBboxPatch, Rectangle

from efftx.plots import architectures
from efftx.plots.diagrams import Box, Frame, draw_diagram

DRAWN = {name: f for name, f in vars(architectures).items() if name.startswith("draw_")}
DRAWN.pop("draw_diagram")
MODELS = {
    name: boxes
    for name, boxes in vars(architectures).items()
    if isinstance(boxes, dict) and all(isinstance(box, Box) for box in boxes.values())
}


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_boxes_arrows_and_frames_are_drawn():
    boxes = {"a": Box(0, 0, "here"), "b": Box(4, 0, "there", "new")}
    figure = draw_diagram(boxes, [("a", "b")], [Frame(-1, -1, 5, 1, "both")])
    assert sorted(texts(figure)) == ["both", "here", "there"]
    here, there, arrow = (p for p in figure.axes[0].patches if not isinstance(p, Rectangle))
    assert (arrow.patchA, arrow.patchB) == (here, there)  # it begins and ends at their borders


def test_an_arrow_from_nowhere_is_refused():
    with pytest.raises(KeyError):
        draw_diagram({"a": Box(0, 0, "here")}, [("a", "b")])


@pytest.mark.parametrize("name", DRAWN)
def test_all_of_it_is_in_the_picture(name):
    figure = DRAWN[name]()
    (ax,) = figure.axes
    figure.draw_without_rendering()
    for text in ax.texts:
        box = text.get_window_extent().transformed(ax.transData.inverted())
        assert ax.viewLim.x0 <= box.x0 < box.x1 <= ax.viewLim.x1, text.get_text()
        assert ax.viewLim.y0 <= box.y0 < box.y1 <= ax.viewLim.y1, text.get_text()
        for border in (p.get_bbox() for p in ax.patches if isinstance(p, FancyBboxPatch)):
            if border.contains(*text.get_position()):
                assert border.x0 < box.x0 < box.x1 < border.x1, text.get_text()


@pytest.mark.parametrize("name", MODELS)
def test_no_box_covers_another(name):
    solid = [box for box in MODELS[name].values() if box.kind != "way"]
    for a, b in combinations(solid, 2):
        apart = (
            abs(a.x - b.x) >= (a.width + b.width) / 2,
            abs(a.y - b.y) >= (a.height + b.height) / 2,
        )
        assert any(apart) or "sign" in (a.kind, b.kind), (a.text, b.text)


def test_a_terraformer_is_a_reformer_with_parts_exchanged():
    reformer, terraformer = architectures.REFORMER, architectures.TERRAFORMER
    changed = {name for name in reformer if reformer[name] != terraformer[name]}
    assert changed == {"embedding", "attention", "feed-forward", "readout"}
