"""A feed-forward layer that takes the positions in chunks, in the place of one that takes them all.

language_model(key, sizes, init_attention, chunked(init_feed_forward, 256), residual)
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from efftx.memory import map_chunks
from efftx.models.in_place import map_rows, undo_rows
from efftx.models.layers import UNNORMED, OptionalKey, Stream
from efftx.validation import check_positive


@register_dataclass
@dataclass(frozen=True)
class Chunked:
    """``layer(x)``, chunk_len positions at a time; for layers that treat every position alike."""

    layer: Callable
    chunk_len: int = field(metadata={"static": True})

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        """A layer that draws random numbers draws others in each chunk: the key differs."""
        return self.behind(UNNORMED, x, key, extra)[0]

    def behind(self, norm, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        """The layer's output on norm(x), normed chunk by chunk too; no choices to replay."""
        whole = norm, self.layer
        if extra is None:
            return map_rows(of_chunk, self.chunk_len, whole, key, x), None

        def with_extra(whole, x, positions):
            return of_chunk(whole, key, positions[0], x, extra)

        return map_chunks(with_extra, whole, x, jnp.arange(len(x)), chunk_len=self.chunk_len), None

    def undo(self, norm, x: Stream, key, replay: Any, streams: tuple) -> tuple:
        """See :func:`efftx.models.in_place.undo_rows`; the gradients of norm and self."""
        whole = norm, self.layer
        streams, (g_norm, g_layer) = undo_rows(of_chunk, self.chunk_len, whole, key, x, streams)
        return streams, (g_norm, replace(self, layer=g_layer))


def of_chunk(norm_and_layer, key, start, x, extra=None):
    norm, layer = norm_and_layer
    return layer(norm(x), None if key is None else jax.random.fold_in(key, start), extra)


def chunked(init: Callable, chunk_len: int) -> Callable:
    """From an ``init(key, sizes)`` of a layer to that of the same layer in chunks."""
    check_positive(chunk_len=chunk_len)
    return lambda key, sizes: Chunked(init(key, sizes), chunk_len)
