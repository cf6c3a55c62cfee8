"""The parts that models are composed of: embedding, layer norm, attention, feed-forward, readout.

Each is a frozen dataclass of arrays that is called with one example, ``(length,)`` tokens or
``(length, d_model)`` vectors, and each is followed by the function that draws its first values.
A part that stands in a branch is called with ``(x, key, extra)``: ``key`` for those that draw
random numbers, ``extra`` for those that look at more than x, as at an encoder's output.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float, Integer, Key

from efftx.attention import blocked_attention, full_attention, shared_qk_attention
from efftx.validation import check_positive, describe, require, values_are_known

Tokens = Integer[Array | np.ndarray, "length"]
Stream = Float[Array, "length d_model"]
Logits = Float[Array, "length vocab"]
OptionalKey = Key[Array, ""] | None
Parameter = Any  # an Array; not checked, since jax also fills these classes with shapes and tracers


@dataclass(frozen=True)
class Sizes:
    """The numbers that fix a model's shape; the names are the glossary's (``help(efftx)``)."""

    n_layers: int = 2
    d_model: int = 128
    d_ff: int = 512
    n_heads: int = 4
    d_head: int = 32
    max_len: int = 1024
    vocab: int = 256

    def __post_init__(self):
        check_positive(**vars(self))


def normal(key, shape: tuple[int, ...], scale: float) -> Array:
    return scale * jax.random.normal(key, shape)


def branch_scale(sizes: Sizes, fan_in: int) -> float:
    """For the last matrix of a branch: the 2·n_layers branches together add variance 1."""
    return (fan_in * 2 * sizes.n_layers) ** -0.5


# Embedding ------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class Embedding:
    """A learned vector for each token, plus a learned one for each position."""

    tokens: Parameter  # (vocab, d_model)
    positions: Parameter  # (max_len, d_model)

    def __call__(self, tokens: Tokens) -> Stream:
        check_tokens(tokens, len(self.tokens), len(self.positions))
        return self.tokens[tokens] + self.positions[: len(tokens)]


def init_embedding(key, sizes: Sizes) -> Embedding:
    """Positions start as sinusoids, so that from the first step on neighbours look alike.

    Tokens start with the sinusoids' variance, so that neither drowns the other.
    """
    return Embedding(
        tokens=normal(key, (sizes.vocab, sizes.d_model), 0.5**0.5),
        positions=sinusoids(sizes.max_len, sizes.d_model),
    )


def sinusoids(length: int, d_model: int) -> Float[Array, "length d_model"]:
    """Sines and cosines of each position at wavelengths from 2π to 10,000 · 2π.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
    """
    n_waves = -(-d_model // 2)
    angles = jnp.arange(length)[:, None] / 10_000 ** (jnp.arange(n_waves) / n_waves)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)[:, :d_model]


def check_tokens(tokens, vocab: int, max_len: int | float = math.inf) -> None:
    require(
        getattr(tokens, "ndim", 0) == 1 and jnp.issubdtype(tokens.dtype, jnp.integer),
        f"tokens must be one example, a (length,) vector of integers; got {describe(tokens)}. "
        "Map the model over a batch with jax.vmap(model).",
    )
    require(
        1 <= len(tokens) <= max_len,
        f"this model takes 1 to {max_len} tokens (max_len); got {len(tokens)}.",
    )
    if values_are_known(tokens):
        low, high = int(tokens.min()), int(tokens.max())
        require(
            low >= 0 and high < vocab,
            f"tokens must lie in 0 … {vocab - 1} (vocab {vocab}); got {low} … {high}.",
        )


# Layer norm -----------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class LayerNorm:
    """Each vector brought to mean 0 and variance 1, then scaled and shifted as learned."""

    scale: Parameter  # (d_model,)
    shift: Parameter  # (d_model,)

    def __call__(self, x: Stream) -> Stream:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return centred / jnp.sqrt(variance + 1e-5) * self.scale + self.shift


def init_norm(sizes: Sizes) -> LayerNorm:
    return LayerNorm(scale=jnp.ones(sizes.d_model), shift=jnp.zeros(sizes.d_model))


# Attention ------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class Attention:
    """Project to the vectors that the heads compare, attend, project back.

    Three projections give q, k and v; two give qk and v (shared-QK attention).
    """

    w_in: Parameter  # (d_model, 3 or 2, n_heads, d_head)
    w_out: Parameter  # (n_heads, d_head, d_model)
    attend: Callable = field(metadata={"static": True})  # all heads: (*vectors, key) -> outputs

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        heads = self.attend(*self.vectors(x), key)
        return jnp.einsum("hld,hdm->lm", heads, self.w_out)

    def vectors(self, x: Stream) -> Float[Array, "projections n_heads length d_head"]:
        """q, k and v, or qk and v, of every head."""
        return jnp.einsum("lm,mphd->phld", x, self.w_in)


def full(q, k, v, key=None):
    """An `attend`: each head's softmax over the whole L × L matrix; draws nothing from the key."""
    return jax.vmap(partial(full_attention, causal=True))(q, k, v)


def blocked(q, k, v, key=None):
    """An `attend`: the values of `full` in O(length) memory."""
    return jax.vmap(partial(blocked_attention, causal=True))(q, k, v)


def shared(qk, v, key=None):
    """An `attend`: keys are the queries at unit length, as LSH attention has it."""
    return jax.vmap(partial(shared_qk_attention, causal=True))(qk, v)


def init_attention(key, sizes: Sizes, *, n_projections: int, attend: Callable) -> Attention:
    in_key, out_key = jax.random.split(key)
    n_heads, d_head, d_model = sizes.n_heads, sizes.d_head, sizes.d_model
    return Attention(
        w_in=normal(in_key, (d_model, n_projections, n_heads, d_head), d_model**-0.5),
        w_out=normal(out_key, (n_heads, d_head, d_model), branch_scale(sizes, n_heads * d_head)),
        attend=attend,
    )


# Feed-forward ---------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class FeedForward:
    """ReLU(x W1 + b1) W2 + b2, the same for every position."""

    w1: Parameter  # (d_model, d_ff)
    b1: Parameter  # (d_ff,)
    w2: Parameter  # (d_ff, d_model)
    b2: Parameter  # (d_model,)

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return jax.nn.relu(x @ self.w1 + self.b1) @ self.w2 + self.b2


def init_feed_forward(key, sizes: Sizes) -> FeedForward:
    w1_key, w2_key = jax.random.split(key)
    return FeedForward(
        w1=normal(w1_key, (sizes.d_model, sizes.d_ff), sizes.d_model**-0.5),
        b1=jnp.zeros(sizes.d_ff),
        w2=normal(w2_key, (sizes.d_ff, sizes.d_model), branch_scale(sizes, sizes.d_ff)),
        b2=jnp.zeros(sizes.d_model),
    )


# Readout --------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class Readout:
    """From the last vector of each position to a score for each token."""

    norm: LayerNorm
    w: Parameter  # (d_model, vocab)

    def __call__(self, x: Stream) -> Logits:
        return self.norm(x) @ self.w


def init_readout(key, sizes: Sizes) -> Readout:
    return Readout(init_norm(sizes), normal(key, (sizes.d_model, sizes.vocab), 0.02))
