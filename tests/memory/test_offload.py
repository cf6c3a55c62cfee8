"""Layers on the host: the same values, gradients and steps, and each array where it should be."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.ad_checkpoint import checkpoint_name

from efftx.memory import (
    adam_8bit,
    bytes_by_memory,
    init_layer_by_layer,
    layers_from_host,
    layers_reference,
    offload_policy,
    to_device,
    to_host,
    update_layer_by_layer,
    update_layers_reference,
)
from efftx.models import Sizes, transformer
from efftx.models.branch import branches

N_LAYERS, LENGTH, D_MODEL, D_FF = 5, 16, 8, 32
KEYS = jax.random.split(jax.random.key(0), 3)
PARAMS = {
    "w1": jax.random.normal(KEYS[0], (N_LAYERS, D_MODEL, D_FF)) / 3,
    "w2": jax.random.normal(KEYS[1], (N_LAYERS, D_FF, D_MODEL)) / 6,
    "b": jnp.full((N_LAYERS, D_MODEL), 0.1),
}
X = jax.random.normal(KEYS[2], (LENGTH, D_MODEL))
ON_HOST = to_host(PARAMS)
PARAM_BYTES = sum(leaf.nbytes for leaf in jax.tree.leaves(PARAMS))

both_ways = pytest.mark.parametrize("offload_activations", [False, True])


def layer(params, x):
    return x + jax.nn.relu(x @ params["w1"]) @ params["w2"] + params["b"]


def assert_close(ours, theirs, tolerance=1e-5):  # sums in another order, on any processor
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, jax.device_get(ours), jax.device_get(theirs))


def memories(tree) -> set:
    return {leaf.sharding.memory_kind for leaf in jax.tree.leaves(tree)}


# Where things are


def test_there_and_back():
    assert memories(PARAMS) == {"device"}
    assert memories(ON_HOST) == {"pinned_host"}
    assert memories(to_device(ON_HOST)) == {"device"}
    assert_close(ON_HOST, PARAMS, tolerance=0)


def test_bytes_by_memory():
    assert bytes_by_memory((ON_HOST, X)) == {"pinned_host": PARAM_BYTES, "device": X.nbytes}


def test_jax_refuses_to_compute_across_memories():
    """So nothing is moved behind our backs: the place is part of a value's type."""
    with pytest.raises(ValueError, match="memory_space of all inputs"):
        jax.jit(lambda x, b: x + b)(X, ON_HOST["b"][0])


# Layers


@both_ways
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_values_and_gradients_are_those_of_layers_on_the_device(jit, offload_activations):
    swapped = partial(layers_from_host, layer, offload_activations=offload_activations)
    y, pull_back = jax.vjp(jit(swapped), ON_HOST, X)
    expected, expected_pull_back = jax.vjp(partial(layers_reference, layer), PARAMS, X)
    assert_close(y, expected)
    assert_close(pull_back(y), expected_pull_back(expected))


@both_ways
def test_what_the_backward_pass_keeps(offload_activations):
    swapped = partial(layers_from_host, layer, offload_activations=offload_activations)
    y, pull_back = jax.vjp(swapped, ON_HOST, X)
    inputs = N_LAYERS * X.nbytes
    on_device, on_host = (0, inputs) if offload_activations else (inputs, 0)
    kept = bytes_by_memory(pull_back)
    assert kept.get("device", 0) == on_device
    assert kept["pinned_host"] == PARAM_BYTES + on_host
    gradient, _ = pull_back(y)
    assert memories(gradient) == {"pinned_host"}


def test_without_a_checkpoint_all_parameters_come_to_the_device_and_stay():
    """What layers_from_host is for, and that bytes_by_memory would notice."""

    def naive(params, x):
        return jax.lax.scan(lambda x, one: (layer(to_device(one), x), None), x, params)[0]

    kept = bytes_by_memory(jax.vjp(naive, ON_HOST, X)[1])
    assert kept["device"] > PARAM_BYTES - PARAMS["b"].nbytes


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@both_ways
def test_on_an_accelerator_one_layer_at_a_time_would_be_moved(platform, offload_activations):
    """Lowered for a backend that is not here: each transfer stands in the program, layer-sized."""

    def loss(params, x):
        return layers_from_host(layer, params, x, offload_activations=offload_activations).sum()

    program = jax.export.export(jax.jit(jax.grad(loss)), platforms=[platform])(ON_HOST, X)
    moves = [line for line in program.mlir_module().splitlines() if "device_placement" in line]
    w1, x = f"tensor<{D_MODEL}x{D_FF}xf32>", f"tensor<{LENGTH}x{D_MODEL}xf32>"
    w1_moves = [move for move in moves if w1 in move]
    assert sum('"device"' in move for move in w1_moves) == 2  # for the forward and the backward
    assert sum('"pinned_host"' in move for move in w1_moves) == 1  # its gradient
    assert any(x in move for move in moves) == offload_activations
    assert not any(f"tensor<{N_LAYERS}x" in move for move in moves)  # never all layers


def test_temporary_memory_does_not_grow_with_the_parameters():
    """All layers' parameters are arguments; of temporary copies there is a layer's worth."""

    def temporary(n_layers):
        params = {"w1": (64, 512), "w2": (512, 64), "b": (64,)}
        params = {name: jnp.zeros((n_layers, *shape)) for name, shape in params.items()}
        lowered = jax.jit(partial(layers_from_host, layer)).lower(
            to_host(params), jnp.ones((8, 64))
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    one_layer = 2 * 64 * 512 * 4
    assert temporary(32) - temporary(2) < 0.1 * one_layer


def test_x_may_be_a_pytree_and_parameters_keys():
    """Two streams, and a dropout key for each layer."""

    def noisy(params, streams):
        weights, key = params
        x, y = streams
        return y, x + layer(weights, y) * jax.random.bernoulli(key, 0.5, y.shape)

    keys = jax.random.split(jax.random.key(1), N_LAYERS)
    ours = layers_from_host(noisy, (ON_HOST, keys), (X, X))
    assert_close(ours, layers_reference(noisy, (PARAMS, keys), (X, X)))


@both_ways
def test_a_language_models_blocks_may_live_on_the_host(offload_activations):
    """A residual that swaps: the model is otherwise the same."""

    def swapped(blocks, x, keys, extra=None):
        def block_of(one_layer, x):
            block, block_keys = one_layer
            for branch, key in zip(branches(block), block_keys, strict=True):
                x = x + branch(x, key, extra)[0]
            return x

        return layers_from_host(
            block_of, (blocks, keys), x, offload_activations=offload_activations
        )

    model = transformer(
        jax.random.key(0), Sizes(n_layers=3, d_model=16, d_ff=32, n_heads=2, d_head=8)
    )
    on_host = replace(model, blocks=to_host(model.blocks), residual=swapped)
    tokens = jnp.arange(20)
    ours, theirs = (jax.grad(lambda m: (m(tokens) ** 2).mean())(m) for m in (on_host, model))
    assert_close(jax.tree.leaves(ours), jax.tree.leaves(theirs), tolerance=1e-5)
    assert memories(ours.blocks) == {"pinned_host"}
    assert memories(ours.readout) == {"device"}


def test_a_policy_for_named_values():
    def f(w, x):
        return jnp.sum(jnp.sin(checkpoint_name(x @ w, "product")))

    w = jnp.ones((D_MODEL, 3))
    kept = jax.vjp(jax.checkpoint(f, policy=offload_policy("product")), w, X)[1]
    assert bytes_by_memory(kept)["pinned_host"] == LENGTH * 3 * 4


# The optimiser's step


@pytest.mark.parametrize(
    "optimiser",
    [optax.sgd(0.1), optax.adam(1e-2), optax.adamw(1e-2), optax.sgd(0.1, momentum=0.9)],
    ids=["sgd", "adam", "adamw", "momentum"],
)
def test_steps_are_those_of_all_layers_at_once(optimiser):
    params, state = ON_HOST, init_layer_by_layer(optimiser, ON_HOST)
    expected, expected_state = PARAMS, optimiser.init(PARAMS)
    update = jax.jit(partial(update_layer_by_layer, optimiser))
    for _ in range(3):
        gradient = jax.grad(lambda p: layers_from_host(layer, p, X).mean())(params)
        params, state = update(gradient, state, params)
        gradient = jax.grad(lambda p: layers_reference(layer, p, X).mean())(expected)
        expected, expected_state = update_layers_reference(
            optimiser, gradient, expected_state, expected
        )
        assert memories((params, state)) == {"pinned_host"}
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    assert_close(params, expected, tolerance=2e-5)


def test_8_bit_states_wait_on_the_host_too():
    """A block of numbers lies in one layer, so the definition is a loop over layers."""
    optimiser = adam_8bit(1e-2)
    state = init_layer_by_layer(optimiser, ON_HOST)
    params, state = update_layer_by_layer(optimiser, ON_HOST, state, ON_HOST)
    assert memories((params, state)) == {"pinned_host"}
    for i in range(N_LAYERS):
        one = jax.tree.map(lambda p, i=i: p[i], PARAMS)
        expected, _ = update_layers_reference(optimiser, one, optimiser.init(one), one)
        assert_close(jax.tree.map(lambda p, i=i: p[i], params), expected)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_state_crosses_over_and_back_on_an_accelerator(platform):
    optimiser = optax.adam(1e-2)
    state = init_layer_by_layer(optimiser, ON_HOST)
    update = jax.jit(partial(update_layer_by_layer, optimiser))
    program = jax.export.export(update, platforms=[platform])(ON_HOST, state, ON_HOST)
    moves = [line for line in program.mlir_module().splitlines() if "device_placement" in line]
    w1 = [move for move in moves if f"tensor<{D_MODEL}x{D_FF}xf32>" in move]
    assert sum('"device"' in move for move in w1) == 4  # parameter, gradient, two moments
    assert sum('"pinned_host"' in move for move in w1) == 3  # all but the gradient
