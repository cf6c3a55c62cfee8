"""Exact attention through the whole L × L matrix: the references that the others are held to."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from efftx.dtypes import at_least_float32
from efftx.precision import exactly
from efftx.validation import (
    check_choice,
    check_key_mask,
    check_same_length,
    check_same_width,
    check_vectors_of_head,
)


def full_attention(
    q: Float[Array, "length d_head"],
    k: Float[Array, "n_keys d_head"],
    v: Float[Array, "n_keys d_value"],
    *,
    causal: bool,
    key_mask: Bool[Array, "n_keys"] | None = None,
) -> Float[Array, "length d_value"]:
    r"""Scaled dot-product attention of one head, softmax(q kᵀ / √d) v.

    ``causal`` lets position i attend to keys 0 … i (then there are as many keys as queries);
    ``key_mask`` is True for keys that may be attended to; others are not read. A query with no
    permitted key gives 0 and zero gradients. Scores and softmax are computed in at least float32;
    the result has v's dtype. Takes O(L²) memory.

    Raises ValueError for wrong ranks, widths, lengths or dtypes.
    Source: Vaswani et al. 2017, arXiv 1706.03762, equation 1.
    """
    check_attention(q, k, v, causal, key_mask)
    q_f, *keys_f = at_least_float32(q, k, v)
    k_f, v_f = without_padding(key_mask, *keys_f)
    scores = q_f @ k_f.T / jnp.sqrt(q.shape[1])
    allowed = allowed_pairs(len(q), len(k), causal=causal, key_mask=key_mask)
    return in_dtype_of(v, masked_softmax(scores, allowed) @ v_f)


@exactly
def shared_qk_attention_reference(
    qk: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    causal: bool,
    key_mask: Bool[Array, "length"] | None = None,
) -> Float[Array, "length d_value"]:
    r"""The definition of :func:`efftx.attention.shared_qk_attention`, through the L × L matrix.

    Takes O(L²) memory. Raises ValueError for wrong ranks, lengths or dtypes.
    """
    check_shared_qk(qk, v, causal, key_mask)
    queries, values = without_padding(key_mask, *at_least_float32(qk, v))
    allowed = allowed_pairs(len(qk), len(qk), causal=causal, key_mask=key_mask)
    return in_dtype_of(v, shared_qk_over(allowed, queries, values, key_mask))


def shared_qk_over(count, qk, v, key_mask=None):
    """Shared-QK attention where pair ij counts count_ij times (a bool: once or never)."""
    others = jnp.where(jnp.eye(len(qk), dtype=bool), 0, count)
    log_count = jnp.log(jnp.maximum(others, 1).astype(qk.dtype))
    weights = masked_softmax(qk @ unit_keys(qk).T + log_count, others > 0)
    return with_last_resort(weights @ v, v, (others > 0).any(1), key_mask)


def with_last_resort(out, v, found, key_mask):
    """A query that found no other key gets its own value; padding gets 0."""
    out = jnp.where(found[:, None], out, v)
    return out if key_mask is None else jnp.where(key_mask[:, None], out, 0)


def allowed_pairs(n_queries: int, n_keys: int, *, causal: bool, key_mask=None):
    """Boolean (n_queries, n_keys): which key each query may attend to."""
    allowed = jnp.ones((n_queries, n_keys), bool)
    if causal:
        allowed = jnp.tril(allowed)
    return allowed if key_mask is None else allowed & key_mask


def masked_softmax(scores, allowed):
    """Softmax over the allowed entries of each row; a row with none is all 0, not NaN."""
    # A finite filler: with -inf an empty row's gradient would be NaN.
    filled = jnp.where(allowed, scores, jnp.finfo(scores.dtype).min)
    return jnp.where(allowed, jax.nn.softmax(filled, axis=-1), 0)


def unit_keys(qk: Float[Array, "*leading d_head"]) -> Float[Array, "*leading d_head"]:
    """The keys k = q / ‖q‖ of shared QK; a zero vector stays zero."""
    return qk / jnp.sqrt(squared_norms(qk)[..., None])


def squared_norms(qk):
    """‖q‖², but 1 for a zero vector, so that it can be divided by."""
    squared = (qk * qk).sum(-1)
    return jnp.where(squared > 0, squared, 1)


def in_dtype_of(v, out):
    """The output as callers get it back."""
    return out.astype(jnp.asarray(v).dtype)


def as_residuals(tree):
    """The same arrays, to be kept by a ``jax.custom_vjp``, but none of its arguments itself.

    Where a residual *is* an argument, jax 0.10 to 0.12 mistake another array for it if the gradient
    of the gradient is taken in a loop, as that of ``map_heads``. When compiled this does nothing.
    """
    return jax.tree.map(lambda x: x[None][0], tree)


def without_padding(key_mask, *arrays):
    """The rows where the mask is False become 0, so that not even a NaN in them is read."""
    if key_mask is None:
        return arrays
    return tuple(jnp.where(key_mask[:, None], x, 0) for x in arrays)


def check_attention(q, k, v, causal, key_mask) -> None:
    """Bad input to attention with separate queries and keys raises ValueError."""
    check_vectors_of_head(q=q, k=k, v=v)
    check_choice("causal", causal, (True, False))
    check_same_width(q=q, k=k)
    check_same_length(k=k, v=v)
    if causal:
        check_same_length(q=q, k=k)
    check_key_mask(key_mask, len(k))


def check_shared_qk(qk, v, causal, key_mask) -> None:
    """Bad input to attention with shared queries and keys raises ValueError."""
    check_vectors_of_head(qk=qk, v=v)
    check_choice("causal", causal, (True, False))
    check_same_length(qk=qk, v=v)
    check_key_mask(key_mask, len(qk))
