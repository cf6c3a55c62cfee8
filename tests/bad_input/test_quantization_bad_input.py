"""What quantization and 8-bit Adam refuse, and that they say what came and what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import adam_8bit, quantize, quantize_blockwise

X = jnp.ones((4, 6))
both = pytest.mark.parametrize("method", [quantize, quantize_blockwise])


@both
@pytest.mark.parametrize(
    ("bad", "count"), [(np.nan, 1), (np.inf, 1), (-np.inf, 1)], ids=["nan", "inf", "-inf"]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_weights_that_are_not_finite(method, bad, count, dtype):
    with pytest.raises(ValueError, match=f"{count} of the 24 numbers to quantize are infinite"):
        method(X.at[1, 2].set(bad).astype(dtype))


@both
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:0], r"nothing to quantize in an empty array; got float32\[0, 6\]"),
        (jnp.ones((3, 0)), r"empty array; got float32\[3, 0\]"),
        (jnp.arange(5), r"must be a floating-point array; got int32\[5\]"),
        (jnp.ones(3, bool), r"got bool\[3\]"),
        ([1.0, 2.0], "got a list"),
        (1.0, "got a float"),
        (None, "got a NoneType"),
    ],
)
def test_arrays(method, x, message):
    with pytest.raises(ValueError, match=message):
        method(x)
    if hasattr(x, "shape"):
        with pytest.raises(ValueError, match=message):
            jax.jit(method)(x)


@pytest.mark.parametrize("axis", [2, -3, "rows", 1.0, (0, 1), True])
def test_axis(axis):
    message = r"axis must be None or one of the 2 axes of float32\[4, 6\]; got"
    with pytest.raises(ValueError, match=message):
        quantize(X, axis=axis)


def test_a_number_has_no_axis():
    with pytest.raises(ValueError, match="one of the 0 axes"):
        quantize(jnp.float32(3))
    assert quantize(jnp.float32(3), axis=None).values == 127


@pytest.mark.parametrize("block_len", [0, -8, 2.5, "256", None, True])
def test_block_len(block_len):
    message = "block_len must be a whole number of at least 1; got"
    with pytest.raises(ValueError, match=message):
        quantize_blockwise(X, block_len=block_len)
    with pytest.raises(ValueError, match=message):
        adam_8bit(1e-3, block_len=block_len)


@both
@pytest.mark.parametrize(
    ("key", "came"),
    [
        (0, "a int"),
        (jnp.zeros(2, jnp.uint32), r"uint32\[2\]"),
        (jax.random.split(jax.random.key(0), 3), r"key<fry>\[3\]"),
    ],
)
def test_key(method, key, came):
    with pytest.raises(ValueError, match=f"one key from jax.random.key; got {came}"):
        method(X, key=key)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"w": X, "nothing": X[:0]}, r"empty array; got float32\[0, 6\]"),
    ],
)
def test_parameters_of_adam(params, message):
    with pytest.raises(ValueError, match=message):
        adam_8bit(1e-3).init(params)


def test_gradients_of_adam():
    optimiser = adam_8bit(1e-3)
    with pytest.raises(ValueError, match="1 of the 24 numbers to quantize are infinite or NaN"):
        optimiser.update(X.at[0, 0].set(np.nan), optimiser.init(X))
