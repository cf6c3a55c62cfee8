"""Local attention: each query looks at its own chunk of positions and at the one before.

The same window as in LSH attention, but over the positions as they come, not sorted by a hash. It
finds what is near, whatever it is; a hash finds what is alike, wherever it is. So models alternate
the two.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from efftx.attention.full import (
    check_attention,
    in_dtype_of,
    masked_softmax,
    without_padding,
)
from efftx.dtypes import at_least_float32
from efftx.precision import exactly
from efftx.validation import check_positive

SCORES_AT_ONCE = 2**21  # of the chunks that are worked on together, each m × 2m


def local_attention(
    q: Float[Array, "length d_head"],
    k: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    chunk_len: int = 64,
    key_mask: Bool[Array, "length"] | None = None,
) -> Float[Array, "length d_value"]:
    r"""Causal attention of one head within chunks of m = chunk_len positions and the one before.

    Position i attends to the positions j ≤ i with ⌊i/m⌋ − ⌊j/m⌋ ≤ 1, so to at least m of them once
    there are as many, and to at most 2m. Otherwise this is
    :func:`efftx.attention.full_attention`: the same scaling, masks and dtypes, and 0 where a query
    has no permitted key.

    Time O(L · m), memory O(L·d) forward and backward. Any length ≥ 1.

    Raises ValueError for wrong ranks, widths, lengths or dtypes and for chunk_len < 1.
    Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451; as trax's local self-attention.
    """
    check_attention(q, k, v, True, key_mask)
    check_positive(chunk_len=chunk_len)
    mask = jnp.ones(len(k), bool) if key_mask is None else jnp.asarray(key_mask)
    q_f, *keys_f = at_least_float32(q, k, v)
    keys_f = without_padding(key_mask, *keys_f)
    scaled = q_f / jnp.sqrt(q.shape[1])
    return in_dtype_of(v, _attend(min(chunk_len, len(q)), scaled, *keys_f, mask))


@exactly
def local_attention_reference(
    q: Float[Array, "length d_head"],
    k: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    chunk_len: int = 64,
    key_mask: Bool[Array, "length"] | None = None,
) -> Float[Array, "length d_value"]:
    """The definition of :func:`local_attention`, through the whole L × L matrix.

    Takes O(L²) memory. Raises ValueError as that does.
    """
    check_attention(q, k, v, True, key_mask)
    check_positive(chunk_len=chunk_len)
    q_f, *keys_f = at_least_float32(q, k, v)
    k_f, v_f = without_padding(key_mask, *keys_f)
    position = jnp.arange(len(q))
    chunk = position // chunk_len
    allowed = (position <= position[:, None]) & (chunk[:, None] - chunk <= 1)
    if key_mask is not None:
        allowed &= key_mask
    weights = masked_softmax(q_f @ k_f.T / jnp.sqrt(q.shape[1]), allowed)
    return in_dtype_of(v, weights @ v_f)


@partial(jax.jit, static_argnums=0)
def _attend(m: int, q, k, v, mask):
    n_chunks = -(-len(q) // m)

    def chunks(x):
        filled = jnp.pad(x, [(0, n_chunks * m - len(x))] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(n_chunks, m, *x.shape[1:])

    own = [chunks(x) for x in (k, v, mask)]
    # The first chunk has none before it: a chunk of padding stands there.
    before = [jnp.pad(x[:-1], [(1, 0)] + [(0, 0)] * (x.ndim - 1)) for x in own]
    at_once = max(SCORES_AT_ONCE // (2 * m * m), 1)
    attend = jax.checkpoint(_attend_chunk, prevent_cse=False)  # keeps no weights
    out = lax.map(
        lambda chunk: attend(*chunk), (chunks(q), own, before), batch_size=min(at_once, n_chunks)
    )
    return out.reshape(-1, v.shape[1])[: len(q)]


def _attend_chunk(q, own, before):
    """One chunk of queries over the keys of two."""
    k, v, mask = (jnp.concatenate([b, o]) for b, o in zip(before, own, strict=True))
    m = len(q)
    not_later = jnp.arange(2 * m) <= m + jnp.arange(m)[:, None]
    return masked_softmax(q @ k.T, not_later & mask) @ v
