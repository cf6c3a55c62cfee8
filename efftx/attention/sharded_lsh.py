"""LSH attention of one head on several devices; see also :mod:`efftx.attention.ring`."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Integer, Key

from efftx.attention.across import Spread, attend_across, slots_for
from efftx.attention.full import check_shared_qk, in_dtype_of, without_padding
from efftx.attention.layout import Rule
from efftx.attention.lsh import check_key_or_buckets, find_buckets
from efftx.attention.rounds_apart import attend_rounds_apart
from efftx.dtypes import at_least_float32
from efftx.shards import check_axis, in_shares
from efftx.validation import check_choice, check_positive, require

SHARED_OUT = ("sequence", "rounds")


def sharded_lsh_attention(
    qk: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    mesh: Mesh,
    axis: str,
    shared_out: str = "sequence",
    key: Key[Array, ""] | None = None,
    n_buckets: int | None = None,
    n_hashes: int = 1,
    chunk_len: int = 64,
    causal: bool = True,
    key_mask: Bool[Array, "length"] | None = None,
    buckets: Integer[Array, "n_hashes length"] | None = None,
) -> Float[Array, "length d_value"]:
    r"""What :func:`efftx.attention.lsh_attention` computes, shared out over an axis of a mesh.

    shared_out   "sequence": each of D devices has L/D positions and, in every round, L/D slots of
                 the sorted sequence. Vectors travel to their slots in an all-to-all, one chunk of
                 halo comes from the device before, results travel back. Time
                 O(n_hashes · L · m / D), memory O(L·d / D), forward and backward.
                 "rounds": each device has n_hashes / D rounds of the whole sequence; one all-gather
                 of whole numbers and two all-reduces of outputs. Time falls with D, memory not.

    The result is that of one device but for the order in which numbers are added. It comes out
    spread over the axis as the sequence is, or whole on each device. Any length: one that D does
    not divide is filled up. Of the mesh's other axes nothing is said: map over a batch with
    ``jax.vmap``, over heads with :func:`efftx.memory.map_heads`. Call it in a ``jax.jit`` with
    arrays that lie spread over the axis, or they are spread here. A gradient of a gradient is there
    for "rounds" only.

    All else is as in ``lsh_attention``, with the semantics of the paper.

    Raises ValueError as it does; for an axis that the mesh lacks, or that is Explicit; and for
    rounds that D does not divide.
    """
    check_shared_qk(qk, v, causal, key_mask)
    check_positive(n_hashes=n_hashes, chunk_len=chunk_len)
    check_choice("shared_out", shared_out, SHARED_OUT)
    check_axis(mesh, axis)
    check_key_or_buckets(key, buckets)
    how = {"n_buckets": n_buckets, "n_hashes": n_hashes, "chunk_len": chunk_len}
    buckets, n_buckets = find_buckets(qk, key, key_mask, buckets, **how)
    rule = Rule(n_buckets, min(chunk_len, len(qk)), causal, paper=True)
    attend = _over_sequence if shared_out == "sequence" else _over_rounds
    mask = jnp.ones(len(qk), bool) if key_mask is None else key_mask
    queries, values = without_padding(key_mask, *at_least_float32(qk, v))
    out = attend(rule, mesh, axis, queries, values, (jnp.asarray(buckets, jnp.int32), mask))
    return in_dtype_of(v, out)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _over_sequence(rule: Rule, mesh: Mesh, axis: str, qk, v, buckets_and_mask):
    buckets, mask = buckets_and_mask
    n_devices = mesh.shape[axis]
    n_slots = slots_for(-(-len(qk) // n_devices), rule.chunk_len)
    run = jax.shard_map(
        partial(attend_across, Spread(rule, axis, n_slots)),
        mesh=mesh,
        in_specs=(P(axis), P(axis), P(None, axis), P(axis)),
        out_specs=P(axis),
        axis_names={axis},
    )
    shares = partial(in_shares, n_devices)
    return run(shares(qk), shares(v), shares(buckets.T).T, shares(mask))[: len(qk)]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _over_rounds(rule: Rule, mesh: Mesh, axis: str, qk, v, buckets_and_mask):
    buckets, mask = buckets_and_mask
    n_hashes, n_devices = len(buckets), mesh.shape[axis]
    require(
        n_hashes % n_devices == 0,
        f"n_hashes must be a multiple of the axis's {n_devices} devices, for each to have as many "
        f"rounds; got {n_hashes}.",
    )
    run = jax.shard_map(
        partial(attend_rounds_apart, rule, axis),
        mesh=mesh,
        in_specs=(P(), P(), P(axis), P()),
        out_specs=P(),
        axis_names={axis},
    )
    return run(qk, v, buckets, mask)
