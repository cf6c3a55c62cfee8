"""A decoder-only Transformer: tokens in, a score for every possible next token out.

The whole model is `LanguageModel.__call__`: embed, go through the blocks, read out. A block is two
*branches*, attention and feed-forward, each behind its own layer norm; a *residual* says how the
branches of all blocks are strung together. Both the parts of the branches and the residual can be
exchanged: a Reformer is this composition with other attention and another residual. A model takes
one example; ``jax.vmap`` maps it.

Sources: Vaswani et al. 2017, arXiv 1706.03762; layer norm inside the branch as in GPT-2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import jax
from jax.tree_util import register_dataclass
from jaxtyping import Array, Key

from efftx.models.chunked import chunked
from efftx.models.embedding import Embedding, init_embedding
from efftx.models.layers import (
    Logits,
    OptionalKey,
    Readout,
    Sizes,
    Stream,
    Tokens,
    full,
    init_attention,
    init_feed_forward,
    init_readout,
    shared,
)
from efftx.models.residuals import Block, init_blocks, keys_for, n_stacked, plain_residual
from efftx.validation import require


@register_dataclass
@dataclass(frozen=True)
class LanguageModel:
    """Scores every next token: ``model(tokens) -> logits``."""

    embedding: Embedding
    blocks: Block | tuple[Block, ...]  # stacked; a tuple has a stack for each slot of a pattern
    readout: Readout
    residual: Callable = field(metadata={"static": True})  # (blocks, x, keys) -> x

    def __call__(self, tokens: Tokens, key: OptionalKey = None) -> Logits:
        """The logits of the token that follows each position.

        ``key`` is for parts that draw random numbers; those of the plain Transformer draw none.
        Raises ValueError unless the tokens are a vector of 1 to max_len integers, and where their
        values are known (not under a trace) unless they lie in the vocabulary.
        """
        return self.readout(self.last_vectors(tokens, key))

    def last_vectors(self, tokens: Tokens, key: OptionalKey = None) -> Stream:
        """What the readout reads: a loss in chunks never asks for all logits at once."""
        x = self.embedding(tokens)
        return self.residual(self.blocks, x, keys_for(self.blocks, key))

    @property
    def n_layers(self) -> int:
        slots = self.blocks if isinstance(self.blocks, tuple) else (self.blocks,)
        return len(slots) * n_stacked(self.blocks)


def transformer(
    key: Key[Array, ""],
    sizes: Sizes,
    *,
    shared_qk: bool = False,
    attend: Callable | None = None,
    ff_chunk_len: int | None = None,
    residual: Callable = plain_residual,
) -> LanguageModel:
    """A Transformer with full attention, or with shared-QK attention, or with another `attend`.

    With ``ff_chunk_len`` its feed-forward layers take that many positions at a time; with
    ``residual=reversible_residual`` it rebuilds its activations instead of storing them.
    """
    attend = attend or (shared if shared_qk else full)
    attention = partial(init_attention, n_projections=2 if shared_qk else 3, attend=attend)
    whole = ff_chunk_len is None
    feed_forward = init_feed_forward if whole else chunked(init_feed_forward, ff_chunk_len)
    return language_model(key, sizes, attention, feed_forward, residual)


def language_model(
    key: Key[Array, ""],
    sizes: Sizes,
    init_attention: Callable | tuple[Callable, ...],
    init_feed_forward: Callable,
    residual: Callable,
    init_embedding: Callable = init_embedding,
) -> LanguageModel:
    """The composition of parts; each is made by ``init(key, sizes)``.

    A tuple of several ``init_attention`` is a pattern that repeats with the depth. A layer's first
    values depend on the key and on where it stands, not on the pattern.

    Raises ValueError unless n_layers is a multiple of the pattern's length.
    """
    pattern = init_attention if isinstance(init_attention, tuple) else (init_attention,)
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
            feed_forward=init_feed_forward,
        )
        for slot, init in enumerate(pattern)
    )
    return LanguageModel(
        embedding=init_embedding(embedding_key, sizes),
        blocks=blocks if len(blocks) > 1 else blocks[0],
        readout=init_readout(readout_key, sizes),
        residual=residual,
    )
