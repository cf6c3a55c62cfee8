"""The pictures of chapter 09: what models cost by length, tables of accuracy, bits per byte."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efftx.memory.flops import step_flops
from efftx.memory.ledger import Step, entries, in_gib
from efftx.plots.colours import GREY, INK, MARKERS, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import named_line, powers_of_two

GIB = 2**30
LENGTHS = tuple(2**n for n in range(10, 21))
EXCHANGED = {"attention": "lsh", "reversible": True, "ff_chunk_len": 4096, "loss_chunk_len": 4096}


# What a step costs ----------------------------------------------------------------------------


def models(step: Step) -> dict[str, Step]:
    """The same sizes as a Transformer, as one with exact attention in blocks, as a Reformer."""
    return {
        "Transformer": replace(step, attention="full"),
        "Transformer, in blocks": replace(step, attention="blocked"),
        "Reformer": replace(step, **EXCHANGED),
    }


def n_bytes(step: Step) -> int:
    """All that a training step holds, as the ledger of chapter 02 has it."""
    return sum(entries(step).values())


@course_style()
def draw_costs(
    step: Step,
    *,
    rate: float,
    budget: int | None = None,
    measured: Sequence[tuple[int, float, float]] = (),
) -> Figure:
    """Memory and time of a training step against its length, a line for each of the `models`.

    Memory is the ledger's; time is the step's arithmetic at ``rate`` multiplications and additions
    a second, so no step can be faster. ``measured`` are (length, GiB, seconds) of real steps of the
    Reformer. The step's own length is marked.
    """
    figure, (memory, time) = new_figure(9, 3.8, ncols=2)
    lengths = sorted({*LENGTHS, step.length})
    for name, marker in zip(models(step), MARKERS, strict=False):
        steps = [models(replace(step, length=length, max_len=None))[name] for length in lengths]
        at = lengths.index(step.length)
        for ax, values in (
            (memory, [n_bytes(one) / GIB for one in steps]),
            (time, [step_flops(one) / rate for one in steps]),
        ):
            ax.plot(lengths, values, marker=marker, markevery=[at], label=name)
    for ax, values in ((memory, 1), (time, 2)):
        if measured:
            dots = [row[0] for row in measured], [row[values] for row in measured]
            ax.plot(*dots, "x", color=INK, markersize=7, label="Reformer, measured")
        _length_axis(ax, step.length)
    if budget is not None:
        memory.axhline(budget / GIB, color=ORANGE, linewidth=1, linestyle=":")
        memory.text(LENGTHS[0], 1.1 * budget / GIB, in_gib(budget), color=ORANGE, fontsize=9)
    memory.set_ylabel("memory of a step (GiB)")
    time.set_ylabel("arithmetic of a step (seconds)")
    figure.legend(*memory.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _length_axis(ax: Axes, length: int) -> None:
    ax.set_yscale("log")
    powers_of_two(ax, LENGTHS[::2], [short(n) for n in LENGTHS[::2]])
    ax.axvline(length, color="#BBBBBB", linewidth=1, zorder=0)
    ax.set_xlabel("length (tokens)")


def short(n: int) -> str:
    """1024 as 1k, a million as 1M."""
    return f"{n >> 20}M" if n >= 2**20 else f"{n >> 10}k"


def in_time(seconds: float) -> str:
    """For people."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def show_costs(
    length: int,
    n_layers: int,
    n_hashes: int,
    *,
    sizes: Step,
    rate: float,
    budget: int,
    measured: Sequence[tuple[int, float, float]] = (),
) -> None:
    """Widget callback: the lines of a model of this depth and these rounds, and what fits.

    ``measured`` belongs to the depth and rounds of ``sizes``, and is drawn for these only.
    """
    step = replace(sizes, length=length, n_layers=n_layers, n_hashes=n_hashes)
    same = (n_layers, n_hashes) == (sizes.n_layers, sizes.n_hashes)
    said = [
        f"{name}: {in_gib(n_bytes(one))}, which {_fits(one, budget)}, and at least "
        f"{in_time(step_flops(one) / rate)}."
        for name, one in models(step).items()
    ]
    depth = "1 layer" if n_layers == 1 else f"{n_layers} layers"
    rounds = "1 round" if n_hashes == 1 else f"{n_hashes} rounds"
    show(
        draw_costs(step, rate=rate, budget=budget, measured=measured if same else ()),
        f"A training step of {depth} on {length:,} tokens; the Reformer with {rounds}. "
        + " ".join(said),
    )


def _fits(step: Step, budget: int) -> str:
    return ("fits into " if n_bytes(step) <= budget else "does not fit into ") + in_gib(budget)


@course_style()
def draw_steps(lengths, microseconds, gib) -> Figure:
    """Of real steps: time for each token, which is level if time is linear, and peak memory.

    Memory has a linear axis of lengths, on which what grows in proportion is a straight line.
    """
    figure, (time, memory) = new_figure(9, 3.2, ncols=2)
    time.plot(lengths, microseconds, "o-")
    time.set(ylabel="µs for each token", ylim=(0, 1.3 * max(microseconds)))
    time.set_xscale("log", base=2)
    time.minorticks_off()
    memory.plot(lengths, gib, "o-", color=ORANGE)
    memory.set(ylabel="peak memory of the process (GiB)", ylim=(0, 1.15 * max(gib)))
    quarters = [max(lengths) * n // 4 for n in range(1, 5)]
    for ax, ticks in ((time, lengths), (memory, quarters)):
        ax.set_xticks(ticks, [short(n) for n in ticks])
        ax.set_xlabel("length (tokens)")
    return figure


# How good it is -------------------------------------------------------------------------------


@course_style()
def draw_needle(rounds: dict[str, dict], *, by_chance: float) -> Figure:
    """The share of right answers by distance, a line for each number of rounds.

    Each holds ``right``, by distance, as `experiments/needle.py` writes it.
    """
    figure, ax = new_figure(8, 3.4)
    for (n, row), marker in zip(rounds.items(), itertools.cycle(MARKERS)):
        distances = [int(d) for d in row["right"]]
        name = f"{n} round{'s' * (n != '1')}"
        named_line(ax, distances, list(row["right"].values()), name, marker=marker)
    ax.axhline(by_chance, color=GREY, linewidth=1, linestyle=":")
    powers_of_two(ax, distances, [f"{d:,}" for d in distances])
    ax.text(distances[0], by_chance + 0.02, "by chance", color=GREY, fontsize=9)
    ax.set(xlabel="distance (symbols)", ylabel="share of right answers", ylim=(0, 1.05))
    ax.set_xlim(right=8 * distances[-1])  # room for the names
    return figure


@course_style()
def draw_accuracies(
    tables: dict[str, np.ndarray], *, trained: Sequence[str], evaluated: Sequence[str]
) -> Figure:
    """Tables of per cent side by side: a row for how a model was trained, a column for evaluation.

    A cell without a number (NaN) was not measured.
    """
    figure, axes = new_figure(9, 0.9 + 0.5 * len(trained), ncols=len(tables), squeeze=False)
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        ax.imshow(table, cmap="Blues", vmin=0, vmax=150, aspect="auto")
        for (row, column), value in np.ndenumerate(np.asarray(table, float)):
            text = "" if np.isnan(value) else f"{value:.1f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=9)
        ax.set_title(title)
        ax.set_xticks(range(len(evaluated)), evaluated)
        ax.set_yticks(range(len(trained)), trained)
        ax.set_xlabel("evaluated with")
        ax.tick_params(length=0)
        ax.grid(False)
    axes[0, 0].set_ylabel("trained with")
    return figure


@course_style()
def draw_seeds(variants: dict[str, dict], *, xlabel: str) -> Figure:
    """A row for each variant: a dot for each seed, and their mean with its 95 % interval.

    Each variant holds ``by_seed``, ``mean`` and ``interval_95``, as `mean_with_interval` gives it.
    """
    figure, ax = new_figure(7.5, 1 + 0.36 * len(variants))
    rows = np.arange(len(variants))[::-1]
    for row, each in zip(rows, variants.values(), strict=True):
        mean, (low, high) = each["mean"], each["interval_95"]
        ax.plot(each["by_seed"], [row] * len(each["by_seed"]), "o", color=GREY, markersize=4)
        reach = [[mean - low], [high - mean]]
        ax.errorbar([mean], [row], xerr=reach, fmt="D", color=ORANGE, capsize=4)
        above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        ax.annotate(f"{mean:.3f}", (mean, row), **above)
    ax.set_yticks(rows, list(variants))
    ax.set(xlabel=xlabel, ylim=(-0.6, len(variants) - 0.2))
    return figure


@course_style()
def draw_work(panels: dict[str, tuple[str, dict[str, tuple]]]) -> Figure:
    """What is gained by how much work: a panel for each task, a named dot for each model.

    ``panels`` holds, by the task's name, the unit of what is gained and (scores, gain) by model.
    """
    figure, axes = new_figure(9, 3.9, ncols=len(panels), squeeze=False)
    for ax, (task, (unit, models)) in zip(axes[0], panels.items(), strict=True):
        for (name, point), marker in zip(models.items(), itertools.cycle(MARKERS)):
            (dot,) = ax.plot(*point, marker, markersize=7)
            place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(name, point, color=dot.get_color(), fontsize=8, **place)
        scores = [n for n, _ in models.values()]
        powers_of_two(ax, [4**n for n in range(16) if min(scores) / 2 < 4**n < 2 * max(scores)])
        ax.set_xlim(right=max(scores) ** 1.3 / min(scores) ** 0.3)  # room for the names
        ax.set(title=task, xlabel="scores for each position", ylabel=unit)
    return figure
