"""Exercise 07: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import hashing as check
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

BOTH = "jnp.concatenate([rotated, -rotated], axis=-1)"
LOGS = "jnp.log(1 - target) / jnp.log(1 - p)"
MET = "(buckets[:, first] == buckets[:, second]).mean(axis=0)"
SLIPS = [
    ("hash_once", "negative half were missing", {BOTH: "rotated"}),
    ("hash_once", "opposite to its own", {"[rotated, -rotated]": "[-rotated, rotated]"}),
    ("hash_once", "opposite to its own", {"jnp.argmax": "jnp.argmin"}),
    ("hash_once", "sign were dropped", {BOTH: "abs(rotated)"}),
    ("hash_once", "R were transposed", {"x @ R": "x @ R.T"}),
    ("hash_once", "over the vectors", {"axis=-1)\n": "axis=0)\n"}),
    (
        "hash_once",
        "by distance",
        {"x @ R": "x @ R - (R**2).sum(0) / 2", "-rotated": "-x @ R - (R**2).sum(0) / 2"},
    ),
    (
        "hash_once",
        "columns of R were normalised",
        {"x @ R": "x @ (R / jnp.linalg.norm(R, axis=0))"},
    ),
    ("combine_digits", "wrong order", {"zip(digits, radices,": "zip(digits[::-1], radices[::-1],"}),
    ("combine_digits", "digits were added", {"buckets * radix + digit": "buckets + digit"}),
    (
        "combine_digits",
        "its own radix",
        {
            "buckets * radix + digit": "(buckets + digit) * radix",
            "return buckets\n": "return (buckets - digit * radix) // radix + digit\n",
        },
    ),
    ("combine_digits", "the first radix in every", {"buckets * radix": "buckets * radices[0]"}),
    ("combine_digits", "the last radix in every", {"buckets * radix": "buckets * radices[-1]"}),
    ("combine_digits", "base: 10", {"buckets * radix": "buckets * 10"}),
    ("combine_digits", "moved up as well", {"return buckets\n": "return buckets * radix\n"}),
    ("combine_digits", "only the last digit", {"buckets * radix + digit": "digit"}),
    ("found_in_rounds", "p times the rounds. That", {"1 - (1 - p) ** n_hashes": "p * n_hashes"}),
    (
        "found_in_rounds",
        "cut off at 1",
        {"1 - (1 - p) ** n_hashes": "jnp.clip(p * n_hashes, 0, 1)"},
    ),
    ("found_in_rounds", "every round finds", {"1 - (1 - p) ** n_hashes": "p**n_hashes"}),
    ("found_in_rounds", "no round finds", {"1 - (1 - p)": "(1 - p)"}),
    ("found_in_rounds", "lost only if every round", {"(1 - p) **": "p **"}),
    ("rounds_needed", "rounded down", {"jnp.ceil": "jnp.floor"}),
    ("rounds_needed", "rounded to the nearest", {"jnp.ceil": "jnp.round"}),
    ("rounds_needed", "do not add up", {LOGS: "target / p"}),
    ("rounds_needed", "all find the pair", {LOGS: "jnp.log(target) / jnp.log(p)"}),
    ("rounds_needed", "upside down", {LOGS: "jnp.log(1 - p) / jnp.log(1 - target)"}),
    ("rounds_needed", "one round too many", {LOGS: f"1 + {LOGS}"}),
    ("collisions_by_angle", "with itself too", {"len(x), 1)": "len(x), 0)"}),
    (
        "collisions_by_angle",
        "counted twice",
        {"np.triu_indices(len(x), 1)": "jnp.nonzero(~jnp.eye(len(x), dtype=bool))"},
    ),
    ("collisions_by_angle", "at least one round", {MET: MET.replace("mean", "any")}),
    ("collisions_by_angle", "in every round", {MET: MET.replace("mean", "all")}),
    ("collisions_by_angle", "were added up", {MET: MET.replace("mean", "sum")}),
    (
        "collisions_by_angle",
        "only the first round",
        {MET: "buckets[0, first] == buckets[0, second]"},
    ),
    ("collisions_by_angle", "averaged over the rounds", {" / n_pairs": ""}),
    ("collisions_by_angle", "number of all pairs", {" / n_pairs": " / len(first)"}),
    ("collisions_by_angle", "the cosines", {"jnp.arccos(": "("}),
    (
        "collisions_by_angle",
        "cut off at -1 and 1",
        {" / jnp.linalg.norm(x, axis=-1, keepdims=True)": ""},
    ),
    ("collisions_by_angle", "in degrees", {"jnp.arccos(": "180 / jnp.pi * jnp.arccos("}),
]


# Other ways to be right: numpy, loops, other formulas, under jit.


def hash_in_loops(x, R):
    ends = np.concatenate([np.asarray(R).T, -np.asarray(R).T])
    return np.array([max(range(len(ends)), key=lambda i: ends[i] @ vector) for vector in x])


def hash_by_magnitude(x, R):
    """The axis first, then its sign."""
    rotated = x @ R
    axis = jnp.abs(rotated).argmax(-1)
    along = jnp.take_along_axis(rotated, axis[:, None], axis=-1)[:, 0]
    return axis + R.shape[1] * (along < 0)


def digits_by_places(digits, radices):
    places = [math.prod(radices[k + 1 :].tolist()) for k in range(len(radices))]
    return jnp.array(places) @ digits


def digits_by_numpy(digits, radices):
    return np.ravel_multi_index(tuple(np.asarray(digits)), tuple(np.asarray(radices)))


def chance_in_a_loop(p, n_hashes):
    missed = 1.0
    for _ in range(n_hashes):
        missed = missed * (1 - p)
    return 1 - missed


def rounds_by_trying(p, target):
    def fewest(p, target):
        return next(r for r in itertools.count(1) if 1 - (1 - p) ** r >= target)

    return np.array([fewest(*pair) for pair in zip(p.tolist(), target.tolist(), strict=True)])


def pairs_in_loops(x, buckets, edges):
    n_pairs, met = np.zeros(len(edges) - 1, int), np.zeros(len(edges) - 1)
    for i, j in itertools.combinations(range(len(x)), 2):
        cosine = x[i] @ x[j] / jnp.linalg.norm(x[i]) / jnp.linalg.norm(x[j])
        bin_of_pair = np.searchsorted(edges, np.arccos(cosine)) - 1
        n_pairs[bin_of_pair] += 1
        met[bin_of_pair] += np.mean(np.asarray(buckets[:, i] == buckets[:, j]))
    return n_pairs, met / n_pairs


RIGHT = [
    ("hash_once", hash_in_loops),
    ("hash_once", hash_by_magnitude),
    ("hash_once", lambda x, R: attention.hash_vectors(x, (R[None],))[0]),
    ("combine_digits", digits_by_places),
    ("combine_digits", digits_by_numpy),
    ("found_in_rounds", chance_in_a_loop),
    ("found_in_rounds", jax.jit(lambda p, n: -jnp.expm1(n * jnp.log1p(-p)))),
    ("rounds_needed", rounds_by_trying),
    ("rounds_needed", lambda p, target: 1 + jnp.int32(jnp.log(1 - target) / jnp.log(1 - p))),
    ("collisions_by_angle", pairs_in_loops),
    ("my_hash_vectors", attention.hash_vectors),
]

PARTS = ("hash_once", "combine_digits", "found_in_rounds", "rounds_needed", "collisions_by_angle")
EXERCISE = Exercise(
    stem="07_hashing",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
    together={"my_hash_vectors": check.my_hash_vectors},
)
said = EXERCISE.said


# Special to this exercise.


def test_a_slip_without_a_name_is_shown_an_example():
    message = said("hash_once", lambda x, R: jnp.zeros(len(x), int))
    assert "The smallest input that fails: x = [" in message
    assert "buckets[0]: got 0, expected 2" in message


def test_a_hash_of_the_wrong_shape_is_told_the_right_one():
    message = said("hash_once", lambda x, R: x @ R)
    assert "`buckets` must have shape (4,); got shape (4, 2)" in message
