"""Sparsity: layers that read only a few of their weights, or have only a few.

Everything is a function of one example's (length, d) arrays; models compose them.
"""

from efftx.sparsity.counts import (
    default_d_lowrank,
    n_blocks_of,
    n_dense_attention,
    n_dense_feed_forward,
    n_multiplicative,
    n_sparse_feed_forward,
    n_sparse_qkv,
    widened_d_ff,
)
from efftx.sparsity.feed_forward import (
    controller_scores,
    gathered_feed_forward,
    masked_feed_forward,
    sparse_feed_forward_reference,
    sparsity_mask,
    strongest_units,
    units_to_mask,
)
from efftx.sparsity.load import load_entropy, share_ever_on, sorted_loads, unit_loads
from efftx.sparsity.loss import multiplicative_logits, multiplicative_logits_reference
from efftx.sparsity.qkv import (
    convolution,
    convolution_reference,
    convolution_step,
    multiplicative,
    multiplicative_reference,
    no_history,
    permutation_factors,
    sparse_qkv,
)

__all__ = [
    "controller_scores",
    "convolution",
    "convolution_reference",
    "convolution_step",
    "default_d_lowrank",
    "gathered_feed_forward",
    "load_entropy",
    "masked_feed_forward",
    "multiplicative",
    "multiplicative_logits",
    "multiplicative_logits_reference",
    "multiplicative_reference",
    "n_blocks_of",
    "n_dense_attention",
    "n_dense_feed_forward",
    "n_multiplicative",
    "n_sparse_feed_forward",
    "n_sparse_qkv",
    "no_history",
    "permutation_factors",
    "share_ever_on",
    "sorted_loads",
    "sparse_feed_forward_reference",
    "sparse_qkv",
    "sparsity_mask",
    "strongest_units",
    "unit_loads",
    "units_to_mask",
    "widened_d_ff",
]
