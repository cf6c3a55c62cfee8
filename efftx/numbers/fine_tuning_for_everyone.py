"""What fine-tuning takes, by model, method, bits and length: estimates for chapter 13's widget."""

from dataclasses import dataclass

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
