"""The Transformer's feed-forward layer."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from efftx.models.layer import (
    NOTHING,
    Extra,
    Layer,
    OptionalKey,
    Parameter,
    Sizes,
    Stream,
    branch_scale,
    normal,
)
from efftx.models.matrices import eight_bit_stack, times
from efftx.validation import check_not_explicit


@register_dataclass
@dataclass(frozen=True)
class FeedForward(Layer):
    """ReLU(x W1 + b1) W2 + b2, the same for every position."""

    w1: Parameter  # (d_model, d_ff)
    b1: Parameter  # (d_ff,)
    w2: Parameter  # (d_ff, d_model)
    b2: Parameter  # (d_model,)

    positionwise: ClassVar[bool] = True

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, None]:
        check_not_explicit(x=x, layer=self)
        return times(jax.nn.relu(times(x, self.w1) + self.b1), self.w2) + self.b2, None

    def in_eight_bits(self) -> "FeedForward":
        return replace(self, w1=eight_bit_stack(self.w1), w2=eight_bit_stack(self.w2))


def init_feed_forward(key, sizes: Sizes) -> FeedForward:
    """First values, 2·d_model·d_ff + d_ff + d_model numbers; what is added to a stream is small."""
    w1_key, w2_key = jax.random.split(key)
    return FeedForward(
        w1=normal(w1_key, (sizes.d_model, sizes.d_ff), sizes.d_model**-0.5),
        b1=jnp.zeros(sizes.d_ff),
        w2=normal(w2_key, (sizes.d_ff, sizes.d_model), branch_scale(sizes, sizes.d_ff)),
        b2=jnp.zeros(sizes.d_model),
    )
