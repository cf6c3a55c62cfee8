"""Copies the results of experiments and benchmarks into the package, for the chapters to read."""

import json
from pathlib import Path

from tools.course import ROOT

SOURCES = "experiments/results", "benchmarks/results"
PACKAGED = "efftx/results"


def packaged(root: Path = ROOT) -> dict[str, str]:
    """File name → text, as the package should have it: without the spaces that make it readable."""
    files = [path for folder in SOURCES for path in sorted((root / folder).glob("*.json"))]
    assert len({path.name for path in files}) == len(files), "two results have the same name"
    return {
        path.name: json.dumps(
            json.loads(path.read_text(encoding="utf-8")), separators=(",", ":"), ensure_ascii=False
        )
        + "\n"
        for path in files
    }


def update(root: Path = ROOT) -> None:
    put(root / PACKAGED, packaged(root))


def put(folder: Path, wanted: dict[str, str]) -> None:
    """Make these the JSON files of the folder, and remove all others."""
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
