"""Chapter 11's matrices: what D and E make together, and the D and E nearest to a given one."""

import numpy as np

from efftx.numbers.errors import relative_error as relative_error  # chapter 11 takes it here
from efftx.sparsity import permutation_factors

CONTENTS = ("random D and E", "a permutation", "the best fit of a random matrix")
SEED = 11  # of the widget's matrices


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def dense_equivalent(d: np.ndarray, e: np.ndarray) -> np.ndarray:
    """(d_model, S·M): the weights D_{i,s} E_{i,m} of the dense layer that does the same."""
    return np.einsum("is,im->ism", d, e).reshape(len(d), -1)


def best_factors(w: np.ndarray, n_modules: int) -> tuple[np.ndarray, np.ndarray]:
    """The D and E that come nearest to a matrix w, (d_model, S·M), in the sum of squares.

    Each row of w is an (S, M) matrix of which D and E make one of rank one, and the nearest of rank
    one is the first term of its singular value decomposition (Eckart and Young).
    """
    left, sizes, right = np.linalg.svd(w.reshape(len(w), n_modules, -1), full_matrices=False)
    return left[:, :, 0] * sizes[:, :1], right[:, 0]


def example_matrix(content: str, d_model: int, n_modules: int) -> tuple[np.ndarray, np.ndarray]:
    """What the widget draws: the weights of some D and E, and what they were to be."""
    rng = np.random.default_rng(SEED)
    shapes = (d_model, n_modules), (d_model, d_model // n_modules)
    if content == CONTENTS[0]:
        ours = dense_equivalent(*(rng.normal(size=shape) for shape in shapes))
        return ours, ours
    if content == CONTENTS[1]:
        permutation = rng.permutation(d_model)
        ours = dense_equivalent(*permutation_factors(permutation, n_modules))
        return ours, np.eye(d_model)[:, permutation]
    wanted = rng.normal(size=(d_model, d_model))
    return dense_equivalent(*best_factors(wanted, n_modules)), wanted
