"""Exact attention without the L × L matrix: block by block, with an online softmax.

The softmax of a row needs its maximum and its sum, and both can be carried from block to block:
when a block brings a larger maximum, what has been summed so far is rescaled. Only the sums are
kept. The backward pass rebuilds each block's weights from the row's log-sum-exp, so nothing of size
L² exists there either.
Sources: Milakov & Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from efftx.attention.full import (
    at_least_float32,
    check_attention,
    check_shared_qk,
    unit_keys,
    with_last_resort,
    without_padding,
)
from efftx.attention.online_softmax import OnlineSoftmax
from efftx.validation import check_positive


def blocked_attention(
    q: Float[Array, "length d_head"],
    k: Float[Array, "n_keys d_head"],
    v: Float[Array, "n_keys d_value"],
    *,
    causal: bool,
    key_mask: Bool[Array, "n_keys"] | None = None,
    block_len: int = 512,
) -> Float[Array, "length d_value"]:
    r"""The same as :func:`efftx.attention.full_attention` in O(L) memory, forward and backward.

    Scores exist for one (block_len, block_len) block at a time; with ``causal`` the blocks above
    the diagonal are skipped. Lengths need not be multiples of ``block_len``.

    Raises ValueError for wrong ranks, widths, lengths or dtypes and for block_len < 1.
    Source: Dao et al. 2022, arXiv 2205.14135, algorithm 1.
    """
    check_attention(q, k, v, causal, key_mask)
    check_positive(block_len=block_len)
    rule = _Rule(causal, self_allowed=True, block_len=min(block_len, max(len(q), len(k))))
    mask = _mask(key_mask, k)
    q_f, *keys_f = at_least_float32(q, k, v)
    out, _ = _attend_jit(
        rule, q_f / jnp.sqrt(q.shape[1]), *without_padding(key_mask, *keys_f), mask
    )
    return out.astype(v.dtype)


def shared_qk_attention(
    qk: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    causal: bool,
    key_mask: Bool[Array, "length"] | None = None,
    block_len: int = 512,
) -> Float[Array, "length d_value"]:
    r"""Attention of one head whose queries are also its keys, scores q·k/‖k‖, in O(L) memory.

    A query is always most similar to itself, so a position attends to itself only where nothing
    else is allowed (the first position of a causal sequence). A position is query and key at once:
    where ``key_mask`` is False it is padding, neither read nor written, and its output is 0. This
    is what :func:`efftx.attention.lsh_attention` approximates, and Table 2's "Full".

    Raises ValueError for wrong ranks, lengths or dtypes and for block_len < 1.
    Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 2.
    """
    check_shared_qk(qk, v, causal, key_mask)
    check_positive(block_len=block_len)
    rule = _Rule(causal, self_allowed=False, block_len=min(block_len, len(qk)))
    queries, values = without_padding(key_mask, *at_least_float32(qk, v))
    out, lse = _attend_jit(rule, queries, unit_keys(queries), values, _mask(key_mask, qk))
    return with_last_resort(out, values, jnp.isfinite(lse), key_mask).astype(v.dtype)


class _Rule(NamedTuple):
    """Which pairs are allowed, beyond the key mask, and how large a block is."""

    causal: bool
    self_allowed: bool
    block_len: int

    def scores(self, q, k, mask, i, j):
        """Scores of query block i with key block j, -inf where not allowed."""
        query = i * self.block_len + jnp.arange(len(q))[:, None]
        key = j * self.block_len + jnp.arange(len(k))
        allowed = mask & (key <= query if self.causal else True)
        if not self.self_allowed:
            allowed &= key != query
        return jnp.where(allowed, q @ k.T, -jnp.inf)


def _mask(key_mask, keys):
    return jnp.ones(len(keys), bool) if key_mask is None else key_mask


def _blocks(x, block_len: int):
    """Cut into blocks; the last is filled with zeros (False in a mask)."""
    n_blocks = -(-len(x) // block_len)
    filled = jnp.pad(x, [(0, n_blocks * block_len - len(x))] + [(0, 0)] * (x.ndim - 1))
    return filled.reshape(n_blocks, block_len, *x.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(rule: _Rule, q, k, v, mask):
    """Output and log-sum-exp of every query; a query with no allowed key gives 0 and +inf."""
    q_blocks, *key_blocks = (_blocks(x, rule.block_len) for x in (q, k, v, mask))
    n_key_blocks = len(key_blocks[0])

    def attend_block(i):
        def add_block(j, state):
            k_j, v_j, mask_j = (blocks[j] for blocks in key_blocks)
            return state.add(rule.scores(q_blocks[i], k_j, mask_j, i, j), v_j)

        start = OnlineSoftmax.empty(rule.block_len, v.shape[1], v.dtype)
        return lax.fori_loop(0, i + 1 if rule.causal else n_key_blocks, add_block, start).finish()

    out, lse = lax.map(attend_block, jnp.arange(len(q_blocks)))
    return out.reshape(-1, v.shape[1])[: len(q)], lse.reshape(-1)[: len(q)]


def _attend_forward(rule: _Rule, q, k, v, mask):
    out, lse = _attend(rule, q, k, v, mask)
    return (out, lse), (q, k, v, mask, out, lse)


def _attend_backward(rule: _Rule, kept, cotangents):
    """Key block by key block: its gradients are complete at once, those of q are added up."""
    q, k, v, mask, out, lse = kept
    g_out, _ = cotangents  # log-sum-exps only tell which rows are empty: no gradient runs there
    mean_g = (g_out * out).sum(-1)
    query_blocks = [_blocks(x, rule.block_len) for x in (q, g_out, lse, mean_g)]
    key_blocks = [_blocks(x, rule.block_len) for x in (k, v, mask)]
    n_query_blocks = len(query_blocks[0])

    def backward_key_block(g_q, block):
        j, k_j, v_j, mask_j = block

        def add_query_block(i, gradients):
            g_q, g_k, g_v = gradients
            q_i, g_i, lse_i, mean_g_i = (blocks[i] for blocks in query_blocks)
            p = jnp.exp(rule.scores(q_i, k_j, mask_j, i, j) - lse_i[:, None])
            g_s = p * (g_i @ v_j.T - mean_g_i[:, None])
            return g_q.at[i].add(g_s @ k_j), g_k + g_s.T @ q_i, g_v + p.T @ g_i

        start = (g_q, jnp.zeros_like(k_j), jnp.zeros_like(v_j))
        first = j if rule.causal else 0
        g_q, *g_keys = lax.fori_loop(first, n_query_blocks, add_query_block, start)
        return g_q, g_keys

    g_q, (g_k, g_v) = lax.scan(
        backward_key_block,
        jnp.zeros_like(query_blocks[0]),
        (jnp.arange(len(key_blocks[0])), *key_blocks),
    )
    whole = (g.reshape(-1, x.shape[1])[: len(x)] for g, x in ((g_q, q), (g_k, k), (g_v, v)))
    return *whole, None


_attend.defvjp(_attend_forward, _attend_backward)
_attend_jit = jax.jit(_attend, static_argnums=0)  # a call outside jit compiles only once
