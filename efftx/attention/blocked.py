"""Exact attention without the L × L matrix: block by block, with an online softmax.

The softmax of a row needs its maximum and its sum, and both can be carried from block to block:
when a block brings a larger maximum, what has been summed so far is rescaled. Only the sums are
kept. The backward pass rebuilds each block's weights from the row's log-sum-exp, so nothing of size
L² exists there either, nor in the gradient of a gradient.
Sources: Milakov & Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from efftx.attention.full import (
    as_residuals,
    check_attention,
    check_shared_qk,
    in_dtype_of,
    unit_keys,
    with_last_resort,
    without_padding,
)
from efftx.attention.online_softmax import OnlineSoftmax
from efftx.dtypes import at_least_float32
from efftx.precision import as_forward
from efftx.shards import vary_alike
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
    rule = BlockRule(causal, self_allowed=True, block_len=block_len)
    q_f, *keys_f = at_least_float32(q, k, v)
    keys_f = without_padding(key_mask, *keys_f)
    out, _ = _attend_alike(rule, q_f / jnp.sqrt(q.shape[1]), *keys_f, _mask(key_mask, k))
    return in_dtype_of(v, out)


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
    rule = BlockRule(causal, self_allowed=False, block_len=block_len)
    queries, values = without_padding(key_mask, *at_least_float32(qk, v))
    out, lse = _attend_alike(rule, queries, unit_keys(queries), values, _mask(key_mask, qk))
    return in_dtype_of(v, with_last_resort(out, values, jnp.isfinite(lse), key_mask))


class BlockRule(NamedTuple):
    """Which pairs are allowed, beyond the key mask, and how large a block is."""

    causal: bool
    self_allowed: bool
    block_len: int

    def blocks(self, x):
        """Cut into blocks; the last is filled with zeros (False in a mask).

        What is shorter than a block is a block of its own length. Where positions are compared,
        there are as many queries as keys, so that their blocks have one size.
        """
        block_len = min(self.block_len, len(x))
        n_blocks = -(-len(x) // block_len)
        filled = jnp.pad(x, [(0, n_blocks * block_len - len(x))] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(n_blocks, block_len, *x.shape[1:])

    def scores(self, q, k, mask, i, j):
        """Scores of query block i with key block j, -inf where not allowed."""
        query = i * len(q) + jnp.arange(len(q))[:, None]
        key = j * len(k) + jnp.arange(len(k))
        allowed = mask & (key <= query if self.causal else True)
        if not self.self_allowed:
            allowed &= key != query
        return jnp.where(allowed, q @ k.T, -jnp.inf)


def _mask(key_mask, keys):
    return jnp.ones(len(keys), bool) if key_mask is None else key_mask


@partial(jax.jit, static_argnums=0)  # a call outside jit compiles only once
def _attend_alike(rule: BlockRule, *arrays):
    return attend_to(rule, *vary_alike(arrays))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_to(rule: BlockRule, q, k, v, mask):
    """Output and log-sum-exp of every query; a query with no allowed key gives 0 and +inf."""
    q_blocks, *key_blocks = map(rule.blocks, (q, k, v, mask))
    n_key_blocks = len(key_blocks[0])

    def attend_block(i):
        def add_block(j, state):
            k_j, v_j, mask_j = (blocks[j] for blocks in key_blocks)
            return state.add(rule.scores(q_blocks[i], k_j, mask_j, i, j), v_j)

        start = OnlineSoftmax.empty(q_blocks.shape[1], v)
        return lax.fori_loop(0, i + 1 if rule.causal else n_key_blocks, add_block, start).finish()

    out, lse = lax.map(attend_block, jnp.arange(len(q_blocks)))
    return out.reshape(-1, v.shape[1])[: len(q)], lse.reshape(-1)[: len(q)]


def _attend_forward(rule: BlockRule, q, k, v, mask):
    out, lse = attend_to(rule, q, k, v, mask)
    return (out, lse), (*as_residuals((q, k, v, mask)), out, lse)


def _attend_backward(rule: BlockRule, kept, cotangents):
    q, k, v, mask, out, lse = kept
    g_out, g_lse = cotangents
    mean_g = (g_out * out).sum(-1) - g_lse
    g_q, g_keys = gradients_of(rule, (q, g_out, lse, mean_g), (k, v), mask)
    return g_q, *g_keys, None


attend_to.defvjp(*as_forward(_attend_forward, _attend_backward))


def gradients_of(rule: BlockRule, rows: tuple, keys: tuple, mask):
    """Of queries, and of (keys, values), by the pairs of these rows (q, g, lse, mean_g) and keys.

    The log-sum-exps may be those over more keys than are here.
    """
    blocks = jax.tree.map(rule.blocks, (rows, keys))
    g_q, g_keys = _over_pairs(rule, _gradients, rule.blocks(mask), *blocks)
    whole = lambda g, x: g.reshape(-1, x.shape[1])[: len(x)]  # noqa: E731
    return whole(g_q, rows[0]), jax.tree.map(whole, g_keys, keys)


def _gradients(scores: Callable, row, column):
    """What a pair of blocks adds to the gradients of its queries, and of its keys and values."""
    (q, g, lse, mean_g), (k, v) = row, column
    p = jnp.exp(scores(q, k) - lse[:, None])
    g_s = p * (g @ v.T - mean_g[:, None])
    return g_s @ k, (g_s.T @ q, p.T @ g)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _over_pairs(rule: BlockRule, of_pair: Callable, mask, rows, columns):
    """of_pair(scores, row, column) of all pairs of blocks, summed up by rows and by columns.

    Of the allowed pairs, that is. Column by column: its sum is complete at once, those of the rows
    are added up.
    """
    n_rows = len(jax.tree.leaves(rows)[0])

    def one_pair(mask_j, row, column, i=0, j=0):
        return of_pair(partial(rule.scores, mask=mask_j, i=i, j=j), row, column)

    def add_column(sums, column):
        j, *column = column

        def add_row(i, state):
            sums, total = state
            to_row, to_column = one_pair(column[0], _block(i, rows), column[1], i, j)
            sums = jax.tree.map(lambda x, more: x.at[i].add(more), sums, to_row)
            return sums, jax.tree.map(jnp.add, total, to_column)

        start = sums, zeros(of_column)
        return lax.fori_loop(j if rule.causal else 0, n_rows, add_row, start)

    def zeros(shapes, *leading):
        like = jax.tree.leaves(rows)[0]  # as they are all, under shard_map
        return jax.tree.map(lambda x: jnp.zeros_like(like, x.dtype, (*leading, *x.shape)), shapes)

    of_row, of_column = jax.eval_shape(one_pair, *_block(0, (mask, rows, columns)))
    order = jnp.arange(len(mask))
    return lax.scan(add_column, zeros(of_row, n_rows), (order, mask, columns))


def _block(i, blocks):
    return jax.tree.map(lambda x: x[i], blocks)


def _over_pairs_forward(rule: BlockRule, of_pair: Callable, *arrays):
    return _over_pairs(rule, of_pair, *arrays), as_residuals(arrays)


def _over_pairs_backward(rule: BlockRule, of_pair: Callable, kept, cotangents):
    """A sum over pairs of blocks again; so there may be gradients of gradients of any order."""
    mask, rows, columns = kept
    g_rows, g_columns = cotangents
    pull_back = partial(_pull_back, of_pair)
    return None, *_over_pairs(rule, pull_back, mask, (rows, g_rows), (columns, g_columns))


def _pull_back(of_pair: Callable, scores: Callable, row, column):
    (row, g_row), (column, g_column) = row, column
    return jax.vjp(partial(of_pair, scores), row, column)[1]((g_row, g_column))


_over_pairs.defvjp(*as_forward(_over_pairs_forward, _over_pairs_backward))
