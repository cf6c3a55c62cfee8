"""A model whose large matrices are stored in eight bits a number, for generating.

In eight bits a model takes a quarter of the room, and what does not fit into memory cannot be
generated with at all. Codes become float32 as they are multiplied, never a whole matrix at once.
Vectors, caches and all that is small stay as they are.

Numbers that share a scale, see :func:`efftx.memory.quantize`, are those that are multiplied and
added up together: a dense matrix's weights of one number that comes out, a sparse feed-forward
layer's of one unit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Integer

from efftx.memory import quantize
from efftx.memory.quantization import LARGEST
from efftx.models.layers import Attention, FeedForward, Parameter, Readout, Stream
from efftx.models.parameters import Tree
from efftx.models.sparse_layers import SparseFeedForward
from efftx.sparsity import strongest_units
from efftx.sparsity.feed_forward import chosen
from efftx.validation import require

# Dense ----------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class EightBitMatrix:
    """W (*in, *out) in the place of an array, see `efftx.models.layers.times`."""

    codes: Parameter  # (n_out, n_in) int8
    scale: Parameter  # (n_out,): what a code of 1 stands for
    out: tuple[int, ...] = field(metadata={"static": True})

    def of(self, x: Float[Array, "length *n_in"]) -> Float[Array, "length *n_out"]:
        """x W, one position after the other."""

        def of_one(x):  # one loop for all three: no code's float32 is stored
            # Behind the barrier codes belong to this x. Else a loop over tokens, as of `generate`,
            # would turn all of the model into float32 once, before it begins.
            codes, x = lax.optimization_barrier((self.codes, x))
            return (codes.astype(jnp.float32) * x).sum(-1) * self.scale

        y = lax.map(of_one, x.reshape(len(x), -1).astype(jnp.float32))
        return y.reshape(len(x), *self.out).astype(x.dtype)


def as_matrix(w: Array, n_in: int = 1) -> EightBitMatrix:
    """A stack of matrices (n_layers, *in, *out) with n_in axes of numbers that come in."""
    ins, out = w.shape[1 : 1 + n_in], w.shape[1 + n_in :]
    columns = quantize(jnp.swapaxes(w.reshape(len(w), math.prod(ins), -1), 1, 2))
    return EightBitMatrix(columns.values, columns.absmax[..., 0] / LARGEST, out)


# Sparse ---------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class EightBitRows:
    """(n_blocks, N, d_model) in the place of an array of which rows are gathered.

    Four codes stand in one number of 32 bits: rows are gathered number by number.
    """

    words: Parameter  # (n_blocks, N, d_model / 4) int32
    scale: Parameter  # (n_blocks, N)

    def chosen(self, units: Integer[Array, "n_blocks"]) -> tuple[Float[Array, "n d_model"], Array]:
        """The codes of one unit of each block, as float32, and their scales."""
        words = chosen(self.words, units)
        # Without a barrier each word would be gathered four times, once for each of its codes.
        codes = lax.bitcast_convert_type(lax.optimization_barrier(words), jnp.int8)
        return codes.reshape(len(units), -1).astype(jnp.float32), chosen(self.scale, units)


def as_rows(w: Array) -> EightBitRows:
    """Raises ValueError unless d_model is a multiple of 4."""
    require(w.shape[-1] % 4 == 0, f"d_model must be a multiple of 4; got {w.shape[-1]}.")
    units = quantize(w)
    words = lax.bitcast_convert_type(units.values.reshape(*w.shape[:-1], -1, 4), jnp.int32)
    return EightBitRows(words, units.absmax[..., 0] / LARGEST)


@register_dataclass
@dataclass(frozen=True)
class EightBitSparseFeedForward(SparseFeedForward):
    """A `SparseFeedForward` whose w1 and w2 are `EightBitRows`; it chooses by the highest score."""

    def with_replay(self, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        units = strongest_units(self.scores(x)) if replay is None else replay
        return lax.map(lambda position: self.of_one(*position), (x, units)), units

    def gathered(self, x: Stream) -> Stream:
        return self.with_replay(x)[0]

    def of_one(self, x: Float[Array, "d_model"], units: Integer[Array, "n_blocks"]):
        (w1, scale1), (w2, scale2) = self.w1.chosen(units), self.w2.chosen(units)
        hidden = jax.nn.relu(w1 @ x * scale1 + chosen(self.b1, units))
        return (hidden * scale2) @ w2 + self.b2


# Models ---------------------------------------------------------------------------------------


def in_eight_bits(model: Tree) -> Tree:
    """The same model, nearly, with the large matrices of these parts in eight bits:

    attention (not that to a source), feed-forward layers, dense or sparse, and dense readouts.
    Controllers, modules, convolutions and embeddings stay. It generates; it does not train.
    """

    def change(part):
        return CONVERSIONS[type(part)](part) if type(part) in CONVERSIONS else part

    return jax.tree.map(change, model, is_leaf=lambda part: type(part) in CONVERSIONS)


def _attention(part: Attention) -> Attention:
    return replace(part, w_in=as_matrix(part.w_in), w_out=as_matrix(part.w_out, n_in=2))


def _feed_forward(part: FeedForward) -> FeedForward:
    return replace(part, w1=as_matrix(part.w1), w2=as_matrix(part.w2))


def _sparse_feed_forward(part: SparseFeedForward) -> EightBitSparseFeedForward:
    rows = {"w1": as_rows(part.w1), "w2": as_rows(part.w2)}
    return EightBitSparseFeedForward(**(vars(part) | rows))


def _readout(part: Readout) -> Readout:
    return replace(part, w=jax.tree.map(lambda x: x[0], as_matrix(part.w[None])))


CONVERSIONS: dict[type, Callable] = {
    Attention: _attention,
    FeedForward: _feed_forward,
    SparseFeedForward: _sparse_feed_forward,
    Readout: _readout,
}
