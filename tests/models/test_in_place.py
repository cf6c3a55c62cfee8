"""Chunk by chunk and head by head, in place: the values and gradients of the plain definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import undo_by_autodiff
from efftx.models import one_head_at_a_time
from efftx.models.in_place import fold_chunks, map_rows, undo_rows, zeros_after
from efftx.models.layers import LayerNorm
from efftx.models.one_head_at_a_time import all_heads, all_heads_reference, undo_all_heads

LENGTH, D_MODEL, D_HEAD, N_HEADS = 23, 6, 4, 3


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def noisy_rows(params, key, start, x):
    w, b = params
    noise = 0 if key is None else jax.random.normal(jax.random.fold_in(key, start), (2,))
    return jnp.tanh(x @ w) + b + noise


def value_and_gradients(f, *arguments):
    y, pull_back = jax.vjp(f, *arguments)
    return jax.tree.leaves((y, pull_back(jnp.cos(jnp.arange(y.size).reshape(y.shape)))))


@pytest.mark.parametrize("key", [None, jax.random.key(9)])
@pytest.mark.parametrize("chunk_len", [1, 5, 23, 100])
def test_rows_are_those_of_a_loop(chunk_len, key):
    params, x = (normal(0, D_MODEL, 2), normal(1, 2)), normal(2, LENGTH, D_MODEL)

    def by_loop(params, x):
        starts = range(0, LENGTH, chunk_len)
        return jnp.concatenate(
            [noisy_rows(params, key, start, x[start : start + chunk_len]) for start in starts]
        )

    def ours(params, x):
        return map_rows(noisy_rows, chunk_len, params, key, x)

    pairs = zip(*(value_and_gradients(f, params, x) for f in (ours, by_loop)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_gradients_of_bfloat16_parameters_are_summed_in_float32():
    """In bfloat16 a sum of ones would stop at 256."""
    b, x = jnp.zeros(2, jnp.bfloat16), jnp.ones((1000, 2), jnp.bfloat16)
    run = lambda b: map_rows(lambda b, key, start, x: x + b, 1, b, None, x).sum(dtype=jnp.float32)  # noqa: E731
    gradient = jax.grad(run)(b)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, jnp.bfloat16(1000))


def test_every_row_is_visited_once():
    visits = fold_chunks(
        lambda total, start, x: [*total[:-1], total[-1] + x.sum()],
        [jnp.float32(0)],
        jnp.arange(10.0),
        chunk_len=4,
    )
    assert float(visits[0]) == 45


def test_zeros_wait_for_their_number():
    """They are zeros for any number, and in the compiled program no constant."""
    for number in (3.0, -2.0, 0.0, np.inf):
        np.testing.assert_array_equal(zeros_after(jnp.float32(number), jnp.ones((2, 3))), 0)
    zeros = jax.jit(lambda x: zeros_after(x[0], x)).lower(jnp.ones(9)).compile()
    assert "minimum" in zeros.as_text()


def rounded(vectors, key, given):
    """Like attention it mixes positions, draws from a key and chooses something."""
    q, v = vectors
    noise = 0 if key is None else jax.random.normal(key, (D_HEAD,))
    chosen = (q[:, 0] > 0).astype(jnp.uint8) if given is None else given
    return jnp.cumsum(jnp.sin(q) * v, 0) * (1 + chosen)[:, None] + noise, chosen


@pytest.mark.parametrize("at_once", [4, 23, 100])
@pytest.mark.parametrize("given", [False, True])
def test_all_heads_are_those_of_the_loop(at_once, given, monkeypatch):
    monkeypatch.setattr(one_head_at_a_time, "POSITIONS_AT_ONCE", at_once)
    norm = LayerNorm(1 + 0.1 * normal(0, D_MODEL), normal(1, D_MODEL))
    heads = normal(2, N_HEADS, 2, D_MODEL, D_HEAD), normal(3, N_HEADS, D_HEAD, D_MODEL)
    x, keys = normal(4, LENGTH, D_MODEL), jax.random.split(jax.random.key(5), N_HEADS)
    replay = (normal(6, N_HEADS, LENGTH) > 0).astype(jnp.uint8) if given else None

    def run(form):
        chosen = form(rounded, norm, x, heads, keys, replay)[1]
        f = lambda *arguments: form(rounded, *arguments, keys, replay)[0]  # noqa: E731
        return chosen, value_and_gradients(f, norm, x, heads)

    (chosen, ours), (expected, theirs) = run(all_heads), run(all_heads_reference)
    np.testing.assert_array_equal(chosen, expected)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()))


# Back through a reversible branch ---------------------------------------------------------------


def assert_same(ours, theirs):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()))


STREAMS = tuple(normal(seed, LENGTH, D_MODEL) for seed in (10, 11, 12))


@pytest.mark.parametrize("key", [None, jax.random.key(9)])
@pytest.mark.parametrize("chunk_len", [5, 23, 100])
def test_rows_are_undone_as_by_autodiff(chunk_len, key):
    params, x = (normal(0, D_MODEL, D_MODEL), normal(1, D_MODEL)), normal(2, LENGTH, D_MODEL)

    def wide_rows(params, key, start, x):
        noise = 0 if key is None else jax.random.normal(jax.random.fold_in(key, start), (D_MODEL,))
        return noisy_rows(params, None, start, x) + noise

    def branch(params, x, key, extra, replay):
        return map_rows(wide_rows, chunk_len, params, key, x), None

    streams, g_params = undo_rows(wide_rows, chunk_len, params, key, x, STREAMS)
    expected = undo_by_autodiff(branch, params, x, (key, None, None), STREAMS)
    assert_same((streams, g_params, None), expected)


@pytest.mark.parametrize("at_once", [4, 23, 100])
def test_heads_are_undone_as_by_autodiff(at_once, monkeypatch):
    monkeypatch.setattr(one_head_at_a_time, "POSITIONS_AT_ONCE", at_once)
    norm = LayerNorm(1 + 0.1 * normal(0, D_MODEL), normal(1, D_MODEL))
    heads = normal(2, N_HEADS, 2, D_MODEL, D_HEAD), normal(3, N_HEADS, D_HEAD, D_MODEL)
    x, keys = normal(4, LENGTH, D_MODEL), jax.random.split(jax.random.key(5), N_HEADS)
    replay = (normal(6, N_HEADS, LENGTH) > 0).astype(jnp.uint8)

    def branch(norm_and_heads, x, key, extra, replay):
        return all_heads_reference(rounded, norm_and_heads[0], x, norm_and_heads[1], key, replay)

    streams, gradients = undo_all_heads(rounded, norm, x, heads, (keys, replay), STREAMS)
    expected = undo_by_autodiff(branch, (norm, heads), x, (keys, None, replay), STREAMS)
    assert_same((streams, gradients, None), expected)
