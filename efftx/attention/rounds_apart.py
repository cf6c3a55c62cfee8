"""LSH attention whose hashing rounds are shared out over devices, each of the whole sequence.

Rounds are independent but for one thing: a pair that several of them reach counts once, in the
first. So each device needs the codes of every round, which are whole numbers, and in the end the
outputs of all, weighted by their log-sum-exps. Time falls with the devices; memory does not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from efftx.attention.chunks import (
    add_all_rounds,
    alone_if_none,
    attend_all_rounds,
    for_each_query,
    own_gradient,
)
from efftx.attention.full import as_residuals
from efftx.attention.layout import Layout, Rule, codes, lay_out
from efftx.precision import as_forward
from efftx.shards import vary_alike


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def attend_rounds_apart(rule: Rule, axis: str, qk, v, buckets, mask) -> Array:
    """The output, the same on every device; each has some rounds' buckets, and all else whole."""
    return _forward(rule, axis, qk, v, buckets, mask)[0]


def _forward(rule: Rule, axis: str, qk, v, buckets, mask):
    layout = _lay_out(rule, axis, buckets, mask)
    first = lax.axis_index(axis) * len(buckets)
    theirs = vary_alike((qk, v, layout))
    out, lse = _merged(axis, *attend_all_rounds(rule, *theirs, first))
    out = alone_if_none(v, out, lse)
    return out, (*as_residuals((qk, v)), layout, out, lse)


def _lay_out(rule: Rule, axis: str, buckets, mask) -> Layout:
    """Of this device's rounds, with the codes of all."""
    own = lay_out(rule, *vary_alike((buckets, mask)))
    code_at = codes(rule.chunk_len, own.slot, buckets, mask)
    return own._replace(code_at=lax.all_gather(code_at, axis, tiled=True).T)


def _merged(axis: str, out, lse) -> tuple[Array, Array]:
    """Softmax over the union of all devices' disjoint sets of keys, from the softmax over each."""
    largest = lax.pmax(lse, axis)
    finite = jnp.where(largest > -jnp.inf, largest, 0)
    weight = jnp.exp(lse - finite)
    total = lax.psum(weight, axis)
    some = total > 0
    out = lax.psum(weight * out, axis) / jnp.where(some, total, 1)
    return out, jnp.where(some, finite + jnp.log(jnp.where(some, total, 1)), -jnp.inf)


def _backward(rule: Rule, axis: str, kept, g_out):
    qk, v, layout, out, lse = kept
    by_query = for_each_query(g_out, out, lse)
    qk, v, layout, by_query = vary_alike((qk, v, layout, by_query))
    nothing = jnp.zeros_like(qk), jnp.zeros_like(v)
    first = lax.axis_index(axis) * len(layout.slot)
    sums = add_all_rounds(rule, nothing, qk, v, layout, by_query, first=first)
    g_qk, g_v = lax.psum(sums, axis)
    return g_qk, g_v + own_gradient(g_out, lse), None, None


attend_rounds_apart.defvjp(*as_forward(_forward, _backward))
