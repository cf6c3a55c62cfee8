"""How accelerators multiply float32 by default, simulated on a CPU.

A TPU rounds the factors of a float32 product to bfloat16, an NVIDIA GPU since Ampere to TF32, and
both add up in float32. They do so where nobody asks for more: a product whose precision is "high"
or "highest", its own or that of ``jax_default_matmul_precision``, is left alone, and so is one of
other dtypes. What jax makes of ``dot_general`` and ``conv_general_dilated`` for the CPU is wrapped:
einsums, ragged products and gradients come down to these.

The factors of a product that XLA makes itself, within a decomposition of a matrix say, stay whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax import lax

# Nothing stable tells what a primitive becomes; jax 0.10 to 0.12 have it here.
from jax._src.interpreters import mlir
from jax._src.lib.mlir.dialects import hlo
from jax.extend.core import primitives

EXPONENT_BITS = 8
MANTISSA_BITS = {"bf16": 7, "tf32": 10}  # of a TPU's factors, of an Ampere GPU's
DEVICES = {"bf16": "a TPU's default", "tf32": "an Ampere GPU's default"}
PRODUCTS = primitives.dot_general_p, primitives.conv_general_dilated_p


def use(arithmetic: str) -> None:
    """From now on, in this process, all products whose precision is the default one are rounded."""
    for product in PRODUCTS:
        rule = mlir._platform_specific_lowerings["cpu"][product].rule
        mlir.register_lowering(product, rounding(rule, MANTISSA_BITS[arithmetic]), platform="cpu")
    jax.clear_caches()  # what was compiled before is not rounded


@contextmanager
def simulated(arithmetic: str) -> Iterator[None]:
    """The same for the body of a ``with`` alone."""
    of_cpu = mlir._platform_specific_lowerings["cpu"]
    before = {product: of_cpu[product] for product in PRODUCTS}
    use(arithmetic)
    try:
        yield
    finally:
        of_cpu.update(before)
        jax.clear_caches()


def rounding(rule: Callable, mantissa_bits: int) -> Callable:
    """A rule that does as this one, with the factors of float32 products rounded."""

    def lower(ctx, *factors, precision, **how):
        if is_default(precision) and all(x.dtype == np.float32 for x in ctx.avals_in[:2]):
            factors = [*(rounded(x, mantissa_bits) for x in factors[:2]), *factors[2:]]
        return rule(ctx, *factors, precision=precision, **how)

    return lower


def is_default(precision) -> bool:
    """Whether nobody has asked for more than the device's own, for either factor."""
    asked = precision if isinstance(precision, tuple) else (precision,)
    return all(one is None or one == lax.Precision.DEFAULT for one in asked)


def rounded(x, mantissa_bits: int):
    bits = (EXPONENT_BITS, mantissa_bits)
    whole_number = mlir.ir.IntegerType.get_signless(32)
    exponent, mantissa = (mlir.ir.IntegerAttr.get(whole_number, n) for n in bits)
    return hlo.reduce_precision(x, exponent_bits=exponent, mantissa_bits=mantissa)
