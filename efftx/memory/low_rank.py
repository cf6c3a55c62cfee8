r"""Low-rank adapters: a frozen matrix, and a small trained change of it.

A fine-tuned matrix is W + ΔW. LoRA freezes W and writes ΔW = s · A B, A with ``rank`` columns and
B with as many rows, s = α / rank. B begins as zeros, so that training begins at the function that
was there; gradients and the optimiser's state are those of A and B alone. Since nobody changes W,
it may be stored in fewer bits (:func:`stored`): it becomes float32 where it is used.

The change can stay apart (`low_rank_product`: nothing of W's size is made) or be added to W, once
for all (`merged`) and back (`unmerged`). Both compute the same.

An array with more than two axes is the matrix (\*in, \*out) by the cut that makes it most nearly
square: (d_model, 3, n_heads, d_head) after the first axis, (n_heads, d_head, d_model) after the
second.

Sources: Hu et al. 2021, arXiv 2106.09685, section 4.1; a base in four bits as in Dettmers et al.
2023, arXiv 2305.14314.
"""

import math
from dataclasses import dataclass, field
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float, Key

from efftx.dtypes import DRAWN
from efftx.memory.four_bits import FourBits, dequantize_four_bits, quantize_four_bits
from efftx.memory.quantization import Numbers, Parameter, Quantized, dequantize, quantize
from efftx.validation import check_choice, check_key, check_positive, describe, require

BITS = (32, 8, 4)
Stored = Array | np.ndarray | Quantized | FourBits


@register_dataclass
@dataclass(frozen=True)
class LowRank:
    """The change ``scale · A B`` of one matrix; under ``jax.vmap``, of a stack of them."""

    a: Parameter  # (*in, rank)
    b: Parameter  # (rank, *out)
    scale: float = field(metadata={"static": True})  # α / rank


def init_low_rank(
    key: Key[Array, ""], w: Stored, *, rank: int, alpha: float | int | None = None
) -> LowRank:
    """An adapter that changes nothing yet: A is drawn with variance 1 / (what comes in), B is 0.

    ``alpha`` is by default the rank, so that the scale is 1. With another rank and the same α, the
    change has about the same size (section 4.1 of the paper).

    Raises ValueError for a w that is no matrix, a rank below 1 or above w's smaller side, and for
    an alpha that is no positive number.
    """
    check_key(key=key)
    check_matrix(w)
    check_rank(rank, w)
    alpha = rank if alpha is None else alpha
    check_alpha(alpha)
    n_in = in_axes(w.shape)
    ins, outs = w.shape[:n_in], w.shape[n_in:]
    a = jax.random.normal(key, (*ins, rank), DRAWN) * math.prod(ins) ** -0.5
    return LowRank(a, jnp.zeros((rank, *outs)), float(alpha) / rank)


def merged(w: Stored, change: LowRank) -> Float[Array, "..."]:
    """W + s · A B, in W's shape; a stack of them, if W and the change are stacks.

    Raises ValueError for a change of another shape.
    """
    return _with_product(w, change, change.scale)


def unmerged(w: Stored, change: LowRank) -> Float[Array, "..."]:
    """W − s · A B: what was there before `merged`, to rounding. Raises as that does."""
    return _with_product(w, change, -change.scale)


def low_rank_product(
    x: Float[Array | np.ndarray, "length *in"], w: Stored, change: LowRank
) -> Float[Array, "length *out"]:
    """x W + s · (x A) B, by the matrix and its change apart: equation (3) of the paper.

    Raises ValueError for a change of another shape than w, and for an x that does not fit.
    """
    check_change(w, change)
    n_in = change.a.ndim - 1
    require(
        x.shape[1:] == w.shape[:n_in],
        f"x must be (length, *in) with {w.shape[:n_in]} for *in; got {describe(x)}.",
    )
    through = jnp.tensordot(jnp.tensordot(x, change.a, n_in), change.b, 1)
    return jnp.tensordot(x, dense(w), n_in) + change.scale * through


def in_axes(shape: tuple[int, ...]) -> int:
    """How many of the axes come in, of the cut that is nearest to a square; the first of those."""
    smaller = [min(math.prod(shape[:i]), math.prod(shape[i:])) for i in range(1, len(shape))]
    return 1 + smaller.index(max(smaller))


def _with_product(w: Stored, change: LowRank, scale: float) -> Array:
    check_change(w, change)
    product = lambda a, b: jnp.tensordot(a, b, 1)  # noqa: E731
    for _ in range(n_stacked(w, change)):
        product = jax.vmap(product)
    w = dense(w)
    return (w + scale * product(change.a, change.b)).astype(w.dtype)


# Frozen matrices in fewer bits ------------------------------------------------------------------


def stored(w: Numbers, bits: int, *, axis: int = -1) -> Stored:
    """The array as it is (32), in eight bits or in four; numbers along ``axis`` share a scale.

    Raises ValueError for other bits, and as `quantize` and `quantize_four_bits` do.
    """
    check_choice("bits", bits, BITS)
    if bits == 8:
        return quantize(w, axis=axis)
    return quantize_four_bits(w, axis=axis) if bits == 4 else w


def dense(w: Stored) -> Float[Array, "..."]:
    """The array, however it is stored."""
    if isinstance(w, Quantized):
        return dequantize(w)
    return dequantize_four_bits(w) if isinstance(w, FourBits) else jnp.asarray(w)


def is_stored(w) -> bool:
    """Whether this is an array in eight bits or four."""
    return isinstance(w, Quantized | FourBits)


# Checks -----------------------------------------------------------------------------------------


def n_stacked(w: Stored, change: LowRank) -> int:
    """How many leading axes W and its change have in common."""
    return change.a.ndim + change.b.ndim - 2 - len(w.shape)


def check_change(w: Stored, change: LowRank) -> None:
    """The change is one of this matrix."""
    n = n_stacked(w, change)
    a, b = change.a.shape, change.b.shape
    fits = n >= 0 and a[:n] == b[:n] and a[-1] == b[n] and (*a[:-1], *b[n + 1 :]) == w.shape
    require(
        fits,
        f"a change of A {a} and B {b} is none of a matrix of {w.shape}: without A's last and B's "
        "first axis, the rank, their shapes one after the other must be the matrix's.",
    )


def check_matrix(w) -> None:
    """At least two axes; what is stored in fewer bits was floating-point."""
    array = w if not is_stored(w) else jax.eval_shape(dense, w)
    matrix = hasattr(array, "shape") and array.ndim >= 2
    require(
        matrix and jnp.issubdtype(array.dtype, jnp.floating),
        f"a low-rank change is one of a floating-point matrix; got {describe(array)}.",
    )


def check_rank(rank, w: Stored) -> None:
    check_positive(rank=rank)
    n_in = in_axes(w.shape)
    smaller = min(math.prod(w.shape[:n_in]), math.prod(w.shape[n_in:]))
    require(
        rank <= smaller,
        f"rank must be from 1 to {smaller}, the smaller side of the matrix {w.shape}; got {rank}.",
    )


def check_alpha(alpha) -> None:
    number = isinstance(alpha, Real) and not isinstance(alpha, bool)
    require(number and 0 < alpha < math.inf, f"alpha must be a positive number; got {alpha!r}.")
