"""A model in chunks is the model: the same logits, loss and gradients, in less memory."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from efftx.models.chunked import Chunked
from efftx.models.layers import Sizes, blocked
from efftx.models.parameters import named_parameters, with_parameters
from efftx.models.transformer import transformer
from efftx.training.losses import bits_per_byte

SIZES = Sizes(n_layers=2, d_model=16, d_ff=48, n_heads=2, d_head=8, max_len=64, vocab=256)
TEXT = np.random.default_rng(0).integers(256, size=51).astype(np.uint8)


def plain_and_chunked(chunk_len):
    """The same parameters in both."""
    plain = transformer(jax.random.key(0), SIZES)
    chunked = transformer(jax.random.key(0), SIZES, ff_chunk_len=chunk_len)
    arrays = {
        name.replace("feed_forward.layer.", "feed_forward.layer.layer."): np.asarray(array)
        for name, array in named_parameters(plain).items()
    }
    return plain, with_parameters(chunked, arrays)


@pytest.mark.parametrize("chunk_len", [1, 16, 100])
def test_loss_and_gradients_are_the_plain_models(chunk_len):
    plain, chunked = plain_and_chunked(chunk_len)
    loss = partial(bits_per_byte, chunk_len=chunk_len)
    value, gradients = jax.jit(jax.value_and_grad(bits_per_byte))(plain, TEXT)
    in_chunks, in_chunks_gradients = jax.jit(jax.value_and_grad(loss))(chunked, TEXT)
    assert float(in_chunks) == pytest.approx(float(value), rel=1e-6)
    pairs = zip(*map(jax.tree.leaves, (in_chunks_gradients, gradients)), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(jnp.abs(theirs).max()))
    np.testing.assert_allclose(chunked(TEXT), plain(TEXT), atol=1e-5)


@register_dataclass
@dataclass(frozen=True)
class Noise:
    """A layer that draws numbers, and looks at extra."""

    scale: float

    def __call__(self, x, key=None, extra=None):
        return extra + self.scale * jax.random.normal(key, x.shape)


def test_every_chunk_draws_its_own_numbers_and_replays_them():
    layer, x, key = Chunked(Noise(jnp.float32(1)), 10), jnp.zeros((40, 3)), jax.random.key(0)
    drawn = layer(x, key, 5.0)
    assert len(np.unique(drawn)) == drawn.size
    np.testing.assert_array_equal(layer(x, key, 5.0), drawn)
    np.testing.assert_allclose(layer(x, key, 7.0), drawn + 2, rtol=1e-6)


def temporary_bytes(model, loss, length):
    windows = jax.ShapeDtypeStruct((length + 1,), jnp.uint8)
    step = jax.jit(jax.value_and_grad(loss)).lower(model, windows).compile()
    return step.memory_analysis().temp_size_in_bytes


def test_a_step_needs_neither_wide_activations_nor_logits():
    """What is left, divided by the length, fits into a small multiple of the stream's width."""
    length = 2048
    sizes = Sizes(
        n_layers=1, d_model=16, d_ff=2048, n_heads=1, d_head=16, max_len=length, vocab=8192
    )
    make = partial(transformer, jax.random.key(0), attend=blocked)
    plain = jax.eval_shape(lambda: make(sizes))
    chunked = jax.eval_shape(lambda: make(sizes, ff_chunk_len=64))
    loss = partial(bits_per_byte, chunk_len=64)
    logits, activations = (length * width * 4 for width in (sizes.vocab, sizes.d_ff))
    assert temporary_bytes(plain, bits_per_byte, length) > logits + activations
    assert temporary_bytes(plain, loss, length) < 4 * activations < logits * 1.1
    assert temporary_bytes(chunked, loss, length) < activations
