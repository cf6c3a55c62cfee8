"""Layers whose parameters live in the host's memory; the device holds one layer at a time.

An accelerator has a fast, small memory of its own, and the computer around it (the *host*) a slow,
large one. A layer's parameters are needed only while that layer computes, and its optimiser state
only while that layer is updated. In between both may wait on the host.

JAX knows where an array lives: its sharding has a *memory kind*, "device" or "pinned_host", and
``jax.device_put`` moves it, under jit too. On the CPU backend both kinds are the same chips: there
the placement is real and nothing is saved, so it is a place to test in.

Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 3, for swapping parameters.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from efftx.validation import check_leaves, check_not_explicit, describe, require

HOST, DEVICE = jax.memory.Space.Host, jax.memory.Space.Device
LAYER_INPUT = "layer_input"


def to_host(tree: Any) -> Any:
    """The same arrays in host memory; a copy crosses over, which under jit happens when it runs.

    Raises ValueError where the backend has no memory but the device's, and for what is no array.
    """
    check_host_memory()
    check_leaves(tree=tree)
    return jax.device_put(tree, HOST)


def to_device(tree: Any) -> Any:
    """The same arrays in the device's own memory: the way back from :func:`to_host`."""
    return jax.device_put(tree, DEVICE)


def bytes_by_memory(tree: Any) -> dict[str, int]:
    """How many bytes of the tree's arrays live in each memory, as {"device": …, "pinned_host": …}.

    ``bytes_by_memory(jax.vjp(f, *args)[1])`` says where a backward pass will find what it needs.
    """
    found: dict[str, int] = {}
    for array in jax.tree.leaves(tree):
        kind = array.sharding.memory_kind
        found[kind] = found.get(kind, 0) + array.nbytes
    return found


def layers_from_host(
    layer: Callable, params: Any, x: Any, *, offload_activations: bool = False
) -> Any:
    """x ← layer(params of one layer, x), layer after layer, with the parameters on the host.

    ``params`` is a pytree whose arrays have a leading axis of size n_layers (:func:`to_host` puts
    them in place); x is an array, or a pytree of them, that every layer maps to its like. A layer's
    parameters come to the device when it computes: once in the forward pass and, since keeping
    those copies would fill the device again, once more in the backward pass, where the layer is
    also computed anew. The gradient of each layer leaves for the host as soon as it is there, so
    the gradient of ``params`` lives there too.

    What the backward pass keeps is each layer's input, on the device; with ``offload_activations``
    it waits on the host as well, and the device keeps nothing that grows with depth.

    Raises ValueError if the arrays disagree about n_layers, if a layer does not return the like of
    x, and where the backend has no host memory.
    """
    check_host_memory()
    x = jax.tree.map(jnp.asarray, x)
    check_not_explicit(x=x)
    check_layer(layer, params, x)
    policy = offload_policy(LAYER_INPUT) if offload_activations else None

    @partial(jax.checkpoint, policy=policy, prevent_cse=False)  # as its documentation says of loops
    def step(x, one_layer):
        x = jax.tree.map(lambda array: checkpoint_name(array, LAYER_INPUT), x)
        return layer(to_device(one_layer), x), None

    return lax.scan(step, x, params)[0]


def layers_reference(layer: Callable, params: Any, x: Any) -> Any:
    """The definition of :func:`layers_from_host`: a loop over layers that are all on the device.

    Its gradient keeps the activations of every layer. Raises ValueError for an uneven n_layers.
    """
    for index in range(check_stacked(params)):
        x = layer(jax.tree.map(lambda array, i=index: array[i], params), x)
    return x


def offload_policy(*names: str) -> Callable:
    """For ``jax.checkpoint``: values of these names wait on the host, all else is computed anew.

    A value gets its name from ``jax.ad_checkpoint.checkpoint_name(value, name)``.
    """
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=list(names),
        offload_src="device",
        offload_dst="pinned_host",
    )


def init_layer_by_layer(optimiser: optax.GradientTransformation, params: Any) -> Any:
    """The optimiser's state of every layer, stacked along a leading axis, on the host.

    One layer's parameters and state are on the device at a time.

    Raises ValueError for an uneven n_layers, and where the backend has no host memory.
    """
    check_host_memory()
    check_stacked(params)

    def of_layer(one_layer):
        return _wide_to_host(optimiser.init(to_device(one_layer)))

    return to_host(lax.map(of_layer, _narrow_to_device(params)))


def update_layer_by_layer(
    optimiser: optax.GradientTransformation, gradient: Any, state: Any, params: Any
) -> tuple[Any, Any]:
    """(params, state) after one step; all of them on the host, before and after.

    One layer's parameters, gradient and state are on the device at a time. The optimiser sees them
    and nothing else: what looks at each number by itself (SGD, Adam) does what it always does, but
    a clip by the global norm would clip by each layer's own.

    Raises ValueError unless gradient and params have the same structure, and as
    :func:`init_layer_by_layer`.
    """
    check_host_memory()
    check_stacked(params)
    check_not_explicit(gradient=gradient, state=state)
    ours, theirs = jax.tree.structure(gradient), jax.tree.structure(params)
    require(ours == theirs, f"gradient must have the structure of params, {theirs}; it has {ours}.")

    def step(_, one_layer):
        gradient, state, params = to_device(one_layer)
        updates, state = optimiser.update(gradient, state, params)
        return None, _wide_to_host((optax.apply_updates(params, updates), state))

    return to_host(lax.scan(step, None, _narrow_to_device((gradient, state, params)))[1])


# One number of each layer, a count of steps say, a TPU can neither read from the host in a loop nor
# write there: "Lane slice updating is not supported". Those of all layers go together.


def _narrow_to_device(layers: Any) -> Any:
    return jax.tree.map(lambda array: to_device(array) if array.ndim == 1 else array, layers)


def _wide_to_host(one_layer: Any) -> Any:
    return jax.tree.map(lambda array: to_host(array) if array.ndim else array, one_layer)


def update_layers_reference(
    optimiser: optax.GradientTransformation, gradient: Any, state: Any, params: Any
) -> tuple[Any, Any]:
    """The definition of :func:`update_layer_by_layer`, with every layer on the device at once.

    ``state`` is that of ``optimiser.init(params)``.
    """
    updates, state = optimiser.update(gradient, state, params)
    return optax.apply_updates(params, updates), state


def check_host_memory(device: Any = None) -> None:
    """The device can address the host's memory."""
    device = device or jax.devices()[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    require(
        "pinned_host" in kinds,
        f"this {device.platform} backend has no second memory to swap to: it offers "
        f"{', '.join(kinds)}, and offloading needs pinned_host. Keep the layers on the device.",
    )


def check_stacked(params: Any) -> int:
    """The number of layers that all arrays of ``params`` share."""
    check_leaves(params=params)
    check_not_explicit(params=params)
    arrays = jax.tree.leaves(params)
    require(len(arrays) >= 1, "params holds no array, so there are no layers.")
    for array in arrays:
        require(
            getattr(array, "ndim", 0) >= 1 and len(array) >= 1,
            "each array of params must have a leading axis of size n_layers, at least 1; "
            f"got {describe(array)}.",
        )
        require(
            len(array) == len(arrays[0]),
            "the arrays of params must share a leading axis of size n_layers; "
            f"got {describe(arrays[0])} and {describe(array)}.",
        )
    return len(arrays[0])


def check_layer(layer: Callable, params: Any, x: Any) -> None:
    """The layer returns arrays of the structure, shapes and dtypes of x."""
    check_stacked(params)
    one = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), params)
    result = jax.eval_shape(layer, one, x)
    came, wanted = map(_described, (result, x))
    require(
        came == wanted,
        f"a layer must return the like of its input x, {wanted}; it returned {came}.",
    )


def _described(tree: Any) -> Any:
    return jax.tree.map(describe, tree)
