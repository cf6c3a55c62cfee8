"""Exercise 09's inputs, right answers, and the functions that make its mistakes.

Written from the definitions, so that they share nothing with ``efftx.attention`` and
``efftx.models``; in numpy, except for the layers that the exercise differentiates by jax.
"""

import jax
import jax.numpy as jnp
import numpy as np

DRAWS = 4  # of each kind of case
D = 3

# Part 1

TABLES = ((2, 2), (3, 2), (2, 5))  # n1, n2


def axial_cases(rng):
    """Two factors of a table, and some of its rows; each row at least once."""
    for n1, n2 in TABLES:
        for _ in range(DRAWS):
            rows = rng.permutation(n1 * n2)
            yield {"first": rng.normal(size=(n1, D)), "second": rng.normal(size=(n2, D)), "i": rows}


def axial(first, second, i, *, places=None, join=np.add):
    """The right rows; or with places(n1, n2, i) of other factors, or joined otherwise."""
    n1, n2 = len(first), len(second)
    a, b = (i // n2, i % n2) if places is None else places(n1, n2, i)
    return join(first[np.minimum(a, n1 - 1)], second[np.minimum(b, n2 - 1)])  # as jax reads


def columns_first(n1, n2, i):
    return i % n1, i // n1


def divided_by_the_other(n1, n2, i):
    return i // n1, i % n2


def divided_by_both(n1, n2, i):
    return i // n1, i % n1


def the_same_in_both(n1, n2, i):
    return i % n1, i % n2


def counted_from_one(n1, n2, i):
    return (i + 1) // n2, (i + 1) % n2


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


def block_backward(block, y1, y2, buckets, g1, g2, *, sign=-1, at_rebuilt=True):
    """The right streams and gradients; or with added branches, or attention at y2."""
    y, pull_back = jax.vjp(block.feed_forward, y1)
    x2 = y2 + sign * y
    g_y1 = g1 + pull_back(jnp.asarray(g2, jnp.float32))[0]
    run = lambda x: block.attention(x, buckets)[0]  # noqa: E731
    y, pull_back = jax.vjp(run, x2 if at_rebuilt else jnp.asarray(y2))
    return y1 + sign * y, x2, g_y1, g2 + pull_back(jnp.asarray(g_y1, jnp.float32))[0]


def chosen_anew(block, y1, y2, buckets, g1, g2):
    return block_backward(block, y1, y2, None, g1, g2)


def gradients_of_buckets_anew(*case):
    return *block_backward(*case)[:2], *chosen_anew(*case)[2:]


def without_direct(block, y1, y2, buckets, g1, g2):
    *rest, g_x2 = block_backward(block, y1, y2, buckets, g1, g2)
    return *rest, g_x2 - g2


def without_share_of_feed_forward(block, y1, y2, buckets, g1, g2):
    """g1 where the gradient of y1 belongs: in both results, since attention pulls it back."""
    x1, x2, *_ = block_backward(block, y1, y2, buckets, g1, g2)
    _, pull_back = jax.vjp(lambda x: block.attention(x, buckets)[0], x2)
    return x1, x2, g1, g2 + pull_back(jnp.asarray(g1, jnp.float32))[0]


def only_attention_without_share(*case):
    x1, x2, g_x1, _ = block_backward(*case)
    return x1, x2, g_x1, without_share_of_feed_forward(*case)[3]


def with_minus(block, y1, y2, buckets, g1, g2):
    """Subtracting what the branches pull back, as if gradients were rebuilt like streams."""
    x1, x2, *_ = block_backward(block, y1, y2, buckets, g1, g2)
    g_y1 = g1 - jax.vjp(block.feed_forward, y1)[1](jnp.asarray(g2, jnp.float32))[0]
    _, pull_back = jax.vjp(lambda x: block.attention(x, buckets)[0], x2)
    return x1, x2, g_y1, g2 - pull_back(jnp.asarray(g_y1, jnp.float32))[0]


# Part 3


def cache_cases(rng):
    """Buckets of cached keys, of which the first are filled in; two draws find nothing."""
    for n_slots in (4, 6, 12):
        for draw in range(DRAWS):
            cached = rng.integers(3, size=(n_slots, 2))
            n_read = int(rng.integers(1, n_slots))
            cached[n_read:] = 0  # what an empty slot holds
            buckets = np.array([0, 0]) if draw == 0 else rng.integers(3, size=2)
            yield {"cached": cached, "buckets": buckets, "n_read": n_read}


def union(cached, buckets, n_read, *, join=np.any, filled=None):
    """The right candidates; or those that the rounds join otherwise, or of other slots."""
    slot = np.arange(len(cached))
    return join(cached == buckets, axis=1) & (slot < (n_read if filled is None else filled(n_read)))


def any_round_with_any(cached, buckets, n_read):
    same = (cached[:, :, None] == buckets).any((1, 2))
    return same & (np.arange(len(cached)) < n_read)


def odd_number_of_rounds(found, axis):
    return found.sum(axis) % 2 == 1


# Part 4


def look_up_cases(rng):
    """A query, its own value, and what the cache holds; one draw finds no candidate."""
    for n_slots in (2, 5):
        for draw in range(DRAWS):
            reached = rng.random(n_slots) < 0.6 if draw else np.zeros(n_slots, bool)
            keys = unit(rng.normal(size=(n_slots, D)))
            cache = {"keys": keys, "values": rng.normal(size=(n_slots, 2)), "reached": reached}
            yield {"q": 2 * rng.normal(size=D), "v": rng.normal(size=2), **cache}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def look_up(q, v, keys, values, reached, *, scale=1.0, alone=lambda v, values: v):
    """The right output; or with scaled scores, or something else where nothing is reached."""
    if not reached.any():
        return alone(v, values)
    weights = np.where(reached, np.exp(scale * keys @ q), 0)
    return weights @ values / weights.sum()


def look_up_normalised(q, *rest):
    return look_up(unit(q), *rest)


def look_up_with_itself(q, v, keys, values, reached):
    everything = np.append(keys, unit(q)[None], 0), np.append(values, v[None], 0)
    return look_up(q, v, *everything, np.append(reached, True))


def look_up_everything(q, v, keys, values, reached):
    return look_up(q, v, keys, values, np.ones_like(reached)) if reached.any() else v


def look_up_unnormalised(q, v, keys, values, reached):
    return np.exp(keys @ q) * reached @ values if reached.any() else v


def zero_score_elsewhere(q, v, keys, values, reached):
    weights = np.exp(np.where(reached, keys @ q, 0))
    return weights @ values / weights.sum() if reached.any() else v


# All together


def decoding_cases(rng):
    """Vectors and buckets of a short text; no bucket is longer than a chunk of 12."""
    for length in (5, 12):
        vectors = {"qk": rng.normal(size=(length, D)), "v": rng.normal(size=(length, 2))}
        yield {**vectors, "buckets": rng.integers(4, size=(2, length))}
