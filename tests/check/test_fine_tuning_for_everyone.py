"""Exercise 13: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import memory
from efftx.check import fine_tuning_for_everyone as check
from efftx.check import fine_tuning_for_everyone_answers as answers
from efftx.check.where_the_memory_goes_experiment import kept_by
from tests.check.exercise import Exercise

# Other ways to be right: numpy, lists, loops, lax, the package.


def start_in_numpy(draws, d_out):
    draws = np.asarray(draws)
    return draws / np.sqrt(draws.shape[0]), np.zeros((draws.shape[1], d_out))


def start_in_lists(draws, d_out):
    a = [[number * len(draws) ** -0.5 for number in row] for row in draws.tolist()]
    return a, [[0.0] * d_out for _ in a[0]]


def start_that_is_no_zero_matrix(draws, d_out):
    """A B is what must be zero; so it is, with a B of -0.0."""
    return draws * jax.lax.rsqrt(float(len(draws))), -jnp.zeros((draws.shape[1], d_out))


def product_in_numpy(x, w, a, b, alpha):
    x, w, a, b = map(np.asarray, (x, w, a, b))
    return x @ w + alpha / len(b) * (x @ a @ b)


def product_of_rows(x, w, a, b, alpha):
    return jax.lax.map(lambda row: row @ w + alpha * (row @ a / a.shape[1]) @ b, x)


def product_of_columns(x, w, a, b, alpha):
    """W is turned round, and the change taken rank by rank."""
    thin = [jnp.outer(x @ a[:, i], b[i]) for i in range(len(b))]
    return (w.T @ x.T).T + sum(thin) * (alpha / len(b))


def product_in_einsum(x, w, a, b, alpha):
    thin = jnp.einsum("li,ir,ro->lo", x, a, b)
    return jnp.einsum("li,io->lo", x, w) + alpha / a.shape[1] * thin


def product_in_lists(x, w, a, b, alpha):
    def times(rows, matrix):
        columns = list(zip(*matrix, strict=True))
        return [[sum(map(float.__mul__, row, c)) for c in columns] for row in rows]

    x, w, a, b = (array.tolist() for array in (x, w, a, b))
    pairs = zip(times(x, w), times(times(x, a), b), strict=True)
    return [[f + alpha / len(b) * c for f, c in zip(*rows, strict=True)] for rows in pairs]


def change(a, b, alpha):
    return memory.LowRank(a, b, scale=alpha / a.shape[1])


def product_of_the_package(x, w, a, b, alpha):
    return memory.low_rank_product(x, w, change(a, b, alpha))


def exchange_by_the_package(merged, *adapters):
    first, new = change(*adapters[:3]), change(*adapters[3:])
    return memory.merged(memory.unmerged(merged, first), new)


def exchange_at_once(merged, a, b, alpha, a_new, b_new, alpha_new):
    """One change of both ranks together."""
    wide = jnp.concatenate([a * (-alpha / len(b)), a_new * (alpha_new / len(b_new))], axis=1)
    return merged + wide @ jnp.concatenate([b, b_new])


def exchange_rank_by_rank(merged, a, b, alpha, a_new, b_new, alpha_new):
    out = np.array(merged)
    for i in range(len(b)):
        out -= np.outer(a[:, i], b[i]) * alpha / len(b)
    for i in range(len(b_new)):
        out += np.outer(a_new[:, i], b_new[i]) * alpha_new / len(b_new)
    return out


def bytes_of_shapes(n_layers, d, length, rank, bits, checkpoints):
    """A list of numbers, of every array one by one."""

    def size(*shapes):
        return 4 * sum(int(np.prod(shape)) for shape in shapes)

    layers = range(n_layers)
    inside = [0] if checkpoints else layers
    made = [(d, d)] if bits != 32 else []
    return [
        sum(size((d, d)) * bits / 32 for _ in layers),
        sum(size((d, rank), (rank, d)) for _ in layers),
        sum(2 * size((d, rank), (rank, d)) for _ in layers),
        sum(size(*made) for _ in inside),
        sum(size((length, d)) for _ in layers) + sum(size((length, rank)) for _ in inside),
    ]


def one_after_the_other(shapes, rank, budget):
    left, taken = budget, [False] * len(shapes)
    for i in sorted(range(len(shapes)), key=lambda i: int(shapes[i].sum())):
        cost = rank * int(shapes[i].sum())
        if cost > left:
            break
        left, taken[i] = left - cost, True
    return taken


def choice_in_numpy(shapes, rank, budget):
    cost = rank * np.asarray(shapes).sum(axis=1)
    places = np.argsort(np.argsort(cost, kind="stable"))
    return (np.cumsum(np.sort(cost)) <= budget)[places]


def choice_by_comparing(shapes, rank, budget):
    """A matrix is in if it and all that come before it fit."""
    cost, number = rank * shapes.sum(axis=1), jnp.arange(len(shapes))
    cheaper = cost[None, :] < cost[:, None]
    same = (cost[None, :] == cost[:, None]) & (number[None, :] <= number[:, None])
    return jnp.where(cheaper | same, cost[None, :], 0).sum(axis=1) <= budget


def choice_in_a_scan(shapes, rank, budget):
    cost = rank * shapes.sum(axis=1)

    def take(left, i):
        fits = cost[i] <= left
        return jnp.where(fits, left - cost[i], -1), fits

    order = jnp.argsort(cost, stable=True)
    fits = jax.lax.scan(take, budget, order)[1]
    return fits[jnp.argsort(order)].astype(int)


RIGHT = [
    ("start", start_in_numpy),
    ("start", start_in_lists),
    ("start", start_that_is_no_zero_matrix),
    ("adapted_product", product_in_numpy),
    ("adapted_product", product_of_rows),
    ("adapted_product", product_of_columns),
    ("adapted_product", product_in_einsum),
    ("adapted_product", product_in_lists),
    ("adapted_product", product_of_the_package),
    ("adapted_product", jax.jit(product_in_einsum)),
    ("exchange", exchange_by_the_package),
    ("exchange", exchange_at_once),
    ("exchange", exchange_rank_by_rank),
    ("step_bytes", bytes_of_shapes),
    ("which_to_adapt", one_after_the_other),
    ("which_to_adapt", choice_in_numpy),
    ("which_to_adapt", choice_by_comparing),
    ("which_to_adapt", choice_in_a_scan),
]

PARTS = ("start", "adapted_product", "exchange", "step_bytes", "which_to_adapt")
EXERCISE = Exercise(
    stem="13_fine_tuning_for_everyone",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


# Special to this exercise: the matrix of the change is seen wherever it is made.


def product_of_the_sum(x, w, a, b, alpha):
    return x @ (w + alpha / a.shape[1] * a @ b)


def product_with_the_change(x, w, a, b, alpha):
    return x @ w + alpha / a.shape[1] * x @ (a @ b)


def product_with_a_flat_change(x, w, a, b, alpha):
    flat = (a[:, None, :] * b.T).sum(-1).reshape(-1)
    return x @ w + alpha / a.shape[1] * x @ flat.reshape(w.shape)


def product_with_the_change_in_numpy(x, w, a, b, alpha):
    return product_with_the_change(*map(np.asarray, (x, w, a, b)), alpha)


@pytest.mark.parametrize(
    "answer",
    [
        product_of_the_sum,
        product_with_the_change,
        jax.jit(product_of_the_sum),
        jax.checkpoint(product_with_the_change),
        product_with_a_flat_change,
        product_with_the_change_in_numpy,
    ],
)
def test_who_makes_the_matrix_of_the_change_is_told(answer):
    said = EXERCISE.said("adapted_product", answer)
    assert said.startswith("✗ adapted_product returns the right values. But: with a W of 60 × 80")


def test_what_cannot_be_measured_is_said(capsys):
    check.adapted_product(product_in_lists)
    assert "was not measured" in capsys.readouterr().out


# The counts of Part 4 are what jax keeps.

N_LAYERS, D, LENGTH, RANK = 3, 40, 24, 2
SCALARS = 16 * N_LAYERS  # bytes of the scales, which are kept as well, one by one


def layer(x, a, b, w):
    if w.dtype == jnp.int8:
        w = w.astype(jnp.float32) / 127
    return x @ w + 0.5 * (x @ a) @ b


def chain(checkpoints, text, *arrays):
    run = jax.checkpoint(layer) if checkpoints else layer
    x = 2 * text  # the first layer's input is made, too
    for i in range(N_LAYERS):
        x = run(x, *arrays[3 * i : 3 * i + 3])
    return x


def kept_by_chain(checkpoints, dtype):
    shapes = ((D, RANK), jnp.float32), ((RANK, D), jnp.float32), ((D, D), dtype)
    arrays = [jax.ShapeDtypeStruct(*shape) for shape in shapes] * N_LAYERS
    text = jax.ShapeDtypeStruct((LENGTH, D), jnp.float32)
    return kept_by(partial(chain, checkpoints), text, *arrays)


@pytest.mark.parametrize(("bits", "dtype"), [(32, jnp.float32), (8, jnp.int8)])
def test_without_checkpoints_autodiff_keeps_the_counts(bits, dtype):
    *_, matrices, activations = answers.step(N_LAYERS, D, LENGTH, RANK, bits, checkpoints=False)
    assert 0 <= kept_by_chain(False, dtype) - (matrices + activations) <= SCALARS


@pytest.mark.parametrize(("bits", "dtype"), [(32, jnp.float32), (8, jnp.int8)])
def test_with_checkpoints_it_keeps_the_inputs(bits, dtype):
    *_, matrices, activations = answers.step(N_LAYERS, D, LENGTH, RANK, bits, checkpoints=True)
    inside = 4 * LENGTH * RANK + matrices  # of the one layer that is computed again
    assert 0 <= kept_by_chain(True, dtype) - (matrices + activations - inside) <= SCALARS


def test_eight_bits_alone_take_more_than_float32():
    for total in (lambda counts: counts.sum(), lambda counts: counts[3:].sum()):
        by = {
            (bits, checkpoints): total(answers.step(12, 768, 128, 8, bits, checkpoints))
            for bits in (32, 8)
            for checkpoints in (False, True)
        }
        assert by[8, False] > by[32, False]
    whole = {bits: answers.step(12, 768, 128, 8, bits, True).sum() for bits in (32, 8)}
    assert whole[8] < whole[32]
