"""Diagrams of what is computed from what: boxes, arrows between them, frames around them.

A diagram is data: boxes by name, in places of a grid, and pairs of names. So a chapter's diagram is
a table, and one that is nearly another's is that one with some boxes exchanged.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle

from efftx.plots.colours import BUCKET_COLOURS, INK, QUIET
from efftx.plots.figures import PAGE_WIDTH, course_style, new_figure

BLUE, ORANGE, GREEN = (BUCKET_COLOURS[n] for n in (0, 1, 3))
FILLS = {"layer": BLUE, "new": ORANGE, "choice": GREEN}
MARGIN = 0.5


@dataclass(frozen=True)
class Box:
    """What stands at a place. A ``kind`` without a fill is drawn without a box: data, or a sign."""

    x: float | int
    y: float | int
    text: str
    kind: str = "layer"  # or "new", "choice"; "data"; "sign" in a circle; "way", a corner
    width: float = 1.7
    height: float = 0.8


@dataclass(frozen=True)
class Frame:
    """A dashed rectangle from one corner to the other, and what it says."""

    left: float | int
    bottom: float | int
    right: float | int
    top: float | int
    text: str


Boxes = dict[str, Box]
Arrows = Iterable[tuple[str, str]]


@course_style()
def draw_diagram(boxes: Boxes, arrows: Arrows, frames: Iterable[Frame] = ()) -> Figure:
    """The boxes where they say, an arrow for each pair of names; as wide as a page."""
    (left, right), (bottom, top) = extent(boxes.values(), frames)
    figure, ax = new_figure(PAGE_WIDTH, PAGE_WIDTH * (top - bottom) / (right - left))
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_position((0, 0, 1, 1))
    ax.axis("off")
    for frame in frames:
        _draw_frame(ax, frame)
    patches = {name: _draw_box(ax, box) for name, box in boxes.items()}
    for start, end in arrows:
        _draw_arrow(ax, boxes[start], boxes[end], patches[start], patches[end])
    return figure


def extent(boxes: Iterable[Box], frames: Iterable[Frame]) -> tuple[tuple, tuple]:
    """From where to where everything reaches, along x and along y, with a margin."""
    boxes, frames = list(boxes), list(frames)
    x = [b.x + side * b.width / 2 for b in boxes for side in (-1, 1)]
    y = [b.y + side * b.height / 2 for b in boxes for side in (-1, 1)]
    x += [side for frame in frames for side in (frame.left, frame.right)]
    y += [side for frame in frames for side in (frame.bottom, frame.top + 0.4)]
    return (min(x) - MARGIN, max(x) + MARGIN), (min(y) - MARGIN, max(y) + MARGIN)


def _draw_box(ax: Axes, box: Box) -> Patch:
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    if box.kind == "way":
        patch: Patch = Circle((box.x, box.y), 0.01, color=INK)
    elif box.kind == "sign":
        patch = Circle((box.x, box.y), 0.27, facecolor="white", edgecolor=INK)
    elif box.kind in FILLS:
        look = {"facecolor": FILLS[box.kind], "edgecolor": INK, "linewidth": 0.8}
        style = "round,pad=0,rounding_size=0.12"
        patch = FancyBboxPatch(corner, box.width, box.height, boxstyle=style, **look)
    else:
        patch = Rectangle(corner, box.width, box.height, alpha=0)
    ax.add_patch(patch)
    if box.text:
        ax.text(box.x, box.y, box.text, ha="center", va="center", fontsize=9, color=INK)
    return patch


def _draw_arrow(ax: Axes, start: Box, end: Box, leaves: Patch, reaches: Patch) -> None:
    style = "-" if end.kind == "way" else "-|>"
    ax.add_patch(
        FancyArrowPatch(
            (start.x, start.y),
            (end.x, end.y),
            arrowstyle=style,
            mutation_scale=9,
            patchA=leaves,
            patchB=reaches,
            shrinkA=0,
            shrinkB=0,
            color=INK,
            linewidth=0.9,
        )
    )


def _draw_frame(ax: Axes, frame: Frame) -> None:
    size = frame.right - frame.left, frame.top - frame.bottom
    look = {"fill": False, "edgecolor": QUIET, "linestyle": "--", "linewidth": 0.9}
    ax.add_patch(Rectangle((frame.left, frame.bottom), *size, **look))
    ax.text(frame.left, frame.top + 0.1, frame.text, color=QUIET, fontsize=9, va="bottom")
