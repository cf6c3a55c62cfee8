"""Attention: exact through the whole matrix, exact block by block, local, and by hashing.

Everything is a function of one head's (length, d) arrays; :func:`efftx.memory.map_heads` takes it
to all heads. `ring_attention` and `sharded_lsh_attention` share a sequence out over devices.
"""

from efftx.attention.blocked import blocked_attention, shared_qk_attention
from efftx.attention.full import full_attention, shared_qk_attention_reference, unit_keys
from efftx.attention.hashing import (
    collision_probability,
    default_n_buckets,
    factor_buckets,
    hash_vectors,
    random_rotations,
)
from efftx.attention.layout import sort_by_bucket
from efftx.attention.local import local_attention, local_attention_reference
from efftx.attention.lsh import lsh_attention, lsh_attention_reference, reach_count
from efftx.attention.ring import ring_attention
from efftx.attention.sharded_lsh import sharded_lsh_attention

__all__ = [
    "blocked_attention",
    "collision_probability",
    "default_n_buckets",
    "factor_buckets",
    "full_attention",
    "hash_vectors",
    "local_attention",
    "local_attention_reference",
    "lsh_attention",
    "lsh_attention_reference",
    "random_rotations",
    "reach_count",
    "ring_attention",
    "sharded_lsh_attention",
    "shared_qk_attention",
    "shared_qk_attention_reference",
    "sort_by_bucket",
    "unit_keys",
]
