"""Exercise 08's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.attention``.
"""

import numpy as np

# Few lengths, since jax compiles every operation for each; one bucket fills several chunks.
SIZES = ((4, 2, 2), (6, 1, 2), (6, 2, 2), (42, 4, 8))  # length, n_buckets, chunk_len
LENGTHS = (3, 12)  # with vectors
DRAWS = 6  # of each
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


def own_or_before(chunks_back, n_chunks):
    """The right window."""
    return (chunks_back == 0) | (chunks_back == 1)


def own_or_before_in_a_ring(chunks_back, n_chunks):
    return (chunks_back == 0) | (chunks_back % n_chunks == 1 % n_chunks)


def own_or_after(chunks_back, n_chunks):
    return (chunks_back == 0) | (chunks_back == -1)


def own_only(chunks_back, n_chunks):
    return chunks_back == 0


def pairs(buckets, slot, chunk_len, causal, *, without="", window=own_or_before):
    """The allowed pairs, row = query, column = key; or those that one rule less allows."""
    position, chunk = np.arange(len(buckets)), slot // chunk_len
    rules = {
        "window": window(chunk[:, None] - chunk, chunk.max() + 1),
        "bucket": buckets[:, None] == buckets,
        "causal": (position <= position[:, None]) | (not causal),
        "itself": position != position[:, None],
    }
    return np.logical_and.reduce([rule for name, rule in rules.items() if name != without])


def pairs_of_unsorted_chunks(buckets, slot, chunk_len, causal):
    return pairs(buckets, np.arange(len(buckets)), chunk_len, causal)


# Part 3


def vectors(rng, length, d_head=3, d_value=2):
    return {"q": rng.normal(size=(length, d_head)), "v": rng.normal(size=(length, d_value))}


def round_cases(rng):
    """Any pairs may be allowed; one query may look at nothing. Half have a discount."""
    for length in LENGTHS:
        for draw in range(DRAWS):
            allowed = (rng.random((length, length)) < 0.6) & ~np.eye(length, dtype=bool)
            allowed[rng.integers(length)] = False
            n = rng.integers(1, 4, size=(length, length))
            discount = np.log(np.where(allowed, n, 1)) if draw % 2 else 0.0
            yield {**vectors(rng, length), "allowed": allowed, "discount": discount}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def logsumexp(scores, axis=-1):
    largest = scores.max(axis, keepdims=True)
    return (largest + np.log(np.exp(scores - largest).sum(axis, keepdims=True))).squeeze(axis)


def softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def score(q, allowed, discount=0.0, *, keys=None, scale=1.0):
    """q·k less the discount where allowed, the last resort on the diagonal, else -inf."""
    scores = q @ (unit(q) if keys is None else keys).T * scale - discount
    return with_diagonal(LAST_RESORT, np.where(allowed, scores, -np.inf))


def with_diagonal(value, scores):
    return np.where(np.eye(len(scores), dtype=bool), value, scores)


def over(scores, v):
    """Output and log-sum-exp of the softmax over these scores."""
    return softmax(scores) @ v, logsumexp(scores)


def attended(q, v, allowed, discount=0.0, **changes):
    """The right output and log-sum-exp of one round; or with other keys, or another scale."""
    return over(score(q, allowed, discount, **changes), v)


def attended_with_diagonal(diagonal):
    """With diagonal(itself), where itself is q·k, in place of the last resort."""

    def attend(q, v, allowed, discount):
        itself = np.linalg.norm(q, axis=-1)[:, None]
        return over(with_diagonal(diagonal(itself), score(q, allowed, discount)), v)

    return attend


def attended_with_filler(filler):
    """This score wherever it is not allowed; what that makes of the log-sum-exp is left open."""

    def attend(q, v, allowed, discount):
        return over(np.where(allowed, q @ unit(q).T - discount, filler), v)[0], None

    return attend


def with_other_lse(lse):
    """The right output with the log-sum-exp changed to lse(q, allowed, discount)."""
    return lambda q, v, *masks: (attended(q, v, *masks)[0], lse(q, *masks))


def attended_with_weights(weights):
    """The right log-sum-exp with the output's weights changed to weights(scores)."""
    return lambda q, v, *masks: (weights(score(q, *masks)) @ v, attended(q, v, *masks)[1])


# Part 4


def rounds_cases(rng):
    """Several rounds' allowed pairs, causal and not; many pairs are found more than once."""
    for length in LENGTHS:
        for draw in range(DRAWS):
            buckets = rng.integers(2, size=(3, length))
            rounds = [pairs(b, in_order(b)[1], length // 3, draw % 2 == 0) for b in buckets]
            yield {**vectors(rng, length), "allowed": np.stack(rounds)}


def over_union(q, v, allowed):
    """The definition: one softmax over the union of what the rounds allow."""
    return attended(q, v, allowed.any(0))[0]


def log_count(n):
    """The right discount of pairs that n rounds allow."""
    return np.log(np.maximum(n, 1))


def by_lse(lse):
    """The right weights of the rounds, from their (n_hashes, length) log-sum-exps."""
    return softmax(lse, axis=0)


def nothing_is_a_number(q, v, allowed):
    """What log 0 does where the discount is subtracted from every score."""
    return np.full(v.shape, np.nan)


def over_rounds(q, v, allowed, *, discount=log_count, weights=by_lse):
    """The same round by round; or with another discount, or with other weights of the rounds."""
    rounds = [attended(q, v, one, discount(allowed.sum(0))) for one in allowed]
    outs, lses = (np.stack(parts) for parts in zip(*rounds, strict=True))
    return (weights(lses)[..., None] * outs).sum(0)


def first_round(lse):
    return np.stack([np.ones_like(lse[0]), *np.zeros_like(lse[1:])])


def last_round(lse):
    return first_round(lse)[::-1]


# All together


def whole_cases(rng):
    """Three rounds' buckets in [0, 4); the last chunk is not full."""
    for causal in (True, False):
        buckets, rule = rng.integers(4, size=(3, 12)), {"chunk_len": 5, "causal": causal}
        yield {**vectors(rng, 12), "buckets": buckets, **rule}
