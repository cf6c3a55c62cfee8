"""What offloading refuses, and that it says what came and what would be right."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import optax
import pytest

from efftx.memory import (
    init_layer_by_layer,
    layers_from_host,
    layers_reference,
    to_host,
    update_layer_by_layer,
)
from efftx.memory.offload import check_host_memory

PARAMS = {"w": jnp.ones((3, 4, 4)), "b": jnp.ones((3, 4))}
X = jnp.ones((5, 4))


def layer(params, x):
    return x @ params["w"] + params["b"]


def backend(platform, *kinds):
    memories = [SimpleNamespace(kind=kind) for kind in kinds]
    return SimpleNamespace(platform=platform, addressable_memories=lambda: memories)


def test_a_backend_without_a_second_memory(monkeypatch):
    message = "this cpu backend has no second memory to swap to: it offers unpinned_host, and"
    monkeypatch.setattr(jax, "devices", lambda: [backend("cpu", "unpinned_host")])
    with pytest.raises(ValueError, match=message):
        to_host(PARAMS)
    with pytest.raises(ValueError, match=message):
        layers_from_host(layer, PARAMS, X)
    with pytest.raises(ValueError, match=message):
        init_layer_by_layer(optax.adam(1e-3), PARAMS)
    with pytest.raises(ValueError, match=message):
        update_layer_by_layer(optax.sgd(1e-3), PARAMS, (), PARAMS)


def test_backends_with_one():
    check_host_memory()
    check_host_memory(backend("gpu", "device", "pinned_host"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "params holds no array"),
        ({"w": jnp.ones((3, 4)), "b": jnp.ones((2, 4))}, r"float32\[2, 4\] and float32\[3, 4\]"),
        ({"w": jnp.float32(1)}, r"leading axis of size n_layers, at least 1; got float32\[\]"),
        ({"w": jnp.ones((0, 4))}, r"at least 1; got float32\[0, 4\]"),
        ({"w": 1.0}, "got a float"),
    ],
)
def test_stacked_parameters(params, message):
    for call in (
        lambda: layers_from_host(layer, params, X),
        lambda: layers_reference(layer, params, X),
        lambda: init_layer_by_layer(optax.sgd(0.1), params),
        lambda: update_layer_by_layer(optax.sgd(0.1), params, (), params),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("f", "came"),
    [
        (lambda params, x: x[:2], r"float32\[2, 4\]"),
        (lambda params, x: (x, x), r"\('float32\[5, 4\]', 'float32\[5, 4\]'\)"),
        (lambda params, x: x.astype(jnp.bfloat16), r"bfloat16\[5, 4\]"),
    ],
)
def test_a_layer_that_does_not_return_the_like_of_x(f, came):
    message = rf"must return the like of its input x, float32\[5, 4\]; it returned {came}"
    with pytest.raises(ValueError, match=message):
        layers_from_host(f, to_host(PARAMS), X)


def test_a_gradient_of_another_structure():
    with pytest.raises(ValueError, match="gradient must have the structure of params"):
        update_layer_by_layer(optax.sgd(0.1), {"w": PARAMS["w"]}, (), PARAMS)
