"""Runs chapters and solutions as they would be multiplied on a TPU, and on an Ampere GPU
(`make accelerators`).

On a CPU, with the factors of float32 products rounded as these devices round them by default
(`tools.arithmetic`). A cell that fails stops nothing. What fails is printed claim by claim and kept
in tools/accelerators_result.json, beside the claims that hold.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

from tools import execute
from tools.arithmetic import DEVICES
from tools.chapters import claims
from tools.course import ROOT, Chapter, Course, load
from tools.notebooks import progress, say

RESULT = ROOT / "tools/accelerators_result.json"
KINDS = "chapters", "solutions"
FIRST = """
import sys
sys.path.insert(0, {root!r})
from tools import arithmetic
arithmetic.use({arithmetic!r})
del sys.path[0], sys, arithmetic
"""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
FAILED_LINE = re.compile(r"^-+> *\d+ *(.*)$", re.MULTILINE)


def run(course: Course, kind: str, chapter: Chapter, arithmetic: str) -> dict:
    """One notebook as committed; how many claims it makes, and of each that fails where it is."""
    path = course.notebook(kind, chapter.stem)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, new_code_cell(FIRST.format(root=str(ROOT), arithmetic=arithmetic)))
    broken = []
    try:
        on_cell = progress(f"{arithmetic}: {kind}/{chapter.stem}")
        execute.run(notebook, path.parent, on_cell, to_the_end=True)
    except CellExecutionError as error:  # of a widget, which no cell shows
        broken.append({"cell": None, "line": error.evalue, "said": error.ename})
    failed = [*failures(notebook.cells[1:]), *broken]
    return {
        "arithmetic": arithmetic,
        "notebook": f"{kind}/{chapter.stem}",
        "claims": claims(notebook),
        "failed": failed,
    }


def failures(cells: list) -> Iterator[dict]:
    """Of each cell that raised: its number among those of code, the line, and what it said."""
    code = (cell for cell in cells if cell.cell_type == "code")
    for number, cell in enumerate(code, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                trace = COLOURS.sub("", "\n".join(output.traceback))
                (line,) = FAILED_LINE.findall(trace)[:1] or [""]
                said = f"{output.ename}: {output.evalue}".splitlines()[0]
                yield {"cell": number, "line": line.strip(), "said": said}


def table(rows: list[dict]) -> Iterator[str]:
    """Markdown: a line for each notebook that fails, then the sum of each arithmetic."""
    yield "| | notebook | code cell | the line that fails |"
    yield "|---|---|---|---|"
    for row in rows:
        for claim in row["failed"]:
            line = (claim["line"] or claim["said"]).replace("|", "\\|")
            yield f"| {row['arithmetic']} | {row['notebook']} | {claim['cell']} | `{line}` |"
    for arithmetic, device in DEVICES.items():
        ours = [row for row in rows if row["arithmetic"] == arithmetic]
        failed = sum(len(row["failed"]) for row in ours)
        held = sum(not row["failed"] for row in ours)
        yield f"| {arithmetic} | {device} | {held} of {len(ours)} hold | {failed} cells fail |"


def recorded(path: Path = RESULT) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def keep(row: dict, path: Path = RESULT) -> None:
    """Put a row in the place of the one before."""
    key = lambda row: (row["arithmetic"], row["notebook"])  # noqa: E731
    rows = [*(other for other in recorded(path) if key(other) != key(row)), row]
    text = json.dumps(sorted(rows, key=key), indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", metavar="NN", help="notebooks that start with NN")
    options.add_argument("--arithmetic", choices=list(DEVICES), help="this one alone")
    options.add_argument("--kind", choices=KINDS, help="chapters or solutions alone")
    chosen = options.parse_args()
    course, ran = load(), []
    for arithmetic in [chosen.arithmetic] if chosen.arithmetic else DEVICES:
        for kind in [chosen.kind] if chosen.kind else KINDS:
            for chapter in course.written(kind):
                if chapter.stem.startswith(chosen.only):
                    ran.append(run(course, kind, chapter, arithmetic))
                    keep(ran[-1])
                    say(f"{arithmetic:<6}{kind}/{chapter.stem:<34}{outcome(ran[-1])}\n")
    print(*table(ran), sep="\n")
    sys.exit(any(row["failed"] for row in ran))


def outcome(row: dict) -> str:
    return f"{row['claims']:>4} claims, {len(row['failed']) or 'no'} cells failed"


if __name__ == "__main__":
    main()
