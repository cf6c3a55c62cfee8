"""From a stream to the vectors that the heads compare, and back to the stream.

A projection gives (projections, n_heads, length, d_head): q, k and v, or qk and v, of every head.
It may look back, and then has a *history*: what it has to remember of the positions before.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float

from efftx.models.layer import Parameter, Sizes, Stream, branch_scale, normal
from efftx.models.matrices import EightBitMatrix, eight_bit_stack, times
from efftx.sparsity import sparse_qkv
from efftx.sparsity.qkv import d_module_of
from efftx.validation import check_positive, require

Vectors = Float[Array, "projections n_heads length d_head"]
ALL = slice(None)


@register_dataclass
@dataclass(frozen=True)
class Dense:
    """A matrix for each projection and head, and one back."""

    w_in: Parameter  # (d_model, projections, n_heads, d_head)
    w_out: Parameter  # (n_heads, d_head, d_model)

    def __call__(self, x: Stream, which: slice = ALL, history: Any = ()) -> tuple[Vectors, tuple]:
        """Those of the projections that ``which`` names; there is no history."""
        w = self.w_in if which == ALL else self.w_in[:, which]
        # An einsum turns w round first, which is cheap beside many positions but not beside one.
        if len(x) == 1 or self.is_in_eight_bits:
            return jnp.moveaxis(times(x, w), 0, 2), ()
        return jnp.einsum("lm,mphd->phld", x, w), ()

    def combine(self, heads: Float[Array, "n_heads length d_head"]) -> Stream:
        if heads.shape[1] == 1 or self.is_in_eight_bits:
            return times(jnp.moveaxis(heads, 0, 1), self.w_out)
        return jnp.einsum("hld,hdm->lm", heads, self.w_out)

    @property
    def by_head(self) -> tuple:
        """w_in (n_heads, projections, d_model, d_head) and w_out, as `all_heads` takes them."""
        return jnp.transpose(self.w_in, (2, 1, 0, 3)), self.w_out

    def from_heads(self, by_head: tuple) -> "Dense":
        w_in, w_out = by_head
        return Dense(jnp.transpose(w_in, (2, 1, 0, 3)), w_out)

    @property
    def n_heads(self) -> int:
        return len(self.w_out) if not self.is_in_eight_bits else self.w_in.out[1]

    @property
    def per_projection(self):
        """The part that has its own numbers for each projection."""
        return self.w_in

    @property
    def is_in_eight_bits(self) -> bool:
        return isinstance(self.w_in, EightBitMatrix)

    @property
    def goes_head_by_head(self) -> bool:
        return not self.is_in_eight_bits

    def in_eight_bits(self) -> "Dense":
        return replace(
            self, w_in=eight_bit_stack(self.w_in), w_out=eight_bit_stack(self.w_out, n_in=2)
        )


def dense(key, sizes: Sizes, n_projections: int) -> Dense:
    """First values of a `Dense`: vectors of the variance of x, and what is added back is small."""
    in_key, out_key = jax.random.split(key)
    n_heads, d_head, d_model = sizes.n_heads, sizes.d_head, sizes.d_model
    return Dense(
        w_in=normal(in_key, (d_model, n_projections, n_heads, d_head), d_model**-0.5),
        w_out=normal(out_key, (n_heads, d_head, d_model), branch_scale(sizes, n_heads * d_head)),
    )


@register_dataclass
@dataclass(frozen=True)
class Grouped:
    """Queries for every head, keys and values for a group of heads together, and a matrix back.

    Source: Ainslie et al. 2023, arXiv 2305.13245.
    """

    w_q: Parameter  # (d_model, n_heads, d_head)
    w_kv: Parameter  # (d_model, 2, n_groups, d_head)
    w_out: Parameter  # (n_heads, d_head, d_model)

    goes_head_by_head: ClassVar[bool] = False

    def __call__(self, x: Stream, which: slice = ALL, history: Any = ()) -> tuple[Vectors, tuple]:
        q, kv = times(x, self.w_q), times(x, self.w_kv)
        kv = jnp.repeat(kv, q.shape[1] // kv.shape[2], axis=2)  # each head its group's
        return jnp.moveaxis(jnp.concatenate([q[:, None], kv], axis=1), 0, 2)[which], ()

    def combine(self, heads: Float[Array, "n_heads length d_head"]) -> Stream:
        return times(jnp.moveaxis(heads, 0, 1), self.w_out)

    @property
    def n_heads(self) -> int:
        return self.w_q.out[0] if isinstance(self.w_q, EightBitMatrix) else self.w_q.shape[1]

    @property
    def per_projection(self):
        return self.w_kv

    def in_eight_bits(self) -> "Grouped":
        return Grouped(
            eight_bit_stack(self.w_q), eight_bit_stack(self.w_kv), eight_bit_stack(self.w_out, 2)
        )


def grouped(n_groups: int) -> Callable:
    """An ``init(key, sizes, n_projections)`` with keys and values for n_groups groups of heads.

    Raises ValueError for n_groups < 1 and, when it is called, unless n_heads is a multiple of it
    and there are three projections.
    """
    check_positive(n_groups=n_groups)
    return partial(_init_grouped, n_groups=n_groups)


def _init_grouped(key, sizes: Sizes, n_projections: int, *, n_groups: int) -> Grouped:
    n_heads, d_head, d_model = sizes.n_heads, sizes.d_head, sizes.d_model
    require(
        n_heads % n_groups == 0,
        f"n_heads must be a multiple of n_groups; got {n_heads} and {n_groups}.",
    )
    require(n_projections == 3, "grouped heads need q, k and v apart; this kind shares q and k.")
    q_key, kv_key, out_key = jax.random.split(key, 3)
    return Grouped(
        w_q=normal(q_key, (d_model, n_heads, d_head), d_model**-0.5),
        w_kv=normal(kv_key, (d_model, 2, n_groups, d_head), d_model**-0.5),
        w_out=normal(out_key, (n_heads, d_head, d_model), branch_scale(sizes, n_heads * d_head)),
    )


@register_dataclass
@dataclass(frozen=True)
class Multiplicative:
    """A multiplicative layer, then a convolution for each projection: sparse QKV.

    Heads stand side by side and are the output, for there is no projection back. The convolution
    looks back only, so padding at the end does not come into it; its history is the rows before.
    """

    d: Parameter  # (d_model, S)
    e: Parameter  # (d_model, M)
    kernels: Parameter  # (3, 3, M, projections, M)
    n_heads: int = field(metadata={"static": True})

    goes_head_by_head: ClassVar[bool] = False

    def __call__(self, x: Stream, which: slice = ALL, history: Any = None) -> tuple[Vectors, Array]:
        """Without a history, x begins at the first position. The new history is that after x."""
        kernels = self.kernels[:, :, :, which]
        projections, history = sparse_qkv(x, self.d, self.e, kernels, history)
        heads = projections.reshape(*projections.shape[:2], self.n_heads, -1)
        return jnp.moveaxis(heads, 2, 1), history

    def combine(self, heads: Float[Array, "n_heads length d_head"]) -> Stream:
        return jnp.moveaxis(heads, 0, 1).reshape(heads.shape[1], -1)

    @property
    def per_projection(self):
        return self.kernels

    def in_eight_bits(self) -> "Multiplicative":
        """As it is: it has few numbers."""
        return self


def multiplicative(n_modules: int | None = None) -> Callable:
    """An ``init(key, sizes, n_projections)`` with S = n_modules modules, or one for each head.

    Raises ValueError, when it is called, unless the heads and the modules fill d_model.
    """
    return partial(_init_multiplicative, n_modules=n_modules)


def _init_multiplicative(
    key, sizes: Sizes, n_projections: int, *, n_modules: int | None
) -> Multiplicative:
    """Queries and keys start with variance 1, values as small as a dense layer's outputs."""
    require(
        sizes.n_heads * sizes.d_head == sizes.d_model,
        "without an output projection, n_heads · d_head must be d_model; "
        f"got {sizes.n_heads} · {sizes.d_head} and {sizes.d_model}.",
    )
    d_module = d_module_of(sizes.d_model, sizes.n_heads if n_modules is None else n_modules)
    d_key, e_key, kernels_key = jax.random.split(key, 3)
    scales = jnp.full(n_projections, (9 * d_module) ** -0.5)
    scales = scales.at[-1].set(branch_scale(sizes, 9 * d_module))
    kernels = normal(kernels_key, (3, 3, d_module, n_projections, d_module), 1.0)
    return Multiplicative(
        d=normal(d_key, (sizes.d_model, sizes.d_model // d_module), 1.0),
        e=normal(e_key, (sizes.d_model, d_module), sizes.d_model**-0.5),
        kernels=kernels * scales[:, None],
        n_heads=sizes.n_heads,
    )
