"""Fine-tuning a model through low-rank adapters of some of its matrices.

    frozen = in_bits(model, 8)                                   # or model, as it is
    adapters = init_adapters(key, frozen, "*.projection.*", rank=8)
    adapted(frozen, adapters)(tokens)                            # inside a loss: train the adapters
    merged(model, adapters)                                      # a model as any other, afterwards

Matrices are called as in `named_parameters`, and chosen by shell patterns. Adapters are a
dictionary, to be trained, saved and counted like any pytree. In an adapted model each layer makes
its matrices whole as it is called: behind `checkpointed_residual` or `reversible_residual` one
layer's exist at a time, forward and backward. Nothing else changes: any model, any residual, any
loss. The backward pass does make the gradient of each whole matrix, for the moment in which A's and
B's are made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
from jax import Array, lax
from jax.tree_util import keystr, register_dataclass, tree_flatten_with_path, tree_map_with_path
from jaxtyping import Key

from efftx.memory import low_rank
from efftx.memory.floats import floats, with_floats
from efftx.memory.low_rank import LowRank, dense, is_stored
from efftx.models.branch import Branch
from efftx.models.layer import NOTHING, Extra, Layer, OptionalKey, Stream
from efftx.models.norm import UNNORMED
from efftx.models.parameters import Tree
from efftx.validation import check_choice, require

Names = str | tuple[str, ...]
Adapters = dict[str, LowRank]
TABLES = ("tokens", "w")  # of an Embedding and of a Readout


@register_dataclass
@dataclass(frozen=True)
class Adapted(Layer):
    """A frozen layer whose matrices may be stored in fewer bits, and changes of some of them."""

    layer: Layer
    changes: Any  # by the matrix's name in the layer, a LowRank

    @property
    def positionwise(self) -> bool:
        return self.layer.positionwise

    @property
    def whole(self) -> Layer:
        """The layer with its matrices made and changed; no gradient goes into the frozen ones."""
        return changed(lax.stop_gradient(self.layer), self.changes)

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Any]:
        return self.behind(UNNORMED, x, key, extra, replay)

    def behind(self, norm, x: Stream, key=None, extra=NOTHING, replay=None) -> tuple:
        return self.whole.behind(norm, x, key, extra, replay)

    def undo(self, norm, x: Stream, given: tuple, streams: tuple) -> tuple:
        """As the layer itself is undone."""
        whole, pull_back = jax.vjp(lambda own: with_floats(own, self).whole, floats(self))
        streams, (g_norm, g_whole), g_extra = whole.undo(norm, x, given, streams)
        return streams, (g_norm, *pull_back(g_whole)), g_extra

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        return self.whole.prefill(x, key, extra, capacity=capacity)

    def step(self, x: Stream, cache: Any, position: Array, key=None, extra=NOTHING) -> tuple:
        """The matrices are made at each step; `merged` makes them once."""
        return self.whole.step(x, cache, position, key, extra)


def init_adapters(
    key: Key[Array, ""],
    model,
    names: Names,
    *,
    rank: int,
    alpha: float | int | None = None,
) -> Adapters:
    """Adapters of every matrix whose name matches a pattern, which change nothing yet.

    Layers' matrices are stacked, and each layer gets its own A and B, see
    :func:`efftx.memory.init_low_rank`.

    Raises ValueError for a pattern that matches no matrix, and for a rank below 1 or above the
    smaller side of a matrix.
    """
    found = chosen(model, names)

    def init(name: str, key) -> LowRank:
        def of_one(key, w):
            return low_rank.init_low_rank(key, w, rank=rank, alpha=alpha)

        w = found[name]
        return mapped(of_one, is_stacked(model, name))(keys_for_each(key, model, name, w), w)

    return {name: init(name, jax.random.fold_in(key, i)) for i, name in enumerate(found)}


def adapted(model: Tree, adapters: Adapters) -> Tree:
    """The model with the changes apart: what to differentiate by ``adapters``.

    Layers with changes, or with matrices in fewer bits, become `Adapted`. Of the embedding and the
    readout, which are no layers, changed matrices are made whole here.

    Raises ValueError for an adapter of a name that is not there, or of another shape.
    """
    return over_parts(model, adapters, Adapted)


def merged(model: Tree, adapters: Adapters) -> Tree:
    """The same function as a model like any other: every matrix in float32, W + s · A B.

    Raises ValueError as `adapted` does.
    """
    return jax.tree.map(dense, over_parts(model, adapters, changed), is_leaf=is_stored)


def unmerged(model: Tree, adapters: Adapters) -> Tree:
    """The model before `merged`, to rounding: W − s · A B. Raises ValueError as `adapted` does."""
    check_names(model, adapters)
    return changed(model, adapters, low_rank.unmerged)


def in_bits(model: Tree, bits: int) -> Tree:
    """The model with its matrices in 8 or 4 bits, to be frozen: `adapted` makes them whole.

    Numbers of a row, along the last axis, share a scale, or blocks of 32 of them. The tables of
    tokens and of the readout have eight bits with ``bits=4``, too. All else stays: vectors, tables
    of positions, the factors of sparse readouts.

    Raises ValueError for other numbers of bits, and for a model that is in fewer bits already.
    """
    check_choice("bits", bits, (8, 4))
    parts = matrices(model)
    already = [name for name, w in parts.items() if is_stored(w)]
    require(not already, f"{', '.join(already[:3])} … are stored in fewer bits already.")

    def store(path, w):
        name = called(path)
        if name not in parts:
            return w
        inside = is_stacked(model, name)
        if not inside and name.rpartition(".")[2] not in TABLES:
            return w
        return mapped(lambda w: low_rank.stored(w, bits if inside else 8), inside)(w)

    return tree_map_with_path(store, model)


# Parts and their names --------------------------------------------------------------------------


def changed(tree: Tree, changes: Adapters, how: Callable = low_rank.merged) -> Tree:
    """Every array of the tree dense, and those that are named changed."""

    def one(path, w):
        name = called(path)
        return how(w, changes[name]) if name in changes else dense(w)

    return tree_map_with_path(one, tree, is_leaf=is_stored)


def over_parts(model: Tree, adapters: Adapters, of_layer: Callable) -> Tree:
    """Each layer with changes, or in fewer bits, through ``of_layer``; other matrices changed."""
    check_names(model, adapters)

    def one(path, part):
        name = called(path)
        if not isinstance(part, Layer):
            return low_rank.merged(part, adapters[name]) if name in adapters else part
        start = f"{name}."
        own = {n.removeprefix(start): a for n, a in adapters.items() if n.startswith(start)}
        few_bits = any(map(is_stored, jax.tree.leaves(part, is_leaf=is_stored)))
        return of_layer(part, own) if own or few_bits else part

    return tree_map_with_path(one, model, is_leaf=is_part)


def is_part(x) -> bool:
    return isinstance(x, Layer) or is_stored(x)


def called(path) -> str:
    return keystr(path, simple=True, separator=".")


def stacks(model) -> tuple[str, ...]:
    """How the names of arrays begin that are one for all layers: those of branches and layers."""
    is_stack = lambda x: isinstance(x, Branch | Layer)  # noqa: E731
    parts = tree_flatten_with_path(model, is_leaf=is_stack)[0]
    return tuple(f"{called(path)}." for path, part in parts if is_stack(part))


def is_stacked(model, name: str) -> bool:
    return name.startswith(stacks(model))


def mapped(f: Callable, stacked: bool) -> Callable:
    return jax.vmap(f) if stacked else f


def keys_for_each(key, model, name: str, w):
    return jax.random.split(key, w.shape[0]) if is_stacked(model, name) else key


def matrices(model) -> dict:
    """Every array of a model that is a matrix, or a stack of them, by name."""
    leaves = tree_flatten_with_path(model, is_leaf=is_stored)[0]
    named, stacked = {called(path): w for path, w in leaves}, stacks(model)
    return {n: w for n, w in named.items() if len(w.shape) >= 2 + n.startswith(stacked)}


def chosen(model, names: Names) -> dict:
    """The matrices that the patterns match, in the model's order."""
    patterns, there = (names,) if isinstance(names, str) else tuple(names), matrices(model)
    for pattern in patterns:
        require(
            any(fnmatchcase(name, pattern) for name in there),
            f"{pattern!r} matches no matrix of this model; they are {', '.join(there)}.",
        )
    require(bool(patterns), "names must be a pattern, or several; got none.")
    return {n: w for n, w in there.items() if any(fnmatchcase(n, p) for p in patterns)}


def check_names(model, adapters: Adapters) -> None:
    unknown = adapters.keys() - matrices(model).keys()
    require(
        not unknown,
        f"this model has no matrix called {', '.join(sorted(unknown))}; its matrices are "
        f"{', '.join(matrices(model))}.",
    )
