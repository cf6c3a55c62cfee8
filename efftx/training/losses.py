"""How surprised a model is, in bits."""

from collections.abc import Callable
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Integer, Key
from tqdm.auto import tqdm

from efftx.dtypes import sum_dtype
from efftx.memory import chunked_cross_entropy
from efftx.training.batches import consecutive_windows
from efftx.validation import (
    check_below,
    check_key_mask,
    check_not_explicit,
    check_positive,
    describe,
    require,
    values_are_known,
)

Window = Integer[Array | np.ndarray, "length_plus_1"]
KeyMask = Bool[Array | np.ndarray, "length_plus_1"]
Counts = Bool[Array | np.ndarray, "length"]


def bits_per_byte(
    model: Callable,
    window: Window | tuple,
    key: Key[Array, ""] | None = None,
    *,
    key_mask: KeyMask | None = None,
    counts: Counts | None = None,
    chunk_len: int | None = None,
) -> Float[Array, ""]:
    """The mean of −log2 p(next byte) over one text window; 8 is what knowing nothing costs.

    A window of length + 1 bytes makes ``length`` predictions: of every byte but the first. With
    ``chunk_len`` only that many positions' logits exist at a time (the model needs ``last_vectors``
    and ``readout`` for that); ``partial(bits_per_byte, chunk_len=256)`` is a loss to train with.
    It is computed in at least float32, whatever the model's dtype.

    ``key_mask`` is True for the window's bytes and False for its padding, which the model does not
    look at (it is called with ``key_mask=``) and nobody predicts. ``counts`` says which of the
    length predictions are part of the mean. An example may bring them along, as those of
    `padded_windows` and `packed_windows` do: in a tuple (window, mask, …), a mask with as many
    entries as the window is its key_mask, one with an entry less its counts.

    Raises ValueError unless the window is a vector of at least two integers, for masks that do not
    fit, for chunk_len < 1, and if no prediction counts, where that is known; under a trace such a
    window gives 0.
    """
    nats, counts = next_token_nats(model, window, key, key_mask, counts, chunk_len=chunk_len)
    return counted_mean(nats, counts) / jnp.log(2)


def next_token_nats(
    model: Callable, window, key, key_mask=None, counts=None, *, chunk_len: int | None = None
) -> tuple:
    """−log p of every token of a window but the first, and which of them count (None: all)."""
    window, key_mask, counts = parts_of(window, key_mask, counts)
    check_masks(window, key_mask, counts)
    inputs, targets = window[:-1], window[1:].astype(jnp.int32)
    masked = {} if key_mask is None else {"key_mask": key_mask[:-1]}
    if key_mask is not None:
        real = key_mask[:-1] & key_mask[1:]
        counts = real if counts is None else real & counts
    if chunk_len is None:
        return cross_entropy(model(inputs, key, **masked), targets), counts
    vectors = model.last_vectors(inputs, key, **masked)
    nats = chunked_cross_entropy(
        lambda readout, x: readout(x), model.readout, vectors, targets, chunk_len=chunk_len
    )
    return nats, counts


def cross_entropy(
    logits: Float[Array, "length vocab"], targets: Integer[Array | np.ndarray, "length"]
) -> Float[Array, "length"]:
    """−log p(target) of each position in nats, in at least float32."""
    logits = logits.astype(sum_dtype(logits.dtype))
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def counted_mean(
    nats: Float[Array, "*shape"], counts: Bool[Array | np.ndarray, "*shape"] | None
) -> Float[Array, ""]:
    """The mean of those that count: 0 if none does, or a ValueError where that is known."""
    if counts is None:
        return nats.mean()
    if values_are_known(counts):
        require(bool(np.any(counts)), "no prediction counts: all of them are masked.")
    return jnp.where(counts, nats, 0).sum() / jnp.maximum(counts.sum(), 1)


# Windows and their masks ----------------------------------------------------------------------


def parts_of(window, key_mask=None, counts=None) -> tuple:
    """Window, key_mask and counts of an example, which may bring its masks along."""
    if not isinstance(window, tuple):
        return window, key_mask, counts
    window, *masks = window
    for mask in (mask for mask in masks if mask is not None):
        if getattr(mask, "shape", None) == getattr(window, "shape", ()):
            require(key_mask is None, "an example has one key_mask; got two.")
            key_mask = mask
        else:
            require(counts is None, "an example has one mask of predictions; got two.")
            counts = mask
    return window, key_mask, counts


def check_masks(window, key_mask, counts) -> None:
    require(
        getattr(window, "ndim", 0) == 1
        and len(window) >= 2
        and jnp.issubdtype(window.dtype, jnp.integer),
        f"a window must be a vector of at least 2 integers; got {describe(window)}.",
    )
    check_not_explicit(window=window)
    check_key_mask(key_mask, len(window))
    if counts is not None:
        shape, dtype = getattr(counts, "shape", None), getattr(counts, "dtype", None)
        require(
            shape == (len(window) - 1,) and dtype == jnp.bool_,
            f"counts must be {len(window) - 1} bools, one for each prediction that a window of "
            f"{len(window)} makes; got {describe(counts)}.",
        )


# Evaluation -----------------------------------------------------------------------------------


def evaluate(
    model: Callable,
    text: Integer[np.ndarray, "n_bytes"] | tuple,
    *,
    length: int | None = None,
    batch: int = 8,
    key: Key[Array, ""] | None = None,
    progress: bool = True,
) -> float:
    """The mean of −log2 p(next byte) over a text cut into windows, every byte predicted once.

    The rest that does not fill a batch of windows is left out. Predictions at the start of a window
    have little context, so a longer ``length`` gives a better value; but one that is longer than
    the windows in training meets positions whose vectors nobody trained.

    In place of the text and the length it takes all windows as `padded_windows` and
    `packed_windows` give them, (tokens, mask): there every prediction that counts has the same
    weight, whatever window it stands in, and the last batch may be smaller.

    Raises ValueError if the text does not fill a batch, for a token outside the vocabulary if the
    model has a ``vocab``, and if no prediction counts.
    """
    check_positive(batch=batch)
    windows = windows_of(text, length, batch)
    check_vocabulary("the text", windows, vocab_of(model))
    starts = range(0, len(windows[0]), batch)
    bits, n_counted = 0.0, 0
    for start in tqdm(starts, "evaluate", disable=not progress):
        some = tuple(part[start : start + batch] for part in windows)
        mean, n = mean_and_count(model, some, key)
        bits, n_counted = bits + float(mean) * int(n), n_counted + int(n)
    require(n_counted > 0, "no prediction counts: all of them are masked.")
    return bits / n_counted


def windows_of(text, length: int | None, batch: int) -> tuple:
    """The windows, n of length + 1 tokens each, and their masks if there are any."""
    if isinstance(text, tuple):
        require(length is None, "windows have their length already; got length as well.")
        return text
    require(length is not None, "a text needs the length of the windows that it is cut into.")
    batches = consecutive_windows(text, length=length, batch=batch)
    return (batches.reshape(-1, batches.shape[-1]),)


def mean_bits(model, windows, key) -> Float[Array, ""]:
    """The mean of `bits_per_byte` over the predictions that count in a batch of windows.

    Raises ValueError as that does; a batch of which no prediction counts gives 0.
    """
    return mean_and_count(model, windows, key)[0]


@jax.jit
def mean_and_count(model, windows, key) -> tuple:
    nats, counts = jax.vmap(next_token_nats, in_axes=(None, 0, None))(model, windows, key)
    n_counted = nats.size if counts is None else counts.sum()
    return counted_mean(nats, counts) / jnp.log(2), n_counted


# The vocabulary -------------------------------------------------------------------------------


def vocab_of(model) -> float | int:
    """How many different tokens a model knows, if it says so in ``vocab``; else any number."""
    vocab = getattr(model, "vocab", None)
    return vocab if isinstance(vocab, Integral) else np.inf


def check_vocabulary(name: str, batch, vocab: float | int) -> None:
    """All integers of a batch lie in 0 … vocab − 1."""
    for array in jax.tree.leaves(batch):
        if jnp.issubdtype(array.dtype, jnp.integer) and vocab < np.inf:
            check_below(name, array, vocab, "vocab")
