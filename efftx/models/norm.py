"""Layer norm, its shorter form, and what stands in its place where there is none."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from efftx.dtypes import at_least_float32
from efftx.models.layer import Parameter, Sizes, Stream
from efftx.validation import check_not_explicit


@register_dataclass
@dataclass(frozen=True)
class LayerNorm:
    """Each vector brought to mean 0 and variance 1, then scaled and shifted as learned."""

    scale: Parameter  # (d_model,)
    shift: Parameter  # (d_model,)

    def __call__(self, x: Stream) -> Stream:
        check_not_explicit(x=x, norm=self)
        (whole,) = at_least_float32(x)  # squares of float16 end at 65,504
        centred = whole - whole.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        unit = (centred / jnp.sqrt(variance + 1e-5)).astype(x.dtype)
        return unit * self.scale + self.shift


@register_dataclass
@dataclass(frozen=True)
class RMSNorm:
    """Each vector divided by the root of its mean square, then scaled as learned.

    Source: Zhang & Sennrich 2019, arXiv 1910.07467.
    """

    scale: Parameter  # (d_model,)
    epsilon: float = field(default=1e-5, metadata={"static": True})

    def __call__(self, x: Stream) -> Stream:
        check_not_explicit(x=x, norm=self)
        (whole,) = at_least_float32(x)
        mean_square = (whole**2).mean(-1, keepdims=True)
        return (whole / jnp.sqrt(mean_square + self.epsilon)).astype(x.dtype) * self.scale


@register_dataclass
@dataclass(frozen=True)
class NoNorm:
    """x as it is."""

    def __call__(self, x: Stream) -> Stream:
        return x


UNNORMED = NoNorm()
Norm = LayerNorm | RMSNorm | NoNorm


def init_norm(sizes: Sizes) -> LayerNorm:
    return LayerNorm(scale=jnp.ones(sizes.d_model), shift=jnp.zeros(sizes.d_model))
