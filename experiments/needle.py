"""A needle in a million tokens: a small model that hashes answers about what stood a million ago.

    python experiments/recall.py && python experiments/needle.py

A model of `experiments/recall.py`, one layer with 4 rounds of hashing, has never seen more than
4,096 symbols. Here it reads texts of 2²⁰ and is asked for the values of keys that it met up to a
million symbols before, with 1 to 16 rounds; with queries stretched for the length, and without.
Each number of rounds runs in a process of its own, so that its peak of resident memory counts
everything.

Writes needle.json into experiments/results. Interrupt it whenever you like: rounds that are done
are not read again. Its seconds are those of the clock, which runs on while other work has the
processor: those of 1 to 8 rounds, in the committed file, were taken on a busy machine.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from efftx.models import n_parameters, with_rounds
from efftx.training.recall import Texts, by_distance, is_right, texts_at
from efftx.training.records import peak_rss_gib
from experiments import recall
from experiments.harness import command_line, head, made, results_file, write

NAME = "needle"
RESULTS = results_file(NAME)

TRAINED, SEED = "lsh_4", 0
ROUNDS = (1, 2, 4, 8, 16)
LENGTH = 2**20
DISTANCES = (64, 1024, 2**14, 2**18, 10**6)
N_PAIRS, N_TEXTS = 100, 2
CONFIG = {
    "model": f"{recall.NAME}.{TRAINED}.{SEED}",
    "trained_on": recall.CONFIG,
    "length": LENGTH,
    "n_pairs": N_PAIRS,
    "n_texts": N_TEXTS,
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rounds", type=int, nargs="+", default=ROUNDS)
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    made(chosen.checkpoints)
    for n_rounds in chosen.rounds:
        if chosen.in_this_process:
            print(json.dumps(read(n_rounds, chosen.checkpoints)))
        elif str(n_rounds) not in done():
            record(n_rounds, in_its_own_process(n_rounds, chosen.checkpoints))


def in_its_own_process(n_rounds: int, folder: Path) -> dict:
    command = [sys.executable, __file__, "--in-this-process", "--rounds", str(n_rounds)]
    command += ["--checkpoints", str(folder)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def done() -> dict:
    """What the file holds of this configuration."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results["rounds"] if results.get("config") == CONFIG else {}


def record(n_rounds: int, result: dict) -> None:
    rounds = {**done(), str(n_rounds): result}
    ordered = {n: rounds[n] for n in sorted(rounds, key=int)}
    write(RESULTS, {**head(NAME), "config": CONFIG, "rounds": ordered})
    print(json.dumps(result, indent=2), flush=True)


def read(n_rounds: int, folder: Path) -> dict:
    """All texts with so many rounds: what was answered, and what a text took."""
    model = with_rounds(trained(folder), n_rounds, chunk_len=recall.HASH_CHUNK)
    distances = np.resize(DISTANCES, N_PAIRS)
    texts = texts_at(0, seed=SEED, length=LENGTH, batch=N_TEXTS, distances=distances)
    first = texts.symbols[0], texts.asked[0]
    run = jax.jit(is_right).lower(model, first, jax.random.key(SEED)).compile()
    stretched, seconds = answers(run, recall.stretched(model, LENGTH), texts)
    as_trained, more_seconds = answers(run, model, texts)
    seconds += more_seconds
    return {
        "right": shares(stretched, distances),
        "as_trained": shares(as_trained, distances),
        "answers_at_each_distance": N_TEXTS * N_PAIRS // len(DISTANCES),
        "seconds": float(np.median(seconds)),
        "seconds_by_text": seconds,
        "temporary_gib": round(run.memory_analysis().temp_size_in_bytes / 2**30, 3),
        "peak_rss_gib": round(peak_rss_gib(), 2),
        "n_parameters": n_parameters(model),
    }


def answers(run, model, texts: Texts) -> tuple[np.ndarray, list[float]]:
    """Of each text which answers are right, and what it took."""
    keys = jax.random.split(jax.random.key(SEED), N_TEXTS)
    right, seconds = [], []
    for symbols, asked, key in zip(*texts, keys, strict=True):
        started = time.perf_counter()
        right.append(np.asarray(run(model, (symbols, asked), key)))
        seconds.append(round(time.perf_counter() - started, 2))
    return np.stack(right), seconds


def shares(right: np.ndarray, distances: np.ndarray) -> dict:
    return {str(d): round(share, 4) for d, share in by_distance(right, distances).items()}


def trained(folder: Path):
    """The model as `experiments/recall.py` left it; refuses to train one here."""
    checkpoint = folder / f"{CONFIG['model']}.npz"
    if not checkpoint.exists():
        sys.exit(f"{checkpoint} is missing: run experiments/recall.py first.")
    return recall.train_one(TRAINED, SEED, checkpoint).model


if __name__ == "__main__":
    main()
