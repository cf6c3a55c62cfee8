"""A step's gradient and its memory, however many examples are taken at once."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efftx.models import Sizes, plain_residual, reversible_residual, transformer
from efftx.training import steps
from efftx.training.losses import bits_per_byte

WEIGHTS = {"w": jnp.arange(1.0, 4)}
BATCH = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def noisy_square(model, example, key):
    return (model["w"] @ example + jax.random.normal(key)) ** 2


def gradient(examples_at_once=None, *, model=WEIGHTS, loss=noisy_square, batch=BATCH):
    take = partial(steps.value_and_gradient, loss, examples_at_once=examples_at_once)
    return jax.jit(take)(model, batch, jax.random.key(5))


def by_hand(model, batch):
    """The definition: example by example, each with its key."""
    keys = jax.random.split(jax.random.key(5), len(batch))
    each = [jax.value_and_grad(noisy_square)(model, *x) for x in zip(batch, keys, strict=True)]
    return jax.tree.map(lambda *values: np.mean(np.array(values, float), axis=0), *each)


@pytest.mark.parametrize("at_once", [None, 1, 2, 3, 4, 5, 6, 100])
def test_groups_change_neither_loss_nor_gradient(at_once):
    value, slope = gradient(at_once)
    expected, expected_slope = by_hand(WEIGHTS, BATCH)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(slope["w"], expected_slope["w"], rtol=1e-5)


def test_a_small_models_batch_is_one_vmap_to_the_bit():
    """What a step gave before there were groups."""

    @jax.jit
    def before(model, batch, key):
        keys = jax.random.split(key, len(batch))
        return jax.vmap(noisy_square, in_axes=(None, 0, 0))(model, batch, keys).mean()

    for batch in (BATCH, BATCH[:1]):
        expected = jax.jit(jax.value_and_grad(before))(WEIGHTS, batch, jax.random.key(5))
        jax.tree.map(np.testing.assert_array_equal, gradient(batch=batch), expected)


def lengths_of_loops(at_once, n_examples: int) -> set[int]:
    """In the program of a gradient: how many groups it goes through."""

    def loss(model, example, key):
        return model["w"].sum()

    take = partial(steps.value_and_gradient, loss, examples_at_once=at_once)
    text = str(jax.make_jaxpr(take)(WEIGHTS, np.zeros((n_examples, 2)), jax.random.key(0)))
    return {int(length) for length in re.findall(r"length=(\d+)", text)}


@pytest.mark.parametrize(
    ("at_once", "n_examples", "n_groups"),
    [(2, 6, {3}), (4, 6, {2}), (5, 7, {7}), (7, 7, set()), (9, 7, set()), (1, 3, {3})],
)
def test_a_group_is_the_largest_divisor_of_the_batch(at_once, n_examples, n_groups):
    assert lengths_of_loops(at_once, n_examples) == n_groups


def test_by_default_the_gradients_beside_each_other_fit_into_32_mib():
    million = jax.ShapeDtypeStruct((2**20,), jnp.float32)
    assert steps.most_at_once({"w": million}) == 8
    assert steps.most_at_once({"w": jax.ShapeDtypeStruct((2**20,), jnp.bfloat16)}) == 16
    assert steps.most_at_once({"a": [million] * 5, "b": [million] * 4}) == 1


def test_a_batch_on_one_device_counts_once():
    batch = jnp.zeros((64, 3))
    million = jax.ShapeDtypeStruct((2**20,), jnp.float32)
    assert steps.most_at_once({"w": million}, batch) == 8
    assert steps.most_at_once({"w": million}, (np.zeros((64, 3)), batch)) == 8


def test_a_group_takes_examples_from_all_over_the_batch():
    """So a batch that is spread over devices in blocks keeps them all at work."""
    groups = steps.in_groups(3, jnp.arange(6))
    assert groups.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_gradients_in_bfloat16_are_added_up_in_float32():
    """Of 1,001 slopes of about 1, each added in bfloat16 to more than 256 would be lost."""

    def linear(model, example, key):
        return model["w"] * example

    model = {"w": jnp.bfloat16(1)}
    examples = np.ones(1001, jnp.bfloat16)
    value, slope = gradient(1, model=model, loss=linear, batch=examples)
    assert slope["w"].dtype == jnp.bfloat16
    assert (value, slope["w"]) == (1, 1)


# Bytes ----------------------------------------------------------------------------------------

LENGTH = 512
ADAM = optax.adam(1e-3)
LARGE = Sizes(n_layers=5, d_model=512, d_ff=2048, n_heads=8, d_head=64, max_len=LENGTH)


def shapes(residual):
    build = partial(transformer, sizes=LARGE, residual=residual)
    return jax.eval_shape(lambda key: steps.initial_state(build(key), ADAM, 1), jax.random.key(0))


def temporary_bytes(residual, batch: int, examples_at_once: int | None = None) -> int:
    """What the compiler sets aside beside state and batch; nothing is run."""
    step = steps.train_step.lower(
        shapes(residual),
        jax.ShapeDtypeStruct((batch, LENGTH + 1), jnp.uint8),
        jax.random.key(0),
        loss=bits_per_byte,
        optimiser=ADAM,
        examples_at_once=examples_at_once,
    )
    return step.compile().memory_analysis().temp_size_in_bytes


def test_a_batch_costs_one_set_of_gradients_and_what_its_positions_cost():
    """In one test, so that each step is compiled once, and compared with its like."""
    parameters = steps.bytes_of(shapes(reversible_residual).model)
    assert parameters > 60e6
    rebuilt, plain = (
        {batch: temporary_bytes(residual, batch) for batch in (1, 4, 8)}
        for residual in (reversible_residual, plain_residual)
    )
    one_stream = LENGTH * LARGE.d_model * 4
    for batch in (4, 8):
        assert rebuilt[batch] <= rebuilt[1] + parameters + batch * one_stream
    for batch in (1, 4, 8):
        assert rebuilt[batch] < plain[batch] / 2
    # This would notice gradients that exist once for each example:
    assert temporary_bytes(reversible_residual, 8, examples_at_once=8) > rebuilt[1] + 7 * parameters
