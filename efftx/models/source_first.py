"""An encoder-decoder without cross-attention: the decoder reads the source, then the target.

The encoder's output stands before the target's embedded tokens, as if it were the beginning of a
longer text, and the decoder is a causal language model of the two together. So its blocks have two
branches and not three, each looks at one stream alone, and any causal attention will do, also LSH.

Source: Jaszczur et al. 2021, arXiv 2111.12763, section 4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import register_dataclass
from jaxtyping import Float, Key

from efftx.models.branch import Block, branches, init_blocks, keys_for
from efftx.models.embedding import Embedding, init_embedding
from efftx.models.encoder_decoder import EncoderDecoder, check_source
from efftx.models.layer import Extra, KeyMask, OptionalKey, Sizes, Source, Stream, Tokens
from efftx.models.norm import init_norm
from efftx.models.parts import Parts, checked
from efftx.models.readouts import init_readout
from efftx.models.residuals import Residual
from efftx.validation import check_key_mask, check_not_explicit, check_padding_last, require


@register_dataclass
@dataclass(frozen=True)
class SourceFirst(EncoderDecoder):
    """Scores every next token of the target: ``model(source, target) -> logits``.

    Called, trained and decoded as an `EncoderDecoder`.
    """

    decoder: Block | tuple[Block, ...]  # of two branches, as the encoder's

    def encode(
        self, source: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Source:
        """A vector for each token of the source; where it has padding, that comes last.

        Wherever the padding stood, the result is that of the source without it: convolutions and
        recurrent branches, which look back, would not leave it aside.
        """
        check_key_mask(key_mask, len(source))
        if key_mask is not None:
            order = jnp.argsort(~jnp.asarray(key_mask), stable=True)
            source, key_mask = jnp.asarray(source)[order], jnp.asarray(key_mask)[order]
        return super().encode(source, key, key_mask=key_mask)

    def last_vectors(
        self, target: Tokens, source: Source, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Stream:
        """What the readout reads: the vectors of the target's positions."""
        check_not_explicit(model=self, source=source)
        x, start = after_source(source, self.embedding(target))
        check_padding_last(key_mask, len(target))
        n_target = len(target) if key_mask is None else jnp.sum(key_mask)
        padded = source.key_mask is not None or key_mask is not None
        extra = Extra(jnp.arange(len(x)) < start + n_target if padded else None)
        x = self.residual(self.decoder, x, keys_for(self.decoder, key), extra)
        return lax.dynamic_slice_in_dim(x, start, len(target))

    def parts(self, source: Source | None = None) -> Parts:
        """See :mod:`efftx.models.parts`. Raises ValueError without a source, or with a padded one.

        What convolutions and recurrent branches remember is the last that they read, and with
        padding that would not be the source's end.
        """
        check_source(source)
        require(
            source.key_mask is None,
            "this model goes on from a source without padding: encode the tokens that are none, "
            "model.encode(source[key_mask]).",
        )
        embedding, residual = EmbeddingAfterSource(self.embedding, source), checked(self.residual)
        return Parts(embedding, branches(self.decoder), residual, Extra(), self.readout)


def after_source(source: Source, x: Stream) -> tuple[Float[Array, "longer d_model"], Any]:
    """The source, then x, then what is left of the source's padding; and where x begins.

    To a causal layer what comes after x is nothing; one that hashes has to be told of the length.
    """
    length = len(source.vectors)
    if source.key_mask is None:
        return jnp.concatenate([source.vectors, x]), length
    start = source.key_mask.sum()
    room = jnp.concatenate([source.vectors, jnp.zeros_like(x)])
    return lax.dynamic_update_slice_in_dim(room, x, start, axis=0), start


@register_dataclass
@dataclass(frozen=True)
class EmbeddingAfterSource:
    """What decoding takes for the embedding: a prompt comes with the source before it."""

    embedding: Embedding
    source: Source

    def __call__(self, tokens: Tokens) -> Float[Array, "longer d_model"]:
        return after_source(self.source, self.embedding(tokens))[0]

    def next(self, token: Array, position: Array) -> Stream:
        """The vector of one token at a position that is counted from the source's first."""
        return self.embedding.next(token, position - len(self.source.vectors))

    @property
    def max_len(self) -> int | float:
        return self.embedding.max_len

    @property
    def vocab(self) -> int:
        return self.embedding.vocab


def source_first(
    key: Key[Array, ""],
    sizes: Sizes,
    *,
    encoder_attention: Callable,
    attention: Callable,
    feed_forward: Callable,
    residual: Residual | Callable,
) -> SourceFirst:
    """The composition of parts, n_layers blocks in each half; each is made by ``init(key, sizes)``.

    ``encoder_attention`` finds the source's key mask in ``extra.key_mask``.
    """
    embedding_key, encoder_key, decoder_key, readout_key = jax.random.split(key, 4)

    def blocks(key, attention):
        keys = jax.random.split(key, sizes.n_layers)
        return init_blocks(keys, sizes, Block, attention=attention, feed_forward=feed_forward)

    return SourceFirst(
        embedding=init_embedding(embedding_key, sizes),
        encoder=blocks(encoder_key, encoder_attention),
        encoder_norm=init_norm(sizes),
        decoder=blocks(decoder_key, attention),
        readout=init_readout(readout_key, sizes),
        residual=residual,
    )
