"""Exact attention of a sequence that is spread over devices: keys and values go round in a ring.

Each device keeps its own queries. Block after block of keys and values comes by, D blocks in D
turns, and what a block adds is merged by the log-sum-exps, as between blocks on one device. The
backward pass lets them go round once more, and their gradients with them; after D turns these are
where they belong. A device holds L/D positions, and inside a turn no more than a block of scores.
Source: Liu, Zaharia & Abbeel 2023, arXiv 2310.01889.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from efftx.attention.blocked import BlockRule, attend_to, gradients_of
from efftx.attention.chunks import for_each_query, merge
from efftx.attention.full import as_residuals, check_attention, in_dtype_of, without_padding
from efftx.dtypes import at_least_float32
from efftx.precision import as_forward
from efftx.shards import check_axis, in_shares, vary_alike
from efftx.validation import check_positive, check_same_length


def ring_attention(
    q: Float[Array, "length d_head"],
    k: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    mesh: Mesh,
    axis: str,
    causal: bool,
    key_mask: Bool[Array, "length"] | None = None,
    block_len: int = 512,
) -> Float[Array, "length d_value"]:
    r"""What :func:`efftx.attention.full_attention` computes, shared out over an axis of a mesh.

    Each of D devices has L/D queries, keys and values; keys and values are sent on D times. Time
    O(L² / D), of which ``causal`` saves half on average, but not on the device that has the last
    positions, for which the others wait. Memory O(L·d / D), forward and backward.

    Any length: one that D does not divide is filled up. The result comes out spread as the sequence
    is. Map over a batch with ``jax.vmap``, over heads with :func:`efftx.memory.map_heads`.

    Raises ValueError for wrong ranks, widths, lengths or dtypes, for block_len < 1 and for an axis
    that the mesh lacks, or that is Explicit.
    Source: Liu, Zaharia & Abbeel 2023, arXiv 2310.01889.
    """
    check_attention(q, k, v, causal, key_mask)
    check_same_length(q=q, k=k)
    check_positive(block_len=block_len)
    check_axis(mesh, axis)
    mask = jnp.ones(len(k), bool) if key_mask is None else key_mask
    q_f, *keys_f = at_least_float32(q, k, v)
    keys_f = without_padding(key_mask, *keys_f)
    rule = BlockRule(causal, self_allowed=True, block_len=block_len)
    return in_dtype_of(v, _over_ring(rule, mesh, axis, q_f / jnp.sqrt(q.shape[1]), *keys_f, mask))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _over_ring(rule: BlockRule, mesh: Mesh, axis: str, *arrays):
    run = jax.shard_map(
        partial(_attend, _Ring(rule, axis)),
        mesh=mesh,
        in_specs=P(axis),
        out_specs=P(axis),
        axis_names={axis},
    )
    return run(*(in_shares(mesh.shape[axis], x) for x in arrays))[: len(arrays[0])]


class _Ring(NamedTuple):
    """What is fixed when a call is compiled."""

    rule: BlockRule
    axis: str

    def go_round(self, turn, state, travelling):
        """turn(state, travelling, of_whom) on each device, for what comes by of all of them."""
        n_devices, me = lax.axis_size(self.axis), lax.axis_index(self.axis)
        to_next = [(i, (i + 1) % n_devices) for i in range(n_devices)]

        def one_turn(carry, number):
            state, travelling = turn(*carry, (me - number) % n_devices)
            return (state, lax.ppermute(travelling, self.axis, to_next)), None

        carry = vary_alike((state, travelling))
        return lax.scan(one_turn, carry, jnp.arange(n_devices))[0]

    def where(self, of_whom, own, earlier, later, *operands):
        """Which of three functions: keys may be a device's own, of earlier or later positions."""
        me = lax.axis_index(self.axis)
        if not self.rule.causal:
            return earlier(*operands)
        return lax.switch(1 + jnp.sign(of_whom - me), (earlier, own, later), *operands)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(ring: _Ring, q, k, v, mask):
    return _forward(ring, q, k, v, mask)[0]


def _forward(ring: _Ring, q, k, v, mask):
    """Outputs of this device's queries over the keys of all."""

    def attend(rule, q, k, v, mask):
        out, lse = attend_to(rule, q, k, v, mask)
        return out, jnp.where(lse == jnp.inf, -jnp.inf, lse)[:, None]

    def nothing(q, k, v, mask):
        return vary_alike((*_no_keys(q, v), q))[:2]

    def turn(so_far, keys, of_whom):
        own, earlier = partial(attend, ring.rule), partial(attend, ring.rule._replace(causal=False))
        return merge(*so_far, *ring.where(of_whom, own, earlier, nothing, q, *keys)), keys

    (out, lse), _ = ring.go_round(turn, _no_keys(q, v), (k, v, mask))
    return out, (*as_residuals((q, k, v)), mask, out, lse)


def _no_keys(q, v):
    nothing = jnp.zeros_like(v, shape=(len(q), v.shape[1]))
    return nothing, jnp.full_like(q, -jnp.inf, shape=(len(q), 1))


def _backward(ring: _Ring, kept, g_out):
    q, k, v, mask, out, lse = kept
    g_out, lse, mean_g = for_each_query(g_out, out, lse)
    rows = q, g_out, lse[:, 0], mean_g[:, 0]

    def nothing(rows, keys, mask):
        return jax.tree.map(jnp.zeros_like, (rows[0], keys))

    def turn(g_q, travelling, of_whom):
        keys, mask, g_keys = travelling
        rules = ring.rule, ring.rule._replace(causal=False)
        own, earlier = (partial(gradients_of, rule) for rule in rules)
        more_q, more_keys = ring.where(of_whom, own, earlier, nothing, rows, keys, mask)
        return g_q + more_q, (keys, mask, jax.tree.map(jnp.add, g_keys, more_keys))

    start = jax.tree.map(jnp.zeros_like, (k, v))
    g_q, (_, _, g_keys) = ring.go_round(turn, jnp.zeros_like(q), ((k, v), mask, start))
    return g_q, *g_keys, None


_attend.defvjp(*as_forward(_forward, _backward))
