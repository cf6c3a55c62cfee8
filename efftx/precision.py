"""Where it matters how many digits the factors of a product have.

A TPU rounds the factors of a float32 product to bfloat16, a newer GPU to TF32, unless the product
or ``jax_default_matmul_precision`` asks for more. For most products that is the caller's to say.
Three kinds say it themselves: those that a choice is made by (a bucket, a unit), since the same
choice must come out wherever it is made; those of references, which are to be right; and those of a
backward pass that rebuilds what the forward pass had, since it must rebuild that and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import jax
from jax.tree_util import register_static

# Of a product that a choice is made by: rounded to three digits, a vector and the same vector of
# another length would fall into different buckets.
OF_CHOICES = jax.lax.Precision.HIGHEST


def exactly(function: Callable) -> Callable:
    """The same function, with all digits of float32 in its products."""

    @wraps(function)
    def precise(*arrays, **how):
        with jax.default_matmul_precision("highest"):
            return function(*arrays, **how)

    return precise


@register_static
@dataclass(frozen=True)
class _Setting:
    """``jax_default_matmul_precision``, kept beside what a forward pass keeps."""

    precision: str | None


def as_forward(forward: Callable, backward: Callable) -> tuple[Callable, Callable]:
    """The two halves of a ``jax.custom_vjp``, the second with products as precise as the first's.

    Autodiff sees to it by itself. A backward pass that one writes is traced when it is called,
    which may be after the ``with jax.default_matmul_precision(…)`` around the forward pass is over.
    """

    @wraps(forward)
    def keeping(*arrays):
        results, kept = forward(*arrays)
        return results, (_Setting(jax.config.jax_default_matmul_precision), kept)

    @wraps(backward)
    def going_back(*given):
        *how, (setting, kept), cotangents = given
        with jax.default_matmul_precision(setting.precision):
            return backward(*how, kept, cotangents)

    return keeping, going_back
