"""Exercise 10: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import sparsity
from efftx.check import sparse_feed_forward as check
from tests.check.exercise import Exercise

# Other ways to be right: numpy, the package, jax's own gradients.


def on_by_package(x, c1, c2, n_units):
    scores = sparsity.controller_scores(x, c1, c2.reshape(len(c2), -1, n_units))
    mask, _ = sparsity.sparsity_mask(scores)
    return mask.reshape(len(x), -1) == 1


def on_in_numpy(x, c1, c2, n_units):
    scores = np.asarray(x @ c1 @ c2)
    on = np.zeros(scores.shape, bool)
    for start in range(0, scores.shape[1], n_units):
        highest = scores[:, start : start + n_units].argmax(1)
        on[np.arange(len(scores)), start + highest] = True
    return on


def through_by_jax(scores, noise, g):
    def mask_of(scores):
        soft = jax.nn.softmax(scores)
        hard = jax.nn.one_hot(jnp.argmax(soft * jnp.exp(noise), axis=-1), scores.shape[-1])
        return hard + (soft - jax.lax.stop_gradient(soft))

    mask, pull_back = jax.vjp(mask_of, scores)
    return mask, pull_back(g)[0]


def through_by_jacobian(scores, noise, g):
    one = jax.vmap(lambda scores, g: g @ jax.jacobian(jax.nn.softmax)(scores))
    return 1.0 * (scores + noise == (scores + noise).max(-1, keepdims=True)), one(scores, g)


def chosen_by_package(x, units, w1, b1, w2, b2):
    blocks = len(units), len(b1) // len(units)
    w1, w2 = w1.T.reshape(*blocks, -1), w2.reshape(*blocks, -1)
    return sparsity.gathered_feed_forward(x[None], units[None], w1, b1.reshape(blocks), w2, b2)[0]


def chosen_one_by_one(x, units, w1, b1, w2, b2):
    y, n_units = b2, len(b1) // len(units)
    for block, unit in enumerate(units):
        i = block * n_units + unit
        y = y + max(0, x @ w1[:, i] + b1[i]) * w2[i]
    return y


def chosen_in_a_loop(x, units, w1, b1, w2, b2):
    def add(y, i):
        return y + jax.nn.relu(x @ w1[:, i] + b1[i]) * w2[i], None

    at = len(b1) // len(units) * jnp.arange(len(units)) + units
    return jax.lax.scan(add, b2, at)[0]


def chosen_in_numpy(x, units, w1, b1, w2, b2):
    at = len(b1) // len(units) * np.arange(len(units)) + np.asarray(units)
    return (np.maximum(x @ w1[:, at] + b1[at], 0) @ w2[at] + b2).tolist()


def load_in_numpy(units, n_units):
    shares, effective = [], []
    for block in np.asarray(units).T:
        p = np.bincount(block, minlength=n_units) / len(block)
        shares.append(p)
        effective.append(2 ** -sum(q * np.log2(q) for q in p if q > 0))
    return np.array(shares), np.array(effective)


RIGHT = [
    ("units_that_are_on", on_by_package),
    ("units_that_are_on", on_in_numpy),
    ("straight_through", through_by_jax),
    ("straight_through", through_by_jacobian),
    ("only_the_chosen", chosen_by_package),
    ("only_the_chosen", chosen_one_by_one),
    ("only_the_chosen", chosen_in_a_loop),
    ("only_the_chosen", chosen_in_numpy),
    ("load", load_in_numpy),
]

PARTS = ("units_that_are_on", "straight_through", "only_the_chosen", "load")
EXERCISE = Exercise(
    stem="10_sparse_feed_forward",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
    together={"my_sparse_layer": check.my_sparse_layer},
)


# Special to this exercise.


def on_among_all(units, b1):
    at = len(b1) // len(units) * jnp.arange(len(units)) + units
    return (jnp.arange(len(b1))[:, None] == at).any(axis=1)


def hides_the_others(x, units, w1, b1, w2, b2):
    on = on_among_all(units, b1)
    hidden = jnp.where(on, jax.nn.relu(x @ w1 + b1), 0)
    return hidden @ jnp.where(on[:, None], w2, 0) + b2


def clears_the_others(x, units, w1, b1, w2, b2):
    on = on_among_all(units, b1)
    w1, b1, w2 = map(jnp.nan_to_num, (w1, b1, w2))
    return (jax.nn.relu(x @ w1 + b1) * on) @ w2 + b2


def gathers_w1_alone(x, units, w1, b1, w2, b2):
    at = jnp.flatnonzero(on_among_all(units, b1), size=len(units))
    hidden = jnp.zeros_like(b1).at[at].set(jax.nn.relu(x @ w1[:, at] + b1[at]))
    return hidden @ jnp.nan_to_num(w2) + b2


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (hides_the_others, "384 numbers of `w1`, of which 24"),
        (clears_the_others, "1152 numbers of `w1`, of which 24"),
        (gathers_w1_alone, "1152 numbers of `w2`, of which 24"),
    ],
)
def test_who_reads_all_weights_is_told_how_many(answer, read):
    said = EXERCISE.said("only_the_chosen", answer)
    assert said.startswith("✗ only_the_chosen returns the right values. But: With 4 of 64 units on")
    assert read in said


def test_units_cut_the_wrong_way_are_a_matter_of_shape():
    def wrong(units, n_units):
        shares = jax.nn.one_hot(units, n_units).mean(axis=1)
        return shares, jnp.ones(len(shares))

    assert "`shares` must have shape (2, 3); got shape (4, 3)" in EXERCISE.said("load", wrong)


def test_the_whole_layer_notices_a_part_that_is_wrong():
    names = EXERCISE.edited({"n_units * jnp.arange(n_blocks) + units": "units + 0 * n_units"})
    said = EXERCISE.said("my_sparse_layer", names["my_sparse_layer"])
    assert said.startswith("✗ my_sparse_layer is not right yet.")
