"""Numbers in four bits: a block of them is cut into fifteen equal steps, from least to most.

Two codes share a byte. Each block keeps where it begins and how long a step is, in float16, so that
32 numbers take 16 + 4 bytes: five bits each. A file of llama.cpp's kind Q4_1 stores just these
blocks, and what was read from one comes back from here as it was, but for rounding in float32.

Source: the formats of ggml, ggml-org/llama.cpp. Frozen weights in four bits under adapters:
Dettmers et al. 2023, arXiv 2305.14314 (QLoRA), whose sixteen levels are not equally far apart.
"""

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float

from efftx.memory.quantization import Numbers, Parameter, check_numbers
from efftx.validation import check_not_explicit, check_positive, describe, require, values_are_known

STEPS = 15  # between the sixteen levels
BLOCK_LEN = 32
LARGEST = float(np.finfo(np.float16).max)


@register_dataclass
@dataclass(frozen=True)
class FourBits:
    """An array in four bits; :func:`dequantize_four_bits` gives it back, nearly.

    The axis of blocks is cut up in place: (before, n_blocks, in a block, after).
    """

    pairs: Parameter  # (before, n_blocks, ⌈block_len / 2⌉, after) uint8: two codes each
    step: Parameter  # (before, n_blocks, 1, after) float16
    low: Parameter  # (before, n_blocks, 1, after) float16
    own_shape: tuple[int, ...] = field(metadata={"static": True})  # without axes that vmap added
    axis: int = field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.pairs.shape[:-4], *self.own_shape)

    @property
    def nbytes(self) -> int:
        return self.pairs.nbytes + self.step.nbytes + self.low.nbytes


def quantize_four_bits(x: Numbers, *, axis: int = -1, block_len: int = BLOCK_LEN) -> FourBits:
    """Codes 0 … 15 of x: code = round((x − low) / step), step = (most − least of the block) / 15.

    Blocks are ``block_len`` consecutive numbers along the axis, the last one shorter if need be.
    The error is at most half a step, and what float16 loses of step and low.

    Raises ValueError for an empty array, a dtype that is not floating, an axis that is not there,
    an odd block_len or one below 2 and, where its values are known, for numbers that are beyond
    ±65,504 or not finite.
    """
    check_numbers(x)
    check_positive(block_len=block_len)
    require(block_len % 2 == 0, f"two codes share a byte: block_len must be even; got {block_len}.")
    require(
        type(axis) is int and -x.ndim <= axis < x.ndim,
        f"axis must be one of the {x.ndim} axes of {describe(x)}; got {axis!r}.",
    )
    check_not_explicit(x=x)
    check_float16(x)
    axis %= x.ndim
    blocks = _in_blocks(jnp.float32(x), axis, block_len)
    low = jnp.float16(blocks.min(2, keepdims=True))
    step = jnp.float16((blocks.max(2, keepdims=True) - low) / STEPS)
    codes = jnp.round((blocks - low) / jnp.where(step == 0, 1, jnp.float32(step)))
    codes = jnp.uint8(jnp.clip(codes, 0, STEPS))
    return FourBits(codes[:, :, ::2] | codes[:, :, 1::2] << 4, step, low, x.shape, axis)


def dequantize_four_bits(x: FourBits) -> Float[Array, "..."]:
    """The float32 array that the codes stand for: low + step · code.

    What was quantized under ``jax.vmap`` may come back whole, with its leading axes.
    """
    check_not_explicit(x=x)
    codes = jnp.stack([x.pairs & STEPS, x.pairs >> 4], axis=-2)
    numbers = codes * jnp.float32(x.step)[..., None, :] + jnp.float32(x.low)[..., None, :]
    leading = x.pairs.shape[:-4]
    length = x.own_shape[x.axis]
    before, after = x.own_shape[: x.axis], x.own_shape[x.axis + 1 :]
    flat = numbers.reshape(*leading, int(np.prod(before)), -1, int(np.prod(after)))
    return flat[..., :length, :].reshape(*leading, *before, length, *after)


def quantize_four_bits_reference(x: np.ndarray, *, block_len: int = BLOCK_LEN) -> np.ndarray:
    """The definition of :func:`quantize_four_bits`: what comes back of a vector, step by step."""
    back = np.zeros(len(x), np.float32)
    for start in range(0, len(x), block_len):
        block = np.float32(x[start : start + block_len])
        low = np.float32(np.float16(block.min()))
        step = np.float32(np.float16((block.max() - low) / STEPS))
        for i, number in enumerate(block):
            code = min(max(round(float((number - low) / step)), 0), STEPS) if step else 0
            back[start + i] = low + step * np.float32(code)
    return back


def _in_blocks(x: Array, axis: int, block_len: int) -> Array:
    """(before, n_blocks, an even block_len, after), filled up with the last number."""
    length = x.shape[axis]
    block_len = min(block_len, length + length % 2)
    x = x.reshape(int(np.prod(x.shape[:axis])), length, int(np.prod(x.shape[axis + 1 :])))
    x = jnp.pad(x, ((0, 0), (0, -length % block_len), (0, 0)), mode="edge")
    return x.reshape(len(x), -1, block_len, x.shape[-1])


def check_float16(x) -> None:
    if values_are_known(x):
        largest = float(np.abs(np.asarray(x).astype(np.float32)).max())
        require(
            largest <= LARGEST,
            f"a block begins at a float16, which ends at {LARGEST:,.0f}; got a number of size "
            f"{largest:,.0f}. Eight bits, efftx.memory.quantize, take it.",
        )
