"""What does hashing cost in quality? The same small model with nine kinds of attention, on text.

    python experiments/text_quality.py

A byte-level language model of Python source with full attention, with shared queries and keys, with
LSH attention of 1, 2, 4 and 8 rounds, with local attention only, with local attention below and LSH
attention above, and with none at all. All have as many parameters as the one with separate q, k and
v, or a few less: what a kind saves is spent on a wider d_ff. All see the same bytes, each from
several seeds, so what is reported is a mean with its 95 % interval, and the same of the differences
from shared QK, seed by seed.

Every model is trained from scratch, first on short windows and then on windows of the full length,
for what stands near is learned first and more cheaply. Positions are rotary, which know no longest
length, so nothing new has to be learned where the windows grow. Each model with shared QK is then
also read with other numbers of rounds than those it was trained with.

The models are small and see a megabyte or so; nothing here says what would be at the paper's size.

About 45 minutes on one core. Interrupt it whenever you like: the same command goes on where it
stopped. It writes text_quality.json into experiments/results after each seed from the second on.
Its seconds are those of the clock, which runs on while other work has the processor.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from efftx.models import (
    Attention,
    Blocked,
    LanguageModel,
    Layer,
    Shared,
    Sizes,
    attention_layer,
    init_feed_forward,
    language_model,
    local,
    lsh,
    n_parameters,
    plain_residual,
    with_rounds,
)
from efftx.models.branch import branches
from efftx.models.embedding import init_embedding
from efftx.training.batches import consecutive_windows, random_windows
from efftx.training.corpora import Corpus, standard_library
from efftx.training.loop import TrainState, train
from efftx.training.losses import bits_per_byte, mean_bits
from efftx.training.optimisers import adamw
from experiments.harness import (
    at_step,
    checkpoints_folder,
    curve,
    equal_width,
    head,
    kept,
    of_seeds,
    results_file,
    write,
)

NAME = "text_quality"
RESULTS = results_file(NAME)

SIZES = Sizes(n_layers=2, d_model=64, d_ff=192, n_heads=2, d_head=32, max_len=2048)  # of "full"
CHUNK_LEN = 64
SEEDS = range(3)
N_STEPS = 600
PEAK_RATE = 5e-3
WINDOWS = {0: (8, 128), 500: (1, SIZES.max_len)}  # from this step on, (batch, length)
N_EVALUATED = 32  # windows of the full length, from all over the held-out text
# Is hashing as good as full attention? Do the layers of LSH attention matter?
QUESTIONS = [("lsh_8", "full"), ("lsh_4", "off"), ("local_then_lsh_4", "local")]
READ_WITH = {"1": 1, "2": 2, "4": 4, "8": 8, "exact": None}  # rounds
CONFIG = {
    "sizes_of_full": asdict(SIZES),
    "chunk_len": CHUNK_LEN,
    "positions": "rotary",
    "n_steps": N_STEPS,
    "peak_rate": PEAK_RATE,
    "windows": {str(step): list(shape) for step, shape in WINDOWS.items()},
}


# Models ---------------------------------------------------------------------------------------

exact = attention_layer(Blocked(rotary=True))
exact_shared = attention_layer(Shared(rotary=True))
near = local(chunk_len=CHUNK_LEN, rotary=True)


def hashed(n_hashes: int) -> Callable:
    return lsh(n_hashes=n_hashes, chunk_len=CHUNK_LEN, rotary=True)


@register_dataclass
@dataclass(frozen=True)
class Off(Layer):
    """Attention switched off: positions do not exchange anything."""

    positionwise: ClassVar[bool] = True

    def __call__(self, x, *others):
        return jnp.zeros_like(x), None


def nothing(key, sizes: Sizes) -> Layer:
    return Off()


ATTENTION = {
    "full": exact,
    "shared_qk": exact_shared,
    "lsh_8": hashed(8),
    "lsh_4": hashed(4),
    "lsh_2": hashed(2),
    "lsh_1": hashed(1),
    "local": near,
    "local_then_lsh_4": (near, hashed(4)),
    "off": nothing,
}


def build(key, name: str, d_ff: int) -> LanguageModel:
    embedding = partial(init_embedding, positions="none")
    parts = ATTENTION[name], init_feed_forward, plain_residual, embedding
    return language_model(key, replace(SIZES, d_ff=d_ff), *parts)


@cache
def count(name: str, d_ff: int) -> int:
    return n_parameters(jax.eval_shape(partial(build, name=name, d_ff=d_ff), jax.random.key(0)))


def width(name: str) -> int:
    return equal_width(count, name, "full", SIZES.d_ff)


# Running --------------------------------------------------------------------------------------


def main() -> None:
    folder, corpus = checkpoints_folder(__doc__), standard_library()
    runs = []
    for seed in SEEDS:
        runs += [run(name, seed, corpus, folder) for name in ATTENTION]
        if seed > SEEDS[0]:
            write(RESULTS, record(corpus, runs))
    print(json.dumps(record(corpus, runs)["variants"], indent=2))


def run(name: str, seed: int, corpus: Corpus, folder: Path) -> dict:
    """Train and read one model, or what the folder keeps of that."""
    print(name, "seed", seed, flush=True)
    checkpoint = folder / f"{NAME}.{name}.{seed}.npz"
    state = train_one(name, seed, corpus, checkpoint)
    result = kept(checkpoint, partial(measure, state, name, seed, corpus))
    print(json.dumps(result), flush=True)
    return result


def train_one(name: str, seed: int, corpus: Corpus, checkpoint: Path) -> TrainState:
    return train(
        build(jax.random.key(seed), name, width(name)),
        loss=bits_per_byte,
        batch_at=partial(batch_at, corpus.train, seed),
        optimiser=optimiser(),
        n_steps=N_STEPS,
        seed=seed,
        checkpoint=checkpoint,
        config={**CONFIG, "attention": name, "corpus": corpus.sha256},
    )


@cache  # one object for all seeds, so that a kind's step is compiled once
def optimiser():
    return adamw(N_STEPS, peak=PEAK_RATE)


def batch_at(text: np.ndarray, seed: int, step: int) -> np.ndarray:
    batch, length = windows_at(step)
    return random_windows(text, seed=seed, step=step, length=length, batch=batch)


def windows_at(step: int) -> tuple[int, int]:
    return at_step(WINDOWS, step)


# Measuring ------------------------------------------------------------------------------------


def measure(state: TrainState, name: str, seed: int, corpus: Corpus) -> dict:
    windows = held_out_windows(corpus)
    return {
        "attention": name,
        "seed": seed,
        "seconds": round(float(state.seconds), 1),
        "bits_per_byte": held_out_bits(state.model, windows, seed),
        "read_with": read_with(state.model, windows, seed) if shares_qk(state.model) else None,
        "training_curve": curve(state.losses),
    }


def shares_qk(model: LanguageModel) -> bool:
    """So that exact attention and hashing are two ways to compute the same."""
    return any(
        isinstance(branch.layer, Attention) and isinstance(branch.layer.kind, Shared)
        for branch in branches(model.blocks)
    )


def read_with(model: LanguageModel, windows: np.ndarray, seed: int) -> dict:
    """The same parameters with each number of rounds, and exactly."""
    return {
        rounds: held_out_bits(with_rounds(model, n, chunk_len=CHUNK_LEN), windows, seed)
        for rounds, n in READ_WITH.items()
    }


def held_out_windows(corpus: Corpus) -> np.ndarray:
    """(n, 1, length + 1) bytes, evenly from all over the held-out text."""
    windows = consecutive_windows(corpus.held_out, length=SIZES.max_len, batch=1)
    return windows[np.linspace(0, len(windows) - 1, N_EVALUATED).astype(int)]


def held_out_bits(model: LanguageModel, windows: np.ndarray, seed: int) -> float:
    """Every window is hashed by rotations of its own."""
    keys = jax.random.split(jax.random.key(seed), len(windows))
    bits = [float(mean_bits(model, *each)) for each in zip(windows, keys, strict=True)]
    return round(float(np.mean(bits)), 4)


# Reporting ------------------------------------------------------------------------------------


def record(corpus: Corpus, runs: list[dict]) -> dict:
    return {
        **head(NAME, runs),
        "L": SIZES.max_len,
        "seeds": sorted({run["seed"] for run in runs}),
        "config": CONFIG,
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "bytes_trained_on": sum(math.prod(windows_at(step)) for step in range(N_STEPS)),
            "bytes_evaluated": N_EVALUATED * SIZES.max_len,
        },
        "variants": {name: compare(name, runs) for name in ATTENTION},
        "answers": {f"{a} less {b}": less(a, b, runs) for a, b in QUESTIONS},
        "runs": runs,
    }


def compare(name: str, runs: list[dict]) -> dict:
    """A variant's size and its bits per byte, as trained, against shared QK, with other rounds."""
    readings = [run["read_with"] for run in runs if run["attention"] == name]
    return {
        "n_parameters": count(name, width(name)),
        "d_ff": width(name),
        "bits_per_byte": summary(held_out(name, runs)),
        "less_shared_qk": less(name, "shared_qk", runs),
        "read_with": readings[0]
        and {rounds: summary([each[rounds] for each in readings]) for rounds in READ_WITH},
    }


def less(one: str, other: str, runs: list[dict]) -> dict:
    """How much more bits per byte the one needs than the other, seed by seed."""
    return summary(held_out(one, runs) - held_out(other, runs))


def held_out(name: str, runs: list[dict]) -> np.ndarray:
    return np.array([run["bits_per_byte"] for run in runs if run["attention"] == name])


def summary(by_seed) -> dict:
    return of_seeds(np.round(by_seed, 4).tolist())


if __name__ == "__main__":
    main()
