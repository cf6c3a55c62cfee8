"""What a run takes in memory, before it starts, and what would make it take less."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from efftx.compiling import for_one_run
from efftx.memory.ledger import in_gib
from efftx.training.optimisers import adamw
from efftx.training.steps import bytes_of, initial_state, most_at_once, train_step

CGROUP = Path("/sys/fs/cgroup")


def check_fits(run, vocab: int, budget: int | None) -> int:
    """The bytes of a step, if there are as many; ``budget`` are those there are, None if unknown.

    Raises ValueError for a run that does not fit, with what would make it fit.
    """
    needed = step_bytes(run, vocab)
    if budget is None or needed <= budget:
        return needed
    so_far = ""
    for option, smaller in cures(run):
        so_far = f"{so_far} {option}".strip()
        if (then := step_bytes(smaller, vocab)) <= budget:
            cure = f"With {so_far} it takes {in_gib(then)}, and fits."
            break
    else:
        cure = f"Not even with {so_far} does it fit: take fewer --layers or a smaller --width."
    raise ValueError(f"this needs {in_gib(needed)}, and you have {in_gib(budget)}. {cure}")


def step_bytes(run, vocab: int) -> int:
    """What the compiler sets aside for one training step: inputs, outputs, and all between."""
    optimiser = adamw(run.steps, peak=run.rate)
    state = jax.eval_shape(lambda: initial_state(run.built(vocab), optimiser, run.steps))
    tokens = np.uint8 if vocab <= 256 else np.int32
    batch = jax.ShapeDtypeStruct((run.batch, run.length + 1), tokens)
    at_once = run.at_once or most_at_once(state.model)
    how = {"loss": run.loss, "optimiser": optimiser, "examples_at_once": at_once}
    key = jax.eval_shape(lambda: jax.random.key(0))
    program = train_step.lower(state, batch, key, **how).compile(for_one_run())
    plan = program.memory_analysis()
    if plan is None:  # this device's compiler does not say: the least that there must be
        return 2 * bytes_of(state)
    whole = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes
    return whole - plan.alias_size_in_bytes


def cures(run) -> Iterable[tuple]:
    """What makes a run take less, one thing after the other, the mildest first."""
    if run.batch > 1 and run.at_once != 1:
        yield "--at-once 1", (run := replace(run, at_once=1))
    if run.model == "transformer" and not run.reversible:
        yield "--reversible", (run := replace(run, reversible=True))
    if run.model == "reformer" and run.rounds > 1:
        yield "--rounds 1", (run := replace(run, rounds=1))
    if run.length >= 4:
        yield f"--length {run.length // 4}", replace(run, length=run.length // 4)


def free_bytes() -> int | None:
    """Of the device that computes; None where nobody says."""
    if stats := jax.devices()[0].memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"]
    known = [n for n in (free_of_machine(), free_of_container()) if n is not None]
    return min(known, default=None)


def free_of_machine() -> int | None:
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] * 1024 if found else None


def free_of_container() -> int | None:
    """Where Linux gives a group of processes a bound of its own."""
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if not limit.exists() or limit.read_text().strip() == "max":
        return None
    return int(limit.read_text()) - int(used.read_text())
