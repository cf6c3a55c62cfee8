"""The sparsity capstone: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import sparsity
from efftx.check import capstone_sparsity as check
from efftx.check import capstone_sparsity_answers as answers
from tests.check.exercise import Exercise

PARTS = ("feed_forward", "attention_step", "token_scores", "write")
FEED_FORWARD = ("c1", "c2", "w1", "b1", "w2", "b2")


def by_package(x, c1, c2, w1, b1, w2, b2):
    units = sparsity.strongest_units(sparsity.controller_scores(x[None], c1, c2))
    return sparsity.gathered_feed_forward(x[None], units, w1, b1, w2, b2)[0]


def block_by_block(x, c1, c2, w1, b1, w2, b2):
    """A loop of Python, one unit at a time."""
    y = b2
    for block in range(len(b1)):
        unit = jnp.argmax(x @ c1 @ c2[:, block])
        y = y + jax.nn.relu(w1[block, unit] @ x + b1[block, unit]) * w2[block, unit]
    return y


def counted_through(x, c1, c2, w1, b1, w2, b2):
    """Rows of one long list of units."""
    n_blocks, n_units, d = w1.shape
    scores = (x @ c1 @ c2.reshape(len(c2), -1)).reshape(n_blocks, n_units)
    at = n_units * jnp.arange(n_blocks) + scores.argmax(-1)
    w1, b1, w2 = w1.reshape(-1, d), b1.reshape(-1), w2.reshape(-1, d)
    return jnp.maximum(jnp.take(w1, at, axis=0) @ x + b1[at], 0) @ w2[at] + b2


def step_by_package(x, t, cache, d, e, kernels):
    history, keys, values = cache
    together = jnp.moveaxis(kernels, 0, 3)
    qkv, history = sparsity.sparse_qkv(x[None], d, e, together, history)
    q, k, v = qkv[:, 0]
    keys = jax.lax.dynamic_update_index_in_dim(keys, k, t, 0)
    values = jax.lax.dynamic_update_index_in_dim(values, v, t, 0)
    scores = jnp.where(jnp.arange(len(keys)) > t, -1e30, (keys * q).sum(-1).T / k.shape[-1] ** 0.5)
    return (jax.nn.softmax(scores) @ values.swapaxes(0, 1))[
        jnp.arange(len(q)), jnp.arange(len(q))
    ].reshape(-1), [history, keys, values]


def term_by_term(x, t, cache, d, e, kernels):
    """In numpy, float64 and loops."""
    rest = (*cache, d, e, kernels)
    out, *cache = answers.stepped(np.asarray(x, np.float64), int(t), *map(np.asarray, rest))
    return out, tuple(cache)


def scores_by_package(x, d, e, vocab):
    return sparsity.multiplicative_logits(x[None], d, e, vocab)[0]


def scores_one_by_one(x, d, e, vocab):
    m = e.shape[1]
    return [float((x * d[:, o // m] * e[:, o % m]).sum()) for o in range(vocab)]


def solved(name):
    return EXERCISE.solved[name]


def token_through(token, t, cache, w):
    x = w["embedding"][token]
    out, cache = solved("attention_step")(x, t, cache, w["d"], w["e"], w["kernels"])
    x = x + out
    x = x + solved("feed_forward")(x, *[w[name] for name in FEED_FORWARD])
    return solved("token_scores")(x, w["d_out"], w["e_out"], len(w["embedding"])), cache


def empty(w, room):
    shape = w["d"].shape[1], w["e"].shape[1]
    return jnp.zeros((2, *shape)), jnp.zeros((room, *shape)), jnp.zeros((room, *shape))


def in_two_loops(prompt, n_new, w):
    """One scan over the prompt, one over what is written."""
    cache = empty(w, len(prompt) + n_new)

    def read(cache, at):
        scores, cache = token_through(prompt[at], at, cache, w)
        return cache, scores

    cache, scores = jax.lax.scan(read, cache, jnp.arange(len(prompt)))

    def go_on(carry, t):
        scores, cache = carry
        token = scores.argmax()
        after, cache = token_through(token, t, cache, w)
        return (after, cache), (token, scores)

    turns = len(prompt) + jnp.arange(n_new)
    return jax.lax.scan(go_on, (scores[-1], cache), turns)[1]


def in_a_fori_loop(prompt, n_new, w):
    """Tokens and scores stand in arrays from the beginning."""
    n_read = len(prompt) + n_new - 1
    tokens = jnp.zeros(n_read + 1, int).at[: len(prompt)].set(prompt)

    def turn(t, carry):
        tokens, scores, cache = carry
        now, cache = token_through(tokens[t], t, cache, w)
        after = jnp.where(t + 1 < len(prompt), tokens[t + 1], now.argmax())
        return tokens.at[t + 1].set(after), scores.at[t].set(now), cache

    start = tokens, jnp.zeros((n_read, len(w["embedding"]))), empty(w, n_read)
    tokens, scores, _ = jax.lax.fori_loop(0, n_read, turn, start)
    return tokens[len(prompt) :], scores[len(prompt) - 1 :]


RIGHT = [
    ("feed_forward", by_package),
    ("feed_forward", block_by_block),
    ("feed_forward", counted_through),
    ("attention_step", step_by_package),
    ("attention_step", term_by_term),
    ("token_scores", scores_by_package),
    ("token_scores", scores_one_by_one),
    ("write", in_two_loops),
    ("write", in_a_fori_loop),
]
EXERCISE = Exercise(
    stem="capstone_sparsity",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


def all_units(x, c1, c2, w1, b1, w2, b2):
    scores = jnp.einsum("r,rbn->bn", x @ c1, c2)
    mask = jax.nn.one_hot(scores.argmax(-1), scores.shape[-1])
    hidden = jax.nn.relu(w1 @ x + b1)
    return jnp.einsum("bn,bnd->d", hidden * mask, w2) + b2


def whole_blocks(x, c1, c2, w1, b1, w2, b2):
    """Rows taken out only after all units are computed."""
    units = jnp.einsum("r,rbn->bn", x @ c1, c2).argmax(-1)
    hidden = jax.nn.relu(w1 @ x + b1)[jnp.arange(len(units)), units]
    return hidden @ w2[jnp.arange(len(units)), units] + b2


@pytest.mark.parametrize(("answer", "name"), [(all_units, "w1"), (whole_blocks, "w1")])
def test_who_reads_all_units_is_told_so(answer, name):
    said = EXERCISE.said("feed_forward", answer)
    assert said.startswith("✗ feed_forward returns the right values. But: it reads 8,192 numbers")
    assert f"of {name}, which has 8,192; 512 are enough" in said


def through_a_dense_weight(x, t, cache, d, e, kernels):
    weight = d[:, :, None] * e[:, None, :]
    y = jnp.einsum("i,ism->sm", x, weight)
    # D and E that leave y where it is:
    one = jnp.zeros((y.size, y.shape[0])).at[jnp.arange(y.size), jnp.arange(y.size) // e.shape[1]]
    place = jnp.tile(jnp.eye(e.shape[1]), (y.shape[0], 1))
    return solved("attention_step")(y.reshape(-1), t, cache, one.set(1.0), place, kernels)


def dense_scores(x, d, e, vocab):
    weight = (d[:, :, None] * e[:, None, :]).reshape(len(d), -1)
    return x @ weight[:, :vocab]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("attention_step", through_a_dense_weight), ("token_scores", dense_scores)],
)
def test_who_makes_the_dense_weight_is_told_so(name, answer):
    said = EXERCISE.said(name, answer)
    assert said.startswith(f"✗ {name} returns the right values. But: it makes an array of shape (")
    assert "Then nothing is won by D and E" in said


def in_python(prompt, n_new, w):
    """Right, and written out."""
    cache, tokens, all_scores = empty(w, len(prompt) + n_new), list(prompt), []
    for t in range(len(prompt) + n_new - 1):
        scores, cache = token_through(tokens[t], t, cache, w)
        if t >= len(prompt) - 1:
            tokens.append(scores.argmax())
            all_scores.append(scores)
    return jnp.stack(tokens[len(prompt) :]), jnp.stack(all_scores)


def test_a_loop_of_python_is_told_that_it_is_written_out():
    said = EXERCISE.said("write", in_python)
    assert said.startswith("✗ write returns the right values. But: to write 2 tokens it is a prog")
    assert "the loop is Python's" in said


def test_a_loop_that_reads_all_units_is_told_so():
    edit = {"w1[block, units] @ x": "(w1 @ x)[block, units]"}
    said = EXERCISE.said("write", EXERCISE.edited(edit)["write"])
    assert said.startswith("✗ write returns the right values. But: it reads ")
    assert "numbers of w1" in said


def test_a_loop_that_looks_tokens_up_by_multiplying_is_told_so():
    edit = {'w["embedding"][token]': 'jax.nn.one_hot(token, len(w["embedding"])) @ w["embedding"]'}
    said = EXERCISE.said("write", EXERCISE.edited(edit)["write"])
    assert "numbers of embedding" in said
