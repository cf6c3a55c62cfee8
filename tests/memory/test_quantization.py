"""Int8 against its definition: codes, errors, exactness, and rounding that is right on average."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from efftx.memory import (
    Quantized,
    dequantize,
    dequantize_reference,
    quantize,
    quantize_blockwise,
    quantize_blockwise_reference,
    quantize_reference,
    round_stochastically,
)

MATRIX = np.random.default_rng(0).normal(size=(37, 53)).astype(np.float32)
SHAPES = [(1,), (10,), (1, 7), (6, 5), (3, 4, 2)]  # few: each is compiled
METHODS = {
    "rows": quantize,
    "columns": partial(quantize, axis=0),
    "whole": partial(quantize, axis=None),
    "blocks of 7": partial(quantize_blockwise, block_len=7),
    "blocks of 256": quantize_blockwise,
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
under_jit = pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
ordinary = st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30)


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.values, theirs.values)
    np.testing.assert_array_equal(ours.absmax, theirs.absmax)
    np.testing.assert_allclose(dequantize(ours), dequantize_reference(theirs), rtol=3e-7)


def there_and_back(method):
    return lambda x: dequantize(method(x))


def absmax_of_each(quantized):
    """The absmax that each number was divided by."""
    if quantized.block_len is None:
        return np.broadcast_to(quantized.absmax, quantized.shape)
    return np.repeat(quantized.absmax, quantized.block_len)[: quantized.values.size].reshape(
        quantized.shape
    )


@under_jit
def test_rows_are_those_of_the_definition(jit):
    assert_same(jit(quantize)(MATRIX), quantize_reference(MATRIX))


@under_jit
def test_columns_are_the_rows_of_the_transpose(jit):
    columns, rows = jit(partial(quantize, axis=0))(MATRIX), quantize_reference(MATRIX.T)
    np.testing.assert_array_equal(columns.values, rows.values.T)
    np.testing.assert_array_equal(columns.absmax, rows.absmax.T)
    assert columns.absmax.shape == (1, 53)


@pytest.mark.parametrize("block_len", [1, 7, 256, 37 * 53, 10_000])
@under_jit
def test_blocks_are_those_of_the_definition(jit, block_len):
    method = partial(quantize_blockwise, block_len=block_len)
    assert_same(jit(method)(MATRIX), quantize_blockwise_reference(MATRIX, block_len=block_len))


def test_by_hand():
    quantized = quantize(jnp.array([[0.5, -2.0, 1.0, 0.0]]))
    assert quantized.values.tolist() == [[32, -127, 64, 0]]  # 31.75 and 63.5, to the nearest
    assert quantized.absmax.tolist() == [[2.0]]
    np.testing.assert_allclose(dequantize(quantized), [[64 / 127, -2, 128 / 127, 0]], rtol=1e-6)


@every_method
@settings(max_examples=60)
@given(x=st.sampled_from(SHAPES).flatmap(partial(arrays, np.float32, elements=ordinary)))
def test_the_error_is_at_most_half_a_step(method, x):
    quantized = method(x)
    error = np.abs(np.float64(dequantize(quantized)) - x)
    assert (error <= absmax_of_each(quantized) * (1 / 254 + 1e-6)).all()
    assert quantized.values.dtype == jnp.int8
    assert quantized.values.min() >= -127
    assert quantized.shape == x.shape


@every_method
@pytest.mark.parametrize("key", [None, jax.random.key(3)], ids=["nearest", "stochastic"])
@under_jit
def test_constants_and_zeros_are_exact(jit, key, method):
    f = jit(there_and_back(partial(method, key=key)))
    for size in (0.0, 1e-36, 1 / 3, 63.0957, 2511886.5, 3e38):
        for constant in (size, -size):
            x = jnp.full((3, 50), constant)
            np.testing.assert_array_equal(f(x), x)


@under_jit
def test_the_largest_of_each_group_is_exact(jit):
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(40, 9)).astype(np.float32)
        largest = np.abs(x) == np.abs(x).max(axis=1, keepdims=True)
        np.testing.assert_array_equal(jit(there_and_back(quantize))(x)[largest], x[largest])


def test_opposite_numbers_have_opposite_codes():
    np.testing.assert_array_equal(quantize(-MATRIX).values, -quantize(MATRIX).values)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@every_method
def test_narrow_dtypes_are_quantized_as_float32(method, dtype):
    x = jnp.asarray(MATRIX, dtype)
    ours, theirs = method(x), method(x.astype(jnp.float32))
    np.testing.assert_array_equal(ours.values, theirs.values)
    np.testing.assert_array_equal(ours.absmax, theirs.absmax)
    assert dequantize(ours).dtype == jnp.float32


def test_one_large_number_spoils_its_group_only():
    x = MATRIX.copy()
    x[3, 5] = 1e4
    error = np.abs(dequantize(quantize(x)) - x).max(axis=1)
    assert error[3] > 1
    assert np.delete(error, 3).max() < 0.02
    whole = np.abs(dequantize(quantize(x, axis=None)) - x).max(axis=1)
    assert (whole > 0.5).all()
    blocks = np.abs(dequantize(quantize_blockwise(x, block_len=10)) - x).ravel()
    assert (blocks > 0.02).sum() < 10


@pytest.mark.parametrize(("n", "block_len", "expected"), [(1000, 256, 1016), (3, 256, 7)])
def test_bytes(n, block_len, expected):
    """One for each number, four for each block, and nothing for padding."""
    quantized = quantize_blockwise(jnp.ones(n), block_len=block_len)
    assert quantized.nbytes == expected
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(quantized)) == expected


@every_method
def test_nothing_hides_a_number_that_is_not_finite(method):
    """Under a trace there is no error, but what comes back cannot be mistaken for a number."""
    for bad in (np.nan, np.inf, -np.inf):
        x = jnp.asarray(MATRIX).at[2, 4].set(bad)
        assert not np.isfinite(jax.jit(there_and_back(method))(x)[2, 4])


# Stochastic rounding


def test_the_mean_of_stochastic_rounding_is_the_number():
    x = jnp.array([-126.5, -0.3, 0.0, 0.01, 0.5, 63.9, 127.0])
    keys = jax.random.split(jax.random.key(0), 40_000)
    rounded = jax.vmap(lambda key: round_stochastically(x, key))(keys)
    np.testing.assert_array_equal(rounded, jnp.round(rounded))
    assert (jnp.abs(rounded - x) < 1).all()
    # The standard deviation of the mean is at most 0.5 / √40,000 = 0.0025.
    np.testing.assert_allclose(rounded.mean(0), x, atol=0.01)


@every_method
def test_the_mean_of_many_quantizations_is_the_array(method):
    keys = jax.random.split(jax.random.key(1), 4000)
    several = jax.jit(jax.vmap(lambda key: dequantize(method(MATRIX[:4, :13], key=key))))(keys)
    # Steps of at most 3/127, half a step times 1/√4000, and five of these: 0.00093.
    np.testing.assert_allclose(several.mean(0), MATRIX[:4, :13], atol=1e-3)
    nearest = dequantize(method(MATRIX[:4, :13]))
    assert np.abs(nearest - MATRIX[:4, :13]).max() > 3e-3  # which the nearest code is not


@every_method
def test_the_same_key_rounds_the_same_way(method):
    first, second, other = (method(MATRIX, key=jax.random.key(k)).values for k in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_small_steps_add_up_only_if_rounding_is_stochastic():
    """A weight of 1 grows by a tenth of a code 200 times: by 20 codes, or by none."""

    def walk(weights, key):
        step = 0.1 / 127 * weights[0]
        quantized = quantize(weights[None] + jnp.array([0, 1]) * step, key=key)
        return dequantize(quantized)[0]

    stuck = moving = jnp.array([1.0, 0.5])
    for key in jax.random.split(jax.random.key(0), 200):
        stuck, moving = walk(stuck, None), walk(moving, key)
    np.testing.assert_allclose(stuck[1], 64 / 127, rtol=1e-6)
    assert abs(moving[1] * 127 - 83.5) < 15  # a standard deviation is √(200 · 0.09) = 4.2


@pytest.mark.parametrize("n_leading", [1, 2])
def test_what_was_quantized_under_vmap_comes_back_whole(n_leading):
    """Each row with its own absmax, not with the first row's."""
    sizes = np.array([1.0, 10, 100])[:, None]
    x = jnp.float32(np.random.default_rng(3).normal(size=(2, 3, 10)) * sizes)
    x, pack = x[0] if n_leading == 1 else x, partial(quantize_blockwise, block_len=4)
    for _ in range(n_leading):
        pack = jax.vmap(pack)
    packed = pack(x)
    assert jnp.allclose(dequantize(packed), x, rtol=0, atol=jnp.abs(x).max(-1, keepdims=True) / 254)
    np.testing.assert_allclose(dequantize_reference(packed), dequantize(packed), rtol=1e-6)


@pytest.mark.parametrize("method", [quantize, partial(quantize_blockwise, block_len=4)])
def test_a_slice_is_refused(method):
    """Codes of one row and the absmax of another layout: what came out was of the wrong scale."""
    packed = method(jnp.ones((3, 8)))
    for wrong in (
        Quantized(packed.values[0], packed.absmax, packed.block_len),
        Quantized(packed.values, packed.absmax[0], packed.block_len),
        Quantized(packed.values, packed.absmax.ravel()[:2], packed.block_len),
    ):
        with pytest.raises(ValueError, match="of one call of quantize"):
            dequantize(wrong)
