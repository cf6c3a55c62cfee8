"""The pictures of chapter 02: a ledger as a bar, measured curves beside it, batches that fit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efftx.memory.ledger import Step, entries, in_gib, max_batch
from efftx.plots.colours import BUCKET_COLOURS, INK, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import name_bars, side_by_side, stacked_bars

GIB = 2**30
# Entries of the ledger that share a piece of the bar.
PIECES = {
    "parameters": ("parameters",),
    "gradients": ("gradients",),
    "optimiser state": ("optimiser state",),
    "norms and vectors": ("norms and inputs", "attention vectors", "streams", "hash buckets"),
    "attention scores": ("attention scores",),
    "feed-forward": ("feed-forward",),
    "readout and loss": ("readout and loss",),
    "working memory": ("working memory",),
}


def pieces(step: Step) -> dict[str, int]:
    """The bytes of each piece of a step's bar."""
    ledger = entries(step)
    return {name: sum(ledger.get(entry, 0) for entry in of) for name, of in PIECES.items()}


@course_style()
def draw_bars(steps: dict[str, Step], *, budget: int | None = None) -> Figure:
    """A bar for each step, made of its pieces, in GiB; and a line where the budget ends."""
    figure, ax = new_figure(9, 1.6 + 0.45 * len(steps))
    gib = {
        name: {piece: size / GIB for piece, size in pieces(step).items()}
        for name, step in steps.items()
    }
    colours = dict(zip(PIECES, BUCKET_COLOURS, strict=True))
    rows, totals = stacked_bars(ax, gib, colours, edgecolor=INK, linewidth=0.5)
    name_bars(ax, rows, totals, [in_gib(total * GIB) for total in totals], fontsize=9)
    ax.set(xlabel="GiB", xlim=(0, 1.2 * max(totals.max(), (budget or 0) / GIB)))
    if budget is not None:
        ax.axvline(budget / GIB, color=ORANGE, linewidth=2)
        ax.text(budget / GIB, rows[0] + 0.5, f" {in_gib(budget)}", color=ORANGE, va="bottom")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def show_ledger(
    length: int,
    n_layers: int,
    batch: int,
    *,
    attention: str,
    reversible: bool,
    chunks: bool,
    small_optimiser: bool,
    model: Step,
    budget: int,
) -> None:
    """Widget callback: the ledger of a model with these techniques, and what batch would fit."""
    step = replace(
        model,
        length=length,
        n_layers=n_layers,
        batch=batch,
        attention=attention,
        reversible=reversible,
        ff_chunk_len=256 if chunks else None,
        loss_chunk_len=256 if chunks else None,
        optimiser_bytes=2 if small_optimiser else 8,
    )
    sizes = pieces(step)
    largest = max(sizes, key=sizes.get)
    total = sum(sizes.values())
    fit = max_batch(step, budget)
    blocks, takes = ("1 block", "takes") if n_layers == 1 else (f"{n_layers} blocks", "take")
    examples = "one example" if batch == 1 else f"{batch} examples"
    verdict = "fits into" if total <= budget else "does not fit into"
    show(
        draw_bars({"this step": step}, budget=budget),
        f"{blocks} on {examples} of {length:,} positions {takes} {in_gib(total)}, which "
        f"{verdict} {in_gib(budget)}. The largest piece is {largest}, {in_gib(sizes[largest])}. "
        f"The largest batch is {fit.batch}: {fit.reason}.",
    )


@course_style()
def draw_curves(curves: dict[str, tuple[Sequence, Sequence, Sequence]]) -> Figure:
    """A panel for each quantity: what the compiler plans as dots, what the ledger says as a line.

    ``curves`` maps the quantity's name to its values, planned bytes and bytes of the ledger.
    """
    figure, axes = new_figure(9, 3.2, ncols=len(curves), squeeze=False)
    for ax, (name, (values, planned, predicted)) in zip(axes[0], curves.items(), strict=True):
        _curve(ax, values, np.asarray(planned) / 2**20, np.asarray(predicted) / 2**20)
        ax.set(xlabel=name, xticks=values)
        ax.set_xticklabels([f"{value:,}" for value in values], fontsize=8)
    axes[0, 0].set_ylabel("MiB")
    axes[0, 0].legend(loc="upper left")
    return figure


def _curve(ax: Axes, values, planned, predicted) -> None:
    ax.plot(values, predicted, label="ledger")
    ax.plot(values, planned, "o", color=ORANGE, label="compiler")
    ax.set_ylim(bottom=0)


@course_style()
def draw_batches(lengths: Sequence, batches: dict[str, Sequence]) -> Figure:
    """Bars side by side: the largest batch at each length, quoted and predicted."""
    figure, ax = new_figure(9, 3.2)
    places, width = side_by_side(len(lengths), len(batches))
    for x, (name, values), colour in zip(places, batches.items(), BUCKET_COLOURS, strict=False):
        look = {"color": colour, "edgecolor": INK, "linewidth": 0.5}
        bars = ax.bar(x, values, width, label=name, **look)
        ax.bar_label(bars, fontsize=9)
    ax.set_xticks(np.arange(len(lengths)), [str(length) for length in lengths])
    ax.set(xlabel="length (tokens)", ylabel="largest batch")
    ax.grid(False, axis="x")
    ax.legend()
    return figure
