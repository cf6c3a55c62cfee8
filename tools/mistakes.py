"""Makes the package's data of the mistakes that stand in source/exercises beside each solution.

A cell tagged "mistakes" follows the cell that it edits. Each mistake is a comment of its own: what
the check says, then lines of the solution that are taken out, `-`, and put in, `+`:

    # It looks as if every chunk were the first one. Does the start of the slice move on?
    # - x[start : start + chunk_len]
    # + x[:chunk_len]

What is taken out must stand once in that cell. Several pairs of - and + make one mistake together;
after a line `# or` comes another way to make the same one.
"""

import ast
import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import jupytext

from efftx.check.edited import exchanged
from tools import results
from tools.build import SOLUTION
from tools.course import ROOT, Course, load

PACKAGED = "efftx/check/edits"
TAG = "mistakes"


def of_exercise(course: Course, stem: str) -> dict:
    """{"code": {function: its source}, "mistakes": {function: [{"says", "ways"}]}}"""
    text = course.source("exercises", stem).read_text(encoding="utf-8")
    code, mistakes, last = {"": ""}, {}, ""
    for cell in jupytext.reads(text, fmt="py:percent").cells:
        tags = cell.metadata.get("tags", [])
        if TAG in tags:
            mistakes[last] = parsed(cell.source)
            for mistake in mistakes[last]:
                for way in mistake["ways"]:
                    exchanged(code[last], way, f"{last} of {stem}")  # or it is refused
        elif cell.cell_type == "code" and "setup" not in tags and "check" not in tags:
            solved = SOLUTION.sub("\\2", cell.source)
            for name, source in definitions(solved):
                code[name] = "\n".join(filter(None, [code.get(name), source]))
                last = name or last
    return {"code": code, "mistakes": mistakes}


def definitions(code: str) -> Iterator[tuple[str, str]]:
    """Every import, under "", and every function, under its name, with its source."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef):
            yield getattr(node, "name", ""), ast.get_source_segment(code, node)


def parsed(cell: str) -> list[dict]:
    """The mistakes of a cell."""
    paragraphs = re.split(r"\n\s*\n", cell.strip("\n"))
    return [_parsed([line.removeprefix("#")[1:] for line in p.split("\n")]) for p in paragraphs]


def _parsed(lines: list[str]) -> dict:
    n_words = next(n for n, line in enumerate(lines) if line.startswith("- "))
    ways = [
        _pairs(list(way)) for between, way in groupby(lines[n_words:], "or".__eq__) if not between
    ]
    return {"says": " ".join(lines[:n_words]), "ways": ways}


def _pairs(lines: list[str]) -> list[list[str]]:
    """[[taken out, put in], …]; nothing may be put in."""
    blocks = [
        (sign, "\n".join(line[2:] for line in block)) for sign, block in groupby(lines, _sign)
    ]
    pairs: list[list[str]] = []
    for sign, text in blocks:
        if sign == "-":
            pairs.append([text, ""])
        else:
            pairs[-1][1] = text
    return pairs


def _sign(line: str) -> str:
    if line[:2] not in ("- ", "+ ", "-", "+"):
        raise ValueError(f"a line of an edit begins with '- ' or '+ '; got {line!r}")
    return line[0]


def packaged(course: Course | None = None) -> dict[str, str]:
    """File name → text, for every exercise; that of a bug hunt has no mistakes."""
    course = course or load()
    found = {c.stem: of_exercise(course, c.stem) for c in course.written("exercises")}
    return {
        f"{stem}.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        for stem, data in found.items()
    }


def update(root: Path = ROOT) -> None:
    results.put(root / PACKAGED, packaged(load(root)))
