"""Exercise 10's experiment: a controller so narrow that most of the units can never win."""

from functools import cache

import jax
import numpy as np

from efftx import sparsity

D_LOWRANK = (1, 2, 4, 8, 16, 32)
N_UNITS = (16, 64)
LENGTH, D_MODEL, N_BLOCKS = 16_384, 32, 8


@cache
def ever_on(d_lowrank: int, n_units: int) -> float:
    """How many units of a block are on for at least one of many random x, the mean over blocks."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (LENGTH, D_MODEL))
    c1 = jax.random.normal(keys[1], (D_MODEL, d_lowrank))
    c2 = jax.random.normal(keys[2], (d_lowrank, N_BLOCKS, n_units))
    units = sparsity.strongest_units(sparsity.controller_scores(x, c1, c2))
    return n_units * sparsity.share_ever_on(sparsity.unit_loads(np.asarray(units), n_units))


def through_two_numbers() -> float:
    return ever_on(2, 64)
