"""Models in eight bits: nearly the same values, a quarter of the bytes, no matrix made whole."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    Sizes,
    by_layer,
    generate,
    in_eight_bits,
    prefill,
    scaling_transformer,
    step,
    terraformer,
    transformer,
)
from efftx.models.matrices import eight_bit_stack, times
from efftx.models.sparse_feed_forward import as_rows

SIZES = Sizes(n_layers=2, d_model=64, d_ff=128, n_heads=4, d_head=16, max_len=40, vocab=50)
TOKENS = np.arange(13) * 7 % 50
MODELS = {
    "dense": transformer,
    "Scaling Transformer": partial(scaling_transformer, n_units=8),
    "Terraformer": partial(terraformer, n_units=8),
}


def random(*shape):
    return jnp.asarray(np.random.default_rng(list(shape)).normal(size=shape), jnp.float32)


def relative_error(ours, theirs) -> float:
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))


@pytest.mark.parametrize(("n_in", "shape"), [(1, (12, 3, 2, 5)), (2, (4, 3, 7))])
def test_a_matrix_multiplies_as_the_array_does(n_in, shape):
    w, x = random(1, *shape), random(6, *shape[:n_in])
    stored = jax.tree.map(lambda stack: stack[0], eight_bit_stack(w, n_in))
    assert relative_error(times(x, stored), times(x, w[0])) < 0.01
    assert times(x, stored).shape == times(x, w[0]).shape


def test_rows_come_back():
    w = random(1, 3, 4, 8)
    stored = jax.tree.map(lambda stack: stack[0], as_rows(w))
    codes, scale = stored.chosen(jnp.array([2, 0, 3]))
    wanted = w[0, jnp.arange(3), jnp.array([2, 0, 3])]
    np.testing.assert_allclose(codes * scale[:, None], wanted, atol=float(abs(w).max()) / 254)


def test_rows_are_whole_words():
    with pytest.raises(ValueError, match="multiple of 4; got 6"):
        as_rows(random(1, 2, 3, 6))


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_nearly_the_same(kind):
    """Both read the whole text, so that no controller chooses by what another rounding made."""
    model = MODELS[kind](jax.random.key(0), SIZES)
    ours, theirs = (prefill(m, TOKENS, capacity=20)[0] for m in (in_eight_bits(model), model))
    assert relative_error(ours, theirs) < 0.1


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_gives_what_the_whole_model_gives(kind):
    model = by_layer(in_eight_bits(MODELS[kind](jax.random.key(0), SIZES)))
    whole = jax.jit(lambda model: model(TOKENS))(model)
    logits, state = prefill(model, TOKENS[:4], capacity=20)
    np.testing.assert_allclose(logits, whole[3], atol=1e-4)
    one = jax.jit(step)
    for position in range(4, len(TOKENS)):
        logits, state = one(model, state, TOKENS[position])
        np.testing.assert_allclose(logits, whole[position], atol=1e-4)


def test_it_generates_a_batch():
    model = by_layer(in_eight_bits(terraformer(jax.random.key(0), SIZES, n_units=8)))
    keys = jax.random.split(jax.random.key(1))
    texts = jax.vmap(lambda key: generate(model, TOKENS[:4], 5, key))(keys)
    for ours, key in zip(texts, keys, strict=True):
        np.testing.assert_array_equal(ours, generate(model, TOKENS[:4], 5, key))


@pytest.mark.parametrize(("kind", "n_units"), [("dense", None), ("Scaling Transformer", 64)])
def test_a_step_makes_no_matrix_of_float32(kind, n_units):
    """Scratch is less than one layer's W1 in eight bits. Nothing is run."""
    sizes = replace(SIZES, d_model=256, d_ff=4096, n_heads=4, d_head=64)
    make = MODELS[kind] if n_units is None else partial(MODELS[kind], n_units=n_units)
    lay = lambda key: by_layer(in_eight_bits(make(key, sizes)))  # noqa: E731
    model = jax.eval_shape(lay, jax.random.key(0))
    state = jax.eval_shape(lambda model: prefill(model, TOKENS, capacity=20)[1], model)
    token = jax.ShapeDtypeStruct((), jnp.int32)
    compiled = jax.jit(step, donate_argnums=1).lower(model, state, token).compile()
    w1_bytes = sizes.d_model * sizes.d_ff
    assert compiled.memory_analysis().temp_size_in_bytes < 0.5 * w1_bytes


def test_nor_does_a_loop_over_steps_before_it_begins():
    """Scratch is less than one matrix in eight bits, whatever the number of tokens."""
    sizes = replace(SIZES, d_model=256, d_ff=4096, n_heads=4, d_head=64)
    lay = lambda key: by_layer(in_eight_bits(transformer(key, sizes)))  # noqa: E731
    model = jax.eval_shape(lay, jax.random.key(0))
    write = jax.jit(lambda model, key: generate(model, TOKENS[:4], 9, key))
    scratch = write.lower(model, jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes
    assert scratch < sizes.d_model * sizes.d_ff
