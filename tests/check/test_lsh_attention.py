"""Exercise 08: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import lsh_attention as check
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

ALL_Q_K = "q @ keys.T - discount"
OUT = "jnp.exp(scores - lse[:, None]) @ v, lse"
DIAGONAL = "jnp.where(itself, -1000.0, scores)"
WEIGHTS = "jax.nn.softmax(lses, axis=0)"
SLIPS = [
    ("sort_and_undo", "descending", {"stable=True": "stable=True, descending=True"}),
    ("sort_and_undo", "`order` once more", {"return order, slot": "return order, order"}),
    ("sort_and_undo", "exchanged", {"return order, slot": "return slot, order"}),
    ("sort_and_undo", "from 1", {"jnp.arange(len(order))": "jnp.arange(1, len(order) + 1)"}),
    (
        "sort_and_undo",
        'kind="stable"',
        {"jnp.argsort(buckets, stable=True)": "jnp.asarray(np.argsort(np.asarray(buckets)))"},
    ),
    ("allowed_pairs", "causal mask were missing", {"if causal:": "if False:"}),
    (
        "allowed_pairs",
        "wrap-around",
        {"(chunks_back == 1)": "(chunks_back % (chunk.max() + 1) == 1)"},
    ),
    ("allowed_pairs", "other buckets", {"buckets[:, None] == buckets[None, :]": "True"}),
    ("allowed_pairs", "the chunk after", {"(chunks_back == 1)": "(chunks_back == -1)"}),
    ("allowed_pairs", "only the own chunk", {" | (chunks_back == 1)": ""}),
    ("allowed_pairs", "look at itself", {"position[:, None] != position[None, :]": "True"}),
    ("allowed_pairs", "unsorted", {"slot // chunk_len": "position // chunk_len"}),
    ("allowed_pairs", "rows are queries", {"return allowed": "return allowed.T"}),
    ("attend", "keys were not normalised", {"q / jnp.linalg.norm(q, axis=-1, keepdims=True)": "q"}),
    ("attend", "√d", {ALL_Q_K: "q @ keys.T / q.shape[1] ** 0.5 - discount"}),
    ("attend", "queries were normalised", {ALL_Q_K: "keys @ keys.T - discount"}),
    ("attend", "discount were ignored", {ALL_Q_K: "q @ keys.T"}),
    ("attend", "discount were added", {ALL_Q_K: "q @ keys.T + discount"}),
    ("attend", "always looked at itself", {DIAGONAL: "jnp.where(itself, q @ keys.T, scores)"}),
    ("attend", "0/0 is nan", {DIAGONAL: "scores"}),
    ("attend", "-100000", {DIAGONAL: "jnp.where(itself, -1e5, scores)"}),
    ("attend", "q·k - 1000", {DIAGONAL: "jnp.where(itself, q @ keys.T - 1000, scores)"}),
    (
        "attend",
        "the mean of all values",
        {DIAGONAL: "scores", "-jnp.inf": "-1e30", OUT: "jax.nn.softmax(scores) @ v, lse"},
    ),
    ("attend", "largest score", {"@ v, lse": "@ v, scores.max(axis=-1)"}),
    ("attend", "its log is missing", {"@ v, lse": "@ v, jnp.exp(lse)"}),
    ("attend", "over all keys", {"@ v, lse": f"@ v, jax.nn.logsumexp({ALL_Q_K}, axis=-1)"}),
    ("attend", "add up to 1", {OUT: "jnp.exp(scores) @ v, lse"}),
    ("attend", "over the queries", {OUT: "jax.nn.softmax(scores, axis=0) @ v, lse"}),
    (
        "join_rounds",
        "log N were forgotten",
        {"jnp.log(jnp.maximum(n_rounds, 1))": "0.0"},
    ),
    ("join_rounds", "log N were forgotten", {"one_round, discount)": "one_round)"}),
    ("join_rounds", "instead of log N", {"jnp.log(jnp.maximum(n_rounds, 1))": "n_rounds"}),
    ("join_rounds", "log N were added", {"= jnp.log(": "= -jnp.log("}),
    (
        "join_rounds",
        "max(N, 1)",
        {"jnp.maximum(n_rounds, 1)": "n_rounds", "-1000.0, scores": "-1000.0 - discount, scores"},
    ),
    ("join_rounds", "averaged", {WEIGHTS: "jnp.full_like(lses, 1 / len(lses))"}),
    ("join_rounds", "added up", {WEIGHTS: "jnp.ones_like(lses)"}),
    ("join_rounds", "exp(-lse)", {WEIGHTS: "jax.nn.softmax(-lses, axis=0)"}),
    ("join_rounds", "over the positions", {WEIGHTS: "jax.nn.softmax(lses, axis=1)"}),
    ("join_rounds", "0/0 is nan", {WEIGHTS: "jnp.exp(lses) / jnp.exp(lses).sum(axis=0)"}),
    ("join_rounds", "a round of its own", {"v, one_round, discount": "v, allowed[0], discount"}),
    ("join_rounds", "only the last round", {"in allowed]": "in allowed[-1:]]"}),
    (
        "join_rounds",
        "same key",
        {"n_rounds = ": "allowed = jnp.stack([allowed[0]] * len(allowed))\n    n_rounds = "},
    ),
    (
        "join_rounds",
        "the union",
        {"n_rounds = ": "return attend(q, v, allowed.all(axis=0))[0]\n    n = "},
    ),
]


# Other ways to be right: numpy, float64, loops, other formulas, under jit.


def numpy_sort(buckets):
    order = np.argsort(np.asarray(buckets), kind="stable")
    return order, np.argsort(order)


def python_sort(buckets):
    order = sorted(range(len(buckets)), key=lambda i: (int(buckets[i]), i))
    return np.array(order), np.array([order.index(i) for i in range(len(order))])


def package_sort(buckets):
    order = attention.sort_by_bucket(buckets, n_buckets=4)
    return order, jnp.argsort(order)


def pairs_in_loops(buckets, slot, chunk_len, causal):
    buckets, slot = np.asarray(buckets), np.asarray(slot)
    allowed = np.zeros((len(slot), len(slot)), bool)
    for i, j in np.ndindex(allowed.shape):
        near = slot[i] // chunk_len - slot[j] // chunk_len in (0, 1)
        allowed[i, j] = near and buckets[i] == buckets[j] and (j < i if causal else j != i)
    return allowed


def pairs_in_sorted_order(buckets, slot, chunk_len, causal):
    """Inside a bucket the earlier slot is the earlier position."""
    chunk = slot // chunk_len
    window = jnp.isin(chunk[:, None] - chunk, jnp.array([0, 1]))
    later = slot >= slot[:, None] if causal else slot == slot[:, None]
    return window & (buckets[:, None] == buckets) & ~later


def attend_by_jax_softmax(q, v, allowed, discount):
    scores = jnp.einsum("id,jd->ij", q, q) / jnp.sqrt((q**2).sum(-1)) - discount
    filler = jnp.where(jnp.eye(len(q), dtype=bool), -1000.0, -jnp.inf)
    scores = jnp.where(allowed, scores, filler)
    return jax.nn.softmax(scores, axis=-1) @ v, jax.nn.logsumexp(scores, axis=-1)


def attend_in_loops(q, v, allowed, discount):
    """float64, one query and one key at a time."""
    q, v, allowed = (np.asarray(x, np.float64) for x in (q, v, allowed))
    discount = np.broadcast_to(np.asarray(discount, np.float64), allowed.shape)
    out, lse = v.copy(), np.full(len(q), -1000.0)
    for i in range(len(q)):
        keys = np.flatnonzero(allowed[i])
        if len(keys):
            weights = np.exp([q[i] @ q[j] / np.linalg.norm(q[j]) - discount[i, j] for j in keys])
            out[i], lse[i] = weights @ v[keys] / weights.sum(), np.log(weights.sum())
    return out, lse


def one_softmax_over_the_union(q, v, allowed):
    return attend_by_jax_softmax(q, v, allowed.any(axis=0), 0.0)[0]


def rounds_by_logsumexp(q, v, allowed):
    """The paper's form: weights exp(lse - logsumexp), summed up round by round."""
    discount = jnp.log(jnp.clip(allowed.sum(0), 1))
    rounds = [attend_by_jax_softmax(q, v, one, discount) for one in allowed]
    outs, lses = map(jnp.stack, zip(*rounds, strict=True))
    weights = jnp.exp(lses - jax.nn.logsumexp(lses, axis=0))
    return jnp.einsum("rl,rld->ld", weights, outs)


def first_round_that_finds_it(q, v, allowed):
    """What the package does: a pair counts in the first round that allows it, and only there."""
    new = allowed & (jnp.cumsum(allowed, axis=0) == 1)
    return rounds_by_logsumexp(q, v, new)


def the_packages_reference(q, v, buckets, chunk_len, causal):
    return attention.lsh_attention_reference(q, v, buckets, chunk_len=chunk_len, causal=causal)


RIGHT = [
    ("sort_and_undo", numpy_sort),
    ("sort_and_undo", python_sort),
    ("sort_and_undo", package_sort),
    ("allowed_pairs", pairs_in_loops),
    ("allowed_pairs", pairs_in_sorted_order),
    ("attend", attend_by_jax_softmax),
    ("attend", attend_in_loops),
    ("attend", jax.jit(attend_by_jax_softmax)),
    ("join_rounds", one_softmax_over_the_union),
    ("join_rounds", rounds_by_logsumexp),
    ("join_rounds", first_round_that_finds_it),
    ("my_lsh_attention", the_packages_reference),
]

PARTS = ("sort_and_undo", "allowed_pairs", "attend", "join_rounds")
EXERCISE = Exercise(
    stem="08_lsh_attention",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
    together={"my_lsh_attention": check.my_lsh_attention},
)
said = EXERCISE.said


# Special to this exercise.


def test_a_slip_without_a_name_is_shown_an_example():
    message = said("allowed_pairs", lambda *case: jnp.ones((len(case[0]),) * 2, bool))
    assert "The smallest input that fails: buckets = [" in message
    assert "allowed[0, 0]: got True, expected False" in message
    assert "■ both allow it + only yours allows it" in message
