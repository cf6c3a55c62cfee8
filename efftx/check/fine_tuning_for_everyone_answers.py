"""Exercise 13's inputs, right answers, and what is promised besides.

Written in numpy from the definitions, so that they share nothing with ``efftx.memory`` and
``efftx.models``.
"""

from itertools import combinations
from math import prod

import numpy as np

from efftx.check.promises import NotMeasured, arrays_made, numpy_memory

DRAWS = 3  # of each kind of case
# Few sizes, since jax compiles every operation for each: d_in, d_out, rank.
SIZES = ((4, 3, 2), (3, 5, 3))
ALPHAS = (8.0, 5.0, 16.0)  # none is a rank, or its square

# Part 1


def start_cases(rng):
    for d_in, d_out, rank in SIZES:
        for _ in range(DRAWS):
            yield {"draws": rng.normal(size=(d_in, rank)), "d_out": d_out}


def started(draws, d_out):
    """The right A and B."""
    return draws * len(draws) ** -0.5, np.zeros((draws.shape[1], d_out))


# Part 2


def adapter(rng, d_in, d_out, rank):
    return {"a": rng.normal(size=(d_in, rank)), "b": rng.normal(size=(rank, d_out))}


def product_cases(rng, length=6):
    for d_in, d_out, rank in SIZES:
        for alpha in ALPHAS:
            x, w = rng.normal(size=(length, d_in)), rng.normal(size=(d_in, d_out))
            yield {"x": x, "w": w, **adapter(rng, d_in, d_out, rank), "alpha": alpha}


def changed(w, a, b, alpha):
    """W + (α / r) A B, each entry a sum over the rank."""
    rank = len(b)
    return w + sum(np.outer(a[:, i], b[i]) for i in range(rank)) * (alpha / rank)


def product(x, w, a, b, alpha):
    """The right output, by the matrix that the answer must not make."""
    return x @ changed(w, a, b, alpha)


D_IN, D_OUT, LENGTH = 60, 80, 5  # so that W is the largest by far


def without_the_matrix(answer) -> str:
    """The promise that nothing as large as W is made; W turned round is not made, but W."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(LENGTH, D_IN)), rng.normal(size=(D_IN, D_OUT))
    case = {"x": x, "w": w, **adapter(rng, D_IN, D_OUT, 3), "alpha": 6.0}
    shapes = arrays_made(answer, case, views=False)
    if shapes is not None:
        made = max(map(prod, shapes), default=0) >= w.size
    elif (peak := numpy_memory(answer, case)) is not None:
        made = peak >= w.nbytes // 2  # of float32, perhaps
    else:
        raise NotMeasured("Whether it makes the matrix of the change was not measured.")
    if not made:
        return ""
    return (
        f"with a W of {D_IN} × {D_OUT} and a rank of 3 it makes an array of that size. Take x "
        "through A first, and what comes out, 3 numbers for each position, through B."
    )


# Part 3


def exchange_cases(rng):
    """The ranks differ in some; in the others only alpha does."""
    for d_in, d_out, rank in SIZES:
        for new_rank, alpha, new_alpha in ((rank, 5.0, 8.0), (rank, 8.0, 5.0), (1, 5.0, 3.0)):
            first, new = (adapter(rng, d_in, d_out, r) for r in (rank, new_rank))
            merged = changed(rng.normal(size=(d_in, d_out)), **first, alpha=alpha)
            news = {f"{name}_new": array for name, array in new.items()}
            yield {"merged": merged, **first, "alpha": alpha, **news, "alpha_new": new_alpha}


def exchanged(merged, a, b, alpha, *new):
    """The right matrix."""
    return changed(changed(merged, a, b, -alpha), *new)


# Part 4


def step_cases(rng):
    """Sizes that are all different, in all bits, without checkpoints and with them."""
    for bits in (32, 8, 4):
        for checkpoints in (False, True):
            for _ in range(DRAWS):
                n_layers, rank = (int(n) for n in rng.choice(np.arange(3, 8), 2, replace=False))
                length, half = (int(n) for n in rng.choice(np.arange(9, 40), 2, replace=False))
                sizes = {"n_layers": n_layers, "d": 2 * half, "length": length, "rank": rank}
                yield {**sizes, "bits": bits, "checkpoints": checkpoints}


BYTES = {32: 4, 8: 1, 4: 0.5}  # of a number


def step(n_layers, d, length, rank, bits, checkpoints):
    """The right counts, layer by layer: frozen, trained, means, matrices, activations."""
    of_a_layer = np.array([d * d * BYTES[bits], 8 * d * rank, 16 * d * rank])
    inside = np.array([4 * d * d * (bits != 32), 4 * length * rank])
    inputs, insides = np.zeros(2), []
    for _ in range(n_layers):
        inputs += [0, 4 * length * d]
        insides.append(inside)
    at_once = max(insides, key=sum) if checkpoints else sum(insides)
    return np.array([*n_layers * of_a_layer, *(inputs + at_once)]).astype(int)


# Part 5


def budget_cases(rng):
    """Budgets that are met to the number, that fit nothing, that fit all; and equal costs."""
    for n in (3, 5):
        for kind in ("between", "exact", "equal", "nothing", "all"):
            shapes = rng.permutation(np.arange(2, 2 + 2 * n)).reshape(n, 2) ** rng.integers(1, 3)
            if kind == "equal":
                d_in = 3 + rng.permutation(n)
                shapes = np.stack([d_in, 12 - d_in], axis=1)
            rank = int(rng.integers(2, 5))
            cost = np.sort(rank * shapes.sum(axis=1))
            some = int(cost[: n // 2 + 1].sum())
            budgets = {"between": some + 1, "exact": some, "nothing": int(cost[0]) - 1}
            budgets |= {"equal": some, "all": int(cost.sum()) + 1}
            yield {"shapes": shapes, "rank": rank, "budget": budgets[kind]}


def chosen(shapes, rank, budget):
    """The right choice, by trying all: the most matrices, of these the cheapest, then the first."""
    numbers = range(len(shapes))
    sets = [c for n in range(len(shapes) + 1) for c in combinations(numbers, n)]
    prices = {c: sum(rank * int(d) for i in c for d in shapes[i]) for c in sets}
    best = min((c for c in sets if prices[c] <= budget), key=lambda c: (-len(c), prices[c], c))
    return np.isin(numbers, best)
