"""Associative recall: a text defines the values of keys, and asks for each once more, far away.

Somewhere in a text of meaningless filler a key stands with its value behind it, and at a *distance*
of so many tokens the same key again: what follows? Nothing but the first place knows, so a model
answers as far back as it can look. Keys, values and fillers have symbols of their own.

Source of the task: Arora et al. 2023, *Zoology*, arXiv 2312.04927, section 3; the distances are
ours.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Key

from efftx.training.losses import cross_entropy
from efftx.validation import check_positive, require

N_VALUES, N_KEYS, N_FILLERS = 64, 128, 64  # in this order they share the symbols below VOCAB
VOCAB = N_VALUES + N_KEYS + N_FILLERS
TRIES = 1000  # to find a free place for one pair

OptionalKey = Key[Array, ""] | None
Symbols = Integer[Array | np.ndarray, "_"]
Distances = Sequence[int] | np.ndarray
Model = Any  # has last_vectors(symbols, key) and a readout, as language models do


class Texts(NamedTuple):
    """A batch, as `efftx.training.loop.train` takes it."""

    symbols: Integer[np.ndarray, "batch length"]
    asked: Integer[np.ndarray, "batch n_pairs"]  # where a key stands for the second time


def texts_at(step: int, *, seed: int, length: int, batch: int, distances: Distances) -> Texts:
    """Texts with a pair for each distance, in the order of the distances.

    A pair begins at an even place and so does its question. Values are drawn with repetition, keys
    without.

    Raises ValueError unless distances are even, from 2 to length − 2, at most one for each key, and
    unless there is room for all.
    """
    distances = np.asarray(distances)
    check_positive(batch=batch)
    check_distances(distances, length)
    random = np.random.default_rng((seed, step))
    each = [text_of(random, length, distances) for _ in range(batch)]
    return Texts(*(np.stack(parts) for parts in zip(*each, strict=True)))


def log_uniform(step: int, *, seed: int, n: int, longest: int) -> Integer[np.ndarray, "n"]:
    """So many even distances from 2 to ``longest``, as many from 2 to 4 as from 512 to 1,024."""
    random = np.random.default_rng((seed, step, 1))
    return 2 * np.exp(random.uniform(0, np.log(longest / 2), n)).astype(int)


def text_of(random: np.random.Generator, length: int, distances: np.ndarray) -> tuple:
    """The symbols of one text, and where it asks."""
    symbols = random.integers(VOCAB - N_FILLERS, VOCAB, length)
    first = 2 * places(random, length // 2, distances // 2)
    asked = first + distances
    keys = N_VALUES + random.permutation(N_KEYS)[: len(distances)]
    values = random.integers(N_VALUES, size=len(distances))
    for start in (first, asked):
        symbols[start], symbols[start + 1] = keys, values
    return symbols.astype(np.int32), asked.astype(np.int32)


def places(random: np.random.Generator, n_slots: int, reaches: np.ndarray) -> np.ndarray:
    """A start for each reach; no start or end falls on another. The longest reach chooses first."""
    taken, starts = set(), np.zeros_like(reaches)
    for pair in np.argsort(-reaches, kind="stable"):
        drawn = random.integers(n_slots - reaches[pair], size=TRIES)
        free = (s for s in drawn if not {s, s + reaches[pair]} & taken)
        start = next(free, None)
        require(start is not None, f"there is no room for {len(reaches)} pairs in {n_slots} slots.")
        taken |= {start, start + reaches[pair]}
        starts[pair] = start
    return starts


def check_distances(distances: np.ndarray, length: int) -> None:
    require(
        1 <= distances.size <= N_KEYS,
        f"a text has 1 to {N_KEYS} pairs, as many as there are keys; got {distances.size}.",
    )
    require(
        distances.ndim == 1 and np.issubdtype(distances.dtype, np.integer),
        f"distances must be a sequence of whole numbers; got {distances!r}.",
    )
    wrong = [int(d) for d in distances if d % 2 or not 2 <= d <= length - 2]
    require(
        not wrong,
        f"in a text of {length} symbols distances are even, from 2 to {length - 2}; got {wrong}.",
    )


# What a model makes of it ----------------------------------------------------------------------


def loss(model: Model, text: tuple, key: OptionalKey = None) -> Float[Array, ""]:
    """The mean of −ln p(value) over the questions of one (symbols, asked), in at least float32."""
    symbols, asked = text
    return cross_entropy(answers(model, symbols, asked, key), symbols[asked + 1]).mean()


def is_right(model: Model, text: tuple, key: OptionalKey = None) -> Bool[Array, "n_pairs"]:
    """For each question whether the right value is the model's first guess."""
    symbols, asked = text
    return answers(model, symbols, asked, key).argmax(-1) == symbols[asked + 1]


def answers(
    model: Model, symbols: Symbols, asked: Symbols, key: OptionalKey = None
) -> Float[Array, "n_pairs vocab"]:
    """The logits behind each question; those of other places are never made."""
    return model.readout(model.last_vectors(symbols[:-1], key)[asked])


def accuracy_by_distance(
    model: Model, texts: Texts, distances: Distances, key: OptionalKey = None
) -> dict[int, float]:
    """The share of right answers at each distance, one text at a time."""
    right = jax.jit(is_right)
    keys = [None] * len(texts.symbols) if key is None else jax.random.split(key, len(texts.symbols))
    each = [right(model, text, k) for text, k in zip(zip(*texts, strict=True), keys, strict=True)]
    return by_distance(np.stack(each), distances)


def by_distance(
    right: Bool[np.ndarray, "n_texts n_pairs"], distances: Distances
) -> dict[int, float]:
    """The share of right answers at each distance, the nearest first."""
    distances = np.asarray(distances)
    return {int(d): float(right[:, distances == d].mean()) for d in np.unique(distances)}
