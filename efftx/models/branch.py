"""A branch is a layer behind its own norm; a block is two branches or more, in order.

The parts of all blocks are stacked along a leading axis of size n_layers, so that going through the
depth is one ``lax.scan``, compiled once. Where blocks differ, as local, local, LSH and so on again,
``blocks`` is a tuple, a *pattern* with one stack of blocks for each of its slots.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
from jax import Array
from jax.tree_util import register_dataclass

from efftx.models.layer import NOTHING, Extra, Layer, OptionalKey, Sizes, Stream
from efftx.models.norm import Norm, init_norm
from efftx.validation import require


@register_dataclass
@dataclass(frozen=True)
class Branch:
    """``layer(norm(x))``: what a residual adds to its stream."""

    norm: Norm
    layer: Layer

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Any]:
        """y, and the layer's choices."""
        return self.layer.behind(self.norm, x, key, extra, replay)

    def undo(self, x: Stream, given: tuple, streams: tuple) -> tuple:
        """See `Layer.undo`; the gradients are those of the branch and of extra."""
        streams, (g_norm, g_layer), g_extra = self.layer.undo(self.norm, x, given, streams)
        return streams, Branch(g_norm, g_layer), g_extra

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        return self.layer.prefill(self.norm(x), key, extra, capacity=capacity)

    def step(self, x: Stream, cache: Any, position: Array, key=None, extra=NOTHING) -> tuple:
        return self.layer.step(self.norm(x), cache, position, key, extra)

    def in_eight_bits(self) -> "Branch":
        return replace(self, layer=self.layer.in_eight_bits())

    def read(self, of: Callable) -> int:
        return of(self.norm) + self.layer.read(of)


@dataclass(frozen=True)
class RunBranch:
    """A branch as `reversible_stack` wants it: its parameters are the branch itself.

    The streams may be wider than the model; the branch sees x in the model's own dtype.
    """

    dtype: Any

    def __call__(self, branch: Branch, x: Stream, key, extra: Extra, replay=None) -> tuple:
        return branch(x.astype(self.dtype), key, extra, replay)

    def undo(self, branch: Branch, x: Stream, given: tuple, streams: tuple) -> tuple:
        return branch.undo(x.astype(self.dtype), given, streams)


@register_dataclass
@dataclass(frozen=True)
class Block:
    """Attention lets the positions exchange information; then each position works on its own."""

    attention: Branch
    feed_forward: Branch


def init_blocks(keys, sizes: Sizes, kind: Callable, **inits: Callable):
    """A stack of blocks of a kind; ``init(key, sizes)`` makes the layer of the branch so named.

    Raises ValueError if one makes something else than a `Layer`.
    """

    def init_block(key):
        named = zip(inits.items(), jax.random.split(key, len(inits)), strict=True)
        return kind(**{name: init_branch(init, k, sizes) for (name, init), k in named})

    return jax.vmap(init_block)(keys)


def init_branch(init: Callable, key, sizes: Sizes) -> Branch:
    layer = init(key, sizes)
    require(
        isinstance(layer, Layer),
        "an init(key, sizes) of a model's part must return a Layer, a dataclass that derives from "
        f"efftx.models.Layer; got a {type(layer).__name__}.",
    )
    return Branch(init_norm(sizes), layer)


def branches(blocks) -> tuple[Branch, ...]:
    """Those of a block, or of a pattern's blocks, in the order in which the stream meets them."""
    slots = blocks if isinstance(blocks, tuple) else (blocks,)
    return tuple(getattr(block, field.name) for block in slots for field in fields(block))


def n_stacked(blocks) -> int:
    """How many blocks stand in each slot's stack."""
    return len(jax.tree.leaves(blocks)[0])


def branch_keys(key: OptionalKey, n_stacked: int, n_branches: int = 2) -> tuple:
    """For each branch, a key for each of those stacked; without a key, None for each branch."""
    if key is None:
        return (None,) * n_branches
    return tuple(jax.random.split(key, (n_branches, n_stacked)))


def keys_for(blocks, key: OptionalKey) -> tuple:
    """What a residual wants as its ``keys``."""
    return branch_keys(key, n_stacked(blocks), len(branches(blocks)))
