"""The error of a rebuilt stream, level by level."""

import numpy as np

from efftx.numbers import reversible_layers as numbers

N_BLOCKS = 4
STORED = np.random.default_rng(0).normal(size=(N_BLOCKS + 1, 2, 6, 5))
WRONG = 1e-7 * np.arange(N_BLOCKS + 1)[::-1]  # relative, more of it the further down
REBUILT = STORED * (1 + WRONG[:, None, None, None])


def test_errors_are_relative_and_of_each_level():
    np.testing.assert_allclose(numbers.errors_by_level(STORED, REBUILT), WRONG, atol=1e-15)
