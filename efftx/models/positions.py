"""Where a token stands, told without any rule about lengths.

*Learned* positions are a table with a row for each. *Axial* positions are such a table, too, but
only its two factors are stored, so a million rows cost two thousand. *Rotary* positions add nothing
to the stream: they turn queries and keys, so that a score depends on how far the two stand apart.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float

from efftx.models.layer import normal
from efftx.validation import check_choice, check_positive, require

HOW = ("sum", "concatenate")


@register_dataclass
@dataclass(frozen=True)
class AxialPositions:
    """Reads like a table of n1·n2 rows: row i is made of first[i // n2] and second[i % n2].

    Any number of rows up to n1·n2 may be read, whatever its divisors.

    Source: Kitaev, Kaiser & Levskaya 2020 in trax's code; they concatenate.
    """

    first: Any  # (n1, d_model), or its own share of d_model where rows are concatenated
    second: Any  # (n2, d_model), or its share
    how: str = field(default="sum", metadata={"static": True})

    def __len__(self) -> int:
        return len(self.first) * len(self.second)

    def __getitem__(self, rows) -> Array:
        """Row i, or rows [: length] as a slice; both are what the whole table would give."""
        if not isinstance(rows, slice):
            n2 = len(self.second)
            return self._join(self.first[rows // n2], self.second[rows % n2])
        start, length, _ = rows.indices(len(self))
        require(start == 0 and rows.step in (None, 1), f"only [: length] is read; got {rows}.")
        # Whole rows of the n1 × n2 grid: their gradient is a sum, where a gather's is a scatter.
        first = self.first[: -(-length // len(self.second))]
        grid = self._join(first[:, None], self.second[None])
        return grid.reshape(-1, grid.shape[-1])[:length]

    def _join(self, first, second):
        if self.how == "sum":
            return first + second
        shape = jnp.broadcast_shapes(first.shape[:-1], second.shape[:-1])
        parts = [jnp.broadcast_to(x, (*shape, x.shape[-1])) for x in (first, second)]
        return jnp.concatenate(parts, axis=-1)


def init_axial(
    key, max_len: int, d_model: int, *, how: str = "sum", n2: int | None = None
) -> AxialPositions:
    """At least max_len positions in two factors, by default as equal as can be.

    Rows start with variance 1/2, as the sinusoids of learned positions do. Train on windows as long
    as the longest that the model shall read: in a shorter window of L nobody trains the rows of
    ``first`` from ⌈L / n2⌉ on, and positions there stay what was drawn.

    Raises ValueError for another ``how`` than "sum" and "concatenate" and for numbers below 1.
    """
    check_choice("how", how, HOW)
    check_positive(max_len=max_len, d_model=d_model)
    n2 = n2 or math.isqrt(max_len - 1) + 1
    check_positive(n2=n2)
    require(how == "sum" or d_model >= 2, "concatenated positions need a d_model of at least 2.")
    shares = (d_model, d_model) if how == "sum" else (d_model - d_model // 2, d_model // 2)
    scale = 0.5 if how == "sum" else 0.5**0.5  # of a sum's two terms, each has half the variance
    keys = jax.random.split(key)
    heights = (-(-max_len // n2), n2)
    tables = [normal(k, (n, d), scale) for k, n, d in zip(keys, heights, shares, strict=True)]
    return AxialPositions(*tables, how=how)


def rotate(
    x: Float[Array, "*heads length d_head"], start: int | Array = 0, *, longest: float = 10_000.0
) -> Float[Array, "*heads length d_head"]:
    r"""Rotary positions: the pairs (x_i, x_{i+d/2}) turned by an angle position · longest^(−2i/d).

    Turned so, q_i · k_j depends on the positions only through i − j. ``start`` is the position of
    the first row. Of an odd d_head the last number is not turned. Angles are float32.

    Turn before hashing, not after: then the hash sees what the scores compare, and vectors that
    fall into one bucket are those with high scores. Length is not changed, so k = q/‖q‖ stays.

    Source: Su et al. 2021, arXiv 2104.09864, section 3.2.
    """
    length, half = x.shape[-2], x.shape[-1] // 2
    position = start + jnp.arange(length, dtype=jnp.int32)
    angle = position[:, None] * longest ** (-jnp.arange(half) / max(half, 1))
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], axis=-1)
