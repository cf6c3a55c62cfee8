"""Exercise 09's inputs, right answers, and the functions that make its mistakes.

Written from the definitions, so that they share nothing with ``efftx.attention`` and
``efftx.models``; in numpy, except for the layers that the exercise differentiates by jax.
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check.promises import NotMeasured, arrays_made, numpy_memory

DRAWS = 4  # of each kind of case
D = 3

# Part 1

TABLES = ((2, 2), (3, 2), (2, 5))  # n1, n2


def axial_cases(rng):
    """Two factors of a table, and all of its rows in any order, two of them twice."""
    for n1, n2 in TABLES:
        for _ in range(DRAWS):
            rows = rng.permutation(n1 * n2)
            factors = {"first": rng.normal(size=(n1, D)), "second": rng.normal(size=(n2, D))}
            yield {**factors, "i": np.append(rows, rows[:2])}


def axial(first, second, i):
    """The right rows."""
    n2 = len(second)
    return first[i // n2] + second[i % n2]


N1, N2 = 40, 50  # of a table that is large enough to be seen


def without_the_table(answer) -> str:
    """What is missing where an answer makes the table of which it was to read three rows."""
    rng, i = np.random.default_rng(0), jnp.array([1999, 7, 1040])  # known while jax traces
    case = {"first": rng.normal(size=(N1, D)), "second": rng.normal(size=(N2, D)), "i": i}
    shapes = arrays_made(answer, case)
    if shapes is not None:
        made = max(map(prod, shapes), default=0)
    elif (peak := numpy_memory(answer, case)) is not None:
        made = peak // case["first"].itemsize
    else:
        raise NotMeasured("Whether it makes the whole table was not measured.")
    if made < N1 * N2:
        return ""
    return (
        f"For 3 of {N1 * N2:,} positions it makes {made:,} numbers at once. The table of them all "
        f"has {N1 * N2 * D:,}, its two factors {(N1 + N2) * D}: read three rows of each."
    )


# Part 2


@jax.jit
def attend(w, x, buckets):
    """Softmax over the bucket's members up to the position itself."""
    same = (buckets[:, None] == buckets) & jnp.tri(len(x), dtype=bool)
    return jax.nn.softmax(jnp.where(same, x @ x.T, -jnp.inf), axis=-1) @ jnp.tanh(x @ w)


@jax.jit
def nearest_axis(rotation, x):
    return jnp.argmax(jnp.concatenate([x @ rotation, -x @ rotation], axis=-1), axis=-1)


@jax.jit
def work_on_each(w, x):
    return jnp.tanh(x @ w)


class Block:
    """The two branches of a reversible block of width d, with weights of their own.

    It prints as what it is, since it is shown where an answer is wrong.
    """

    def __init__(self, key, d: int = D):
        keys = jax.random.split(key, 3)
        self.w_attention, self.w_feed_forward = (jax.random.normal(k, (d, d)) for k in keys[:2])
        self.rotation = jax.random.normal(keys[2], (d, 4))

    def attention(self, x, buckets=None):
        """(y, buckets): chooses buckets by a hash, or takes those that are given."""
        if buckets is None:
            buckets = nearest_axis(self.rotation, x)
        return attend(self.w_attention, x, buckets), buckets

    def feed_forward(self, x):
        return work_on_each(self.w_feed_forward, x)

    def __repr__(self):
        return "a block with .attention(x, buckets) and .feed_forward(x)"


def block_cases(rng):
    """What a block leaves of random streams, rounded, so that some buckets would turn round."""
    for length in (2, 8):
        for _ in range(DRAWS):
            block = Block(jax.random.key(rng.integers(1000)))
            x1, x2 = rng.normal(size=(2, length, D))
            y, buckets = block.attention(x2)
            y1 = np.round(x1 + y, 1)
            y2 = np.round(x2 + block.feed_forward(y1), 1)
            g1, g2 = rng.normal(size=(2, length, D))
            kept = {"y1": y1, "y2": y2, "buckets": np.asarray(buckets)}
            yield {"block": block, **kept, "g1": g1, "g2": g2}


def block_backward(block, y1, y2, buckets, g1, g2):
    """The right streams and gradients."""
    y, pull_back = jax.vjp(block.feed_forward, y1)
    x2 = y2 - y
    g_y1 = g1 + pull_back(jnp.asarray(g2, jnp.float32))[0]
    y, pull_back = jax.vjp(lambda x: block.attention(x, buckets)[0], x2)
    return y1 - y, x2, g_y1, g2 + pull_back(jnp.asarray(g_y1, jnp.float32))[0]


# Part 3


def cache_cases(rng):
    """Buckets of cached keys, of which the first are filled in: half, none, all of them.

    In the first of each size the query, and a key, have the buckets that empty slots seem to have.
    """
    for n_slots, n_hashes in ((4, 2), (6, 3)):
        for draw, n_read in enumerate((n_slots // 2, n_slots // 2, n_slots // 2, 0, n_slots)):
            cached = rng.integers(3, size=(n_slots, n_hashes))
            cached[n_read:] = 0  # what an empty slot holds
            buckets = rng.integers(3, size=n_hashes)
            if draw == 0:
                cached[0] = buckets[:] = 0
            yield {"cached": cached, "buckets": buckets, "n_read": n_read}


def union(cached, buckets, n_read):
    """The right candidates."""
    return (cached == buckets).any(axis=1) & (np.arange(len(cached)) < n_read)


# Part 4


def look_up_cases(rng):
    """A query, its own value, and what the cache holds.

    Of each size one draw finds no candidate and one a single one. Then two long queries: one points
    away from the only candidate, so that its score is far below any that is merely low; one points
    along a candidate, so that exp(score) is too large for float32.
    """
    for n_slots in (2, 5):
        alone, every = np.arange(n_slots) == 0, np.ones(n_slots, bool)
        found = (~every, alone, rng.random(n_slots) < 0.6, every, alone, every)
        for reached, along in zip(found, (None, None, None, None, -1e6, 200), strict=True):
            keys = unit(rng.normal(size=(n_slots, D)))
            q = 2 * rng.normal(size=D) if along is None else along * keys[0]
            cache = {"keys": keys, "values": rng.normal(size=(n_slots, 2)), "reached": reached}
            yield {"q": q, "v": rng.normal(size=2), **cache}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def look_up(q, v, keys, values, reached):
    """The right output."""
    if not reached.any():
        return v
    scores = (keys @ q)[reached]
    weights = np.exp(scores - scores.max())
    return weights @ values[reached] / weights.sum()


# All together


def decoding_cases(rng):
    """Vectors and buckets of a short text; no bucket is longer than a chunk of 12."""
    for length in (5, 12):
        vectors = {"qk": rng.normal(size=(length, D)), "v": rng.normal(size=(length, 2))}
        yield {**vectors, "buckets": rng.integers(4, size=(2, length))}
