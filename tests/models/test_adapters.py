"""Adapters of every model: nothing at the start, gradients of the adapters alone, few bytes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efftx.models import (
    Sizes,
    adapted,
    checkpointed_residual,
    chunked,
    encoder_decoder,
    generate,
    in_bits,
    init_adapters,
    init_feed_forward,
    llama,
    merged,
    n_parameters,
    plain_residual,
    prefill,
    recurrent,
    reformer,
    reversible_residual,
    step,
    terraformer,
    transformer,
    unmerged,
)
from efftx.models.attention import attention_layer
from efftx.models.transformer import language_model
from efftx.training import bits_per_byte, train

SIZES = Sizes(n_layers=2, d_model=16, d_ff=24, n_heads=2, d_head=8, max_len=20, vocab=30)
KEY = jax.random.key(0)
TOKENS = np.arange(11) * 7 % 30


def in_chunks(key, sizes):
    parts = attention_layer(), chunked(init_feed_forward, 4), reversible_residual
    return language_model(key, sizes, *parts)


MODELS = {
    "transformer": transformer,
    "reformer": reformer,
    "in chunks": in_chunks,
    "terraformer": partial(terraformer, n_units=4),
    "recurrent": recurrent,
    "llama": partial(llama, n_groups=1),
}


EVERYWHERE = {"recurrent": "layers.w*"}


def close(ours, theirs, tolerance=2e-5):
    check = partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    jax.tree.map(check, ours, theirs)


def moved(adapters):
    """Adapters that change something."""
    return jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), adapters)


def everywhere(kind: str, bits: int = 32):
    model = MODELS[kind](KEY, SIZES)
    frozen = model if bits == 32 else in_bits(model, bits)
    return frozen, init_adapters(KEY, frozen, EVERYWHERE.get(kind, "blocks.*"), rank=1, alpha=2)


@jax.jit
def loss(model):
    return jnp.sin(model(TOKENS, KEY)).sum()


@pytest.mark.parametrize("kind", MODELS)
def test_the_function_is_unchanged_at_the_start(kind):
    model, adapters = everywhere(kind)
    read = jax.jit(lambda model: model(TOKENS, KEY))
    close(read(adapted(model, adapters)), read(model))


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("kind", MODELS)
def test_apart_and_merged_are_the_same_with_their_gradients(kind, bits):
    """Of a reversible residual, too, which goes back through `undo`."""
    frozen, adapters = everywhere(kind, bits)
    adapters = moved(adapters)
    of = lambda put: jax.jit(jax.value_and_grad(lambda a: loss(put(frozen, a))))(adapters)  # noqa: E731
    close(of(adapted), of(merged), 5e-3)


@pytest.mark.parametrize("bits", [32, 8])
def test_no_gradient_goes_into_what_is_frozen(bits):
    model, adapters = everywhere("transformer", bits)
    blocks = adapted(model, moved(adapters)).blocks
    of = jax.grad(
        lambda blocks: loss(replace(adapted(model, adapters), blocks=blocks)), allow_int=True
    )(blocks)
    for layer in (of.attention.layer, of.feed_forward.layer):
        floats = [g for g in jax.tree.leaves(layer.layer) if g.dtype == jnp.float32]
        assert all(float(abs(g).max()) == 0 for g in floats)
        assert any(float(abs(g).max()) > 0 for g in jax.tree.leaves(layer.changes))


def test_unmerged_is_what_was_there():
    model, adapters = everywhere("transformer")
    changed = merged(model, moved(adapters))
    assert (
        float(abs(changed.blocks.feed_forward.layer.w1 - model.blocks.feed_forward.layer.w1).max())
        > 0.01
    )
    close(unmerged(changed, moved(adapters)), model)


def test_names_choose():
    model = transformer(KEY, SIZES)
    adapters = init_adapters(KEY, model, ("*.w_out", "readout.w"), rank=2)
    assert list(adapters) == ["blocks.attention.layer.projection.w_out", "readout.w"]
    assert [x.a.shape for x in adapters.values()] == [(2, 2, 8, 2), (16, 2)]
    assert n_parameters(adapters) == 2 * (16 * 2 + 2 * 16) + 16 * 2 + 2 * 30


def test_the_readout_and_the_table_can_be_adapted():
    for kind, name in (("transformer", "readout.w"), ("llama", "embedding.tokens")):
        model = MODELS[kind](KEY, SIZES)
        adapters = moved(init_adapters(KEY, model, name, rank=2))
        assert loss(adapted(model, adapters)) != loss(model)
        close(loss(adapted(model, adapters)), loss(merged(model, adapters)), 1e-3)


def test_an_encoder_decoder():
    model = encoder_decoder(KEY, SIZES)
    adapters = moved(init_adapters(KEY, model, "*.projection.*", rank=1))
    read = jax.jit(lambda model: model(TOKENS[:5], TOKENS))
    close(read(adapted(model, adapters)), read(merged(model, adapters)), 1e-4)


@pytest.mark.parametrize("bits", [32, 4])
def test_an_adapted_model_generates(bits):
    frozen, adapters = everywhere("llama", bits)
    apart, together = adapted(frozen, moved(adapters)), merged(frozen, moved(adapters))
    logits, state = prefill(apart, TOKENS, capacity=14)
    wanted, other = prefill(together, TOKENS, capacity=14)
    close(logits, wanted, 1e-3)
    close(step(apart, state, 3)[0], step(together, other, 3)[0], 1e-3)
    assert generate(together, TOKENS, 3, KEY).shape == (3,)


def test_checkpoints_are_the_plain_function():
    model = transformer(KEY, SIZES)
    saved = replace(model, residual=checkpointed_residual)
    of = jax.jit(jax.value_and_grad(loss))
    (ours, g_ours), (theirs, g_theirs) = of(saved), of(model)
    close(ours, theirs)
    close(jax.tree.leaves(g_ours), jax.tree.leaves(g_theirs), 1e-4)


# Training ---------------------------------------------------------------------------------------


def adapter_loss(adapters, frozen, window, key):
    return bits_per_byte(adapted(frozen, adapters), window, key, chunk_len=4)


@pytest.mark.parametrize("residual", [checkpointed_residual, reversible_residual])
def test_training_lowers_the_loss_and_leaves_the_rest(residual):
    """Over eight bits, with the loss in chunks."""
    frozen = in_bits(transformer(KEY, SIZES, residual=residual), 8)
    before = jax.tree.map(np.array, frozen)
    state = train(
        init_adapters(KEY, frozen, "*", rank=2),
        loss=adapter_loss,
        batch_at=lambda step: TOKENS[None],
        optimiser=optax.adam(0.1),
        n_steps=15,
        frozen=frozen,
        vocab=30,
        progress=False,
    )
    assert state.losses[-1] < 0.8 * state.losses[0]
    jax.tree.map(np.testing.assert_array_equal, before, frozen)


WIDE = Sizes(n_layers=8, d_model=128, d_ff=512, n_heads=4, d_head=32, max_len=32, vocab=256)


def scratch(bits: int, residual, sizes: Sizes = WIDE, names: str = "blocks.*") -> int:
    """Temporary bytes of the adapters' gradient; nothing is run."""
    shapes = jax.eval_shape(lambda: transformer(KEY, sizes, residual=residual))
    frozen = jax.eval_shape(lambda m: in_bits(m, bits), shapes) if bits < 32 else shapes
    adapters = jax.eval_shape(lambda m: init_adapters(KEY, m, names, rank=1), frozen)
    window = jax.ShapeDtypeStruct((33,), jnp.int32)
    gradient = jax.jit(jax.grad(adapter_loss), static_argnums=3)
    compiled = gradient.lower(adapters, frozen, window, None).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def layer_bytes(sizes: Sizes) -> int:
    return 4 * (4 * sizes.d_model**2 + 2 * sizes.d_model * sizes.d_ff)


@pytest.mark.parametrize("residual", [checkpointed_residual, reversible_residual])
@pytest.mark.parametrize("bits", [32, 8, 4])
def test_one_layer_s_matrices_exist_at_a_time(residual, bits):
    """And no gradient of the frozen ones: twice the layers add less than a layer's matrices."""
    deeper = scratch(bits, residual, replace(WIDE, n_layers=16))
    assert deeper - scratch(bits, residual) < layer_bytes(WIDE)
    assert deeper < 8 * layer_bytes(WIDE)


def test_without_checkpoints_fewer_bits_take_more_memory():
    """What was made whole is kept for the way back; in float32 it is there already."""
    plain, eight = (scratch(bits, plain_residual, names="*.w_in") for bits in (32, 8))
    assert eight - plain > 0.5 * WIDE.n_layers * layer_bytes(WIDE)
