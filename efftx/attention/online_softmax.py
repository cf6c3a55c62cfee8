"""A softmax-weighted sum that is built up piece by piece."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("maximum", "total", "weighted"),
    meta_fields=(),
)
@dataclass(frozen=True)
class OnlineSoftmax:
    """Rows of Σ_j exp(s_j − maximum) v_j and of Σ_j exp(s_j − maximum), over the keys seen so far.

    Adding keys in any order and in any pieces gives the same ``finish()``.
    """

    maximum: Array  # (rows,) largest score so far, or the least finite number before any
    total: Array  # (rows,)
    weighted: Array  # (rows, d_value)

    @staticmethod
    def empty(rows: int, v: Array) -> "OnlineSoftmax":
        """No key seen yet, of keys whose values are (…, d_value) like v."""
        # Finite, since (-inf) - (-inf) would be NaN.
        least = jnp.full_like(v, jnp.finfo(v.dtype).min, shape=rows)
        nothing = (jnp.zeros_like(v, shape=shape) for shape in (rows, (rows, v.shape[-1])))
        return OnlineSoftmax(least, *nothing)

    @staticmethod
    def of(scores: Array, v: Array) -> "OnlineSoftmax":
        """The keys of one block; a score of -inf is no key."""
        maximum = jnp.maximum(scores.max(-1), jnp.finfo(scores.dtype).min)
        p = jnp.exp(scores - maximum[..., None])
        return OnlineSoftmax(maximum, p.sum(-1), p @ v)

    def merge(self, other: "OnlineSoftmax") -> "OnlineSoftmax":
        """The union of two disjoint sets of keys."""
        maximum = jnp.maximum(self.maximum, other.maximum)
        a, b = jnp.exp(self.maximum - maximum), jnp.exp(other.maximum - maximum)
        weighted = a[..., None] * self.weighted + b[..., None] * other.weighted
        return OnlineSoftmax(maximum, a * self.total + b * other.total, weighted)

    def add(self, scores: Array, v: Array) -> "OnlineSoftmax":
        """Also the keys of one more block."""
        return self.merge(OnlineSoftmax.of(scores, v))

    def finish(self) -> tuple[Array, Array]:
        """The softmax-weighted mean and the log-sum-exp; 0 and +inf for a row without keys."""
        some = self.total > 0
        total = jnp.where(some, self.total, 1)
        lse = jnp.where(some, self.maximum + jnp.log(total), jnp.inf)
        return self.weighted / total[..., None], lse
