"""One training step of a Reformer on a million tokens, on a CPU with two cores.

    python experiments/million_tokens.py                       # 16k, 64k, 256k, 1M, one step each
    python experiments/million_tokens.py --lengths 262144 --steps 20
    python experiments/million_tokens.py --rounds 1 2 4 8      # a step on 1M tokens with each

Forward, backward and Adam's update of a 6-layer Reformer on the bytes of the standard library's
source, with one round of hashing if nothing else is said. Each case runs in a process of its own,
so that its peak of resident memory counts everything: interpreter, compiler, parameters, optimiser
and step. Compiling is timed apart.

Writes million_tokens.json into experiments/results, with --rounds million_rounds.json: what stands
in one file was measured on one machine. Interrupt it whenever you like: cases that are done are not
run again, and a run of several steps goes on where it stopped.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import optax
from tqdm import tqdm

from efftx.models import lsh, n_parameters, reformer
from efftx.models.reformer import MILLION_TOKENS
from efftx.training import checkpoints
from efftx.training.batches import random_windows
from efftx.training.corpora import standard_library
from efftx.training.losses import bits_per_byte
from efftx.training.records import peak_rss_gib
from experiments.harness import command_line, head, made, results_file, write

NAME, OF_ROUNDS = "million_tokens", "million_rounds"

SIZES = MILLION_TOKENS
LENGTHS = (2**14, 2**16, 2**18, 2**20)
DEPTHS = (2, 6, 24)
SEED = 0
CONFIG = {
    "sizes": asdict(SIZES),
    "chunk_len": 64,
    "ff_chunk_len": 4096,
    "loss_chunk_len": 4096,
    "optimiser": "adam",
    "rate": 1e-3,
}
OPTIMISER = optax.adam(CONFIG["rate"])


class Case(NamedTuple):
    """What a process of its own measures."""

    length: int
    n_hashes: int = 1

    def __str__(self) -> str:
        return f"{self.length}.{self.n_hashes}"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, nargs="+", help="at the longest length only")
    parser.add_argument("--steps", type=int, default=1, help="how many, the first included")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    made(chosen.checkpoints)
    name, cases = NAME, [Case(length) for length in chosen.lengths]
    if chosen.rounds:
        longest = max(chosen.lengths)
        name, cases = OF_ROUNDS, [Case(longest, n_hashes) for n_hashes in chosen.rounds]
    for case in cases:
        if chosen.in_this_process:
            print(json.dumps(run(case, chosen.steps, chosen.checkpoints)))
        elif len(done(name, case).get("losses", [])) < chosen.steps:
            record(name, case, in_its_own_process(case, chosen))


def in_its_own_process(case: Case, chosen: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--in-this-process", "--lengths", str(case.length)]
    command += ["--rounds", str(case.n_hashes)]
    command += ["--steps", str(chosen.steps), "--checkpoints", str(chosen.checkpoints)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


# The results file -----------------------------------------------------------------------------


def recorded(name: str) -> dict:
    """What the file holds of this configuration and machine."""
    path, now = results_file(name), {"config": CONFIG, "machine": head(name)["machine"]}
    results = json.loads(path.read_text()) if path.exists() else {}
    return results if {field: results.get(field) for field in now} == now else {}


def done(name: str, case: Case) -> dict:
    return cases_of(recorded(name)).get(case, {})


def cases_of(results: dict) -> dict[Case, dict]:
    return {Case(each["L"], each["n_hashes"]): each for each in results.get("cases", [])}


def record(name: str, case: Case, result: dict) -> None:
    cases = {**cases_of(recorded(name)), case: result}
    ordered = [cases[case] for case in sorted(cases)]
    write(results_file(name), {**head(name), "seed": SEED, "config": CONFIG, "cases": ordered})
    shown = {name: value for name, value in result.items() if name != "losses"}
    print(json.dumps(shown, indent=2))


# One case -------------------------------------------------------------------------------------


def make_model(key, n_hashes: int, n_layers: int):
    attention = lsh(n_hashes=n_hashes, chunk_len=CONFIG["chunk_len"])
    sizes = replace(SIZES, n_layers=n_layers)
    return reformer(key, sizes, attention=attention, ff_chunk_len=CONFIG["ff_chunk_len"])


@partial(jax.jit, donate_argnames="state")
def train_step(state, window, key):
    """The next model and optimiser state, in the memory of the ones before, and the loss."""
    model, optimiser_state = state
    loss = partial(bits_per_byte, chunk_len=CONFIG["loss_chunk_len"])
    value, gradients = jax.value_and_grad(loss)(model, window, key)
    updates, optimiser_state = OPTIMISER.update(gradients, optimiser_state, model)
    return (optax.apply_updates(model, updates), optimiser_state), value


def new_state(n_hashes: int, n_layers: int = SIZES.n_layers):
    model = make_model(jax.random.key(SEED), n_hashes, n_layers)
    return model, OPTIMISER.init(model)


def compiled(case: Case, n_layers: int = SIZES.n_layers):
    """The step for this case, and how long its compilation took."""
    shapes = jax.eval_shape(partial(new_state, case.n_hashes, n_layers))
    window = jax.ShapeDtypeStruct((case.length + 1,), np.uint8)
    started = time.perf_counter()
    step = train_step.lower(shapes, window, jax.random.key(SEED)).compile()
    return step, time.perf_counter() - started


def temporary_gib(step) -> float:
    """What the compiled step sets aside beside parameters and optimiser state."""
    return round(step.memory_analysis().temp_size_in_bytes / 2**30, 3)


def run(case: Case, n_steps: int, folder: Path) -> dict:
    """Train on windows of this length; seconds of each step, losses, and the process's peak."""
    corpus = standard_library()
    length = case.length
    step, compile_seconds = compiled(case)
    state, before = resumed(case, folder)
    seconds, losses = [list(x) for x in before]
    with Progress(case, n_steps, len(losses)) as bar:
        for number in range(len(losses), n_steps):
            window = random_windows(corpus.train, seed=SEED, step=number, length=length, batch=1)[0]
            started = time.perf_counter()
            state, loss = step(state, window, jax.random.fold_in(jax.random.key(SEED), number))
            losses.append(round(float(loss), 4))
            seconds.append(round(time.perf_counter() - started, 2))
            bar.update()
            save(case, folder, state, seconds, losses)
    return {
        "L": length,
        "n_hashes": case.n_hashes,
        "seconds": float(np.median(seconds)),
        "seconds_per_step": seconds,
        "microseconds_per_token": round(1e6 * float(np.median(seconds)) / length, 2),
        "losses": losses,
        "peak_rss_gib": round(peak_rss_gib(), 2),
        "temporary_gib": temporary_gib(step),
        "temporary_gib_by_depth": {n: temporary_gib(compiled(case, n)[0]) for n in DEPTHS},
        "compile_seconds": round(compile_seconds, 1),
        "n_parameters": n_parameters(state[0]),
        "corpus": {"name": corpus.name, "sha256": corpus.sha256},
    }


def resumed(case: Case, folder: Path) -> tuple:
    """The state to go on from, and seconds and losses of the steps before."""
    state, log = new_state(case.n_hashes), log_file(case, folder)
    checkpoints.check_savable(state_file(case, folder), state, CONFIG)
    if not log.exists() or not state_file(case, folder).exists():
        return state, ([], [])
    state = checkpoints.load(state_file(case, folder), like=state, config=CONFIG)
    entries = json.loads(log.read_text())
    n_steps = int(state[1][0].count)  # the log may be a step ahead of the checkpoint
    return state, (entries["seconds"][:n_steps], entries["losses"][:n_steps])


def save(case: Case, folder: Path, state, seconds: list, losses: list) -> None:
    log_file(case, folder).write_text(json.dumps({"seconds": seconds, "losses": losses}))
    checkpoints.save(state_file(case, folder), state, CONFIG)


def log_file(case: Case, folder: Path) -> Path:
    return folder / f"{NAME}.{case}.json"


def state_file(case: Case, folder: Path) -> Path:
    return folder / f"{NAME}.{case}.npz"


class Progress(tqdm):
    """A bar of the steps that shows every second how long this one takes, and the memory."""

    def __init__(self, case: Case, n_steps: int, initial: int):
        rounds = f"{case.n_hashes} round{'s' * (case.n_hashes > 1)}"
        super().__init__(desc=f"{case.length:,} tokens, {rounds}", total=n_steps, initial=initial)
        self.stopped = threading.Event()
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self) -> None:
        while not self.stopped.wait(1):
            self.set_postfix_str(f"peak {peak_rss_gib():.2f} GiB")

    def close(self) -> None:
        self.stopped.set()
        super().close()


if __name__ == "__main__":
    main()
