"""Products with weights, which are arrays or stored in eight bits a number."""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import register_dataclass
from jaxtyping import Float

from efftx.memory import dequantize, quantize
from efftx.memory.low_rank import dense
from efftx.memory.quantization import LARGEST, Quantized
from efftx.models.layer import Parameter
from efftx.validation import require


@register_dataclass
@dataclass(frozen=True)
class EightBitMatrix:
    """W (*in, *out) in the place of an array; numbers of one column share a scale.

    Codes become float32 as they are multiplied, never a whole matrix at once.
    """

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


Matrix = Array | EightBitMatrix


def eight_bit_stack(w: Matrix, n_in: int = 1) -> EightBitMatrix:
    """A stack of matrices (n_layers, *in, *out) with n_in axes of numbers that come in.

    Raises ValueError for what is in eight bits already.
    """
    require(not isinstance(w, EightBitMatrix), "the model's matrices are in eight bits already.")
    ins, out = w.shape[1 : 1 + n_in], w.shape[1 + n_in :]
    columns = quantize(jnp.swapaxes(w.reshape(len(w), math.prod(ins), -1), 1, 2))
    return EightBitMatrix(columns.values, columns.absmax[..., 0] / LARGEST, out)


def eight_bit_matrix(w: Matrix) -> EightBitMatrix:
    """A single matrix (in, *out)."""
    stack = eight_bit_stack(w if isinstance(w, EightBitMatrix) else w[None])
    return jax.tree.map(lambda x: x[0], stack)


def times(x, w: Matrix | Quantized):
    """x (length, *in) with w (*in, *out)."""
    if isinstance(w, EightBitMatrix):
        return w.of(x)
    return jnp.tensordot(x, dense(w).astype(x.dtype) if isinstance(w, Quantized) else w, x.ndim - 1)


def rows_of(table: Array | Quantized, rows):
    """Some rows of a table, which may be in eight bits with a scale for each row."""
    if not isinstance(table, Quantized):
        return table[rows]
    return dequantize(Quantized(table.values[rows], table.absmax[rows], None))
