"""How the branches of a deep network are strung together.

A model works with any residual: `plain_residual` is the Transformer's, `reversible_residual` the
Reformer's. `checkpointed_residual` is the plain one in less memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
from jax import lax

from efftx.dtypes import at_least_float32
from efftx.memory import reversible_stack
from efftx.models.branch import RunBranch, branches, n_stacked
from efftx.models.layer import NOTHING, Extra, Stream


@dataclass(frozen=True)
class Residual:
    """Takes a stream through all blocks: ``residual(blocks, x, keys, extra) -> x``.

    ``keys`` has one entry for each of the `branches`: as many keys as are stacked, or None. A
    branch reads the last of the residual's streams and adds to the first, which then becomes the
    last; all begin as x and their mean comes out.
    """

    n_streams: ClassVar[int]

    def __call__(self, blocks, x: Stream, keys: tuple, extra: Extra = NOTHING) -> Stream:
        raise NotImplementedError

    def one_by_one(
        self, branches: tuple, read: Callable, x: Stream, keys: tuple, caches: tuple
    ) -> tuple:
        """x after all layers, and what ``read(branch, x, key, cache) -> (y, cache)`` left of each.

        For generating and for looking inside: without gradients in mind.
        """
        dtype = x.dtype
        (stream,) = (x,) if self.n_streams == 1 else at_least_float32(x)

        def layer(streams, stacked):
            written = []
            for branch, key, cache in zip(*stacked, strict=True):
                y, cache = read(branch, streams[-1].astype(dtype), key, cache)
                streams = (*streams[1:], streams[0] + y.astype(streams[0].dtype))
                written.append(cache)
            return streams, tuple(written)

        start = (stream,) * self.n_streams
        if n_stacked(branches) == 1:  # no loop, and caches that are written where they lie
            only, keys = jax.tree.map(lambda stack: stack[0], (branches, keys))
            streams, caches = layer(start, (only, keys, caches))
        else:
            streams, caches = lax.scan(layer, start, (branches, keys, caches))
        return (sum(streams) / self.n_streams).astype(dtype), caches


@dataclass(frozen=True)
class PlainResidual(Residual):
    """x ← x + Branch(x), branch after branch, block after block.

    Its gradient keeps the activations of every block: the memory that reversible layers save.
    """

    n_streams: ClassVar[int] = 1

    def __call__(self, blocks, x: Stream, keys: tuple, extra: Extra = NOTHING) -> Stream:
        def step(x, layer):
            for branch, key in zip(*layer, strict=True):
                x = x + branch(x, key, extra)[0]
            return x, None

        return lax.scan(step, x, (branches(blocks), keys))[0]


@dataclass(frozen=True)
class CheckpointedResidual(PlainResidual):
    """The function of `PlainResidual`, whose gradient keeps what enters each block and no more.

    The rest of a block is computed once more on the way back.

    Source: Chen et al. 2016, arXiv 1604.06174.
    """

    def __call__(self, blocks, x: Stream, keys: tuple, extra: Extra = NOTHING) -> Stream:
        @partial(jax.checkpoint, prevent_cse=False)  # as its documentation says for loops
        def block(x, layer):
            for branch, key in zip(*layer, strict=True):
                x = x + branch(x, key, extra)[0]
            return x

        return lax.scan(lambda x, layer: (block(x, layer), None), x, (branches(blocks), keys))[0]


@dataclass(frozen=True)
class ReversibleResidual(Residual):
    """Two streams that begin as x and end as their mean, each branch adding to one in turn.

    What is computed is another function than the plain residual's of the same parameters. Its
    gradient keeps no activations: they are rebuilt, see :func:`efftx.memory.reversible_stack`. The
    streams are at least float32, whatever the model's own dtype, since what is added in less cannot
    be taken away again; the branches see x's dtype.

    Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 3; the mean as in Jaszczur et
    al. 2021, arXiv 2111.12763.
    """

    n_streams: ClassVar[int] = 2

    def __call__(self, blocks, x: Stream, keys: tuple, extra: Extra = NOTHING) -> Stream:
        dtype = x.dtype
        (start,) = at_least_float32(x)
        params = branches(blocks)
        runs = (RunBranch(dtype),) * len(params)
        y1, y2 = reversible_stack(runs, params, start, start, keys, extra, undo=RunBranch.undo)
        return ((y1 + y2) / 2).astype(dtype)


plain_residual = PlainResidual()
checkpointed_residual = CheckpointedResidual()
reversible_residual = ReversibleResidual()
