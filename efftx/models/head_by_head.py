"""Layers of attention that work one head at a time, for very long sequences: LSH and local."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass

from efftx.attention import (
    default_n_buckets,
    hash_vectors,
    local_attention,
    lsh_attention,
    random_rotations,
)
from efftx.models.caches import filled, keys_and_values, look_up, positions_in, with_next
from efftx.models.layers import UNNORMED, Heads, OptionalKey, Sizes, Stream, init_heads
from efftx.models.one_head_at_a_time import all_heads, undo_all_heads
from efftx.models.positions import rotate
from efftx.validation import check_positive, require


@register_dataclass
@dataclass(frozen=True)
class HeadByHead(Heads):
    """What such layers share; they add ``attend(vectors, key, replay) -> (out, replay)``."""

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.with_replay(x, key, extra)[0]

    def with_replay(self, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        return self.behind(UNNORMED, x, key, extra, replay)

    def behind(self, norm, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        """The layer's output on norm(x), and what its heads chose."""
        return all_heads(self.attends, norm, x, self.heads, self.head_keys(key), replay)

    def undo(self, norm, x: Stream, key, replay: Any, streams: tuple) -> tuple:
        """See :func:`~efftx.models.one_head_at_a_time.undo_all_heads`; gradients of norm, self."""
        choices = self.head_keys(key), replay
        streams, g = undo_all_heads(self.attends, norm, x, self.heads, choices, streams)
        g_norm, (g_in, g_out) = g
        return streams, (g_norm, replace(self, w_in=by_head(g_in), w_out=g_out))

    @property
    def heads(self) -> tuple:
        return by_head(self.w_in), self.w_out

    @property
    def attends(self) -> Callable:
        """`attend_turned` of what is static of the layer."""
        return replace(self, w_in=None, w_out=None).attend_turned

    def head_keys(self, key: OptionalKey):
        return None if key is None else jax.random.split(key, len(self.w_out))

    def attend_turned(self, vectors: tuple, key, replay):
        *compared, v = vectors
        compared = [rotate(x) for x in compared] if self.rotary else compared
        return self.attend((*compared, v), key, replay)


def by_head(w_in):
    """Heads first, or where they were again."""
    return jnp.transpose(w_in, (2, 1, 0, 3))


# LSH attention --------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class LSHAttention(HeadByHead):
    """Shared-QK attention among vectors that a hash puts into the same buckets.

    Random numbers come from the key that the model is called with; each head has its own hashes.
    The buckets are the layer's replay. With ``rotary`` vectors are turned first and hashed then, so
    that the hash sees what the scores compare.

    Rounds are no parameters: ``dataclasses.replace(layer, n_hashes=8)`` evaluates with eight.
    """

    n_hashes: int = field(metadata={"static": True})
    chunk_len: int = field(metadata={"static": True})
    n_buckets: int | None = field(default=None, metadata={"static": True})  # None: by the length

    def attend(self, vectors, key, replay, **others):
        """One head, and its buckets in the narrowest type; ``others`` are for `lsh_attention`."""
        require(
            key is not None or replay is not None,
            "LSH attention hashes with random rotations: call the model with key="
            "jax.random.key(seed).",
        )
        n_buckets = self.n_buckets or default_n_buckets(len(vectors[0]), self.chunk_len)
        how = {"n_buckets": n_buckets, "n_hashes": self.n_hashes, "chunk_len": self.chunk_len}
        how |= {"key": key, "buckets": replay, "return_buckets": True, **others}
        out, buckets = lsh_attention(*vectors, **how)
        return out, buckets.astype(np.min_scalar_type(n_buckets - 1))

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        """The output on a prompt; the cache holds keys, values and the buckets of all rounds.

        The buckets are as many as a text of ``capacity`` tokens would have.
        """
        layer = self.for_length(capacity)
        y, buckets = layer.with_replay(x, key)
        cache = (*keys_and_values(self.vectors(x)), jnp.swapaxes(buckets, 1, 2))
        return y, filled(cache, capacity)

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra: Any = None) -> tuple:
        """A query's candidates: cached keys that share its bucket in at least one of the rounds.

        Each counts once. The full forward reaches the same ones unless a bucket spreads over more
        than two chunks; there it may miss some that are far back, and a step does not.
        """
        vectors, layer = self.vectors(x, position), self.for_length(cache[0].shape[1])
        buckets = jax.vmap(layer.hash)(vectors[0], self.head_keys(key))  # (n_heads, 1, n_hashes)
        cache = with_next(cache, position, (*keys_and_values(vectors), buckets))
        same_bucket = (cache[2] == buckets).any(-1)
        return self.combine(look_up(vectors, *cache[:2], position, same_bucket)), cache

    def for_length(self, length: int) -> "LSHAttention":
        """The same layer with the number of buckets for this length."""
        n_buckets = self.n_buckets or default_n_buckets(length, self.chunk_len)
        return replace(self, n_buckets=n_buckets)

    def hash(self, qk, key):
        """(length, n_hashes) buckets: those that `attend` finds with this key."""
        rotations = random_rotations(key, qk.shape[1], self.n_buckets, self.n_hashes)
        return hash_vectors(qk, rotations).T.astype(np.min_scalar_type(self.n_buckets - 1))


def init_lsh_attention(
    key,
    sizes: Sizes,
    *,
    n_hashes: int = 1,
    chunk_len: int = 64,
    n_buckets: int | None = None,
    rotary: bool = False,
) -> LSHAttention:
    check_positive(n_hashes=n_hashes, chunk_len=chunk_len)
    heads = init_heads(key, sizes, n_projections=2)
    return LSHAttention(*heads, n_hashes, chunk_len, n_buckets, rotary=rotary)


# Local attention ------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class LocalAttention(HeadByHead):
    """Each position looks at its own chunk, up to itself, and at the one before."""

    chunk_len: int = field(metadata={"static": True})

    def attend(self, vectors, key, replay):
        return local_attention(*vectors, chunk_len=self.chunk_len), None

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        """The output on a prompt; the cache needs no more slots than two chunks have."""
        n_slots = min(2 * self.chunk_len, capacity)
        return self(x, key), filled(keys_and_values(self.vectors(x)), n_slots)

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra: Any = None) -> tuple:
        vectors = self.vectors(x, position)
        cache = with_next(cache, position, keys_and_values(vectors))
        chunk_of = positions_in(cache[0].shape[1], position) // self.chunk_len
        near = position // self.chunk_len - chunk_of <= 1
        return self.combine(look_up(vectors, *cache, position, near)), cache


def init_local_attention(
    key, sizes: Sizes, *, chunk_len: int = 64, rotary: bool = False
) -> LocalAttention:
    check_positive(chunk_len=chunk_len)
    return LocalAttention(*init_heads(key, sizes, n_projections=3), chunk_len, rotary=rotary)
