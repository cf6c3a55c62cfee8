"""The memory hunt: tests that learners may write, good ones in other styles, and weak ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import CheckFailed
from efftx.check import hunt_memory as check
from efftx.check.hunt_memory_sound import quantize, rebuilt, stored
from efftx.memory import quantization, reversible_stack


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def near(got, wanted, tolerance=1e-4):
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


# Part 1


def wave(x):
    return jnp.cos(x)


def of_lengths(*sizes, f=wave, tolerance=1e-4):
    """A test with these lengths and chunks."""

    def test(in_chunks):
        for length, chunk_len in sizes:
            x = drawn(length, 2, seed=length)
            near(in_chunks(f, x, chunk_len), f(x), tolerance)

    return test


def the_largest_error(in_chunks):
    for length in range(1, 21, 3):
        for chunk_len in (1, 4, 30):
            x = drawn(length, 2)
            assert abs(in_chunks(wave, x, chunk_len) - wave(x)).max() < 1e-4


# Part 2


def rows():
    return drawn(5, 8) * jnp.array([[1], [100], [1e-5], [0], [3]]) - jnp.eye(5, 8)


def within_a_step(quantize, x, part=0.51):
    codes, scales = quantize(x)
    assert codes.dtype == jnp.int8
    assert (abs(codes * scales - x) <= part * abs(x).max(-1, keepdims=True) / 127).all()


def row_by_row(quantize):
    x = np.asarray(rows()).copy()
    x[3], x[2] = 0, 1e-5 * x[2]
    codes, scales = (np.asarray(a) for a in quantize(jnp.asarray(x)))
    assert codes.itemsize == 1
    for row, code, scale in zip(x, codes.astype(float), scales[:, 0], strict=True):
        top = np.abs(row).max()
        assert np.all(np.abs(code * scale - row) <= 0.505 * top / 127)


def by_package(quantize):
    x = rows().at[3].set(0).at[2].multiply(1e-5)
    codes, scales = quantize(x)
    packages = quantization.dequantize(quantization.quantize(x))
    assert codes.dtype == jnp.int8
    assert (abs(codes * scales - packages) <= 1e-6 + 1e-5 * abs(packages)).all()
    assert (abs(codes * scales - x)[2] <= 0.51 * abs(x[2]).max() / 127).all()


def with_rows(change, part=0.51):
    return lambda quantize: within_a_step(quantize, change(rows()), part)


def dtype_alone(quantize):
    assert quantize(rows())[0].dtype == jnp.int8


def roughly(quantize):
    x = rows().at[3].set(0)
    codes, scales = quantize(x)
    near(codes * scales, x, 0.1)


def no_zero_row(x):
    return jnp.where(x == 0, 1.0, x)


# Part 3

NUMBERS = np.array([-1.7, -0.2, 0, 0.1, 0.5, 0.9, 2, 3.3])


def thousands(round_stochastically, numbers=NUMBERS, seed=1):
    x = np.tile(numbers, (4000, 1))
    return np.asarray(round_stochastically(jnp.asarray(x), jax.random.key(seed)))


def one_by_one(round_stochastically):
    """Each number in an array of its own, with a key of its own."""
    for n, number in enumerate(NUMBERS):
        key = jax.random.key(n)
        got = np.asarray(round_stochastically(jnp.full(4000, number), key))
        assert set(got.tolist()) <= {np.floor(number), np.ceil(number)}
        assert abs(got.mean() - number) < 0.04
        other = round_stochastically(jnp.full(4000, number), jax.random.key(n + 50))
        assert number % 1 == 0 or (got != other).any()


def by_shares(round_stochastically):
    """How often up."""
    got, other = (thousands(round_stochastically, seed=n) for n in (3, 4))
    assert ((got == np.floor(NUMBERS)) | (got == np.ceil(NUMBERS))).all()
    assert np.allclose((got > NUMBERS).mean(0), NUMBERS % 1, atol=0.04)
    assert not np.array_equal(got, other)


def mean_of(*numbers):
    def test(round_stochastically):
        numbers_ = np.array(numbers)
        means = thousands(round_stochastically, numbers_).mean(0)
        assert np.allclose(means, numbers_, atol=0.05)

    return test


def beside(round_stochastically):
    assert (abs(thousands(round_stochastically) - NUMBERS) < 1).all()


def mean_alone(round_stochastically):
    assert np.allclose(thousands(round_stochastically).mean(0), NUMBERS, atol=0.05)


def whole(round_stochastically):
    got = thousands(round_stochastically)
    assert (got == np.round(got)).all()


def another_key(round_stochastically):
    got, other = (thousands(round_stochastically, seed=n) for n in (3, 4))
    assert (got != other).any()


def the_same_key(round_stochastically):
    got, other = (thousands(round_stochastically, seed=3) for n in (3, 4))
    assert (got == other).all()


# Part 4

INPUTS = ("w_f", "w_g", "x1", "x2", "extra")


def inputs_of(n_blocks=2, length=4, d=5, seed=0):
    shapes = (n_blocks, d, d), (n_blocks, d, d), (length, d), (length, d), (d,)
    return [drawn(*shape, seed=seed + n) for n, shape in enumerate(shapes)]


def gradients(stack, inputs, g, key):
    results, pull_back = jax.vjp(lambda *inputs: stack(*inputs, key), *inputs)
    return dict(zip(("y1", "y2", *INPUTS), (*results, *pull_back(g)), strict=True))


def compared(*names, tolerance=1e-4, n_blocks=2, g=None):
    """A test that compares these gradients, and the results."""

    def test(rebuilt):
        inputs = inputs_of(n_blocks)
        weights = (drawn(4, 5, seed=8), drawn(4, 5, seed=9)) if g is None else g
        both = [gradients(stack, inputs, weights, jax.random.key(3)) for stack in (rebuilt, stored)]
        for name in ("y1", "y2", *names):
            near(both[0][name], both[1][name], tolerance)

    return test


def by_grad(rebuilt):
    def loss(inputs, stack):
        y1, y2 = stack(*inputs, jax.random.key(5))
        return (jnp.sin(y1) + y2**2).sum()

    slopes = [jax.grad(loss)(inputs_of(3), stack) for stack in (rebuilt, stored)]
    for got, wanted in zip(*slopes, strict=True):
        near(got, wanted, 3e-4)


def it_goes_down(rebuilt):
    """A step along the gradient makes the loss smaller."""

    def loss(inputs):
        return sum((y**2).mean() for y in rebuilt(*inputs, jax.random.key(3)))

    inputs = inputs_of()
    slope = jax.grad(loss)(inputs)
    lower = jax.tree.map(lambda x, g: x - 0.01 * g, inputs, slope)
    assert loss(lower) < loss(inputs)


ALL_LENGTHS = ((7, 3), (6, 3), (2, 5), (20, 1))
ONES = (jnp.ones((4, 5)), jnp.ones((4, 5)))
GOOD = {
    "test_chunks": [of_lengths(*ALL_LENGTHS), the_largest_error],
    "test_eight_bits": [row_by_row, by_package],
    "test_rounding": [one_by_one, by_shares],
    "test_rebuilt": [compared(*INPUTS), compared(*INPUTS, n_blocks=3), by_grad],
}
WEAK = {
    "test_chunks": [
        of_lengths((6, 3)),
        of_lengths((6, 3), (8, 4)),
        of_lengths((7, 3)),
        of_lengths((7, 3), (6, 3), (2, 5)),
        of_lengths((7, 3), (20, 1)),
        of_lengths((2, 5)),
        of_lengths(*ALL_LENGTHS, tolerance=0.1),
        of_lengths(*ALL_LENGTHS, f=jnp.zeros_like),
        of_lengths((20, 20)),
        of_lengths(*ALL_LENGTHS, f=jnp.ones_like),
    ],
    "test_eight_bits": [
        with_rows(lambda x: x),
        with_rows(no_zero_row),
        with_rows(abs),
        with_rows(lambda x: x[:1]),
        with_rows(lambda x: 0 * x),
        with_rows(lambda x: x.at[3].set(0), part=1.01),
        with_rows(lambda x: jnp.ones_like(x)),
        dtype_alone,
        roughly,
        with_rows(lambda x: x.at[3].set(0).at[2].set(1)),
    ],
    "test_rounding": [
        mean_of(0.5),
        mean_of(0.1, 0.9),
        mean_of(-1.7, 3.3),
        mean_of(1, 2, 3),
        beside,
        mean_alone,
        whole,
        another_key,
        the_same_key,
        mean_of(0.25, 0.75),
    ],
    "test_rebuilt": [
        compared(),
        compared("w_f"),
        compared("w_f", "w_g"),
        compared("x1", "x2"),
        compared("w_f", "w_g", "x1", "x2"),
        compared("extra"),
        compared(*INPUTS, n_blocks=1),
        compared(*INPUTS, tolerance=0.05),
        it_goes_down,
        compared("w_f", "w_g", "extra", g=ONES),
    ],
}


def test_the_right_codes_were_not_promised():
    def the_codes(theirs):
        x = jnp.array([[0.5, 127.0, -2.5, 1.5]])
        assert (theirs(x)[0] == quantize(x)[0]).all(), "another code"

    with pytest.raises(CheckFailed, match="accuses a sound one, which rounds a half away"):
        check.test_eight_bits(the_codes)


def test_the_sound_stack_is_the_packages():
    """Without dropout's draws, which are not comparable: of the branches as they are."""
    *inputs, extra = inputs_of(3)

    def by_package(w_f, w_g, x1, x2, extra, key):
        keys = jax.random.split(key, (len(w_f), 2))

        def branch(w, x, key, extra, replay=None):
            return check.sound.branch(w, x, extra, key), None

        both = keys[:, 0], keys[:, 1]
        return reversible_stack((branch, branch), (w_f, w_g), x1, x2, both, extra)

    g = (drawn(4, 5, seed=8), drawn(4, 5, seed=9))
    ours, packages = (
        gradients(stack, [*inputs, extra], g, jax.random.key(3)) for stack in (rebuilt, by_package)
    )
    for name in ours:
        near(ours[name], packages[name])
