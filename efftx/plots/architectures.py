"""The models of the course as diagrams, each one the one before it with some parts exchanged.

Blue is what a Transformer has, orange what takes its place, green what chooses.
"""

from dataclasses import replace
from itertools import chain as joined
from itertools import pairwise

from matplotlib.figure import Figure

from efftx.plots.diagrams import Arrows, Box, Boxes, Frame, draw_diagram


def chain(*names: str) -> list[tuple[str, str]]:
    """An arrow from each name to the next."""
    return list(pairwise(names))


def exchanged(boxes: Boxes, **texts: str) -> Boxes:
    """The same with other texts in some boxes, which become new ones."""
    return {**boxes, **{n: replace(boxes[n], text=text, kind="new") for n, text in texts.items()}}


# Transformer ----------------------------------------------------------------------------------

TRANSFORMER: Boxes = {
    "tokens": Box(0, 0, "tokens", "data", 1.3),
    "embedding": Box(2, 0, "embedding\n+ positions", width=1.9),
    "stream": Box(4.1, 0, "", "way"),
    "norm 1": Box(4.1, 1.6, "norm", width=1.2),
    "attention": Box(6.1, 1.6, "attention"),
    "sum 1": Box(6.1, 0, "+", "sign"),
    "middle": Box(8.1, 0, "", "way"),
    "norm 2": Box(8.1, 1.6, "norm", width=1.2),
    "feed-forward": Box(10.2, 1.6, "feed-forward", width=1.9),
    "sum 2": Box(10.2, 0, "+", "sign"),
    "norm": Box(12.5, 0, "norm", width=1.2),
    "readout": Box(14.3, 0, "readout", width=1.5),
    "scores": Box(16.3, 0, "scores of the\nnext token", "data", 1.9),
}
ALONG = chain("tokens", "embedding", "stream", "sum 1", "middle", "sum 2", "norm", "readout")
BRANCHES = [
    *chain("stream", "norm 1", "attention", "sum 1"),
    *chain("middle", "norm 2", "feed-forward", "sum 2"),
]
BLOCK = Frame(3.3, -0.7, 11.4, 2.3, "a block, once for each layer")


def draw_transformer() -> Figure:
    """A decoder-only Transformer: a stream to which each block adds twice."""
    return draw_diagram(TRANSFORMER, [*ALONG, ("readout", "scores"), *BRANCHES], [BLOCK])


# Reversible -----------------------------------------------------------------------------------

FORWARD: Boxes = {
    "x1": Box(0, 1.2, "$x_1$", "data", 0.7),
    "x2": Box(0, -1.2, "$x_2$", "data", 0.7),
    "way 1": Box(1.5, -1.2, "", "way"),
    "F": Box(1.5, 0, "F", width=0.9),
    "sum 1": Box(1.5, 1.2, "+", "sign"),
    "way 2": Box(3.3, 1.2, "", "way"),
    "G": Box(3.3, 0, "G", width=0.9),
    "sum 2": Box(3.3, -1.2, "+", "sign"),
    "y1": Box(4.8, 1.2, "$y_1$", "data", 0.7),
    "y2": Box(4.8, -1.2, "$y_2$", "data", 0.7),
}
UP: Arrows = [
    *chain("x1", "sum 1", "way 2", "y1"),
    *chain("x2", "way 1", "sum 2", "y2"),
    *chain("way 1", "F", "sum 1"),
    *chain("way 2", "G", "sum 2"),
]
DOWN: Arrows = [
    *chain("y1", "way 2", "sum 1", "x1"),
    *chain("y2", "sum 2", "way 1", "x2"),
    *chain("way 2", "G", "sum 2"),
    *chain("way 1", "F", "sum 1"),
]


def aside(boxes: Boxes, dx: float, prefix: str, sign: str) -> Boxes:
    """The same further right, under other names and with another sign."""
    return {
        prefix + name: replace(box, x=box.x + dx, text=sign if box.kind == "sign" else box.text)
        for name, box in boxes.items()
    }


def draw_reversible_block() -> Figure:
    """A reversible block: what it adds on the way up is taken away on the way down."""
    boxes = {**FORWARD, **aside(FORWARD, 7.6, "down ", "−")}
    down = [(f"down {start}", f"down {end}") for start, end in DOWN]
    frames = [Frame(-0.7, -1.9, 5.5, 1.9, "forward"), Frame(6.9, -1.9, 13.1, 1.9, "backward")]
    return draw_diagram(boxes, [*UP, *down], frames)


# Reformer -------------------------------------------------------------------------------------

REFORMER: Boxes = {
    "tokens": Box(-0.2, 0, "tokens", "data", 1.2),
    "embedding": Box(1.9, 0, "embedding, axial\npositions", "new", 2.2),
    "x1": Box(3.9, 1.6, "$x_1$", "data", 0.6),
    "x2": Box(3.9, -1.6, "$x_2$", "data", 0.6),
    "way 1": Box(5.9, -1.6, "", "way"),
    "attention": Box(5.9, 0, "norm,\nLSH attention", "new", 2.3),
    "sum 1": Box(5.9, 1.6, "+", "sign"),
    "way 2": Box(8.6, 1.6, "", "way"),
    "feed-forward": Box(8.6, 0, "norm, feed-forward\nin chunks", "new", 2.6),
    "sum 2": Box(8.6, -1.6, "+", "sign"),
    "y1": Box(10.6, 1.6, "$y_1$", "data", 0.6),
    "y2": Box(10.6, -1.6, "$y_2$", "data", 0.6),
    "norm": Box(12.2, 0, "mean,\nnorm", width=1.2),
    "readout": Box(14.1, 0, "readout, loss\nin chunks", "new", 1.8),
}

TWO_STREAMS = [
    *chain("tokens", "embedding", "x1"),
    *chain("embedding", "x2"),
    *chain("x1", "sum 1", "way 2", "y1", "norm", "readout"),
    *chain("x2", "way 1", "sum 2", "y2", "norm"),
    *chain("way 1", "attention", "sum 1"),
    *chain("way 2", "feed-forward", "sum 2"),
]
REVERSIBLE_BLOCK = replace(BLOCK, left=4.5, bottom=-2.2, right=10.1, top=2.2)


def draw_reformer() -> Figure:
    """The Reformer: a Transformer's parts in a reversible block, and what was exchanged."""
    return draw_diagram(REFORMER, TWO_STREAMS, [REVERSIBLE_BLOCK])


# Sparse layers --------------------------------------------------------------------------------

SPARSE_FEED_FORWARD: Boxes = {
    "x": Box(0, 0, "x", "data", 0.6),
    "corner": Box(0, 2, "", "way"),
    "C1": Box(2.4, 2, "$C_1$: to a few\nnumbers", "choice", 2.1),
    "C2": Box(5.4, 2, "$C_2$: a score\nfor each unit", "choice", 2.1),
    "argmax": Box(8.6, 2, "the strongest\nof each N", "choice", 2.1),
    "W1": Box(4.0, 0, "chosen rows\nof $W_1$", "new", 2.0),
    "relu": Box(6.9, 0, "ReLU", width=1.2),
    "W2": Box(9.8, 0, "chosen rows\nof $W_2$", "new", 2.0),
    "y": Box(12.2, 0, "y", "data", 0.6),
}


def draw_sparse_feed_forward() -> Figure:
    """A sparse feed-forward layer in use: a controller chooses what is read of the weights."""
    arrows = [
        *chain("x", "W1", "relu", "W2", "y"),
        *chain("x", "corner", "C1", "C2", "argmax"),
        *chain("argmax", "W1"),
        *chain("argmax", "W2"),
    ]
    return draw_diagram(SPARSE_FEED_FORWARD, arrows)


SPARSE_QKV: Boxes = {
    "x": Box(0, 0, "x", "data", 0.6),
    "D, E": Box(2.0, 0, "multiplicative\nD and E", "new", 2.0),
    "modules": Box(4.7, 0, "S modules\nof M numbers", "data", 1.9),
    **{
        f"to {name}": Box(7.4, y, "3 × 3 convolution", "new", 2.3)
        for name, y in zip("qkv", (1.2, 0, -1.2), strict=True)
    },
    **{name: Box(9.5, y, name, "data", 0.5) for name, y in zip("qkv", (1.2, 0, -1.2), strict=True)},
    "attention": Box(11.4, 0, "attention\nof each head", width=1.9),
    "out": Box(14.0, 0, "heads side by side,\nno projection", "data", 2.4),
}


def draw_sparse_qkv() -> Figure:
    """Attention with sparse QKV: one multiplicative layer, three convolutions, no projection."""
    ways = [chain("modules", f"to {name}", name, "attention") for name in "qkv"]
    arrows = [
        *chain("x", "D, E", "modules"),
        *chain("attention", "out"),
        *joined.from_iterable(ways),
    ]
    return draw_diagram(SPARSE_QKV, arrows)


TERRAFORMER = {
    **exchanged(
        REFORMER,
        **{
            "attention": "norm, attention\nwith sparse QKV",
            "feed-forward": "norm, sparse feed-\nforward + SRU",
            "readout": "sparse\nreadout",
        },
    ),
    "embedding": Box(1.9, 0, "embedding,\npositions", width=1.9),
}


def draw_terraformer() -> Figure:
    """The Terraformer as a language model: the Reformer's block, and sparse parts in it."""
    return draw_diagram(TERRAFORMER, TWO_STREAMS, [REVERSIBLE_BLOCK])
