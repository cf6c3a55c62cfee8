"""What D and E make together, and the D and E nearest to a matrix."""

import numpy as np
import pytest

from efftx.numbers import sparse_qkv as numbers
from efftx.numbers.errors import relative_error

D_MODEL = 64
MODULES = (1, 2, 4, 8, 16, 32, 64)


def test_a_layer_is_the_best_fit_of_itself():
    rng = np.random.default_rng(0)
    w = numbers.dense_equivalent(rng.normal(size=(6, 2)), rng.normal(size=(6, 3)))
    assert w.shape == (6, 6)
    assert np.allclose(numbers.dense_equivalent(*numbers.best_factors(w, 2)), w)


def test_divisors():
    assert numbers.divisors(12) == [1, 2, 3, 4, 6, 12]


@pytest.mark.parametrize("n_modules", MODULES)
def test_a_permutation_is_reached(n_modules):
    ours, wanted = numbers.example_matrix(numbers.CONTENTS[1], D_MODEL, n_modules)
    np.testing.assert_array_equal(ours, wanted)
    assert (ours.sum(0) == 1).all()


@pytest.mark.parametrize("n_modules", MODULES)
def test_any_matrix_is_reached_where_one_of_the_factors_is_as_large(n_modules):
    ours, wanted = numbers.example_matrix(numbers.CONTENTS[2], D_MODEL, n_modules)
    error = relative_error(ours, wanted)
    assert error < 1e-12 if n_modules in (1, D_MODEL) else 0.5 < error < 0.9


def test_the_best_fit_is_as_good_as_any_other_d_and_e():
    """Small steps from it, in all directions, lead away from the matrix."""
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(12, 12))
    d, e = numbers.best_factors(wanted, 3)
    best = relative_error(numbers.dense_equivalent(d, e), wanted)
    for _ in range(50):
        others = d + 0.01 * rng.normal(size=d.shape), e + 0.01 * rng.normal(size=e.shape)
        assert relative_error(numbers.dense_equivalent(*others), wanted) > best
