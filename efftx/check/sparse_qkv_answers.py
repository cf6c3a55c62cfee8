"""Exercise 11's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.sparsity``.
"""

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


def multiplied(x, d, e):
    """The right output, module after module."""
    return np.einsum("li,is,im->lsm", x, d, e).reshape(len(x), -1)


def each_summed_for_itself(x, d, e, *, with_e):
    """(Σ x_i D_is) times a sum of E's own."""
    sums = with_e(x, e)
    return ((x @ d)[:, :, None] * sums[:, None, :]).reshape(len(x), -1)


# Part 2

MODULES = ((2, 3), (3, 2), (3, 3))  # S, M


def permutation_cases(rng):
    for n_modules, d_module in MODULES:
        for _ in range(DRAWS):
            permutation = rng.permutation(n_modules * d_module)
            yield {"permutation": permutation, "n_modules": n_modules}


def factors(permutation, n_modules):
    """The right D and E."""
    d_module = len(permutation) // n_modules
    place = np.argsort(permutation)
    return np.eye(n_modules)[place // d_module], np.eye(d_module)[place % d_module]


# Part 3

# length, S, M, d_out; at last d_out is not M.
GRIDS = ((1, 2, 1, 1), (3, 2, 1, 1), (4, 3, 2, 2), (5, 4, 2, 3))


def grid_cases(rng):
    for length, n_modules, d_module, d_out in GRIDS:
        for _ in range(DRAWS):
            yield {
                "y": rng.normal(size=(length, n_modules, d_module)),
                "kernel": rng.normal(size=(KERNEL, KERNEL, d_module, d_out)),
            }


def convolved(y, kernel):
    """The right output."""
    (length, n_modules, _), padded = y.shape, np.pad(y, ((2, 0), (1, 1), (0, 0)))
    return sum(
        padded[i : i + length, j : j + n_modules] @ kernel[i, j]
        for i in range(KERNEL)
        for j in range(KERNEL)
    )


# Part 4

STEPS = ((1, 1, 1), (2, 1, 1), (3, 2, 2), (3, 2, 1))  # S, M, d_out


def step_cases(rng):
    for n_modules, d_module, d_out in STEPS:
        for _ in range(DRAWS):
            yield {
                "y": rng.normal(size=(n_modules, d_module)),
                "history": rng.normal(size=(KERNEL - 1, n_modules, d_module)),
                "kernel": rng.normal(size=(KERNEL, KERNEL, d_module, d_out)),
            }


def stepped(y, history, kernel):
    """The right output and history."""
    window = np.stack([*history, y])
    return convolved(window, kernel)[-1], window[1:]


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
