"""A decoder-only Transformer: tokens in, a score for every possible next token out.

The whole model is `LanguageModel.__call__`: embed, go through the blocks, read out. A block is two
*branches*, attention and feed-forward, each behind its own layer norm; a *residual* says how the
branches of all blocks are strung together. Both the parts of the branches and the residual can be
exchanged: a Reformer is this composition with other attention and another residual. A model takes
one example; ``jax.vmap`` maps it.

Sources: Vaswani et al. 2017, arXiv 1706.03762; layer norm inside the branch as in GPT-2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
from jax.tree_util import register_dataclass
from jaxtyping import Array, Key

from efftx.models.attention import attention_layer
from efftx.models.branch import Block, branches, init_blocks, keys_for, n_stacked
from efftx.models.chunked import chunked
from efftx.models.embedding import Embedding, init_embedding
from efftx.models.feed_forward import init_feed_forward
from efftx.models.kind import Kind
from efftx.models.kinds import Exact
from efftx.models.layer import Extra, KeyMask, Logits, OptionalKey, Sizes, Source, Stream, Tokens
from efftx.models.parts import Parts, checked
from efftx.models.readouts import Readout, init_readout
from efftx.models.residuals import Residual, plain_residual
from efftx.validation import check_not_explicit, check_padding_last, require


@register_dataclass
@dataclass(frozen=True)
class LanguageModel:
    """Scores every next token: ``model(tokens) -> logits``."""

    embedding: Embedding
    blocks: Block | tuple[Block, ...]  # stacked; a tuple has a stack for each slot of a pattern
    readout: Readout
    residual: Residual | Callable = field(
        metadata={"static": True}
    )  # (blocks, x, keys, extra) -> x

    def __call__(
        self, tokens: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Logits:
        """The logits of the token that follows each position.

        ``key`` is for parts that draw random numbers; those of the plain Transformer draw none.
        ``key_mask`` is True for tokens and False for padding, which comes last: then the logits of
        the tokens are those of the text without its padding, and those of the padding mean nothing.

        Raises ValueError unless the tokens are a vector of 1 to max_len integers, the mask has an
        entry for each and, where their values are known (not under a trace), unless the tokens lie
        in the vocabulary and padding comes last.
        """
        return self.readout(self.last_vectors(tokens, key, key_mask=key_mask))

    def last_vectors(
        self, tokens: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Stream:
        """What the readout reads: a loss in chunks never asks for all logits at once."""
        check_not_explicit(model=self)
        x = self.embedding(tokens)
        check_padding_last(key_mask, len(tokens))
        return self.residual(self.blocks, x, keys_for(self.blocks, key), Extra(key_mask))

    @property
    def n_layers(self) -> int:
        slots = self.blocks if isinstance(self.blocks, tuple) else (self.blocks,)
        return len(slots) * n_stacked(self.blocks)

    @property
    def vocab(self) -> int:
        return self.embedding.vocab

    def parts(self, source: Source | None = None) -> Parts:
        """See :mod:`efftx.models.parts`. Raises ValueError for a source: this model reads none."""
        require(source is None, "a language model reads no source; pass what to go on from.")
        residual = checked(self.residual)
        return Parts(self.embedding, branches(self.blocks), residual, Extra(), self.readout)

    @property
    def decoding_blocks(self):
        """Those that a step goes through."""
        return self.blocks

    def laid_out(self, change: Callable) -> "LanguageModel":
        """The same model with its blocks changed, and its readout as it is best for steps."""
        return replace(self, blocks=change(self.blocks), readout=self.readout.for_steps())


def transformer(
    key: Key[Array, ""],
    sizes: Sizes,
    *,
    kind: Kind = Exact(),  # noqa: B008 (frozen)
    ff_chunk_len: int | None = None,
    residual: Residual | Callable = plain_residual,
) -> LanguageModel:
    """A Transformer with exact attention, or with another kind: ``kind=Shared()``.

    With ``ff_chunk_len`` its feed-forward layers take that many positions at a time; with
    ``residual=reversible_residual`` it rebuilds its activations instead of storing them.

    Raises ValueError for ff_chunk_len < 1.
    """
    whole = ff_chunk_len is None
    feed_forward = init_feed_forward if whole else chunked(init_feed_forward, ff_chunk_len)
    return language_model(key, sizes, attention_layer(kind), feed_forward, residual)


def language_model(
    key: Key[Array, ""],
    sizes: Sizes,
    attention: Callable | tuple[Callable, ...],
    feed_forward: Callable,
    residual: Residual | Callable,
    init_embedding: Callable = init_embedding,
) -> LanguageModel:
    """The composition of parts; each is made by an ``init(key, sizes)``.

    A tuple of several ``attention`` is a pattern that repeats with the depth. A layer's first
    values depend on the key and on where it stands, not on the pattern.

    Raises ValueError unless n_layers is a multiple of the pattern's length.
    """
    pattern = attention if isinstance(attention, tuple) else (attention,)
    require(
        len(pattern) >= 1 and sizes.n_layers % len(pattern) == 0,
        f"n_layers must be a multiple of the pattern's {len(pattern)} slots; got {sizes.n_layers}.",
    )

    embedding_key, blocks_key, readout_key = jax.random.split(key, 3)
    layer_keys = jax.random.split(blocks_key, sizes.n_layers)
    blocks = tuple(
        init_blocks(
            layer_keys[slot :: len(pattern)],
            sizes,
            Block,
            attention=init,
            feed_forward=feed_forward,
        )
        for slot, init in enumerate(pattern)
    )
    return LanguageModel(
        embedding=init_embedding(embedding_key, sizes),
        blocks=blocks if len(blocks) > 1 else blocks[0],
        readout=init_readout(readout_key, sizes),
        residual=residual,
    )
