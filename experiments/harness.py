"""What all experiments share: the command line, runs that are kept, curves, and the results file.

An experiment is a script that trains models with `efftx.training.train`, each with a checkpoint of
its own in one folder, so that the same command goes on where it was interrupted.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from efftx.training.records import environment, mean_with_interval, peak_rss_gib

ROOT = Path(__file__).resolve().parents[1]


def results_file(name: str) -> Path:
    """Where an experiment of this name writes what it found."""
    return ROOT / "experiments" / "results" / f"{name}.json"


def write(path: Path, record: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def head(name: str, runs: Iterable[dict] | None = None, *, packages: tuple[str, ...] = ()) -> dict:
    """A results file begins with this: what was run where, with which versions.

    With the runs of this process also its peak of memory, and the seconds that the runs took.
    """
    where = environment()
    where["versions"] |= {package: version(package) for package in packages}
    record = {"experiment": name, **where}
    if runs is None:
        return record
    seconds = round(sum(run["seconds"] for run in runs), 1)
    return {**record, "peak_rss_gib": round(peak_rss_gib(), 2), "seconds": seconds}


# The command line -----------------------------------------------------------------------------


def command_line(description: str) -> argparse.ArgumentParser:
    """A script's, with ``--checkpoints``; its help is line one of the description."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, default=ROOT / ".cache", help="their folder")
    return parser


def checkpoints_folder(description: str) -> Path:
    """What the command line names, made if it is not there."""
    return made(command_line(description).parse_args().checkpoints)


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


# Runs -----------------------------------------------------------------------------------------


def kept(checkpoint: Path, measure: Callable[[], dict]) -> dict:
    """What was measured of a run: read beside its checkpoint, measured if that is younger."""
    file = checkpoint.with_suffix(".json")
    if not file.exists() or file.stat().st_mtime < checkpoint.stat().st_mtime:
        file.write_text(json.dumps(measure()))
    return json.loads(file.read_text())


def at_step(schedule: dict, step: int):
    """The entry of a schedule that holds from its step on: the last that has begun."""
    return schedule[max(start for start in schedule if start <= step)]


def curve(losses, steps_each: int = 20) -> list[float]:
    """The training loss, each number the mean of so many steps."""
    means = np.asarray(losses).reshape(-1, steps_each).mean(axis=1)
    return [round(float(mean), 3) for mean in means]


def of_seeds(values: list[float], digits: int = 4) -> dict:
    """Each seed's value and their mean, from the second seed on with its interval."""
    if len(values) < 2:
        return {"by_seed": values, "mean": values[0]}
    return {"by_seed": values, **mean_with_interval(values, digits)}


# Models that are compared ---------------------------------------------------------------------


def equal_width(count: Callable[[str, int], int], name: str, reference: str, d_ff: int) -> int:
    """The widest d_ff with which ``name`` has no more parameters than the reference with its own.

    ``count(name, d_ff)`` gives the number of parameters.
    """
    room = count(reference, d_ff) - count(name, 1)
    return 1 + room // (count(name, 2) - count(name, 1))
