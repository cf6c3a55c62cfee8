"""Attention among neighbours in a sorted row: the module of the time hunt, as it should be.

Its text is what the hunt edits. Written for one head, as it would be for a first version.
"""

import jax
import jax.numpy as jnp

LAST_RESORT = -1000.0  # a query's score with itself


def sort_by_bucket(buckets):
    """The positions in the order of their buckets; in a bucket, the earlier position first."""
    return jnp.argsort(buckets, stable=True)


def attend(q, v, buckets, chunk_len, causal):
    """One round or several: buckets (length,) or (n_rounds, length)."""
    buckets = jnp.atleast_2d(buckets)
    orders = [sort_by_bucket(one) for one in buckets]
    chunk_of = jnp.stack([jnp.argsort(order) // chunk_len for order in orders])
    rounds = [one_round(q, v, order, chunk_of, chunk_len, causal) for order in orders]
    outs, lses = (jnp.stack(both) for both in zip(*rounds, strict=True))
    weights = jax.nn.softmax(lses, axis=0)
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
    scores = jnp.einsum("cqd,cukd->cqk", q[position], unit(q)[key_position])
    scores = scores - jnp.log(times_found(chunk_of, query_position, key_position))
    scores = jnp.where(seen, scores, -jnp.inf)
    itself = exists & (key_position == query_position)
    scores = jnp.where(itself, LAST_RESORT, scores)
    weights = jax.nn.softmax(scores, axis=-1)
    out = jnp.einsum("cqk,cukd->cqd", weights, v[key_position])
    slot = jnp.argsort(order)
    lse = jax.nn.logsumexp(scores, axis=-1)
    return out.reshape(len(q), -1)[slot], lse.reshape(-1)[slot]


def with_the_one_before(chunks):
    """Each chunk behind the one before it; before the first there stands something else."""
    before = jnp.roll(chunks, 1, axis=0)
    return jnp.concatenate([before, chunks], axis=1)


def is_there(n_chunks, chunk_len):
    """Which slots of the doubled chunks hold a chunk that is really there: (n_chunks, 1, 2m)."""
    chunk = jnp.arange(n_chunks)[:, None, None]
    return (chunk > 0) | (jnp.arange(2 * chunk_len) >= chunk_len)


def times_found(chunk_of, query_position, key_position):
    """In how many rounds the query's chunk is the key's, or the one behind it."""
    back = chunk_of[:, query_position] - chunk_of[:, key_position]
    return jnp.maximum(((back == 0) | (back == 1)).sum(axis=0), 1)


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
