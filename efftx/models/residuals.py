"""How the branches of a deep network are strung together.

A *branch* is a layer behind its own layer norm, ``layer(norm(x))``. A *block* is two branches or
more, in the order of its fields. A *residual* takes a stream through all blocks. The parts of all
blocks are stacked along a leading axis of size n_layers, so that going through the depth is one
``lax.scan``, compiled once. Where blocks differ, as local, local, LSH and so on again, ``blocks``
is a tuple, a *pattern* with one stack of blocks for each of its slots. A model works with any
residual: `plain_residual` is the Transformer's, `reversible_residual` the Reformer's.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import jax
from jax.tree_util import register_dataclass

from efftx.attention.full import at_least_float32
from efftx.memory import reversible_stack, undo_by_autodiff
from efftx.models.layers import OptionalKey, Sizes, Stream, init_norm


@register_dataclass
@dataclass(frozen=True)
class Branch:
    """``layer(norm(x))``: what a residual adds to its stream.

    A layer that makes choices, as of buckets or units, may have a method ``with_replay(x, key,
    extra, replay) -> (y, replay)``: with None it chooses and returns its choices, integers, beside
    y; with these it makes them again. Other layers need none.

    A layer that takes its input piece by piece may have ``behind(norm, x, key, extra, replay)``
    instead: it then norms each piece itself, so that norm(x) never exists whole. If it has ``undo``
    as well, a reversible residual rebuilds and goes back through it with one evaluation.
    """

    norm: Callable  # LayerNorm, or UNNORMED
    layer: Callable  # Attention, FeedForward or what takes their place

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.with_replay(x, key, extra)[0]

    def with_replay(self, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        """y, and the layer's choices; None if it makes none."""
        if hasattr(self.layer, "behind"):
            return self.layer.behind(self.norm, x, key, extra, replay)
        if hasattr(self.layer, "with_replay"):
            return self.layer.with_replay(self.norm(x), key, extra, replay)
        return self.layer(self.norm(x), key, extra), None


@register_dataclass
@dataclass(frozen=True)
class Block:
    """Attention lets the positions exchange information; then each position works on its own."""

    attention: Branch
    feed_forward: Branch


def init_blocks(keys, sizes: Sizes, kind: Callable, **inits: Callable):
    """A stack of blocks of a kind; ``init(key, sizes)`` makes the layer of the branch so named."""

    def init_block(key):
        named = zip(inits.items(), jax.random.split(key, len(inits)), strict=True)
        return kind(**{name: Branch(init_norm(sizes), init(k, sizes)) for (name, init), k in named})

    return jax.vmap(init_block)(keys)


def branches(blocks) -> tuple[Branch, ...]:
    """Those of a block, or of a pattern's blocks, in the order in which the stream meets them."""
    slots = blocks if isinstance(blocks, tuple) else (blocks,)
    return tuple(getattr(block, field.name) for block in slots for field in fields(block))


def plain_residual(blocks, x: Stream, keys: tuple, extra: Any = None) -> Stream:
    """x ← x + Branch(x), branch after branch, block after block.

    ``keys`` has one entry for each of the `branches`: as many keys as are stacked, or None;
    ``extra`` is whatever all branches may look at, as a decoder's at the encoder's output.

    Its gradient keeps the activations of every block: the memory that reversible layers save.
    """

    def step(x, layer):
        for branch, key in zip(*layer, strict=True):
            x = x + branch(x, key, extra)
        return x, None

    return jax.lax.scan(step, x, (branches(blocks), keys))[0]


def reversible_residual(blocks, x: Stream, keys: tuple, extra: Any = None) -> Stream:
    """Two streams that begin as x and end as their mean, each branch adding to one in turn.

    Parameters and arguments are those of `plain_residual`, but what is computed is another function
    of them. Its gradient keeps no activations: they are rebuilt, see
    :func:`efftx.memory.reversible_stack`. The streams are at least float32, whatever the model's
    own dtype, since what is added in less cannot be taken away again; the branches see x's dtype.

    Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 3; the mean as in Jaszczur et
    al. 2021, arXiv 2111.12763.
    """

    dtype = x.dtype
    (start,) = at_least_float32(x)
    params = branches(blocks)
    runs = (RunBranch(dtype),) * len(params)
    y1, y2 = reversible_stack(runs, params, start, start, keys, extra)
    return ((y1 + y2) / 2).astype(dtype)


@dataclass(frozen=True)
class RunBranch:
    """A branch as `reversible_stack` wants it, which sees x in the model's dtype."""

    dtype: Any

    def __call__(self, branch, x, key, extra, replay=None):
        return branch.with_replay(x.astype(self.dtype), key, extra, replay)

    def undo(self, branch, x, given: tuple, streams: tuple) -> tuple:
        key, extra, replay = given
        if extra is not None or not hasattr(branch.layer, "undo"):
            return undo_by_autodiff(self, branch, x, given, streams)
        x = x.astype(self.dtype)
        streams, (g_norm, g_layer) = branch.layer.undo(branch.norm, x, key, replay, streams)
        return streams, Branch(g_norm, g_layer), None


def branch_keys(key: OptionalKey, n_stacked: int, n_branches: int = 2) -> tuple:
    """For each branch, a key for each of those stacked; without a key, None for each branch."""
    if key is None:
        return (None,) * n_branches
    return tuple(jax.random.split(key, (n_branches, n_stacked)))


def n_stacked(blocks) -> int:
    """How many blocks stand in each slot's stack."""
    return len(jax.tree.leaves(blocks)[0])


def keys_for(blocks, key: OptionalKey) -> tuple:
    """What a residual wants as its ``keys``."""
    return branch_keys(key, n_stacked(blocks), len(branches(blocks)))
