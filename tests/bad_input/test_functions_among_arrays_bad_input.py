"""Functions among the arrays of a pytree, as Equinox's modules have them, are refused in words."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest

from efftx.memory import (
    adam_8bit,
    chunked_cross_entropy,
    init_layer_by_layer,
    layers_from_host,
    map_chunks,
    reversible_forward,
    reversible_stack,
    to_host,
    update_layer_by_layer,
)
from efftx.training import initial_state, train, value_and_gradient

MODULE = {"w": jnp.ones((2, 8, 8)), "activation": jnp.tanh}
X, KEY = jnp.ones((4, 8)), jax.random.key(0)
ADAM = optax.adam(1e-3)


def run(p, x, *_):
    return p["activation"](x @ p["w"][0])


def branch(p, x, key, extra, replay=None):
    return run(p, x), None


def loss(model, example, key):
    return run(model, example).sum()


CALLS = {
    "reversible_stack": lambda: reversible_stack((branch,), (MODULE,), X, X),
    "reversible_forward": lambda: reversible_forward((branch,), (MODULE,), X, X),
    "extra": lambda: reversible_stack((branch,), (MODULE["w"],), X, X, None, MODULE),
    "map_chunks": lambda: map_chunks(run, MODULE, X, chunk_len=2),
    "chunked_cross_entropy": lambda: chunked_cross_entropy(
        run, MODULE, X, jnp.zeros(4, jnp.int32), chunk_len=2
    ),
    "layers_from_host": lambda: layers_from_host(run, MODULE, X),
    "init_layer_by_layer": lambda: init_layer_by_layer(ADAM, MODULE),
    "update_layer_by_layer": lambda: update_layer_by_layer(ADAM, MODULE, (), MODULE),
    "to_host": lambda: to_host(MODULE),
    "adam_8bit": lambda: adam_8bit(1e-3).init(MODULE),
    "initial_state": lambda: initial_state(MODULE, ADAM, 2),
    "value_and_gradient": lambda: value_and_gradient(loss, MODULE, X[None], KEY),
    "train": partial(
        train, MODULE, loss=loss, batch_at=lambda step: X[None], optimiser=ADAM, n_steps=2
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_function_among_the_arrays(name):
    with pytest.raises(ValueError, match=r"must hold arrays and numbers; got a .*unction"):
        CALLS[name]()
