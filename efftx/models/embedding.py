"""Tokens in, a stream of vectors out: what a token is, plus where it stands."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Float

from efftx.models.layer import Parameter, Sizes, Stream, Tokens, normal
from efftx.models.matrices import rows_of
from efftx.models.positions import init_axial
from efftx.validation import check_below, check_choice, check_not_explicit, describe, require


@register_dataclass
@dataclass(frozen=True)
class Embedding:
    """A learned vector for each token, plus a learned one for each position."""

    tokens: Parameter  # (vocab, d_model)
    positions: Any  # (max_len, d_model), or AxialPositions; None: nothing is added, any length

    def __call__(self, tokens: Tokens) -> Stream:
        check_tokens(tokens, self.vocab, self.max_len)
        return rows_of(self.tokens, tokens) + self.position_of(slice(len(tokens)))

    @property
    def max_len(self) -> int | float:
        return math.inf if self.positions is None else len(self.positions)

    @property
    def vocab(self) -> int:
        return self.tokens.shape[0]

    def next(self, token: Array, position: Array) -> Stream:
        """The vector of one token at a position, as a stream of length 1."""
        return (rows_of(self.tokens, token) + self.position_of(position))[None]

    def position_of(self, rows) -> Any:
        return 0 if self.positions is None else self.positions[rows]


def init_embedding(key, sizes: Sizes, *, positions: str = "learned") -> Embedding:
    """Tokens, with "learned", "axial" or no positions ("none").

    Learned positions start as sinusoids, so that from the first step on neighbours look alike.
    Tokens start with the sinusoids' variance, so that neither drowns the other.
    """
    check_choice("positions", positions, ("learned", "axial", "none"))
    tables = {
        "learned": lambda: sinusoids(sizes.max_len, sizes.d_model),
        "axial": lambda: init_axial(jax.random.fold_in(key, 1), sizes.max_len, sizes.d_model),
        "none": lambda: None,
    }
    return Embedding(normal(key, (sizes.vocab, sizes.d_model), 0.5**0.5), tables[positions]())


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
    check_not_explicit(tokens=tokens)
    require(
        1 <= len(tokens) <= max_len,
        f"this model takes 1 to {max_len} tokens (max_len); got {len(tokens)}.",
    )
    check_below("tokens", tokens, vocab, "vocab")
