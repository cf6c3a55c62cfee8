"""Exercise 06: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import attention_is_sparse as check
from tests.check.exercise import Exercise
from tests.check.sources import run

# What learners do: the solution with a line or two changed, and words that the message must hold.

SORTED = "jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)"
SUMS = "shrink * total + p.sum(axis=-1), shrink[:, None] * weighted + p @ v"
SHRINK = "jnp.exp(maximum - new_maximum)"
LARGER = "jnp.maximum(maximum, scores.max(axis=-1))"
P = "jnp.exp(scores - new_maximum[:, None])"
COUNT = "jnp.minimum((block + 1) * block_len, length)"
VISIT = "range(0, start + block_len, block_len)"
MASK = "key[None, :] <= query[:, None]"
SLIPS = [
    ("top_mass", "the k largest. Sort each row", {SORTED: "weights[:, :k].sum(axis=-1)"}),
    ("top_mass", "k smallest", {"[:, -k:]": "[:, :k]"}),
    ("top_mass", "columns were sorted", {"weights, axis=-1": "weights, axis=0"}),
    ("top_mass", "one number for each row", {SORTED: "jnp.sort(weights, axis=0)[-k:].sum(axis=0)"}),
    ("top_mass", "k-th largest weight alone", {SORTED: "jnp.sort(weights, axis=-1)[:, -k]"}),
    ("top_mass", "k + 1 weights", {"[:, -k:]": "[:, -k - 1:]"}),
    ("top_mass", "k - 1 weights", {"[:, -k:]": "[:, len(weights) - k + 1:]"}),
    ("top_mass", "their sum", {"[:, -k:].sum": "[:, -k:].mean"}),
    (
        "top_mass",
        "several are equal",
        {SORTED: "(weights * (weights >= jnp.sort(weights)[:, -k, None])).sum(axis=-1)"},
    ),
    (
        "top_mass",
        "most recent",
        {SORTED: "(weights * (1 - jnp.tri(len(weights), k=-k))).sum(axis=-1)"},
    ),
    ("add_keys", "multiply both by", {SHRINK: "jnp.ones_like(maximum)"}),
    ("add_keys", "`weighted` were added as it is", {"shrink[:, None] * weighted": "weighted"}),
    ("add_keys", "`total` were added as it is", {"shrink * total": "total"}),
    ("add_keys", "sign is the other way", {SHRINK: "jnp.exp(new_maximum - maximum)"}),
    ("add_keys", "new scores alone", {LARGER: "scores.max(axis=-1)"}),
    ("add_keys", "the old maximum stayed", {LARGER: "maximum"}),
    ("add_keys", "shared one maximum", {LARGER: "jnp.maximum(maximum, scores.max())"}),
    ("add_keys", "their own largest", {P: "jnp.exp(scores - scores.max(axis=-1)[:, None])"}),
    ("add_keys", "exp overflows", {P: "jnp.exp(scores)"}),
    ("add_keys", "played no part", {P: "jnp.exp(scores)", SHRINK: "jnp.ones_like(maximum)"}),
    ("add_keys", "forgotten", {SUMS: "p.sum(axis=-1), p @ v"}),
    (
        "add_keys",
        "divided already",
        {SUMS: SUMS.replace("shrink[", "(shrink[") + ") / (shrink * total + p.sum(-1))[:, None]"},
    ),
    ("keys_compared", "only the allowed keys", {COUNT: "jnp.arange(length) + 1"}),
    ("keys_compared", "with all keys", {COUNT: "jnp.full(length, length)"}),
    ("keys_compared", "own block were left out", {COUNT: "block * block_len"}),
    ("keys_compared", "Count keys", {COUNT: "block + 1"}),
    ("keys_compared", "always full", {COUNT: "(block + 1) * block_len"}),
    (
        "keys_compared",
        "first place of its block",
        {COUNT: "jnp.minimum(-(-jnp.arange(length) // block_len) * block_len, length)"},
    ),
    (
        "keys_compared",
        "round up",
        {COUNT: "(jnp.arange(length) + 1) // block_len * block_len"},
    ),
    ("blocked_causal_attention", "0 times nan is nan", {VISIT: "range(0, length, block_len)"}),
    (
        "blocked_causal_attention",
        "mask were missing altogether",
        {VISIT: "range(0, length, block_len)", MASK: "True"},
    ),
    ("blocked_causal_attention", "diagonal were not masked", {MASK: "True"}),
    ("blocked_causal_attention", "diagonal were skipped", {VISIT: "range(0, start, block_len)"}),
    ("blocked_causal_attention", "might not look at itself", {MASK: MASK.replace("<=", "<")}),
    (
        "blocked_causal_attention",
        "places inside the blocks",
        {MASK: "key[None, :] - first <= query[:, None] - start"},
    ),
    ("blocked_causal_attention", "divided by √d", {" / jnp.sqrt(d_head)": ""}),
    (
        "blocked_causal_attention",
        "only the query's own block",
        {"= add_keys(maximum, total": "= add_keys(maximum - jnp.inf, 0 * total"},
    ),
    ("blocked_causal_attention", "were not divided", {"weighted / total[:, None]": "weighted"}),
]


# Other ways to be right: numpy, float64, loops, other formulas, under jit.


def mass_by_jax_top_k(weights, k):
    return jax.lax.top_k(weights, k)[0].sum(axis=-1)


def mass_in_loops(weights, k):
    return np.array([sum(sorted(map(float, row), reverse=True)[:k]) for row in weights])


def add_by_logsumexp(maximum, total, weighted, scores, v):
    """Everything relative to 1, in float64, where that fits."""
    maximum, total, weighted, scores, v = (
        np.asarray(x, np.longdouble) for x in (maximum, total, weighted, scores, v)
    )
    largest = np.maximum(maximum, scores.max(-1))
    p = np.exp(scores - largest[:, None])
    old = np.exp(maximum - largest)
    result = largest, old * total + p.sum(-1), old[:, None] * weighted + p @ v
    return tuple(x.astype(float) for x in result)


def add_one_key_at_a_time(maximum, total, weighted, scores, v):
    for s, value in zip(scores.T, v, strict=True):
        new = jnp.maximum(maximum, s)
        old, mine = jnp.exp(maximum - new), jnp.exp(s - new)
        total = old * total + mine
        weighted = old[:, None] * weighted + mine[:, None] * value
        maximum = new
    return maximum, total, weighted


def count_by_looking(length, block_len):
    blocks = np.arange(length) // block_len
    return (blocks <= blocks[:, None]).sum(axis=1)


def count_in_a_list(length, block_len):
    return jnp.array([min(length, i - i % block_len + block_len) for i in range(length)])


def growing_prefix(q, k, v, block_len):
    """A softmax over the whole prefix of each block: exact, skips, but holds more scores."""
    outs = []
    for start in range(0, len(q), block_len):
        end = start + block_len
        scores = q[start:end] @ k[:end].T / jnp.sqrt(q.shape[1])
        allowed = jnp.arange(end) <= jnp.arange(start, end)[:, None]
        outs.append(jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf)) @ v[:end])
    return jnp.concatenate(outs)


def the_packages(q, k, v, block_len):
    return attention.blocked_attention(q, k, v, causal=True, block_len=block_len)


RIGHT = [
    ("top_mass", mass_by_jax_top_k),
    ("top_mass", mass_in_loops),
    ("top_mass", jax.jit(mass_by_jax_top_k, static_argnums=1)),
    ("add_keys", add_by_logsumexp),
    ("add_keys", add_one_key_at_a_time),
    ("keys_compared", count_by_looking),
    ("keys_compared", count_in_a_list),
    ("blocked_causal_attention", growing_prefix),
    ("blocked_causal_attention", the_packages),
]

PARTS = ("top_mass", "add_keys", "keys_compared", "blocked_causal_attention")
EXERCISE = Exercise(
    stem="06_attention_is_sparse",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
)
said = EXERCISE.said


# Special to this exercise.


def test_a_stub_that_is_called_is_named():
    names = run(EXERCISE.solution)
    names["add_keys"] = EXERCISE.untouched["add_keys"]
    message = said("blocked_causal_attention", names["blocked_causal_attention"])
    assert message.startswith("blocked_causal_attention calls add_keys, which is not written yet.")


def test_sums_that_are_never_reset_are_recognised():
    solved = EXERCISE.solution
    start = solved.index("    for start in range(0, length, block_len):")
    reset = solved[solved.index("        maximum = jnp.full(") : solved.index("        query = ")]
    outside = reset.replace("        ", "    ")
    code = solved[:start] + outside + solved[start:].replace(reset, "")
    message = said("blocked_causal_attention", run(code)["blocked_causal_attention"])
    assert "Each starts anew" in message


def test_a_slip_without_a_name_is_shown_an_example():
    message = said("top_mass", lambda weights, k: jnp.ones(len(weights)) / 7)
    assert "The smallest input that fails: weights = [" in message
    assert "mass[0]: got 0.14286, expected 1" in message


def test_masking_the_whole_matrix_is_not_skipping():
    message = said(
        "blocked_causal_attention",
        lambda q, k, v, block_len: attention.full_attention(q, k, v, causal=True),
    )
    assert "Skip them" in message
