"""Translation: pairs of texts as arrays of tokens, a loss, greedy decoding and BLEU.

A task is a `ParallelText`: `number_words` makes one, `wmt14` reads one from files.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import sacrebleu
from jaxtyping import Array, Float, Integer

from efftx.training.losses import counted_mean, cross_entropy
from efftx.training.vocabularies import END, PAD, START, Bytes, Pieces
from efftx.validation import check_positive, describe, require

Pair = tuple[str, str]  # a source and its translation
Rows = Integer[np.ndarray, "n_texts _"]  # a text in each row, filled up with PAD
Batch = Integer[np.ndarray, "batch _"]  # some of them
Tokens = Integer[Array | np.ndarray, "_"]


@dataclass(frozen=True)
class ParallelText:
    """Texts in one language with their translations into another, in two parts."""

    name: str
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    vocabulary: Pieces | Bytes  # of both languages

    @property
    def sha256(self) -> str:
        """Of all pairs, the training part first."""
        lines = (f"{source}\t{target}\n" for source, target in self.train + self.held_out)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


# Arrays ---------------------------------------------------------------------------------------


def as_arrays(vocabulary: Pieces | Bytes, pairs: Sequence[Pair]) -> tuple[Rows, Rows]:
    """Sources and targets as tokens, each padded to the longest; targets from START to END.

    Raises ValueError if there are no pairs, or if a text has a piece that the vocabulary has not.
    """
    require(len(pairs) >= 1, "there are no pairs to encode.")
    sources, targets = zip(*pairs, strict=True)
    return (
        padded([vocabulary.encode(source) for source in sources]),
        padded([[START, *vocabulary.encode(target), END] for target in targets]),
    )


def padded(rows: Sequence[Sequence[int]]) -> Rows:
    length = max(1, *map(len, rows))
    return np.array([[*row, *[PAD] * (length - len(row))] for row in rows], np.int32)


def random_pairs(
    sources: Rows, targets: Rows, *, seed: int, step: int, batch: int
) -> tuple[Batch, Batch]:
    """The batch of one training step: a pure function of the seed and the step."""
    check_positive(batch=batch)
    chosen = np.random.default_rng((seed, step)).integers(len(sources), size=batch)
    return sources[chosen], targets[chosen]


# Loss -----------------------------------------------------------------------------------------


def translation_loss(model: Callable, pair: tuple[Tokens, Tokens], key=None) -> Float[Array, ""]:
    """The mean of −log p(next token of the target), in nats; padding counts for nothing.

    The target runs from START to END: of every token but START there is one prediction. It is
    computed in at least float32, whatever the model's dtype.

    Raises ValueError unless source and target are vectors, the target of at least two integers, and
    for a target that is all padding, where that is known; under a trace it gives 0.
    """
    source, target = pair
    require(
        getattr(target, "ndim", 0) == 1 and len(target) >= 2,
        f"a target must be a vector from START to END; got {describe(target)}.",
    )
    inputs, expected = target[:-1], target[1:]
    logits = model(source, inputs, key, key_mask=source != PAD)
    return counted_mean(cross_entropy(logits, expected), expected != PAD)


# Decoding and BLEU ----------------------------------------------------------------------------


@partial(jax.jit, static_argnames="max_len")
def greedy_decode(
    model: Callable, sources: Integer[Array | np.ndarray, "batch length"], *, max_len: int
) -> Integer[Array, "batch max_len"]:
    """For each source the target that takes the likeliest token at every step.

    Each step computes the logits of all ``max_len`` positions anew: simple, and for the short
    targets of the course fast enough. What comes after END means nothing.
    """
    masks = sources != PAD
    encoded = jax.vmap(model.encode)(sources, key_mask=masks)

    def step(i, targets):
        logits = jax.vmap(model.decode)(targets[:, :-1], encoded)
        return targets.at[:, i + 1].set(logits[:, i].argmax(-1))

    start = jnp.full((len(sources), max_len + 1), PAD, jnp.int32).at[:, 0].set(START)
    return jax.lax.fori_loop(0, max_len, step, start)[:, 1:]


def translate(
    model: Callable,
    vocabulary: Pieces | Bytes,
    texts: Sequence[str],
    *,
    max_len: int,
    batch: int = 256,
) -> list[str]:
    """Greedy translations of the texts, of at most ``max_len`` tokens each."""
    check_positive(max_len=max_len, batch=batch)
    require(len(texts) >= 1, "there is nothing to translate.")
    sources = padded([vocabulary.encode(text) for text in texts])
    missing = -len(sources) % batch if len(sources) > batch else 0  # one shape, compiled once
    sources = np.pad(sources, ((0, missing), (0, 0)), constant_values=PAD)
    parts = [
        greedy_decode(model, sources[start : start + batch], max_len=max_len)
        for start in range(0, len(sources), batch)
    ]
    return [vocabulary.decode(row) for row in np.concatenate(parts)[: len(texts)]]


def bleu(
    translations: Sequence[str], references: Sequence[str], vocabulary: Pieces | Bytes
) -> float:
    """Corpus BLEU, 0 to 100, by sacrebleu.

    A `Pieces` vocabulary says what counts as a word: a German number is a single compound, which
    would be right or wrong as a whole, so its pieces are compared, ``vier tausend drei hundert``.
    Otherwise sacrebleu's own tokenisation ("13a") decides, as published figures have it.
    """
    require(
        len(translations) == len(references) >= 1,
        f"each translation needs one reference; got {len(translations)} and {len(references)}.",
    )
    if isinstance(vocabulary, Bytes):
        return sacrebleu.corpus_bleu(translations, [references]).score
    in_pieces = [
        [vocabulary.spaced(text) for text in texts] for texts in (translations, references)
    ]
    return sacrebleu.corpus_bleu(in_pieces[0], [in_pieces[1]], tokenize="none").score
