"""From one's own text to a trained model, in one call.

    trained = train_on_text(["letters/"], TextRun(length=2048), checkpoint="letters.npz")

What the run needs in memory is asked of the compiler before anything starts, and a run that does
not fit is refused with what would make it fit. The same call goes on where a killed one stopped.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from efftx.models import Blocked, Sizes, lsh, plain_residual, reformer, reversible_residual
from efftx.models.transformer import transformer
from efftx.training.batches import random_windows
from efftx.training.documents import Tokens, read_documents, split
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte, evaluate
from efftx.training.needs import check_fits, free_bytes
from efftx.training.optimisers import adamw
from efftx.validation import check_choice, check_positive, require

MODELS, DTYPES = ("reformer", "transformer"), ("float32", "bfloat16")
ROWS_AT_ONCE = 1024  # of feed-forward layers and of logits
EVALUATED_AT_ONCE = 4  # windows of the held-out text


@dataclass(frozen=True)
class TextRun:
    """What is trained on a text, and how; ``python -m efftx train`` has options of these names."""

    model: str = "reformer"  # or "transformer", with exact attention
    length: int = 1024  # tokens that the model sees at once
    layers: int = 2
    width: int = 128
    heads: int = 4
    rounds: int = 2  # of hashing, of a reformer
    reversible: bool = False  # a reformer is, always
    batch: int = 8  # windows of a step
    at_once: int | None = None  # of them; their gradients are added up. None: what is best
    steps: int = 1000
    rate: float = 3e-3  # the highest: it rises, then falls along a cosine
    dtype: str = "float32"  # of the parameters
    seed: int = 0

    def __post_init__(self):
        check_choice("model", self.model, MODELS)
        check_choice("dtype", self.dtype, DTYPES)
        whole = "length layers width heads rounds batch steps"
        check_positive(**{name: getattr(self, name) for name in whole.split()})
        if self.at_once is not None:
            check_positive(at_once=self.at_once)
        require(
            self.width % (2 * self.heads) == 0,
            f"width must be a multiple of 2 · heads = {2 * self.heads}; got {self.width}.",
        )
        require(self.rate > 0, f"rate must be positive; got {self.rate!r}.")

    def built(self, vocab: int) -> Any:
        """The model, untrained."""
        sizes = Sizes(
            n_layers=self.layers,
            d_model=self.width,
            d_ff=4 * self.width,
            n_heads=self.heads,
            d_head=self.width // self.heads,
            max_len=self.length,
            vocab=vocab,
        )
        key, rows = jax.random.key(self.seed), min(ROWS_AT_ONCE, self.length)
        if self.model == "reformer":
            attention = lsh(n_hashes=self.rounds)
            model = reformer(key, sizes, attention=attention, ff_chunk_len=rows)
        else:
            residual = reversible_residual if self.reversible else plain_residual
            model = transformer(key, sizes, kind=Blocked(), ff_chunk_len=rows, residual=residual)
        return jax.tree.map(lambda x: x.astype(self.dtype), model)

    @property
    def loss(self) -> Callable:
        return partial(bits_per_byte, chunk_len=min(ROWS_AT_ONCE, self.length))

    @property
    def config(self) -> dict:
        """What a checkpoint records; a run may be given more steps."""
        return {name: value for name, value in asdict(self).items() if name != "steps"}


class Trained(NamedTuple):
    """What came out of a run on a text."""

    model: Any
    losses: np.ndarray  # (steps,) bits per token
    bits_per_byte: float  # of the text that was held out


def train_on_text(
    paths: Iterable[Path | str],
    run: TextRun = TextRun(),
    *,
    checkpoint: Path | str | None = None,
    tokenizer: Path | str | None = None,
    save_every: int = 100,
    memory: int | None = None,
    mesh: Mesh | None = None,
    on_start: Callable | None = None,
    on_step: Callable | None = None,
    progress: bool = True,
) -> Trained:
    """Train a model on the text of some files or folders, and measure it on what was held out.

    A tenth is held out: of many files whole ones, of few the end. Tokens are bytes, or those of a
    ``tokenizer``, a file of the `tokenizers` package. ``checkpoint``, ``save_every``, ``mesh`` and
    ``on_step`` are those of :func:`efftx.training.train`; the file holds the model for
    `load_model`, too. ``memory`` are the bytes that a step may take, by default what is free.
    ``on_start(corpus, needed, there_are, model)`` is called once all is known, with bytes.

    Raises ValueError for paths that are not there, for a text too short for its windows, for a
    checkpoint of another run or text, and where a step takes more memory than there is.
    """
    tokens = Tokens(tokenizer)
    corpus = split(read_documents(paths))
    text, held_out = (tokens.encoded(part.tobytes()) for part in (corpus.train, corpus.held_out))
    check_length(run.length, text, held_out)
    budget = free_bytes() if memory is None else memory
    needed = check_fits(run, tokens.vocab, budget)
    model = run.built(tokens.vocab)
    if on_start is not None:
        on_start(corpus, needed, budget, model)
    config = {**run.config, "text": corpus.sha256, "tokenizer": tokenizer and str(tokenizer)}
    state = train(
        model,
        loss=run.loss,
        batch_at=batches(run, text),
        optimiser=adamw(run.steps, peak=run.rate),
        n_steps=run.steps,
        seed=run.seed,
        checkpoint=checkpoint,
        save_every=save_every,
        config=config,
        examples_at_once=run.at_once,
        mesh=mesh,
        on_step=on_step,
        progress=progress,
    )
    per_byte = len(held_out) / len(corpus.held_out)
    bits = evaluate(state.model, held_out, **how_to_evaluate(run, held_out)) * per_byte
    return Trained(state.model, np.asarray(state.losses), bits)


def batches(run: TextRun, text: np.ndarray) -> Callable:
    how = {"seed": run.seed, "length": run.length, "batch": run.batch}
    return lambda step: random_windows(text, step=step, **how)


def how_to_evaluate(run: TextRun, held_out: np.ndarray) -> dict:
    n_windows = (len(held_out) - 1) // run.length
    key = jax.random.key(run.seed)  # a reformer hashes with it
    return {
        "length": run.length,
        "batch": min(EVALUATED_AT_ONCE, n_windows),
        "key": key,
        "progress": False,
    }


def check_length(length: int, text: np.ndarray, held_out: np.ndarray) -> None:
    """Both parts hold a window."""
    shortest = min(len(text), len(held_out))
    require(
        shortest > length,
        f"the text has {len(text):,} tokens to train with and {len(held_out):,} held out, and a "
        f"window takes {length + 1:,}: take more text, or a length of at most {shortest - 1:,}.",
    )
