"""From a text to batches of windows; which ones is a pure function of the seed and the step."""

import numpy as np
from jaxtyping import Integer

from efftx.validation import check_positive, require

Text = Integer[np.ndarray, "n_tokens"]


def random_windows(
    text: Text, *, seed: int, step: int, length: int, batch: int
) -> Integer[np.ndarray, "batch length_plus_1"]:
    """The batch of one training step: windows of length + 1 tokens (each next one is a target).

    A run that is interrupted and resumed at this step sees the same bytes as one that never was.
    """
    check_windows(text, length, batch)
    starts = np.random.default_rng((seed, step)).integers(len(text) - length, size=batch)
    return text[starts[:, None] + np.arange(length + 1)]


def consecutive_windows(
    text: Text, *, length: int, batch: int
) -> Integer[np.ndarray, "n_batches batch length_plus_1"]:
    """The text from its start in windows that overlap by one token, as many as fill batches."""
    check_windows(text, length, batch)
    n_windows = (len(text) - 1) // length
    require(
        n_windows >= batch,
        f"a batch is {batch} windows of {length} + 1 tokens, but the text has only {len(text)}.",
    )
    starts = np.arange(n_windows - n_windows % batch).reshape(-1, batch, 1) * length
    return text[starts + np.arange(length + 1)]


def check_windows(text: np.ndarray, length: int, batch: int) -> None:
    check_positive(length=length, batch=batch)
    require(
        len(text) > length,
        f"a window is {length} + 1 tokens, but the text has only {len(text)}.",
    )
