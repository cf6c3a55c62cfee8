"""Exercise 06's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.attention``.
"""

import numpy as np

# Part 1


def weight_cases(rng):
    """Attention weights of causal queries, k from 1 to all keys; many weights are equal."""
    for length in (3, 5, 12):
        for k in (2, 1, length // 2, length):
            scores = rng.integers(-2, 3, size=(length, length)).astype(float)
            yield {"weights": softmax(where_causal(scores)), "k": k}


def where_causal(scores):
    return np.where(np.tri(len(scores), dtype=bool), scores, -np.inf)


def softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def largest_first(weights, axis=-1):
    return -np.sort(-weights, axis=axis)


def mass_of_top(weights, k):
    """The right share."""
    return largest_first(weights)[:, :k].sum(-1)


def mass_from_threshold(weights, k):
    """With all that are equal to the k-th largest."""
    threshold = largest_first(weights)[:, k - 1 : k]
    return np.where(weights >= threshold, weights, 0).sum(-1)


def mass_of_recent(weights, k):
    """Of the query's own key and the k - 1 before it."""
    length = len(weights)
    return np.where(np.tri(length, k=-k, dtype=bool), 0, weights).sum(-1)


# Part 2: a state is (maximum, total, weighted)


def nothing_yet(rows, d_value):
    empty = np.full(rows, -np.inf), np.zeros(rows), np.zeros((rows, d_value))
    return tuple(array.astype(np.float32) for array in empty)


def state_cases(rng):
    """States without keys and with some; scores from near 0 to far above what exp can take.

    In float32, like jax, so that a mistake overflows where the learner's does.
    """
    for size in (1.0, 100.0):
        for rows in (1, 3):
            for n_before in (3, 0, 5):
                state = nothing_yet(rows, 2)
                if n_before:
                    state = added(*state, *keys(rng, size, rows, n_before))
                scores, v = keys(rng, size, rows, 4)
                scores[rng.integers(rows), 1:] = -np.inf  # masked
                yield dict(zip(("maximum", "total", "weighted"), state, strict=True)) | {
                    "scores": scores,
                    "v": v,
                }


def keys(rng, size, rows, n_keys):
    """Scores (rows, n_keys) and values (n_keys, 2); each block's size is another."""
    shift = rng.normal(scale=2, size=(rows, 1))
    scores = size * (rng.normal(size=(rows, n_keys)) + shift)
    return scores.astype(np.float32), rng.normal(size=(n_keys, 2)).astype(np.float32)


def larger(maximum, scores):
    return np.maximum(maximum, scores.max(-1))


def no_maximum(maximum, scores):
    return np.zeros_like(maximum)


def to_common(own, common):
    """The factor that sums relative to `own` take to be relative to `common`."""
    return np.exp(own - common)


def unchanged(own, common):
    return np.ones_like(common)


def nothing(own, common):
    return np.zeros_like(common)


def added(
    maximum, total, weighted, scores, v, *, reference=larger, keep=(to_common, to_common), of=None
):
    """The right state; or with another maximum, other factors of total and weighted, or with the
    block's scores taken relative to of(maximum, scores)."""
    common = reference(maximum, scores)
    p = np.exp(scores - (common if of is None else of(maximum, scores))[:, None])
    for_total, for_weighted = (factor(maximum, common) for factor in keep)
    return common, for_total * total + p.sum(-1), for_weighted[:, None] * weighted + p @ v


def added_and_divided(*case):
    maximum, total, weighted = added(*case)
    return maximum, total, weighted / total[:, None]


# Part 3


def count_cases(rng):
    """Lengths that blocks fill, and lengths that they do not."""
    for length, block_len in ((4, 2), (5, 2), (3, 1), (6, 6), (10, 4), (13, 5), (64, 16)):
        yield {"length": length, "block_len": block_len}


def keys_compared(length, block_len):
    """The right count: all keys up to the end of the query's block."""
    return np.minimum(uncapped(length, block_len), length)


def uncapped(length, block_len):
    return (np.arange(length) // block_len + 1) * block_len


# Part 4


def attention_cases(rng):
    """Blocks that fill the length; in every second case the last block's values are nan."""
    for length, block_len in ((4, 2), (3, 1), (6, 3), (4, 4), (12, 4), (20, 5)):
        for unwritten in (False, True):
            q, k = 2 * rng.normal(size=(2, length, 3))
            v = rng.normal(size=(length, 2))
            if unwritten and block_len < length:
                v[-block_len:] = np.nan
            yield {"q": q, "k": k, "v": v, "block_len": block_len}


def not_later(query, key, block_len):
    """The right mask."""
    return key <= query


def up_to_the_diagonal(i, n_blocks):
    """The right key blocks of query block i."""
    return range(i + 1)


def every_block(i, n_blocks):
    return range(n_blocks)


def blocked(q, k, v, block_len, *, allowed=not_later, visit=up_to_the_diagonal, scale=None):
    """Exact causal attention block by block; or with another mask, other blocks or another scale.

    A visited block reads all its values, so that a nan there is felt though its weight is 0.
    """
    length, outs = len(q), []
    scale = q.shape[1] ** -0.5 if scale is None else scale
    for i in range(length // block_len):
        query = np.arange(i * block_len, (i + 1) * block_len)
        read = [
            np.arange(j * block_len, (j + 1) * block_len) for j in visit(i, length // block_len)
        ]
        key = np.concatenate([np.zeros(0, int), *read])
        scores = np.where(
            allowed(query[:, None], key, block_len), q[query] @ k[key].T * scale, -np.inf
        )
        outs.append(weighted_mean(scores, v[key]))
    return np.concatenate(outs)


def weighted_mean(scores, v):
    """softmax(scores) @ v; nan where there is no key."""
    largest = scores.max(-1, keepdims=True, initial=np.finfo(float).min)
    p = np.exp(scores - largest)
    return p @ v / p.sum(-1, keepdims=True)


def undivided(q, k, v, block_len):
    """The weighted sums, relative to each row's maximum, as they are carried."""
    scores = where_causal(q @ k.T / q.shape[1] ** 0.5)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    ends = (np.arange(len(q)) // block_len + 1) * block_len
    return np.stack([row[:end] @ v[:end] for row, end in zip(p, ends, strict=True)])


def never_reset(q, k, v, block_len):
    """Every query block starts from the sums that the one before has left."""
    state, outs = nothing_yet(block_len, v.shape[1]), []
    for start in range(0, len(q), block_len):
        for first in range(0, start + block_len, block_len):
            here, there = slice(start, start + block_len), slice(first, first + block_len)
            scores = q[here] @ k[there].T / q.shape[1] ** 0.5
            state = added(*state, where_causal(scores) if first == start else scores, v[there])
        outs.append(state[2] / state[1][:, None])
    return np.concatenate(outs)


def mean_of_blocks(q, k, v, block_len):
    """A softmax for each block, and the mean of their outputs."""
    outs = []
    for i in range(len(q) // block_len):
        one_by_one = [
            blocked(q, k, v, block_len, visit=lambda _, n, j=j: [j])[i * block_len :][:block_len]
            for j in range(i + 1)
        ]
        outs.append(np.mean(one_by_one, axis=0))
    return np.concatenate(outs)
