"""Who stands where: the positions of every round sorted by bucket and cut into chunks.

Whether a round lets query i reach key j is one subtraction. With code = chunk + 2·bucket,
code_i − code_j is 0 within a chunk and bucket, 1 for the chunk before and the same bucket, and
neither for any other pair, since along the sorted positions bucket and chunk never decrease.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int

from efftx.validation import check_not_explicit

SCORES_IN_A_GROUP = 2**19  # of chunks, where each query has 2m of them
GROUPS_AT_ONCE = 4  # each is a chain of its own, and XLA gives the chains to several cores
FEWEST_CHUNKS = 16  # in a group that is not alone: its copy of the chunk before it costs one more
EMPTY = -8  # a key's code in a slot without a position: no query reaches it


class Rule(NamedTuple):
    """What is fixed when a call is compiled."""

    n_buckets: int
    chunk_len: int
    causal: bool
    paper: bool  # same bucket only, each pair once, no wrap-around: trax has none of the three


class Layout(NamedTuple):
    """Which position stands in which slot, round by round, and the codes that judge pairs.

    Slots begin with a copy of the last chunk: what trax's first chunk looks back to.
    """

    order: Array  # (n_hashes, m + slots): position in each slot; any, where it is empty
    code: Array  # (n_hashes, m + slots)
    slot: Array  # (n_hashes, length): slot of each position, counted without the first m
    code_at: Array  # (length, n_hashes): the codes by position; no column for a single round
    look_back: Array  # (): the last chunk with a position in it


def sort_by_bucket(
    buckets: Int[Array, "length"], n_buckets: int, key_mask: Bool[Array, "length"] | None = None
) -> Int[Array, "length"]:
    """The positions of one round sorted by (bucket, position), masked ones last; int32.

    One sort of L whole numbers, as long as (n_buckets + 1) · L is at most 2³², else of L pairs.

    Raises ValueError for buckets that are spread over an Explicit axis.
    """
    check_not_explicit(buckets=buckets)
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
    n_groups, n_chunks = group_sizes(length, m)
    position, n_valid = jnp.arange(length, dtype=jnp.int32), mask.sum()
    order = lax.map(lambda b: sort_by_bucket(b, rule.n_buckets, mask), buckets)
    slot = lax.map(lambda o: jnp.zeros_like(o).at[o].set(position, unique_indices=True), order)
    code_at = codes(m, slot, buckets, mask)
    code = jnp.take_along_axis(code_at, order, axis=1)
    look_back = jnp.maximum(n_valid - 1, 0) // m

    def with_empty_slots(x, fill):
        x = jnp.pad(x, [(0, 0), (0, n_groups * n_chunks * m - length)], constant_values=fill)
        return jnp.hstack([lax.dynamic_slice_in_dim(x, look_back * m, m, axis=1), x])

    return Layout(
        order=with_empty_slots(order, 0),
        code=with_empty_slots(code, EMPTY),
        slot=slot,
        code_at=code_at.T if len(buckets) > 1 else jnp.zeros((length, 0), jnp.int32),
        look_back=look_back,
    )


def codes(m: int, slot: Array, buckets: Array, mask: Array) -> Array:
    """(n_hashes, length): what judges whether a pair shares a bucket and how far its chunks are."""
    return jnp.where(mask, slot // m + 2 * buckets, EMPTY)


def group_sizes(length: int, m: int) -> tuple[int, int]:
    """Number of groups and of chunks in each: as few groups as the bound allows, of equal size.

    There are as many turns of `groups_at_once` as it takes, all of them full.
    """
    n_chunks, at_once = -(-length // m), groups_at_once(length, m)
    n_groups = -(-n_chunks // max(SCORES_IN_A_GROUP // (2 * m * m), 1))
    n_groups = -(-n_groups // at_once) * at_once
    return n_groups, -(-n_chunks // n_groups)


def groups_at_once(length: int, m: int) -> int:
    """How many groups are worked off together: fewer where they would be small."""
    return min(max(length // m // FEWEST_CHUNKS, 1), GROUPS_AT_ONCE)
