"""Exercise 08's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.attention``.
"""

import numpy as np

# Few lengths, since jax compiles every operation for each; one bucket fills several chunks.
SIZES = ((4, 2, 2), (6, 1, 2), (6, 2, 2), (42, 4, 8))  # length, n_buckets, chunk_len
LENGTHS = (3, 12)  # with vectors
DRAWS = 6  # of each
LONG = 100  # times as long as others
LAST_RESORT = -1000.0  # a query's score with itself

# Part 1


def bucket_cases(rng):
    """One round's buckets."""
    for length, n_buckets, _ in SIZES:
        for _ in range(DRAWS):
            yield {"buckets": rng.integers(n_buckets, size=length)}


def undo(order):
    return np.argsort(order)


def in_order(buckets):
    """The right order and slots."""
    order = np.argsort(buckets, kind="stable")
    return order, undo(order)


def later_first(buckets):
    order = np.lexsort((-np.arange(len(buckets)), buckets))
    return order, undo(order)


def with_its_inverse(sort):
    """A wrong way to sort, rightly undone."""
    return lambda buckets: (sort(buckets), undo(sort(buckets)))


# Part 2


def slot_cases(rng):
    """One round's buckets and slots, causal and not."""
    for length, n_buckets, chunk_len in SIZES:
        for draw in range(DRAWS):
            buckets = rng.integers(n_buckets, size=length)
            slot = in_order(buckets)[1]
            yield dict(buckets=buckets, slot=slot, chunk_len=chunk_len, causal=draw % 2 == 0)


def pairs(buckets, slot, chunk_len, causal, *, without=""):
    """The allowed pairs, row = query, column = key; or those that one rule less allows."""
    position, chunk = np.arange(len(buckets)), slot // chunk_len
    rules = {
        "window": np.isin(chunk[:, None] - chunk, (0, 1)),
        "bucket": buckets[:, None] == buckets,
        "causal": (position <= position[:, None]) | (not causal),
        "itself": position != position[:, None],
    }
    return np.logical_and.reduce([rule for name, rule in rules.items() if name != without])


# Part 3


def vectors(rng, length, times=1):
    return {"q": times * rng.normal(size=(length, 3)), "v": rng.normal(size=(length, 2))}


def round_cases(rng):
    """Any pairs may be allowed; one query may look at nothing. Half have a discount, also where
    it does not count; in the last, queries are so long that exp(score) is too large for float32.
    """
    for length in LENGTHS:
        for draw in range(DRAWS):
            allowed = (rng.random((length, length)) < 0.6) & ~np.eye(length, dtype=bool)
            allowed[rng.integers(length)] = False
            n = rng.integers(1, 4, size=(length, length))
            case = vectors(rng, length, times=LONG if draw == DRAWS - 1 else 1)
            yield {**case, "allowed": allowed, "discount": np.log(n) if draw % 2 else 0.0}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def logsumexp(scores, axis=-1):
    largest = scores.max(axis, keepdims=True)
    return (largest + np.log(np.exp(scores - largest).sum(axis, keepdims=True))).squeeze(axis)


def softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def score(q, allowed, discount=0.0):
    """q·k less the discount where allowed, the last resort on the diagonal, else -inf."""
    scores = np.where(allowed, q @ unit(q).T - discount, -np.inf)
    return np.where(np.eye(len(q), dtype=bool), LAST_RESORT, scores)


def attended(q, v, allowed, discount=0.0):
    """The right output and log-sum-exp of one round."""
    scores = score(q, allowed, discount)
    return softmax(scores) @ v, logsumexp(scores)


# Part 4


def rounds_cases(rng):
    """Several rounds' allowed pairs, causal and not; many pairs are found more than once."""
    for length in LENGTHS:
        for draw in range(DRAWS):
            buckets = rng.integers(2, size=(3 if length == 3 else 4, length))
            rounds = [pairs(b, in_order(b)[1], length // 3, draw % 2 == 0) for b in buckets]
            yield {**vectors(rng, length), "allowed": np.stack(rounds)}


def over_union(q, v, allowed):
    """The definition: one softmax over the union of what the rounds allow."""
    return attended(q, v, allowed.any(0))[0]


def nothing_is_a_number(q, v, allowed):
    """What log 0 does where the discount is subtracted from every score."""
    return np.full(v.shape, np.nan)


# All together


def whole_cases(rng):
    """Three rounds' buckets in [0, 4); the last chunk is not full."""
    for causal in (True, False):
        buckets, rule = rng.integers(4, size=(3, 12)), {"chunk_len": 5, "causal": causal}
        yield {**vectors(rng, 12), "buckets": buckets, **rule}
