"""The sparse parts of a decoder: the module of the sparsity hunt, as it should be.

Its text is what the hunt edits. Units stand in blocks of N; of each block one is on. In attention
every module is a head. What has no gradient is written in numpy: nothing is compiled, so that a
test may try it on as many texts as it likes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax


def mask(scores, noise):
    """For training, (n_blocks, N): zeros and ones, with the gradient of the softmax."""
    soft = jax.nn.softmax(scores, axis=-1)
    hard = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), scores.shape[-1])
    return hard + (soft - jax.lax.stop_gradient(soft))


def feed_forward(x, controller, w1, b1, w2, b2):
    """For decoding, from the chosen units alone: x (length, d_model) to (length, d_model)."""
    x, c1, c2, w1, b1, w2, b2 = arrays(x, *controller, w1, b1, w2, b2)
    scores = np.einsum("lr,rbn->lbn", x @ c1, c2)
    units, block = np.argmax(scores, axis=-1), np.arange(c2.shape[1])
    hidden = np.einsum("ld,lbd->lb", x, w1[block, units]) + b1[block, units]
    return np.einsum("lb,lbd->ld", np.maximum(hidden, 0), w2[block, units]) + b2


def project(x, d, e, kernels):
    """Queries, keys and values of a text: (3, length, S, M)."""
    x, d, e, kernels = arrays(x, d, e, kernels)
    y = np.einsum("li,is,im->lsm", x, d, e)
    return np.stack([convolved(y, kernel) for kernel in kernels])


def convolved(y, kernel):
    """Each module of each position, from its neighbours and the two positions before."""
    length, n_modules, _ = y.shape
    padded = np.pad(y, ((2, 0), (1, 1), (0, 0)))
    places = [(i, j) for i in range(3) for j in range(3)]
    return sum(padded[i : i + length, j : j + n_modules] @ kernel[i, j] for i, j in places)


def attention(x, d, e, kernels):
    """Causal attention over a whole text, (length, S·M)."""
    q, k, v = project(x, d, e, kernels)
    scores = np.einsum("qsm,ksm->sqk", q, k) / q.shape[-1] ** 0.5
    weights = softmax(np.where(np.tri(len(x), dtype=bool), scores, -np.inf), axis=-1)
    return np.einsum("sqk,ksm->qsm", weights, v).reshape(len(x), -1)


def decode(x, d, e, kernels, room):
    """The same, token by token: the keys and values of all are kept, there is room for so many."""
    x, d, e, kernels = arrays(x, d, e, kernels)
    nothing = np.zeros((room, d.shape[1], e.shape[1]))
    cache, outs = (np.zeros((2, *nothing.shape[1:])), nothing, nothing), []
    for n, token in enumerate(x):
        out, cache = step(n, token, cache, d, e, kernels)
        outs.append(out)
    return np.stack(outs)


def step(n, token, cache, d, e, kernels):
    """The output of token number n, and what is kept behind it."""
    history, keys, values = cache
    window = np.concatenate([history, np.einsum("i,is,im->sm", token, d, e)[None]])
    q, k, v = (convolved(window, kernel)[-1] for kernel in kernels)
    keys, values = put(keys, n, k), put(values, n, v)
    scores = np.einsum("sm,ksm->sk", q, keys) / q.shape[-1] ** 0.5
    scores = np.where(np.arange(len(keys)) <= n, scores, -np.inf)
    out = np.einsum("sk,ksm->sm", softmax(scores, axis=-1), values)
    return out.reshape(-1), (window[1:], keys, values)


def put(rows, n, row):
    """A copy, with another row number n."""
    return np.concatenate([rows[:n], row[None], rows[n + 1 :]])


def arrays(*of_jax):
    return [np.asarray(x) for x in of_jax]
