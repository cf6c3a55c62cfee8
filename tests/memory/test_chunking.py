"""Chunks against the whole: the same values and gradients, in a fraction of the memory."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import (
    chunked_cross_entropy,
    cross_entropy_reference,
    map_chunks,
    map_chunks_reference,
)

LENGTH, D_MODEL, D_FF, VOCAB = 37, 6, 20, 11
CHUNK_LENS = [1, 8, 36, 37, 512]  # with a rest of one, of five, of one; the whole; more than it


def feed_forward(params, x):
    return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"]


def readout(w, x):
    return x @ w


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def weights(dtype=jnp.float32):
    shapes = {"w1": (D_MODEL, D_FF), "b1": (D_FF,), "w2": (D_FF, D_MODEL)}
    return {name: random(*shape, dtype=dtype) for name, shape in shapes.items()}


def value_and_gradients(function, *arguments):
    """The output, and the gradients of a weighted sum of it for every argument."""

    @jax.jit
    def run(*arguments):
        out, pull_back = jax.vjp(function, *arguments)
        numbers = jnp.arange(out.size) % 5 - 1  # that bfloat16 holds exactly
        return out, *pull_back(numbers.reshape(out.shape).astype(out.dtype))

    return run(*arguments)


def assert_close(ours, theirs, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == other.dtype
        scale = max(1.0, float(jnp.abs(other.astype(jnp.float32)).max()))
        np.testing.assert_allclose(
            np.asarray(one, np.float32), np.asarray(other, np.float32), 0, tolerance * scale
        )


@pytest.mark.parametrize("chunk_len", CHUNK_LENS)
def test_a_chunked_layer_is_the_layer_with_all_gradients(chunk_len):
    arguments = weights(), random(LENGTH, D_MODEL)
    whole = value_and_gradients(feed_forward, *arguments)
    in_chunks = partial(map_chunks, feed_forward, chunk_len=chunk_len)
    in_a_loop = partial(map_chunks_reference, feed_forward, chunk_len=chunk_len)
    assert_close(value_and_gradients(in_chunks, *arguments), whole)
    assert_close(value_and_gradients(in_a_loop, *arguments), whole)


@pytest.mark.parametrize("chunk_len", CHUNK_LENS)
def test_a_chunked_loss_is_the_loss_with_all_gradients(chunk_len):
    w, x = random(D_MODEL, VOCAB), random(LENGTH, D_MODEL)
    targets = np.random.default_rng(0).integers(VOCAB, size=LENGTH).astype(np.uint8)
    in_chunks = partial(chunked_cross_entropy, readout, targets=targets, chunk_len=chunk_len)
    whole = partial(cross_entropy_reference, readout, targets=targets)
    assert_close(value_and_gradients(in_chunks, w, x), value_and_gradients(whole, w, x))


def test_cross_entropy_is_minus_the_log_of_the_targets_probability():
    w, x = np.asarray(random(D_MODEL, VOCAB), np.float64), random(LENGTH, D_MODEL)
    targets = np.arange(LENGTH) % VOCAB
    odds = np.exp(np.asarray(x, np.float64) @ w)
    expected = -np.log(odds[np.arange(LENGTH), targets] / odds.sum(1))
    nats = chunked_cross_entropy(readout, jnp.float32(w), x, targets, chunk_len=10)
    np.testing.assert_allclose(nats, expected, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 200])
def test_any_length(length):
    arguments = weights(), random(length, D_MODEL)
    in_chunks = partial(map_chunks, feed_forward, chunk_len=64)
    assert_close(
        value_and_gradients(in_chunks, *arguments), value_and_gradients(feed_forward, *arguments)
    )


def test_a_rest_is_not_padded():
    """f sees the real rows and no others: on rows of zeros this one would divide by 0."""

    def unit(scale, x):
        return scale * x / jnp.sqrt((x * x).sum(-1, keepdims=True))

    arguments = random(D_MODEL), random(LENGTH, D_MODEL)
    in_chunks = partial(map_chunks, unit, chunk_len=8)
    assert_close(value_and_gradients(in_chunks, *arguments), value_and_gradients(unit, *arguments))


def test_bfloat16_gradients_are_those_of_float32_rounded():
    """Though 512 chunks' gradients are added up: in bfloat16 their sum would drown in rounding."""
    exact = weights(), random(512, D_MODEL)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), exact)
    exact = jax.tree.map(lambda x: x.astype(jnp.float32), low)
    _, g_params, _ = value_and_gradients(partial(map_chunks, feed_forward, chunk_len=1), *low)
    _, expected, _ = value_and_gradients(feed_forward, *exact)
    for ours, theirs in zip(*map(jax.tree.leaves, (g_params, expected)), strict=True):
        assert ours.dtype == jnp.bfloat16
        error = jnp.linalg.norm(ours.astype(jnp.float32) - theirs) / jnp.linalg.norm(theirs)
        assert error < 1 / 100


def test_several_arrays_and_several_results():
    """The leading axis is cut, whatever follows it; params and results may be any pytree."""

    def f(params, x, image, number):
        return {"sum": params[0] * x + image.sum((1, 2))[:, None], "rest": (number * params[1],)}

    params = (jnp.float32(2), jnp.float32(3))
    arrays = random(LENGTH, 4), random(LENGTH, 2, 3), jnp.arange(LENGTH)
    ours = map_chunks(f, params, *arrays, chunk_len=10)
    assert_close(ours, f(params, *arrays))
    assert_close(map_chunks_reference(f, params, *arrays, chunk_len=10), ours)


def test_gradients_reach_what_f_closes_over_and_every_example_of_a_batch():
    params, batch = weights(), random(3, LENGTH, D_MODEL)

    def loss(run, params):
        def f(scale, x):
            return scale * feed_forward(params, x)

        return (jax.vmap(partial(run, f, jnp.float32(2)))(batch) ** 2).mean()

    in_chunks = jax.grad(partial(loss, partial(map_chunks, chunk_len=8)))(params)
    whole = jax.grad(partial(loss, lambda f, scale, x: f(scale, x)))(params)
    assert_close(in_chunks, whole)


# Memory: what the compiler sets aside. Nothing below is run.

LONG, WIDE, BYTES = 8192, 4096, 4
FLOATS = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
PARAMS = {"w1": FLOATS((64, WIDE)), "b1": FLOATS((WIDE,)), "w2": FLOATS((WIDE, 64))}
X = FLOATS((LONG, 64))
TARGETS = jax.ShapeDtypeStruct((LONG,), jnp.int32)


def temporary_bytes(function, *arguments) -> int:
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def both(function):
    """Forward and backward; the gradients are results, not temporary."""

    def run(*arguments):
        out, pull_back = jax.vjp(function, *arguments)
        return out, pull_back(out)

    return run


def layer(chunk_len):
    return partial(map_chunks, feed_forward, chunk_len=chunk_len)


def loss(chunk_len):
    def nats(w, x):
        targets = jnp.zeros(LONG, jnp.int32)
        return chunked_cross_entropy(readout, w, x, targets, chunk_len=chunk_len)

    return nats


def all_logits(w, x):
    return cross_entropy_reference(readout, w, x, jnp.zeros(LONG, jnp.int32))


@pytest.mark.parametrize("chunk_len", [64, 256, 1000])
def test_the_activations_of_one_chunk_exist_at_a_time(chunk_len):
    """One (m, d_ff) array forward; the activations and their gradients backward."""
    one_chunk = chunk_len * WIDE * BYTES
    vectors = LONG * 64 * BYTES  # of which the rest of an uneven length costs some copies
    forward = temporary_bytes(layer(chunk_len), PARAMS, X)
    backward = temporary_bytes(both(layer(chunk_len)), PARAMS, X)
    weights = 2 * 64 * WIDE * BYTES
    assert forward < 1.5 * one_chunk + 3 * vectors
    assert backward < 4 * one_chunk + 6 * vectors + weights
    assert backward < temporary_bytes(both(feed_forward), PARAMS, X) / 5


@pytest.mark.parametrize("chunk_len", [64, 256, 1000])
def test_the_logits_of_one_chunk_exist_at_a_time(chunk_len):
    one_chunk = chunk_len * WIDE * BYTES
    vectors = LONG * 64 * BYTES
    w = FLOATS((64, WIDE))
    forward = temporary_bytes(loss(chunk_len), w, X)
    backward = temporary_bytes(both(loss(chunk_len)), w, X)
    assert forward < 2.1 * one_chunk + 3 * vectors
    assert backward < 4 * one_chunk + 6 * vectors + 64 * WIDE * BYTES
    assert backward < temporary_bytes(both(all_logits), w, X) / 4


def test_the_measure_sees_what_is_whole():
    """Unchunked, and as a plain loop over slices, all activations exist at once."""
    whole = LONG * WIDE * BYTES
    in_a_loop = partial(map_chunks_reference, feed_forward, chunk_len=1024)
    assert temporary_bytes(feed_forward, PARAMS, X) >= whole
    assert temporary_bytes(both(feed_forward), PARAMS, X) >= 2 * whole
    assert temporary_bytes(both(in_a_loop), PARAMS, X) >= whole
    w = FLOATS((64, WIDE))
    assert temporary_bytes(both(all_logits), w, X) >= whole


def kept_bytes(function, *arguments) -> int:
    """What the backward pass keeps of the forward pass."""
    kept = jax.eval_shape(lambda *arguments: jax.vjp(function, *arguments)[1], *arguments)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(kept))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_only_inputs_are_kept_for_the_backward_pass(dtype):
    params, x = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), (PARAMS, X))
    given = sum(math.prod(x.shape) for x in (x, *params.values())) * jnp.dtype(dtype).itemsize
    assert kept_bytes(layer(256), params, x) <= given
    assert kept_bytes(feed_forward, params, x) > 10 * given
