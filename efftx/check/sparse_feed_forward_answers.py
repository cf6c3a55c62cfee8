"""Exercise 10's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.sparsity``.
"""

import jax.numpy as jnp
import numpy as np

from efftx.check.promises import NotMeasured, numbers_read

DRAWS = 3  # of each size; few sizes, since jax compiles every operation for each


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


def chosen(x, c1, c2, n_units, *, among=highest):
    """The right mask; or with others than the highest of a block on."""
    scores = x @ c1 @ c2
    return among(scores.reshape(len(x), -1, n_units)).reshape(scores.shape)


def strongest_anywhere(scores):
    """As many units as there are blocks, wherever they stand."""
    length, n_blocks, _ = scores.shape
    flat = scores.reshape(length, -1)
    least = np.sort(flat, axis=1)[:, -n_blocks, None]
    return (flat >= least).reshape(scores.shape)


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


def straight_through(scores, noise, g):
    """The right mask and gradient."""
    soft = softmax(scores)
    gradient = soft * (g - (soft * g).sum(-1, keepdims=True))
    return highest(scores + noise).astype(float), gradient


# Part 3: gathering

# n_blocks, N, d_model. At first d_model is d_ff = n_blocks · N, so that rows and columns can be
# taken for each other, and at last it is not. There are never as many blocks as a block has units,
# see above.
GATHERED = ((1, 3, 3), (3, 1, 3), (3, 2, 6), (2, 4, 3))


def gathering_cases(rng):
    """The last of each size has nan at units that are off: who computes with them will see it."""
    for n_blocks, n_units, d_model in GATHERED:
        for draw in range(DRAWS):
            case = weights(rng, n_blocks, n_units, d_model)
            if draw == DRAWS - 1:
                off = np.setdiff1d(np.arange(n_blocks * n_units), places(case["units"], case["b1"]))
                case["w1"][:, off] = case["b1"][off] = case["w2"][off] = np.nan
            yield case


def weights(rng, n_blocks, n_units, d_model):
    d_ff = n_blocks * n_units
    return {
        "x": rng.normal(size=d_model),
        "units": rng.integers(n_units, size=n_blocks),
        "w1": rng.normal(size=(d_model, d_ff)),
        "b1": rng.normal(size=d_ff),
        "w2": rng.normal(size=(d_ff, d_model)),
        "b2": rng.normal(size=d_model),
    }


def places(units, b1):
    """The chosen units' numbers, counted through all blocks."""
    n_blocks = len(units)
    return len(b1) // n_blocks * np.arange(n_blocks) + units


def gathered(x, units, w1, b1, w2, b2):
    """The right output."""
    at = places(units, b1)
    return np.maximum(x @ w1[:, at] + b1[at], 0) @ w2[at] + b2


def reads_the_chosen_alone(answer) -> str:
    """What is missing where an answer reads more of the weights than the chosen units have."""
    n_blocks, n_units, d_model = 4, 16, 6
    case = weights(np.random.default_rng(0), n_blocks, n_units, d_model)
    case["units"] = jnp.asarray(case["units"])  # known while jax traces
    for name, each in {"w1": d_model, "b1": 1, "w2": d_model}.items():
        read = numbers_read(answer, case, name)
        if read is None:
            raise NotMeasured("How many numbers of the weights it reads was not measured.")
        if read > 2 * n_blocks * each:  # none more than twice
            return (
                f"With {n_blocks} of {n_blocks * n_units} units on it reads {read} numbers of "
                f"`{name}`, of which {n_blocks * each} belong to these units. Take them out by "
                "index before anything else is done with the array."
            )
    return ""


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
