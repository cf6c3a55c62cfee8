"""Sort, chunk, attend: the engine of LSH attention, in O(L·d) memory forward and backward.

One round sorts the positions by (bucket, position) and cuts them into chunks; a query looks at its
own chunk and at the one before. A round is worked off in groups of chunks, so that only one group's
scores exist at a time; the rounds follow each other, and each round's outputs are merged into those
before by their log-sum-exps.

The rounds' candidate sets overlap, and softmax over their *union* needs every pair once. So a pair
counts in the first round that reaches it and is left out of later ones. That is the paper's
correction by log N_ij: N copies of weight 1/N are one copy of weight 1.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.attention.full import as_residuals, squared_norms
from efftx.attention.layout import Layout, Rule, group_sizes, groups_at_once, lay_out
from efftx.precision import as_forward

REACHES_NONE = -4  # a query's code where it must reach no key, an empty slot neither


class Tokens(NamedTuple):
    """What stands in the slots of some chunks; each array is (chunks, m) and what is given."""

    qk: Array  # (…, d_head)
    v: Array  # (…, d_value)
    position: Array
    code: Array  # in the round at hand
    codes: Array  # (…, n_hashes): in every round


def _map_groups(rule: Rule, layout: Layout, n_round, attend, qk: Array, v: Array, *for_queries):
    """attend(queries, own, before, *for_queries) for each group of chunks of a round.

    A group has a copy of the chunk before its first, for that one to look back to; as a query the
    copy attends to nothing. Results are (groups, 1 + chunks, m, …).
    """
    length, m = layout.slot.shape[1], rule.chunk_len
    (n_groups, n_chunks), at_once = group_sizes(length, m), groups_at_once(length, m)

    def attend_group(group):
        def slots(x):
            start, size = group * n_chunks * m, (n_chunks + 1) * m
            return lax.dynamic_slice_in_dim(x[n_round], start, size).reshape(-1, m)

        position, code = slots(layout.order), slots(layout.code)
        move = partial(_rows, position)
        own = Tokens(move(qk), move(v), position, code, move(layout.code_at))
        return attend(*with_neighbours(own), *map(move, for_queries))

    return for_each_group(attend_group, n_groups, at_once)


def for_each_group(attend_group: Callable, n_groups: int, at_once: int):
    """attend_group(number) of each group, so many of them in one turn of a loop; (groups, …)."""

    def attend_several(groups):
        return jax.tree.map(lambda *x: jnp.stack(x), *map(attend_group, groups))

    results = lax.map(attend_several, jnp.arange(n_groups).reshape(-1, at_once))
    return jax.tree.map(lambda x: x.reshape(n_groups, *x.shape[2:]), results)


def with_neighbours(own: Tokens) -> tuple[Tokens, Tokens, Tokens]:
    """Some chunks as queries, as keys, and the keys before each; the first is only looked at."""
    code = jnp.where(own.code >= 0, own.code, REACHES_NONE).at[0].set(REACHES_NONE)
    before = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), own)
    return own._replace(code=code), own, before


def _rows(index: Array, x: Array) -> Array:
    """x[index], without a look at bounds: each index comes from a sort of positions."""
    return x.at[index].get(mode="promise_in_bounds")


def _by_position(slot: Array, results: Array) -> Array:
    """(length, …): from groups of chunks back to the order of the sequence."""
    _, n_chunks, m, width = results.shape
    in_group = (n_chunks - 1) * m
    return _rows(slot + m * (slot // in_group + 1), results.reshape(-1, width))


def _scores(rule: Rule, n_round, queries: Tokens, keys: Tokens, chunks_back: int) -> Array:
    """(chunks, m, m): q·k/‖k‖ of the pairs that count in this round, -inf for all others."""
    allowed = _allowed(rule, n_round, queries, keys, chunks_back)
    scores = queries.qk @ keys.qk.mT * lax.rsqrt(squared_norms(keys.qk))[..., None, :]
    return scores + jnp.where(allowed, 0, -jnp.inf)


def _allowed(rule: Rule, n_round, queries: Tokens, keys: Tokens, chunks_back: int) -> Array:
    """(chunks, m, m): the pairs that count in this round."""
    q_position, k_position = queries.position[..., :, None], keys.position[..., None, :]
    q_code, k_code = queries.code[..., :, None], keys.code[..., None, :]
    allowed = k_position < q_position if rule.causal else k_position != q_position
    if not rule.paper:
        return allowed & (q_code >= 0) & (k_code >= 0)
    allowed &= q_code - k_code == chunks_back
    for earlier in range(queries.codes.shape[-1]):
        # Rounds still to come must not count.
        q_once = jnp.where(earlier < n_round, queries.codes[..., earlier], REACHES_NONE)
        difference = q_once[..., :, None] - keys.codes[..., None, :, earlier]
        allowed &= difference.astype(jnp.uint32) > 1  # negative ones become large
    return allowed


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_in_chunks(rule: Rule, qk: Array, v: Array, buckets: Array, mask: Array) -> Array:
    """The output of every query; its own value where it reaches no other key.

    qk (length, d_head), v (length, d_value), buckets (n_hashes, length), mask (length,).
    """
    return alone_if_none(v, *attend_all_rounds(rule, qk, v, lay_out(rule, buckets, mask)))


def alone_if_none(v: Array, out: Array, lse: Array) -> Array:
    """A query that reaches no other key gets its own value."""
    return jnp.where(lse > -jnp.inf, out, v)


def attend_all_rounds(rule: Rule, qk, v, layout: Layout, first: Array | int = 0):
    """Output and log-sum-exp (length, 1), which is -inf where a query reaches no other key.

    The layout's rounds may be some of all, from the ``first`` on; its ``code_at`` is of all.
    """

    def attend_round(n_round):
        attend = partial(attend_group, rule, first + n_round)
        results = _map_groups(rule, layout, n_round, attend, qk, v)
        return [_by_position(layout.slot[n_round], x) for x in results]

    def add_round(so_far, n_round):
        return merge(*so_far, *attend_round(n_round)), None

    n_hashes = len(layout.slot)
    out, lse = attend_round(0)
    if n_hashes > 1:
        (out, lse), _ = lax.scan(add_round, (out, lse), jnp.arange(1, n_hashes))
    return out, lse


def attend_group(rule: Rule, n_round, queries: Tokens, own: Tokens, before: Tokens):
    """Softmax over the two chunks that a query looks at, and its log-sum-exp."""
    scores = [
        _scores(rule, n_round, queries, keys, chunks_back)
        for chunks_back, keys in enumerate((own, before))
    ]
    largest = jnp.maximum(*(s.max(-1, keepdims=True) for s in scores))
    largest = jnp.maximum(largest, jnp.finfo(largest.dtype).min)  # (-inf) - (-inf) would be NaN
    largest = lax.stop_gradient(largest)  # it cancels
    p_own, p_before = (jnp.exp(s - largest) for s in scores)
    total = p_own.sum(-1, keepdims=True) + p_before.sum(-1, keepdims=True)
    some = total > 0
    total = jnp.where(some, total, 1)  # of nothing, so that no log 0 gets a gradient
    out = (p_own @ own.v + p_before @ before.v) / total
    return out, jnp.where(some, largest + jnp.log(total), -jnp.inf)


def merge(out_a, lse_a, out_b, lse_b):
    """Softmax over the union of two disjoint sets of keys, from the softmax over each."""
    lse = jnp.logaddexp(lse_a, lse_b)
    weight_a = jnp.exp(lse_a - jnp.where(lse > -jnp.inf, lse, 0))
    return weight_a * out_a + (1 - weight_a) * out_b, lse


def _attend_forward(rule: Rule, qk, v, buckets, mask):
    layout = lay_out(rule, buckets, mask)
    out, lse = attend_all_rounds(rule, qk, v, layout)
    out = alone_if_none(v, out, lse)
    return out, (*as_residuals((qk, v)), layout, out, lse)


def _attend_backward(rule: Rule, kept, g_out):
    """Rebuild each pair's weight p = exp(score − lse) and pass its gradient on to q, k and v."""
    qk, v, layout, out, lse = kept
    nothing = jnp.zeros_like(qk), own_gradient(g_out, lse)
    by_query = for_each_query(g_out, out, lse)
    g_qk, g_v = add_all_rounds(rule, nothing, qk, v, layout, by_query)
    return g_qk, g_v, None, None


def own_gradient(g_out: Array, lse: Array) -> Array:
    """What the value of a query that reaches no other key is owed."""
    return jnp.where(lse == -jnp.inf, g_out, 0)


def for_each_query(g_out: Array, out: Array, lse: Array) -> tuple[Array, Array, Array]:
    """What the backward pass asks of each query: g, its lse (+inf if it reaches none), ⟨g, out⟩."""
    mean_g = (g_out * out).sum(-1, keepdims=True)
    return g_out, jnp.where(lse == -jnp.inf, jnp.inf, lse), mean_g


def add_all_rounds(rule: Rule, start: tuple, qk, v, layout: Layout, by_query, *, first=0):
    """The gradients of vectors and values with those of each of the layout's rounds added."""

    def add_round(total, n_round):
        backward = partial(backward_group, rule, first + n_round)
        results = _map_groups(rule, layout, n_round, backward, qk, v, *by_query)
        results = (add_copies(rule, layout, x) for x in results)
        results = (_by_position(layout.slot[n_round], x) for x in results)
        return jax.tree.map(jnp.add, total, tuple(results)), None

    return lax.scan(add_round, start, jnp.arange(len(layout.slot)))[0]


def backward_group(rule: Rule, n_round, queries: Tokens, own: Tokens, before: Tokens, *by_query):
    r"""Gradients of a group's vectors and values.

    The score s_ij = r_j q_i·q_j with r_j = 1/‖q_j‖ has ∂s_ij/∂q_i = r_j q_j, and
    ∂s_ij/∂q_j = r_j q_i − s_ij r_j² q_j. With A_ij = r_j ∂loss/∂s_ij they sum to A Q and Aᵀ Q,
    the last part apart.
    """
    g, lse, mean_g = by_query
    q = own.qk

    def through_scores(keys, chunks_back):
        scores = _scores(rule, n_round, queries, keys, chunks_back)
        p = jnp.exp(scores - lse)
        g_scores = p * (g @ keys.v.mT - mean_g)
        r = lax.rsqrt(squared_norms(keys.qk))
        # A weight of 0 leaves out its score, which may be -inf: so does the gradient of this.
        by_norm = (g_scores * jnp.where(p > 0, scores, 0)).sum(-2) * r**2
        return p, g_scores * r[..., None, :], by_norm[..., None] * keys.qk

    p, a, by_norm = through_scores(own, 0)
    p_before, a_before, by_norm_before = through_scores(before, 1)
    g_own = (a + a.mT) @ q + a_before @ before.qk - by_norm
    g_before = a_before.mT @ q - by_norm_before
    to_its_chunk = partial(jnp.roll, shift=-1, axis=0)  # what is owed to the chunk before
    return g_own + to_its_chunk(g_before), p.mT @ g + to_its_chunk(p_before.mT @ g)


def add_copies(rule: Rule, layout: Layout, g: Array) -> Array:
    """Add the gradient of each group's copy of the chunk before to that chunk's own."""
    if len(g) > 1:
        g = g.at[:-1, -1].add(g[1:, 0])
    if not rule.paper:
        n_chunks = g.shape[1] - 1
        g = g.at[layout.look_back // n_chunks, layout.look_back % n_chunks + 1].add(g[0, 0])
    return g


attend_in_chunks.defvjp(*as_forward(_attend_forward, _attend_backward))
