"""Exercise 01's experiment: how much the last output still depends on what was read long ago."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from efftx.attention import full_attention
from efftx.models.recurrent import LSTM

N_TEXTS, LENGTH, D_MODEL = 32, 65, 64
FADED = 1e-3


def lstm():
    """An untrained LSTM without biases, so that the forget gates are open by a half on average."""
    keys = jax.random.split(jax.random.key(0))
    w_in, w_state = (jax.random.normal(k, (D_MODEL, 4, D_MODEL)) / D_MODEL**0.5 for k in keys)
    layer = LSTM(w_in, w_state, jnp.zeros((4, D_MODEL)))
    return lambda x: layer(x)[0]


def attention():
    """Untrained causal attention of one head."""
    w = jax.random.normal(jax.random.key(1), (3, D_MODEL, D_MODEL)) / D_MODEL**0.5
    return lambda x: full_attention(*(x @ one for one in w), causal=True)


@cache
def slopes(name: str) -> dict[int, float]:
    """The size of the last output's derivatives by distance, compared with those at distance 1."""
    read = {"LSTM": lstm, "attention": attention}[name]()
    x, g = (jax.random.normal(jax.random.key(n), (N_TEXTS, LENGTH, D_MODEL)) for n in (2, 3))
    last = jax.vmap(jax.grad(lambda x, g: jnp.vdot(g[-1], read(x)[-1])))
    sizes = np.sqrt(np.mean(np.asarray(last(x, g)) ** 2, axis=(0, 2)))[::-1]
    return {n: float(sizes[n] / sizes[1]) for n in range(1, LENGTH)}


def faded_after() -> int:
    """The first distance at which an LSTM's derivatives are a thousandth."""
    return next(n for n, size in slopes("LSTM").items() if size < FADED)
