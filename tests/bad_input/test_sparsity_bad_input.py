"""What the sparse layers refuse, and that they say what came and what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.sparsity import (
    controller_scores,
    convolution,
    convolution_step,
    gathered_feed_forward,
    masked_feed_forward,
    multiplicative,
    multiplicative_logits,
    n_blocks_of,
    permutation_factors,
    sparsity_mask,
    unit_loads,
    widened_d_ff,
)

X = jnp.ones((10, 6))
W, B1, B2 = jnp.ones((3, 4, 6)), jnp.ones((3, 4)), jnp.ones(6)
WEIGHTS = (W, B1, W, B2)
UNITS = jnp.zeros((10, 3), jnp.uint8)
SCORES = jnp.ones((10, 3, 4))


def test_d_ff_that_n_does_not_divide():
    message = r"d_ff must be a multiple of N = 64, .* got 1000. The next is 1024\."
    with pytest.raises(ValueError, match=message):
        n_blocks_of(1000, 64)
    with pytest.raises(ValueError, match="n_units must be a whole number of at least 1; got 0"):
        n_blocks_of(1000, 0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((W[:, :, :5], B1, W, B2), r"w1 must be \(n_blocks, N, d_model = 6\).*float32\[3, 4, 5\]"),
        ((W[0], B1, W, B2), r"w1 must be .* got float32\[4, 6\]"),
        ((W, B1, W[:2], B2), r"w2 must have w1's shape \(3, 4, 6\).* got float32\[2, 4, 6\]"),
        ((W, B1[:2], W, B2), r"b1 \(3, 4\).* float32\[2, 4\]"),
        ((W, B1, W, B2[:5]), r"b2 \(6,\).* float32\[5\]"),
    ],
)
def test_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        gathered_feed_forward(X, UNITS, *weights)
    with pytest.raises(ValueError, match=message):
        masked_feed_forward(X, SCORES, *weights)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (UNITS[:9], r"of shape \(length, n_blocks\) = \(10, 3\); got uint8\[9, 3\]"),
        (UNITS[:, :2], r"got uint8\[10, 2\]"),
        (UNITS * 1.0, r"units must be integers .* got float32\[10, 3\]"),
        (UNITS + 4, r"must lie in 0 … 3 \(N = 4\); got 4 … 4"),
        (UNITS.astype(jnp.int32) - 1, "got -1 … -1"),
    ],
)
def test_units(units, message):
    with pytest.raises(ValueError, match=message):
        gathered_feed_forward(X, units, *WEIGHTS)
    with pytest.raises(ValueError, match=message):
        sparsity_mask(SCORES, units=units)


def test_masks():
    message = r"\(length, n_blocks, N\) = \(10, 3, 4\); got float32\[10, 4, 3\]"
    with pytest.raises(ValueError, match=message):
        masked_feed_forward(X, jnp.ones((10, 4, 3)), *WEIGHTS)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"x must be a \(length, width\) array .* got float32\[6\]"),
        (X[:0], "x is empty"),
        (X.astype(int), "x must hold floating-point vectors"),
    ],
)
def test_vectors(x, message):
    for layer in (
        lambda x: gathered_feed_forward(x, UNITS, *WEIGHTS),
        lambda x: controller_scores(x, jnp.ones((6, 2)), jnp.ones((2, 3, 4))),
        lambda x: multiplicative(x, jnp.ones((6, 2)), jnp.ones((6, 3))),
    ):
        with pytest.raises(ValueError, match=message):
            layer(x)


@pytest.mark.parametrize(
    ("c1", "c2"),
    [((5, 2), (2, 3, 4)), ((6, 2), (3, 3, 4)), ((6, 2), (2, 12)), ((6,), (2, 3, 4))],
)
def test_controllers(c1, c2):
    with pytest.raises(ValueError, match=r"c1 must be \(d_model, d_lowrank\).* d_model = 6; got"):
        controller_scores(X, jnp.ones(c1), jnp.ones(c2))


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_probabilities(probability):
    with pytest.raises(ValueError, match=f"must lie in 0 … 1; got {probability}"):
        sparsity_mask(SCORES, jax.random.key(0), hard_probability=probability)


def test_temperatures():
    with pytest.raises(ValueError, match="temperature must not be negative; got -1"):
        sparsity_mask(SCORES, jax.random.key(0), temperature=-1)


@pytest.mark.parametrize(("d", "e"), [((5, 2), (6, 3)), ((6, 2), (5, 3)), ((6,), (6, 3))])
def test_factors(d, e):
    message = r"D must be \(d_model, S\) and E \(d_model, M\) for x's d_model = 6; got"
    with pytest.raises(ValueError, match=message):
        multiplicative(X, jnp.ones(d), jnp.ones(e))
    with pytest.raises(ValueError, match=message):
        multiplicative_logits(X, jnp.ones(d), jnp.ones(e), 6)


def test_a_readout_of_another_vocabulary():
    message = r"for 9 tokens in 2 modules E must be \(d_model, 5\); got float32\[6, 4\]"
    with pytest.raises(ValueError, match=message):
        multiplicative_logits(X, jnp.ones((6, 2)), jnp.ones((6, 4)), 9)


def test_modules_that_do_not_fill_d_model():
    with pytest.raises(ValueError, match=r"d_model must be a multiple of S = 4, .* got 6"):
        permutation_factors(np.arange(6), 4)


@pytest.mark.parametrize("numbers", [[0, 0, 2, 3], [1, 2, 3, 4]])
def test_no_permutation(numbers):
    with pytest.raises(ValueError, match=r"each of 0 … 3 once; got \["):
        permutation_factors(np.array(numbers), 2)


Y = jnp.ones((10, 2, 3))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ((3, 3, 4, 3), r"the kernel \(I, J, M, d_out\); got float32\[10, 2, 3\] and float32\[3, 3"),
        ((3, 3, 3), "the kernel"),
        ((3, 2, 3, 3), "at an odd number of modules; got 2"),
    ],
)
def test_kernels(kernel, message):
    with pytest.raises(ValueError, match=message):
        convolution(Y, jnp.ones(kernel))


def test_histories():
    message = r"must hold the 2 rows before y, each \(2, 3\); got float32\[3, 2, 3\]"
    with pytest.raises(ValueError, match=message):
        convolution_step(Y, jnp.ones((3, 2, 3)), jnp.ones((3, 3, 3, 3)))


def test_blocks_too_small_to_be_balanced():
    with pytest.raises(ValueError, match=r"has \d+ parameters, and a sparse one .* already [\d,]+"):
        widened_d_ff(4, 4, n_modules=1, n_units=64)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (np.zeros((0, 3), int), r"of shape \(length, n_blocks\); got int64\[0, 3\]"),
        (np.zeros(3, int), r"got int64\[3\]"),
        (np.zeros((2, 3)), r"units must be integers .* got float64\[2, 3\]"),
        (np.full((2, 3), 4), r"units must lie in 0 … 3 \(N = 4\); got 4 … 4"),
    ],
)
def test_units_that_loads_are_counted_of(units, message):
    with pytest.raises(ValueError, match=message):
        unit_loads(units, 4)
