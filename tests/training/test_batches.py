"""Which bytes a step sees: a function of seed and step, and nothing else."""

import numpy as np

from efftx.training.batches import consecutive_windows, random_windows

TEXT = np.arange(1000)


def windows_at(step: int, seed: int = 0) -> np.ndarray:
    return random_windows(TEXT, seed=seed, step=step, length=30, batch=4)


def test_a_batch_depends_on_seed_and_step_alone():
    np.random.default_rng(0).normal(size=3)
    np.random.seed(1)
    first = windows_at(step=17)
    for other in (3, 99):
        windows_at(step=other)
    np.testing.assert_array_equal(windows_at(step=17), first)
    assert (windows_at(step=18) != first).any()
    assert (windows_at(step=17, seed=1) != first).any()


def test_windows_are_stretches_of_the_text_from_its_first_to_its_last_token():
    batches = np.concatenate([windows_at(step) for step in range(500)])
    assert batches.shape == (2000, 31)
    assert (np.diff(batches, axis=1) == 1).all()
    assert (batches.min(), batches.max()) == (0, 999)


def test_consecutive_windows_predict_every_token_once():
    batches = consecutive_windows(TEXT, length=30, batch=4)
    assert batches.shape == (8, 4, 31)  # 33 windows fit, 32 fill batches
    inputs, targets = batches[..., :-1].ravel(), batches[..., 1:].ravel()
    np.testing.assert_array_equal(inputs, np.arange(960))
    np.testing.assert_array_equal(targets, np.arange(1, 961))


def test_a_text_of_exactly_one_window_is_enough():
    np.testing.assert_array_equal(
        random_windows(TEXT[:31], seed=0, step=0, length=30, batch=1), TEXT[None, :31]
    )
    assert consecutive_windows(TEXT[:31], length=30, batch=1).shape == (1, 1, 31)
