"""Attention: exact through the whole matrix, exact without it, and by locality-sensitive hashing."""

from efftx.attention.blocked import blocked_attention, shared_qk_attention
from efftx.attention.full import full_attention, shared_qk_attention_reference

__all__ = [
    "blocked_attention",
    "full_attention",
    "shared_qk_attention",
    "shared_qk_attention_reference",
]
