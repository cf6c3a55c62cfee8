"""Which bytes a step sees: a function of seed and step, and nothing else."""

import numpy as np
import pytest

from efftx.training.batches import (
    consecutive_windows,
    packed_windows,
    padded_windows,
    random_windows,
)

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


# Many texts -----------------------------------------------------------------------------------

LENGTHS = (5, 2, 9, 3)
DOCUMENTS = [np.arange(n) + 100 * i for i, n in enumerate(LENGTHS)]


def test_a_padded_window_is_its_text_and_masked_padding():
    tokens, key_mask = padded_windows(DOCUMENTS, length=8)
    assert tokens.shape == key_mask.shape == (4, 9)
    for row, mask, document in zip(tokens, key_mask, DOCUMENTS, strict=True):
        np.testing.assert_array_equal(row[mask], document)
        assert mask[: len(document)].all()


@pytest.mark.parametrize("length", [2, 3, 4, 7, 18])
def test_packed_windows_predict_every_token_once_but_the_first_of_a_document(length):
    tokens, counts = packed_windows(DOCUMENTS, length=length)
    assert tokens.shape == (-(-18 // length), length + 1)
    assert counts.shape == (len(tokens), length)
    predicted = np.sort(tokens[:, 1:][counts])
    np.testing.assert_array_equal(predicted, np.concatenate([each[1:] for each in DOCUMENTS]))
    same_document = tokens[:, 1:] // 100 == tokens[:, :-1] // 100
    assert same_document[counts].all()
    assert counts.any(axis=1).all()


@pytest.mark.parametrize("cut", [padded_windows, packed_windows])
def test_a_batch_of_many_texts_depends_on_seed_and_step_alone(cut):
    def batch(**which):
        return cut(DOCUMENTS, length=8, batch=32, **which)[0]

    first = batch(seed=3, step=7)
    assert len(first) == 32
    np.testing.assert_array_equal(batch(seed=3, step=7), first)
    assert (batch(seed=3, step=8) != first).any()
    assert (batch(seed=4, step=7) != first).any()
    everything = {row.tobytes() for row in cut(DOCUMENTS, length=8)[0]}
    assert {row.tobytes() for row in first} == everything
