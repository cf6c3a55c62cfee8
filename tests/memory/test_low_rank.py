"""Low-rank adapters of a matrix: nothing at the start, merged and apart the same; four bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import (
    LowRank,
    dense,
    dequantize_four_bits,
    init_low_rank,
    low_rank_product,
    merged,
    quantize_four_bits,
    quantize_four_bits_reference,
    stored,
    unmerged,
)
from efftx.memory.low_rank import in_axes

KEY = jax.random.key(0)


def random(*shape):
    return np.random.default_rng(list(shape)).normal(size=shape).astype(np.float32)


def change_of(shape, rank=2, alpha=6.0) -> LowRank:
    """One that is not zero."""
    change = init_low_rank(KEY, random(*shape), rank=rank, alpha=alpha)
    return LowRank(change.a, random(*change.b.shape), change.scale)


@pytest.mark.parametrize(
    ("shape", "n"),
    [((6, 7), 1), ((8, 3, 2, 4), 1), ((2, 4, 8), 2), ((5, 1), 1), ((2, 2, 2, 2), 2)],
)
def test_the_cut_is_the_one_nearest_to_a_square(shape, n):
    assert in_axes(shape) == n


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_nothing_is_changed_at_the_start(bits):
    w = stored(random(64, 6), bits)
    change = init_low_rank(KEY, w, rank=3)
    np.testing.assert_array_equal(merged(w, change), dense(w))
    assert change.a.shape == (64, 3)
    assert change.b.shape == (3, 6)
    assert float(change.a.std()) == pytest.approx(64**-0.5, rel=0.2)


@pytest.mark.parametrize("shape", [(6, 7), (8, 3, 2, 4), (2, 4, 8)])
def test_by_the_definition(shape):
    """W + α/r · A B as matrices of numpy."""
    w, change = random(*shape), change_of(shape)
    a, b = change.a.reshape(-1, 2), change.b.reshape(2, -1)
    wanted = w + (3.0 * np.asarray(a) @ np.asarray(b)).reshape(shape)
    np.testing.assert_allclose(merged(w, change), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(unmerged(merged(w, change), change), w, atol=1e-5)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("shape", [(6, 7), (8, 3, 2, 4), (2, 4, 8)])
def test_merged_and_apart_are_the_same(shape, bits):
    w, change = stored(random(*shape), bits), change_of(shape)
    n_in = in_axes(shape)
    x = random(5, *shape[:n_in])
    together = jnp.tensordot(x, merged(w, change), n_in)
    np.testing.assert_allclose(low_rank_product(x, w, change), together, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_product_apart():
    w, change, x = random(6, 7), change_of((6, 7)), random(5, 6)
    of = lambda f: jax.grad(lambda change: jnp.sin(f(change)).sum())(change)  # noqa: E731
    ours, theirs = of(lambda c: x @ merged(w, c)), of(lambda c: low_rank_product(x, w, c))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


def test_a_stack_is_its_matrices():
    w, keys = random(3, 8, 2, 4), jax.random.split(KEY, 3)
    changes = jax.vmap(lambda key, w: init_low_rank(key, w, rank=2))(keys, w)
    changes = LowRank(changes.a, random(*changes.b.shape), changes.scale)
    one_by_one = [merged(w[i], LowRank(changes.a[i], changes.b[i], 1.0)) for i in range(3)]
    np.testing.assert_allclose(merged(w, changes), np.stack(one_by_one), atol=1e-6)


def test_it_keeps_the_matrix_s_dtype():
    w = jnp.asarray(random(6, 7), jnp.bfloat16)
    assert merged(w, change_of((6, 7))).dtype == jnp.bfloat16


# Four bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 31, 32, 33, 100])
def test_four_bits_are_those_of_the_definition(length):
    x = random(length)
    ours = dequantize_four_bits(quantize_four_bits(x))
    np.testing.assert_allclose(ours, quantize_four_bits_reference(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis_can_be_cut(axis):
    x = random(6, 70, 5)
    ours = dequantize_four_bits(quantize_four_bits(x, axis=axis))
    rows = np.moveaxis(x, axis, -1)
    wanted = np.apply_along_axis(quantize_four_bits_reference, -1, rows)
    np.testing.assert_allclose(ours, np.moveaxis(wanted, -1, axis), rtol=1e-6, atol=1e-6)


def test_the_error_is_at_most_half_a_step():
    x = random(4, 320)
    steps = np.ptp(x.reshape(4, 10, 32), axis=-1, keepdims=True) / 15
    error = abs(dequantize_four_bits(quantize_four_bits(x)) - x).reshape(4, 10, 32)
    assert (error <= 0.502 * steps + 1e-3 * abs(x).max()).all()


def test_what_was_in_four_bits_comes_back():
    """Also of a block of one number, and of zeros."""
    x = np.stack([random(64), np.full(64, 0.3, np.float32), np.zeros(64, np.float32)])
    once = dequantize_four_bits(quantize_four_bits(x))
    np.testing.assert_allclose(dequantize_four_bits(quantize_four_bits(once)), once, atol=1e-6)
    np.testing.assert_array_equal(once[2], 0)


def test_numbers_take_five_bits_each():
    assert quantize_four_bits(random(64, 96)).nbytes == 64 * 96 * 5 // 8


def test_a_stack_comes_back_whole():
    x = random(3, 4, 64)
    both = jax.vmap(quantize_four_bits)(x)
    assert both.shape == x.shape
    one_by_one = [dequantize_four_bits(quantize_four_bits(row)) for row in x]
    np.testing.assert_allclose(dequantize_four_bits(both), np.stack(one_by_one), rtol=1e-6)


def test_more_bits_are_nearer():
    x = random(64, 64)
    errors = [float(abs(dense(stored(x, bits)) - x).max()) for bits in (32, 8, 4)]
    assert errors[0] == 0 < errors[1] < 0.2 * errors[2]
