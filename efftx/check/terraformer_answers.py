"""Exercise 12's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.models``.
"""

from functools import partial

import numpy as np

DRAWS = 3  # of each size

# Part 1


def size_cases(rng):
    """Sizes that are all different, or a product could hide which factor is wrong."""
    for _ in range(2 * DRAWS):
        n_units, n_modules, readout_modules = (int(n) for n in rng.permutation([3, 4, 5]))
        d_module, n_blocks, d_lowrank, per_module = rng.choice(np.arange(6, 30), 4, replace=False)
        yield {
            "d_model": n_modules * int(d_module),
            "d_ff": n_units * int(n_blocks),
            "n_units": n_units,
            "d_lowrank": int(d_lowrank),
            "n_modules": n_modules,
            "vocab": readout_modules * int(per_module),
            "readout_modules": readout_modules,
        }


def counts(*sizes, **others):
    """The right counts: controller, chosen units, QKV, readout; ``others`` take their places."""
    d_model, d_ff, n_units, d_lowrank, n_modules, vocab, readout_modules = sizes
    d_module = d_model // n_modules
    right = {
        "controller": d_lowrank * (d_model + d_ff),
        "chosen_units": 2 * d_model * d_ff // n_units,
        "qkv": d_model * (n_modules + d_module) + 27 * d_module**2,
        "readout": d_model * (readout_modules + vocab // readout_modules),
    }
    for part, other in others.items():
        right[part] = other(*sizes)
    return np.array(list(right.values()))


def counts_with(**others):
    """A mistake: some of the counts by other formulas of (d_model, d_ff, N, r, S, vocab, R)."""
    return partial(counts, **others)


# Part 2

SIZES = ((1, 1), (2, 2), (4, 3), (5, 2))  # rows of the source, of the target
D_MODEL = 2


class Decoder:
    """Some causal function of vectors: each row is a fading sum of those up to it.

    It prints as what it is, since it is shown where an answer is wrong.
    """

    def __init__(self, rng):
        self.weights = rng.normal(size=(D_MODEL, D_MODEL))

    def __call__(self, x):
        x = np.asarray(x, np.float64) @ self.weights
        t = np.arange(len(x))
        fading = np.where(t[:, None] >= t, 0.7 ** (t[:, None] - t), 0)
        return np.tanh(fading @ x)

    def __repr__(self):
        return "a causal decoder"


def source_cases(rng):
    """Without padding first, then with some at the end, then anywhere."""
    for kind in ("none", "end", "anywhere"):
        for n_source, n_target in SIZES:
            mask = np.ones(n_source, bool)
            if kind != "none":
                mask[-(n_source // 2) or None :] = n_source == 1
            yield {
                "decoder": Decoder(rng),
                "source": rng.normal(size=(n_source, D_MODEL)),
                "mask": rng.permutation(mask) if kind == "anywhere" else mask,
                "target": rng.normal(size=(n_target, D_MODEL)),
            }


def kept_rows(source, mask):
    return source[mask]


def decoded(decoder, source, mask, target, *, first=kept_rows):
    """The right rows; or with something else read first."""
    return decoder(np.concatenate([first(source, mask), target]))[-len(target) :]


# Part 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_cases(rng, d=3):
    for _ in range(2 * DRAWS):
        vectors = {name: rng.normal(size=d) for name in ("x", "c")}
        matrices = {name: rng.normal(size=(d, d)) for name in ("w", "w_f", "w_r")}
        yield {**vectors, **matrices, **{name: rng.normal(size=d) for name in ("b_f", "b_r")}}


def sru(
    x,
    c,
    w,
    *gates,
    gate=sigmoid,
    carried=lambda f, c, new: f * c + (1 - f) * new,
    shown=lambda r, x, xw, c, c_next: r * np.tanh(c_next) + (1 - r) * x,
):
    """The right h and c′; or with another formula in the place of one of the four."""
    w_f, w_r, b_f, b_r = gates
    f, r = gate(x @ w_f + b_f), gate(x @ w_r + b_r)
    c_next = carried(f, c, x @ w)
    return shown(r, x, x @ w, c, c_next), c_next


def transposed(x, c, w, w_f, w_r, *biases):
    return sru(x, c, w.T, w_f.T, w_r.T, *biases)


def without_biases(x, c, w, *gates):
    w_f, w_r, b_f, b_r = gates
    return sru(x, c, w, w_f, w_r, 0 * b_f, 0 * b_r)


def text_cases(rng):
    for length, d in ((1, 2), (2, 2), (7, 3)):
        x = rng.normal(size=(length, d))
        matrices = {name: rng.normal(size=(d, d)) for name in ("w", "w_f", "w_r")}
        yield {"x": x, **matrices, **{name: rng.normal(size=d) for name in ("b_f", "b_r")}}


# Part 4


def time_cases(rng):
    for n_parts in (2, 2, 3, 4):
        for _ in range(DRAWS - 1):
            seconds, factors = rng.uniform(1, 9, (2, n_parts)).round(1)
            factors[2:3] = 1  # of three parts and more, one stays as it is
            yield {"seconds": seconds, "factors": factors}


def speeds(seconds, factors, *, together=None):
    """The right speedups; or the last by another formula, of (seconds, factors, alone)."""
    faster, whole = seconds / factors, seconds.sum()
    alone = whole / (whole - seconds + faster)
    of_all = whole / faster.sum() if together is None else together(seconds, factors, alone)
    return alone, np.asarray(of_all)


def seconds_left(seconds, factors):
    """Not divided at all."""
    return tuple(seconds.sum() / speed for speed in speeds(seconds, factors))
