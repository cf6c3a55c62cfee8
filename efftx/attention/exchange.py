"""A sort that spans devices: the rows of an array by (bucket, position), and back again.

Each device has some neighbouring positions, and gets some neighbouring *slots* of the sorted
sequence. Where a row belongs is known without a comparison across devices: as many slots lie before
it as there are rows in lower buckets, plus those of its own bucket on devices before, plus those on
its own. So devices exchange how many rows of each bucket they have, and then the rows.

How many rows one device has for another depends on the hashes, but a compiled program has arrays
of fixed shapes. A buffer for the worst case would hold the whole sequence on every device. So it
is small, an eighth of a device's rows, shared out evenly among the D devices that they may go to,
and is sent as often as the fullest pair of devices asks for: about nine times if hashes spread the
rows evenly, 8·D times if all rows of one device go to another. All devices agree on that number, so
that the loop around the collective ends everywhere in the same turn. (``lax.ragged_all_to_all``
would send each row once; XLA for CPUs does not have it.)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.attention.layout import EMPTY, sort_by_bucket
from efftx.shards import vary_alike

TURNS = 8  # in which rows are sent that go to all devices alike


class Route(NamedTuple):
    """Where the rows of this device go, for one round."""

    rows: Array  # (n,) the rows, in the order of their slots
    slot: Array  # (n,) and these slots, counted over all devices
    begin: Array  # (devices,) where the rows for each device begin among them
    count: Array  # (devices,) and how many there are
    n_turns: Array  # () how often the buffer is sent, the same on every device


def global_slots(bucket: Array, n_buckets: int, mask: Array, axis: str) -> Array:
    """(n,) the slot of each of this device's positions; masked ones come last of all."""
    order = sort_by_bucket(bucket, n_buckets, mask)
    bucket = jnp.where(mask, bucket, n_buckets)
    count = jnp.zeros_like(bucket, shape=_whole_shares(n_buckets + 1, axis)).at[bucket].add(1)
    in_order = bucket[order]
    within = jnp.arange(len(bucket)) - (jnp.cumsum(count) - count)[in_order]
    slot = _slots_before(count, axis)[in_order] + within
    return jnp.zeros_like(slot).at[order].set(slot, unique_indices=True)


def _whole_shares(n: int, axis: str) -> int:
    n_devices = lax.axis_size(axis)
    return -(-n // n_devices) * n_devices


def _slots_before(count: Array, axis: str) -> Array:
    """(bins,) the first slot of this device's rows of each bin.

    Each device adds up a share of the bins for all, so that none has every device's counts.
    """
    to_each_its_own = lambda x: lax.all_to_all(x, axis, 0, 0, tiled=True)  # noqa: E731
    by_device = to_each_its_own(count.reshape(lax.axis_size(axis), -1))
    total = by_device.sum(0)
    of_shares = lax.all_gather(total.sum(), axis)
    lower = jnp.where(jnp.arange(len(of_shares)) < lax.axis_index(axis), of_shares, 0).sum()
    lower_bins = lower + jnp.cumsum(total) - total
    return to_each_its_own(lower_bins + jnp.cumsum(by_device, 0) - by_device).reshape(-1)


def route(slot: Array, n_slots: int, axis: str) -> Route:
    """The way of rows to these slots, of which each device has ``n_slots``."""
    rows = jnp.argsort(slot).astype(jnp.int32)
    count = jnp.zeros_like(slot, shape=lax.axis_size(axis)).at[slot // n_slots].add(1)
    most = lax.pmax(count.max(), axis)
    n_turns = -(-most // _room(len(slot), axis))
    return Route(rows, slot[rows], jnp.cumsum(count) - count, count, n_turns)


def _room(n_rows: int, axis: str) -> int:
    """How many rows for each device the buffer holds."""
    return -(-n_rows // (TURNS * lax.axis_size(axis)))


def to_slots(way: Route, slots_of: tuple[int, int, int], axis: str, tree):
    """The rows of all devices that belong to this one's slots.

    ``slots_of`` are how many places stand before the slots, the slots, and all places. Where no row
    belongs, numbers are 0 and whole numbers EMPTY.
    """
    before, n_slots, n_places = slots_of

    def turn(number, places):
        row, there, _ = _turn(way, n_slots, axis, number)
        here = _sent(jnp.where(there < n_slots, before + there, n_places), axis)
        return jax.tree.map(
            lambda x, out: out.at[here].set(_sent(x[row], axis), mode="drop"), tree, places
        )

    def nobody(x):
        whole = jnp.issubdtype(x.dtype, jnp.integer)
        return jnp.full_like(x, EMPTY if whole else 0, shape=(n_places, *x.shape[1:]))

    return lax.fori_loop(0, way.n_turns, turn, vary_alike(jax.tree.map(nobody, tree)))


def add_to_rows(way: Route, n_slots: int, axis: str, sums, tree, place_of: Callable):
    """The way back: to each row's sum is added what stands at its slot's place on its device."""
    n_rows = len(way.rows)

    def turn(number, sums):
        row, there, real = _turn(way, n_slots, axis, number)
        asked = place_of(jnp.minimum(_sent(there, axis), n_slots - 1))
        back = jnp.where(real, row, n_rows).reshape(-1)

        def add(sum_of, x):
            found = x[asked].reshape(*row.shape, *x.shape[1:])
            return sum_of.at[back].add(_sent(found, axis), mode="drop")

        return jax.tree.map(add, sums, tree)

    return lax.fori_loop(0, way.n_turns, turn, vary_alike(sums))


def _turn(way: Route, n_slots: int, axis: str, number) -> tuple[Array, Array, Array]:
    """(devices, room) each: the rows that are sent to each device, to which of its slots, if any.

    Places of the buffer that are not needed go to a slot that no device has.
    """
    n_devices, room = lax.axis_size(axis), _room(len(way.rows), axis)
    place = number * room + jnp.arange(room)
    real = place < way.count[:, None]
    at = jnp.where(real, way.begin[:, None] + place, 0)
    first_slot = jnp.arange(n_devices)[:, None] * n_slots
    return way.rows[at], jnp.where(real, way.slot[at] - first_slot, n_slots), real


def _sent(x: Array, axis: str) -> Array:
    """Of (devices, room, …): what the others have for this device, with one axis for all of it."""
    return lax.all_to_all(x, axis, 0, 0, tiled=True).reshape(-1, *x.shape[2:])
