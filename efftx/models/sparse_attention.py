"""Attention whose queries, keys and values come from a multiplicative layer and convolutions.

What the heads then do is any attention's; their outputs stand side by side and are the layer's, for
there is no projection back. A decoder's cache holds the convolution's history beside the keys.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float

from efftx.models.caches import filled, keys_and_values, look_up, with_next
from efftx.models.cross_attention import everywhere
from efftx.models.head_by_head import LSHAttention
from efftx.models.layers import (
    OptionalKey,
    Parameter,
    Sizes,
    Stream,
    blocked,
    branch_scale,
    full,
    normal,
    shared,
)
from efftx.sparsity import sparse_qkv
from efftx.sparsity.qkv import d_module_of
from efftx.validation import check_positive, require


@register_dataclass
@dataclass(frozen=True)
class SparseHeads:
    """To the vectors that the heads compare, and back: what both kinds begin with.

    Three kernels give q, k and v; two give qk and v (shared-QK attention).
    """

    d: Parameter  # (d_model, S)
    e: Parameter  # (d_model, M)
    kernels: Parameter  # (3, 3, M, 3 or 2, M)
    n_heads: int = field(metadata={"static": True})

    def vectors(self, x: Stream, history: Any = None) -> tuple:
        """(projections, n_heads, length, d_head) of x, and the convolution's history after it.

        Without a history, x begins at the first position.
        """
        projections, history = sparse_qkv(x, self.d, self.e, self.kernels, history)
        heads = projections.reshape(*projections.shape[:2], self.n_heads, -1)
        return jnp.moveaxis(heads, 2, 1), history

    def combine(self, heads: Float[Array, "n_heads length d_head"]) -> Stream:
        return jnp.moveaxis(heads, 0, 1).reshape(heads.shape[1], -1)


def init_sparse_heads(key, sizes: Sizes, n_projections: int, n_modules: int | None) -> SparseHeads:
    """Queries and keys start with variance 1, values as small as a dense layer's outputs."""
    require(
        sizes.n_heads * sizes.d_head == sizes.d_model,
        "without an output projection, n_heads · d_head must be d_model; "
        f"got {sizes.n_heads} · {sizes.d_head} and {sizes.d_model}.",
    )
    n_modules = sizes.n_heads if n_modules is None else n_modules
    d_module = d_module_of(sizes.d_model, n_modules)
    d_key, e_key, kernels_key = jax.random.split(key, 3)
    scales = jnp.full(n_projections, (9 * d_module) ** -0.5)
    scales = scales.at[-1].set(branch_scale(sizes, 9 * d_module))
    kernels = normal(kernels_key, (3, 3, d_module, n_projections, d_module), 1.0)
    return SparseHeads(
        d=normal(d_key, (sizes.d_model, n_modules), 1.0),
        e=normal(e_key, (sizes.d_model, d_module), sizes.d_model**-0.5),
        kernels=kernels * scales[:, None],
        n_heads=sizes.n_heads,
    )


# Full attention -------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class SparseAttention(SparseHeads):
    """All heads attend at once."""

    attend: Callable = field(metadata={"static": True})  # all heads: (*vectors, key) -> outputs

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.combine(self.attend(*self.vectors(x)[0], key))

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        """The layer's output on a prompt, and what its later steps remember of it."""
        require(
            self.attend in (full, blocked, shared),
            f"what {self.attend} computes of a cache is not known; give its layer a class with "
            "methods prefill and step.",
        )
        vectors, history = self.vectors(x)
        return self(x, key), (history, filled(keys_and_values(vectors), capacity))

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra: Any = None) -> tuple:
        """The output at one position, and the cache that holds it too."""
        vectors, history = self.vectors(x, cache[0])
        seen = with_next(cache[1], position, keys_and_values(vectors))
        return self.combine(look_up(vectors, *seen, position)), (history, seen)


def init_sparse_attention(
    key, sizes: Sizes, *, n_projections: int, attend: Callable, n_modules: int | None = None
) -> SparseAttention:
    """S = n_modules modules, if not given one for each head; the heads must fill d_model."""
    heads = init_sparse_heads(key, sizes, n_projections, n_modules)
    return SparseAttention(**vars(heads), attend=attend)


# LSH attention --------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class SparseLSHAttention(SparseHeads):
    """Shared-QK attention among vectors in the same buckets, which are the layer's replay."""

    n_hashes: int = field(metadata={"static": True})
    chunk_len: int = field(metadata={"static": True})
    n_buckets: int | None = field(default=None, metadata={"static": True})  # None: by the length

    # Of one head, whose vectors may come from anywhere.
    attend, for_length, hash = LSHAttention.attend, LSHAttention.for_length, LSHAttention.hash

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.with_replay(x, key, extra)[0]

    def with_replay(self, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        """The output, and the buckets of all heads; one head after the other."""
        return self._attend(self.vectors(x)[0], key, replay)

    def _attend(self, vectors, key, replay=None, **others):
        heads = (jnp.moveaxis(vectors, 1, 0), self.head_keys(key), replay)
        out, buckets = jax.lax.map(lambda head: self.attend(*head, **others), heads)
        return self.combine(out), buckets

    def head_keys(self, key: OptionalKey):
        return None if key is None else jax.random.split(key, self.n_heads)

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        """The output on a prompt; the cache holds history, keys, values and buckets.

        The buckets are as many as a text of ``capacity`` tokens would have.
        """
        vectors, history = self.vectors(x)
        y, buckets = self.for_length(capacity)._attend(vectors, key)
        seen = (*keys_and_values(vectors), jnp.swapaxes(buckets, 1, 2))
        return y, (history, filled(seen, capacity))

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra: Any = None) -> tuple:
        """A query's candidates share its bucket in at least one round; see `LSHAttention.step`."""
        history, seen = cache
        vectors, history = self.vectors(x, history)
        layer = self.for_length(seen[0].shape[1])
        buckets = jax.vmap(layer.hash)(vectors[0], self.head_keys(key))
        seen = with_next(seen, position, (*keys_and_values(vectors), buckets))
        same_bucket = (seen[2] == buckets).any(-1)
        return self.combine(look_up(vectors, *seen[:2], position, same_bucket)), (history, seen)


def init_sparse_lsh_attention(
    key,
    sizes: Sizes,
    *,
    n_hashes: int = 1,
    chunk_len: int = 64,
    n_buckets: int | None = None,
    n_modules: int | None = None,
    kind: Callable = SparseLSHAttention,
) -> SparseLSHAttention:
    """Of this ``kind``: `SparseLSHAttention` or, for an encoder, `SparseLSHEncoderAttention`."""
    check_positive(n_hashes=n_hashes, chunk_len=chunk_len)
    heads = init_sparse_heads(key, sizes, 2, n_modules)
    return kind(**vars(heads), n_hashes=n_hashes, chunk_len=chunk_len, n_buckets=n_buckets)


# Attention to both sides ----------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class SparseEncoderAttention(SparseHeads):
    """Each position sees those before it and those after it.

    ``extra`` is the key mask, False for padding, or None. The convolution still looks back only,
    so that padding at the end does not come into it.
    """

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.combine(everywhere(*self.vectors(x)[0], extra))


def init_sparse_encoder_attention(
    key, sizes: Sizes, *, n_modules: int | None = None
) -> SparseEncoderAttention:
    return SparseEncoderAttention(**vars(init_sparse_heads(key, sizes, 3, n_modules)))


@register_dataclass
@dataclass(frozen=True)
class SparseLSHEncoderAttention(SparseLSHAttention):
    """As `SparseEncoderAttention`, among vectors in the same buckets: for long sources."""

    def with_replay(self, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        return self._attend(self.vectors(x)[0], key, replay, causal=False, key_mask=extra)
