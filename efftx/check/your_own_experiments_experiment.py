"""Exercise 14's experiment: ones of many devices, added up one after the other in few digits."""

from bisect import bisect_left

import jax
import jax.numpy as jnp

DEVICES = (32, 64, 128, 256, 512, 1024, 2048)


def counted(n_devices: int, dtype: str) -> int:
    """What comes out when each of these devices adds its 1, and all sums are of this dtype."""

    def add_one(total, _):
        return total + jnp.ones((), dtype), None

    return int(jax.lax.scan(add_one, jnp.zeros((), dtype), length=n_devices)[0])


def last_right() -> int:
    """Up to how many devices their number is right in bfloat16."""
    wrong = bisect_left(range(DEVICES[-1]), True, key=lambda n: counted(n, "bfloat16") != n)
    return wrong - 1
