"""Exercise 01's inputs and right answers.

Written in numpy from the definitions, so that they share nothing with ``efftx.models``.
"""

import numpy as np

LENGTHS = (1, 2, 3, 5)
DRAWS = 4  # of each

# Part 1


def lstm_cases(rng):
    """Few features, and weights that are large enough for every gate to matter."""
    for length in LENGTHS:
        for _ in range(DRAWS):
            x, b = rng.normal(size=(length, 2)), rng.normal(size=(4, 2))
            yield {"x": x, "w": rng.normal(size=(4, 2, 2)), "u": rng.normal(size=(4, 2, 2)), "b": b}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def stepped(x, w, u, b):
    """The right outputs."""
    cell = output = np.zeros(x.shape[1])
    outputs = []
    for x_t in x:
        f, i, g, o = x_t @ w + output @ u + b
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        output = sigmoid(o) * np.tanh(cell)
        outputs.append(output)
    return np.stack(outputs)


# Part 2


def attention_cases(rng):
    """Values are narrower than keys, so that a scale by the wrong width shows."""
    for length in LENGTHS:
        for _ in range(DRAWS):
            yield {name: 2 * rng.normal(size=(length, 2 + (name != "v"))) for name in "qkv"}


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def attended(q, k, v, allowed=None):
    """The right outputs, of causal attention where nothing else is allowed."""
    scores = q @ k.T / q.shape[1] ** 0.5
    allowed = np.tri(len(q), dtype=bool) if allowed is None else allowed
    return softmax(np.where(allowed, scores, -np.inf)) @ v


# Part 3


def cross_cases(rng):
    """Other lengths, and one position at least is no padding; padding stands anywhere.

    Heads are narrower than the model, so that a scale by the wrong width shows.
    """
    for length, n in zip(LENGTHS, (4, 2, 5, 3), strict=True):
        for _ in range(DRAWS):
            key_mask = rng.random(n) < 0.6
            key_mask[rng.integers(n)] = True
            yield {
                "x": rng.normal(size=(length, 3)),
                "source": rng.normal(size=(n, 3)),
                "key_mask": key_mask,
                **{name: 1.5 * rng.normal(size=(3, 2)) for name in ("w_q", "w_k", "w_v")},
            }


def crossed(x, source, key_mask, w_q, w_k, w_v):
    """The right outputs."""
    return attended(x @ w_q, source @ w_k, source @ w_v, key_mask)


# Part 4


def head_cases(rng):
    """Several heads, narrower than the model."""
    for length, n_heads in ((1, 2), (3, 1), (4, 3)):
        for _ in range(DRAWS):
            yield {"x": rng.normal(size=(length, 3)), **heads(rng, n_heads)}


def heads(rng, n_heads):
    w_in = {name: 1.5 * rng.normal(size=(n_heads, 3, 2)) for name in ("w_q", "w_k", "w_v")}
    return {**w_in, "w_o": rng.normal(size=(n_heads, 2, 3))}


def with_heads(x, *projections):
    """The right sum over the heads."""
    return sum(attended(x @ q, x @ k, x @ v) @ o for q, k, v, o in zip(*projections, strict=True))


# Part 5


def block_cases(rng):
    for length, n_heads in ((1, 1), (3, 2)):
        for _ in range(DRAWS):
            inside = {"w_1": rng.normal(size=(3, 5)), "w_2": rng.normal(size=(5, 3))}
            yield {"x": rng.normal(size=(length, 3)), **heads(rng, n_heads), **inside}


def normed(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def two_branches(x, *weights):
    """The right block."""
    *projections, w_1, w_2 = weights
    x = x + with_heads(normed(x), *projections)
    return x + np.maximum(normed(x) @ w_1, 0) @ w_2
