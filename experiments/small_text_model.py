"""Train the two small models whose vectors the chapters look at, and write them into the package.

    python experiments/small_text_model.py

Some minutes on one core. Interrupt it whenever you like: the same command goes on where it stopped.
It writes small_text_model.npz into efftx/models/pretrained and small_text_model.json into
experiments/results.

The windows start short and grow, for what stands next to what is learned first: in a trial of 600
steps, windows of 64 bytes came to 2.7 bits per byte, as many bytes in windows of 1,024 only to 3.5.
The plain model has not recovered from the last lengthening when the steps end, as its training
curve in the results shows; read its distance from the shared-QK model with that in mind.
"""

import json
import sys
import sysconfig
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from efftx.models import Blocked, Shared, Sizes, n_parameters, pretrained, transformer
from efftx.training.batches import random_windows
from efftx.training.corpora import Corpus, as_tokens, is_held_out, standard_library
from efftx.training.loop import TrainState, train
from efftx.training.losses import bits_per_byte, evaluate
from efftx.training.optimisers import adamw
from efftx.validation import require
from experiments.harness import at_step, checkpoints_folder, curve, head, results_file, write

NAME = "small_text_model"
RESULTS = results_file(NAME)

SIZES = Sizes(n_layers=2, d_model=128, d_ff=384, n_heads=4, d_head=32, max_len=1024)
SEED = 0
N_STEPS = 3000
PEAK_RATE = 3e-3
BYTES_PER_STEP = 2048
LENGTHS = {0: 64, 1200: 256, 2000: 1024}  # from this step on, windows of this length
EVALUATED = 512 * 1024  # bytes of each part of the corpus
EXAMPLE = "asyncio/queues.py"  # a held-out file with plenty of names that come again
KINDS = {"shared_qk": Shared(), "plain": Blocked()}
CONFIG = {
    "sizes": asdict(SIZES),
    "seed": SEED,
    "n_steps": N_STEPS,
    "peak_rate": PEAK_RATE,
    "bytes_per_step": BYTES_PER_STEP,
    "lengths": {str(step): length for step, length in LENGTHS.items()},
}


def main() -> None:
    checkpoints, corpus = checkpoints_folder(__doc__), standard_library()
    models, results = {}, {}
    for kind in KINDS:
        state = train_kind(kind, corpus, checkpoints / f"{NAME}.{kind}.npz")
        models[kind] = state.model
        results[kind] = measure(state, corpus)
    pretrained.write(pretrained.FILE, models, SIZES, example_text=held_out_file(EXAMPLE))
    write(RESULTS, record(corpus, results))
    print(json.dumps(results, indent=2))


def train_kind(kind: str, corpus: Corpus, checkpoint: Path) -> TrainState:
    print(kind)
    return train(
        transformer(jax.random.key(SEED), SIZES, kind=KINDS[kind]),
        loss=bits_per_byte,
        batch_at=partial(batch_at, corpus.train),
        optimiser=adamw(N_STEPS, peak=PEAK_RATE),
        n_steps=N_STEPS,
        seed=SEED,
        checkpoint=checkpoint,
        config={**CONFIG, "kind": kind, "corpus": corpus.sha256},
    )


def batch_at(text: np.ndarray, step: int) -> np.ndarray:
    length = at_step(LENGTHS, step)
    return random_windows(text, seed=SEED, step=step, length=length, batch=BYTES_PER_STEP // length)


def measure(state: TrainState, corpus: Corpus) -> dict:
    """Of the model as it is stored, in float16, over windows of the full length."""
    stored = jax.tree.map(lambda array: array.astype(np.float16).astype(np.float32), state.model)
    bits = partial(evaluate, stored, length=SIZES.max_len, batch=1)
    return {
        "n_parameters": n_parameters(stored),
        "seconds": round(float(state.seconds), 1),
        "bits_per_byte": {
            "train": bits(corpus.train[:EVALUATED]),
            "held_out": bits(corpus.held_out[:EVALUATED]),
            "example_text": bits(held_out_file(EXAMPLE)),
        },
        "training_curve": curve(state.losses, steps_each=100),
    }


def held_out_file(name: str) -> np.ndarray:
    require(is_held_out(name), f"{name} is among the files that the models are trained on")
    return as_tokens((Path(sysconfig.get_path("stdlib")) / name).read_bytes())


def record(corpus: Corpus, results: dict) -> dict:
    return {
        **head(NAME, results.values()),
        "L": SIZES.max_len,
        "config": CONFIG,
        "corpus": {"name": corpus.name, "sha256": corpus.sha256, "bytes_evaluated": EVALUATED},
        "example_text": EXAMPLE,
        "models": results,
    }


if __name__ == "__main__":
    main()
