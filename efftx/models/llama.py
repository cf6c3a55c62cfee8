"""A language model of the Llama kind: RMS norms, rotary positions, grouped queries, SwiGLU.

It is the course's own composition with other parts, and so everything that takes a model takes it:
losses, residuals, `generate`, adapters. Files of such models are read by `efftx.models.gguf`.

Sources: Touvron et al. 2023, arXiv 2302.13971; the gated layer: Shazeer 2020, arXiv 2002.05202.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
from jax.tree_util import register_dataclass

from efftx.memory.low_rank import dense
from efftx.models.attention import attention_layer
from efftx.models.embedding import Embedding
from efftx.models.kind import Kind
from efftx.models.kinds import Blocked
from efftx.models.layer import (
    NOTHING,
    Extra,
    Layer,
    Logits,
    OptionalKey,
    Parameter,
    Sizes,
    Stream,
    branch_scale,
    normal,
)
from efftx.models.matrices import eight_bit_stack, times
from efftx.models.norm import LayerNorm, Norm, RMSNorm
from efftx.models.projections import grouped
from efftx.models.readouts import Readout
from efftx.models.residuals import Residual, plain_residual
from efftx.models.transformer import LanguageModel, language_model
from efftx.validation import check_not_explicit


@register_dataclass
@dataclass(frozen=True)
class GatedFeedForward(Layer):
    """(silu(x G) ⊙ x U) D: SwiGLU, the same for every position."""

    gate: Parameter  # (d_model, d_ff)
    up: Parameter  # (d_model, d_ff)
    down: Parameter  # (d_ff, d_model)

    positionwise: ClassVar[bool] = True

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, None]:
        check_not_explicit(x=x, layer=self)
        units = jax.nn.silu(times(x, self.gate)) * times(x, self.up)
        return times(units, self.down), None

    def in_eight_bits(self) -> "GatedFeedForward":
        return GatedFeedForward(*map(eight_bit_stack, (self.gate, self.up, self.down)))


def init_gated_feed_forward(key, sizes: Sizes) -> GatedFeedForward:
    """First values, 3·d_model·d_ff numbers; what is added to a stream is small."""
    gate_key, up_key, down_key = jax.random.split(key, 3)
    d_model, d_ff = sizes.d_model, sizes.d_ff
    return GatedFeedForward(
        gate=normal(gate_key, (d_model, d_ff), d_model**-0.5),
        up=normal(up_key, (d_model, d_ff), d_model**-0.5),
        down=normal(down_key, (d_ff, d_model), branch_scale(sizes, d_ff)),
    )


@register_dataclass
@dataclass(frozen=True)
class TableReadout(Readout):
    """A readout whose w is the embedding's table: a row, not a column, for each token."""

    def __call__(self, x: Stream) -> Logits:
        return self.norm(x) @ dense(self.w).astype(x.dtype).T

    @property
    def n_tokens(self) -> int:
        return self.w.shape[0]

    def in_eight_bits(self) -> "TableReadout":
        """As it is: it belongs to the embedding."""
        return self


@partial(register_dataclass, data_fields=["embedding", "blocks", "norm"], meta_fields=["residual"])
@dataclass(frozen=True)
class TiedModel(LanguageModel):
    """A language model whose readout uses the table of its embedding: one array, one gradient.

    Source: Press & Wolf 2016, arXiv 1608.05859.
    """

    readout: TableReadout = field(init=False)
    norm: Norm = field(kw_only=True)  # of the readout

    def __post_init__(self):
        object.__setattr__(self, "readout", TableReadout(self.norm, self.embedding.tokens))

    def laid_out(self, change: Callable) -> "TiedModel":
        return replace(self, blocks=change(self.blocks))


def llama(
    key,
    sizes: Sizes,
    *,
    n_groups: int | None = None,
    kind: Kind | None = None,
    epsilon: float = 1e-5,
    residual: Residual | Callable = plain_residual,
) -> TiedModel:
    """A model of this kind with first values: keys and values for n_groups groups of heads.

    By default every head has its own, and attention is exact, in blocks, with rotary positions:
    any length, whatever ``sizes.max_len``.

    Raises ValueError unless n_heads is a multiple of n_groups.
    """
    attention = attention_layer(kind or Blocked(rotary=True), grouped(n_groups or sizes.n_heads))
    parts = attention, init_gated_feed_forward, residual
    model = language_model(key, sizes, *parts)
    embedding = Embedding(model.embedding.tokens * sizes.d_model**-0.5, None)
    blocks, norm = with_rms_norms((model.blocks, model.readout.norm), epsilon)
    return TiedModel(embedding=embedding, blocks=blocks, residual=residual, norm=norm)


def with_rms_norms(tree, epsilon: float):
    """RMS norms in the place of all layer norms."""
    return jax.tree.map(
        lambda x: RMSNorm(x.scale, epsilon) if isinstance(x, LayerNorm) else x,
        tree,
        is_leaf=lambda x: isinstance(x, LayerNorm),
    )
