"""Exercise 05's experiment: one number among 4,096 grows, and eight bits must hold them all."""

from functools import cache

import jax
import jax.numpy as jnp

from efftx.memory import dequantize, quantize, quantize_blockwise

N, PLACE, BLOCK_LEN = 4096, 100, 64
SIZES = tuple(2**n for n in range(2, 11))
WAYS = {
    "one absmax": quantize,
    "blocks of 64": lambda x: quantize_blockwise(x, block_len=BLOCK_LEN),
}


@cache
def lost(way: str, outlier: int) -> float:
    """The share of numbers, from a normal distribution, that come back as 0."""
    x = jax.random.normal(jax.random.key(0), (1, N)).at[0, PLACE].set(outlier)
    return float(jnp.mean(dequantize(WAYS[way](x)) == 0))


def half_is_lost() -> int:
    """The smallest outlier, a whole number, with which half of them do."""
    low, high = SIZES[0], SIZES[-1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost("one absmax", middle) >= 0.5 else (middle, high)
    return high
