"""Does it translate as well when its activations are rebuilt? Plain against reversible, by BLEU.

    python experiments/reversible_bleu.py

Two encoder-decoders with the same parameters' shapes, the same batches and the same steps learn to
translate number words from English into German, each from five seeds; only their residual differs.
A seed is a pair of runs, so what is reported is the mean of the five differences in BLEU with its
95 % interval by Student's t.

A quarter of an hour on two idle cores. Interrupt it whenever you like: the same command goes on
where it stopped. It writes reversible_bleu.json into experiments/results. Its seconds are those of
the clock, which runs on while other work has the processor.
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from efftx.models import Sizes, encoder_decoder, n_parameters, plain_residual, reversible_residual
from efftx.training.loop import TrainState, train
from efftx.training.number_words import number_words
from efftx.training.optimisers import adamw
from efftx.training.records import mean_with_interval
from efftx.training.translation import (
    ParallelText,
    as_arrays,
    bleu,
    random_pairs,
    translate,
    translation_loss,
)
from experiments.harness import checkpoints_folder, head, results_file, write

NAME = "reversible_bleu"
RESULTS = results_file(NAME)

RESIDUALS = {"plain": plain_residual, "reversible": reversible_residual}
SEEDS = range(5)
N_STEPS = 400
PEAK_RATE = 3e-3
BATCH = 64
N_TRAIN = 150  # pairs; so few that neither model gets all held-out numbers right
SIZES = {"n_layers": 3, "d_model": 64, "d_ff": 256, "n_heads": 4, "d_head": 16, "max_len": 32}
CONFIG = {**SIZES, "n_train": N_TRAIN, "n_steps": N_STEPS, "batch": BATCH, "peak_rate": PEAK_RATE}


def main() -> None:
    folder, task = checkpoints_folder(__doc__), number_words(n_train=N_TRAIN)
    runs = [run(task, kind, seed, folder) for seed in SEEDS for kind in RESIDUALS]
    write(RESULTS, record(task, runs))
    print(json.dumps(difference(runs), indent=2))


def run(task: ParallelText, kind: str, seed: int, folder: Path) -> dict:
    """Train one model and translate the held-out numbers."""
    sources, targets = as_arrays(task.vocabulary, task.train)
    state = train_one(task, sources, targets, kind, seed, folder / f"{NAME}.{kind}.{seed}.npz")
    english, german = zip(*task.held_out, strict=True)
    translations = translate(state.model, task.vocabulary, english, max_len=targets.shape[1])
    result = {
        "residual": kind,
        "seed": seed,
        "bleu": round(bleu(translations, german, task.vocabulary), 2),
        "right": sum(map(str.__eq__, translations, german)),
        "last_loss": round(float(np.mean(state.losses[-50:])), 4),
        "seconds": round(float(state.seconds), 1),
        "n_parameters": n_parameters(state.model),
    }
    print(result, flush=True)
    return result


def train_one(task, sources, targets, kind: str, seed: int, checkpoint: Path) -> TrainState:
    sizes = Sizes(**SIZES, vocab=len(task.vocabulary))
    return train(
        encoder_decoder(jax.random.key(seed), sizes, residual=RESIDUALS[kind]),
        loss=translation_loss,
        batch_at=partial(batch_at, sources, targets, seed),
        optimiser=adamw(N_STEPS, peak=PEAK_RATE),
        n_steps=N_STEPS,
        seed=seed,
        checkpoint=checkpoint,
        config={**CONFIG, "residual": kind, "task": task.sha256},
    )


def batch_at(sources, targets, seed: int, step: int):
    return random_pairs(sources, targets, seed=seed, step=step, batch=BATCH)


def difference(runs: list[dict]) -> dict:
    """Reversible less plain, seed by seed; the mean with its 95 % interval."""
    by_kind = {kind: [r["bleu"] for r in runs if r["residual"] == kind] for kind in RESIDUALS}
    each = np.subtract(by_kind["reversible"], by_kind["plain"])
    return {
        "bleu": by_kind,
        "differences": each.round(2).tolist(),
        **mean_with_interval(each, digits=2),
    }


def record(task: ParallelText, runs: list[dict]) -> dict:
    sources, targets = as_arrays(task.vocabulary, task.train)
    return {
        **head(NAME, runs, packages=("num2words", "sacrebleu")),
        "L": {"source": sources.shape[1], "target": targets.shape[1]},
        "seeds": list(SEEDS),
        "config": CONFIG,
        "task": {"name": task.name, "sha256": task.sha256, "n_held_out": len(task.held_out)},
        "reversible_less_plain": difference(runs),
        "runs": runs,
    }


if __name__ == "__main__":
    main()
