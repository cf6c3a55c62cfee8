"""Exercise 06's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.attention``.
"""

from math import prod

import numpy as np

from efftx.check.promises import arrays_made, held_at_once

DRAWS = 2  # of each

# Part 1


def weight_cases(rng):
    """Attention weights of causal queries, k from 1 to all keys; many weights are equal.

    Few shapes, since jax compiles every operation for each.
    """
    for length, ks in ((3, (2, 1, 3)), (6, (2, 4))):
        for k in ks:
            for _ in range(DRAWS):
                scores = rng.integers(-2, 3, size=(length, length)).astype(float)
                yield {"weights": softmax(where_causal(scores)), "k": k}


def where_causal(scores):
    return np.where(np.tri(len(scores), dtype=bool), scores, -np.inf)


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def largest_first(weights):
    return -np.sort(-weights, axis=-1)


def mass_of_top(weights, k):
    """The right share."""
    return largest_first(weights)[:, :k].sum(-1)


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


def added(maximum, total, weighted, scores, v):
    """The right state."""
    common = np.maximum(maximum, scores.max(-1))
    p, shrink = np.exp(scores - common[:, None]), np.exp(maximum - common)
    return common, shrink * total + p.sum(-1), shrink[:, None] * weighted + p @ v


# Part 3


def count_cases(rng):
    """Lengths that blocks fill, and lengths that they do not."""
    for length, block_len in ((4, 2), (5, 2), (3, 1), (6, 6), (10, 4), (13, 5), (64, 16)):
        yield {"length": length, "block_len": block_len}


def keys_compared(length, block_len):
    """The right count: all keys up to the end of the query's block."""
    return np.minimum((np.arange(length) // block_len + 1) * block_len, length)


# Part 4


def attention_cases(rng):
    """Blocks that fill the length. In every second case of a size the last block's values are nan;
    in the last, all scores are far below 0."""
    for length, block_len in ((4, 2), (3, 1), (6, 2)):
        for unwritten in (False, True):
            q, k = 2 * rng.normal(size=(2, length, 3))
            v = rng.normal(size=(length, 2))
            if unwritten:
                v[-block_len:] = np.nan
            yield {"q": q, "k": k, "v": v, "block_len": block_len}
    q = 2 + rng.random((4, 3))
    yield {"q": q, "k": -20 * q, "v": rng.normal(size=(4, 2)), "block_len": 2}


def up_to_the_diagonal(i):
    """The right key blocks of query block i."""
    return range(i + 1)


def blocked(q, k, v, block_len, *, visit=up_to_the_diagonal):
    """Exact causal attention block by block; or over other blocks.

    A visited block reads all its values, so that a nan there is felt though its weight is 0.
    """
    outs = []
    for i in range(len(q) // block_len):
        query = np.arange(i * block_len, (i + 1) * block_len)
        key = np.concatenate([np.arange(j * block_len, (j + 1) * block_len) for j in visit(i)])
        scores = q[query] @ k[key].T / q.shape[1] ** 0.5
        outs.append(weighted_mean(np.where(key <= query[:, None], scores, -np.inf), v[key]))
    return np.concatenate(outs)


def weighted_mean(scores, v):
    """softmax(scores) @ v; nan where there is no key."""
    largest = scores.max(-1, keepdims=True, initial=np.finfo(float).min)
    p = np.exp(scores - largest)
    return p @ v / p.sum(-1, keepdims=True)


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
            blocked(q, k, v, block_len, visit=lambda _, j=j: [j])[i * block_len :][:block_len]
            for j in range(i + 1)
        ]
        outs.append(np.mean(one_by_one, axis=0))
    return np.concatenate(outs)


# What is promised besides: no more than block_len × block_len scores. They are what has neither
# d_head nor d_value columns; in numpy, whatever is there at once.

LONG, SHORT = 256, 16  # positions, positions in a block: what has one row a position is no larger
D_HEAD, D_VALUE = 3, 2
ROOM, ROOM_IN_NUMPY = 10, 30  # blocks; numpy's are of float64, and the outputs so far are there


def long_case() -> dict:
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, LONG, D_HEAD)).astype(np.float32)
    v = rng.normal(size=(LONG, D_VALUE)).astype(np.float32)
    return {"q": q, "k": k, "v": v, "block_len": SHORT}


def is_of_scores(shape: tuple[int, ...]) -> bool:
    """Of pairs of a query and a key: it has two axes at least, and none of features."""
    return len(shape) > 1 and not {D_HEAD, D_VALUE} & set(shape[-2:])


def few_scores(answer) -> str:
    """The promise that there are never more scores than those of one block."""
    shapes = arrays_made(answer, long_case())
    largest = max(filter(is_of_scores, shapes or ()), key=prod, default=())
    if largest and prod(largest) > SHORT**2:
        return (
            f"with {LONG} positions in blocks of {SHORT} it makes an array of {prod(largest):,} "
            f"scores or the like, of shape {largest}. Let none be larger than {SHORT} × {SHORT}, "
            "and hand every block to add_keys as soon as it is there."
        )
    held = held_at_once(answer, long_case(), "How many scores it holds", is_of_scores)
    room = ROOM_IN_NUMPY if shapes is None else ROOM
    if held <= room * 4 * SHORT**2:
        return ""
    return (
        f"with {LONG} positions in blocks of {SHORT} it holds as much as {held // (4 * SHORT**2)} "
        "blocks of scores at once. Hand every block to add_keys as soon as it is there, and keep "
        "none."
    )
