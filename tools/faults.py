"""Puts faults into a copy of the course, one at a time, and says which the tests notice.

`make faults` runs all that tools/faults.toml lists and writes what came of it beside the list. A
fault that no test notices is a test that is missing.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

from tools.course import ROOT

LIST, RESULT = ROOT / "tools/faults.toml", ROOT / "tools/faults_result.json"
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".cache", "__pycache__", "chapters", "docs")
SHAPES = "--jaxtyping-packages=efftx,beartype.beartype"
OUTCOMES = {0: "SURVIVED", 1: "died"}  # by pytest's exit status; with others it has tested nothing
SECONDS = 900  # a test that takes longer hangs


@dataclass(frozen=True)
class Fault:
    """A line or two of a file with something else in their place."""

    says: str  # what is wrong with it
    file: str
    old: str
    new: str
    test: str  # the file that should notice

    def put_into(self, root: Path) -> str:
        """Put it into the tree at ``root``; returns the file as it was.

        Raises ValueError unless the old text stands in the file exactly once.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1 or self.new == self.old:
            raise ValueError(
                f"“{self.says}” must find its old text once in {self.file} and change it; "
                f"it stands there {text.count(self.old)} times:\n{self.old}"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text


def load(path: Path = LIST) -> list[Fault]:
    return [Fault(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]]


def outcome(root: Path, test: str) -> str:
    """What a test file says to the tree at ``root``."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command += [test] if test.startswith("tests/bad_input") else [test, SHAPES]
    tree = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    run = {"cwd": root, "env": {**os.environ, **tree}, "capture_output": True, "text": True}
    try:
        ran = subprocess.run(command, timeout=SECONDS, **run)
    except subprocess.TimeoutExpired:
        return "hung"
    if ran.returncode not in OUTCOMES:
        raise RuntimeError(f"{' '.join(command)} tested nothing:\n{ran.stdout}{ran.stderr}")
    return OUTCOMES[ran.returncode]


def tried(root: Path, faults: list[Fault]) -> Iterator[dict]:
    """Each fault with its outcome; ``root`` is as before after each.

    Raises RuntimeError where a test file fails without any fault, and so would notice nothing.
    """
    for test in sorted({fault.test for fault in faults}):
        if outcome(root, test) != "SURVIVED":
            raise RuntimeError(f"{test} fails without a fault")
        for fault in (fault for fault in faults if fault.test == test):
            before, started = fault.put_into(root), time.perf_counter()
            try:
                result = outcome(root, test)
            finally:
                (root / fault.file).write_text(before, encoding="utf-8")
            seconds = round(time.perf_counter() - started)
            yield {"says": fault.says, "test": test, "outcome": result, "seconds": seconds}


def in_a_copy(faults: list[Fault]) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "course")
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        yield from tried(copy, faults)


def here() -> dict:
    """When and with what a fault was tried."""
    packages = {name: metadata.version(name) for name in ("jax", "pytest")}
    return {"date": f"{date.today()}", "python": platform.python_version(), **packages}


def record(rows: list[dict], path: Path = RESULT) -> None:
    """Write what came of these faults beside what came of the others that are still listed."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    known = {row["says"]: row for row in [*before, *rows]}
    listed = [known[fault.says] for fault in load() if fault.says in known]
    path.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="faults in files whose path has this part")
    only, outcomes = options.parse_args().only, []
    for row in in_a_copy([fault for fault in load() if only in fault.file]):
        outcomes.append(row["outcome"])
        print(f"{row['outcome']:>8} {row['seconds']:>5} s  {row['says']}", flush=True)
        record([{**row, **here()}])
    survived = outcomes.count("SURVIVED")
    print(f"{len(outcomes) - survived} of {len(outcomes)} faults were noticed")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
