"""AdamW as the course uses it: how fast it starts, and what a huge gradient does."""

import jax.numpy as jnp
import numpy as np
import pytest

from efftx.training.optimisers import adamw

PEAK, B1, B2, EPS, DECAY = 1e-2, 0.9, 0.98, 1e-8, 0.01


def updates(gradients, *, n_steps: int = 100, weight: float = 0.0) -> list[float]:
    """What the optimiser adds to one parameter, step by step; the parameter is left where it is."""
    optimiser = adamw(n_steps, peak=PEAK)
    state, found = optimiser.init(jnp.float32(weight)), []
    for gradient in gradients:
        update, state = optimiser.update(jnp.float32(gradient), state, jnp.float32(weight))
        found.append(float(update))
    return found


def by_hand(gradients, rates, clip: float = 1.0) -> list[float]:
    """Adam's rule for gradients clipped to this size."""
    m = v = 0.0
    found = []
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        gradient = float(np.clip(gradient, -clip, clip))
        m, v = B1 * m + (1 - B1) * gradient, B2 * v + (1 - B2) * gradient**2
        found.append(-rate * (m / (1 - B1**t)) / ((v / (1 - B2**t)) ** 0.5 + EPS))
    return found


def test_the_rate_rises_for_a_twentieth_of_the_steps():
    """Of equal gradients each of Adam's updates is the rate."""
    rates = -np.array(updates([0.5] * 101))
    np.testing.assert_allclose(rates[:6], PEAK * np.arange(6) / 5, rtol=1e-4)
    assert rates.argmax() == 5
    np.testing.assert_allclose(rates[52], PEAK * (1 + np.cos(np.pi * 47 / 95)) / 2, rtol=1e-3)
    assert rates[100] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n_steps", [1, 3, 19])
def test_a_run_of_a_few_steps_still_begins_at_0(n_steps):
    assert updates([1.0], n_steps=n_steps) == [0]


def test_a_huge_gradient_counts_as_one_of_norm_1():
    """Adam's own scaling hides the size of a single gradient, but not that of one among others."""
    gradients, rates = [1e6, 0.5, -0.3, 50.0], PEAK * np.arange(4) / 5
    np.testing.assert_allclose(updates(gradients), by_hand(gradients, rates), rtol=1e-4)
    other = by_hand(gradients, rates, clip=100.0)  # and this would notice another bound
    assert abs(np.array(updates(gradients)) - other).max() > PEAK / 20


def test_weights_decay_in_proportion_to_themselves():
    (_, plain), (_, decayed) = updates([0.5] * 2), updates([0.5] * 2, weight=3.0)
    assert decayed - plain == pytest.approx(-PEAK / 5 * DECAY * 3, rel=1e-3)
