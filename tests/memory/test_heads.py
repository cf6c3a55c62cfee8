"""Chunk by chunk and head by head, in place: the values and gradients of the plain definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import map_chunks, undo_by_autodiff
from efftx.memory.chunking import undo_chunks
from efftx.memory.heads import all_heads, all_heads_reference, undo_all_heads
from efftx.memory.loops import fold_chunks, zeros_after

LENGTH, D_MODEL, D_HEAD, N_HEADS = 23, 6, 4, 3


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def value_and_gradients(f, *arguments):
    y, pull_back = jax.vjp(f, *arguments)
    return jax.tree.leaves((y, pull_back(jnp.cos(jnp.arange(y.size).reshape(y.shape)))))


def norm(params, x):
    scale, shift = params
    return x / jnp.sqrt(1 + (x**2).mean(-1, keepdims=True)) * scale + shift


class Norm:
    """A norm as `all_heads` calls it; registered, so that it has gradients."""

    def __init__(self, *params):
        self.params = params

    def __call__(self, x):
        return norm(self.params, x)


jax.tree_util.register_pytree_node(Norm, lambda n: (n.params, None), lambda _, p: Norm(*p))


def test_every_row_is_visited_once():
    visits = fold_chunks(
        lambda total, start, x: [*total[:-1], total[-1] + x.sum()],
        [jnp.float32(0)],
        jnp.arange(10.0),
        chunk_len=4,
    )
    assert float(visits[0]) == 45


def test_zeros_wait_for_their_number():
    """They are zeros after any number, and in the compiled program no constant."""
    for number in (3.0, -2.0, 0.0, np.inf, np.nan):
        np.testing.assert_array_equal(zeros_after(jnp.float32(number), jnp.ones((2, 3))), 0)
    zeros = jax.jit(lambda x: zeros_after(x, x)).lower(jnp.ones(9)).compile()
    assert "minimum" in zeros.as_text()


# Heads ----------------------------------------------------------------------------------------


def rounded(vectors, key, given, key_mask):
    """Like attention it mixes positions, draws from a key, looks at a mask, chooses something."""
    q, v = vectors
    noise = 0 if key is None else jax.random.normal(key, (D_HEAD,))
    seen = 1 if key_mask is None else key_mask[:, None]
    chosen = (q[:, 0] > 0).astype(jnp.uint8) if given is None else given
    return jnp.cumsum(jnp.sin(q) * v * seen, 0) * (1 + chosen)[:, None] + noise, chosen


def case():
    params = Norm(1 + 0.1 * normal(0, D_MODEL), normal(1, D_MODEL))
    heads = normal(2, N_HEADS, 2, D_MODEL, D_HEAD), normal(3, N_HEADS, D_HEAD, D_MODEL)
    x, keys = normal(4, LENGTH, D_MODEL), jax.random.split(jax.random.key(5), N_HEADS)
    return params, heads, x, keys, (normal(6, N_HEADS, LENGTH) > 0).astype(jnp.uint8)


MASKS = {"all": None, "padding": jnp.arange(LENGTH) < 17}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("at_once", [4, 23, 100])
@pytest.mark.parametrize("given", [False, True])
def test_all_heads_are_those_of_the_loop(at_once, given, mask, monkeypatch):
    monkeypatch.setattr("efftx.memory.heads.POSITIONS_AT_ONCE", at_once)
    params, heads, x, keys, replay = case()
    given, mask = (keys, replay if given else None), MASKS[mask]

    def run(form):
        chosen = form(rounded, params, x, heads, given, mask)[1]
        f = lambda *arguments: form(rounded, *arguments, given, mask)[0]  # noqa: E731
        return chosen, value_and_gradients(f, params, x, heads)

    (chosen, ours), (expected, theirs) = run(all_heads), run(all_heads_reference)
    np.testing.assert_array_equal(chosen, expected)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()))


# Back through a reversible branch ---------------------------------------------------------------


def assert_same(ours, theirs):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()))


STREAMS = tuple(normal(seed, LENGTH, D_MODEL) for seed in (10, 11, 12))


def noisy_rows(params, x, positions, chosen):
    """Rows that draw from a key for each chunk and follow choices, under a mask that has no
    gradient."""
    w, b, key, mask = params
    noise = jax.random.normal(jax.random.fold_in(key, positions[0]), b.shape)
    return jnp.tanh(x @ w) * chosen[:, None] + (b + noise) * mask


@pytest.mark.parametrize("chunk_len", [1, 5, 23, 100])
def test_rows_are_undone_as_by_autodiff(chunk_len):
    params = normal(0, D_MODEL, D_MODEL), normal(1, D_MODEL), jax.random.key(9), jnp.arange(6) < 4
    x, arrays = normal(2, LENGTH, D_MODEL), (jnp.arange(LENGTH), jnp.arange(LENGTH) % 3)

    def branch(params, x, key, extra, replay):
        return map_chunks(noisy_rows, params, x, *arrays, chunk_len=chunk_len), None

    how = {"chunk_len": chunk_len, "streams": STREAMS}
    streams, g_params = undo_chunks(noisy_rows, params, x, *arrays, **how)
    expected = undo_by_autodiff(branch, params, x, (None, None, None), STREAMS)
    assert_same((streams, g_params, None), expected)


def test_what_is_undone_sums_in_float32():
    """In bfloat16 a sum of ones would stop at 256."""
    b, x = jnp.zeros(2, jnp.bfloat16), jnp.ones((1000, 2), jnp.bfloat16)
    streams = tuple(jnp.ones((1000, 2)) for _ in range(3))
    _, g_b = undo_chunks(lambda b, x: x + b, b, x, chunk_len=1, streams=streams)
    assert g_b.dtype == jnp.bfloat16
    np.testing.assert_array_equal(g_b, jnp.bfloat16(1000))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("at_once", [4, 23, 100])
def test_heads_are_undone_as_by_autodiff(at_once, mask, monkeypatch):
    monkeypatch.setattr("efftx.memory.heads.POSITIONS_AT_ONCE", at_once)
    params, heads, x, keys, replay = case()
    mask = MASKS[mask]

    def branch(norm_and_heads, x, key, extra, replay):
        params, heads = norm_and_heads
        return all_heads_reference(rounded, params, x, heads, (key, replay), mask)

    given = keys, replay
    streams, gradients = undo_all_heads(rounded, params, x, heads, given, mask, streams=STREAMS)
    expected = undo_by_autodiff(branch, (params, heads), x, (keys, None, replay), STREAMS)
    assert_same((streams, gradients, None), expected)
