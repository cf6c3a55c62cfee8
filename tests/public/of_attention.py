"""A small case of every public function of efftx.attention."""

import jax
import jax.numpy as jnp

from efftx import attention
from tests.public.rows import Numbers, Row

KEY = jax.random.key(0)
ROTATION = jnp.cos(jnp.arange(2 * 4 * 4)).reshape(2, 4, 4)  # the same with x64 and without
QKV, QK = (("L", 4), ("L", 4), ("L", 3)), (("L", 4), ("L", 3))


def buckets_of(x, n_hashes=1):
    """Any; as long as x, and the same whatever x's numbers are."""
    return (jnp.arange(n_hashes * len(x)).reshape(n_hashes, -1) * 5 // 3) % 4


def lsh(qk, v):
    how = {"n_buckets": 4, "n_hashes": len(buckets_of(qk)), "chunk_len": 2}
    return attention.lsh_attention(qk, v, buckets=buckets_of(qk), **how)


def lsh_reference(qk, v):
    return attention.lsh_attention_reference(qk, v, buckets_of(qk), chunk_len=2)


def full(q, k, v):
    return attention.full_attention(q, k, v, causal=True)


def blocked(q, k, v):
    return attention.blocked_attention(q, k, v, causal=True, block_len=2)


def shared(qk, v):
    return attention.shared_qk_attention(qk, v, causal=True, block_len=2)


def shared_reference(qk, v):
    return attention.shared_qk_attention_reference(qk, v, causal=True)


def local(q, k, v):
    return attention.local_attention(q, k, v, chunk_len=2)


def local_reference(q, k, v):
    return attention.local_attention_reference(q, k, v, chunk_len=2)


def one_device():
    return jax.make_mesh((1,), ("sequence",), axis_types=(jax.sharding.AxisType.Auto,))


def ring(q, k, v):
    how = {"mesh": one_device(), "axis": "sequence"}
    return attention.ring_attention(q, k, v, causal=True, block_len=2, **how)


def sharded_lsh(qk, v):
    """Of a single device; on eight see tests/devices."""
    how = {"n_buckets": 4, "n_hashes": len(buckets_of(qk)), "chunk_len": 2}
    how |= {"mesh": one_device(), "axis": "sequence"}
    return attention.sharded_lsh_attention(qk, v, buckets=buckets_of(qk), **how)


TRACED = {column: "got a traced array" for column in ("vmap", "jit", "shard_map")}
WITHIN = {"shard_map": "jax.shard_map"}
ROWS = {
    "blocked_attention": Row(blocked, QKV, full),
    "collision_probability": Row(
        lambda x: attention.collision_probability(jnp.abs(jnp.sin(x[:, 0])), 8),
        (("L", 1),),
        gradients=False,
        compiles=False,
        refuses=TRACED,
    ),
    "default_n_buckets": Numbers(lambda: attention.default_n_buckets(100, 10), 20),
    "factor_buckets": Numbers(lambda: attention.factor_buckets(512), (32, 16)),
    "full_attention": Row(full, QKV),
    "hash_vectors": Row(
        lambda x: attention.hash_vectors(x, (ROTATION,)),
        (("L", 4),),
        gradients=False,
    ),
    "local_attention": Row(local, QKV, local_reference),
    "local_attention_reference": Row(local_reference, QKV),
    "lsh_attention": Row(lsh, QK, lsh_reference),
    "lsh_attention_reference": Row(lsh_reference, QK),
    "random_rotations": Numbers(
        lambda: [r.shape for r in attention.random_rotations(KEY, 4, 512, 3)],
        [(3, 4, 16), (3, 4, 8)],
    ),
    "reach_count": Row(
        lambda x: attention.reach_count(buckets_of(x), chunk_len=2), (("L", 1),), gradients=False
    ),
    "ring_attention": Row(ring, QKV, full, refuses=WITHIN),
    "sharded_lsh_attention": Row(sharded_lsh, QK, lsh_reference, second=False, refuses=WITHIN),
    "shared_qk_attention": Row(shared, QK, shared_reference),
    "shared_qk_attention_reference": Row(shared_reference, QK),
    "sort_by_bucket": Row(
        lambda x: attention.sort_by_bucket(buckets_of(x)[0], 4), (("L", 1),), gradients=False
    ),
    "unit_keys": Row(attention.unit_keys, (("L", 4),)),
}
