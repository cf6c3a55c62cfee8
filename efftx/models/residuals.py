"""How the branches of a deep network are strung together.

A *branch* is a layer behind its own layer norm, ``layer(norm(x))``. A *block* is two branches or
more, in the order of its fields. A *residual* takes a stream through all blocks. The parts of all
blocks are stacked along a leading axis of size n_layers, so that going through the depth is one
``lax.scan``, compiled once.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import jax
from jax.tree_util import register_dataclass

from efftx.models.layers import LayerNorm, OptionalKey, Stream


@register_dataclass
@dataclass(frozen=True)
class Branch:
    """``layer(norm(x))``: what a residual adds to its stream."""

    norm: LayerNorm
    layer: Callable  # Attention, FeedForward or what takes their place

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.layer(self.norm(x), key, extra)


@register_dataclass
@dataclass(frozen=True)
class Block:
    """Attention lets the positions exchange information; then each position works on its own."""

    attention: Branch
    feed_forward: Branch


def branches(block) -> tuple[Branch, ...]:
    """A block's branches, in the order in which the stream meets them."""
    return tuple(getattr(block, field.name) for field in fields(block))


def plain_residual(blocks, x: Stream, keys: tuple, extra: Any = None) -> Stream:
    """x ← x + Branch(x), branch after branch, block after block.

    ``keys`` has one entry for each branch of a block: n_layers keys, or None; ``extra`` is whatever
    all branches may look at, as a decoder's at the encoder's output.

    Its gradient keeps the activations of every block: the memory that reversible layers save.
    """

    def step(x, block_and_keys):
        block, block_keys = block_and_keys
        for branch, key in zip(branches(block), block_keys, strict=True):
            x = x + branch(x, key, extra)
        return x, None

    return jax.lax.scan(step, x, (blocks, keys))[0]


def branch_keys(key: OptionalKey, n_layers: int, n_branches: int = 2) -> tuple:
    """For each branch of a block, a key for each layer; without a key, None for each."""
    if key is None:
        return (None,) * n_branches
    return tuple(jax.random.split(key, (n_branches, n_layers)))
