"""Exercise 08: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import lsh_attention as check
from efftx.check import lsh_attention_experiment as experiment
from tests.check.exercise import Exercise

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
    right=RIGHT,
    together={"my_lsh_attention": check.my_lsh_attention},
)
said = EXERCISE.said


# Special to this exercise.


def test_a_slip_without_a_name_is_shown_an_example():
    message = said("allowed_pairs", lambda *case: jnp.ones((len(case[0]),) * 2, bool))
    assert "called with the smallest input that fails: buckets = [" in message
    assert "allowed[0, 0]: got True, expected False" in message
    assert "■ both allow it + only yours allows it" in message


def test_the_experiment_measures_the_package():
    qk, v = map(jnp.asarray, experiment.vectors())
    buckets = jnp.asarray(experiment.buckets()[:2])
    ours = attention.lsh_attention(qk, v, buckets=buckets, n_buckets=32, n_hashes=2, chunk_len=32)
    exact = attention.shared_qk_attention(qk, v, causal=True)
    error = jnp.linalg.norm(ours - exact) / jnp.linalg.norm(exact)
    assert abs(experiment.error(2) - error) < 1e-3
