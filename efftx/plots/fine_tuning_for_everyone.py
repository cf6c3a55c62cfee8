"""The pictures of chapter 13: what a step takes, losses while tuning, and which card it fits."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from efftx.plots.colours import INK, ORANGE
from efftx.plots.figures import course_style, new_figure, show
from efftx.plots.parts import name_bars, stacked_bars

CARDS = {"Titan X": 12, "T4": 16, "RTX 4090": 24, "H100": 80}  # GB
STEP_BYTES = 16  # of what is trained: the number, its gradient, Adam's two means, in float32
BITS = {16: 2.0, 8: 1.0, 4: 0.625}  # bytes of a frozen number; 4 bits with a step and a beginning
RANK = 8


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; those of LLaMA as in its paper's table 2, d_ff as in section 2.2."""

    n_parameters: float
    n_layers: int
    d_model: int
    d_ff: int


SHAPES = {
    "135M": Shape(134.5e6, 30, 576, 1536),
    "7B": Shape(6.7e9, 32, 4096, 11_008),
    "13B": Shape(13.0e9, 40, 5120, 13_824),
    "33B": Shape(32.5e9, 60, 6656, 17_920),
    "65B": Shape(65.2e9, 80, 8192, 22_016),
}
METHODS = ("full, Adam", "adapters", "forward only")


def adapter_numbers(shape: Shape, rank: int = RANK) -> int:
    """Of all seven matrices of a block: rank · (in + out) each."""
    d, d_ff = shape.d_model, shape.d_ff
    return shape.n_layers * rank * (4 * 2 * d + 3 * (d + d_ff))


def activation_numbers(shape: Shape, length: int, checkpoints: bool) -> int:
    """One example's, with exact attention in blocks and the loss in chunks.

    A block has some 12 arrays of width d_model and 4 of d_ff. All blocks keep them, or, with
    checkpoints, each its input, and one block its arrays.
    """
    block = 12 * shape.d_model + 4 * shape.d_ff
    if checkpoints:
        return length * (shape.n_layers * shape.d_model + block)
    return length * shape.n_layers * block


def gigabytes(
    size: str, method: str, bits: int, length: int, checkpoints: bool = True
) -> dict[str, float]:
    """What a step of one example holds, by part, in GB of 10⁹ bytes."""
    shape = SHAPES[size]
    n, adapters = shape.n_parameters, adapter_numbers(shape)
    weights, trained = {
        "full, Adam": (0, STEP_BYTES * n),
        "adapters": (BITS[bits] * n, STEP_BYTES * adapters),
        "forward only": (BITS[bits] * n, 4 * adapters),
    }[method]
    forward = method == "forward only"
    one_layer = 4 * (12 * shape.d_model + 4 * shape.d_ff) * length
    activations = one_layer if forward else 4 * activation_numbers(shape, length, checkpoints)
    parts = {"frozen weights": weights, "trained, with its state": trained}
    return {name: b / 1e9 for name, b in (parts | {"activations": activations}).items()}


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
