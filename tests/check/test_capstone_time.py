"""The time capstone: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import lsh_attention, lsh_attention_reference
from efftx.check import capstone_time as check
from efftx.check import capstone_time_answers as answers
from efftx.check import promises
from tests.check.exercise import Exercise

PARTS = ("lay_out", "round_scores", "attend", "backward", "make_attention")


def by_dictionary(buckets, chunk_len):
    """In numpy and lists, from each position's slot."""
    buckets = np.asarray(buckets)
    order = [sorted(range(len(b)), key=lambda i, b=b: (b[i], i)) for b in buckets]
    slot = [[row.index(i) for i in range(len(row))] for row in order]
    chunks = np.reshape(order, (len(buckets), -1, chunk_len))
    return chunks, slot, np.array(slot) // chunk_len + 2 * buckets


def in_a_loop_over_chunks(q, r, order, codes, causal):
    """Chunk by chunk, in numpy and float64."""
    q, order, codes = (np.asarray(x) for x in (q, order[r], codes))
    n_chunks, m = order.shape
    scores = np.full((n_chunks, m, 2 * m), -np.inf)
    for c, a, b in np.ndindex(*scores.shape):
        if c == 0 and b < m:
            continue
        i, j = order[c, a], order[c - (b < m), b % m]
        n = np.isin(codes[:, i] - codes[:, j], (0, 1))
        if i == j:
            scores[c, a, b] = -1000
        elif n[r] and not (causal and j > i):
            k = q[j] / np.sqrt((q[j].astype(float) ** 2).sum())
            scores[c, a, b] = q[i] @ k - np.log(n.sum())
    return scores


def solved(name):
    return EXERCISE.solved[name]


def in_a_fori_loop(q, v, order, slot, codes, causal):
    """Sums of exp(score − largest so far), divided at the end."""

    def add_round(r, so_far):
        total, weight, largest = so_far
        scores = solved("round_scores")(q, r, order, codes, causal)
        own = order[r]
        values = v[jnp.concatenate([jnp.roll(own, 1, axis=0), own], axis=1)]
        top = scores.max(-1)
        e = jnp.exp(scores - top[..., None])
        one = [(e @ values).reshape(v.shape), e.sum(-1).reshape(-1), top.reshape(-1)]
        one_total, one_weight, one_top = (x[slot[r]] for x in one)
        new = jnp.maximum(largest, one_top)
        a, b = jnp.exp(largest - new), jnp.exp(one_top - new)
        return a[:, None] * total + b[:, None] * one_total, a * weight + b * one_weight, new

    start = jnp.zeros_like(v), jnp.zeros(len(v)), jnp.full(len(v), -jnp.inf)
    total, weight, largest = jax.lax.fori_loop(0, len(order), add_round, start)
    return total / weight[:, None], largest + jnp.log(weight)


def by_a_loss_of_each_round(q, v, order, slot, codes, out, lse, g, causal):
    """What each round adds to g · (output − out), if out and lse stay as they are."""

    def moved(q, v, r):
        own = order[r]
        scores = solved("round_scores")(q, r, order, codes, causal)
        p = jnp.exp(scores - lse[own][..., None])
        values = v[jnp.concatenate([jnp.roll(own, 1, axis=0), own], axis=1)]
        return jnp.vdot(g[own], p @ values - p.sum(-1)[..., None] * out[own])

    def add_round(so_far, r):
        return jax.tree.map(jnp.add, so_far, jax.grad(moved, (0, 1))(q, v, r)), None

    return jax.lax.scan(add_round, (0 * q, 0 * v), jnp.arange(len(order)))[0]


def by_package(chunk_len, causal):
    def attention(q, v, buckets):
        rule = {"chunk_len": chunk_len, "causal": causal, "n_hashes": len(buckets)}
        return lsh_attention(q, v, buckets=buckets, n_buckets=256, **rule)

    return attention


RIGHT = [
    ("lay_out", by_dictionary),
    ("round_scores", in_a_loop_over_chunks),
    ("attend", in_a_fori_loop),
    ("backward", by_a_loss_of_each_round),
    ("make_attention", by_package),
]
EXERCISE = Exercise(
    stem="capstone_time",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


def all_pairs(q, r, order, codes, causal):
    """Right scores, picked from a matrix of all pairs."""
    k = q / jnp.linalg.norm(q, axis=1, keepdims=True)
    back = codes[:, :, None] - codes[:, None]
    reached = (back == 0) | (back == 1)
    position = jnp.arange(len(q))
    scores = q @ k.T - jnp.log(jnp.maximum(reached.sum(0), 1))
    seen = reached[r] & ((position < position[:, None]) | (not causal))
    scores = jnp.where(seen, scores, -jnp.inf)
    scores = jnp.where(jnp.eye(len(q), dtype=bool), -1000.0, scores)
    own = order[r]
    both = jnp.concatenate([jnp.roll(own, 1, axis=0), own], axis=1)
    picked = scores[own[:, :, None], both[:, None]]
    return picked.at[0, :, : own.shape[1]].set(-jnp.inf)


def rounds_beside_each_other(q, v, order, slot, codes, causal):
    """Right, and every round's output is kept until the end."""

    def one(r):
        scores = solved("round_scores")(q, r, order, codes, causal)
        own = order[r]
        values = v[jnp.concatenate([jnp.roll(own, 1, axis=0), own], axis=1)]
        out, lse = jax.nn.softmax(scores) @ values, jax.nn.logsumexp(scores, axis=-1)
        return out.reshape(v.shape)[slot[r]], lse.reshape(-1)[slot[r]]

    outs, lses = jax.lax.map(one, jnp.arange(len(order)))
    share = jax.nn.softmax(lses, axis=0)
    return (share[..., None] * outs).sum(0), jax.nn.logsumexp(lses, axis=0)


def by_the_matrix(q, v, order, slot, codes, causal):
    """The oracle itself, in jax."""
    back = codes[:, :, None] - codes[:, None]
    position = jnp.arange(len(q))
    earlier = position < position[:, None] if causal else position != position[:, None]
    union = ((back == 0) | (back == 1)).any(0) & earlier
    scores = jnp.where(union, q @ (q / jnp.linalg.norm(q, axis=1)[:, None]).T, -jnp.inf)
    alone = -1000 + jnp.log(len(codes))
    scores = jnp.where(jnp.eye(len(q), dtype=bool), alone, scores)
    return jax.nn.softmax(scores) @ v, jax.nn.logsumexp(scores, axis=-1)


def differentiated_as_it_is(chunk_len, causal):
    """Right, by jax's own gradient of the scan."""
    return lambda q, v, buckets: solved("attend")(
        q, v, *solved("lay_out")(buckets, chunk_len), causal
    )[0]


def with_checkpoints(chunk_len, causal):
    """The weights are rebuilt, the carry is kept."""

    def attention(q, v, buckets):
        order, slot, codes = solved("lay_out")(buckets, chunk_len)

        @jax.checkpoint
        def one(so_far, r):
            out, lse = so_far
            scores = solved("round_scores")(q, r, order, codes, causal)
            own = order[r]
            values = v[jnp.concatenate([jnp.roll(own, 1, axis=0), own], axis=1)]
            one_lse = jax.nn.logsumexp(scores, axis=-1)
            one_out = jnp.exp(scores - one_lse[..., None]) @ values
            one_out, one_lse = one_out.reshape(v.shape)[slot[r]], one_lse.reshape(-1)[slot[r]]
            both = jnp.logaddexp(lse, one_lse)
            a, b = jnp.exp(lse - both)[:, None], jnp.exp(one_lse - both)[:, None]
            return (a * out + b * one_out, both), None

        start = jnp.zeros_like(v), jnp.full(len(v), -jnp.inf)
        return jax.lax.scan(one, start, jnp.arange(len(order)))[0][0]

    return attention


def the_reference(chunk_len, causal):
    return lambda q, v, buckets: lsh_attention_reference(
        q, v, buckets, chunk_len=chunk_len, causal=causal
    )


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("round_scores", all_pairs),
        ("attend", by_the_matrix),
        ("make_attention", the_reference),
    ],
)
def test_what_looks_at_all_pairs_is_told_so(name, answer):
    said = EXERCISE.said(name, answer)
    assert said.startswith(f"✗ {name} returns the right values. But: for 256 positions it makes")
    assert "So it looks at all pairs somewhere" in said


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("attend", rounds_beside_each_other),
        ("make_attention", differentiated_as_it_is),
        ("make_attention", with_checkpoints),
    ],
)
def test_what_keeps_something_of_every_round_is_told_so(name, answer):
    said = EXERCISE.said(name, answer)
    assert said.startswith(f"✗ {name} returns the right values. But: it takes ")
    assert "kept for every round" in said


def test_the_oracle_is_the_packages():
    rng = np.random.default_rng(0)
    q, v, g = rng.normal(size=(3, 12, 3)).astype(np.float32)
    buckets = rng.integers(3, size=(3, 12))
    inputs = jnp.asarray(q), jnp.asarray(v)
    for causal in (True, False):
        run = the_reference(4, causal)
        out, pull_back = jax.vjp(lambda q, v, run=run: run(q, v, jnp.asarray(buckets)), *inputs)
        ours = answers.whole(4, causal, q, v, buckets, g)
        for mine, packages in zip(ours, (out, *pull_back(jnp.asarray(g))), strict=True):
            np.testing.assert_allclose(mine, packages, rtol=1e-4, atol=1e-4)


def test_numbers_are_counted_at_each_turn_of_a_loop():
    def thrice(x):
        return jax.lax.scan(lambda total, _: (total + x, None), x, jnp.arange(3))[0]

    once = promises.numbers_made(jax.make_jaxpr(lambda x: x + x)(jnp.zeros(5)).jaxpr)
    assert once == 5
    assert promises.numbers_made(jax.make_jaxpr(thrice)(jnp.zeros(5)).jaxpr) >= 3 * once
