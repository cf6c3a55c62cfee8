"""Training on several devices, in one process or in several: where arrays lie, and who writes.

    mesh = all_devices()
    train(model, …, mesh=mesh)

The same script runs on one device and on many. The batch is shared out over the mesh's first axis,
and so are the large arrays of the model and of the optimiser's state ("fully sharded data
parallel"): a device holds its share, gets the rest when it needs it, and forgets it. What is sent,
and when, is the compiler's work. A mean over the batch is the same mean, to rounding.

In several processes (``jax.distributed.initialize`` comes first) each runs the whole script: the
same model from the same key, the same batches, of which it feeds its own devices' part. The first
process writes checkpoints, and all read them: the file holds whole arrays, and a run goes on from
it on any number of devices.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from efftx.dtypes import holds_keys
from efftx.shards import check_axis
from efftx.validation import require

SMALL = 2**12  # numbers; arrays of fewer are whole on every device
ONE_DEVICE = None  # in place of a mesh


def all_devices(axis: str = "data") -> Mesh:
    """A mesh with one axis, of all devices of all processes: for the ``mesh`` of `train`."""
    return jax.make_mesh((jax.device_count(),), (axis,), axis_types=(AxisType.Auto,))


def first_axis(mesh: Mesh) -> str:
    """Over which everything is shared out. Raises ValueError for an axis that is Explicit."""
    axis = mesh.axis_names[0] if isinstance(mesh, Mesh) else ""
    check_axis(mesh, axis)
    return axis


def share_of(mesh: Mesh, array: Any) -> NamedSharding:
    """A large array is cut along the longest of its axes that the devices divide; others are not.

    Not along the first of several axes where another is as long: layers are stacked along it.
    """
    axis, shape = first_axis(mesh), np.shape(array)
    dividable = [n for n, size in enumerate(shape) if size and size % mesh.shape[axis] == 0]
    if not dividable or np.size(array) < SMALL:
        return NamedSharding(mesh, P())
    longest = max(dividable, key=lambda n: (shape[n], n))
    return NamedSharding(mesh, P(*[axis if n == longest else None for n in range(len(shape))]))


def placed(mesh: Mesh | None, tree: Any) -> Any:
    """The same arrays, each where `share_of` says; every process has them whole."""
    if mesh is ONE_DEVICE:
        return tree
    return jax.tree.map(lambda x: put(x, share_of(mesh, x)), tree)


def spread(mesh: Mesh | None, batch: Any) -> Any:
    """A batch, shared out by examples.

    Raises ValueError where the devices do not divide it.
    """
    if mesh is ONE_DEVICE:
        return batch
    axis = first_axis(mesh)

    def one(x):
        require(
            len(x) % mesh.shape[axis] == 0,
            f"a batch must be a multiple of the {mesh.shape[axis]} devices of the mesh's axis "
            f"{axis!r}; got {len(x)} examples.",
        )
        return put(x, NamedSharding(mesh, P(axis)))

    return jax.tree.map(one, batch)


def put(array, sharding: NamedSharding) -> jax.Array:
    """Each process gives its own devices their part."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    if holds_keys(array):
        key = put(jax.random.key_data(array), NamedSharding(sharding.mesh, P()))
        return jax.random.wrap_key_data(key, impl=jax.random.key_impl(array))
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])


def shardings_of(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.sharding, tree)


# Several processes ----------------------------------------------------------------------------


def writes() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return jax.process_index() == 0


def gathered(tree: Any) -> Any:
    """With every array whole in every process, which must all call this."""
    return jax.tree.map(_whole, tree)


def _whole(x: jax.Array):
    if x.is_fully_addressable:
        return x
    if not x.is_fully_replicated:
        x = jax.jit(lambda x: x, out_shardings=NamedSharding(x.sharding.mesh, P()))(x)
    return x.addressable_data(0)


@contextmanager
def together(step: int) -> Iterator[None]:
    """Where another process may be gone: then this one ends, too, and says why."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise RuntimeError(
            f"at step {step} process {jax.process_index()} lost another of the "
            f"{jax.process_count()} processes of this run, and cannot go on alone. Start all of "
            "them again: they go on from the last checkpoint."
        ) from error
