"""Exercise 11: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx import sparsity
from efftx.check import sparse_qkv as check
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

SUM = 'jnp.einsum("li,ism->lsm", x, weights)'
PLACES = "jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]"
SLICE = "padded[i : i + length, j : j + n_modules] @ kernel[i, j]"
WINDOW = "jnp.concatenate([history, y[None]])"
RIGHT_HISTORY = {"window[1:]": f"{WINDOW}[1:]"}
SLIPS = [
    ("multiplicative", "one after the other", {"ism->lsm": "ism->lms"}),
    (
        "multiplicative",
        "D and E are exchanged",
        {"d[:, :, None] * e[:, None, :]": "e[:, :, None] * d[:, None, :]"},
    ),
    (
        "multiplicative",
        "two sums multiplied",
        {SUM: "(x @ d)[:, :, None] * (x @ e)[:, None, :]"},
    ),
    ("multiplicative", "were added", {"[:, :, None] * e": "[:, :, None] + e"}),
    (
        "multiplicative",
        "D had gone through a softmax",
        {"d[:, :, None] *": "(jnp.exp(d) / jnp.exp(d).sum(1, keepdims=True))[:, :, None] *"},
    ),
    (
        "multiplicative",
        "y had gone through a softmax",
        {SUM: f"jnp.exp({SUM}); y = y / y.sum(1, keepdims=True)"},
    ),
    ("multiplicative", "x were forgotten", {SUM: SUM.replace("x, w", "0 * x + 1, w")}),
    ("multiplicative", "only the last i", {SUM: "x[:, -1, None, None] * weights[-1]"}),
    ("permutation_factors", "turned round", {"jnp.argsort(permutation)": "permutation"}),
    (
        "permutation_factors",
        "like cards",
        {PLACES: "jnp.eye(n_modules)[place % n_modules], jnp.eye(d_module)[place // n_modules]"},
    ),
    (
        "permutation_factors",
        "divided by S",
        {PLACES: "jnp.eye(n_modules)[place // n_modules], jnp.eye(d_module)[place % n_modules]"},
    ),
    (
        "permutation_factors",
        "place inside it",
        {"[place % d_module]": "[permutation % d_module]"},
    ),
    (
        "permutation_factors",
        "everywhere in its module",
        {"jnp.eye(d_module)[place % d_module]": "jnp.ones((len(place), d_module))"},
    ),
    (
        "permutation_factors",
        "were forgotten",
        {"jnp.argsort(permutation)": "jnp.arange(len(permutation))"},
    ),
    ("causal_convolution", "saw position t + 1", {"(2, 0)": "(1, 1)"}),
    ("causal_convolution", "nothing before it", {"(2, 0)": "(0, 2)"}),
    ("causal_convolution", "turned round in time", {"kernel[i, j]": "kernel[2 - i, j]"}),
    ("causal_convolution", "columns were turned", {"kernel[i, j]": "kernel[i, 2 - j]"}),
    ("causal_convolution", "both ways", {"kernel[i, j]": "kernel[2 - i, 2 - j]"}),
    ("causal_convolution", "axes were exchanged", {"kernel[i, j]": "kernel[j, i]"}),
    ("causal_convolution", "modules were causal", {"(1, 1)": "(2, 0)"}),
    (
        "causal_convolution",
        "modules stood in a ring",
        {SLICE: "jnp.roll(padded[:, 1:-1], 1 - j, axis=1)[i : i + length] @ kernel[i, j]"},
    ),
    (
        "causal_convolution",
        "text stood in a ring",
        {
            "jnp.pad(y, ((2, 0), (1, 1), (0, 0)))": "jnp.pad(y, ((0, 0), (1, 1), (0, 0)))",
            SLICE: "jnp.roll(padded, 2 - i, axis=0)[:, j : j + n_modules] @ kernel[i, j]",
        },
    ),
    ("causal_convolution", "repeated beyond", {"(0, 0)))": '(0, 0)), mode="edge")'}),
    ("causal_convolution", "transposed", {"kernel[i, j]": "kernel[i, j].T"}),
    ("causal_convolution", "saw itself only", {"for j in range(3)": "for j in (1,)"}),
    (
        "convolution_step",
        "history were forgotten",
        {WINDOW: "jnp.concatenate([0 * history, y[None]])", **RIGHT_HISTORY},
    ),
    (
        "convolution_step",
        "from the wrong end",
        {WINDOW: "jnp.concatenate([history[::-1], y[None]])", **RIGHT_HISTORY},
    ),
    (
        "convolution_step",
        "counts twice",
        {WINDOW: "jnp.stack([history[1], y, y])"},
    ),
    (
        "convolution_step",
        "y stands first",
        {WINDOW: "jnp.concatenate([y[None], history])", **RIGHT_HISTORY},
    ),
    ("convolution_step", "returned as it came", {"window[1:]": "history"}),
    ("convolution_step", "place of the newest", {"window[1:]": "history.at[1].set(y)"}),
    ("convolution_step", "beginning of the new", {"window[1:]": "jnp.stack([y, history[0]])"}),
    ("convolution_step", "in the wrong order", {"window[1:]": "window[:0:-1]"}),
    ("convolution_step", "z went into", {"window[1:]": "jnp.stack([history[1], z])"}),
]


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
    slips=SLIPS,
    right=RIGHT,
    together={"decode": check.decode},
)


# Special to this exercise.


def test_modules_that_are_not_a_row_are_a_matter_of_shape():
    said = EXERCISE.said("multiplicative", sparsity.multiplicative)
    assert "`out` must have shape (1, 4); got shape (1, 2, 2)" in said


def test_whole_numbers_are_no_weights():
    def whole(permutation, n_modules):
        return tuple(factor.astype(int) for factor in factors_by_package(permutation, n_modules))

    said = EXERCISE.said("permutation_factors", whole)
    assert "`d` must hold floating-point numbers" in said


def test_a_history_that_grows_is_a_matter_of_shape():
    def grows(y, history, kernel):
        return step_by_package(y, history, kernel)[0], jnp.concatenate([history, y[None]])

    said = EXERCISE.said("convolution_step", grows)
    assert "`history` must have shape (2, 1, 1); got shape (3, 1, 1)" in said
