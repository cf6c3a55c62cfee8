"""Layer norm, and what stands in its place where there is none."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from efftx.dtypes import at_least_float32
from efftx.models.layer import Parameter, Sizes, Stream


@register_dataclass
@dataclass(frozen=True)
class LayerNorm:
    """Each vector brought to mean 0 and variance 1, then scaled and shifted as learned."""

    scale: Parameter  # (d_model,)
    shift: Parameter  # (d_model,)

    def __call__(self, x: Stream) -> Stream:
        (whole,) = at_least_float32(x)  # squares of float16 end at 65,504
        centred = whole - whole.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        unit = (centred / jnp.sqrt(variance + 1e-5)).astype(x.dtype)
        return unit * self.scale + self.shift


@register_dataclass
@dataclass(frozen=True)
class NoNorm:
    """x as it is."""

    def __call__(self, x: Stream) -> Stream:
        return x


UNNORMED = NoNorm()


def init_norm(sizes: Sizes) -> LayerNorm:
    return LayerNorm(scale=jnp.ones(sizes.d_model), shift=jnp.zeros(sizes.d_model))
