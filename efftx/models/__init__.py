"""Models, and the parts that they are composed of.

The ten that are needed most: `Sizes`, `transformer`, `reformer`, `terraformer`, `encoder_decoder`,
`attention_layer` with its kinds, `chunked`, `plain_residual` and `reversible_residual`, `generate`,
`by_layer`. What else there is stands in modules of its own, one for each idea.
"""

from efftx.models.adapters import Adapted, adapted, in_bits, init_adapters, merged, unmerged
from efftx.models.attention import Attention, attention_layer
from efftx.models.branch import Block, Branch
from efftx.models.byte_pairs import BytePairs
from efftx.models.chunked import Chunked, chunked
from efftx.models.counts import bytes_read, weights_read
from efftx.models.decoding import generate, prefill, step
from efftx.models.eight_bit import in_eight_bits
from efftx.models.encoder_decoder import EncoderDecoder, encoder_decoder
from efftx.models.feed_forward import FeedForward, init_feed_forward
from efftx.models.files import load_model, save_model
from efftx.models.gguf import pretrained_file, read_byte_pairs, read_gguf
from efftx.models.inspection import (
    attention_maps,
    attention_vectors,
    chosen_units,
    cross_attention_maps,
)
from efftx.models.kind import Kind, Softmax
from efftx.models.kinds import Across, Blocked, Exact, Hashed, Local, Shared
from efftx.models.layer import NOTHING, Extra, Layer, Sizes, Source
from efftx.models.layout import by_layer
from efftx.models.llama import GatedFeedForward, TiedModel, init_gated_feed_forward, llama
from efftx.models.many_heads import lsh_attention_of_heads
from efftx.models.norm import LayerNorm, RMSNorm
from efftx.models.parameters import n_parameters, named_parameters, with_parameters
from efftx.models.projections import (
    Dense,
    Grouped,
    Multiplicative,
    dense,
    grouped,
    multiplicative,
)
from efftx.models.recurrent import recurrent
from efftx.models.reformer import local, lsh, reformer, with_rounds
from efftx.models.residuals import (
    Residual,
    checkpointed_residual,
    plain_residual,
    reversible_residual,
)
from efftx.models.sparse_feed_forward import SparseFeedForward, hardened, sparse_feed_forward
from efftx.models.sru import with_sru
from efftx.models.terraformer import scaling_transformer, terraformer, terraformer_with_encoder
from efftx.models.transformer import LanguageModel, language_model, transformer

__all__ = [
    "NOTHING",
    "Across",
    "Adapted",
    "Attention",
    "Block",
    "Blocked",
    "Branch",
    "BytePairs",
    "Chunked",
    "Dense",
    "EncoderDecoder",
    "Exact",
    "Extra",
    "FeedForward",
    "GatedFeedForward",
    "Grouped",
    "Hashed",
    "Kind",
    "LanguageModel",
    "Layer",
    "LayerNorm",
    "Local",
    "Multiplicative",
    "RMSNorm",
    "Residual",
    "Shared",
    "Sizes",
    "Softmax",
    "Source",
    "SparseFeedForward",
    "TiedModel",
    "adapted",
    "attention_layer",
    "attention_maps",
    "attention_vectors",
    "by_layer",
    "bytes_read",
    "checkpointed_residual",
    "chosen_units",
    "chunked",
    "cross_attention_maps",
    "dense",
    "encoder_decoder",
    "generate",
    "grouped",
    "hardened",
    "in_bits",
    "in_eight_bits",
    "init_adapters",
    "init_feed_forward",
    "init_gated_feed_forward",
    "language_model",
    "llama",
    "load_model",
    "local",
    "lsh",
    "lsh_attention_of_heads",
    "merged",
    "multiplicative",
    "n_parameters",
    "named_parameters",
    "plain_residual",
    "prefill",
    "pretrained_file",
    "read_byte_pairs",
    "read_gguf",
    "recurrent",
    "reformer",
    "reversible_residual",
    "save_model",
    "scaling_transformer",
    "sparse_feed_forward",
    "step",
    "terraformer",
    "terraformer_with_encoder",
    "transformer",
    "unmerged",
    "weights_read",
    "with_parameters",
    "with_rounds",
    "with_sru",
]
