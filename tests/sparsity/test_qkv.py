"""The multiplicative layer and the convolution: their loops, their steps, their parameters."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from efftx.sparsity import (
    convolution,
    convolution_reference,
    convolution_step,
    multiplicative,
    multiplicative_reference,
    no_history,
    permutation_factors,
    sparse_qkv,
)

S, M = 4, 3
D = S * M


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def value_and_gradients(layer, *arrays):
    @jax.jit
    def run(*arrays):
        y, pull_back = jax.vjp(layer, *arrays)
        return y, pull_back(jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype))

    return run(*arrays)


def assert_same_values_and_gradients(ours, theirs, *arrays):
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    pairs = (value_and_gradients(layer, *arrays) for layer in (ours, theirs))
    jax.tree.map(close, *pairs)


@pytest.mark.parametrize("length", [1, M, M + 1, 9])  # on both sides of where the order changes
def test_multiplicative_is_the_loop(length):
    arrays = random(length, D), random(D, S, seed=1), random(D, M, seed=2)
    assert_same_values_and_gradients(multiplicative, multiplicative_reference, *arrays)


def test_multiplicative_is_a_dense_layer_of_rank_one_rows():
    x, d, e = random(9, D), random(D, S, seed=1), random(D, M, seed=2)
    w = np.einsum("is,im->ism", d, e).reshape(D, D)
    ours = multiplicative(x, d, e).reshape(9, D)
    np.testing.assert_allclose(ours, np.asarray(x) @ w, rtol=1e-4, atol=1e-5)
    assert all(np.linalg.matrix_rank(row.reshape(S, M)) == 1 for row in w)


@given(seed=st.integers(0, 2**32 - 1), n_modules=st.integers(1, 7), d_module=st.integers(1, 7))
def test_every_permutation_is_reached(seed, n_modules, d_module):
    rng = np.random.default_rng(seed)
    permutation = rng.permutation(n_modules * d_module)
    x = rng.normal(size=(2, permutation.size))
    d, e = permutation_factors(permutation, n_modules)
    assert (d.shape, e.shape) == (
        (permutation.size, n_modules),
        (permutation.size, d_module),
    )
    y = np.einsum("li,is,im->lsm", x, d, e).reshape(2, -1)
    np.testing.assert_array_equal(y, x[:, permutation])


def test_the_layer_itself_permutes_exactly():
    permutation, x = np.random.default_rng(0).permutation(D), random(5, D)
    d, e = (jnp.asarray(factor, jnp.float32) for factor in permutation_factors(permutation, S))
    np.testing.assert_array_equal(multiplicative(x, d, e).reshape(5, D), x[:, permutation])


KERNELS = [(3, 3), (1, 1), (2, 3), (4, 1), (3, 5)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("length", [1, 2, 9])
def test_convolution_is_the_loop(length, kernel):
    arrays = random(length, S, M), random(*kernel, M, 2, seed=1)
    assert_same_values_and_gradients(convolution, convolution_reference, *arrays)


def test_one_output_of_the_convolution_by_hand():
    """Position 4, module 1 of a 3 × 3 kernel: positions 2, 3, 4 and modules 0, 1, 2."""
    y, kernel = random(9, S, M), random(3, 3, M, 2, seed=1)
    by_hand = sum(y[2 + i, j] @ kernel[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(convolution(y, kernel)[4, 1], by_hand, rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_position_looks_ahead_and_each_as_far_back_as_the_kernel(kernel):
    """By derivatives: which rows of y does row 5 depend on?"""
    y, weights = random(9, S, M), random(*kernel, M, 2, seed=1)
    slopes = jax.jacobian(lambda y: convolution(y, weights)[5])(y)
    seen = np.flatnonzero(np.abs(slopes).sum((0, 1, 3, 4)))
    np.testing.assert_array_equal(seen, np.arange(5 - kernel[0] + 1, 6))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 5], [2, 1, 6], [9]])
def test_steps_are_the_whole_at_every_position(kernel, pieces):
    y, weights = random(9, S, M), random(*kernel, M, 2, seed=1)
    history, steps, start = no_history(weights, S), [], 0
    for n in pieces:
        z, history = convolution_step(y[start : start + n], history, weights)
        steps.append(z)
        start += n
    np.testing.assert_allclose(jnp.concatenate(steps), convolution(y, weights), atol=1e-5)
    np.testing.assert_array_equal(history, y[9 - kernel[0] + 1 :])


@pytest.mark.parametrize("n_projections", [2, 3])
def test_projections_share_all_but_their_convolution(n_projections):
    x, d, e = random(9, D), random(D, S, seed=1), random(D, M, seed=2)
    kernels = random(3, 3, M, n_projections, M, seed=3)
    projections, history = sparse_qkv(x, d, e, kernels)
    y = multiplicative_reference(x, d, e)
    assert projections.shape == (n_projections, 9, S, M)
    for number, mine in enumerate(projections):
        right = convolution_reference(y, kernels[:, :, :, number])
        np.testing.assert_allclose(mine, right, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(history, y[-2:], rtol=1e-4, atol=1e-5)


def test_projections_one_position_at_a_time():
    x, d, e = random(9, D), random(D, S, seed=1), random(D, M, seed=2)
    kernels = random(3, 3, M, 3, M, seed=3)
    whole, last = sparse_qkv(x, d, e, kernels)
    step = jax.jit(lambda x, history: sparse_qkv(x, d, e, kernels, history))
    history, steps = None, []
    for position in x:
        projections, history = step(position[None], history)
        steps.append(projections)
    np.testing.assert_allclose(jnp.concatenate(steps, axis=1), whole, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(history, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_dtypes(dtype):
    arrays = random(9, D), random(D, S, seed=1), random(D, M, seed=2), random(3, 3, M, 3, M) / 5
    ours, history = sparse_qkv(*(a.astype(dtype) for a in arrays))
    right, _ = sparse_qkv(*arrays)
    assert ours.dtype == history.dtype == dtype
    error = jnp.abs(ours.astype(jnp.float32) - right).max() / jnp.abs(right).max()
    assert error < 0.05


def test_a_position_reads_no_dense_matrix():
    """One position's scratch is far from the d_model² numbers of the matrix that D and E make."""
    n_modules, d_module = 16, 64
    d_model = n_modules * d_module
    shapes = (1, d_model), (d_model, n_modules), (d_model, d_module)
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    compiled = jax.jit(multiplicative).lower(*arrays).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * d_model**2 * 4


ON_TWO_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from efftx.sparsity import convolution
y, g = jax.random.normal(jax.random.key(0), (2, 4, 9, 5, 3))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 3))
gradients = jax.jit(lambda k, y, g: jax.vmap(lambda y, g: jax.vjp(convolution, y, k)[1](g))(y, g))
mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
split = NamedSharding(mesh, P("batch"))
on_two = gradients(kernel, *(jax.device_put(x, split) for x in (y, g)))
assert len(on_two[0].sharding.device_set) == 2
for ours, theirs in zip(on_two, gradients(kernel, y, g)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
"""


def test_gradients_of_a_batch_on_two_devices_are_those_on_one():
    """XLA's own convolution, mapped and split, got the kernel's right for the first example only:
    data-parallel training went wrong without a word."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = [sys.executable, "-c", ON_TWO_DEVICES]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        run, env={**os.environ, **flags}, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
