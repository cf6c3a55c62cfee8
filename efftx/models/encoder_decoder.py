"""An encoder-decoder Transformer: two sequences in, a score for every next token of the second out.

The encoder reads the source in both directions. The decoder is a language model of the target with
one more branch in each block, cross-attention, through which it looks at the encoder's output. All
other parts are those of the decoder-only model, and the residual can be exchanged as there.

Source: Vaswani et al. 2017, arXiv 1706.03762, figure 1; layer norm inside the branch as in GPT-2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Key

from efftx.models.attention import attention_layer
from efftx.models.branch import Block, Branch, branches, init_blocks, keys_for
from efftx.models.embedding import Embedding, init_embedding
from efftx.models.feed_forward import init_feed_forward
from efftx.models.kinds import Across, Exact
from efftx.models.layer import Extra, KeyMask, Logits, OptionalKey, Sizes, Source, Stream, Tokens
from efftx.models.norm import LayerNorm, init_norm
from efftx.models.parts import Parts, checked
from efftx.models.readouts import Readout, init_readout
from efftx.models.residuals import Residual, plain_residual
from efftx.validation import (
    check_key_mask,
    check_not_explicit,
    check_padding_last,
    describe,
    require,
)


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
    residual: Residual | Callable = field(
        metadata={"static": True}
    )  # (blocks, x, keys, extra) -> x

    def __call__(
        self, source, target, key: OptionalKey = None, *, key_mask=None, target_mask=None
    ) -> Logits:
        """The logits of the token that follows each position of the target.

        ``key_mask`` is True for the tokens of the source and False for its padding. Padding at the
        target's end needs a ``target_mask`` only where layers hash, as many buckets as the length
        asks for: elsewhere the decoder, being causal, does not see it. ``key`` is for parts that
        draw random numbers; those of the plain Transformer draw none.

        Raises ValueError unless both are vectors of 1 to max_len integers, a mask has an entry for
        each token, and, where their values are known (not under a trace), the tokens lie in the
        vocabulary and the target's padding comes last.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        encoded = self.encode(source, keys[0], key_mask=key_mask)
        return self.decode(target, encoded, keys[1], key_mask=target_mask)

    def encode(
        self, source: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Source:
        """A vector for each token of the source, from what stands before and after it."""
        check_not_explicit(model=self)
        x = self.embedding(source)
        check_key_mask(key_mask, len(source))
        key_mask = None if key_mask is None else jnp.asarray(key_mask)
        x = self.residual(self.encoder, x, keys_for(self.encoder, key), Extra(key_mask))
        return Source(self.encoder_norm(x), key_mask)

    def decode(
        self, target: Tokens, source: Source, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Logits:
        """The logits after each position of the target, given an encoded source."""
        return self.readout(self.last_vectors(target, source, key, key_mask=key_mask))

    def last_vectors(
        self, target: Tokens, source: Source, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Stream:
        """What the readout reads: a loss in chunks never asks for all logits at once."""
        check_not_explicit(model=self, source=source)
        x = self.embedding(target)
        check_padding_last(key_mask, len(target))
        extra = Extra(key_mask, source)
        return self.residual(self.decoder, x, keys_for(self.decoder, key), extra)

    @property
    def vocab(self) -> int:
        return self.embedding.vocab

    def parts(self, source: Source | None = None) -> Parts:
        """See :mod:`efftx.models.parts`. Raises ValueError without a source."""
        check_source(source)
        residual, extra = checked(self.residual), Extra(source=source)
        return Parts(self.embedding, branches(self.decoder), residual, extra, self.readout)

    @property
    def decoding_blocks(self):
        """Those that a step goes through."""
        return self.decoder

    def laid_out(self, change: Callable) -> "EncoderDecoder":
        """The same model with its decoder changed, and its readout as it is best for steps."""
        return replace(self, decoder=change(self.decoder), readout=self.readout.for_steps())


def check_source(source: Source | None) -> None:
    require(
        isinstance(source, Source),
        "this model reads a source first: pass source=model.encode(…), which is a Source; "
        f"got {'none' if source is None else describe(source)}.",
    )


def encoder_decoder(
    key: Key[Array, ""], sizes: Sizes, *, residual: Residual | Callable = plain_residual
) -> EncoderDecoder:
    """A Transformer with n_layers blocks in the encoder and as many in the decoder."""
    embedding_key, encoder_key, decoder_key, readout_key = jax.random.split(key, 4)
    return EncoderDecoder(
        embedding=init_embedding(embedding_key, sizes),
        encoder=init_blocks(
            jax.random.split(encoder_key, sizes.n_layers),
            sizes,
            Block,
            attention=attention_layer(Exact(causal=False)),
            feed_forward=init_feed_forward,
        ),
        encoder_norm=init_norm(sizes),
        decoder=init_blocks(
            jax.random.split(decoder_key, sizes.n_layers),
            sizes,
            DecoderBlock,
            attention=attention_layer(Exact()),
            cross_attention=attention_layer(Across()),
            feed_forward=init_feed_forward,
        ),
        readout=init_readout(readout_key, sizes),
        residual=residual,
    )
