"""The attention layer: a projection to the vectors of each head, and what the heads do with them.

Any projection goes with any kind of attention, see `efftx.models.projections` and
`efftx.models.kinds`:

    attention_layer()                                               the Transformer's
    attention_layer(Hashed(n_hashes=4))                             the Reformer's
    attention_layer(Local(rotary=True), multiplicative(n_modules=8))
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
from jax import Array, lax
from jax.tree_util import register_dataclass

from efftx.memory.floats import no_gradient
from efftx.memory.heads import all_heads, undo_all_heads
from efftx.models.kind import Kind
from efftx.models.kinds import Exact
from efftx.models.layer import NOTHING, Extra, Layer, OptionalKey, Sizes, Stream
from efftx.models.norm import UNNORMED
from efftx.models.projections import Dense, Grouped, Multiplicative, Vectors, dense
from efftx.validation import check_not_explicit


@register_dataclass
@dataclass(frozen=True)
class Attention(Layer):
    """A projection, one kind of attention in every head, and back."""

    projection: Dense | Grouped | Multiplicative
    kind: Kind = field(default=Exact(), metadata={"static": True})

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Any]:
        check_not_explicit(x=x, layer=self)
        return self.behind(UNNORMED, x, key, extra, replay)

    def behind(self, norm, x: Stream, key=None, extra=NOTHING, replay=None) -> tuple:
        given = self.head_keys(key), replay
        if self.goes_head_by_head:
            return all_heads(self.kind, norm, x, self.projection.by_head, given, extra.key_mask)
        vectors, _ = self.vectors(norm(x), extra)
        out, chosen = self.each_head(self.kind, (vectors, *given), self.looks_at(extra).key_mask)
        return self.projection.combine(out), chosen

    def undo(self, norm, x: Stream, given: tuple, streams: tuple) -> tuple:
        """With one evaluation, where heads go one by one."""
        if not self.goes_head_by_head:
            return super().undo(norm, x, given, streams)
        (key, extra, replay), heads = given, self.projection.by_head
        given = self.head_keys(key), replay
        streams, (g_norm, g_heads) = undo_all_heads(
            self.kind, norm, x, heads, given, extra.key_mask, streams=streams
        )
        g_self = replace(self, projection=self.projection.from_heads(g_heads))
        return streams, (g_norm, g_self), no_gradient(extra)

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        """The output on a prompt; the cache is the projection's history, and each head's own."""
        vectors, history = self.vectors(x, extra)
        prefill = lambda vectors, key, mask: self.kind.prefill(vectors, key, mask, capacity)  # noqa: E731
        mask = self.looks_at(extra).key_mask
        out, seen = self.each_head(prefill, (vectors, self.head_keys(key)), mask)
        return self.projection.combine(out), (history, seen)

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra=NOTHING) -> tuple:
        history, seen = cache
        vectors, history = self.projection(x, self.of_x, history)
        step = jax.vmap(self.kind.step, in_axes=(1, 0, None, 0))
        out, seen = step(vectors, seen, position, self.head_keys(key))
        return self.projection.combine(out), (history, seen)

    def vectors(self, x: Stream, extra: Extra = NOTHING) -> tuple[Vectors | tuple, Any]:
        """What the heads compare, (projections, n_heads, length, d_head), and the history after x.

        Of cross-attention q has another length than k and v: they are a tuple.
        """
        own, history = self.projection(x, self.of_x)
        if self.kind.n_of_source == 0:
            return own, history
        of_source, _ = self.projection(extra.source.vectors, self.of_source)
        return (*own, *of_source), history

    @property
    def of_x(self) -> slice:
        """Which projections are of x; all others are of the source."""
        n_of_source = self.kind.n_of_source
        return slice(self.kind.n_projections - n_of_source) if n_of_source else slice(None)

    @property
    def of_source(self) -> slice:
        return slice(self.kind.n_projections - self.kind.n_of_source, None)

    def looks_at(self, extra: Extra):
        """What holds the mask of the keys."""
        return extra.source if self.kind.n_of_source else extra

    @property
    def goes_head_by_head(self) -> bool:
        of_x_alone = self.kind.n_of_source == 0
        return self.kind.one_by_one and of_x_alone and self.projection.goes_head_by_head

    @property
    def n_hashes(self) -> int:
        return self.kind.n_hashes

    def each_head(self, f: Callable, heads: tuple, key_mask) -> tuple:
        """f(vectors, …, key_mask) of every head: at once, or one after the other."""
        vectors, *others = heads
        heads = (tuple(vectors), *others)  # each now begins with an axis of heads
        if not self.kind.one_by_one:
            return jax.vmap(lambda head: f(*head, key_mask))(heads)
        return lax.map(lambda head: f(*head, key_mask), heads)

    def head_keys(self, key: OptionalKey):
        return None if key is None else jax.random.split(key, self.projection.n_heads)

    def in_eight_bits(self) -> "Attention":
        """Cross-attention stays as it is: its keys and values are projected once for a source."""
        if self.kind.n_of_source:
            return self
        return replace(self, projection=self.projection.in_eight_bits())

    def read(self, of: Callable) -> int:
        """All but the projections of a source, for what they make of it is remembered."""
        projections, kind = of(self.projection.per_projection), self.kind
        return of(self) - projections * kind.n_of_source // kind.n_projections


def attention_layer(kind: Kind = Exact(), projection: Callable = dense) -> Callable:  # noqa: B008 (frozen)
    """An ``init(key, sizes)`` of a layer with any kind of attention and any projection.

    ``projection`` is `dense`, or what `grouped` or `multiplicative` return.

    Raises ValueError, when it is called, as the projection does.
    """
    return partial(init_attention, kind=kind, projection=projection)


def init_attention(key, sizes: Sizes, *, kind: Kind, projection: Callable) -> Attention:
    return Attention(projection(key, sizes, kind.n_projections), kind)
