"""Exercise 12's experiment: all blocks are sparse and the readout is not."""

from dataclasses import replace
from functools import cache, partial

import jax

from efftx.models import Sizes, terraformer, transformer, weights_read

DEPTHS = (1, 2, 4, 8, 16, 32)
N_UNITS, N_LAYERS = 64, 8


@cache
def times_fewer(n_layers: int, sparse_readout: bool) -> float:
    """How many times fewer weights a token reads than in the dense model of these sizes."""
    sizes = Sizes(n_layers, d_model=1024, d_ff=4096, n_heads=16, d_head=64, vocab=32_000)
    key = jax.random.key(0)
    dense = jax.eval_shape(partial(transformer, sizes=sizes), key)
    build = partial(terraformer, sizes=sizes, n_units=N_UNITS, sru=None)
    sparse = jax.eval_shape(build, key)
    if not sparse_readout:
        sparse = replace(sparse, readout=dense.readout)
    return weights_read(dense) / weights_read(sparse)


def with_a_dense_readout() -> float:
    return times_fewer(N_LAYERS, sparse_readout=False)
