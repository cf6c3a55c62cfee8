"""Branches that close over arrays of a trace, as functions of these arrays.

A function with a backward pass of its own is kept by jax and run again later, when the trace in
which it was written may be over; what it closes over would be gone. So that is passed on as an
argument, and gets its gradient like one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun

from efftx.validation import describe, require, values_are_known


def traced_closures(jaxpr) -> list:
    """What the traced function closes over, of which only the shapes are known."""
    return [x for x in jaxpr.consts if not values_are_known(x)]


def lifted(branches: tuple, layers: list, x, extra) -> tuple[tuple, Any]:
    """The branches and their ``extra``, to which is added what they close over.

    ``layers`` has the parameters and the key of one layer for each branch.

    Raises ValueError under ``jax.shard_map``, where the types of these arrays would be fixed.
    """
    lifts = [_lift(b, *layer, x, extra) for b, layer in zip(branches, layers, strict=True)]
    run, closures = zip(*lifts, strict=True)
    require(
        not jax.sharding.get_abstract_mesh().manual_axes,
        "under jax.shard_map a branch must not close over traced arrays; it closes over "
        f"{', '.join(map(describe, jax.tree.leaves(closures)))}. Pass them as extra.",
    )
    return tuple(map(Lifted, run, range(len(run)))), (extra, closures)


@dataclass(frozen=True)
class Lifted:
    """A branch whose closures are a part of ``extra``."""

    run: tuple[Callable, Callable | None]  # to choose, and with a replay, if it makes choices
    index: int

    def __call__(self, params, x, key, extra, replay=None):
        extra, closures = extra
        choose, repeat = self.run
        run, given = (choose, ()) if replay is None else (repeat, (replay,))
        return run(closures[self.index][replay is not None], params, x, key, extra, *given)


def _lift(branch: Callable, params, key, x, extra) -> tuple[tuple, tuple]:
    """How to run the branch without a replay and with one, and what it closes over in each case."""
    args = params, x, key, extra
    choose, closed, (_, replay) = _open(branch, *args)
    repeat, closed_again, _ = _open(branch, *args, replay) if replay is not None else (None, (), ())
    return (choose, repeat), (closed, closed_again)


def _open(f: Callable, *args) -> tuple[Callable, list, Any]:
    """f with what it closes over as its first argument; that; and the shapes of f's results."""
    jaxpr, results = jax.make_jaxpr(f, return_shape=True)(*args)
    structure = jax.tree.structure(results)

    def run(closed, *args):
        closed = iter(closed)
        consts = [x if values_are_known(x) else next(closed) for x in jaxpr.consts]
        flat = jaxpr_as_fun(jaxpr.replace(consts=consts))(*jax.tree.leaves(args))
        return jax.tree.unflatten(structure, flat)

    return run, traced_closures(jaxpr), results
