"""The kinds of attention that there are: small frozen configurations, see `efftx.models.kind`."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from efftx.attention import (
    blocked_attention,
    default_n_buckets,
    factor_buckets,
    full_attention,
    hash_vectors,
    local_attention,
    lsh_attention,
    random_rotations,
    shared_qk_attention,
    unit_keys,
)
from efftx.models.caches import attend_one
from efftx.models.kind import Kind, Softmax, look_up
from efftx.validation import check_positive, require


@dataclass(frozen=True, kw_only=True)
class Exact(Softmax):
    """Softmax over the whole L × L matrix: :func:`efftx.attention.full_attention`."""

    def attend(self, vectors, key, replay, key_mask) -> tuple:
        return full_attention(*vectors, causal=self.causal, key_mask=key_mask), None


@dataclass(frozen=True, kw_only=True)
class Blocked(Softmax):
    """The values of `Exact` in O(length) memory: :func:`efftx.attention.blocked_attention`.

    Raises ValueError for block_len < 1.
    """

    block_len: int = 512

    def __post_init__(self):
        check_positive(block_len=self.block_len)

    def attend(self, vectors, key, replay, key_mask) -> tuple:
        how = {"causal": self.causal, "key_mask": key_mask, "block_len": self.block_len}
        return blocked_attention(*vectors, **how), None


@dataclass(frozen=True, kw_only=True)
class Local(Softmax):
    """Each position looks at its own chunk, up to itself, and at the one before.

    See :func:`efftx.attention.local_attention`. Raises ValueError for chunk_len < 1, and for
    causal=False.
    """

    chunk_len: int = 64

    one_by_one: ClassVar[bool] = True

    def __post_init__(self):
        check_positive(chunk_len=self.chunk_len)
        require(self.causal, "local attention looks back only; causal must be True.")

    def attend(self, vectors, key, replay, key_mask) -> tuple:
        return local_attention(*vectors, chunk_len=self.chunk_len, key_mask=key_mask), None

    def n_slots(self, capacity: int) -> int:
        return min(2 * self.chunk_len, capacity)

    def reaches(self, new, cache, at, position) -> Array:
        return (at <= position) & (position // self.chunk_len - at // self.chunk_len <= 1)


# Queries that are keys --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shared(Softmax):
    """Exact attention whose keys are its queries at unit length, in O(length) memory.

    A position looks at itself only where there is nothing else.
    """

    n_projections: ClassVar[int] = 2

    def attend(self, vectors, key, replay, key_mask) -> tuple:
        return shared_qk_attention(*vectors, causal=self.causal, key_mask=key_mask), None

    def remembered(self, vectors, chosen) -> tuple:
        qk, v = vectors
        return unit_keys(qk), v

    def reaches(self, new, cache, at, position) -> Array:
        return at < position

    def look_up(self, vectors, cache, reached) -> Array:
        """softmax(q·k/‖k‖) v over what is reached, and the position's own value if nothing is."""
        qk, v = vectors
        return jnp.where(reached.any(), attend_one(qk, cache[0], cache[1], reached), v)


@dataclass(frozen=True, kw_only=True)
class Hashed(Shared):
    """LSH attention: `Shared` among vectors that a hash puts into the same buckets.

    Each head has its own hashes; the buckets are its choice, in the narrowest type. Without
    ``n_buckets`` there are as many as the length asks for; generating, as a text of ``capacity``
    tokens would have. A step's query reaches keys that share its bucket in at least one round. The
    whole text reaches the same ones unless a bucket spreads over more than two chunks; there it may
    miss some that are far back, and a step does not.

    Raises ValueError for numbers below 1, and an odd n_buckets; when called, without a key.
    Source: see :func:`efftx.attention.lsh_attention`.
    """

    n_hashes: int = 1
    chunk_len: int = 64
    n_buckets: int | None = None

    one_by_one: ClassVar[bool] = True

    def __post_init__(self):
        check_positive(n_hashes=self.n_hashes, chunk_len=self.chunk_len)
        if self.n_buckets is not None:
            factor_buckets(self.n_buckets)  # even, not too many

    def attend(self, vectors, key, replay, key_mask, **others) -> tuple:
        require(
            key is not None or replay is not None,
            "LSH attention hashes with random rotations: call the model with key="
            "jax.random.key(seed).",
        )
        how = {name: getattr(self, name) for name in ("n_buckets", "n_hashes", "chunk_len")}
        how |= {"causal": self.causal, "key_mask": key_mask}
        out, buckets = lsh_attention(*vectors, key=key, buckets=replay, return_buckets=True, **how)
        return out, buckets.astype(self.for_length(len(out)).bucket_type)

    def for_length(self, length: int) -> "Softmax":
        n_buckets = self.n_buckets or default_n_buckets(length, self.chunk_len)
        return replace(self, n_buckets=n_buckets)

    @cached_property
    def bucket_type(self) -> np.dtype:
        return np.min_scalar_type(self.n_buckets - 1)

    def choice(self, vectors, key) -> Array:
        rotations = random_rotations(key, vectors[0].shape[1], self.n_buckets, self.n_hashes)
        return hash_vectors(vectors[0], rotations).astype(self.bucket_type)

    def remembered(self, vectors, chosen) -> tuple:
        return *super().remembered(vectors, chosen), chosen.T

    def reaches(self, new, cache, at, position) -> Array:
        return super().reaches(new, cache, at, position) & (cache[2] == new[2]).any(-1)


# To a source ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Across(Kind):
    """From a decoder to its source: queries from x, keys and values from all of the source.

    Raises ValueError if it is to be causal or rotary.
    """

    causal: bool = False

    n_of_source: ClassVar[int] = 2

    def __post_init__(self):
        require(
            not self.causal and not self.rotary,
            "a source has no order beside the target: causal and rotary must be False.",
        )

    def attend(self, vectors, key, replay, key_mask) -> tuple:
        return full_attention(*vectors, causal=False, key_mask=key_mask), None

    def prefill(self, vectors, key, key_mask, capacity: int) -> tuple:
        """The cache is of the source, so no step adds to it."""
        _, k, v = vectors
        mask = jnp.ones(len(k), bool) if key_mask is None else key_mask
        return self.attend(vectors, key, None, key_mask)[0], (k, v, mask)

    def step(self, vectors, cache, position, key) -> tuple:
        return look_up(vectors[0], *cache), cache
