"""Exercise 13's experiment: adapters of ever higher rank, and when they save nothing."""

from bisect import bisect_left
from functools import cache, partial

import jax

from efftx.models import Sizes, init_adapters, n_parameters, named_parameters, transformer

SIZES = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=8, vocab=8)
RANKS = (1, 2, 4, 8, 16, 32, 64)  # 64 is the highest that there is
NAMES = "blocks.*"


@cache
def _model():
    return jax.eval_shape(partial(transformer, sizes=SIZES), jax.random.key(0))


@cache
def _adapters(rank: int):
    init = partial(init_adapters, names=NAMES, rank=rank)
    return jax.eval_shape(init, jax.random.key(0), _model())


def n_trained(rank: int) -> int:
    """How many numbers adapters of this rank have in one block."""
    return n_parameters(_adapters(rank)) // SIZES.n_layers


def n_frozen() -> int:
    """How many numbers their matrices have in one block."""
    matrices = named_parameters(_model())
    return sum(matrices[name].size for name in _adapters(1)) // SIZES.n_layers


def as_many_as_the_matrices() -> int:
    """The lowest rank at which adapters train as many numbers as the matrices have."""
    return 1 + bisect_left(range(1, RANKS[-1] + 1), n_frozen(), key=n_trained)
