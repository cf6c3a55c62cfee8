"""Memory: what a training step keeps, and ways to keep less of it.

Everything is a function of arrays and of other functions; models compose them.
"""

from efftx.memory.chunking import (
    chunked_cross_entropy,
    cross_entropy_reference,
    map_chunks,
    map_chunks_reference,
)
from efftx.memory.eight_bit_adam import adam_8bit, scale_by_adam_8bit
from efftx.memory.four_bits import (
    FourBits,
    dequantize_four_bits,
    quantize_four_bits,
    quantize_four_bits_reference,
)
from efftx.memory.heads import map_heads
from efftx.memory.low_rank import (
    LowRank,
    dense,
    init_low_rank,
    low_rank_product,
    merged,
    stored,
    unmerged,
)
from efftx.memory.offload import (
    bytes_by_memory,
    init_layer_by_layer,
    layers_from_host,
    layers_reference,
    offload_policy,
    to_device,
    to_host,
    update_layer_by_layer,
    update_layers_reference,
)
from efftx.memory.quantization import (
    Quantized,
    dequantize,
    dequantize_reference,
    quantize,
    quantize_blockwise,
    quantize_blockwise_reference,
    quantize_reference,
    round_stochastically,
)
from efftx.memory.reversible import (
    reversible_forward,
    reversible_inverse,
    reversible_stack,
    reversible_stack_reference,
    undo_by_autodiff,
)

__all__ = [
    "FourBits",
    "LowRank",
    "Quantized",
    "adam_8bit",
    "bytes_by_memory",
    "chunked_cross_entropy",
    "cross_entropy_reference",
    "dense",
    "dequantize",
    "dequantize_four_bits",
    "dequantize_reference",
    "init_layer_by_layer",
    "init_low_rank",
    "layers_from_host",
    "layers_reference",
    "low_rank_product",
    "map_chunks",
    "map_chunks_reference",
    "map_heads",
    "merged",
    "offload_policy",
    "quantize",
    "quantize_blockwise",
    "quantize_blockwise_reference",
    "quantize_four_bits",
    "quantize_four_bits_reference",
    "quantize_reference",
    "reversible_forward",
    "reversible_inverse",
    "reversible_stack",
    "reversible_stack_reference",
    "round_stochastically",
    "scale_by_adam_8bit",
    "stored",
    "to_device",
    "to_host",
    "undo_by_autodiff",
    "unmerged",
    "update_layer_by_layer",
    "update_layers_reference",
]
