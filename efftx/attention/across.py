"""LSH attention of a sequence that is spread over devices: sort, chunk and attend across them.

A device has its share of the positions, and in each round a share of the sorted slots, in whole
chunks. Rows travel to their slots (:mod:`efftx.attention.exchange`), one chunk of halo comes from
the device before, and from there on a device works alone, with the same code as
:mod:`efftx.attention.chunks`. What comes out travels back, and rounds are merged where the
positions are. Nothing on any device is as long as the sequence, forward or backward.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.attention.chunks import (
    Tokens,
    add_copies,
    alone_if_none,
    attend_group,
    backward_group,
    for_each_group,
    for_each_query,
    merge,
    own_gradient,
    with_neighbours,
)
from efftx.attention.exchange import Route, add_to_rows, global_slots, route, to_slots
from efftx.attention.full import as_residuals
from efftx.attention.layout import Layout, Rule, codes, group_sizes, groups_at_once
from efftx.precision import as_forward
from efftx.shards import vary_alike


class Spread(NamedTuple):
    """What is fixed when a call is compiled."""

    rule: Rule
    axis: str  # of the mesh
    n_slots: int  # on each device, whole chunks

    @property
    def groups(self) -> tuple[int, int]:
        """How many groups of chunks a device has, and how many chunks are in each."""
        return group_sizes(self.n_slots, self.rule.chunk_len)


class Places(NamedTuple):
    """What a device knows of its own positions."""

    position: Array  # (n,) in the whole sequence
    codes: Array  # (n_hashes, n)
    ways: Route  # of every round


def slots_for(n_rows: int, m: int) -> int:
    """How many slots a device with so many rows has: whole chunks."""
    return -(-n_rows // m) * m


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_across(spread: Spread, qk: Array, v: Array, buckets: Array, mask: Array) -> Array:
    """The outputs of this device's positions, of which these are vectors, buckets and mask."""
    return alone_if_none(v, *_attend_all_rounds(spread, qk, v, _places(spread, buckets, mask)))


def _places(spread: Spread, buckets: Array, mask: Array) -> Places:
    (rule, axis, n_slots), n = spread, len(mask)
    slot = lax.map(lambda b: global_slots(b, rule.n_buckets, mask, axis), buckets)
    return Places(
        position=lax.axis_index(axis) * n + jnp.arange(n, dtype=jnp.int32),
        codes=codes(rule.chunk_len, slot, buckets, mask),
        ways=lax.map(lambda s: route(s, n_slots, axis), slot),
    )


def _attend_all_rounds(spread: Spread, qk, v, places: Places) -> tuple[Array, Array]:
    def attend_round(n_round):
        way = jax.tree.map(lambda x: x[n_round], places.ways)
        attend = partial(attend_group, spread.rule, n_round)
        arrived = _arrived(spread, way, places, n_round, (qk, v))
        return _add_back(spread, way, nothing, _map_groups(spread, attend, arrived))

    def add_round(so_far, n_round):
        return merge(*so_far, *attend_round(n_round)), None

    nothing = jnp.zeros_like(v), jnp.zeros_like(v, shape=(len(v), 1))
    n_hashes = len(places.codes)
    first = attend_round(0)
    return lax.scan(add_round, first, jnp.arange(1, n_hashes))[0] if n_hashes > 1 else first


def _arrived(spread: Spread, way: Route, places: Places, n_round, vectors: tuple, *others):
    """What stands in this device's slots, after the last chunk of the device before.

    The first device's has none before. It gets the last one's, whose bucket is not lower and whose
    chunk is not lower, so that no query reaches it.
    """
    tokens = Tokens(*vectors, places.position, places.codes[n_round], places.codes.T)
    m, (n_groups, n_chunks) = spread.rule.chunk_len, spread.groups
    slots_of = m, spread.n_slots, (1 + n_groups * n_chunks) * m
    slots = to_slots(way, slots_of, spread.axis, (tokens, *others))

    def with_halo(x):
        last = x[spread.n_slots : spread.n_slots + m]
        return x.at[:m].set(lax.ppermute(last, spread.axis, _to_next(spread.axis)))

    return jax.tree.map(with_halo, slots)


def _to_next(axis: str, back: int = 1) -> list[tuple[int, int]]:
    n_devices = lax.axis_size(axis)
    return [(i, (i + back) % n_devices) for i in range(n_devices)]


def _map_groups(spread: Spread, attend, slots: tuple):
    """attend(queries, own, before, …) for each group of chunks; (groups, 1 + chunks, m, …).

    A group has a copy of the chunk before its first, which as a query attends to nothing.
    """
    m, n_slots = spread.rule.chunk_len, spread.n_slots
    (n_groups, n_chunks), at_once = spread.groups, groups_at_once(n_slots, m)

    def attend_group(group):
        def cut(x):
            x = lax.dynamic_slice_in_dim(x, group * n_chunks * m, (n_chunks + 1) * m)
            return x.reshape(-1, m, *x.shape[1:])

        own, *others = jax.tree.map(cut, slots)
        return attend(*with_neighbours(own), *others)

    return for_each_group(attend_group, n_groups, at_once)


def _add_back(spread: Spread, way: Route, sums: tuple, results: tuple) -> tuple:
    """The sums of positions, with what groups of chunks gave added, from whatever device."""
    in_group = spread.groups[1] * spread.rule.chunk_len
    place_of = lambda slot: slot + spread.rule.chunk_len * (slot // in_group + 1)  # noqa: E731
    flat = tuple(x.reshape(-1, x.shape[-1]) for x in results)
    return add_to_rows(way, spread.n_slots, spread.axis, sums, flat, place_of)


def _attend_forward(spread: Spread, qk, v, buckets, mask):
    places = _places(spread, buckets, mask)
    out, lse = _attend_all_rounds(spread, qk, v, places)
    out = alone_if_none(v, out, lse)
    return out, (*as_residuals((qk, v)), places, out, lse)


def _attend_backward(spread: Spread, kept, g_out):
    """As on one device; what is owed to the chunk of halo goes back to whose it is."""
    qk, v, places, out, lse = kept
    by_query = for_each_query(g_out, out, lse)

    def add_round(total, n_round):
        way = jax.tree.map(lambda x: x[n_round], places.ways)
        backward = partial(backward_group, spread.rule, n_round)
        slots = _arrived(spread, way, places, n_round, (qk, v), *by_query)
        results = (_with_debts(spread, x) for x in _map_groups(spread, backward, slots))
        return _add_back(spread, way, total, tuple(results)), None

    nothing = vary_alike((jnp.zeros_like(qk), own_gradient(g_out, lse), places))[:2]
    (g_qk, g_v), _ = lax.scan(add_round, nothing, jnp.arange(len(places.codes)))
    return g_qk, g_v, None, None


def _with_debts(spread: Spread, g: Array) -> Array:
    """Gradients with those of the copies added, and those of the next device's halo."""
    from_next = lax.ppermute(g[0, 0], spread.axis, _to_next(spread.axis, -1))
    n_chunks = spread.groups[1]
    last = spread.n_slots // spread.rule.chunk_len - 1
    g = add_copies(spread.rule, _NO_LAYOUT, g)
    return g.at[last // n_chunks, last % n_chunks + 1].add(from_next)


_NO_LAYOUT = Layout(None, None, None, None, None)  # of which the paper's rule reads nothing

attend_across.defvjp(*as_forward(_attend_forward, _attend_backward))
