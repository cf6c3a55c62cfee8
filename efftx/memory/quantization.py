"""Numbers in eight bits: each group of them shares one float32, the largest magnitude among them.

A group is a row (or any axis, or the whole array), or a block of consecutive numbers. Its largest
magnitude, *absmax*, is mapped to the code 127, and everything else to the nearest of the 255 codes
−127 … 127. The code −128 is not used, so that a number and its negative have opposite codes.

Source: Dettmers et al. 2022, arXiv 2110.02861, section 2, for blocks.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float, Int8, Key

from efftx.dtypes import DRAWN
from efftx.validation import check_key as check_one_key
from efftx.validation import (
    check_not_explicit,
    check_positive,
    describe,
    hint_for_key,
    is_key,
    require,
    values_are_known,
)

Parameter = Any  # an Array; not checked, since jax also fills these classes with shapes and tracers
Numbers = Float[Array | np.ndarray, "..."]
OptionalKey = Key[Array, ""] | None
LARGEST = 127  # code


@register_dataclass
@dataclass(frozen=True)
class Quantized:
    """An array in eight bits; :func:`dequantize` gives it back, nearly."""

    values: Parameter  # int8, of the array's own shape
    absmax: Parameter  # float32, one for each group; of groups along an axis, that axis has size 1
    block_len: int | None = field(metadata={"static": True})  # None: groups along an axis

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.absmax.nbytes


def quantize(x: Numbers, *, axis: int | None = -1, key: OptionalKey = None) -> Quantized:
    """Int8 codes of x and the absmax of each row: code = round(127 · x / absmax).

    The numbers along ``axis`` share one absmax: −1 for each row of a matrix, 0 for each column,
    None for the whole array. With a ``key`` the rounding is stochastic: up or down at random, so
    that the mean over many keys is x itself. The error is at most absmax / 254, or absmax / 127
    with a key; zeros, and numbers that are ±absmax, come back exactly. The float32 range is
    used up to its ends: of a group whose absmax lies beyond 1e-36 … 8e37 the rest may become 0.

    Raises ValueError for an empty array, a dtype that is not floating, an axis that is not there,
    and, where its values are known (not under a trace), for one with infinities or NaNs. Under a
    trace they show as infinities and NaNs in their whole group.
    """
    check_numbers(x)
    check_key(key)
    require(
        axis is None or (type(axis) is int and -x.ndim <= axis < x.ndim),
        f"axis must be None or one of the {x.ndim} axes of {describe(x)}; got {axis!r}.",
    )
    x = jnp.float32(x)
    absmax = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    return Quantized(to_codes(x, absmax, key), absmax, block_len=None)


def quantize_blockwise(x: Numbers, *, block_len: int = 256, key: OptionalKey = None) -> Quantized:
    """The same with one absmax for every ``block_len`` consecutive numbers of the flattened array.

    A large number spoils the precision of its own block and of no other, whatever the shape. The
    last block may be shorter; nothing is padded in what is kept, so n numbers take
    n + 4 · ⌈n / block_len⌉ bytes.

    Raises ValueError as :func:`quantize`, and for block_len < 1.
    """
    check_numbers(x)
    check_key(key)
    check_positive(block_len=block_len)
    blocks = in_blocks(jnp.float32(x), block_len)
    absmax = jnp.max(jnp.abs(blocks), axis=1)
    codes = to_codes(blocks, absmax[:, None], key)
    return Quantized(out_of_blocks(codes, x.shape), absmax, block_len)


def dequantize(quantized: Quantized) -> Float[Array, "..."]:
    """The float32 array that the codes stand for: (code / 127) · absmax.

    What was quantized under ``jax.vmap`` may come back whole, with its leading axes.

    Raises ValueError where codes and absmax do not belong together, as after a slice of them.
    """
    check_quantized(quantized)
    if quantized.block_len is None:
        return from_codes(quantized.values, quantized.absmax)
    restore = partial(_from_blocks, block_len=quantized.block_len)
    for _ in range(quantized.absmax.ndim - 1):  # leading axes
        restore = jax.vmap(restore)
    return restore(quantized.values, quantized.absmax)


def _from_blocks(values: Array, absmax: Array, block_len: int) -> Array:
    blocks = from_codes(in_blocks(values, block_len), absmax[:, None])
    return out_of_blocks(blocks, values.shape)


def to_codes(
    x: Float[Array, "..."], absmax: Float[Array, "..."], key: OptionalKey = None
) -> Int8[Array, "..."]:
    """The code of every number; absmax is broadcast against x."""
    # XLA may divide by multiplying with 1/absmax. So that no rounding touches them, the largest are
    # set apart; they are all there is in a group of zeros, or of one number many times.
    scaled = jnp.where(jnp.abs(x) == absmax, LARGEST * jnp.sign(x), LARGEST * (x / absmax))
    return jnp.int8(jnp.round(scaled) if key is None else round_stochastically(scaled, key))


def from_codes(codes: Int8[Array, "..."], absmax: Float[Array, "..."]) -> Float[Array, "..."]:
    """The number that every code stands for."""
    # XLA may compute code · (absmax/127), and not even absmax would come back as it was.
    largest = jnp.abs(codes) == LARGEST
    return jnp.where(largest, jnp.sign(codes) * absmax, codes / jnp.float32(LARGEST) * absmax)


def round_stochastically(x: Float[Array, "..."], key: Key[Array, ""]) -> Float[Array, "..."]:
    """Each number up or down to a whole one: up with the probability of its fractional part.

    The mean of many is x. Whole numbers stay as they are.

    Raises ValueError for a key that is none.
    """
    check_one_key(key=key)
    below = jnp.floor(x)
    return below + (jax.random.uniform(key, x.shape, DRAWN) < x - below)


def in_blocks(x: Array, block_len: int) -> Array:
    """(n_blocks, block_len): the flattened array, filled up with zeros, in blocks.

    An array that is shorter than a block is a block of its own length.
    """
    check_not_explicit(x=x)
    block_len = min(block_len, x.size)
    return jnp.pad(x.ravel(), (0, -x.size % block_len)).reshape(-1, block_len)


def out_of_blocks(blocks: Array, shape: tuple[int, ...]) -> Array:
    """The array of this shape that :func:`in_blocks` cut up."""
    return blocks.ravel()[: np.prod(shape, dtype=int)].reshape(shape)


# References ------------------------------------------------------------------------------------


def quantize_reference(x: Numbers) -> Quantized:
    """The definition of :func:`quantize` for a matrix: row by row, number by number."""
    values, absmax = np.zeros(x.shape, np.int8), np.zeros((len(x), 1), np.float32)
    for i, row in enumerate(np.float32(x)):
        absmax[i] = max(abs(number) for number in row)
        if absmax[i] > 0:
            values[i] = [round(LARGEST * number / absmax[i, 0]) for number in row]
    return Quantized(values, absmax, block_len=None)


def quantize_blockwise_reference(x: Numbers, *, block_len: int) -> Quantized:
    """The definition of :func:`quantize_blockwise`: each block is a row of its own."""
    flat = np.ravel(x)
    blocks = [flat[i : i + block_len] for i in range(0, len(flat), block_len)]
    rows = [quantize_reference(block[None]) for block in blocks]
    values = np.concatenate([row.values[0] for row in rows]).reshape(x.shape)
    return Quantized(values, np.concatenate([row.absmax[0] for row in rows]), block_len)


def dequantize_reference(quantized: Quantized) -> np.ndarray:
    """The definition of :func:`dequantize`, code by code."""
    check_quantized(quantized)
    if quantized.block_len is not None and quantized.absmax.ndim > 1:
        parts = zip(quantized.values, quantized.absmax, strict=True)
        each = (Quantized(*part, quantized.block_len) for part in parts)
        return np.stack([dequantize_reference(part) for part in each])
    numbers = np.zeros(quantized.shape, np.float32)
    absmax = np.broadcast_to(_absmax_of_each(quantized), quantized.shape)
    for i, code in np.ndenumerate(quantized.values):
        numbers[i] = np.float32(code) / np.float32(LARGEST) * absmax[i]
    return numbers


def _absmax_of_each(quantized: Quantized) -> np.ndarray:
    if quantized.block_len is None:
        return np.asarray(quantized.absmax)
    each = np.repeat(np.asarray(quantized.absmax), quantized.block_len)
    return each[: quantized.values.size].reshape(quantized.shape)


# Checks ----------------------------------------------------------------------------------------


def check_numbers(x) -> None:
    """A floating array with at least one number, all of them finite where they are known."""
    require(
        hasattr(x, "shape") and jnp.issubdtype(x.dtype, jnp.floating),
        f"what is quantized must be a floating-point array; got {describe(x)}.",
    )
    require(x.size >= 1, f"there is nothing to quantize in an empty array; got {describe(x)}.")
    if values_are_known(x):
        bad = x.size - int(np.isfinite(np.asarray(x).astype(np.float32)).sum())
        require(
            bad == 0,
            f"{bad} of the {x.size} numbers to quantize are infinite or NaN; "
            "they would take the whole row or block with them.",
        )


def check_key(key) -> None:
    """None, or one typed key."""
    require(
        key is None or is_key(key),
        "key must be None, to round to the nearest, or one key from jax.random.key; "
        f"got {describe(key)}.{hint_for_key(key)}",
    )


def check_quantized(quantized: Quantized) -> None:
    """There is an absmax for each group of the codes, with the same leading axes."""
    values, absmax, block_len = quantized.values, quantized.absmax, quantized.block_len
    if block_len is None:
        groups = absmax.ndim == values.ndim and all(
            n in (1, size) for n, size in zip(absmax.shape, values.shape, strict=True)
        )
    else:
        n_leading = absmax.ndim - 1
        n_blocks = -(-np.prod(values.shape[max(n_leading, 0) :], dtype=int) // block_len)
        groups = n_leading >= 0 and absmax.shape == (*values.shape[:n_leading], n_blocks)
    require(
        groups,
        f"codes and absmax must be those of one call of quantize or quantize_blockwise; codes of "
        f"{values.shape} and absmax of {absmax.shape} with block_len={block_len} are not.",
    )
