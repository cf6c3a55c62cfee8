"""An encoder-decoder Transformer: two sequences in, a score for every next token of the second out.

The encoder reads the source in both directions. The decoder is a language model of the target with
one more branch in each block, cross-attention, through which it looks at the encoder's output. All
other parts are those of the decoder-only model, and the residual can be exchanged as there.

Source: Vaswani et al. 2017, arXiv 1706.03762, figure 1; layer norm inside the branch as in GPT-2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Bool, Key

from efftx.models.cross_attention import Source, init_cross_attention, init_encoder_attention
from efftx.models.embedding import Embedding, init_embedding
from efftx.models.layers import (
    LayerNorm,
    Logits,
    OptionalKey,
    Readout,
    Sizes,
    Stream,
    Tokens,
    full,
    init_attention,
    init_feed_forward,
    init_norm,
    init_readout,
)
from efftx.models.residuals import Block, Branch, init_blocks, keys_for, plain_residual
from efftx.validation import check_key_mask

KeyMask = Bool[Array | np.ndarray, "length"] | None


@register_dataclass
@dataclass(frozen=True)
class DecoderBlock:
    """The target's positions exchange information, then look at the source, then work alone."""

    attention: Branch
    cross_attention: Branch
    feed_forward: Branch


@register_dataclass
@dataclass(frozen=True)
class EncoderDecoder:
    """Scores every next token of the target: ``model(source, target) -> logits``."""

    embedding: Embedding  # of source and target, which share their vocabulary
    encoder: Block  # all blocks: each array has a leading axis of size n_layers
    encoder_norm: LayerNorm
    decoder: DecoderBlock | tuple[DecoderBlock, ...]  # a tuple: a pattern
    readout: Readout
    residual: Callable = field(metadata={"static": True})  # (blocks, x, keys, extra) -> x

    def __call__(self, source, target, key: OptionalKey = None, *, key_mask=None) -> Logits:
        """The logits of the token that follows each position of the target.

        ``key_mask`` is True for the tokens of the source and False for its padding. Padding at the
        target's end needs no mask: the decoder is causal, and a loss leaves those positions out.
        ``key`` is for parts that draw random numbers; those of the plain Transformer draw none.

        Raises ValueError unless both are vectors of 1 to max_len integers, the mask has an entry
        for each token of the source, and, where their values are known (not under a trace), the
        tokens lie in the vocabulary.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        return self.decode(target, self.encode(source, keys[0], key_mask=key_mask), keys[1])

    def encode(
        self, source: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Source:
        """A vector for each token of the source, from what stands before and after it."""
        x = self.embedding(source)
        check_key_mask(key_mask, len(source))
        key_mask = None if key_mask is None else jnp.asarray(key_mask)
        x = self.residual(self.encoder, x, keys_for(self.encoder, key), key_mask)
        return Source(self.encoder_norm(x), key_mask)

    def decode(self, target: Tokens, source: Source, key: OptionalKey = None) -> Logits:
        """The logits after each position of the target, given an encoded source."""
        return self.readout(self.last_vectors(target, source, key))

    def last_vectors(self, target: Tokens, source: Source, key: OptionalKey = None) -> Stream:
        """What the readout reads: a loss in chunks never asks for all logits at once."""
        x = self.embedding(target)
        return self.residual(self.decoder, x, keys_for(self.decoder, key), source)


def encoder_decoder(
    key: Key[Array, ""], sizes: Sizes, *, residual: Callable = plain_residual
) -> EncoderDecoder:
    """A Transformer with n_layers blocks in the encoder and as many in the decoder."""
    embedding_key, encoder_key, decoder_key, readout_key = jax.random.split(key, 4)
    return EncoderDecoder(
        embedding=init_embedding(embedding_key, sizes),
        encoder=init_blocks(
            jax.random.split(encoder_key, sizes.n_layers),
            sizes,
            Block,
            attention=init_encoder_attention,
            feed_forward=init_feed_forward,
        ),
        encoder_norm=init_norm(sizes),
        decoder=init_blocks(
            jax.random.split(decoder_key, sizes.n_layers),
            sizes,
            DecoderBlock,
            attention=partial(init_attention, n_projections=3, attend=full),
            cross_attention=init_cross_attention,
            feed_forward=init_feed_forward,
        ),
        readout=init_readout(readout_key, sizes),
        residual=residual,
    )
