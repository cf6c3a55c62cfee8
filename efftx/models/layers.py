"""The parts that models are composed of: layer norm, attention, feed-forward, readout.

Each is a frozen dataclass of arrays that is called with one example, ``(length, d_model)`` vectors,
and each is followed by the function that draws its first values. A part that stands in a branch is
called with ``(x, key, extra)``: ``key`` for those that draw random numbers, ``extra`` for those
that look at more than x, as at an encoder's output.

A part that remembers something from position to position can also be called on one position at a
time, see :mod:`efftx.models.decoding`. Its ``prefill(x, key, extra, capacity=…) -> (y, cache)``
reads a prompt, its ``step(x, cache, position, key, extra) -> (y, cache)`` a stream of length 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial, register_dataclass
from jaxtyping import Float, Integer, Key

from efftx.attention import blocked_attention, full_attention, shared_qk_attention
from efftx.models.caches import filled, keys_and_values, look_up, with_next
from efftx.models.positions import rotate
from efftx.validation import check_positive, require

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


def unchanged(x):
    return x


UNNORMED = Partial(unchanged)  # in the place of a norm


def init_norm(sizes: Sizes) -> LayerNorm:
    return LayerNorm(scale=jnp.ones(sizes.d_model), shift=jnp.zeros(sizes.d_model))


# Attention ------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class Heads:
    """To the vectors that the heads compare and back: what every kind of attention begins with.

    Three projections give q, k and v; two give qk and v (shared-QK attention).
    """

    w_in: Parameter  # (d_model, 3 or 2, n_heads, d_head)
    w_out: Parameter  # (n_heads, d_head, d_model)
    rotary: bool = field(default=False, kw_only=True, metadata={"static": True})

    def vectors(self, x: Stream, start: Any = 0) -> Float[Array, "projections n_heads length d"]:
        """q, k and v, or qk and v, of every head; x begins at the position ``start``."""
        vectors = project(x, self.w_in)
        if not self.rotary:
            return vectors
        return jnp.concatenate([rotate(vectors[:-1], start), vectors[-1:]])  # values stay

    def combine(self, heads: Float[Array, "n_heads length d_head"]) -> Stream:
        if heads.shape[1] == 1 or is_stored_otherwise(self.w_out):
            return times(jnp.moveaxis(heads, 0, 1), self.w_out)
        return jnp.einsum("hld,hdm->lm", heads, self.w_out)


def project(x, w):
    """The vectors of every head, for each of the projections that stand along w's second axis."""
    # An einsum turns w round first, which is cheap beside many positions but not beside one.
    if len(x) == 1 or is_stored_otherwise(w):
        return jnp.moveaxis(times(x, w), 0, 2)
    return jnp.einsum("lm,mphd->phld", x, w)


def times(x, w):
    """x (length, *in) with w (*in, *out), an array or one stored otherwise."""
    return w.of(x) if is_stored_otherwise(w) else jnp.tensordot(x, w, x.ndim - 1)


def is_stored_otherwise(w) -> bool:
    """Whether w is no array, but has a method ``of(x)`` that multiplies: as in eight bits."""
    return hasattr(w, "of")


@register_dataclass
@dataclass(frozen=True)
class Attention(Heads):
    """All heads attend at once."""

    attend: Callable = field(metadata={"static": True})  # all heads: (*vectors, key) -> outputs

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.combine(self.attend(*self.vectors(x), key))

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        """The layer's output on a prompt, and what its later steps remember of it."""
        require(
            self.attend in (full, blocked, shared),
            f"what {self.attend} computes of a cache is not known; give its layer a class with "
            "methods prefill and step.",
        )
        return self(x, key), filled(keys_and_values(self.vectors(x)), capacity)

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra: Any = None) -> tuple:
        """The output at one position, and the cache that holds it too."""
        vectors = self.vectors(x, position)
        cache = with_next(cache, position, keys_and_values(vectors))
        return self.combine(look_up(vectors, *cache, position)), cache


def full(q, k, v, key=None):
    """An `attend`: each head's softmax over the whole L × L matrix; draws nothing from the key."""
    return jax.vmap(partial(full_attention, causal=True))(q, k, v)


def blocked(q, k, v, key=None):
    """An `attend`: the values of `full` in O(length) memory."""
    return jax.vmap(partial(blocked_attention, causal=True))(q, k, v)


def shared(qk, v, key=None):
    """An `attend`: keys are the queries at unit length, as LSH attention has it."""
    return jax.vmap(partial(shared_qk_attention, causal=True))(qk, v)


def init_attention(key, sizes: Sizes, *, n_projections: int, attend: Callable, **how) -> Attention:
    return Attention(*init_heads(key, sizes, n_projections), attend=attend, **how)


def init_heads(key, sizes: Sizes, n_projections: int) -> tuple[Array, Array]:
    """w_in and w_out."""
    in_key, out_key = jax.random.split(key)
    n_heads, d_head, d_model = sizes.n_heads, sizes.d_head, sizes.d_model
    return (
        normal(in_key, (d_model, n_projections, n_heads, d_head), d_model**-0.5),
        normal(out_key, (n_heads, d_head, d_model), branch_scale(sizes, n_heads * d_head)),
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
        return times(jax.nn.relu(times(x, self.w1) + self.b1), self.w2) + self.b2


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
        return times(self.norm(x), self.w)


def init_readout(key, sizes: Sizes) -> Readout:
    return Readout(init_norm(sizes), normal(key, (sizes.d_model, sizes.vocab), 0.02))
