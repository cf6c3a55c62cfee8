"""Exercise 11: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import sparsity
from efftx.check import sparse_qkv as check
from tests.check.exercise import Exercise

# Other ways to be right: loops, numpy, the package.


def multiplicative_in_loops(x, d, e):
    y = np.zeros((len(x), d.shape[1], e.shape[1]))
    for i in range(x.shape[1]):
        y += np.asarray(x)[:, i, None, None] * np.outer(d[i], e[i])
    return y.reshape(len(x), -1)


def multiplicative_by_package(x, d, e):
    return sparsity.multiplicative(x, d, e).reshape(x.shape)


def factors_in_loops(permutation, n_modules):
    d_module = len(permutation) // n_modules
    d, e = np.zeros((len(permutation), n_modules)), np.zeros((len(permutation), d_module))
    for place, i in enumerate(np.asarray(permutation)):
        d[i, place // d_module] = e[i, place % d_module] = 1
    return d, e


def factors_by_package(permutation, n_modules):
    return sparsity.permutation_factors(np.asarray(permutation), n_modules)


def convolution_in_loops(y, kernel):
    y, kernel = np.asarray(y), np.asarray(kernel)
    z = np.zeros((*y.shape[:2], kernel.shape[3]))
    for t, s, i, j in np.ndindex(*y.shape[:2], 3, 3):
        if t - 2 + i >= 0 and 0 <= s - 1 + j < y.shape[1]:
            z[t, s] += y[t - 2 + i, s - 1 + j] @ kernel[i, j]
    return z


def step_by_package(y, history, kernel):
    z, history = sparsity.convolution_step(y[None], history, kernel)
    return z[0], history


def decode_by_package(x, d, e, kernels):
    return sparsity.sparse_qkv(x, d, e, jnp.moveaxis(kernels, 0, 3))[0]


RIGHT = [
    ("multiplicative", multiplicative_in_loops),
    ("multiplicative", multiplicative_by_package),
    ("permutation_factors", factors_in_loops),
    ("permutation_factors", factors_by_package),
    ("causal_convolution", convolution_in_loops),
    ("causal_convolution", jax.jit(sparsity.convolution)),
    ("convolution_step", step_by_package),
    ("decode", decode_by_package),
]

PARTS = ("multiplicative", "permutation_factors", "causal_convolution", "convolution_step")
EXERCISE = Exercise(
    stem="11_sparse_qkv",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
    together={"decode": check.decode},
)


# Special to this exercise.


def test_modules_that_are_not_a_row_are_a_matter_of_shape():
    said = EXERCISE.said("multiplicative", sparsity.multiplicative)
    assert "`out` must have shape (1, 4); got shape (1, 2, 2)" in said


def test_whole_numbers_are_weights_too():
    def whole(permutation, n_modules):
        return tuple(factor.astype(int) for factor in factors_by_package(permutation, n_modules))

    EXERCISE.checks["permutation_factors"](whole)


def test_a_history_that_grows_is_a_matter_of_shape():
    def grows(y, history, kernel):
        return step_by_package(y, history, kernel)[0], jnp.concatenate([history, y[None]])

    said = EXERCISE.said("convolution_step", grows)
    assert "`history` must have shape (2, 1, 1); got shape (3, 1, 1)" in said
