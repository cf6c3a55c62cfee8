"""Exercise 09: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import reformer as check
from efftx.memory import reversible_stack
from efftx.models import caches
from efftx.models.positions import AxialPositions
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

ROWS = "return first[i // n2] + second[i % n2]"
ATTEND = "block.attention(x, buckets)[0], x2)"
FILLED = "jnp.arange(len(cached)) < n_read"
SCORES = "jnp.where(reached, keys @ q, -jnp.inf)"
SLIPS = [
    (
        "axial_rows",
        "factors were exchanged",
        {"n2 = len(second)": "n1 = len(first)", ROWS: "return first[i % n1] + second[i // n1]"},
    ),
    (
        "axial_rows",
        "number of rows of `first`",
        {ROWS: "return first[i // len(first)] + second[i % n2]"},
    ),
    (
        "axial_rows",
        "n1 were used twice",
        {
            "n2 = len(second)": "n1, n2 = len(first), len(second)",
            ROWS: "return first[i // n1] + second[i % n1]",
        },
    ),
    ("axial_rows", "read with a rest", {ROWS: "return first[i % len(first)] + second[i % n2]"}),
    ("axial_rows", "counted from 1", {"n2 = len(second)": "n2, i = len(second), i + 1"}),
    ("axial_rows", "only `first`", {ROWS: "return first[i // n2]"}),
    ("axial_rows", "only `second`", {ROWS: "return second[i % n2]"}),
    ("axial_rows", "multiplied", {ROWS: ROWS.replace("+", "*")}),
    ("block_backward", "chosen anew", {ATTEND: "block.attention(x)[0], x2)"}),
    (
        "block_backward",
        "gradients were taken with buckets",
        {
            "    y, pull_back = jax.vjp(lambda x: "
            + ATTEND: "    y = block.attention(x2, buckets)[0]\n"
            "    pull_back = jax.vjp(lambda x: block.attention(x)[0], x2)[1]"
        },
    ),
    ("block_backward", "branches were added", {"y2 - y": "y2 + y", "y1 - y": "y1 + y"}),
    ("block_backward", "given y2", {ATTEND: ATTEND.replace("x2)", "y2)")}),
    ("block_backward", "g2 were forgotten", {"g2 + pull_back(g_y1)": "pull_back(g_y1)"}),
    ("block_backward", "share were missing", {"g1 + pull_back(g2)[0]": "g1"}),
    ("block_backward", "g1 alone", {"g2 + pull_back(g_y1)": "g2 + pull_back(g1)"}),
    (
        "block_backward",
        "minus sign",
        {
            "g1 + pull_back(g2)": "g1 - pull_back(g2)",
            "g2 + pull_back(g_y1)": "g2 - pull_back(g_y1)",
        },
    ),
    ("candidates", "in every round", {".any(axis=1)": ".all(axis=1)"}),
    ("candidates", "empty slots", {"shares_a_bucket & is_filled": "shares_a_bucket"}),
    ("candidates", "one slot too many", {FILLED: FILLED.replace("<", "<=")}),
    ("candidates", "newest key", {FILLED: FILLED.replace("n_read", "n_read - 1")}),
    ("candidates", "first round", {".any(axis=1)": "[:, 0]"}),
    ("candidates", "last round", {".any(axis=1)": "[:, -1]"}),
    (
        "candidates",
        "different rounds",
        {"(cached == buckets).any(axis=1)": "jnp.isin(cached, buckets).any(axis=1)"},
    ),
    ("candidates", "cancelled itself", {".any(axis=1)": ".sum(axis=1) % 2 == 1"}),
    ("look_up", "got nan", {"    if not reached.any():\n        return v\n": ""}),
    ("look_up", "got zeros", {"        return v\n": "        return jnp.zeros_like(v)\n"}),
    (
        "look_up",
        "mean of all values",
        {
            "    if not reached.any():\n        return v\n": "",
            SCORES: "jnp.where(reached, keys @ q, -1e9)",
        },
    ),
    ("look_up", "were ignored", {SCORES: "keys @ q"}),
    ("look_up", "score 0", {"-jnp.inf": "0"}),
    (
        "look_up",
        "always attended to itself",
        {
            "keys @ q, -jnp.inf)": "keys @ q, -jnp.inf)\n"
            "    scores = jnp.append(scores, jnp.linalg.norm(q))\n"
            "    values = jnp.concatenate([values, v[None]])"
        },
    ),
    ("look_up", "were normalised", {"keys @ q": "keys @ q / jnp.linalg.norm(q)"}),
    ("look_up", "divided by √d", {"keys @ q": "keys @ q / len(q) ** 0.5"}),
    ("look_up", "add up to 1", {"jax.nn.softmax(scores)": "jnp.exp(scores)"}),
]


# Other ways to be right: numpy, the package, jax's own gradients.


def packages_rows(first, second, i):
    return AxialPositions(first, second)[i]


def whole_table(first, second, i):
    table = np.asarray(first)[:, None] + np.asarray(second)
    return table.reshape(-1, table.shape[-1])[np.asarray(i)]


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
    """One head; the slots are those before the query's own, which stands in a last one."""
    own = len(keys)
    keys, values = (jnp.pad(x, ((0, 1), (0, 0)))[None] for x in (keys, values))
    reached = jnp.pad(reached, (0, 1))[None]
    return caches.look_up((q[None, None], v[None, None]), keys, values, jnp.int32(own), reached)[
        0, 0
    ]


def among_those_reached(q, v, keys, values, reached):
    if not reached.any():
        return v
    keys, values = np.asarray(keys)[reached], np.asarray(values)[reached]
    weights = np.exp(keys @ np.asarray(q))
    return weights / weights.sum() @ values


RIGHT = [
    ("axial_rows", packages_rows),
    ("axial_rows", whole_table),
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
    slips=SLIPS,
    right=RIGHT,
    together={"my_decoding": check.my_decoding},
)


# Special to this exercise.


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
