"""Exercise 09: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import reformer as check
from efftx.memory import reversible_stack
from efftx.models import Shared
from efftx.models.positions import AxialPositions
from tests.check.exercise import Exercise

# Other ways to be right: numpy, the package, jax's own gradients.


def packages_rows(first, second, i):
    return AxialPositions(first, second)[i]


def rows_one_by_one(first, second, i):
    pairs = (divmod(one, len(second)) for one in i.tolist())
    return [first[line] + second[column] for line, column in pairs]


def rows_in_numpy(first, second, i):
    line, column = np.divmod(np.asarray(i), len(second))
    return np.asarray(first)[line] + np.asarray(second)[column]


def gradients_of_the_stack(block, y1, y2, buckets, g1, g2):
    """Both branches as one layer of the package's stack, after rebuilding what went in."""

    def attention(_, x, key, extra, replay=None):
        return block.attention(x, buckets)[0], None

    def feed_forward(_, x, key, extra, replay=None):
        return block.feed_forward(x), None

    def run(x1, x2):
        return reversible_stack((attention, feed_forward), (jnp.zeros(1),) * 2, x1, x2)

    x2 = y2 - block.feed_forward(y1)
    x1 = y1 - block.attention(x2, buckets)[0]
    return x1, x2, *jax.vjp(run, x1, x2)[1]((jnp.asarray(g1), jnp.asarray(g2)))


def one_slot_at_a_time(cached, buckets, n_read):
    pairs = enumerate(np.asarray(cached))
    return np.array([i < n_read and bool((row == np.asarray(buckets)).any()) for i, row in pairs])


def only_the_filled(cached, buckets, n_read):
    """A slice of the filled ones, filled up again."""
    found = (cached[:n_read] == buckets).any(1)
    return jnp.pad(found, (0, len(cached) - n_read))


def packages_look_up(q, v, keys, values, reached):
    return Shared().look_up((q[None], v[None]), (keys, values), reached)[0]


def among_those_reached(q, v, keys, values, reached):
    if not reached.any():
        return v
    keys, values = np.asarray(keys)[reached], np.asarray(values)[reached]
    scores = keys @ np.asarray(q)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ values


RIGHT = [
    ("axial_rows", packages_rows),
    ("axial_rows", rows_one_by_one),
    ("axial_rows", rows_in_numpy),
    ("block_backward", gradients_of_the_stack),
    ("candidates", one_slot_at_a_time),
    ("candidates", only_the_filled),
    ("candidates", jax.jit(lambda c, b, n: (c == b).any(1) & (jnp.arange(len(c)) < n))),
    ("look_up", packages_look_up),
    ("look_up", among_those_reached),
]

# my_decoding calls the first of them.
PARTS = ("candidates", "look_up", "axial_rows", "block_backward")
EXERCISE = Exercise(
    stem="09_reformer",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
    together={"my_decoding": check.my_decoding},
)


# Special to this exercise.


def table_of_jax(first, second, i):
    return (first[:, None] + second).reshape(-1, first.shape[1])[i]


def table_of_numpy(first, second, i):
    return table_of_jax(*map(np.asarray, (first, second, i)))


def table_in_a_loop(first, second, i):
    row = lambda k: first[k // len(second)] + second[k % len(second)]  # noqa: E731
    return jax.lax.map(row, jnp.arange(len(first) * len(second)))[i]


@pytest.mark.parametrize("answer", [table_of_jax, table_of_numpy, table_in_a_loop])
def test_who_builds_the_whole_table_is_told(answer):
    said = EXERCISE.said("axial_rows", answer)
    assert said.startswith("✗ axial_rows returns the right values. But: For 3 of 2,000 positions")


def test_some_buckets_would_turn_round():
    """Else an answer that hashes anew would pass."""
    turned = [
        (np.asarray(block.attention(x2)[1]) != buckets).any()
        for case in check.block_backward.cases(np.random.default_rng(8))
        for block, buckets in [(case["block"], case["buckets"])]
        for _, x2, _, _ in [check.block_backward.right(*case.values())]
    ]
    assert sum(turned) >= 2


def test_a_block_prints_as_what_it_is():
    said = EXERCISE.said("block_backward", lambda block, y1, y2, buckets, g1, g2: (y1,) * 4)
    assert "a block with .attention(x, buckets) and .feed_forward(x)" in said


@pytest.mark.parametrize("part", ["candidates", "look_up"])
def test_a_wrong_part_shows_in_the_whole(part):
    edits = {
        "candidates": {".any(axis=1)": ".all(axis=1)"},
        "look_up": {"        return v\n": "        return jnp.zeros_like(v)\n"},
    }
    decode = EXERCISE.edited(edits[part])["my_decoding"]
    assert "my_decoding is not right yet" in EXERCISE.said("my_decoding", decode)
