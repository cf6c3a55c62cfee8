"""A model in chunks is the model: the same logits, loss and gradients, in less memory."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from efftx.models import (
    NOTHING,
    Blocked,
    Chunked,
    Extra,
    Layer,
    Sizes,
    Source,
    attention_layer,
    chosen_units,
    chunked,
    init_feed_forward,
    language_model,
    named_parameters,
    plain_residual,
    prefill,
    reversible_residual,
    sparse_feed_forward,
    step,
    transformer,
    with_parameters,
    with_sru,
)
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
class Noise(Layer):
    """A layer that draws numbers, looks at extra, and chooses."""

    scale: Any

    positionwise: ClassVar[bool] = True

    def __call__(self, x, key=None, extra=NOTHING, replay=None):
        chosen = (jax.random.normal(key, x.shape[:1]) > 0) if replay is None else replay
        drawn = self.scale * jax.random.normal(key, x.shape)
        return extra.source.vectors + drawn * (1 + chosen[:, None]), chosen


def beside(number: float) -> Extra:
    return Extra(source=Source(jnp.float32(number)))


def test_every_chunk_draws_its_own_numbers_and_replays_them():
    layer, x, key = Chunked(Noise(jnp.float32(1)), 10), jnp.zeros((40, 3)), jax.random.key(0)
    drawn, chosen = layer(x, key, beside(5))
    assert len(np.unique(drawn)) == drawn.size
    assert 0 < chosen.sum() < len(x)
    np.testing.assert_array_equal(layer(x, key, beside(5))[0], drawn)
    np.testing.assert_allclose(layer(x, key, beside(7))[0], drawn + 2, rtol=1e-6)
    again, unchosen = layer(x, key, beside(5), ~chosen)
    np.testing.assert_array_equal(unchosen, ~chosen)
    assert (again != drawn).all()


def test_what_looks_at_several_positions_is_not_chunked():
    """Before anything is computed: in chunks it would be another function."""
    with pytest.raises(ValueError, match=r"WithSRU looks at several positions.*Chunk what is in"):
        jax.eval_shape(lambda: chunked(with_sru(init_feed_forward), 4)(jax.random.key(0), SIZES))
    layer = with_sru(chunked(init_feed_forward, 4))(jax.random.key(0), SIZES)
    assert isinstance(layer.layer, Chunked)


@pytest.mark.parametrize("residual", [plain_residual, reversible_residual])
def test_a_chunked_controller_chooses_trains_and_generates_as_the_whole_layer(residual):
    """Its units are replayed, seen from outside, and hard where it generates, whatever the key."""
    sparse, key = sparse_feed_forward(n_units=4), jax.random.key(1)
    make = lambda feed_forward: language_model(  # noqa: E731
        jax.random.key(0), SIZES, attention_layer(), feed_forward, residual
    )
    whole, in_chunks = make(sparse), make(chunked(sparse, 16))
    np.testing.assert_array_equal(chosen_units(in_chunks, TEXT), chosen_units(whole, TEXT))
    np.testing.assert_allclose(in_chunks(TEXT), whole(TEXT), atol=1e-5)
    logits, state = prefill(in_chunks, TEXT[:20], capacity=30, key=key)
    hard = whole(TEXT[:22])
    np.testing.assert_allclose(logits, hard[19], atol=1e-4)
    for position in (20, 21):
        logits, state = step(in_chunks, state, TEXT[position])
        np.testing.assert_allclose(logits, hard[position], atol=1e-4)
    loss = lambda model: bits_per_byte(model, TEXT)  # noqa: E731
    ours, theirs = (jax.tree.leaves(jax.jit(jax.grad(loss))(m)) for m in (in_chunks, whole))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()))


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
    make = partial(transformer, jax.random.key(0), kind=Blocked())
    plain = jax.eval_shape(lambda: make(sizes))
    chunked = jax.eval_shape(lambda: make(sizes, ff_chunk_len=64))
    loss = partial(bits_per_byte, chunk_len=64)
    logits, activations = (length * width * 4 for width in (sizes.vocab, sizes.d_ff))
    assert temporary_bytes(plain, bits_per_byte, length) > logits + activations
    assert temporary_bytes(plain, loss, length) < 4 * activations < logits * 1.1
    assert temporary_bytes(chunked, loss, length) < activations
