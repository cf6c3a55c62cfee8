"""Train the same small text model with Adam and with 8-bit Adam, and compare the losses.

    python experiments/eight_bit_adam.py

Some minutes on one core. Interrupt it whenever you like: the same command goes on where it stopped.
It writes eight_bit_adam.json into experiments/results. Every seed draws a model and batches of its
own, the same for both optimisers, so that what the optimiser changes stands beside what the seed
does.
"""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import optax

from efftx.memory import adam_8bit
from efftx.models import Blocked, Sizes, n_parameters, transformer
from efftx.training.batches import random_windows
from efftx.training.corpora import Corpus, python_documentation
from efftx.training.loop import TrainState, train
from efftx.training.losses import bits_per_byte, evaluate
from experiments.harness import checkpoints_folder, curve, head, results_file, write

NAME = "eight_bit_adam"
RESULTS = results_file(NAME)

SIZES = Sizes(n_layers=2, d_model=128, d_ff=384, n_heads=4, d_head=32, max_len=128)
SEEDS = (0, 1)
N_STEPS = 500
PEAK_RATE = 2e-3
LENGTH, BATCH = 128, 8
OPTIMISERS = {"adam": optax.adam, "adam_8bit": adam_8bit}
CONFIG = {
    "sizes": asdict(SIZES),
    "n_steps": N_STEPS,
    "peak_rate": PEAK_RATE,
    "length": LENGTH,
    "batch": BATCH,
}


def main() -> None:
    checkpoints, corpus = checkpoints_folder(__doc__), python_documentation()
    results = [
        measure(train_one(name, seed, corpus, checkpoints), name, seed, corpus)
        for seed in SEEDS
        for name in OPTIMISERS
    ]
    write(RESULTS, record(corpus, results))
    print(json.dumps(results, indent=2))


def train_one(name: str, seed: int, corpus: Corpus, checkpoints: Path) -> TrainState:
    print(name, "seed", seed)
    rate = optax.warmup_cosine_decay_schedule(0, PEAK_RATE, N_STEPS // 20, N_STEPS)
    return train(
        transformer(jax.random.key(seed), SIZES, kind=Blocked()),
        loss=bits_per_byte,
        batch_at=partial(batch_at, corpus.train, seed),
        optimiser=OPTIMISERS[name](rate),
        n_steps=N_STEPS,
        seed=seed,
        checkpoint=checkpoints / f"{NAME}.{name}.{seed}.npz",
        config={**CONFIG, "optimiser": name, "corpus": corpus.sha256},
    )


def batch_at(text: np.ndarray, seed: int, step: int) -> np.ndarray:
    return random_windows(text, seed=seed, step=step, length=LENGTH, batch=BATCH)


def measure(state: TrainState, name: str, seed: int, corpus: Corpus) -> dict:
    losses = np.asarray(state.losses)
    moments = [x for x in jax.tree.leaves(state.optimiser_state) if x.ndim > 0]
    return {
        "optimiser": name,
        "seed": seed,
        "n_parameters": n_parameters(state.model),
        "moment_bytes_per_parameter": sum(x.nbytes for x in moments) / n_parameters(state.model),
        "seconds": round(float(state.seconds), 1),
        "bits_per_byte": {
            "train, last 100 steps": round(float(losses[-100:].mean()), 4),
            "held_out": round(evaluate(state.model, corpus.held_out, length=LENGTH), 4),
        },
        "training_curve": curve(losses),
    }


def record(corpus: Corpus, results: list[dict]) -> dict:
    return {
        **head(NAME, results),
        "L": LENGTH,
        "config": {**CONFIG, "seeds": SEEDS},
        "corpus": {"name": corpus.name, "sha256": corpus.sha256},
        "largest_difference": largest_difference(results),
        "runs": results,
    }


def largest_difference(results: list[dict]) -> dict:
    """Of 8-bit Adam's loss from Adam's with the same seed, as a fraction of it."""
    bits = {(run["optimiser"], run["seed"]): run["bits_per_byte"] for run in results}
    return {
        part: max(abs(bits["adam_8bit", s][part] / bits["adam", s][part] - 1) for s in SEEDS)
        for part in ("train, last 100 steps", "held_out")
    }


if __name__ == "__main__":
    main()
