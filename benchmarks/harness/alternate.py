"""Contenders that take turns, so that a machine that is slow for a while is slow for all."""

import json
import os
import statistics
import subprocess
import sys
import threading
from pathlib import Path

from benchmarks.harness.worker import MOST_GIB

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SECONDS_FOR_ONE = 6  # shorter runs are repeated until they add up to this, at most 5 times
LONG_RUN = 5  # seconds: a peer's first run of this length counts, since it compiles nothing
# glibc keeps small freed pieces; to weigh a library, not its history, they are handed back at once.
# That costs time (page faults), so times are taken without it.
FOR_WEIGHING = {"MALLOC_MMAP_THRESHOLD_": "1048576"}


class Worker:
    """A contender's process; it may die of a run (out of memory), which then gives None."""

    def __init__(
        self, module: str, builder: str, config: dict, *, peer: bool, most_gib: int = MOST_GIB
    ):
        python = str(PEERS_PYTHON if peer else sys.executable)
        what = module, builder, json.dumps(config), str(most_gib)
        self.command = [python, "-m", "benchmarks.harness.worker", *what]
        self.peer = peer
        self.process = self._start({})

    def _start(self, environment: dict) -> subprocess.Popen:
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        environment = {**os.environ, **environment}
        return subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment,
            stdin=pipe,
            stdout=pipe,
            stderr=nowhere,
            text=True,
        )

    def run(self, name: str) -> dict | None:
        """Seconds and memory of one run, or None if the process died of it."""
        try:
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        return json.loads(answer) if answer else None

    def weighed(self, name: str) -> dict:
        """Peak memory of a run, in a process started for it, if it does not die of it."""
        self.restart_to_weigh()
        first = self.run(name)  # compiles, and loads what is loaded lazily
        only_one = self.counts(first)
        measured = first if only_one else self.run(name)
        weight = {field: measured and measured[field] for field in ("grown_mib", "process_mib")}
        return weight | {"weighed_in_first_run": only_one}

    def attempt(self, name: str, most_seconds: float) -> dict | None:
        """One run, compilation included, or None if the process dies of it or takes longer."""
        self.restart_to_weigh()
        too_long = threading.Timer(most_seconds, self.process.kill)
        too_long.start()
        answer = self.run(name)
        too_long.cancel()
        return answer

    def restart_to_weigh(self) -> None:
        self.stop()
        self.process = self._start(FOR_WEIGHING)

    def counts(self, first: dict | None) -> bool:
        """Whether a first run is one like any other."""
        return first is not None and self.peer and first["seconds"] > LONG_RUN

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def take_turns(
    workers: dict[str, Worker], name: str, seconds_for_one: float = SECONDS_FOR_ONE
) -> dict[str, dict]:
    """Median seconds and memory of each worker's run ``name``, after a first run of each."""
    taken = median_seconds(workers, name, seconds_for_one)
    return {who: row | workers[who].weighed(name) for who, row in taken.items()}


def median_seconds(workers: dict[str, Worker], name: str, seconds_for_one: float) -> dict:
    """By worker, of those that survive the run."""
    first = {who: worker.run(name) for who, worker in workers.items()}
    alive = {who: worker for who, worker in workers.items() if first[who]}
    times = {
        who: [first[who]["seconds"]] if w.counts(first[who]) else [] for who, w in alive.items()
    }
    for _ in range(5):
        for who, worker in alive.items():
            if sum(times[who]) < seconds_for_one:
                times[who].append(worker.run(name)["seconds"])
    return {who: summary(times[who]) for who in alive}


def summary(seconds: list[float]) -> dict:
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "runs": len(seconds),
    }
