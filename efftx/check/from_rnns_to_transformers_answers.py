"""Exercise 01's inputs, right answers, and the functions that make its mistakes.

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


def gated(f, i, g, o, cell):
    """The right next cell and output."""
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return cell, sigmoid(o) * np.tanh(cell)


def gated_without_forgetting(f, i, g, o, cell):
    cell = cell + sigmoid(i) * np.tanh(g)
    return cell, sigmoid(o) * np.tanh(cell)


def gated_without_tanh_of_new(f, i, g, o, cell):
    cell = sigmoid(f) * cell + sigmoid(i) * g
    return cell, sigmoid(o) * np.tanh(cell)


def gated_without_tanh_of_cell(f, i, g, o, cell):
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return cell, sigmoid(o) * cell


def gated_without_sigmoids(f, i, g, o, cell):
    cell = f * cell + i * np.tanh(g)
    return cell, o * np.tanh(cell)


def stepped(x, w, u, b, *, gates=gated, order=(0, 1, 2, 3), carried=(1, 1), fed_back=1, shown=1):
    """The right outputs; or with other gates, or with cell and output exchanged or forgotten.

    ``carried`` are factors of the cell and the output that the next step gets.
    """
    state = np.zeros((2, x.shape[1]))  # cell, output
    shown_at = []
    for x_t in x:
        before = state * np.array(carried)[:, None]
        parts = x_t @ w + before[fed_back] @ u + b
        state = np.stack(gates(*parts[list(order)], before[0]))
        shown_at.append(state[shown])
    return np.stack(shown_at)


# Part 2


def attention_cases(rng):
    """As many values as features of the keys, so that mistakes keep the shape."""
    for length in LENGTHS:
        for _ in range(DRAWS):
            yield {name: 2 * rng.normal(size=(length, 3)) for name in "qkv"}


def softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def not_later(scores):
    """The right mask."""
    return np.tri(*scores.shape, dtype=bool)


def attended(q, k, v, *, mask=not_later, filler=-np.inf, scale=None, normalise=softmax):
    """The right outputs; or with another mask, filler, scale or way from scores to weights."""
    scores = q @ k.T * (q.shape[1] ** -0.5 if scale is None else scale)
    return normalise(np.where(mask(scores), scores, filler)) @ v


def masked_after_softmax(q, k, v):
    weights = softmax(q @ k.T / q.shape[1] ** 0.5)
    return np.where(not_later(weights), weights, 0) @ v


# Part 3


def cross_cases(rng):
    """Other lengths, and one position at least is no padding; padding stands anywhere."""
    for length in LENGTHS:
        for draw in range(DRAWS):
            n = 2 + draw
            key_mask = rng.random(n) < 0.6
            key_mask[rng.integers(n)] = True
            yield {
                "x": rng.normal(size=(length, 3)),
                "source": rng.normal(size=(n, 3)),
                "key_mask": key_mask,
                **{name: 1.5 * rng.normal(size=(3, 3)) for name in ("w_q", "w_k", "w_v")},
            }


def crossed(x, source, key_mask, w_q, w_k, w_v, **changes):
    """The right outputs; or with the changes that `attended` knows."""
    changes = {"mask": lambda scores: key_mask, **changes}
    return attended(x @ w_q, source @ w_k, source @ w_v, **changes)


def crossed_with_zeroed_padding(x, source, key_mask, *projections):
    source = np.where(key_mask[:, None], source, 0)
    return crossed(x, source, np.ones_like(key_mask), *projections)


def crossed_and_masked_after_softmax(x, source, key_mask, w_q, w_k, w_v):
    weights = softmax((x @ w_q) @ (source @ w_k).T / w_q.shape[1] ** 0.5)
    return np.where(key_mask, weights, 0) @ (source @ w_v)


def crossed_causally(x, source, key_mask, *projections):
    return crossed(
        x, source, key_mask, *projections, mask=lambda scores: key_mask & not_later(scores)
    )
