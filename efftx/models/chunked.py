"""A feed-forward layer that takes the positions in chunks, in the place of one that takes them all.

language_model(key, sizes, attention_layer(), chunked(init_feed_forward, 256), plain_residual)
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass

from efftx.memory.chunking import map_chunks, undo_chunks
from efftx.models.layer import (
    NOTHING,
    Extra,
    Layer,
    OptionalKey,
    Sizes,
    Stream,
    behind_in_chunks,
)
from efftx.models.norm import UNNORMED
from efftx.validation import check_not_explicit, check_positive, require


@register_dataclass
@dataclass(frozen=True)
class Chunked(Layer):
    """``layer(x)``, chunk_len positions at a time, its norm too; for position-wise layers.

    A layer that draws random numbers draws others in each chunk: the key differs. Its choices are
    those of all chunks, one after the other.

    Raises ValueError for a layer that is not position-wise: it would be another function.
    """

    layer: Layer
    chunk_len: int = field(metadata={"static": True})

    positionwise: ClassVar[bool] = True

    def __post_init__(self):
        # jax builds these classes of placeholders, too
        mixes = isinstance(self.layer, Layer) and not self.layer.positionwise
        require(
            not mixes,
            f"{type(self.layer).__name__} looks at several positions, and in chunks it would not "
            "see them; only a position-wise layer can be chunked. Chunk what is inside it.",
        )

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Any]:
        check_not_explicit(x=x, layer=self)
        return self.behind(UNNORMED, x, key, extra, replay)

    def behind(self, norm, x: Stream, key=None, extra=NOTHING, replay=None) -> tuple:
        inputs = self.inputs(norm, x, key, extra, replay)
        return map_chunks(behind_in_chunks, *inputs, chunk_len=self.chunk_len)

    def undo(self, norm, x: Stream, given: tuple, streams: tuple) -> tuple:
        """With one evaluation of each chunk."""
        params, *arrays = self.inputs(norm, x, *given)
        y_alone = lambda *inputs: behind_in_chunks(*inputs)[0]  # noqa: E731
        how = {"chunk_len": self.chunk_len, "streams": streams}
        streams, (g_norm, g_layer, _, g_extra) = undo_chunks(y_alone, params, *arrays, **how)
        return streams, (g_norm, replace(self, layer=g_layer)), g_extra

    def inputs(self, norm, x, key, extra, replay) -> tuple:
        """What all chunks see, and what is cut into chunks."""
        return (norm, self.layer, key, extra), x, jnp.arange(len(x)), replay

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        """As the layer generates, not as it trains; a position-wise layer remembers nothing."""
        read = lambda layer, x: layer.prefill(x, key, extra, capacity=capacity)[0]  # noqa: E731
        return map_chunks(read, self.layer, x, chunk_len=self.chunk_len), ()

    def step(self, x: Stream, cache: Any, position: Array, key=None, extra=NOTHING) -> tuple:
        return self.layer.step(x, cache, position, key, extra)

    def in_eight_bits(self) -> "Chunked":
        return replace(self, layer=self.layer.in_eight_bits())

    def read(self, of: Callable) -> int:
        return self.layer.read(of)


def chunked(init: Callable, chunk_len: int) -> Callable:
    """From an ``init(key, sizes)`` of a layer to that of the same layer in chunks.

    Raises ValueError for chunk_len < 1 and, when it is called, as `Chunked`.
    """
    check_positive(chunk_len=chunk_len)

    def init_chunked(key, sizes: Sizes) -> Chunked:
        return Chunked(init(key, sizes), chunk_len)

    return init_chunked
