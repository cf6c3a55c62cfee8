"""Adam whose two moments take one byte per parameter each instead of four.

Each moment is kept in eight bits, block by block (:mod:`efftx.memory.quantization`), and is float32
only while it is updated. What makes it work is *what* is quantized. In one block the moments differ
by several orders of magnitude, and evenly spaced codes treat everything below 1/254 of the largest
as zero. In the second moment, by whose root Adam divides, a zero is a step of m / ε: training
explodes. So the roots are quantized: the signed square root of m, and the fourth root of v, the
square root of Adam's divisor. Their codes reach down to 1/254² of the largest |m| and √v, and are
densest where the numbers are small. It is the purpose of the paper's "dynamic" code, whose 256
values are looked up in a table, by a formula.

Measured on a small text model against Adam with the same gradients: one rounding of both moments
changes the update by 2 % (norm of the difference); after 300 steps of rounding they differ by 10 %,
as with the paper's code. With v itself in even codes the update is 10⁴ times too large.

Source: Dettmers et al. 2022, arXiv 2110.02861.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from efftx.memory.quantization import Quantized, dequantize, quantize_blockwise
from efftx.validation import check_leaves, check_not_explicit, check_positive


class EightBitAdamState(NamedTuple):
    """The number of steps done, and for each parameter its two moments in eight bits."""

    count: Array  # () int32
    first: optax.Params  # a Quantized in the place of each array: signed roots of m
    second: optax.Params  # fourth roots of v


def adam_8bit(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    block_len: int = 256,
) -> optax.GradientTransformation:
    """``optax.adam`` with both moments in 2 · (1 + 4 / block_len) bytes per parameter.

    With blocks of 256 these are 2.03. An array that is smaller than a block is one block, with an
    absmax of 4 bytes for each moment: with 80 parameters or more it stays within 2.1 bytes each; a
    bias of ten takes 2.8.

    A gradient that is larger than the others of its block by many orders of magnitude, 1e20 say,
    leaves these next to no codes: they then stand nearly still until it is forgotten, as the
    parameter itself does under Adam. Clip gradients where that may happen.

    Raises ValueError for block_len < 1, and for parameters that are empty or not floating; and,
    where their values are known (not under jit), if a gradient is infinite or NaN.
    Source: Dettmers et al. 2022, arXiv 2110.02861.
    """
    return optax.chain(
        scale_by_adam_8bit(b1, b2, eps, block_len=block_len),
        optax.scale_by_learning_rate(learning_rate),
    )


def scale_by_adam_8bit(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, *, block_len: int = 256
) -> optax.GradientTransformation:
    """``optax.scale_by_adam`` with eight-bit moments, to chain with weight decay or a clip.

    What it keeps, and what it raises, is as of :func:`adam_8bit`.
    """
    check_positive(block_len=block_len)

    def start(params):
        check_leaves(params=params)
        return init(params)

    @jax.jit
    def init(params):
        nothing = jax.tree.map(lambda p: jnp.zeros(p.shape), params)
        return EightBitAdamState(
            count=jnp.int32(0),
            first=jax.tree.map(lambda m: keep_first(m, block_len), nothing),
            second=jax.tree.map(lambda v: keep_second(v, block_len), nothing),
        )

    def update(gradient, state, params=None):
        del params
        check_not_explicit(gradient=gradient, state=state)
        count = optax.safe_increment(state.count)

        def one(g, first, second):
            g32 = g.astype(jnp.float32)
            m = b1 * restore_first(first) + (1 - b1) * g32
            # √v, by its parts' roots: the square of a gradient of 1e20 would be infinite.
            root = jnp.hypot(b2**0.5 * restore_second(second), (1 - b2) ** 0.5 * g32)
            # The update is made of the fresh moments; only what is kept for later is rounded.
            step = m / (1 - b1**count) / (root / jnp.sqrt(1 - b2**count) + eps)
            return step.astype(g.dtype), keep_first(m, block_len), keep_second(root, block_len)

        gradients, structure = jax.tree.flatten(gradient)
        moments = map(structure.flatten_up_to, (state.first, state.second))
        results = [one(*leaf) for leaf in zip(gradients, *moments, strict=True)]
        steps, first, second = map(structure.unflatten, zip(*results, strict=True))
        return steps, EightBitAdamState(count, first, second)

    # Compiled, since two arrays for each parameter by single operations would take its time.
    return optax.GradientTransformation(start, update)


def keep_first(m: Float[Array, "..."], block_len: int) -> Quantized:
    """The signed root of the first moment, in eight bits."""
    return quantize_blockwise(jnp.sign(m) * jnp.sqrt(jnp.abs(m)), block_len=block_len)


def restore_first(first: Quantized) -> Float[Array, "..."]:
    root = dequantize(first)
    return root * jnp.abs(root)


def keep_second(root: Float[Array, "..."], block_len: int) -> Quantized:
    """From √v the fourth root of the second moment, in eight bits, and never 0 where v is not.

    Rounded to 0, the smallest would let their parameters jump by m / ε.
    """
    kept = quantize_blockwise(jnp.sqrt(root), block_len=block_len)
    return Quantized(jnp.maximum(kept.values, jnp.int8(root > 0)), kept.absmax, block_len)


def restore_second(second: Quantized) -> Float[Array, "..."]:
    """√v, by which Adam divides."""
    return dequantize(second) ** 2
