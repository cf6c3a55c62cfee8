"""Exercise 10's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.sparsity``.
"""

import numpy as np

DRAWS = 3  # of each size; few sizes, since jax compiles every operation for each


def first(answer):
    """Of two results only the first is another; nothing is said about the second."""
    return lambda *case: (answer(*case), None)


def second(answer):
    """Of two results only the second is another."""
    return lambda *case: (None, answer(*case))


# Part 1: which units are on

# length, n_blocks, N. There are never as many blocks as a block has units: then it would go
# unnoticed if the units were cut the wrong way.
CHOICES = ((1, 2, 3), (2, 3, 2), (3, 2, 4))
D_MODEL, D_LOWRANK = 3, 2


def choice_cases(rng):
    for length, n_blocks, n_units in CHOICES:
        for _ in range(DRAWS):
            yield {
                "x": rng.normal(size=(length, D_MODEL)),
                "c1": rng.normal(size=(D_MODEL, D_LOWRANK)),
                "c2": rng.normal(size=(D_LOWRANK, n_blocks * n_units)),
                "n_units": n_units,
            }


def highest(scores, axis=-1):
    """True at the highest score along an axis."""
    last = np.moveaxis(scores, axis, -1)
    return np.moveaxis(np.eye(last.shape[-1], dtype=bool)[last.argmax(-1)], -1, axis)


def chosen(x, c1, c2, n_units, *, rate=lambda scores: scores, among=highest):
    """The right mask; or from other scores, or with others than the highest of a block on."""
    scores = rate(x @ c1 @ c2)
    return among(scores.reshape(len(x), -1, n_units)).reshape(scores.shape)


def of_all_units(scores):
    """A single unit for each position."""
    return highest(scores.reshape(len(scores), -1)).reshape(scores.shape)


def strongest_anywhere(scores):
    """As many units as there are blocks, wherever they stand."""
    length, n_blocks, _ = scores.shape
    flat = scores.reshape(length, -1)
    least = np.sort(flat, axis=1)[:, -n_blocks, None]
    return (flat >= least).reshape(scores.shape)


def dealt_out(x, c1, c2, n_units):
    """Blocks made of every n_blocks-th unit instead of N neighbours."""
    scores = x @ c1 @ c2
    return highest(scores.reshape(len(x), n_units, -1), axis=1).reshape(scores.shape)


# Part 2: straight through

PAIRS = ((1, 2), (2, 3), (3, 2))  # n_blocks, N


def gradient_cases(rng):
    for n_blocks, n_units in PAIRS:
        for _ in range(DRAWS):
            shape = (n_blocks, n_units)
            yield {
                "scores": 2 * rng.normal(size=shape),
                "noise": 2 * rng.gumbel(size=shape),
                "g": rng.normal(size=shape),
            }


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def noisy_choice(scores, noise):
    """1 where score + noise is highest in the block."""
    return highest(scores + noise).astype(float)


def through(soft, g):
    """The gradient for the scores, where g is that for the soft mask."""
    return soft * (g - (soft * g).sum(-1, keepdims=True))


def straight_through(scores, noise, g):
    """The right mask and gradient."""
    return noisy_choice(scores, noise), through(softmax(scores), g)


def beside_probabilities(scores, noise, g):
    """The noise added to soft probabilities instead of to their logarithms."""
    return highest(softmax(scores) + noise).astype(float)


def over_all_units(scores, noise, g):
    """The softmax taken over the units of all blocks."""
    return through(softmax(scores.reshape(1, -1)), g.reshape(1, -1)).reshape(scores.shape)


def only_itself(scores, noise, g):
    """A unit's probability as if it depended on its own score alone."""
    soft = softmax(scores)
    return soft * (1 - soft) * g


# Part 3: gathering

# n_blocks, N. Here d_model is d_ff = n_blocks · N, so that rows and columns can be taken for each
# other. There are never as many blocks as a block has units, see above.
GATHERED = ((1, 3), (3, 1), (3, 2), (2, 4))


def gathering_cases(rng):
    """The last of each size has nan at units that are off: who computes with them will see it."""
    for n_blocks, n_units in GATHERED:
        d = n_blocks * n_units
        for draw in range(DRAWS):
            units = rng.integers(n_units, size=n_blocks)
            w1, w2 = rng.normal(size=(2, d, d))
            x, b1, b2 = rng.normal(size=(3, d))
            if draw == DRAWS - 1:
                off = np.setdiff1d(np.arange(d), places(units, d))
                w1[:, off] = b1[off] = w2[off] = np.nan
            yield {"x": x, "units": units, "w1": w1, "b1": b1, "w2": w2, "b2": b2}


def places(units, d_ff):
    """The chosen units' numbers, counted through all blocks."""
    n_blocks = len(units)
    return d_ff // n_blocks * np.arange(n_blocks) + units


def in_the_wrong_order(units, d_ff):
    """Counted as if the first units of all blocks came first."""
    return np.arange(len(units)) + len(units) * units


def relu(inside):
    return np.maximum(inside, 0)


def gathered(x, units, w1, b1, w2, b2, *, where=places, act=relu):
    """The right output; or from units at other places, or with another activation."""
    at = where(units, len(b1))
    return act(x @ w1[:, at] + b1[at]) @ w2[at] + b2


def rows_of_w1(x, units, w1, b1, w2, b2):
    return gathered(x, units, w1.T, b1, w2, b2)


def columns_of_w2(x, units, w1, b1, w2, b2):
    return gathered(x, units, w1, b1, w2.T, b2)


def without_b1(x, units, w1, b1, w2, b2):
    return gathered(x, units, w1, np.zeros_like(b1), w2, b2)


def without_b2(x, units, w1, b1, w2, b2):
    return gathered(x, units, w1, b1, w2, np.zeros_like(b2))


def first_biases(x, units, w1, b1, w2, b2):
    """b1 taken at the number within the block."""
    at = places(units, len(b1))
    return relu(x @ w1[:, at] + b1[units]) @ w2[at] + b2


def everything_masked(x, units, w1, b1, w2, b2):
    """All units computed, and those that are off multiplied by 0."""
    on = np.isin(np.arange(len(b1)), places(units, len(b1)))
    return (relu(x @ w1 + b1) * on) @ w2 + b2


def layer_cases(rng):
    """For the whole layer: d_model is not d_ff here."""
    for case in choice_cases(rng):
        d_ff = case["c2"].shape[1]
        n_units = case.pop("n_units")
        shapes = {"w1": (D_MODEL, d_ff), "b1": d_ff, "w2": (d_ff, D_MODEL), "b2": D_MODEL}
        weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        yield {**case, **weights, "n_units": n_units}


# Part 4: the load

COUNTED = ((4, 2, 3), (6, 3, 2), (8, 2, 4))  # length, n_blocks, N


def load_cases(rng):
    """In the last of each size one unit does all of its block's work."""
    for length, n_blocks, n_units in COUNTED:
        for draw in range(DRAWS):
            units = rng.integers(n_units, size=(length, n_blocks))
            if draw == DRAWS - 1:
                units[:, 0] = n_units - 1
            yield {"units": units, "n_units": n_units}


def shares_of(units, n_units):
    """(n_blocks, N): the share of the positions at which each unit is on."""
    return np.stack([np.bincount(block, minlength=n_units) for block in units.T]) / len(units)


def entropy(shares):
    """Σ −p ln p of each block, with 0 ln 0 = 0."""
    return -(shares * np.log(np.where(shares == 0, 1, shares))).sum(-1)


def load(units, n_units):
    """The right shares and effective numbers."""
    shares = shares_of(units, n_units)
    return shares, np.exp(entropy(shares))


def effective_by(evenness):
    """Other effective numbers, evenness(shares)."""
    return second(lambda units, n_units: evenness(shares_of(units, n_units)))


def all_blocks_together(units, n_units):
    """The share of unit number 0 of any block, and so on."""
    return np.broadcast_to(shares_of(units, n_units).mean(0), (units.shape[1], n_units))


def carelessly(shares):
    """0 · ln 0 is nan."""
    return np.exp(-(shares * np.log(shares)).sum(-1))


def all_blocks_as_one(shares):
    return np.full(len(shares), np.exp(entropy(shares).mean()))
