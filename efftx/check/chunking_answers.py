"""Exercise 04's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.memory``.
"""

from functools import partial

import numpy as np

# Few sizes, since jax compiles every operation for each: length, chunk_len. Two leave a rest, and
# one chunk is longer than all.
SIZES = ((4, 2), (5, 2), (7, 3), (3, 8))
DRAWS = 3  # of each
D_MODEL, D_FF, VOCAB = 2, 3, 4

# Part 1


class Layer:
    """Some function of each position, of width 2 to width 3; it has room for a few positions only.

    It prints as what it is, since it is shown where an answer is wrong.
    """

    def __init__(self, rng, room: int):
        self.weights = rng.normal(size=(D_MODEL, D_FF))
        self.room = room

    def __call__(self, x):
        if len(x) > self.room:
            raise ValueError(
                f"out of memory: this layer has room for {self.room} positions at a time, and it "
                f"was given {len(x)}."
            )
        return abs(x @ self.weights) + 1

    def __repr__(self):
        return f"a layer with room for {self.room} positions"


def layer_cases(rng):
    for length, chunk_len in SIZES:
        for _ in range(DRAWS):
            x = rng.normal(size=(length, D_MODEL))
            yield {"layer": Layer(rng, chunk_len), "x": x, "chunk_len": chunk_len}


def starts(x, chunk_len):
    return range(0, len(x), chunk_len)


def chunked(layer, x, chunk_len):
    """The right output."""
    return np.concatenate([layer(x[i : i + chunk_len]) for i in starts(x, chunk_len)])


def with_rest(rest):
    """Another way to deal with the positions behind the last whole chunk: rest(layer, x, m, n)."""

    def mistake(layer, x, chunk_len):
        out = chunked(layer, x, chunk_len)
        if n_rest := len(x) % chunk_len:
            out[-n_rest:] = rest(layer, x, chunk_len, n_rest)
        return out

    return mistake


def last_chunk_from_the_end(layer, x, chunk_len, n_rest):
    """The chunk that ends where x ends, of which the first rows are taken instead of the last."""
    return layer(x[-chunk_len:])[:n_rest]


def rest_of_zeros(layer, x, chunk_len, n_rest):
    return layer(np.zeros_like(x[:n_rest]))


def backwards(layer, x, chunk_len):
    """The chunks joined from the last to the first."""
    chunks = [layer(x[i : i + chunk_len]) for i in starts(x, chunk_len)]
    return np.concatenate(chunks[::-1])


def always_the_first(layer, x, chunk_len):
    chunks = [layer(x[: len(x[i : i + chunk_len])]) for i in starts(x, chunk_len)]
    return np.concatenate(chunks)


def one_step_at_a_time(layer, x, chunk_len):
    """Chunk number n starts at position n."""
    lengths = [len(x[i : i + chunk_len]) for i in starts(x, chunk_len)]
    return np.concatenate([layer(x[n : n + m]) for n, m in enumerate(lengths)])


def dealt_out(layer, x, chunk_len):
    """Every n-th position to the same chunk, as cards are dealt."""
    n_chunks = len(starts(x, chunk_len))
    return np.concatenate([layer(x[i::n_chunks]) for i in range(n_chunks)])


# Part 2


def gradient_cases(rng):
    for length, chunk_len in SIZES:
        for _ in range(DRAWS):
            shapes = {
                "w1": (D_MODEL, D_FF),
                "b1": (D_FF,),
                "w2": (D_FF, D_MODEL),
                "x": (length, D_MODEL),
                "g": (length, D_MODEL),
            }
            arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
            yield {**arrays, "chunk_len": chunk_len}


def slope(inside, g):
    """ReLU's derivative where the inside is positive."""
    return inside > 0


def one_chunk(w1, b1, w2, x, g, *, mask=slope, relu=lambda inside: np.maximum(inside, 0)):
    """The gradients of one chunk: of w1, b1, w2 and x."""
    inside = x @ w1 + b1
    g_inside = (g @ w2.T) * mask(inside, g @ w2.T)
    return x.T @ g_inside, g_inside.sum(0), relu(inside).T @ g, g_inside @ w1.T


def gradients(w1, b1, w2, x, g, chunk_len, *, join=sum, one=one_chunk):
    """The right gradients; or with other ones of a chunk, or with something else than their sum."""
    chunks = [
        one(w1, b1, w2, x[i : i + chunk_len], g[i : i + chunk_len]) for i in starts(x, chunk_len)
    ]
    *of_weights, of_x = zip(*chunks, strict=True)
    return *(join(parts) for parts in of_weights), np.concatenate(of_x)


def mean(parts):
    return sum(parts) / len(parts)


def last(parts):
    return parts[-1]


def without_rest(w1, b1, w2, x, g, chunk_len):
    """The sums over whole chunks only; the rest's gradient of x is there."""
    n_whole = len(x) // chunk_len * chunk_len
    *_, of_x = gradients(w1, b1, w2, x, g, chunk_len)
    *of_weights, _ = one_chunk(w1, b1, w2, x[:n_whole], g[:n_whole])
    return *of_weights, of_x


def without_bias(w1, b1, w2, x, g):
    return one_chunk(w1, 0 * b1, w2, x, g)


def with_first_x(w1, b1, w2, x, g, chunk_len):
    """The inside is computed from the right x, but multiplied with the first chunk's."""
    *_, of_x = gradients(w1, b1, w2, x, g, chunk_len)
    of_w1 = 0
    for i in starts(x, chunk_len):
        x_i, g_i = x[i : i + chunk_len], g[i : i + chunk_len]
        g_inside = (g_i @ w2.T) * (x_i @ w1 + b1 > 0)
        of_w1 = of_w1 + x[: len(x_i)].T @ g_inside
    return of_w1, None, None, of_x


no_slope = partial(one_chunk, mask=lambda inside, g: np.ones_like(inside))
slope_of_g = partial(one_chunk, mask=lambda inside, g: g > 0)
no_relu = partial(one_chunk, relu=lambda inside: inside)


# Part 3


def loss_cases(rng):
    """The last of each size has scores in the thousands, of which no exponential is finite."""
    for length, chunk_len in SIZES:
        for draw in range(DRAWS):
            size = 1000 if draw == DRAWS - 1 else 1
            yield {
                "w": size * rng.normal(size=(D_MODEL, VOCAB)),
                "x": rng.normal(size=(length, D_MODEL)),
                "targets": rng.integers(VOCAB, size=length),
                "chunk_len": chunk_len,
            }


def log_sum_exp(scores, axis=1):
    largest = scores.max(axis, keepdims=True)
    return (largest + np.log(np.exp(scores - largest).sum(axis, keepdims=True))).squeeze(axis)


def naive_log_sum_exp(scores):
    return np.log(np.exp(scores).sum(1))


def surprises(w, x, targets, *, normalise=log_sum_exp):
    """−log p of each target."""
    scores = x @ w
    return normalise(scores) - scores[np.arange(len(x)), targets]


def mean_loss(w, x, targets, chunk_len, *, normalise=log_sum_exp):
    """The right loss; chunks do not matter to it."""
    return surprises(w, x, targets, normalise=normalise).mean()


def of_chunks(combine, targets_of=lambda targets, i, m: targets[i : i + m]):
    """A loss put together from the surprises of each chunk: combine(list of arrays, length)."""

    def mistake(w, x, targets, chunk_len):
        parts = []
        for i in starts(x, chunk_len):
            rows = x[i : i + chunk_len]
            parts.append(surprises(w, rows, targets_of(targets, i, chunk_len)[: len(rows)]))
        return combine(parts, len(x))

    return mistake


def mean_of_means(parts, length):
    return np.mean([part.mean() for part in parts])


def sum_of_means(parts, length):
    return np.sum([part.mean() for part in parts])


def mean_of_sums(parts, length):
    return np.mean([part.sum() for part in parts])


def whole_chunks_only(w, x, targets, chunk_len):
    """The rest is left out of the sum, but not out of the number of positions."""
    n_whole = len(x) // chunk_len * chunk_len
    return surprises(w, x, targets)[:n_whole].sum() / len(x)
