"""Exercise 04's experiment: a layer in ever shorter chunks, and when that is in vain."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp

from efftx.compiling import temporary_bytes
from efftx.memory import map_chunks

LENGTH, D_MODEL, D_FF = 16384, 64, 1024
CHUNK_LENS = tuple(2**n for n in range(6, 15))
WORTHWHILE = 0.1  # what half the chunk must save at least, of all


@cache
def working_bytes(chunk_len: int) -> int:
    """What the layer's gradient takes beyond inputs and results, as the compiler plans it."""

    def layer(weights, x):
        return jax.nn.relu(x @ weights[0]) @ weights[1]

    def loss(weights, x):
        return jnp.sum(map_chunks(layer, weights, x, chunk_len=chunk_len) ** 2)

    shapes = (D_MODEL, D_FF), (D_FF, D_MODEL), (LENGTH, D_MODEL)
    *weights, x = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    return temporary_bytes(jax.grad(loss, argnums=(0, 1)), tuple(weights), x)


def longest_in_vain() -> int:
    """The longest chunk of which half takes nearly as much."""
    return max(
        chunk_len
        for shorter, chunk_len in pairwise(CHUNK_LENS)
        if working_bytes(shorter) > (1 - WORTHWHILE) * working_bytes(chunk_len)
    )
