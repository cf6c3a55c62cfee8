"""Techniques that save memory: the module of the memory hunt, as it should be.

Its text is what the hunt edits. Written in plain loops, as it would be for a first version.
"""

import jax
import jax.numpy as jnp


def in_chunks(f, x, chunk_len):
    """f of all rows of x, so many at a time; the last chunk may be shorter."""
    starts = range(0, len(x), chunk_len)
    return jnp.concatenate([f(x[start : start + chunk_len]) for start in starts])


def quantize(x):
    """Each row in eight bits: codes (n, d) and scales (n, 1), with x ≈ codes · scales."""
    absmax = jnp.abs(x).max(axis=-1, keepdims=True)
    scales = jnp.where(absmax > 0, absmax, 1) / 127
    return jnp.round(x / scales).astype(jnp.int8), scales


def round_stochastically(x, key):
    """One of the two whole numbers beside x, so that the mean over many keys is x."""
    return jnp.floor(x + jax.random.uniform(key, x.shape))


def branch(w, x, extra, key):
    """What is added to a stream; one number in five is dropped."""
    on = jax.random.uniform(key, shape=x.shape) < 0.8
    return jnp.where(on, jnp.tanh(x @ w + extra) / 0.8, 0)


def stored(w_f, w_g, x1, x2, extra, key):
    """y1 = x1 + F(x2), y2 = x2 + G(y1), block after block; jax stores what its gradient needs."""
    keys = jax.random.split(key, (len(w_f), 2))
    for n in range(len(w_f)):
        x1 = x1 + branch(w_f[n], x2, extra, keys[n, 0])
        x2 = x2 + branch(w_g[n], x1, extra, keys[n, 1])
    return x1, x2


@jax.custom_vjp
def rebuilt(w_f, w_g, x1, x2, extra, key):
    """The same, and nothing is stored: on the way back the streams are rebuilt."""
    return stored(w_f, w_g, x1, x2, extra, key)


def keep(w_f, w_g, x1, x2, extra, key):
    results = stored(w_f, w_g, x1, x2, extra, key)
    return results, (w_f, w_g, *results, extra, key)


def way_back(kept, gradients):
    w_f, w_g, y1, y2, extra, key = kept
    g1, g2 = gradients
    g_w_f, g_w_g, g_extra = jnp.zeros_like(w_f), jnp.zeros_like(w_g), jnp.zeros_like(extra)
    keys = jax.random.split(key, (len(w_f), 2))
    for n in reversed(range(len(w_f))):
        y2, (to_w, to_y1, to_extra) = undone(y2, w_g[n], y1, extra, keys[n, 1], g2)
        g1, g_w_g, g_extra = g1 + to_y1, g_w_g.at[n].set(to_w), g_extra + to_extra
        y1, (to_w, to_y2, to_extra) = undone(y1, w_f[n], y2, extra, keys[n, 0], g1)
        g2, g_w_f, g_extra = g2 + to_y2, g_w_f.at[n].set(to_w), g_extra + to_extra
    return g_w_f, g_w_g, g1, g2, g_extra, None


def undone(y, *branch_of):
    """y without the branch, and the branch's gradients."""
    *inputs, key, g = branch_of
    added, pull_back = jax.vjp(lambda w, x, extra: branch(w, x, extra, key), *inputs)
    return y - added, pull_back(g)


rebuilt.defvjp(keep, way_back)
