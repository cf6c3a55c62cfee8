"""Sort, chunk, attend: the engine of LSH attention, in O(L·d) memory forward and backward.

One round sorts the positions by (bucket, position) and cuts them into chunks; a query looks at its
own chunk and at the one before. A round is worked off in groups of chunks, so that only one group's
scores exist at a time, and the rounds follow each other, each merged into an online softmax.

The rounds' candidate sets overlap, and softmax over their *union* needs every pair once. So a pair
counts in the first round that reaches it and is left out of later ones. That is the paper's
correction by log N_ij: N copies of weight 1/N are one copy of weight 1.

Whether a round lets query i reach key j is one subtraction. With code = chunk + 2·bucket,
code_i − code_j is 0 within a chunk and bucket, 1 for the chunk before and the same bucket, and
neither for any other pair, since along the sorted positions bucket and chunk never decrease.
"""

from functools import partial
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int

from efftx.attention.full import unit_keys
from efftx.attention.online_softmax import OnlineSoftmax

POSITIONS_AT_ONCE = 16_384  # in a group of chunks, whose scores take 16,384 · 2m numbers
EMPTY = -8  # label of an empty slot; as a code it is out of every query's reach
NOT_YET = -4  # a query's code in a round that is still to come: reaches no key


class Rule(NamedTuple):
    """What is fixed when a call is compiled."""

    n_buckets: int
    chunk_len: int
    causal: bool
    paper: bool  # same bucket only, each pair once, no wrap-around: trax has none of the three


class Layout(NamedTuple):
    """Which position stands in which slot, round by round, and the codes that judge pairs."""

    order: Array  # (n_hashes, m + slots): position in each slot, a copy of the last chunk first
    slot: Array  # (n_hashes, length): slot of each position
    code: Array  # (n_hashes, length)
    look_back: Array  # (): the last chunk with a position in it; trax's first one looks back to it


def sort_by_bucket(
    buckets: Int[Array, "length"], n_buckets: int, key_mask: Bool[Array, "length"] | None = None
) -> Int[Array, "length"]:
    """The positions of one round sorted by (bucket, position), masked ones last; int32."""
    length = len(buckets)
    position = jnp.arange(length, dtype=jnp.uint32)
    bucket = buckets if key_mask is None else jnp.where(key_mask, buckets, n_buckets)
    bucket = bucket.astype(jnp.uint32)
    if (n_buckets + 1) * length <= 2**32:  # one number to sort by is several times faster
        order = jnp.sort(bucket * length + position) % length
    else:
        _, order = lax.sort((bucket, position), num_keys=2)
    return order.astype(jnp.int32)


def lay_out(rule: Rule, buckets: Array, mask: Array) -> Layout:
    """Sort every round into slots, filled up to whole groups; masked positions take none."""
    length, m = buckets.shape[1], rule.chunk_len
    n_groups, n_chunks = _groups(length, m)
    position, n_valid = jnp.arange(length, dtype=jnp.int32), mask.sum()
    order = lax.map(lambda b: sort_by_bucket(b, rule.n_buckets, mask), buckets)
    slot = lax.map(lambda o: jnp.zeros_like(o).at[o].set(position, unique_indices=True), order)
    code = slot // m + 2 * buckets
    order = jnp.where(position < n_valid, order, length)
    n_filled = n_groups * n_chunks * m - length
    order = jnp.pad(order, [(0, 0), (0, n_filled)], constant_values=length)
    look_back = jnp.maximum(n_valid - 1, 0) // m
    before_first = lax.dynamic_slice_in_dim(order, look_back * m, m, axis=1)
    return Layout(jnp.hstack([before_first, order]), slot, code, look_back)


def _groups(length: int, m: int) -> tuple[int, int]:
    """Number of groups and of chunks in each: as few groups as the bound allows, of equal size."""
    n_chunks = -(-length // m)
    n_groups = -(-n_chunks * m // max(POSITIONS_AT_ONCE, m))
    return n_groups, -(-n_chunks // n_groups)


def _labels(layout: Layout, n_round) -> Array:
    """(length + 1, 2 or 2 + n_hashes): position, its code now, and its codes in all rounds."""
    position = jnp.arange(layout.code.shape[1], dtype=jnp.int32)
    all_rounds = layout.code if len(layout.code) > 1 else ()
    labels = jnp.stack([position, layout.code[n_round], *all_rounds], axis=1)
    return jnp.pad(labels, [(0, 1), (0, 0)], constant_values=EMPTY)


def _allowed(rule: Rule, n_round, q_labels: Array, k_labels: Array, chunks_back: int) -> Array:
    """(chunks, m, m): the pairs that count in this round."""
    first_columns = jnp.ones(2, bool)
    earlier = jnp.arange(q_labels.shape[-1] - 2) < n_round
    q_labels = jnp.where(jnp.concatenate([first_columns, earlier]), q_labels, NOT_YET)
    q_position, q_code, *q_earlier = jnp.moveaxis(q_labels, -1, 0)[..., :, None]
    k_position, k_code, *k_earlier = jnp.moveaxis(k_labels, -1, 0)[..., None, :]
    allowed = k_position < q_position if rule.causal else k_position != q_position
    if not rule.paper:
        return allowed & (k_code >= 0)
    allowed &= q_code - k_code == chunks_back
    for q_once, k_once in zip(q_earlier, k_earlier, strict=True):
        difference = (q_once - k_once).astype(jnp.uint32)  # negative ones become large
        allowed &= difference > 1
    return allowed


def _map_chunks(rule: Rule, layout: Layout, n_round, attend, *columns):
    """attend(own, before) for all chunks of a round, a group at a time; results in slot order.

    ``own`` and ``before`` are (*columns, labels), each (chunks, m, width), sorted by bucket.
    """
    (n_groups, n_chunks), m = _groups(layout.slot.shape[1], rule.chunk_len), rule.chunk_len
    ends = list(accumulate(column.shape[1] for column in columns))[:-1]
    # One gather of wide rows: a gathered row costs the same at any of these widths.
    rows = jnp.pad(jnp.hstack(columns), [(0, 1), (0, 0)])[layout.order[n_round]]
    labels = _labels(layout, n_round)[layout.order[n_round]]

    def cut(x, group):
        slots = lax.dynamic_slice_in_dim(x, group * n_chunks * m, (n_chunks + 1) * m)
        return slots.reshape(n_chunks + 1, m, -1)

    def attend_group(group):
        tokens = *jnp.split(cut(rows, group), ends, axis=-1), cut(labels, group)
        return attend([x[1:] for x in tokens], [x[:-1] for x in tokens])

    results = lax.map(attend_group, jnp.arange(n_groups))
    return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), results)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_in_chunks(rule: Rule, qk: Array, v: Array, buckets: Array, mask: Array):
    """Output and log-sum-exp of every query; 0 and +inf where it reaches no other key.

    qk (length, d_head), v (length, d_value), buckets (n_hashes, length), mask (length,).
    """
    layout = lay_out(rule, buckets, mask)

    def add_round(softmax, n_round):
        def attend(own, before):
            q, _, q_labels = own
            parts = []
            for chunks_back, (qk, v, k_labels) in enumerate((own, before)):
                allowed = _allowed(rule, n_round, q_labels, k_labels, chunks_back)
                scores = jnp.where(allowed, q @ unit_keys(qk).mT, -jnp.inf)
                parts.append(OnlineSoftmax.of(scores, v))
            return parts[0].merge(parts[1]).pack()

        by_slot = _map_chunks(rule, layout, n_round, attend, qk, v)
        return softmax.merge(OnlineSoftmax.unpack(by_slot[layout.slot[n_round]])), None

    none_seen = OnlineSoftmax.empty(len(qk), v.shape[1], v.dtype)
    return lax.scan(add_round, none_seen, jnp.arange(len(buckets)))[0].finish()


def _attend_forward(rule: Rule, qk, v, buckets, mask):
    out, lse = attend_in_chunks(rule, qk, v, buckets, mask)
    return (out, lse), (qk, v, buckets, mask, out, lse)


def _attend_backward(rule: Rule, kept, cotangents):
    """Rebuild each pair's weight p = exp(score − lse) and pass its gradient on to q, k and v."""
    qk, v, buckets, mask, out, lse = kept
    g_out, _ = cotangents  # the log-sum-exp only tells which queries reach no key: no gradient
    mean_g = (g_out * out).sum(-1, keepdims=True)
    layout = lay_out(rule, buckets, mask)

    def add_round(total, n_round):
        def backward(own, before):
            q, _, g, lse, mean_g, q_labels = own
            g_q, g_keys = 0, []
            for chunks_back, (qk, v, *_, k_labels) in enumerate((own, before)):
                k = unit_keys(qk)
                allowed = _allowed(rule, n_round, q_labels, k_labels, chunks_back)
                p = jnp.exp(jnp.where(allowed, q @ k.mT, -jnp.inf) - lse)
                g_scores = p * (g @ v.mT - mean_g)
                g_q += g_scores @ k
                g_keys.append(jnp.concatenate([g_scores.mT @ q, p.mT @ g], axis=-1))
            return g_q, *g_keys

        columns = qk, v, g_out, lse[:, None], mean_g
        g_q, g_own, g_before = _map_chunks(rule, layout, n_round, backward, *columns)
        g_keys = g_own + _move_back(rule, layout, g_before)
        return total + jnp.hstack([g_q, g_keys])[layout.slot[n_round]], None

    nothing = jnp.zeros((len(qk), 2 * qk.shape[1] + v.shape[1]), v.dtype)
    total, _ = lax.scan(add_round, nothing, jnp.arange(len(buckets)))
    g_q, g_k, g_v = jnp.split(total, [qk.shape[1], 2 * qk.shape[1]], axis=1)
    _, unit_keys_vjp = jax.vjp(unit_keys, qk)
    g_qk = g_q + unit_keys_vjp(g_k)[0]
    return jnp.where(mask[:, None], g_qk, 0), g_v, None, None  # 0 even for a NaN in the padding


def _move_back(rule: Rule, layout: Layout, g_before: Array) -> Array:
    """What each chunk owes to the keys of the chunk before, moved to that chunk's slots."""
    m = rule.chunk_len
    to_last = lax.dynamic_update_slice_in_dim(
        jnp.zeros_like(g_before), g_before[:m], layout.look_back * m, axis=0
    )
    return to_last.at[:-m].add(g_before[m:])


attend_in_chunks.defvjp(_attend_forward, _attend_backward)
