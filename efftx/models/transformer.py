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
from efftx.models.layers import (
    Embedding,
    Logits,
    OptionalKey,
    Readout,
    Sizes,
    Stream,
    Tokens,
    full,
    init_attention,
    init_embedding,
    init_feed_forward,
    init_norm,
    init_readout,
    shared,
)
from efftx.models.residuals import Block, Branch, branch_keys, plain_residual


@register_dataclass
@dataclass(frozen=True)
class LanguageModel:
    """Scores every next token: ``model(tokens) -> logits``."""

    embedding: Embedding
    blocks: Block  # all of them: each array has a leading axis of size n_layers
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
        return self.residual(self.blocks, x, branch_keys(key, self.n_layers))

    @property
    def n_layers(self) -> int:
        return len(self.blocks.attention.norm.scale)


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
    init_attention: Callable,
    init_feed_forward: Callable,
    residual: Callable,
) -> LanguageModel:
    """The composition of parts; the branches' are made by ``init(key, sizes)``."""

    def init_block(key):
        attention_key, feed_forward_key = jax.random.split(key)
        return Block(
            attention=Branch(init_norm(sizes), init_attention(attention_key, sizes)),
            feed_forward=Branch(init_norm(sizes), init_feed_forward(feed_forward_key, sizes)),
        )

    embedding_key, blocks_key, readout_key = jax.random.split(key, 3)
    return LanguageModel(
        embedding=init_embedding(embedding_key, sizes),
        blocks=jax.vmap(init_block)(jax.random.split(blocks_key, sizes.n_layers)),
        readout=init_readout(readout_key, sizes),
        residual=residual,
    )
