"""Attention among neighbours in a sorted row: the module of the time hunt, as it should be.

Its text is what the hunt edits. Written for one head and in numpy, as it would be for a first
version: nothing is compiled, so that a test may try it on as many rows as it likes.
"""

import numpy as np
from scipy.special import logsumexp, softmax

LAST_RESORT = -1000.0  # a query's score with itself


def sort_by_bucket(buckets):
    """The positions in the order of their buckets; in a bucket, the earlier position first."""
    buckets = np.asarray(buckets)
    return np.argsort(buckets, stable=True)


def attend(q, v, buckets, chunk_len, causal):
    """One round or several: buckets (length,) or (n_rounds, length)."""
    q, v, buckets = np.asarray(q), np.asarray(v), np.atleast_2d(buckets)
    orders = [sort_by_bucket(one) for one in buckets]
    chunk_of = np.stack([np.argsort(order) // chunk_len for order in orders])
    rounds = [one_round(q, v, order, chunk_of, chunk_len, causal) for order in orders]
    outs, lses = (np.stack(both) for both in zip(*rounds, strict=True))
    weights = softmax(lses, axis=0)
    return (weights[..., None] * outs).sum(axis=0)


def one_round(q, v, order, chunk_of, chunk_len, causal):
    """Output and log-sum-exp of every position."""
    position = order.reshape(-1, chunk_len)
    key_position = with_the_one_before(position)
    query_position, key_position = position[:, :, None], key_position[:, None, :]
    exists = is_there(len(position), chunk_len)
    seen = exists & (key_position != query_position)
    if causal:
        seen = seen & (key_position <= query_position)
    scores = np.einsum("cqd,cukd->cqk", q[position], unit(q)[key_position])
    scores = scores - np.log(times_found(chunk_of, query_position, key_position))
    scores = np.where(seen, scores, -np.inf)
    itself = exists & (key_position == query_position)
    scores = np.where(itself, LAST_RESORT, scores)
    weights = softmax(scores, axis=-1)
    out = np.einsum("cqk,cukd->cqd", weights, v[key_position])
    slot = np.argsort(order)
    lse = logsumexp(scores, axis=-1)
    return out.reshape(len(q), -1)[slot], lse.reshape(-1)[slot]


def with_the_one_before(chunks):
    """Each chunk behind the one before it; before the first there stands something else."""
    before = np.roll(chunks, 1, axis=0)
    return np.concatenate([before, chunks], axis=1)


def is_there(n_chunks, chunk_len):
    """Which slots of the doubled chunks hold a chunk that is really there: (n_chunks, 1, 2m)."""
    chunk = np.arange(n_chunks)[:, None, None]
    return (chunk > 0) | (np.arange(2 * chunk_len) >= chunk_len)


def times_found(chunk_of, query_position, key_position):
    """In how many rounds the query's chunk is the key's, or the one behind it."""
    back = chunk_of[:, query_position] - chunk_of[:, key_position]
    return np.maximum(((back == 0) | (back == 1)).sum(axis=0), 1)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
