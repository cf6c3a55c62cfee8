"""What arrays must be alike in, so that loops work under ``jax.shard_map``.

There the type of an array says over which axes of the mesh its values differ from device to device.
A loop's carry must leave a turn with the type with which it came, and the gradients of a
``jax.custom_vjp`` must have the types of its arguments. So whatever takes part in such a loop is
made to vary over the same axes first. Of an array that did not, autodiff then adds up the gradients
of all devices.
"""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from efftx.dtypes import holds_keys
from efftx.validation import NEEDS_AUTO, require

AUTO = jax.sharding.AxisType.Auto


def vary_alike(tree: Any) -> Any:
    """The same arrays, each varying over every axis that one of them varies over.

    Zeros that are made of them with ``jnp.zeros_like`` do so, too. Outside of ``jax.shard_map``
    nothing is done.
    """
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    each = [jnp.zeros_like(x, shape=(), dtype=bool) for x in map(_data, jax.tree.leaves(tree))]
    never = reduce(jnp.logical_or, each)
    return jax.tree.map(lambda x: jnp.where(never, x, x), tree)


def _data(x):
    """The numbers of a typed key; of no other array can they differ from itself."""
    return jax.random.key_data(x) if holds_keys(x) else x


def check_axis(mesh, axis: str) -> None:
    """The mesh has such an axis, over which the compiler spreads arrays by itself."""
    require(
        isinstance(mesh, jax.sharding.Mesh),
        f"mesh must be a jax.sharding.Mesh, as of jax.make_mesh; got a {type(mesh).__name__}.",
    )
    require(axis in mesh.shape, f"axis must be one of the mesh's {mesh.axis_names}; got {axis!r}.")
    require(
        not jax.sharding.get_abstract_mesh().manual_axes,
        f"what is shared out over {axis!r} calls jax.shard_map itself, with the whole arrays: call "
        "it outside of one.",
    )
    around = jax.sharding.get_abstract_mesh()
    require(
        not around.explicit_axes,
        f"jax.set_mesh has set a mesh with Explicit axes, {around.explicit_axes}. {NEEDS_AUTO}",
    )
    kind = mesh.axis_types[mesh.axis_names.index(axis)]
    require(
        kind == AUTO,
        f"the mesh's axis {axis!r} is {kind.name}, as jax.make_mesh makes it by default. "
        + NEEDS_AUTO,
    )


def in_shares(n_devices: int, x: jax.Array) -> jax.Array:
    """Filled up with zeros, so that its rows can be shared out."""
    return jnp.pad(x, [(0, -len(x) % n_devices)] + [(0, 0)] * (x.ndim - 1))
