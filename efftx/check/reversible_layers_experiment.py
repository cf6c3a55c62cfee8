"""Exercise 03's experiment: shallow networks, for which a reversible stack is no gain."""

from functools import cache

import jax
import jax.numpy as jnp

from efftx.compiling import temporary_bytes
from efftx.memory import reversible_stack

DEPTHS = (2, 3, 4, 5, 6, 8, 12, 16)
LENGTH, D_MODEL = 4096, 16
STREAM = 4 * LENGTH * D_MODEL  # bytes


def branch(w, x, key=None, extra=None, replay=None):
    return jnp.tanh(x @ w), None


def reversible(w, x):
    return reversible_stack((branch,), (w,), x, x)


def checkpointed(w, x):
    """A plain residual stack; of each layer its input is kept, and all else computed anew."""

    @jax.checkpoint
    def layer(x, one):
        return x + branch(one, x)[0], None

    return jax.lax.scan(layer, x, w)[0]


RUNS = {"reversible": reversible, "checkpointed": checkpointed}


@cache
def streams(name: str, n_layers: int) -> float:
    """What a gradient takes beyond its inputs and results, as the compiler plans it, in streams."""

    def loss(w, x):
        return sum(jnp.sum(y**2) for y in jax.tree.leaves(RUNS[name](w, x)))

    shapes = (n_layers, D_MODEL, D_MODEL), (LENGTH, D_MODEL)
    inputs = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    return temporary_bytes(jax.grad(loss, argnums=(0, 1)), *inputs) / STREAM


def first_gain() -> int:
    """The smallest depth at which the reversible stack takes less."""
    return next(n for n in DEPTHS if streams("reversible", n) < streams("checkpointed", n) - 0.1)
