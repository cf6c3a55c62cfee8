"""What stands beside a number: the interval that several seeds give."""

import numpy as np
import pytest
from scipy import stats

from efftx.training.records import mean_with_interval


def test_an_interval_by_hand():
    """Three values 1 apart: standard error 1/√3, and Student's t of two degrees of freedom."""
    reach = 4.3027 / 3**0.5
    found = mean_with_interval([1, 2, 3], digits=3)
    assert found == {"mean": 2, "interval_95": pytest.approx([2 - reach, 2 + reach], abs=1e-3)}


def test_an_interval_is_scipys():
    values = np.random.default_rng(0).normal(size=7)
    theirs = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert mean_with_interval(values, digits=9)["interval_95"] == pytest.approx(theirs)


def test_it_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(2000, 3))
    intervals = [mean_with_interval(each, digits=9)["interval_95"] for each in draws]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.02)
