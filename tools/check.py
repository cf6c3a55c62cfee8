"""Runs the tests next to what changed since main, for three minutes at most (`make check`).

Next to a file are the tests of its stem, then those that import it. Where nothing changed, or git
cannot tell, a test of every room is run. It says what it left out: only `make test` runs all.
"""

import argparse
import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools.course import ROOT

SECONDS = 150  # for the tests; with the style it is three minutes
SHAPES = "--jaxtyping-packages=efftx,beartype.beartype"
ALWAYS = ("tests/test_structure.py",)
SMOKE = (
    "tests/attention/test_online_softmax.py",
    "tests/memory/test_quantization.py",
    "tests/sparsity/test_counts.py",
    "tests/models/test_positions.py",
    "tests/training/test_batches.py",
    "tests/command/test_help.py",
    "tests/numbers/test_sparse_qkv.py",
    "tests/plots/test_figures.py",
    "tests/check/test_core.py",
    "tests/notebooks/test_guards.py",
    "tests/test_readme.py",
)


def git(*command: str, root: Path = ROOT) -> list[str]:
    ran = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
    return ran.stdout.splitlines() if ran.returncode == 0 else []


def changed(root: Path = ROOT) -> list[str]:
    """Files that are not as they were where this branch left main, new ones included."""
    base = git("merge-base", "HEAD", "main", root=root) or ["HEAD"]
    files = git("diff", "--name-only", base[0], root=root)
    return sorted({*files, *git("ls-files", "--others", "--exclude-standard", root=root)})


def imported(path: Path) -> set[str]:
    """The modules that a file may import, `from a import b` as a and as a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def next_to(files: list[str], root: Path = ROOT) -> list[list[str]]:
    """Groups of test files, the nearest to the changed ``files`` first.

    Changed tests and those of a changed file's stem; the others of its room; those that import it.
    """
    tests = {f"{path.relative_to(root)}": path for path in sorted(root.glob("tests/**/test_*.py"))}
    stems = {Path(file).stem.lstrip("0123456789_") for file in files}
    rooms = {file.split("/")[1] for file in files if file.startswith("efftx/") and "/" in file[6:]}
    python = (Path(file).with_suffix("").parts for file in files if file.endswith(".py"))
    modules = {".".join(part for part in parts if part != "__init__") for parts in python}

    def distance(name: str) -> int:
        path = Path(name)
        if name in files or path.stem.removeprefix("test_").removesuffix("_bad_input") in stems:
            return 0
        if path.parent.name in rooms:
            return 1
        return 2 if modules & imported(tests[name]) else 3

    groups = [[name for name in tests if distance(name) == n] for n in range(3)]
    return [group for group in groups if group]


def calls(groups: list[list[str]], workers: int) -> Iterator[list[str]]:
    """Calls of pytest, with the shape checks except for bad input, where they would speak first."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-n", f"{workers}", "--dist", "loadscope"]
    for group in groups:
        bad = [test for test in group if test.startswith("tests/bad_input/")]
        good = [test for test in group if test not in bad]
        yield from [[*pytest, SHAPES, *good]] * bool(good) + [[*pytest, *bad]] * bool(bad)


def run(groups: list[list[str]], workers: int, seconds: float) -> int:
    """The exit status of the first call that fails; 0 if none does within ``seconds``."""
    ends = time.monotonic() + seconds
    for call in calls(groups, workers):
        try:
            ran = subprocess.run(call, cwd=ROOT, timeout=max(0.1, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            print("\nmake check: its time is over, and nothing failed so far; `make test` runs all")
            return 0
        if ran.returncode:
            return ran.returncode
    print("make check: right as far as it looks; `make test` runs all")
    return 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--workers", type=int, default=os.cpu_count())
    workers, files = options.parse_args().workers, changed()
    groups = [list(ALWAYS), *next_to(files)] if files else [[*ALWAYS, *SMOKE]]
    count = sum(map(len, groups))
    print(f"{len(files)} files changed; {count} files of tests are next to them", flush=True)
    sys.exit(run(groups, workers, SECONDS))


if __name__ == "__main__":
    main()
