"""What the attention tests share: one small case, and oracles written from the definitions.

The oracles are loops and float64 matrices of numpy: they know nothing of the package, and nothing
of theirs is compiled. A case has the same shapes wherever it can, so that what one test compiled
serves the next.
"""

import math
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Ten chunks of which the last is not full, and buckets of about ten: wider than a chunk, so that
# same bucket, own chunk and the chunk before each exclude pairs that the others would let through.
LENGTH, CHUNK_LEN, N_BUCKETS = 77, 8, 8
D_HEAD, D_VALUE = 8, 6


class Case(NamedTuple):
    """Vectors of one head, buckets to replay, and a mask that hides position 0 and some others."""

    qk: Array  # one of its rows is zero
    v: Array
    buckets: Array
    key_mask: Array

    @property
    def vectors(self):
        return self.qk, self.v

    @property
    def given(self):
        return {"buckets": self.buckets, "key_mask": self.key_mask}


def a_case(n_hashes: int = 1, length: int = LENGTH, dtype=jnp.float32, seed: int = 0) -> Case:
    rng = np.random.default_rng([seed, n_hashes, length])
    qk, v = rng.normal(size=(length, D_HEAD)), rng.normal(size=(length, D_VALUE))
    qk[length // 3] = 0
    buckets = rng.integers(N_BUCKETS, size=(n_hashes, length))
    key_mask = (rng.random(length) < 0.8) & (np.arange(length) > 0)
    return Case(
        jnp.asarray(qk, dtype),
        jnp.asarray(v, dtype),
        jnp.asarray(buckets, jnp.int32),
        jnp.asarray(key_mask),
    )


def options(n_hashes: int = 1, causal: bool = True, **others) -> dict:
    """How lsh_attention is called on a case."""
    sizes = {"n_buckets": N_BUCKETS, "chunk_len": CHUNK_LEN}
    return {**sizes, "n_hashes": n_hashes, "causal": causal, **others}


def value_and_gradients(attend, vectors, given, **static) -> tuple[Array, ...]:
    """The output, and the gradient of a weighted sum of it for each of the vectors."""
    return _compiled(attend, tuple(sorted(static.items())))(tuple(vectors), given)


@cache
def _compiled(attend, static):
    def run(vectors, given):
        out, pull_back = jax.vjp(lambda *xs: attend(*xs, **given, **dict(static)), *vectors)
        return out, *pull_back(loss_weights(out.shape).astype(out.dtype))

    return jax.jit(run)


def loss_weights(shape):
    """Of the outputs, in the sum whose gradient is taken: numbers that bfloat16 holds exactly."""
    return (jnp.arange(math.prod(shape)) % 5 - 2).reshape(shape)


def assert_close(ours, theirs, tolerance: float) -> None:
    """Each array of one tuple to each of the other, relative to numbers of about 1."""
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float64), np.asarray(other, np.float64), tolerance, tolerance
        )


def assert_rounded(low, exact) -> None:
    """bfloat16 results are those of float32, rounded once (a relative error of 1/512)."""
    for one, other in zip(low, exact, strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=1 / 256, atol=1e-5)


def reached_by_loops(buckets, key_mask, *, causal=True, chunk_len=CHUNK_LEN, trax=False):
    """(n_hashes, length, length): how often query i reaches key j in each round.

    Sort the valid positions by (bucket, position), cut them into chunks, and let every position
    look at its own chunk and at the one before: the text of the paper, word by word.
    """
    n_hashes, length = buckets.shape
    reached = np.zeros((n_hashes, length, length), int)
    for n_round, bucket in enumerate(np.asarray(buckets)):
        valid = [position for position in range(length) if key_mask is None or key_mask[position]]
        valid.sort(key=lambda position: (bucket[position], position))
        chunks = [valid[i : i + chunk_len] for i in range(0, len(valid), chunk_len)]
        for c, chunk in enumerate(chunks):
            before = chunks[c - 1] if c > 0 or trax else []  # [-1] is the last: a wrap-around
            for i in chunk:
                for j in chunk + before:
                    in_time = j < i if causal else j != i
                    if in_time and (trax or bucket[i] == bucket[j]):
                        reached[n_round, i, j] += 1
    return reached


def scores_of(qk):
    qk = np.asarray(qk, np.float64)
    norm = np.linalg.norm(qk, axis=1, keepdims=True)
    return qk @ (qk / np.where(norm > 0, norm, 1)).T


def attend_by_count(count, qk, v, key_mask=None):
    """Each pair weighs count·exp(score); alone, a position keeps its value; padding gives 0."""
    weights = count * np.exp(scores_of(qk))
    total = weights.sum(1, keepdims=True)
    v = np.asarray(v, np.float64)
    out = np.where(total > 0, weights @ v / np.where(total > 0, total, 1), v)
    return out if key_mask is None else np.where(np.asarray(key_mask)[:, None], out, 0)


def attend_by_rounds(reached, qk, v, key_mask, *, discount: bool = True):
    """The paper's appendix A: a softmax in each round, its logits less log N_ij, then the rounds
    joined by the softmax of their log-sum-exps."""
    n_ij, scores = np.maximum(reached.sum(0), 1), scores_of(qk)
    weights = (reached > 0) * np.exp(scores - np.log(n_ij) if discount else scores)
    sums = weights.sum(-1, keepdims=True)  # exp of each round's log-sum-exp
    v = np.asarray(v, np.float64)
    of_rounds = weights @ v / np.where(sums > 0, sums, 1)
    total = sums.sum(0)
    out = np.where(total > 0, (sums * of_rounds).sum(0) / np.where(total > 0, total, 1), v)
    return np.where(np.asarray(key_mask)[:, None], out, 0)
