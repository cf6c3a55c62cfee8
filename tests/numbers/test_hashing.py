"""Directions, fans of axes, and who shares a bucket."""

import math

import numpy as np
import pytest

from efftx.numbers import hashing as numbers

N_BUCKETS = (2, 4, 6, 8)
APART = range(0, 181, 10)


@pytest.mark.parametrize("n_buckets", N_BUCKETS)
def test_the_axes_of_a_fan_and_their_opposites_go_round_the_circle(n_buckets):
    axes = numbers.fan(0.3, n_buckets)
    ends = np.concatenate([axes, -axes], axis=1).T
    angles = 0.3 + 2 * np.pi / n_buckets * np.arange(n_buckets)
    np.testing.assert_allclose(ends, numbers.directions(angles), atol=1e-12)


@pytest.mark.parametrize("n_buckets", N_BUCKETS)
def test_share_together_is_one_less_the_angle_over_the_arc(n_buckets):
    for apart in APART:
        expected = max(0, 1 - apart / (360 / n_buckets))
        deviation = math.sqrt(expected * (1 - expected) / numbers.N_TURNS)
        share = numbers.shares_together(n_buckets)[apart]
        assert abs(share - expected) <= 4 * deviation + 1e-9


def test_found_are_earlier_keys_with_a_common_bucket():
    buckets = np.array([[0, 1, 0, 1], [0, 0, 1, 1]])
    found = [(i, j) for i, j in np.argwhere(numbers.found_by(buckets))]
    assert found == [(1, 0), (2, 0), (3, 1), (3, 2)]


def test_opposite_directions_never_share_a_bucket():
    pair = numbers.directions(np.array([0.3, 0.3 + np.pi]))
    first, second = numbers.buckets_of(pair, numbers.fan(0.1, 4)[None])[0]
    assert first != second
