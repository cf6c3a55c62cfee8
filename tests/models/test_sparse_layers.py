"""Sparse layers in models: they train, in plain and reversible stacks, and decode as they train."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efftx.memory import reversible_stack_reference
from efftx.models import (
    Exact,
    FeedForward,
    Hashed,
    Kind,
    Shared,
    Sizes,
    attention_layer,
    hardened,
    language_model,
    multiplicative,
    n_parameters,
    named_parameters,
    plain_residual,
    prefill,
    reversible_residual,
    sparse_feed_forward,
    step,
)
from efftx.models.branch import branches
from efftx.models.readouts import init_multiplicative_readout
from efftx.models.sparse_feed_forward import init_sparse_feed_forward
from efftx.sparsity import (
    n_multiplicative,
    n_sparse_feed_forward,
    n_sparse_qkv,
    strongest_units,
    units_to_mask,
)
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte

SIZES = Sizes(n_layers=2, d_model=16, d_ff=32, n_heads=4, d_head=4, max_len=40, vocab=50)
TOKENS = np.arange(13) * 7 % 50
X = jnp.asarray(np.random.default_rng(0).normal(size=(13, 16)), jnp.float32)
ATTENTIONS = {
    "full": attention_layer(Exact(), multiplicative()),
    "shared-QK": attention_layer(Shared(), multiplicative(2)),
    # No bucket can have more than chunk_len members: then steps find what the whole model finds.
    "LSH": attention_layer(Hashed(n_hashes=2, chunk_len=32, n_buckets=4), multiplicative()),
}


def sparse_model(residual, attention="full"):
    feed_forward = sparse_feed_forward(n_units=4)
    key, attention = jax.random.key(0), ATTENTIONS[attention]
    model = language_model(key, SIZES, attention, feed_forward, residual)
    return replace(model, readout=init_multiplicative_readout(jax.random.key(1), SIZES))


def stored_residual(blocks, x, keys, extra=None):
    """What `reversible_residual` computes, in a loop and with every activation stored."""

    def run(branch, x, key, extra, replay=None):
        return branch(x, key, extra)[0], None

    params = branches(blocks)
    y1, y2 = reversible_stack_reference((run,) * len(params), params, x, x, keys, extra)
    return (y1 + y2) / 2


# Each layer


def feed_forward(seed=0, **how):
    return init_sparse_feed_forward(jax.random.key(seed), SIZES, n_units=4, **how)


def test_without_a_key_all_units_masked_are_the_chosen_ones_gathered():
    layer = feed_forward()
    y, units = layer(X)
    np.testing.assert_array_equal(units, strongest_units(layer.scores(X)))
    np.testing.assert_allclose(layer.gathered(X), y, atol=1e-5)
    np.testing.assert_allclose(layer.gathered(X[3:4]), y[3:4], atol=1e-5)


def test_it_is_the_dense_layer_where_units_that_are_off_do_nothing():
    layer = feed_forward()
    dense = FeedForward(
        layer.w1.reshape(-1, 16).T, layer.b1.ravel(), layer.w2.reshape(-1, 16), layer.b2
    )
    hidden = jax.nn.relu(X @ dense.w1 + dense.b1)
    mask = units_to_mask(layer(X)[1], 4).reshape(13, -1)
    np.testing.assert_allclose(layer(X)[0], hidden * mask @ dense.w2 + dense.b2, atol=1e-5)


def test_keys_say_what_is_chosen_and_units_replay_it():
    layer, keys = feed_forward(), jax.random.split(jax.random.key(5), 50)
    chosen = [layer(X, key)[1] for key in keys]
    assert any((units != chosen[0]).any() for units in chosen)
    hard = next(key for key in keys if (layer(X, key)[0] != layer(X, keys[0])[0]).any())
    y, units = layer(X, hard)
    again, the_same = layer(X, hard, replay=units)
    np.testing.assert_array_equal(y, again)
    np.testing.assert_array_equal(units, the_same)


def test_parameters_are_as_many_as_the_formulas_say():
    d, d_ff, vocab = 1024, 4096, 31_999
    sizes = Sizes(d_model=d, d_ff=d_ff, n_heads=16, d_head=64, vocab=vocab)
    count = lambda init, **how: n_parameters(  # noqa: E731
        jax.eval_shape(lambda key: init(key, sizes, **how), jax.random.key(0))
    )
    assert count(init_sparse_feed_forward) == n_sparse_feed_forward(d, d_ff, 64)
    ours = count(init_sparse_feed_forward, n_units=32, d_lowrank=5)
    assert ours == n_sparse_feed_forward(d, d_ff, 32, 5)
    for kind in (Shared(), Exact()):
        ours = count(attention_layer(kind, multiplicative()))
        assert ours == n_sparse_qkv(d, 16, kind.n_projections)
    assert count(attention_layer(Exact(), multiplicative(32))) == n_sparse_qkv(d, 32)
    ours = count(init_multiplicative_readout) - 2 * d  # without its norm
    assert ours == n_multiplicative(d, 4, 8_000)


@pytest.mark.parametrize("n_modules", [2, 4, 8])
def test_attention_by_its_parts(n_modules):
    """Modules need not be heads: the numbers of a position are cut anew."""
    seen = {}

    @dataclass(frozen=True, kw_only=True)
    class Values(Kind):
        def attend(self, vectors, key, replay, key_mask):
            seen["shapes"] = {x.shape for x in vectors}
            return vectors[-1], None

    layer = attention_layer(Values(), multiplicative(n_modules))(jax.random.key(0), SIZES)
    parts = layer.projection
    y = np.einsum("li,is,im->lsm", X, parts.d, parts.e)
    padded = np.pad(y, ((2, 0), (1, 1), (0, 0)))
    v = sum(
        padded[i : i + 13, j : j + n_modules] @ np.asarray(parts.kernels[i, j, :, 2])
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(layer(X)[0], v.reshape(13, 16), atol=1e-4)
    assert seen["shapes"] == {(13, 4)}  # of one head


def test_vectors_one_position_at_a_time():
    layer = attention_layer(Exact(), multiplicative())(jax.random.key(0), SIZES)
    whole, _ = layer.vectors(X)
    history, steps = None, []
    for position in X:
        vectors, history = layer.projection(position[None], history=history)
        steps.append(vectors)
    np.testing.assert_allclose(jnp.concatenate(steps, axis=2), whole, atol=1e-5)


def test_first_values_have_the_dense_layers_size():
    """Scores of variance about 1, branches that add a small share, small logits."""
    sizes = Sizes(n_layers=3, d_model=256, d_ff=1024, n_heads=8, d_head=32, vocab=999)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(60, 256)), jnp.float32)
    controlled = init_sparse_feed_forward(jax.random.key(0), sizes, n_units=16)
    attention = attention_layer(Exact(), multiplicative())(jax.random.key(0), sizes)
    readout = init_multiplicative_readout(jax.random.key(0), sizes)
    assert 0.5 < float(controlled.scores(x).std()) < 2
    (q, k, v), _ = attention.vectors(x)
    assert 0.5 < float(q.std()) < 2
    assert 0.5 < float(k.std()) < 2
    for branch in (v, controlled(x)[0]):
        assert 0.1 < float(branch.std()) < 0.8  # 6^-0.5 is 0.41, and ReLU takes half the variance
    assert float(readout(x).std()) < 0.6


# In models


def losses(residual, attention, n_steps=60):
    """A text of period 5: after few letters every next one is certain."""
    windows = np.stack([(np.arange(25) + start) % 5 for start in range(5)]).astype(np.int32)
    state = train(
        sparse_model(residual, attention),
        loss=bits_per_byte,
        batch_at=lambda step: windows,
        optimiser=optax.adam(1e-2),
        n_steps=n_steps,
        progress=False,
    )
    evaluated = float(bits_per_byte(hardened(state.model), windows[2], jax.random.key(0)))
    return np.asarray(state.losses), evaluated


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("residual", [plain_residual, reversible_residual])
def test_a_sparse_model_learns(residual, attention):
    """Also by the hard mask, with which it is evaluated and decodes."""
    course, evaluated = losses(residual, attention)
    assert course[0] > 5
    assert course[-5:].mean() < 0.5
    assert evaluated < 0.5


def loss_and_gradients(model, key):
    run = jax.jit(jax.value_and_grad(bits_per_byte))
    loss, gradients = run(model, TOKENS, key)
    return loss, named_parameters(gradients)


@pytest.mark.parametrize("seed", range(3))  # the coins fall soft and hard
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_rebuilt_gradients_are_those_of_autodiff(attention, seed):
    key = jax.random.key(seed)
    ours, our_gradients = loss_and_gradients(sparse_model(reversible_residual, attention), key)
    theirs, their_gradients = loss_and_gradients(sparse_model(stored_residual, attention), key)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for name, right in their_gradients.items():
        scale = float(jnp.abs(right).max())
        assert scale > 0, name
        np.testing.assert_allclose(our_gradients[name], right, atol=1e-4 * scale, err_msg=name)


def test_a_hard_masks_units_come_back_in_the_backward_pass():
    """A layer that chose anew would be told apart: here it is told other units."""
    layer = feed_forward()

    def gradient(replay):
        loss = lambda w1: replace(layer, w1=w1)(X, replay=replay)[0].sum()  # noqa: E731
        return jax.grad(loss)(layer.w1)

    units = layer(X)[1]
    np.testing.assert_array_equal(gradient(units), gradient(None))
    assert (gradient((units + 1) % 4) != gradient(None)).any()


def test_hardened_is_what_it_is_without_a_key():
    model, keys = sparse_model(plain_residual), jax.random.split(jax.random.key(0), 20)
    call = jax.jit(lambda model, key: model(TOKENS, key))
    hard = call(model, None)
    assert any((jnp.abs(call(model, key) - hard) > 1e-3).any() for key in keys)
    for key in keys:
        np.testing.assert_allclose(call(hardened(model), key), hard, atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("residual", [plain_residual, reversible_residual])
def test_a_step_gives_what_the_whole_model_gives(residual, attention):
    """From chosen units' weights and the convolution's history alone."""
    model, key = sparse_model(residual, attention), jax.random.key(2)
    whole = jax.jit(lambda model: hardened(model)(TOKENS, key))(model)
    for n_prompt in (1, 7):
        logits, state = prefill(model, TOKENS[:n_prompt], capacity=20, key=key)
        np.testing.assert_allclose(logits, whole[n_prompt - 1], atol=1e-4)
        one = jax.jit(step)
        for position in range(n_prompt, len(TOKENS)):
            logits, state = one(model, state, TOKENS[position])
            np.testing.assert_allclose(logits, whole[position], atol=1e-4)


def test_readout_in_chunks():
    model = sparse_model(plain_residual)
    ours = bits_per_byte(model, TOKENS, chunk_len=5)
    np.testing.assert_allclose(ours, bits_per_byte(model, TOKENS), rtol=1e-6)


def test_a_step_copies_no_layers_weights():
    """However deep the model, scratch is a fraction of one layer's W1. Nothing is run."""
    sizes = replace(SIZES, d_model=256, d_ff=4096, n_heads=4, d_head=64)
    w1 = sizes.d_model * sizes.d_ff * 4

    def temporary_bytes(n_layers):
        deep = replace(sizes, n_layers=n_layers)
        attention = ATTENTIONS["full"]
        feed_forward = sparse_feed_forward(n_units=64)
        make = lambda key: language_model(key, deep, attention, feed_forward, plain_residual)  # noqa: E731
        model = jax.eval_shape(make, jax.random.key(0))
        state = jax.eval_shape(lambda model: prefill(model, TOKENS, capacity=20)[1], model)
        token = jax.ShapeDtypeStruct((), jnp.int32)
        compiled = jax.jit(step).lower(model, state, token).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(6) - temporary_bytes(2) < 0.01 * w1
    assert temporary_bytes(6) < 0.3 * w1
