"""Exercise 01: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import from_rnns_to_transformers as check
from efftx.models.cross_attention import CrossAttention, Source, everywhere
from efftx.models.recurrent import LSTM
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

GATES = "f, i, g, o = x_t @ w + output @ u + b"
CELL = "cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)"
OUTPUT = "output = jax.nn.sigmoid(o) * jnp.tanh(cell)"
CAUSAL = "jnp.where(allowed, scores, -jnp.inf)"
SOFTMAX = f"jax.nn.softmax({CAUSAL}, axis=-1)"
TRIANGLE = "jnp.tri(len(q), dtype=bool)"
CAUSAL_SCORES = "scores = q @ k.T / jnp.sqrt(q.shape[1])\n    allowed"
MASKED = "jnp.where(key_mask, scores, -jnp.inf)"
CROSS = "source @ w_v\n    scores = q @ k.T / jnp.sqrt(q.shape[1])"
SLIPS = [
    ("lstm", "nothing were carried", {GATES: f"cell = output = 0 * x_t\n        {GATES}"}),
    ("lstm", "cell were zero", {"jax.nn.sigmoid(f) * cell + ": ""}),
    ("lstm", "last output played no part", {" + output @ u": ""}),
    ("lstm", "cell were fed back", {"output @ u": "cell @ u"}),
    ("lstm", "cells were returned", {"outputs.append(output)": "outputs.append(cell)"}),
    ("lstm", "f and i were exchanged", {GATES: GATES.replace("f, i, g, o", "i, f, g, o")}),
    ("lstm", "g and o were exchanged", {GATES: GATES.replace("f, i, g, o", "f, i, o, g")}),
    ("lstm", "struck out", {"jax.nn.sigmoid(f) * cell": "cell"}),
    ("lstm", "tanh of g", {"jnp.tanh(g)": "g"}),
    ("lstm", "tanh of the cell", {"jnp.tanh(cell)": "cell"}),
    (
        "lstm",
        "squeezed between",
        {CELL: "cell = f * cell + i * jnp.tanh(g)", OUTPUT: "output = o * jnp.tanh(cell)"},
    ),
    ("lstm", "b were forgotten", {" @ u + b": " @ u"}),
    ("causal_attention", "mask were missing", {CAUSAL: "scores"}),
    ("causal_attention", "wrong side", {TRIANGLE: f"{TRIANGLE}.T"}),
    ("causal_attention", "could not see itself", {TRIANGLE: "jnp.tri(len(q), k=-1, dtype=bool)"}),
    ("causal_attention", "set to 0", {CAUSAL: "jnp.where(allowed, scores, 0.0)"}),
    ("causal_attention", "set to 0", {CAUSAL: "scores * allowed"}),
    (
        "causal_attention",
        "after the softmax",
        {SOFTMAX: "jax.nn.softmax(scores, axis=-1) * allowed"},
    ),
    ("causal_attention", "not divided", {CAUSAL_SCORES: "scores = q @ k.T\n    allowed"}),
    (
        "causal_attention",
        "divided by d",
        {CAUSAL_SCORES: "scores = q @ k.T / q.shape[1]\n    allowed"},
    ),
    (
        "causal_attention",
        "multiplied by √d",
        {CAUSAL_SCORES: "scores = q @ k.T * jnp.sqrt(q.shape[1])\n    allowed"},
    ),
    ("causal_attention", "over the queries", {f"{CAUSAL}, axis=-1": f"{CAUSAL}, axis=0"}),
    ("causal_attention", "did not add up", {SOFTMAX: f"jnp.exp({CAUSAL})"}),
    (
        "causal_attention",
        "q and k were exchanged",
        {CAUSAL_SCORES: "scores = k @ q.T / jnp.sqrt(q.shape[1])\n    allowed"},
    ),
    ("causal_attention", "keys were averaged", {CAUSAL_SCORES: f"v = k\n    {CAUSAL_SCORES}"}),
    ("cross_attention", "mask were ignored", {MASKED: "scores"}),
    ("cross_attention", "upside down", {MASKED: "jnp.where(key_mask, -jnp.inf, scores)"}),
    ("cross_attention", "scores were set to 0", {MASKED: "jnp.where(key_mask, scores, 0.0)"}),
    (
        "cross_attention",
        "vectors were set to 0",
        {
            MASKED: "scores",
            "q, k, v = x": "source = jnp.where(key_mask[:, None], source, 0)\n    q, k, v = x",
        },
    ),
    (
        "cross_attention",
        "after the softmax",
        {f"jax.nn.softmax({MASKED}, axis=-1)": "jax.nn.softmax(scores, axis=-1) * key_mask"},
    ),
    (
        "cross_attention",
        "causal mask",
        {MASKED: "jnp.where(key_mask & jnp.tri(*scores.shape, dtype=bool), scores, -jnp.inf)"},
    ),
    ("cross_attention", "root of d_head", {CROSS: "source @ w_v\n    scores = q @ k.T"}),
    ("cross_attention", "over the queries", {f"{MASKED}, axis=-1": f"{MASKED}, axis=0"}),
    ("cross_attention", "keys were averaged", {"w_k, source @ w_v": "w_k, source @ w_k"}),
    ("cross_attention", "shared w_q", {"source @ w_k,": "source @ w_q,"}),
    ("cross_attention", "projections", {"x @ w_q, source @ w_k,": "x @ w_k, source @ w_q,"}),
]


# Other ways to be right: numpy, float64, loops, the package's own.


def scanned_lstm(x, w, u, b):
    return LSTM(w.transpose(1, 0, 2), u.transpose(1, 0, 2), b)(x)


def lstm_in_numpy(x, w, u, b):
    x, w, u, b = (np.asarray(a, np.float64) for a in (x, w, u, b))
    cell, output, outputs = np.zeros(x.shape[1]), np.zeros(x.shape[1]), []
    for x_t in x:
        f, i, g, o = (x_t @ w[n] + output @ u[n] + b[n] for n in range(4))
        cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        output = np.tanh(cell) / (1 + np.exp(-o))
        outputs.append(output)
    return np.array(outputs)


def attention_in_loops(q, k, v):
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    weights = [np.exp(k[: i + 1] @ q[i] / q.shape[1] ** 0.5) for i in range(len(q))]
    return np.stack([w @ v[: len(w)] / w.sum() for w in weights])


def the_packages_attention(q, k, v):
    return attention.blocked_attention(q, k, v, causal=True)


def attention_to_words_alone(x, source, key_mask, w_q, w_k, w_v):
    words = np.asarray(source)[np.asarray(key_mask)]
    scores = (x @ w_q) @ (words @ w_k).T / np.sqrt(w_q.shape[1])
    return jax.nn.softmax(scores) @ (words @ w_v)


def the_packages_cross_attention(x, source, key_mask, *projections):
    w_in = jnp.stack(projections, axis=1)[:, :, None]  # one head, and nothing projected back
    layer = CrossAttention(w_in, jnp.eye(w_in.shape[-1])[None], everywhere)
    return layer(x, None, Source(source, key_mask))


RIGHT = [
    ("lstm", scanned_lstm),
    ("lstm", lstm_in_numpy),
    ("causal_attention", attention_in_loops),
    ("causal_attention", the_packages_attention),
    ("cross_attention", attention_to_words_alone),
    ("cross_attention", the_packages_cross_attention),
]

PARTS = ("lstm", "causal_attention", "cross_attention")
EXERCISE = Exercise(
    stem="01_from_rnns_to_transformers",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
)


# Special to this exercise.


def test_sequences_that_are_exchanged_are_met_with_the_shape_that_is_wanted():
    def from_source_to_x(x, source, key_mask, w_q, w_k, w_v):
        return jax.nn.softmax((source @ w_q) @ (x @ w_k).T) @ (x @ w_v)

    message = EXERCISE.said("cross_attention", from_source_to_x)
    assert "must have shape (1, 3)" in message
