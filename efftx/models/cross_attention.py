"""Attention that is not causal: across from a decoder to its source, and both ways in an encoder.

Both have the parameters of `Attention`. What they look at besides x comes through ``extra``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from efftx.attention import full_attention
from efftx.models.caches import attend_one
from efftx.models.layers import (
    Attention,
    OptionalKey,
    Parameter,
    Sizes,
    Stream,
    init_attention,
    project,
)


@register_dataclass
@dataclass(frozen=True)
class Source:
    """The encoder's output: what all branches of a decoder find in ``extra``."""

    vectors: Parameter  # (source_length, d_model)
    key_mask: Parameter = None  # (source_length,) bool, False for padding; None: there is none


@register_dataclass
@dataclass(frozen=True)
class CrossAttention(Attention):
    """Queries from x, keys and values from a source."""

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Source | None = None) -> Stream:
        return self.combine(self.attend(*self.vectors_across(x, extra), extra.key_mask))

    def vectors_across(self, x: Stream, source: Source) -> tuple:
        """q (n_heads, length, d_head), k and v (n_heads, source_length, d_head) of every head."""
        return (*project(x, self.w_in[:, :1]), *project(source.vectors, self.w_in[:, 1:]))

    def prefill(self, x: Stream, key=None, extra: Source | None = None, *, capacity: int) -> tuple:
        """The output on a prompt; the cache is of the source, so no step adds to it."""
        return self(x, key, extra), tuple(project(extra.vectors, self.w_in[:, 1:]))

    def step(self, x: Stream, cache: tuple, position, key=None, extra: Source | None = None):
        """The output at one position, and the cache as it was."""
        (q,), (k, v) = project(x, self.w_in[:, :1]), cache
        mask = jnp.ones(k.shape[1], bool) if extra.key_mask is None else extra.key_mask
        heads = attend_one(q * q.shape[-1] ** -0.5, k, v, jnp.broadcast_to(mask, k.shape[:2]))
        return self.combine(heads), cache


@register_dataclass
@dataclass(frozen=True)
class EncoderAttention(CrossAttention):
    """Cross-attention from x to x: each position sees those before it and those after it.

    ``extra`` is the key mask, False for padding, or None.
    """

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return super().__call__(x, key, Source(x, extra))


def everywhere(q, k, v, key_mask=None):
    """An `attend` of both: each query's softmax over all keys that are no padding."""
    attend = partial(full_attention, causal=False, key_mask=key_mask)
    return jax.vmap(attend)(q, k, v)


def init_cross_attention(key, sizes: Sizes, kind: Callable = CrossAttention) -> CrossAttention:
    parts = init_attention(key, sizes, n_projections=3, attend=everywhere)
    return kind(parts.w_in, parts.w_out, parts.attend)


def init_encoder_attention(key, sizes: Sizes) -> EncoderAttention:
    return init_cross_attention(key, sizes, kind=EncoderAttention)
