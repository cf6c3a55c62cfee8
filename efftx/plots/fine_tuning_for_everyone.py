"""The pictures of chapter 13: what a step takes, losses while tuning, and which card it fits."""

import numpy as np
from matplotlib.figure import Figure

from efftx.numbers.fine_tuning_for_everyone import METHODS, RANK, gigabytes
from efftx.plots.colours import INK, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import name_bars, stacked_bars

CARDS = {"Titan X": 12, "T4": 16, "RTX 4090": 24, "H100": 80}  # GB


@course_style()
def draw_cards(rows: dict[str, dict[str, float]]) -> Figure:
    """A bar for each row of gigabytes by part, and a line for what each card has."""
    figure, ax = new_figure(9, 1.6 + 0.42 * len(rows))
    y, totals = stacked_bars(ax, rows, height=0.7)
    end = max(1.25 * max(totals), 26)
    name_bars(ax, y, totals, [f"{total:.1f}" for total in totals], color=INK)
    ax.set_xlim(0, end)
    for n, (name, size) in enumerate(CARDS.items()):
        if size < end:
            ax.axvline(size, color=ORANGE, linestyle="--", linewidth=1)
            side = "left" if n else "right"  # the first two stand close together
            ax.text(size, 0.75, f"{name}\n{size} GB", ha=side, va="bottom", fontsize=8)
    ax.set_ylim(y.min() - 0.6, 0.7)
    ax.set(xlabel="GB that a step of one example takes")
    ax.legend(loc="lower right")
    return figure


def explore_cards(size: str, bits: int, length: int, checkpoints: bool) -> None:
    """Widget callback: the three methods of one model beside today's cards."""
    rows = {m: gigabytes(size, m, bits, length, checkpoints) for m in METHODS}
    totals = {method: sum(parts.values()) for method, parts in rows.items()}
    fits = [name for name, gb in CARDS.items() if totals["adapters"] <= gb]
    show(
        draw_cards(rows),
        f"{size} parameters, one text of {length:,} tokens, {'with' if checkpoints else 'without'} "
        f"checkpoints. In full with Adam {totals['full, Adam']:.1f} GB; adapters of rank {RANK} on "
        f"weights in {bits} bits {totals['adapters']:.1f} GB, which fits "
        f"{fits[0] if fits else 'no card here'}; forward passes only "
        f"{totals['forward only']:.1f} GB.",
    )


@course_style()
def draw_steps(steps: dict[str, dict[str, float]]) -> Figure:
    """A bar for each way to take a step, of MiB by part."""
    figure, ax = new_figure(9, 1.0 + 0.42 * len(steps))
    y, totals = stacked_bars(ax, steps, height=0.7)
    name_bars(ax, y, totals, [f"{total:,.0f}" for total in totals], color=INK)
    ax.set(xlabel="MiB of one training step")
    ax.legend(loc="lower right")
    return figure


@course_style()
def draw_curves(curves: dict[str, dict[int, float]], unit: str) -> Figure:
    """The held-out loss of each way after so many steps."""
    figure, ax = new_figure(7, 3.2)
    for (name, values), style in zip(curves.items(), ("-o", "--s", ":^", "-.D"), strict=False):
        ax.plot(list(values), list(values.values()), style, label=name)
    ax.set(xlabel="step", ylabel=f"held-out loss ({unit})")
    ax.legend()
    return figure


@course_style()
def draw_batches(rows: dict[str, dict[int, int]]) -> Figure:
    """The largest batch by length (a column) for each way (a row); 0 is written ZERO.

    A cell that is not in the rows stays empty.
    """
    lengths = sorted({length for row in rows.values() for length in row})
    table = np.array([[row.get(length, np.nan) for length in lengths] for row in rows.values()])
    figure, ax = new_figure(9, 1.0 + 0.42 * len(rows))
    ax.imshow(np.log2(1 + table), cmap="Blues", vmin=0, vmax=16, aspect="auto")
    for (row, column), batch in np.ndenumerate(table):
        if not np.isnan(batch):
            text, colour = (f"{batch:,.0f}", INK) if batch else ("ZERO", ORANGE)
            ax.text(column, row, text, color=colour, ha="center", va="center", fontsize=9)
    ax.axhline(0.5, color=INK, linewidth=1)  # below the row that is quoted
    ax.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(length=0)
    ax.grid(False)
    ax.set(xlabel="tokens in each example")
    return figure
