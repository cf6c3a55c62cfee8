"""Exercise 06's experiment: of ever more keys, how many carry nine tenths of the weight?"""

from functools import cache

import numpy as np

from efftx.check.attention_is_sparse_answers import largest_first, softmax

LENGTHS = (256, 1024, 4096, 16384)
SPREAD, N_QUERIES, SHARE = 2.0, 32, 0.9


@cache
def keys_needed(n_keys: int) -> float:
    """The mean over random queries, whose scores are normal with a standard deviation of 2."""
    scores = SPREAD * np.random.default_rng(0).normal(size=(N_QUERIES, n_keys))
    shares = np.cumsum(largest_first(softmax(scores)), axis=1)
    return float(np.mean(np.sum(shares < SHARE, axis=1) + 1))


def at_the_longest() -> float:
    return keys_needed(LENGTHS[-1])
