"""The duplication task: after 0w0 a model is to write w again, symbol by symbol.

The symbols of w are drawn at random from 1 … 127, so no statistics help: each one has to be looked
up in the first copy. Guessing is right one time in 127, and costs ln 127 = 4.84 nats.

A long task can be learned in short excerpts: the same few places of both copies, seen at the
positions where they stand in the whole. So the model that learns is that of the whole length.

Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 5 and Table 2.
"""

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from efftx.models import LanguageModel
from efftx.training.losses import cross_entropy
from efftx.validation import check_positive, require

N_SYMBOLS = 127
VOCAB = N_SYMBOLS + 1

Sequence = Integer[Array | np.ndarray, "length"]
Sequences = Integer[Array | np.ndarray, "batch length"]
OptionalKey = Key[Array, ""] | None


def batch_at(
    step: int, *, seed: int, length: int, batch: int
) -> Integer[np.ndarray, "batch length"]:
    """The sequences 0w0w of one training step, |w| = length/2 − 1.

    Raises ValueError unless the length is even and at least 4.
    """
    check_length(length)
    check_positive(batch=batch)
    w = np.random.default_rng((seed, step)).integers(1, VOCAB, size=(batch, length // 2 - 1))
    copy = np.pad(w, ((0, 0), (1, 0)))
    return np.concatenate([copy, copy], axis=1).astype(np.int32)


def loss(model: Callable, sequence: Sequence, key: OptionalKey = None) -> Float[Array, ""]:
    """The mean of −ln p(next symbol) over the second w; of the first nothing can be known.

    Computed in at least float32, whatever the model's dtype.
    """
    logits, targets = second_copy(model, sequence, key)
    return cross_entropy(logits, targets).mean()


def accuracy(
    model: Callable, sequences: Sequences, key: Key[Array, ""] | None = None
) -> Float[Array, ""]:
    """The share of the second copies' symbols that are the model's first guess."""
    return jnp.mean(guessed_right(model, sequences, key))


@jax.jit
def guessed_right(model, sequences, key):
    def of_one(sequence, key):
        logits, targets = second_copy(model, sequence, key)
        return logits.argmax(-1) == targets

    keys = None if key is None else jax.random.split(key, len(sequences))
    return jax.vmap(of_one, in_axes=(0, None if key is None else 0))(sequences, keys)


def second_copy(model: Callable, sequence: Sequence, key: OptionalKey = None) -> tuple:
    """The logits for every symbol of the second w, and these symbols."""
    half = len(sequence) // 2
    return model(sequence[:-1], key)[half:], sequence[half + 1 :]


# Excerpts of a longer task ---------------------------------------------------------------------


def excerpts_at(
    step: int, *, seed: int, length: int, batch: int, window: int
) -> tuple[Integer[np.ndarray, "batch window"], Integer[np.ndarray, "batch window"]]:
    """Of sequences of this length only ``window`` symbols, half of them from each copy.

    Both halves are the same places of their copy, another stretch in every example. Returns the
    symbols and their positions. The window may be as long as the length: that is the whole.

    Raises ValueError unless length and window are even, at least 4, and window ≤ length.
    """
    check_length(window)
    require(window <= length, f"a window of {window} is not part of a sequence of {length}.")
    whole = batch_at(step, seed=seed, length=length, batch=batch)
    random = np.random.default_rng((seed, step, 1))
    starts = random.integers((length - window) // 2 + 1, size=(batch, 1))
    places = starts + np.arange(window // 2)
    positions = np.concatenate([places, places + length // 2], axis=1).astype(np.int32)
    return np.take_along_axis(whole, positions, axis=1), positions


def excerpt_loss(model: LanguageModel, excerpt: tuple, key: OptionalKey = None) -> Float[Array, ""]:
    """The `loss` of (symbols, positions), for a model with learned positions."""
    symbols, positions = excerpt
    return loss(standing_at(model, positions), symbols, key)


def standing_at(model: LanguageModel, positions: Sequence) -> LanguageModel:
    """The model whose first tokens stand at these positions."""
    rows = model.embedding.positions[positions]
    return replace(model, embedding=replace(model.embedding, positions=rows))


def check_length(length: int) -> None:
    require(
        isinstance(length, Integral) and length >= 4 and length % 2 == 0,
        f"a sequence 0w0w has an even length of at least 4; got {length!r}.",
    )
