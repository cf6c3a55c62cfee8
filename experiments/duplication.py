"""Table 2 of the Reformer's paper: which attention can copy, and with how many rounds of hashing?

    python experiments/duplication.py

A model of one layer continues 0w0 with w. Four models are trained with exact shared-QK attention
("Full") and with LSH attention of 4, 2 and 1 rounds. Each is read with exact attention and with 8,
4, 2 and 1 rounds, and the paper's table stands beside. Two lengths: a short one from three seeds,
which a chapter trains live, and the paper's from one seed.

Trained on whole sequences from the start, such a model long stays at ln 127 = 4.84 nats: the symbol
to copy is one among many, and nothing yet tells it apart. So training begins with excerpts, the
same few places of both copies, where it is one among four. They grow to the whole later.

Some 40 minutes on one core. Interrupt it whenever you like: the same command goes on where it
stopped. It writes duplication.json into experiments/results after each run. Its seconds are those
of the clock, which runs on while other work has the processor.
"""

import json
import math
import sys
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from efftx.models import (
    LanguageModel,
    Shared,
    Sizes,
    attention_layer,
    init_feed_forward,
    language_model,
    lsh,
    n_parameters,
    plain_residual,
    with_rounds,
)
from efftx.training.duplication import VOCAB, accuracy, batch_at, excerpt_loss, excerpts_at
from efftx.training.loop import TrainState, train
from efftx.training.optimisers import adamw
from experiments.harness import (
    at_step,
    checkpoints_folder,
    curve,
    head,
    kept,
    of_seeds,
    results_file,
    write,
)

NAME = "duplication"
RESULTS = results_file(NAME)

ROUNDS = {"Full": None, "LSH-8": 8, "LSH-4": 4, "LSH-2": 2, "LSH-1": 1}
TRAINED_WITH = ("Full", "LSH-4", "LSH-2", "LSH-1")
PAPER = {
    "source": "Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, Table 2",
    "L": 1024,
    "n_steps": 150_000,
    "per_cent": {
        "Full": dict(zip(ROUNDS, (100, 94.8, 92.5, 76.9, 52.5), strict=True)),
        "LSH-4": dict(zip(ROUNDS, (0.8, 100, 99.9, 99.4, 91.9), strict=True)),
        "LSH-2": dict(zip(ROUNDS, (0.8, 100, 99.9, 98.1, 86.8), strict=True)),
        "LSH-1": dict(zip(ROUNDS, (0.8, 99.9, 99.6, 94.8, 77.9), strict=True)),
    },
}

DIFFERENCES = [
    "training begins with short excerpts of both copies; the paper's is on whole sequences",
    "hundreds of steps of AdamW with 1024 or 2048 symbols each instead of 150,000 steps",
    "positions are a learned table that begins as sinusoids",
    "chunks are of L/16 symbols, in excerpts too, with two buckets for each chunk",
    "one table is from one seed, the other, at a smaller length and width, from three",
]


class Task(NamedTuple):
    """A length, a model for it, and how it is trained."""

    sizes: Sizes  # max_len is the length
    chunk_len: int
    windows: dict[int, int]  # from this step on, excerpts of so many symbols
    symbols_per_step: int
    n_steps: int
    peak_rate: float
    seeds: tuple[int, ...]
    n_evaluated: int  # sequences

    @property
    def length(self) -> int:
        return self.sizes.max_len

    def as_config(self) -> dict:
        windows = {str(step): window for step, window in self.windows.items()}
        plain = {"sizes": asdict(self.sizes), "windows": windows, "seeds": list(self.seeds)}
        return {**self._asdict(), **plain}


def one_layer(d_model: int, length: int) -> Sizes:
    """The paper's proportions: d_ff = d_model, 4 heads."""
    return Sizes(1, d_model, d_model, 4, d_model // 4, max_len=length, vocab=VOCAB)


TASKS = {
    "short": Task(
        one_layer(128, 128),
        chunk_len=8,
        windows={0: 8, 150: 128},
        symbols_per_step=1024,
        n_steps=300,
        peak_rate=1e-2,
        seeds=(0, 1, 2),
        n_evaluated=256,
    ),
    "long": Task(
        one_layer(256, 1024),
        chunk_len=64,
        windows={0: 16, 250: 128, 400: 1024},
        symbols_per_step=2048,
        n_steps=500,
        peak_rate=5e-3,
        seeds=(0,),
        n_evaluated=32,
    ),
}


def build(key, task: Task, trained_with: str) -> LanguageModel:
    """Additive learned positions, plain residuals."""
    rounds = ROUNDS[trained_with]
    exact = attention_layer(Shared())
    attention = exact if rounds is None else lsh(n_hashes=rounds, chunk_len=task.chunk_len)
    return language_model(key, task.sizes, attention, init_feed_forward, plain_residual)


# Running --------------------------------------------------------------------------------------


def main() -> None:
    folder = checkpoints_folder(__doc__)
    runs = []
    for task_name, task in TASKS.items():
        for seed in task.seeds:
            for trained_with in TRAINED_WITH:
                runs.append(run(task_name, trained_with, seed, folder))
                write(RESULTS, record(runs))


def run(task_name: str, trained_with: str, seed: int, folder: Path) -> dict:
    """Train and read one model, or what the folder keeps of that."""
    stem = f"{NAME}.{task_name}.{trained_with}.{seed}"
    checkpoint = folder / f"{stem}.npz"
    print(stem, flush=True)
    state = train_one(task_name, trained_with, seed, checkpoint)
    result = kept(checkpoint, partial(measure, state, task_name, trained_with, seed))
    print(json.dumps(result["per_cent"]), flush=True)
    return result


def train_one(task_name: str, trained_with: str, seed: int, checkpoint: Path) -> TrainState:
    task = TASKS[task_name]
    return train(
        build(jax.random.key(seed), task, trained_with),
        loss=excerpt_loss,
        batch_at=partial(excerpts_of, task, seed),
        optimiser=optimiser(task_name),
        n_steps=task.n_steps,
        seed=seed,
        checkpoint=checkpoint,
        config={**task.as_config(), "trained_with": trained_with},
        vocab=math.inf,  # positions are no tokens
    )


@cache  # one object for all seeds, so that a kind's step is compiled once
def optimiser(task_name: str):
    return adamw(TASKS[task_name].n_steps, peak=TASKS[task_name].peak_rate)


def excerpts_of(task: Task, seed: int, step: int) -> tuple:
    window = at_step(task.windows, step)
    batch = task.symbols_per_step // window
    return excerpts_at(step, seed=seed, length=task.length, batch=batch, window=window)


def measure(state: TrainState, task_name: str, trained_with: str, seed: int) -> dict:
    return {
        "task": task_name,
        "trained_with": trained_with,
        "seed": seed,
        "seconds": round(float(state.seconds), 1),
        "n_parameters": n_parameters(state.model),
        "per_cent": per_cent(state.model, TASKS[task_name]),
        "training_curve": curve(state.losses),
    }


def per_cent(model: LanguageModel, task: Task) -> dict[str, float]:
    """The right symbols among sequences that no training step drew, with each number of rounds."""
    fresh = batch_at(
        task.n_steps, seed=max(task.seeds) + 1, length=task.length, batch=task.n_evaluated
    )
    right = {}
    for name, rounds in ROUNDS.items():
        reader = with_rounds(model, rounds, chunk_len=task.chunk_len)
        batches = fresh.reshape(-1, 16, task.length)  # few at once, for memory's sake
        keys = jax.random.split(jax.random.key(0), len(batches))
        shares = [accuracy(reader, *each) for each in zip(batches, keys, strict=True)]
        right[name] = round(100 * float(np.mean(shares)), 2)
    return right


# Reporting ------------------------------------------------------------------------------------


def record(runs: list[dict]) -> dict:
    return {
        **head(NAME, runs),
        "tasks": {name: report(name, runs) for name in TASKS},
        "paper": PAPER,
        "differs_from_the_paper": DIFFERENCES,
        "runs": runs,
    }


def report(task_name: str, runs: list[dict]) -> dict:
    task = TASKS[task_name]
    of_task = [run for run in runs if run["task"] == task_name]
    return {
        "L": task.length,
        "config": task.as_config(),
        "symbols_seen": task.n_steps * task.symbols_per_step,
        "seeds": sorted({run["seed"] for run in of_task}),
        "per_cent": {
            trained: table_row([run for run in of_task if run["trained_with"] == trained])
            for trained in TRAINED_WITH
        },
    }


def table_row(runs: list[dict]) -> dict:
    return {
        name: of_seeds([run["per_cent"][name] for run in runs], digits=2) for name in ROUNDS if runs
    }


if __name__ == "__main__":
    main()
