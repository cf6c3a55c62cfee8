"""Exercise 11's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.sparsity``.
"""

from functools import partial

import numpy as np

DRAWS = 3  # of each size
KERNEL = 3  # positions, and modules

# Few sizes, since jax compiles every operation for each. More modules than numbers in each, fewer,
# and as many: where S and M are exchanged, one of these shows it.

# Part 1

FACTORS = ((1, 2, 2), (2, 2, 3), (3, 3, 2))  # length, S, M


def factor_cases(rng):
    for length, n_modules, d_module in FACTORS:
        d_model = n_modules * d_module
        for _ in range(DRAWS):
            yield {
                "x": rng.normal(size=(length, d_model)),
                "d": rng.normal(size=(d_model, n_modules)),
                "e": rng.normal(size=(d_model, d_module)),
            }


def multiplied(x, d, e, *, order="lsm"):
    """The right output, module after module; or in another order."""
    return np.einsum(f"li,is,im->{order}", x, d, e).reshape(len(x), -1)


def each_summed_for_itself(x, d, e, *, with_e):
    """(Σ x_i D_is) times a sum of E's own."""
    sums = with_e(x, e)
    return ((x @ d)[:, :, None] * sums[:, None, :]).reshape(len(x), -1)


def added(x, d, e):
    weights = d[:, :, None] + e[:, None, :]
    return np.einsum("li,ism->lsm", x, weights).reshape(len(x), -1)


def softmax(scores, axis):
    weights = np.exp(scores - scores.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def only_the_last(x, d, e):
    """What the last of the sum's terms would be alone."""
    return multiplied(x[:, -1:], d[-1:], e[-1:])


# Part 2

MODULES = ((2, 2), (2, 3), (3, 2), (3, 3))  # S, M


def permutation_cases(rng):
    for n_modules, d_module in MODULES:
        for _ in range(DRAWS):
            permutation = rng.permutation(n_modules * d_module)
            yield {"permutation": permutation, "n_modules": n_modules}


def place_of(permutation):
    """(d_model,): the place at which each number of x arrives."""
    return np.argsort(permutation)


def ones_at(module, place, n_modules, d_module):
    """D and E whose rows have their 1 there; beyond the last column, in the last, as jax does."""
    columns = np.minimum(module, n_modules - 1), np.minimum(place, d_module - 1)
    return np.eye(n_modules)[columns[0]], np.eye(d_module)[columns[1]]


def factors(permutation, n_modules, *, find=place_of):
    """The right D and E; or those of places that are found in another way."""
    d_module = len(permutation) // n_modules
    place = find(permutation)
    return ones_at(place // d_module, place % d_module, n_modules, d_module)


def dealt(permutation, n_modules):
    """Places that go round the modules as cards go round the players."""
    place, d_module = place_of(permutation), len(permutation) // n_modules
    return ones_at(place % n_modules, place // n_modules, n_modules, d_module)


def by_the_number_of_modules(permutation, n_modules):
    place, d_module = place_of(permutation), len(permutation) // n_modules
    return ones_at(place // n_modules, place % n_modules, n_modules, d_module)


def inverse_inside(permutation, n_modules):
    """The right module, and in it the place that the inverse would have."""
    d, _ = factors(permutation, n_modules)
    return d, factors(permutation, n_modules, find=np.asarray)[1]


def everywhere_in_the_module(permutation, n_modules):
    d, e = factors(permutation, n_modules)
    return d, np.ones_like(e)


# Part 3

GRIDS = ((1, 2, 1), (3, 2, 1), (4, 3, 2), (5, 4, 2))  # length, S, M; as many numbers come out


def grid_cases(rng):
    for length, n_modules, d_module in GRIDS:
        for _ in range(DRAWS):
            yield {
                "y": rng.normal(size=(length, n_modules, d_module)),
                "kernel": rng.normal(size=(KERNEL, KERNEL, d_module, d_module)),
            }


def zeros_around(y, *, positions=(2, 0), modules=(1, 1)):
    """y with zeros before and after."""
    return np.pad(y, (positions, modules, (0, 0)))


def convolved(y, kernel, *, surround=zeros_around):
    """The right output; or that of other surroundings of y."""
    (length, n_modules, _), padded = y.shape, surround(y)
    return sum(
        padded[i : i + length, j : j + n_modules] @ kernel[i, j]
        for i in range(KERNEL)
        for j in range(KERNEL)
    )


def with_kernel(change):
    """The convolution with a changed kernel."""
    return lambda y, kernel: convolved(y, change(kernel))


def own_module(kernel):
    """A kernel whose columns for the neighbours are 0."""
    return kernel * (np.arange(KERNEL) == 1)[:, None, None]


def edges_around(y):
    return np.pad(y, ((2, 0), (1, 1), (0, 0)), mode="edge")


def ring_of_modules(y):
    return np.pad(np.pad(y, ((2, 0), (0, 0), (0, 0))), ((0, 0), (1, 1), (0, 0)), mode="wrap")


def ring_of_positions(y):
    return np.pad(np.pad(y, ((2, 0), (0, 0), (0, 0)), mode="wrap"), ((0, 0), (1, 1), (0, 0)))


ahead = partial(zeros_around, positions=(1, 1))
only_ahead = partial(zeros_around, positions=(0, 2))
modules_before = partial(zeros_around, modules=(2, 0))

# Part 4

STEPS = ((1, 1), (2, 1), (3, 2))  # S, M


def step_cases(rng):
    for n_modules, d_module in STEPS:
        for _ in range(DRAWS):
            yield {
                "y": rng.normal(size=(n_modules, d_module)),
                "history": rng.normal(size=(KERNEL - 1, n_modules, d_module)),
                "kernel": rng.normal(size=(KERNEL, KERNEL, d_module, d_module)),
            }


def last_of(window, kernel):
    """The convolution's last output on three positions, the oldest first."""
    return convolved(np.stack(window), kernel)[-1]


def stepped(y, history, kernel):
    """The right output and history."""
    return last_of([*history, y], kernel), np.stack([history[1], y])


def seen_as(window):
    """Another z: from what window(y, history) looks at. The history is right."""
    return lambda y, history, kernel: (last_of(window(y, history), kernel), None)


def kept_as(rows):
    """Another history: rows(y, history, z). The output is right."""

    def mistake(y, history, kernel):
        z = stepped(y, history, kernel)[0]
        return None, np.stack(rows(y, history, z))

    return mistake


# All together


def decoding_cases(rng):
    for n_modules, d_module in MODULES:
        d_model = n_modules * d_module
        yield {
            "x": rng.normal(size=(4, d_model)),
            "d": rng.normal(size=(d_model, n_modules)),
            "e": rng.normal(size=(d_model, d_module)),
            "kernels": rng.normal(size=(3, KERNEL, KERNEL, d_module, d_module)),
        }


def q_k_v(x, d, e, kernels):
    """(3, length, S, M): the convolutions of the whole text."""
    y = multiplied(x, d, e).reshape(len(x), d.shape[1], e.shape[1])
    return np.stack([convolved(y, kernel) for kernel in kernels])
