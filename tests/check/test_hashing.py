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
        angle = np.arccos(np.clip(cosine, -1, 1))
        bin_of_pair = np.searchsorted(edges, angle, side="right") - 1
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
    ("rounds_needed", lambda p, target: -jnp.int32(jnp.log(1 - target) // -jnp.log(1 - p))),
    ("collisions_by_angle", pairs_in_loops),
    ("my_hash_vectors", attention.hash_vectors),
]

PARTS = ("hash_once", "combine_digits", "found_in_rounds", "rounds_needed", "collisions_by_angle")
EXERCISE = Exercise(
    stem="07_hashing",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
    together={"my_hash_vectors": check.my_hash_vectors},
)
said = EXERCISE.said


# Special to this exercise.


def test_a_slip_without_a_name_is_shown_an_example():
    message = said("hash_once", lambda x, R: jnp.zeros(len(x), int))
    assert "called with the smallest input that fails: x = [" in message
    assert "buckets[0]: got 0, expected 2" in message


def test_a_hash_of_the_wrong_shape_is_told_the_right_one():
    message = said("hash_once", lambda x, R: x @ R)
    assert "`buckets` must have shape (4,); got shape (4, 2)" in message
