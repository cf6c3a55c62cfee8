"""Masked, gathered, and unit by unit: the same layer; and how its controller learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.sparsity import (
    controller_scores,
    gathered_feed_forward,
    masked_feed_forward,
    n_blocks_of,
    sparse_feed_forward_reference,
    sparsity_mask,
    strongest_units,
    units_to_mask,
)

D, N_BLOCKS, N = 6, 3, 4


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def weights(dtype=jnp.float32):
    """w1, b1, w2, b2."""
    shapes = (N_BLOCKS, N, D), (N_BLOCKS, N), (N_BLOCKS, N, D), (D,)
    return tuple(random(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes))


def some_units(length, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(N, size=(length, N_BLOCKS)), jnp.uint8)


def masked_by_units(x, units, *weights):
    return masked_feed_forward(x, units_to_mask(units, N), *weights)


def value_and_gradients(layer, x, units, weights):
    @jax.jit
    def run(x, weights):
        y, pull_back = jax.vjp(lambda x, weights: layer(x, units, *weights), x, weights)
        return y, pull_back(jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype))

    return run(x, weights)


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("layer", [masked_by_units, gathered_feed_forward])
def test_values_and_gradients_are_those_of_the_loop(layer, length):
    arguments = random(length, D, seed=9), some_units(length), weights()
    ours = value_and_gradients(layer, *arguments)
    theirs = value_and_gradients(sparse_feed_forward_reference, *arguments)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours, theirs)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("layer", [masked_by_units, gathered_feed_forward])
def test_other_dtypes(layer, dtype):
    x, units = random(5, D, dtype=dtype), some_units(5)
    ours = layer(x, units, *weights(dtype))
    assert ours.dtype == dtype
    right = sparse_feed_forward_reference(x.astype(jnp.float32), units, *weights())
    assert float(jnp.abs(ours.astype(jnp.float32) - right).max()) < 0.05 * float(
        jnp.abs(right).max()
    )


def test_with_every_unit_on_it_is_the_dense_layer():
    x, (w1, b1, w2, b2) = random(5, D, seed=9), weights()
    dense = jax.nn.relu(x @ w1.reshape(-1, D).T + b1.ravel()) @ w2.reshape(-1, D) + b2
    ours = masked_feed_forward(x, jnp.ones((5, N_BLOCKS, N)), w1, b1, w2, b2)
    np.testing.assert_allclose(ours, dense, rtol=1e-4, atol=1e-5)


def test_gathering_under_vmap():
    x, units = random(3, 2, D), jnp.stack([some_units(2, seed) for seed in range(3)])
    ours = jax.vmap(lambda x, units: gathered_feed_forward(x, units, *weights()))(x, units)
    for example, mine in enumerate(ours):
        right = sparse_feed_forward_reference(x[example], units[example], *weights())
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-5)


# The controller


def scores_of(length=7, seed=3):
    return controller_scores(
        random(length, D, seed=seed), random(D, 2, seed=4), random(2, N_BLOCKS, N, seed=5)
    )


def test_scores_are_the_low_rank_product_in_blocks():
    x, c1, c2 = random(7, D), random(D, 2), random(2, N_BLOCKS, N)
    flat = np.asarray(x) @ np.asarray(c1) @ np.asarray(c2).reshape(2, -1)
    ours = controller_scores(x, c1, c2)
    np.testing.assert_allclose(ours, flat.reshape(7, N_BLOCKS, N), rtol=1e-4, atol=1e-5)
    low = controller_scores(*(a.astype(jnp.bfloat16) for a in (x, c1, c2)))
    assert low.dtype == jnp.float32


def test_one_unit_in_each_block_is_on():
    scores = scores_of()
    mask, units = sparsity_mask(scores)
    np.testing.assert_array_equal(units, np.argmax(scores, axis=-1))
    np.testing.assert_array_equal(mask, units_to_mask(units, N))  # exactly 0 and 1
    np.testing.assert_array_equal(mask.sum(-1), np.ones((7, N_BLOCKS)))


@pytest.mark.parametrize(("n_units", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16")])
def test_units_have_the_narrowest_type(n_units, dtype):
    assert strongest_units(jnp.ones((2, 3, n_units))).dtype == dtype


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


KEYS = jax.random.split(jax.random.key(0), 400)


def all_masks(**how):
    return jax.jit(jax.vmap(lambda key: sparsity_mask(scores_of(), key, **how)))(KEYS)


def test_a_call_is_all_soft_or_all_hard_three_times_in_ten():
    masks, units = all_masks()
    soft = softmax(np.asarray(scores_of()))
    hard = np.eye(N)[units]
    is_soft = np.array([np.allclose(mask, soft, atol=1e-6) for mask in masks])
    is_hard = np.array([np.array_equal(*pair) for pair in zip(masks, hard, strict=True)])
    assert (is_soft ^ is_hard).all()
    assert 0.22 < is_hard.mean() < 0.38  # of 400 throws at 0.3; the deviation is 0.023


def test_probabilities_of_zero_and_one():
    assert np.allclose(all_masks(hard_probability=0)[0], softmax(np.asarray(scores_of())))
    assert set(np.unique(all_masks(hard_probability=1)[0])) == {0, 1}


def test_noise_explores_in_proportion_to_its_temperature():
    """At temperature 1 the highest of log soft + Gumbel noise is a draw from the softmax."""
    soft, calm = softmax(np.asarray(scores_of())), np.asarray(all_masks(temperature=0)[1])
    drawn = np.eye(N)[all_masks(temperature=1.0)[1]]
    assert np.abs(drawn.mean(0) - soft).max() < 0.12
    assert (calm == np.argmax(soft, axis=-1)).all()
    usual = np.asarray(all_masks()[1])
    assert 0 < (usual != calm).mean() < 0.3


def test_units_and_coin_are_replayed():
    """The same key and units give the same mask, even from scores with another order."""
    key = KEYS[np.flatnonzero([m.max() == 1 for m in np.asarray(all_masks()[0])])[0]]
    mask, units = sparsity_mask(scores_of(), key)
    again, the_same = sparsity_mask(-scores_of(), key, units)
    np.testing.assert_array_equal(again, mask)
    np.testing.assert_array_equal(the_same, units)
    assert (sparsity_mask(-scores_of(), key)[1] != units).any()


@pytest.mark.parametrize("hard_probability", [0, 1])
def test_the_gradient_is_the_softmaxs_on_both_sides_of_the_coin(hard_probability):
    """Straight-through, by hand: g_scores = soft ⊙ (g − Σ g soft) whatever the forward pass was."""
    g = random(7, N_BLOCKS, N, seed=8)
    loss = lambda s: (sparsity_mask(s, KEYS[0], hard_probability=hard_probability)[0] * g).sum()  # noqa: E731
    soft = softmax(np.asarray(scores_of()))
    by_hand = soft * (g - (g * soft).sum(-1, keepdims=True))
    np.testing.assert_allclose(jax.grad(loss)(scores_of()), by_hand, rtol=1e-4, atol=1e-6)


def test_the_controllers_gradient_through_the_whole_layer_by_hand():
    x, c1, c2 = random(7, D, seed=3), random(D, 2, seed=4), random(2, N_BLOCKS, N, seed=5)
    w1, b1, w2, b2 = weights()

    def loss(c2):
        mask, _ = sparsity_mask(controller_scores(x, c1, c2))
        return masked_feed_forward(x, mask, w1, b1, w2, b2).sum()

    hidden = np.maximum(np.einsum("ld,bnd->lbn", x, w1) + np.asarray(b1), 0)
    g_mask = hidden * np.asarray(w2).sum(-1)  # of the sum of all outputs
    soft = softmax(np.asarray(scores_of()))
    g_scores = soft * (g_mask - (g_mask * soft).sum(-1, keepdims=True))
    by_hand = np.einsum("lr,lbn->rbn", np.asarray(x) @ np.asarray(c1), g_scores)
    np.testing.assert_allclose(jax.grad(loss)(c2), by_hand, rtol=1e-3, atol=1e-4)


def test_blocks():
    assert n_blocks_of(6144, 64) == 96


# Bytes


def test_gathering_touches_no_copy_of_the_weights():
    """Scratch of one position: its own rows at most, of weights N times as large."""
    n_blocks, n_units, d_model = 64, 64, 256
    row_per_unit = jax.ShapeDtypeStruct((n_blocks, n_units, d_model), jnp.float32)
    per_unit = jax.ShapeDtypeStruct((n_blocks, n_units), jnp.float32)
    x = jax.ShapeDtypeStruct((5, d_model), jnp.float32)
    units = jax.ShapeDtypeStruct((5, n_blocks), jnp.uint8)
    b2 = jax.ShapeDtypeStruct((d_model,), jnp.float32)
    rows = 2 * n_blocks * d_model * 4
    layer = jax.jit(gathered_feed_forward)
    compiled = layer.lower(x, units, row_per_unit, per_unit, row_per_unit, b2).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 1.2 * rows


def test_the_coin_and_the_noise_are_drawn_apart():
    """Of two equal units each is on half of the time, also where the mask is hard."""

    def one(key):
        mask, units = sparsity_mask(jnp.zeros((1, 1, 2)), key, temperature=1, hard_probability=0.5)
        return (mask == 0).any(), units[0, 0]

    is_hard, unit = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 2000))
    for side in (is_hard, ~is_hard):
        assert 900 < side.sum() < 1100
        assert 0.44 < unit[side].mean() < 0.56
