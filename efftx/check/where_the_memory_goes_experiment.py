"""Exercise 02's experiment: the same number of tokens, cut into ever longer texts."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from efftx.models import Sizes, transformer
from efftx.training import bits_per_byte

N_TOKENS = 4096
LENGTHS = (128, 256, 512, 1024, 2048)
SIZES = {"d_model": 64, "d_ff": 256, "n_heads": 2, "d_head": 32}


@cache
def kept_bytes(length: int) -> int:
    """What one block keeps of N_TOKENS tokens in texts of this length: the second of two."""
    one, two = (_of_model(n_layers, length) for n_layers in (1, 2))
    return (two - one) * N_TOKENS // length


def _of_model(n_layers: int, length: int) -> int:
    sizes = Sizes(n_layers=n_layers, max_len=length, vocab=8, **SIZES)
    model = jax.eval_shape(lambda: transformer(jax.random.key(0), sizes))
    return kept_by(bits_per_byte, model, jax.ShapeDtypeStruct((length + 1,), jnp.int32))


def kept_by(f, *arguments) -> int:
    """What f's forward pass hands to its backward pass, beyond the arguments; nothing is run."""
    forward = lambda *arguments: jax.tree.leaves(jax.vjp(f, *arguments)[1])  # noqa: E731
    program = jax.make_jaxpr(forward)(*arguments).jaxpr
    given = set(map(id, program.invars))
    new = {id(v): v.aval for v in program.outvars if id(v) not in given}
    return sum(array.size * array.dtype.itemsize for array in new.values())


def twice_as_much() -> float:
    """The length at which the block keeps twice as much as at 256."""
    times = [kept_bytes(length) / kept_bytes(256) for length in LENGTHS]
    return float(np.interp(2, times, LENGTHS))  # bytes per token are a straight line in the length
