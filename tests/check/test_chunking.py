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


def gradients_from_a_list(w1, b1, w2, x, g, chunk_len):
    """No array is longer than a chunk; but the insides of all chunks wait in a list."""
    starts = range(0, len(x), chunk_len)
    x_g = [(x[i : i + chunk_len], g[i : i + chunk_len]) for i in starts]
    insides = [x_i @ w1 + b1 for x_i, _ in x_g]
    g_insides = [jnp.where(a > 0, g_i @ w2.T, 0) for a, (_, g_i) in zip(insides, x_g, strict=True)]
    g_w1 = sum(x_i.T @ g_a for (x_i, _), g_a in zip(x_g, g_insides, strict=True))
    g_w2 = sum(jax.nn.relu(a).T @ g_i for a, (_, g_i) in zip(insides, x_g, strict=True))
    return (
        g_w1,
        sum(a.sum(0) for a in g_insides),
        g_w2,
        jnp.concatenate([g_a @ w1.T for g_a in g_insides]),
    )


def gradients_of_the_whole(w1, b1, w2, x, g, chunk_len):
    return jax.vjp(
        lambda *given: jax.nn.relu(given[3] @ given[0] + given[1]) @ given[2], w1, b1, w2, x
    )[1](g)


def loss_from_a_list(w, x, targets, chunk_len):
    starts = range(0, len(x), chunk_len)
    scores = [x[i : i + chunk_len] @ w for i in starts]
    chosen = [
        s[jnp.arange(len(s)), targets[i:][: len(s)]] for i, s in zip(starts, scores, strict=True)
    ]
    return sum(
        (jax.nn.logsumexp(s, 1) - c).sum() for s, c in zip(scores, chosen, strict=True)
    ) / len(x)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("gradients_in_chunks", gradients_of_the_whole),
        ("gradients_in_chunks", gradients_from_a_list),
        ("loss_in_chunks", loss_from_a_list),
    ],
)
def test_what_is_there_all_at_once_is_counted(name, answer):
    said = EXERCISE.said(name, answer)
    assert said.startswith(f"✗ {name} returns the right values. But: with 480 positions in chunks")
