"""8-bit Adam: two bytes per parameter, and Adam's own steps, nearly."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efftx.memory import adam_8bit, eight_bit_adam, quantize_blockwise, scale_by_adam_8bit
from efftx.memory.eight_bit_adam import keep_first, keep_second, restore_first, restore_second
from efftx.models import (
    Blocked,
    Sizes,
    encoder_decoder,
    n_parameters,
    named_parameters,
    transformer,
)
from efftx.training import checkpoints
from efftx.training.batches import random_windows
from efftx.training.corpora import python_documentation
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte

PARAMS = {"w": jnp.ones((50, 30)), "b": jnp.ones(7), "scale": jnp.ones(())}


def gradients(n_steps, params=PARAMS):
    """Noise; the size of a parameter's gradients lies anywhere between 0.01 and 1."""
    rng = np.random.default_rng(0)
    sizes = jax.tree.map(lambda p: 10 ** rng.uniform(-2, 0, p.shape), params)
    for _ in range(n_steps):
        yield jax.tree.map(lambda size: jnp.float32(size * rng.normal(0.3, 1, size.shape)), sizes)


def last_update(optimiser, n_steps, params=PARAMS):
    """What the optimiser makes of the last of n_steps gradients, as one vector."""
    state, update = optimiser.init(params), jax.jit(optimiser.update)
    for gradient in gradients(n_steps, params):
        updates, state = update(gradient, state)
    return np.concatenate([np.ravel(u) for u in jax.tree.leaves(updates)])


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


# The steps


def test_the_first_step_is_adams_own():
    """It is made of moments that were never rounded."""
    ours, theirs = (last_update(f(1e-2, 0.8, 0.95), 1) for f in (adam_8bit, optax.adam))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("b2", [0.95, 0.999])
def test_later_steps_are_adams_to_a_few_percent(b2):
    ours, theirs = (last_update(f(1e-2, b2=b2), 60) for f in (adam_8bit, optax.adam))
    assert 1e-4 < relative_error(ours, theirs) < 0.2
    assert np.abs(ours).max() < 1.5 * np.abs(theirs).max()  # none is far too large


def test_without_rounding_it_is_adam(monkeypatch):
    for moment in ("first", "second"):
        monkeypatch.setattr(eight_bit_adam, f"keep_{moment}", lambda x, block_len: x)
        monkeypatch.setattr(eight_bit_adam, f"restore_{moment}", lambda x: x)
    ours, theirs = (last_update(f(1e-2), 20) for f in (adam_8bit, optax.adam))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-8)


def test_the_second_moment_in_even_codes_explodes(monkeypatch):
    """Why it is a root that is quantized."""
    monkeypatch.setattr(
        eight_bit_adam, "keep_second", lambda root, block_len: quantize_blockwise(root**2)
    )
    dequantize = eight_bit_adam.dequantize
    monkeypatch.setattr(eight_bit_adam, "restore_second", lambda v: jnp.sqrt(dequantize(v)))
    ours, theirs = (last_update(f(1e-2), 60) for f in (adam_8bit, optax.adam))
    assert relative_error(ours, theirs) > 10


def test_moments_come_back_over_four_orders_of_magnitude():
    signs = np.random.default_rng(0).choice([-1, 1], 256)
    m = jnp.float32(signs * np.logspace(-4, 0, 256))
    first, second = restore_first(keep_first(m, 256)), restore_second(keep_second(jnp.abs(m), 256))
    large = np.abs(m) > 0.01
    np.testing.assert_allclose(first[large], m[large], rtol=0.09)  # at 1/100, half a code in 12.7
    np.testing.assert_allclose(second[large], np.abs(m)[large], rtol=0.09)
    np.testing.assert_allclose(first, m, rtol=0.9)


def test_the_second_moment_is_never_zero_where_there_was_a_gradient():
    root = jnp.array([1.0, 1e-10, 0.0])
    kept = keep_second(root, 256)
    assert kept.values.tolist() == [127, 1, 0]
    # The step of a parameter that is rounded up is smaller than Adam's, not 1/ε times as large.
    assert restore_second(kept)[1] >= root[1]


def test_a_gradient_that_is_not_finite_shows():
    state = adam_8bit(1e-2).init(PARAMS)
    update = jax.jit(adam_8bit(1e-2).update)
    bad = {**PARAMS, "w": PARAMS["w"].at[3, 3].set(np.nan)}
    updates, state = update(bad, state)
    assert np.isnan(updates["w"][3, 3])
    updates, _ = update(PARAMS, state)
    assert np.isnan(updates["w"][3, 3])
    assert np.isfinite(updates["b"]).all()


@pytest.mark.parametrize("huge", [1e20, 1e38])
def test_a_huge_gradient_stalls_its_own_block_and_no_other(huge):
    """Its square is infinite in float32. Of optax.adam, which works number by number, only the
    parameter itself stands still from then on."""
    spike, usual = jnp.ones(512).at[0].set(huge), jnp.ones(512)

    def last_step(optimiser):
        update, state = jax.jit(optimiser.update), optimiser.init(usual)
        for gradient in (spike, usual, usual):
            step, state = update(gradient, state)
        return step

    ours, theirs = last_step(adam_8bit(0.1)), last_step(optax.adam(0.1))
    assert np.isfinite(ours).all()
    assert (np.abs(ours[1:256]) < 1e-6).all()
    np.testing.assert_allclose(ours[256:], theirs[256:], rtol=0.02)


# Bytes


def moment_bytes(optimiser, params) -> int:
    state = jax.eval_shape(optimiser.init, params)
    leaves = jax.tree.leaves((state.first, state.second))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


@pytest.mark.parametrize(
    "init",
    [
        partial(transformer, sizes=Sizes()),
        partial(transformer, sizes=Sizes(n_layers=12, d_model=768, d_ff=3072, n_heads=12)),
        partial(transformer, sizes=Sizes(n_layers=1, d_model=48, d_ff=96, n_heads=2, d_head=24)),
        partial(encoder_decoder, sizes=Sizes()),
    ],
    ids=["small", "large", "with biases of 48", "encoder-decoder"],
)
def test_both_moments_take_two_bytes_per_parameter(init):
    model = jax.eval_shape(init, jax.random.key(0))
    per_parameter = moment_bytes(scale_by_adam_8bit(), model) / n_parameters(model)
    assert 2 < per_parameter < 2.1
    float32 = jax.eval_shape(optax.adam(1e-3).init, model)[0]
    in_float32 = sum(leaf.size * 4 for leaf in jax.tree.leaves((float32.mu, float32.nu)))
    assert in_float32 == 8 * n_parameters(model)


@pytest.mark.parametrize(("size", "expected"), [(80, 2.1), (10, 2.8), (1, 10), (256, 2.03125)])
def test_an_array_smaller_than_a_block_is_one_block(size, expected):
    assert moment_bytes(scale_by_adam_8bit(), jnp.ones(size)) / size == expected


# Together with the rest


def test_updates_have_the_gradients_dtype():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    optimiser = adam_8bit(optax.linear_schedule(1e-2, 0, 10))
    updates, _ = optimiser.update(params, optimiser.init(params))
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}


def test_its_state_survives_a_checkpoint(tmp_path):
    optimiser = adam_8bit(1e-2)
    (gradient,) = gradients(1)
    _, state = optimiser.update(gradient, optimiser.init(PARAMS))
    checkpoints.save(tmp_path / "state.npz", state)
    loaded = checkpoints.load(tmp_path / "state.npz", like=optimiser.init(PARAMS))
    assert named_parameters(loaded).keys() == named_parameters(state).keys()
    jax.tree.map(np.testing.assert_array_equal, loaded, state)


def test_a_text_model_learns_as_with_adam():
    """A larger run of the same kind: experiments/eight_bit_adam.py."""
    text = python_documentation().train
    sizes = Sizes(n_layers=2, d_model=64, d_ff=128, n_heads=2, d_head=32, max_len=64)
    n_steps = 250

    def losses(adam):
        return np.asarray(
            train(
                transformer(jax.random.key(0), sizes, kind=Blocked()),
                loss=bits_per_byte,
                batch_at=lambda step: random_windows(text, seed=0, step=step, length=64, batch=8),
                optimiser=adam(optax.cosine_decay_schedule(3e-3, n_steps)),
                n_steps=n_steps,
                progress=False,
            ).losses
        )

    ours, theirs = losses(adam_8bit), losses(optax.adam)
    assert theirs[-50:].mean() < 0.7 * theirs[:10].mean()  # it does learn
    assert not np.array_equal(ours, theirs)
    assert abs(ours[-50:].mean() / theirs[-50:].mean() - 1) < 0.02
