"""Contenders that take turns, so that a machine that is slow for a while is slow for all."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SECONDS_FOR_ONE = 4  # shorter runs are repeated until they add up to this, at most 5 times
# glibc keeps small freed pieces; to weigh a library, not its history, they are handed back at once.
# That costs time (page faults), so times are taken without it.
FOR_WEIGHING = {"MALLOC_MMAP_THRESHOLD_": "1048576"}


class Worker:
    """A contender's process; it may die of a run (out of memory), which then gives None."""

    def __init__(self, module: str, builder: str, config: dict, *, peer: bool):
        python = str(PEERS_PYTHON if peer else sys.executable)
        worker = "benchmarks.harness.worker"
        self.command = [python, "-m", worker, module, builder, json.dumps(config)]
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

    def grown_mib(self, name: str) -> float | None:
        """Peak memory of a run above what was resident before, in a process started for it."""
        self.stop()
        self.process = self._start(FOR_WEIGHING)
        self.run(name)  # compiles, and loads what is loaded lazily
        measured = self.run(name)
        return measured and measured["grown_mib"]

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def take_turns(
    workers: dict[str, Worker], name: str, seconds_for_one: float = SECONDS_FOR_ONE
) -> dict[str, dict]:
    """Median seconds and memory of each worker's run ``name``, after one uncounted run of each."""
    alive = {who: worker for who, worker in workers.items() if worker.run(name)}
    times = {who: [] for who in alive}
    for _ in range(5):
        for who, worker in alive.items():
            if sum(times[who]) < seconds_for_one:
                times[who].append(worker.run(name)["seconds"])
    return {
        who: _summary(times[who]) | {"grown_mib": worker.grown_mib(name)}
        for who, worker in alive.items()
    }


def _summary(seconds: list[float]) -> dict:
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "runs": len(seconds),
    }
