"""What a reversible stack asks of its branches, checked before anything is compiled."""

from numbers import Number

import jax
import jax.numpy as jnp

from efftx.memory.closures import lifted, traced_closures
from efftx.shards import vary_alike
from efftx.validation import check_leaves, check_not_explicit, check_stream, describe, require


def layer_of(stacked, layer: int):
    """One layer's arrays, from those of all layers."""
    return jax.tree.map(lambda x: x[layer], stacked)


def n_layers_of(*stacked) -> int:
    return len(jax.tree.leaves(stacked)[0])


def checked(branches, params, x1, x2, keys, extra) -> tuple:
    """(params, streams, keys, extra) as arrays; ValueError for what cannot be run and undone."""
    check_stream(x1=x1, x2=x2)
    require(
        (x1.shape, x1.dtype) == (x2.shape, x2.dtype),
        "the two streams must have the same shape and dtype; "
        f"got {describe(x1)} and {describe(x2)}.",
    )
    keys = (None,) * len(branches) if keys is None else keys
    _check_entries(branches, params=params, keys=keys)
    check_leaves(params=params)
    _check_depth(params, keys)
    _check_extra(extra)
    check_not_explicit(params=params, extra=extra)
    # Under shard_map alike, since all of it meets in the carries of loops.
    arrays = jax.tree.map(jnp.asarray, (tuple(params), (x1, x2), tuple(keys), extra))
    return vary_alike(arrays)


def open_branches(branches, params, streams, keys, extra) -> tuple:
    """The branches and extra, where they close over nothing of a trace; see `lifted`."""
    layers = list(zip(params, keys, strict=True))
    shapes = _layer_shapes(layers)
    closed = [
        _check_branch(branch, streams[0], *layer, extra)
        for branch, layer in zip(branches, shapes, strict=True)
    ]
    if any(closed):
        return lifted(branches, layer_of(layers, 0), streams[0], extra)
    return branches, extra


def _check_entries(branches, **entries) -> None:
    require(len(branches) >= 1, "branches must hold at least one function.")
    for name, entry in entries.items():
        require(
            isinstance(entry, tuple | list) and len(entry) == len(branches),
            f"{name} must have an entry for each of the {len(branches)} branches; "
            f"got {len(entry) if isinstance(entry, tuple | list) else describe(entry)}.",
        )


def _check_depth(params, keys) -> None:
    """Everything that is stacked is stacked equally high."""
    stacked = jax.tree.leaves((params, keys))
    heights = {getattr(x, "shape", ())[:1] for x in stacked}
    require(
        len(heights) == 1 and heights.isdisjoint({(), (0,)}),
        "all arrays of params and keys must have the same leading axis, n_layers ≥ 1; got "
        f"{', '.join(map(describe, stacked)) or 'none'}.",
    )


def _layer_shapes(stacked):
    return jax.eval_shape(lambda stacked: layer_of(stacked, 0), stacked)


def _check_extra(extra) -> None:
    """It is made of arrays and numbers."""
    for leaf in jax.tree.leaves(extra):
        require(
            hasattr(leaf, "shape") or isinstance(leaf, Number),
            f"extra must hold arrays and numbers; got {describe(leaf)}. What is fixed belongs to "
            "the branch, as functools.partial(branch, ...).",
        )


def _check_branch(branch, x, p, key, extra) -> list:
    """It gives back x's shape, and replays that are integers. What it closes over in a trace."""
    jaxpr, result = jax.make_jaxpr(branch, return_shape=True)(p, x, key, extra)
    pair = isinstance(result, tuple) and len(result) == 2
    require(pair, f"a branch must return (y, replay); got {describe(result)}.")
    y, replay = result
    require(
        getattr(y, "shape", None) == x.shape and jnp.issubdtype(y.dtype, jnp.floating),
        f"a branch must return floating-point y of its input's shape {x.shape}, or nothing could "
        f"be added to a stream; got {describe(y)}.",
    )
    for array in jax.tree.leaves(replay):
        require(
            jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_,
            "a replay must hold whole numbers or bool, for no gradient runs through it; "
            f"got {describe(array)}.",
        )
    return traced_closures(jaxpr)
