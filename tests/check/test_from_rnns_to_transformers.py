"""Exercise 01: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import from_rnns_to_transformers as check
from efftx.check import from_rnns_to_transformers_answers as answers
from efftx.models import Across, Attention, Dense, Exact, Extra, Source
from efftx.models.recurrent import LSTM
from tests.check.exercise import Exercise

# Other ways to be right: numpy, float64, loops, the package's own.


def scanned_lstm(x, w, u, b):
    return LSTM(w.transpose(1, 0, 2), u.transpose(1, 0, 2), b)(x)[0]


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
    w_in = jnp.stack(projections, axis=1)[:, :, None]  # one head
    d_model, d_head = w_in.shape[0], w_in.shape[-1]
    back = jnp.eye(d_head, d_model)[None]  # to the model's width, by zeros
    layer = Attention(Dense(w_in, back), Across())
    return layer(x, extra=Extra(source=Source(source, key_mask)))[0][:, :d_head]


def the_packages_heads(x, w_q, w_k, w_v, w_o):
    w_in = jnp.stack([w_q, w_k, w_v], axis=1).transpose(2, 1, 0, 3)
    return Attention(Dense(w_in, w_o), Exact())(x)[0]


def heads_side_by_side(x, w_q, w_k, w_v, w_o):
    """Concatenated, and one tall matrix back."""
    q, k, v = (jnp.einsum("lm,hmd->hld", x, w) for w in (w_q, w_k, w_v))
    heads = jax.vmap(attention_in_jax)(q, k, v)
    return jnp.concatenate([*heads], axis=1) @ w_o.reshape(-1, w_o.shape[2])


def attention_in_jax(q, k, v):
    return attention.full_attention(q, k, v, causal=True)


def block_in_numpy(x, *weights):
    """float64, with the norm of numpy's own mean and variance."""
    return answers.two_branches(*(np.asarray(array, np.float64) for array in (x, *weights)))


RIGHT = [
    ("lstm", scanned_lstm),
    ("lstm", lstm_in_numpy),
    ("causal_attention", attention_in_loops),
    ("causal_attention", the_packages_attention),
    ("cross_attention", attention_to_words_alone),
    ("cross_attention", the_packages_cross_attention),
    ("multi_head", the_packages_heads),
    ("multi_head", heads_side_by_side),
    ("block", block_in_numpy),
]

PARTS = ("lstm", "causal_attention", "cross_attention", "multi_head", "block")
EXERCISE = Exercise(
    stem="01_from_rnns_to_transformers",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


# Special to this exercise.


def test_sequences_that_are_exchanged_are_met_with_the_shape_that_is_wanted():
    def from_source_to_x(x, source, key_mask, w_q, w_k, w_v):
        return jax.nn.softmax((source @ w_q) @ (x @ w_k).T) @ (x @ w_v)

    message = EXERCISE.said("cross_attention", from_source_to_x)
    assert "must have shape (1, 2)" in message
