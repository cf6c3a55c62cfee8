"""Exercise 04: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import memory
from efftx.check import chunking as check
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

ADDED = "(jax.nn.logsumexp(scores, axis=1) - chosen).sum()"
CUT = "x_i, g_i = x[start : start + chunk_len], g[start : start + chunk_len]"
SLIPS = [
    (
        "in_chunks",
        "every chunk were the first",
        {"layer(x[start : start + chunk_len])": "layer(x[: min(chunk_len, len(x) - start)])"},
    ),
    ("in_chunks", "wrong order", {"jnp.concatenate(chunks)": "jnp.concatenate(chunks[::-1])"}),
    (
        "in_chunks",
        "rows of zeros",
        {
            "layer(x[start": "layer(jnp.pad(x[:len(x) // chunk_len * chunk_len], "
            "[(0, -len(x) // chunk_len * -chunk_len), (0, 0)])[:len(x)][start"
        },
    ),
    (
        "gradients_in_chunks",
        "overwritten",
        {"+= x_i.T": "= x_i.T", "+= g_a.sum": "= g_a.sum", "+= jax.nn": "= jax.nn"},
    ),
    (
        "gradients_in_chunks",
        "averaged",
        {
            "return g_w1, g_b1, g_w2, jnp": "n = len(g_x)\n    "
            "return g_w1 / n, g_b1 / n, g_w2 / n, jnp"
        },
    ),
    (
        "gradients_in_chunks",
        "slope of the ReLU were forgotten",
        {"jnp.where(a > 0, g_i @ w2.T, 0)": "g_i @ w2.T"},
    ),
    (
        "gradients_in_chunks",
        "taken from the gradient",
        {"jnp.where(a > 0, g_i @ w2.T, 0)": "jax.nn.relu(g_i @ w2.T)"},
    ),
    ("gradients_in_chunks", "before the ReLU", {"jax.nn.relu(a).T": "a.T"}),
    ("gradients_in_chunks", "b1 were forgotten", {"x_i @ w1 + b1": "x_i @ w1"}),
    ("gradients_in_chunks", "x of the first chunk", {"x_i.T @ g_a": "x[: len(x_i)].T @ g_a"}),
    (
        "loss_in_chunks",
        "chunks' means",
        {ADDED: ADDED.replace(".sum()", ".mean()") + " * len(x) / -(-len(x) // chunk_len)"},
    ),
    (
        "loss_in_chunks",
        "means were added up",
        {ADDED: ADDED.replace(".sum()", ".mean()"), "total / len(x)": "total"},
    ),
    ("loss_in_chunks", "number of chunks", {"total / len(x)": "total / -(-len(x) // chunk_len)"}),
    ("loss_in_chunks", "never divided", {"total / len(x)": "total"}),
    (
        "loss_in_chunks",
        "targets were not cut",
        {"targets[start : start + chunk_len]": "targets[: len(scores)]"},
    ),
    ("loss_in_chunks", "sign were wrong", {"total / len(x)": "-total / len(x)"}),
    ("loss_in_chunks", "in bits", {"total / len(x)": "total / len(x) / jnp.log(2)"}),
    (
        "loss_in_chunks",
        "largest off first",
        {"jax.nn.logsumexp(scores, axis=1)": "jnp.log(jnp.exp(scores).sum(1))"},
    ),
    ("loss_in_chunks", "denominator", {"jax.nn.logsumexp(scores, axis=1) - chosen": "-chosen"}),
]


# Other ways to be right: numpy, the package, jax's own gradients.


def numpy_chunks(layer, x, chunk_len):
    x = np.asarray(x)
    pieces = np.split(x, range(chunk_len, len(x), chunk_len))
    return np.vstack([np.asarray(layer(piece)) for piece in pieces])


def one_by_one(layer, x, chunk_len):
    return jnp.stack([layer(row[None])[0] for row in x])


def package_chunks(layer, x, chunk_len):
    return memory.map_chunks(lambda _, x: layer(x), None, x, chunk_len=chunk_len)


def gradients_by_jax(w1, b1, w2, x, g, chunk_len):
    def layer(params, x):
        w1, b1, w2 = params
        return jax.nn.relu(x @ w1 + b1) @ w2

    def run(params, x):
        return memory.map_chunks(layer, params, x, chunk_len=chunk_len)

    g_params, g_x = jax.vjp(run, (w1, b1, w2), x)[1](g)
    return *g_params, g_x


def loss_by_package(w, x, targets, chunk_len):
    return memory.chunked_cross_entropy(
        lambda w, x: x @ w, w, x, targets, chunk_len=chunk_len
    ).mean()


def loss_in_numpy(w, x, targets, chunk_len):
    w, x = np.asarray(w, np.float64), np.asarray(x, np.float64)
    nats = [np.logaddexp.reduce(row @ w) - (row @ w)[t] for row, t in zip(x, targets, strict=True)]
    return np.mean(nats)


RIGHT = [
    ("in_chunks", numpy_chunks),
    ("in_chunks", one_by_one),
    ("in_chunks", package_chunks),
    ("gradients_in_chunks", gradients_by_jax),
    ("loss_in_chunks", loss_by_package),
    ("loss_in_chunks", loss_in_numpy),
]

PARTS = ("in_chunks", "gradients_in_chunks", "loss_in_chunks")
EXERCISE = Exercise(
    stem="04_chunking",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
)


# Special to this exercise.


def test_a_layer_that_is_given_too_much_says_so():
    with pytest.raises(ValueError, match="room for 2 positions at a time, and it was given 4") as e:
        check.in_chunks(lambda layer, x, chunk_len: layer(x))
    assert "a layer with room for 2 positions" in e.value.__notes__[0]


def test_rows_that_are_missing_are_a_matter_of_shape():
    def without_rest(layer, x, chunk_len):
        n_whole = max(1, len(x) // chunk_len)
        return jnp.concatenate([layer(x[i * chunk_len :][:chunk_len]) for i in range(n_whole)])

    said = EXERCISE.said("in_chunks", without_rest)
    assert "`out` must have shape (5, 3); got shape (4, 3)" in said
