"""The sparsity hunt: tests that learners may write, good ones in other styles, and weak ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import sparsity
from efftx.check import CheckFailed
from efftx.check import hunt_sparsity as check
from efftx.check.hunt_sparsity_sound import attention, feed_forward, project


def drawn(*shapes, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(scale * rng.normal(size=shape)) for shape in shapes]


def near(got, wanted, tolerance=1e-3):
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


# Part 1


def layer(length, n_blocks, n_units, seed=0, d=6):
    shapes = (length, d), (d, 4), (4, n_blocks, n_units)
    rows = (n_blocks, n_units, d), (n_blocks, n_units), (n_blocks, n_units, d), (d,)
    x, c1, c2, *units = drawn(*shapes, *rows, seed=seed)
    return [x, (c1, c2), *units]


def masked(x, controller, w1, b1, w2, b2):
    """By the package's layer for training."""
    units = sparsity.strongest_units(sparsity.controller_scores(x, *controller))
    on = sparsity.units_to_mask(units, b1.shape[1])
    return sparsity.masked_feed_forward(x, on, w1, b1, w2, b2)


def by_masking(feed_forward):
    for n_units in (4, 200):
        inputs = layer(9, 3, n_units)
        near(feed_forward(*inputs), masked(*inputs))


def by_numpy(feed_forward, sizes=(3, 260)):
    """Position by position."""
    for n_units in sizes:
        x, (c1, c2), w1, b1, w2, b2 = inputs = layer(12, 2, n_units, seed=3)
        for row, got in zip(x, feed_forward(*inputs), strict=True):
            at = np.arange(2), np.einsum("d,dr,rbn->bn", row, c1, c2).argmax(-1)
            hidden = np.maximum(np.asarray(w1)[at] @ row + np.asarray(b1)[at], 0)
            assert np.abs(hidden @ np.asarray(w2)[at] + b2 - got).max() < 1e-2


def large_blocks(feed_forward):
    """One of so many scores is always above 0."""
    by_numpy(feed_forward, (260,))


def one_small_case(feed_forward):
    inputs = layer(1, 2, 4)
    near(feed_forward(*inputs), masked(*inputs))


def small_blocks(feed_forward):
    inputs = layer(9, 3, 4)
    near(feed_forward(*inputs), masked(*inputs))


def without_biases(feed_forward):
    inputs = layer(9, 3, 200)
    inputs[3], inputs[5] = 0 * inputs[3], 0 * inputs[5]
    near(feed_forward(*inputs), masked(*inputs))


def one_block(feed_forward):
    inputs = layer(9, 1, 200)
    near(feed_forward(*inputs), masked(*inputs))


def shapes_only(feed_forward):
    assert feed_forward(*layer(9, 3, 200)).shape == (9, 6)


def finite(feed_forward):
    assert jnp.isfinite(feed_forward(*layer(9, 3, 200))).all()


def nearly_all_alike(feed_forward):
    inputs = layer(9, 3, 200)
    assert np.isclose(feed_forward(*inputs), masked(*inputs), atol=1e-2).mean() > 0.6


def the_mean(feed_forward):
    inputs = layer(9, 3, 200)
    assert abs(feed_forward(*inputs).mean() - masked(*inputs).mean()) < 0.3


def positions_alone(feed_forward):
    """Together and one by one: it says nothing of what a position gets."""
    x, *rest = layer(9, 3, 200)
    alone = [feed_forward(row[None], *rest)[0] for row in x]
    near(feed_forward(x, *rest), jnp.stack(alone))


def only_positive(feed_forward):
    inputs = jax.tree.map(abs, layer(9, 3, 200))
    near(feed_forward(*inputs), masked(*inputs))


# Part 2


def text(length=5, n_modules=4, d_module=3, d=12, seed=0, scale=1.0):
    shapes = (length, d), (d, n_modules), (d, d_module), (3, 3, 3, d_module, d_module)
    x, *weights = drawn(*shapes, seed=seed)
    return x * scale, *weights


def packaged(x, d, e, kernels):
    together = jnp.moveaxis(kernels, 0, 3)
    return sparsity.sparse_qkv(x, d, e, together)[0]


def by_package(project):
    inputs = text(length=7)
    near(project(*inputs), packaged(*inputs))


def by_dense_weights(project):
    """The convolution as one matrix over all positions and modules."""
    x, d, e, kernels = text()
    y = sparsity.multiplicative_reference(x, d, e)
    for kernel, got in zip(kernels, project(x, d, e, kernels), strict=True):
        near(got, sparsity.qkv.convolution_reference(y, kernel))


def one_position(project):
    inputs = text(length=1)
    near(project(*inputs), packaged(*inputs))


def causal_only(project):
    x, *weights = text()
    near(project(x, *weights)[:, :3], project(x.at[3:].set(9.0), *weights)[:, :3])


def one_module(project):
    inputs = text(n_modules=1)
    near(project(*inputs), packaged(*inputs))


def the_last_position(project):
    inputs = text()
    near(project(*inputs)[:, -1], packaged(*inputs)[:, -1])


def queries_only(project):
    inputs = text()
    near(project(*inputs)[0], packaged(*inputs)[0])


def linear(project):
    x, *weights = text()
    near(project(2 * x, *weights), 2 * project(x, *weights))


def kernels_of_ones(project):
    x, d, e, kernels = text()
    inputs = x, d, e, jnp.ones_like(kernels)
    near(project(*inputs), packaged(*inputs))


def inner_modules(project):
    inputs = text()
    near(project(*inputs)[:, :, 1:-1], packaged(*inputs)[:, :, 1:-1])


def a_row_of_zeros(project):
    x, *weights = text()
    assert not project(0 * x, *weights).any()


def their_sum(project):
    inputs = text()
    near(project(*inputs).sum(0), packaged(*inputs).sum(0))


# Part 3


def by_prefixes(decode):
    """Each output is the last of the whole text up to there."""
    x, *weights = text(length=11, scale=0.1)
    for room in (11, 14):
        out = decode(x, *weights, room)
        for t in (0, 1, 2, 8, 10):
            near(out[t], attention(x[: t + 1], *weights)[-1])


def two_texts(decode):
    for seed in (0, 1):
        x, *weights = text(length=10, scale=0.1, seed=seed)
        for room in (10, 13):
            near(decode(x, *weights, room), attention(x, *weights))


def in_a_full_cache(decode):
    x, *weights = text(length=10, scale=0.1)
    for _ in range(2):
        near(decode(x, *weights, 10), attention(x, *weights))


def in_a_large_cache(decode):
    x, *weights = text(length=10, scale=0.1)
    for _ in range(2):
        near(decode(x, *weights, 13), attention(x, *weights))


def once(decode):
    x, *weights = text(length=10, scale=0.1)
    near(decode(x, *weights, 10), attention(x, *weights))


def short(decode):
    x, *weights = text(length=4, scale=0.1)
    for room in (4, 4, 6):
        near(decode(x, *weights, room), attention(x, *weights))


def one_token(decode):
    x, *weights = text(length=1)
    for room in (1, 3):
        near(decode(x, *weights, room), attention(x, *weights))


def the_first_three(decode):
    x, *weights = text(length=10, scale=0.1)
    for room in (10, 13):
        near(decode(x, *weights, room)[:3], attention(x, *weights)[:3])


def one_head(decode):
    x, *weights = text(length=10, n_modules=1, scale=0.1)
    for room in (10, 13):
        near(decode(x, *weights, room), attention(x, *weights))


def twice_the_same(decode):
    x, *weights = text(length=10, scale=0.1)
    near(decode(x, *weights, 10), decode(x, *weights, 10))


def room_makes_no_difference(decode):
    x, *weights = text(length=10, scale=0.1)
    near(decode(x, *weights, 10), decode(x, *weights, 14))


def loosely(decode):
    x, *weights = text(length=10, scale=0.1)
    for room in (10, 13, 13):
        near(decode(x, *weights, room), attention(x, *weights), 0.3)


# Part 4


def by_grad(mask):
    """The gradient of a weighted sum, for several weights."""
    scores, noise, *weights = drawn(*[(3, 4)] * 6)
    near(mask(scores, noise), jax.nn.one_hot((scores + noise).argmax(-1), 4))
    for g in weights:
        slope = jax.grad(lambda s, g=g: (mask(s, noise) * g).sum())(scores)
        near(slope, jax.grad(lambda s, g=g: (jax.nn.softmax(s) * g).sum())(scores))


def by_jacobian(mask):
    for seed in range(4):
        scores, noise = drawn((3, 4), (3, 4), seed=seed)
        on = mask(scores, noise)
        assert (on.argmax(-1) == (scores + noise).argmax(-1)).all()
        near(on.sum(-1), 1)
        near(jnp.square(on).sum(-1), 1)
        near(jax.jacrev(mask)(scores, noise), jax.jacrev(jax.nn.softmax)(scores))


def values_only(mask):
    scores, noise = drawn((3, 4), (3, 4))
    near(mask(scores, noise), jax.nn.one_hot((scores + noise).argmax(-1), 4))


def gradient_only(mask):
    scores, noise, g = drawn((3, 4), (3, 4), (3, 4))
    near(jax.vjp(mask, scores, noise)[1](g)[0], jax.vjp(jax.nn.softmax, scores)[1](g)[0])


def gradient_of_the_sum(mask):
    values_only(mask)
    scores, noise = drawn((3, 4), (3, 4))
    near(jax.grad(lambda s: mask(s, noise).sum())(scores), 0)


def some_gradient(mask):
    values_only(mask)
    scores, noise, g = drawn((3, 4), (3, 4), (3, 4))
    assert jax.vjp(mask, scores, noise)[1](g)[0].any()


def without_noise(mask):
    scores, g = drawn((3, 4), (3, 4))
    near(mask(scores, 0 * scores), jax.nn.one_hot(scores.argmax(-1), 4))
    near(jax.vjp(mask, scores, 0 * g)[1](g)[0], jax.vjp(jax.nn.softmax, scores)[1](g)[0])


def a_single_block(mask):
    scores, noise, g = drawn((1, 4), (1, 4), (1, 4))
    near(mask(scores, noise), jax.nn.one_hot((scores + noise).argmax(-1), 4))
    near(jax.vjp(mask, scores, noise)[1](g)[0], jax.vjp(jax.nn.softmax, scores)[1](g)[0])


def the_sign_of_the_gradient(mask):
    values_only(mask)
    scores, noise, g = drawn((3, 4), (3, 4), (3, 4))
    ours, wanted = jax.vjp(mask, scores, noise)[1](g)[0], jax.vjp(jax.nn.softmax, scores)[1](g)[0]
    assert (jnp.sign(ours) == jnp.sign(wanted)).all()


def zeros_and_ones(mask):
    scores, noise = drawn((3, 4), (3, 4))
    on = mask(scores, noise)
    assert (jnp.minimum(abs(on), abs(on - 1)) < 1e-5).all()


def where_it_is_on(mask):
    scores, noise, g = drawn((3, 4), (3, 4), (3, 4))
    ours = jax.vjp(mask, scores, noise)[1](g * mask(scores, noise))[0]
    near(ours, jax.vjp(jax.nn.softmax, scores)[1](g * mask(scores, noise))[0])


def to_the_bit(mask):
    scores, noise = drawn((30, 40), (30, 40))
    wanted = jax.nn.one_hot((scores + noise).argmax(-1), 40)
    assert (mask(scores, noise) == wanted).all(), "not zeros and ones"


GOOD = {
    "test_choice": [by_masking, by_numpy],
    "test_projections": [by_package, by_dense_weights],
    "test_decoding": [by_prefixes, two_texts, in_a_full_cache],
    "test_gradient": [by_grad, by_jacobian],
}
WEAK = {
    "test_choice": [
        one_small_case,
        small_blocks,
        large_blocks,
        without_biases,
        one_block,
        shapes_only,
        finite,
        nearly_all_alike,
        the_mean,
        positions_alone,
        only_positive,
    ],
    "test_projections": [
        one_position,
        causal_only,
        one_module,
        the_last_position,
        queries_only,
        linear,
        kernels_of_ones,
        inner_modules,
        a_row_of_zeros,
        their_sum,
    ],
    "test_decoding": [
        in_a_large_cache,
        once,
        short,
        one_token,
        the_first_three,
        one_head,
        twice_the_same,
        room_makes_no_difference,
        loosely,
    ],
    "test_gradient": [
        values_only,
        gradient_only,
        gradient_of_the_sum,
        some_gradient,
        without_noise,
        a_single_block,
        the_sign_of_the_gradient,
        zeros_and_ones,
        where_it_is_on,
    ],
}


def test_zeros_and_ones_to_the_bit_were_not_promised():
    with pytest.raises(CheckFailed, match="Your test accuses a sound one, which adds the soft"):
        check.test_gradient(to_the_bit)


def test_the_module_computes_what_the_package_does():
    inputs = layer(9, 3, 4)
    near(feed_forward(*inputs), masked(*inputs), 1e-4)
    near(project(*text()), packaged(*text()), 1e-4)
