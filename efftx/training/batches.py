"""From texts to batches of windows; which ones is a pure function of the seed and the step."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer

from efftx.validation import check_positive, describe, require

Text = Integer[np.ndarray, "n_tokens"]
Texts = Sequence[Integer[np.ndarray, "_"]]  # each of its own length
Windows = Integer[np.ndarray, "n length_plus_1"]
PADDING = 0  # a token like any other, but masked


def random_windows(
    text: Text, *, seed: int, step: int, length: int, batch: int
) -> Integer[np.ndarray, "batch length_plus_1"]:
    """The batch of one training step: windows of length + 1 tokens (each next one is a target).

    A run that is interrupted and resumed at this step sees the same bytes as one that never was.

    Raises ValueError for a text without a window, and for length or batch < 1.
    """
    check_windows(text, length, batch)
    starts = np.random.default_rng((seed, step)).integers(len(text) - length, size=batch)
    return text[starts[:, None] + np.arange(length + 1)]


def consecutive_windows(
    text: Text, *, length: int, batch: int
) -> Integer[np.ndarray, "n_batches batch length_plus_1"]:
    """The text from its start in windows that overlap by one token, as many as fill batches.

    Raises ValueError for a text without a batch of windows, and for length or batch < 1.
    """
    check_windows(text, length, batch)
    n_windows = (len(text) - 1) // length
    require(
        n_windows >= batch,
        f"a batch is {batch} windows of {length} + 1 tokens, but the text has only {len(text)}.",
    )
    starts = np.arange(n_windows - n_windows % batch).reshape(-1, batch, 1) * length
    return text[starts + np.arange(length + 1)]


# Many texts -----------------------------------------------------------------------------------


def padded_windows(
    texts: Texts, *, length: int, seed: int = 0, step: int = 0, batch: int | None = None
) -> tuple[Windows, Bool[np.ndarray, "n length_plus_1"]]:
    """A window of length + 1 tokens for each text, filled up with padding, and its key_mask.

    Without a ``batch`` these are all texts in their order; with one the batch of a training step,
    a function of the seed and the step: so many texts, drawn at random.

    Raises ValueError for a text of fewer than 2 or more than length + 1 tokens: nothing is cut off.
    """
    check_positive(length=length)
    check_texts(texts)
    longest = max(map(len, texts))
    require(
        longest <= length + 1,
        f"a window is {length} + 1 tokens, but the longest text has {longest}. Cut it, or take "
        "packed_windows.",
    )
    chosen = rows(len(texts), seed=seed, step=step, batch=batch)
    tokens = np.full((len(chosen), length + 1), PADDING, np.result_type(*{t.dtype for t in texts}))
    for row, text in zip(tokens, (texts[i] for i in chosen), strict=True):
        row[: len(text)] = text
    n_tokens = np.array([len(texts[i]) for i in chosen])
    return tokens, np.arange(length + 1) < n_tokens[:, None]


def packed_windows(
    documents: Texts,
    *,
    length: int,
    seed: int = 0,
    step: int = 0,
    batch: int | None = None,
) -> tuple[Windows, Bool[np.ndarray, "n length"]]:
    """Documents one after the other in windows of length + 1 tokens, and which predictions count.

    All do but those of a document's first token: what ends before it says nothing about it. (A
    window may look at the end of the document before; nothing hides that.) No token is padding, and
    every prediction stands in one window: the windows overlap by one token, and the last also by
    as much as it lacks, where its predictions count only once.

    Without a ``batch`` these are all windows in their order; with one the batch of a training step,
    a function of the seed and the step: so many windows, drawn at random.

    Raises ValueError unless every document has at least 2 tokens, all together length + 1, and
    length is at least 2.
    """
    check_positive(length=length)
    require(length >= 2, "length must be at least 2 where documents are packed; got 1.")
    check_texts(documents)
    text = np.concatenate(documents)
    check_windows(text, length, 1)
    last = -(-(len(text) - 1) // length) - 1
    chosen = rows(last + 1, seed=seed, step=step, batch=batch)[:, None]
    starts = np.minimum(chosen * length, len(text) - length - 1)
    places = starts + np.arange(length + 1)
    firsts = np.cumsum([len(document) for document in documents])
    again = places[:, 1:] <= chosen * length  # what the last window shares with the one before
    return text[places], ~(np.isin(places[:, 1:], firsts) | again)


def rows(n: int, *, seed: int, step: int, batch: int | None) -> np.ndarray:
    """All of n, or as many as the step's batch takes."""
    if batch is None:
        return np.arange(n)
    check_positive(batch=batch)
    return np.random.default_rng((seed, step)).integers(n, size=batch)


def check_texts(texts: Sequence) -> None:
    require(len(texts) >= 1, "there are no texts to cut windows from.")
    for i, text in enumerate(texts):
        vector = getattr(text, "ndim", 0) == 1 and len(text) >= 2
        require(
            vector and np.issubdtype(text.dtype, np.integer),
            f"each text must be a vector of at least 2 integers; number {i} is {describe(text)}.",
        )


def check_windows(text: np.ndarray, length: int, batch: int) -> None:
    check_positive(length=length, batch=batch)
    require(
        len(text) > length,
        f"a window is {length} + 1 tokens, but the text has only {len(text)}.",
    )
