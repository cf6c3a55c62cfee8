"""Models by layer: the same values, and steps that read weights where they lie, proven by bytes."""

import math
import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    Hashed,
    Local,
    Sizes,
    by_layer,
    encoder_decoder,
    generate,
    local,
    lsh,
    n_parameters,
    prefill,
    reformer,
    reversible_residual,
    scaling_transformer,
    step,
    terraformer,
    transformer,
    weights_read,
)

SIZES = Sizes(n_layers=3, d_model=16, d_ff=32, n_heads=4, d_head=4, max_len=40, vocab=30)
TOKENS = np.arange(13) * 7 % 30
MODELS = {
    "dense": transformer,
    "dense, reversible": partial(transformer, residual=reversible_residual),
    "Scaling Transformer": partial(scaling_transformer, n_units=4),
    "Terraformer": partial(terraformer, n_units=4),
}


def logits_of_steps(model, source=None, key=None):
    logits, state = prefill(model, TOKENS[:4], capacity=20, source=source, key=key)
    one, seen = jax.jit(step), [logits]
    for token in TOKENS[4:]:
        logits, state = one(model, state, token)
        seen.append(logits)
    return jnp.stack(seen)


@pytest.mark.parametrize("kind", MODELS)
def test_it_is_the_same_model(kind):
    model = MODELS[kind](jax.random.key(0), SIZES)
    ours = by_layer(model)
    assert len(ours.blocks) == SIZES.n_layers
    assert n_parameters(ours) == n_parameters(model)
    np.testing.assert_allclose(ours(TOKENS), model(TOKENS), atol=1e-5)
    np.testing.assert_allclose(logits_of_steps(ours), logits_of_steps(model), atol=1e-4)


def test_an_encoder_decoders_decoder():
    model = encoder_decoder(jax.random.key(0), SIZES)
    source = model.encode(TOKENS[::-1])
    ours = by_layer(model)
    assert len(ours.decoder) == SIZES.n_layers
    np.testing.assert_array_equal(ours.encode(TOKENS[::-1]).vectors, source.vectors)
    ours, theirs = (logits_of_steps(m, source) for m in (ours, model))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_pattern_keeps_its_order():
    attention = (local(chunk_len=4), lsh(n_hashes=2, chunk_len=32, n_buckets=4))
    model = reformer(jax.random.key(0), replace(SIZES, n_layers=4), attention=attention)
    ours, key = by_layer(model), jax.random.key(1)
    kinds = [type(block.attention.layer.kind) for block in ours.blocks]
    assert kinds == [Local, Hashed] * 2
    second = ours.blocks[2].attention.layer.projection.w_in
    np.testing.assert_array_equal(second[0], model.blocks[0].attention.layer.projection.w_in[1])
    np.testing.assert_allclose(logits_of_steps(ours, key=key), ours(TOKENS, key)[3:], atol=1e-4)


def test_a_batch_is_its_examples():
    model = by_layer(terraformer(jax.random.key(0), SIZES, n_units=4))
    prompts, keys = np.stack([TOKENS[:4], TOKENS[4:8]]), jax.random.split(jax.random.key(1))
    texts = jax.vmap(lambda prompt, key: generate(model, prompt, 7, key))(prompts, keys)
    for ours, prompt, key in zip(texts, prompts, keys, strict=True):
        np.testing.assert_array_equal(ours, generate(model, prompt, 7, key))


# Bytes. Nothing is run -------------------------------------------------------------------------

WIDE = replace(SIZES, d_model=256, d_ff=4096, n_heads=4, d_head=64, vocab=1000)
W1 = WIDE.d_model * WIDE.d_ff  # the numbers of one layer's W1, and of its W2


def compiled_step(make, sizes=WIDE, lay=by_layer):
    model = jax.eval_shape(lambda key: lay(make(key, sizes)), jax.random.key(0))
    state = jax.eval_shape(lambda model: prefill(model, TOKENS, capacity=20)[1], model)
    token = jax.ShapeDtypeStruct((), jnp.int32)
    return model, state, jax.jit(step, donate_argnums=1).lower(model, state, token).compile()


WIDE_MODELS = {
    "dense": transformer,
    "Scaling Transformer": partial(scaling_transformer, n_units=64),
    "Terraformer": partial(terraformer, n_units=64),
}


def temporary(compiled) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("kind", WIDE_MODELS)
def test_a_step_has_no_room_for_a_copy_of_weights(kind):
    """The chosen rows of W1 and W2 it does have, once more where the program is concurrent."""
    chosen = 0 if kind == "dense" else 2 * 4 * W1 // 64
    for n_layers in (2, 6):
        sizes = replace(WIDE, n_layers=n_layers)
        assert temporary(compiled_step(WIDE_MODELS[kind], sizes)[2]) < 2 * chosen + 0.02 * 4 * W1


def test_a_stacked_dense_model_does_copy():
    """So the test above would notice."""
    assert temporary(compiled_step(transformer, lay=lambda model: model)[2]) > 4 * W1


@pytest.mark.parametrize("kind", WIDE_MODELS)
def test_the_caches_are_written_where_they_lie(kind):
    _, state, compiled = compiled_step(WIDE_MODELS[kind])
    caches = sum(4 * leaf.size for leaf in jax.tree.leaves(state.caches))
    assert compiled.memory_analysis().alias_size_in_bytes >= caches


def test_a_dense_step_reads_every_weight_once():
    model, state, compiled = compiled_step(transformer)
    caches = sum(4 * leaf.size for leaf in jax.tree.leaves(state.caches))
    read, wanted = compiled.cost_analysis()["bytes accessed"], 4 * weights_read(model)
    assert wanted < read < 1.03 * wanted + 3 * caches


def touching(program: str, n: int) -> set[str]:
    """The operations of a compiled program into which an array of n numbers comes."""
    shapes = re.findall(r"%(\S+) = f32\[([\d,]+)\]", program)
    large = {name for name, shape in shapes if math.prod(map(int, shape.split(","))) == n}
    lines = re.findall(r"%\S+ = \S+ ([\w-]+)\(([^)]*)\)", program)
    return {
        operation for operation, names in lines if large & set(re.findall(r"%([\w.-]+)", names))
    }


@pytest.mark.parametrize("kind", ["Scaling Transformer", "Terraformer"])
def test_of_w1_and_w2_a_sparse_step_only_gathers(kind):
    """Fusions are named, too, and what is inside them is part of the program."""
    assert touching(compiled_step(WIDE_MODELS[kind])[2].as_text(), W1) == {
        "bitcast",
        "fusion",
        "gather",
    }


def test_products_would_show():
    assert "dot" in touching(compiled_step(transformer)[2].as_text(), W1)


# Weights read ---------------------------------------------------------------------------------


def test_weights_read_by_hand():
    d, d_ff, depth, vocab = 16, 32, 3, 30
    block = 4 * d**2 + 2 * d * d_ff + d_ff + d + 4 * d  # with two norms
    dense = transformer(jax.random.key(0), SIZES)
    assert weights_read(dense) == weights_read(by_layer(dense))
    assert weights_read(dense) == 2 * d + depth * block + 2 * d + d * vocab
    model = encoder_decoder(jax.random.key(0), SIZES)
    assert weights_read(model) == weights_read(dense) + depth * (2 * d**2 + 2 * d)
    sparse = scaling_transformer(jax.random.key(0), SIZES, n_units=4, d_lowrank=5)
    feed_forward = 5 * (d + d_ff) + 2 * d * d_ff // 4 + d_ff // 4 + d
    qkv = d * (4 + 4) + 27 * 4**2
    readout = d * (4 + 8) + 2 * d
    assert weights_read(sparse) == 2 * d + depth * (qkv + feed_forward + 4 * d) + readout


def test_the_papers_medium_size():
    dense = Sizes(
        n_layers=24, d_model=1024, d_ff=4096, n_heads=16, d_head=64, max_len=64, vocab=32_000
    )
    read = lambda make, sizes: weights_read(  # noqa: E731
        jax.eval_shape(lambda key: make(key, sizes), jax.random.key(0))
    )
    assert round(read(transformer, dense) / 1e6) == 335
    wide = replace(dense, d_ff=6144)
    assert round(read(scaling_transformer, wide) / 1e6, 1) == 20.4
