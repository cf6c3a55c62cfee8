"""Exercise 10: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import sparsity
from efftx.check import sparse_feed_forward as check
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

CUT = "(x @ c1 @ c2).reshape(len(x), -1, n_units)"
HIGHEST = "highest = jnp.argmax(scores, axis=-1)"
JOINED = "jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)"
G_SCORES = "soft * (g - (soft * g).sum(axis=-1, keepdims=True))"
MASK = "mask = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), n_units)"
HIDDEN = "hidden = jax.nn.relu(x @ w1[:, at] + b1[at])"
SHARES = "jax.nn.one_hot(units, n_units).mean(axis=0)"
LOGS = "jnp.log(jnp.where(shares == 0, 1, shares))"
EFFECTIVE = "jnp.exp(-(shares * logs).sum(axis=-1))"
SLIPS = [
    (
        "units_that_are_on",
        "over the wrong axis",
        {
            HIGHEST: "highest = jnp.argmax(scores, axis=1)",
            JOINED: "jax.nn.one_hot(highest, scores.shape[1], axis=1, dtype=bool)"
            ".reshape(len(x), -1)",
        },
    ),
    (
        "units_that_are_on",
        "every n_blocks-th unit",
        {
            CUT: "(x @ c1 @ c2).reshape(len(x), n_units, -1)",
            HIGHEST: "highest = jnp.argmax(scores, axis=1)",
            JOINED: "jax.nn.one_hot(highest, n_units, axis=1, dtype=bool).reshape(len(x), -1)",
        },
    ),
    (
        "units_that_are_on",
        "only one of all units",
        {
            HIGHEST: "highest = jnp.argmax(scores.reshape(len(x), -1), axis=-1)",
            JOINED: "jax.nn.one_hot(highest, c2.shape[1], dtype=bool)",
        },
    ),
    (
        "units_that_are_on",
        "score above 0 were on",
        {JOINED: "(scores > 0).reshape(len(x), -1)"},
    ),
    (
        "units_that_are_on",
        "lowest score had won",
        {"jnp.argmax(scores, axis": "jnp.argmin(scores, axis"},
    ),
    ("units_that_are_on", "a ReLU stood", {CUT: f"jax.nn.relu{CUT}"}),
    ("units_that_are_on", "largest magnitude", {CUT: f"jnp.abs{CUT}"}),
    ("straight_through", "noise played no part", {"scores + noise": "scores"}),
    (
        "straight_through",
        "added to the probabilities",
        {"scores + noise": "jax.nn.softmax(scores, axis=-1) + noise"},
    ),
    ("straight_through", "were the soft one", {MASK: "mask = jax.nn.softmax(scores)"}),
    (
        "straight_through",
        "softmax of score + noise",
        {MASK: "mask = jax.nn.softmax(scores + noise)"},
    ),
    (
        "straight_through",
        "without the straight-through step",
        {G_SCORES: "mask * (g - (mask * g).sum(axis=-1, keepdims=True))"},
    ),
    ("straight_through", "passed on unchanged", {G_SCORES: "g"}),
    (
        "straight_through",
        "over all units of all blocks",
        {
            "jax.nn.softmax(scores, axis=-1)": "jax.nn.softmax(scores, axis=(0, 1))",
            G_SCORES: "soft * (g - (soft * g).sum())",
        },
    ),
    (
        "straight_through",
        "noise had got into",
        {"jax.nn.softmax(scores, axis=-1)": "jax.nn.softmax(scores + noise, axis=-1)"},
    ),
    ("straight_through", "sum were missing", {G_SCORES: "soft * g"}),
    ("straight_through", "its own score alone", {G_SCORES: "soft * (1 - soft) * g"}),
    ("straight_through", "taken of g and not", {G_SCORES: G_SCORES.replace("(soft * g)", "g")}),
    (
        "only_the_chosen",
        "multiplied by 0",
        {
            HIDDEN: "on = jnp.zeros_like(b1, bool).at[at].set(True)\n"
            "    hidden = jnp.where(on, jax.nn.relu(x @ w1 + b1), 0)",
            "hidden @ w2[at]": "hidden @ w2",
        },
    ),
    ("only_the_chosen", "rows of W1 were", {"x @ w1[:, at]": "w1[at] @ x"}),
    ("only_the_chosen", "columns of W2 were", {"hidden @ w2[at]": "w2[:, at] @ hidden"}),
    (
        "only_the_chosen",
        "within the blocks were taken",
        {"at = n_units * jnp.arange(n_blocks) + units": "at = units"},
    ),
    (
        "only_the_chosen",
        "in the wrong order",
        {"n_units * jnp.arange(n_blocks) + units": "jnp.arange(n_blocks) + n_blocks * units"},
    ),
    ("only_the_chosen", "b1 were forgotten", {" + b1[at]": ""}),
    ("only_the_chosen", "b1 were taken", {"b1[at]": "b1[units]"}),
    ("only_the_chosen", "b2 were forgotten", {" + b2\n": "\n"}),
    ("only_the_chosen", "ReLU were forgotten", {HIDDEN: "hidden = x @ w1[:, at] + b1[at]"}),
    ("load", "not divided", {SHARES: SHARES.replace("mean", "sum")}),
    ("load", "all choices of all blocks", {SHARES: f"{SHARES} / units.shape[1]"}),
    (
        "load",
        "thrown together",
        {SHARES: f"jnp.ones((units.shape[1], 1)) * {SHARES}.mean(axis=0)"},
    ),
    ("load", "which is nan", {LOGS: "jnp.log(shares)"}),
    ("load", "entropy were returned", {EFFECTIVE: "-(shares * logs).sum(axis=-1)"}),
    ("load", "sign of the entropy", {EFFECTIVE: EFFECTIVE.replace("-(", "(")}),
    ("load", "were in bits", {LOGS: LOGS.replace("jnp.log", "jnp.log2")}),
    ("load", "ever on", {EFFECTIVE: "(shares > 0).sum(axis=-1) * 1.0"}),
    ("load", "1 / Σ p²", {EFFECTIVE: "1 / (shares**2).sum(axis=-1)"}),
    (
        "load",
        "one number were made",
        {EFFECTIVE: "jnp.full(len(shares), jnp.exp(-(shares * logs).sum(axis=-1).mean()))"},
    ),
]


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
    ("load", load_in_numpy),
]

PARTS = ("units_that_are_on", "straight_through", "only_the_chosen", "load")
EXERCISE = Exercise(
    stem="10_sparse_feed_forward",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
    together={"my_sparse_layer": check.my_sparse_layer},
)


# Special to this exercise.


def test_units_cut_the_wrong_way_are_a_matter_of_shape():
    def wrong(units, n_units):
        shares = jax.nn.one_hot(units, n_units).mean(axis=1)
        return shares, jnp.ones(len(shares))

    assert "`shares` must have shape (2, 3); got shape (4, 3)" in EXERCISE.said("load", wrong)


def test_the_whole_layer_notices_a_part_that_is_wrong():
    names = EXERCISE.edited({"n_units * jnp.arange(n_blocks) + units": "units + 0 * n_units"})
    said = EXERCISE.said("my_sparse_layer", names["my_sparse_layer"])
    assert said.startswith("✗ my_sparse_layer is not right yet.")
