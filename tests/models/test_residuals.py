"""Models whose activations are rebuilt: the gradients of autodiff, for any block and any dtype."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from efftx.memory import reversible_stack_reference
from efftx.models import (
    NOTHING,
    Blocked,
    Layer,
    Sizes,
    attention_layer,
    encoder_decoder,
    init_feed_forward,
    language_model,
    n_parameters,
    named_parameters,
    plain_residual,
    reformer,
    reversible_residual,
    transformer,
)
from efftx.models.branch import branches
from tests.models.test_transformer import Noisy

SIZES = Sizes(n_layers=3, d_model=16, d_ff=24, n_heads=2, d_head=4, max_len=40, vocab=50)
SOURCE, TARGET = np.arange(11) % 7, np.arange(9) % 5
MASK = np.arange(11) < 8


def stored_residual(blocks, x, keys, extra=None):
    """What `reversible_residual` computes, in a loop and with every activation stored."""

    def run(branch, x, key, extra, replay=None):
        return branch(x, key, extra)[0], None

    params = branches(blocks)
    y1, y2 = reversible_stack_reference((run,) * len(params), params, x, x, keys, extra)
    return (y1 + y2) / 2


def language(residual):
    return transformer(jax.random.key(0), SIZES, residual=residual)


def translation(residual):
    return encoder_decoder(jax.random.key(0), SIZES, residual=residual)


CALLS = {
    "decoder only": (language, lambda model, key: model(TARGET, key)),
    "encoder-decoder": (translation, lambda model, key: model(SOURCE, TARGET, key, key_mask=MASK)),
}


def loss_and_gradients(model, call, key=None):
    @jax.jit
    def run(model):
        return jax.value_and_grad(lambda model: -jax.nn.log_softmax(call(model, key))[:, 3].mean())(
            model
        )

    loss, gradients = run(model)
    return loss, named_parameters(gradients)


@pytest.mark.parametrize("kind", CALLS)
def test_gradients_are_those_of_autodiff(kind):
    """Of every parameter; the encoder's only come through the decoder's ``extra``."""
    make, call = CALLS[kind]
    ours, our_gradients = loss_and_gradients(make(reversible_residual), call)
    theirs, their_gradients = loss_and_gradients(make(stored_residual), call)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for name, right in their_gradients.items():
        scale = float(jnp.abs(right).max())
        assert scale > 0, name
        np.testing.assert_allclose(our_gradients[name], right, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("kind", CALLS)
def test_it_has_the_plain_models_parameters_but_is_another_function(kind):
    make, call = CALLS[kind]
    ours, plain = make(reversible_residual), make(plain_residual)
    assert n_parameters(ours) == n_parameters(plain)
    difference = jnp.abs(jax.jit(call)(ours, None) - jax.jit(call)(plain, None)).max()
    assert difference > 1e-3


def test_one_block_by_hand():
    model = transformer(jax.random.key(1), replace(SIZES, n_layers=1), residual=reversible_residual)
    block = jax.tree.map(lambda x: x[0], model.blocks)
    x = model.embedding(TARGET)
    y1 = x + block.attention(x)[0]
    y2 = x + block.feed_forward(y1)[0]
    ours = model.last_vectors(TARGET)
    np.testing.assert_allclose(ours, (y1 + y2) / 2, atol=1e-5)


def test_keys_reach_every_layer_and_are_used_again():
    init = attention_layer(Noisy())
    call = CALLS["decoder only"][1]
    one, other = (
        loss_and_gradients(
            language_model(jax.random.key(0), SIZES, init, init_feed_forward, residual),
            call,
            jax.random.key(5),
        )[1]
        for residual in (reversible_residual, stored_residual)
    )
    for name, gradient in one.items():
        np.testing.assert_allclose(gradient, other[name], atol=1e-4 * jnp.abs(gradient).max())


@register_dataclass
@dataclass(frozen=True)
class SignedFeedForward(Layer):
    """A layer that makes a choice: which way each number goes."""

    w: Any

    def __call__(self, x, key=None, extra=NOTHING, replay=None):
        chosen = (x @ self.w > 0).astype(jnp.uint8) if replay is None else replay
        return jnp.where(chosen == 1, x @ self.w, 0), chosen


def test_a_layers_choices_are_replayed():
    """They come back into the layer in the backward pass; other layers know nothing of it."""
    seen = []

    @register_dataclass
    @dataclass(frozen=True)
    class Watched(SignedFeedForward):
        def __call__(self, x, key=None, extra=NOTHING, replay=None):
            seen.append(replay is not None)
            return super().__call__(x, key, extra, replay)

    def init(key, sizes):
        return Watched(jax.random.normal(key, (sizes.d_model, sizes.d_model)) / 8)

    attention = attention_layer()
    make = partial(language_model, jax.random.key(0), SIZES, attention, init)
    call = CALLS["decoder only"][1]
    _, ours = loss_and_gradients(make(reversible_residual), call)
    assert seen[-1]
    assert not seen[0]
    _, theirs = loss_and_gradients(make(stored_residual), call)
    for name, gradient in ours.items():
        np.testing.assert_allclose(gradient, theirs[name], atol=1e-4 * jnp.abs(gradient).max())


@pytest.mark.parametrize("part", ["attention", "feed_forward"])
def test_layers_that_can_be_undone_with_one_evaluation_are(part, monkeypatch):
    """A reversible residual asks them; by autodiff it would evaluate each once more."""
    model, asked = reformer(jax.random.key(0), SIZES), []
    kind = type(getattr(model.blocks, part).layer)
    undo = kind.undo

    def watched(self, *how):
        asked.append(part)
        return undo(self, *how)

    monkeypatch.setattr(kind, "undo", watched)
    jax.eval_shape(jax.grad(lambda m: m(TARGET, jax.random.key(1)).sum()), model)
    assert asked == [part]


def test_a_bfloat16_model_has_float32_streams_between():
    """Its rounding stays that of the branches, its dtype the model's."""
    model = jax.tree.map(lambda x: x.astype(jnp.bfloat16), language(reversible_residual))
    x = model.embedding(TARGET)
    y, pull_back = jax.vjp(lambda x: reversible_residual(model.blocks, x, (None, None)), x)
    assert y.dtype == pull_back(y)[0].dtype == jnp.bfloat16
    program = str(jax.make_jaxpr(lambda x: reversible_residual(model.blocks, x, (None, None)))(x))
    assert "f32[9,16]" in program


def test_memory_of_a_reformers_depth_is_flat():
    """Blocked attention inside: the next 30 layers take less than one activation together."""
    sizes = replace(SIZES, d_model=256, d_ff=1024, n_heads=4, d_head=64, vocab=4)
    length = 2048

    def temporary_bytes(n_layers):
        deep = replace(sizes, n_layers=n_layers)
        make = partial(transformer, sizes=deep, kind=Blocked(), residual=reversible_residual)
        blocks = jax.eval_shape(make, jax.random.key(0)).blocks
        x = jax.ShapeDtypeStruct((length, 256), jnp.float32)

        def loss(blocks, x):
            return (reversible_residual(blocks, x, (None, None)) ** 2).mean()

        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        return step.lower(blocks, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(32) - temporary_bytes(2) < 30 * 0.02 * length * 256 * 4
