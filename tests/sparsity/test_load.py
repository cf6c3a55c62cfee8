"""How evenly units are used: small cases by hand, and the two ends."""

import numpy as np
import pytest

from efftx.sparsity import load_entropy, share_ever_on, sorted_loads, unit_loads

UNITS = np.array([[0, 2], [0, 2], [0, 1], [3, 2]], np.uint8)  # four positions, two blocks


def test_loads_by_hand():
    loads = unit_loads(UNITS, 4)
    np.testing.assert_array_equal(loads, [[0.75, 0, 0, 0.25], [0, 0.25, 0.75, 0]])
    np.testing.assert_array_equal(sorted_loads(loads), [0.75, 0.25, 0, 0])
    assert share_ever_on(loads) == 0.5
    assert load_entropy(loads) == pytest.approx(0.75 * np.log2(4 / 3) + 0.25 * 2)


def test_units_that_are_never_on_count():
    assert unit_loads(UNITS, 16).shape == (2, 16)
    assert share_ever_on(unit_loads(UNITS, 16)) == 4 / 32


def test_even_loads_and_a_single_unit_are_the_ends():
    even = unit_loads(np.arange(32)[:, None] % 8, 8)
    one = unit_loads(np.zeros((32, 1), int), 8)
    assert (load_entropy(even), load_entropy(one)) == (3, 0)
    assert (share_ever_on(even), share_ever_on(one)) == (1, 1 / 8)


def test_busiest_first_is_within_each_block_before_the_mean():
    loads = unit_loads(np.array([[0, 1], [0, 1]]), 2)
    np.testing.assert_array_equal(sorted_loads(loads), [1, 0])
