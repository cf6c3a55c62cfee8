"""Exercise 06: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import attention
from efftx.check import attention_is_sparse as check
from efftx.check import attention_is_sparse_answers as answers
from tests.check.exercise import Exercise
from tests.check.sources import run

# Other ways to be right: numpy, float64, loops, other formulas, under jit.


def mass_by_jax_top_k(weights, k):
    return jax.lax.top_k(weights, k)[0].sum(axis=-1)


def mass_in_loops(weights, k):
    return np.array([sum(sorted(map(float, row), reverse=True)[:k]) for row in weights])


def add_by_logsumexp(maximum, total, weighted, scores, v):
    """Everything relative to 1, in float64, where that fits."""
    maximum, total, weighted, scores, v = (
        np.asarray(x, np.longdouble) for x in (maximum, total, weighted, scores, v)
    )
    largest = np.maximum(maximum, scores.max(-1))
    p = np.exp(scores - largest[:, None])
    old = np.exp(maximum - largest)
    result = largest, old * total + p.sum(-1), old[:, None] * weighted + p @ v
    return tuple(x.astype(float) for x in result)


def add_one_key_at_a_time(maximum, total, weighted, scores, v):
    for s, value in zip(scores.T, v, strict=True):
        new = jnp.maximum(maximum, s)
        old, mine = jnp.exp(maximum - new), jnp.exp(s - new)
        total = old * total + mine
        weighted = old[:, None] * weighted + mine[:, None] * value
        maximum = new
    return maximum, total, weighted


def count_by_looking(length, block_len):
    blocks = np.arange(length) // block_len
    return (blocks <= blocks[:, None]).sum(axis=1)


def count_in_a_list(length, block_len):
    return jnp.array([min(length, i - i % block_len + block_len) for i in range(length)])


def blocks_in_numpy(q, k, v, block_len):
    q, k, v = map(np.asarray, (q, k, v))
    outs = []
    for start in range(0, len(q), block_len):
        state = answers.nothing_yet(block_len, v.shape[1])
        for first in range(0, start + block_len, block_len):
            scores = q[start:][:block_len] @ k[first:][:block_len].T / q.shape[1] ** 0.5
            scores = answers.where_causal(scores) if first == start else scores
            state = answers.added(*state, scores, v[first:][:block_len])
        outs.append(state[2] / state[1][:, None])
    return np.concatenate(outs)


def growing_prefix(q, k, v, block_len):
    """A softmax over the whole prefix of each block: exact, skips, but holds more scores."""
    outs = []
    for start in range(0, len(q), block_len):
        end = start + block_len
        scores = q[start:end] @ k[:end].T / jnp.sqrt(q.shape[1])
        allowed = jnp.arange(end) <= jnp.arange(start, end)[:, None]
        outs.append(jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf)) @ v[:end])
    return jnp.concatenate(outs)


def the_packages(q, k, v, block_len):
    return attention.blocked_attention(q, k, v, causal=True, block_len=block_len)


RIGHT = [
    ("top_mass", mass_by_jax_top_k),
    ("top_mass", mass_in_loops),
    ("top_mass", jax.jit(mass_by_jax_top_k, static_argnums=1)),
    ("add_keys", add_by_logsumexp),
    ("add_keys", add_one_key_at_a_time),
    ("keys_compared", count_by_looking),
    ("keys_compared", count_in_a_list),
    ("blocked_causal_attention", the_packages),
    ("blocked_causal_attention", blocks_in_numpy),
]

PARTS = ("top_mass", "add_keys", "keys_compared", "blocked_causal_attention")
EXERCISE = Exercise(
    stem="06_attention_is_sparse",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)
said = EXERCISE.said


# Special to this exercise.


def test_a_stub_that_is_called_is_named():
    names = run(EXERCISE.solution)
    names["add_keys"] = EXERCISE.untouched["add_keys"]
    message = said("blocked_causal_attention", names["blocked_causal_attention"])
    assert message.startswith("blocked_causal_attention calls add_keys, which is not written yet.")


def test_sums_that_are_never_reset_are_recognised():
    solved = EXERCISE.solution
    start = solved.index("    for start in range(0, length, block_len):")
    reset = solved[solved.index("        maximum = jnp.full(") : solved.index("        query = ")]
    outside = reset.replace("        ", "    ")
    code = solved[:start] + outside + solved[start:].replace(reset, "")
    message = said("blocked_causal_attention", run(code)["blocked_causal_attention"])
    assert "Each starts anew" in message


def test_a_slip_without_a_name_is_shown_an_example():
    message = said("top_mass", lambda weights, k: jnp.ones(len(weights)) / 7)
    assert "called with the smallest input that fails: weights = [" in message
    assert "mass[0]: got 0.14286, expected 1" in message


def test_masking_the_whole_matrix_is_not_skipping():
    message = said(
        "blocked_causal_attention",
        lambda q, k, v, block_len: attention.full_attention(q, k, v, causal=True),
    )
    assert "Skip them" in message


def only_v_sliced(q, k, v, block_len):
    """The whole matrix; only the values are read block by block."""
    scores = q @ k.T / jnp.sqrt(q.shape[1])
    weights = jax.nn.softmax(jnp.where(jnp.tri(len(q), dtype=bool), scores, -jnp.inf))
    ends = range(block_len, len(q) + 1, block_len)
    return jnp.concatenate([weights[end - block_len : end, :end] @ v[:end] for end in ends])


def masked_by_a_whole_triangle(q, k, v, block_len):
    allowed, outs = jnp.tri(len(q), dtype=bool), []
    for start in range(0, len(q), block_len):
        state = answers.nothing_yet(block_len, v.shape[1])
        for first in range(0, start + block_len, block_len):
            here, there = slice(start, start + block_len), slice(first, first + block_len)
            scores = jnp.where(
                allowed[here, there], q[here] @ k[there].T / q.shape[1] ** 0.5, -jnp.inf
            )
            state = EXERCISE.solved["add_keys"](*state, scores, v[there])
        outs.append(state[2] / state[1][:, None])
    return jnp.concatenate(outs)


@pytest.mark.parametrize(
    ("answer", "shape"),
    [
        (growing_prefix, "(16, 256)"),
        (only_v_sliced, "(256, 256)"),
        (masked_by_a_whole_triangle, "(256, 256)"),
    ],
)
def test_more_scores_than_a_block_has_are_seen(answer, shape):
    message = said("blocked_causal_attention", answer)
    assert message.startswith("✗ blocked_causal_attention returns the right values. But: with 256")
    assert f"of shape {shape}." in message


def test_a_list_of_all_blocks_is_seen():
    def listed(q, k, v, block_len):
        outs = []
        for start in range(0, len(q), block_len):
            here = slice(start, start + block_len)
            firsts = range(0, start + block_len, block_len)
            scores = [q[here] @ k[first:][:block_len].T / q.shape[1] ** 0.5 for first in firsts]
            scores[-1] = jnp.where(jnp.tri(block_len, dtype=bool), scores[-1], -jnp.inf)
            largest = jnp.stack([s.max(1) for s in scores]).max(0)[:, None]
            p = [jnp.exp(s - largest) for s in scores]
            weighted = sum(w @ v[first:][:block_len] for w, first in zip(p, firsts, strict=True))
            outs.append(weighted / sum(w.sum(1) for w in p)[:, None])
        return jnp.concatenate(outs)

    assert "blocks of scores at once" in said("blocked_causal_attention", listed)
