"""Runs every chapter without a browser and prints a line each (`make chapters`)."""

import ast
import sys
import time

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from tools import execute
from tools.course import Chapter, Course, load
from tools.notebooks import progress, say


def claims(notebook: nbformat.NotebookNode) -> int:
    """The number of assert statements in the code cells that were executed."""
    plain = TransformerManager().transform_cell  # magics are not Python
    ran = [c.source for c in notebook.cells if c.cell_type == "code" and c.execution_count]
    trees = (ast.parse(plain(source)) for source in ran)
    return sum(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree))


def run_chapter(course: Course, chapter: Chapter) -> bool:
    """Run one chapter as committed, print its line, and say whether it held."""
    path = course.notebook("chapters", chapter.stem)
    notebook = nbformat.read(path, as_version=4)
    try:
        took = execute.run(notebook, path.parent, progress(chapter.stem))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        say(f"{chapter.stem:<32} FAILED\n{error}\n")
        return False
    line = f"{took['seconds']:>5} s {took['peak_mb']:>7} MB {claims(notebook):>5} claims"
    say(f"{chapter.stem:<32}{line}\n")
    return True


def main() -> None:
    course, started = load(), time.perf_counter()
    held = [run_chapter(course, chapter) for chapter in course.written("chapters")]
    minutes = (time.perf_counter() - started) / 60
    print(f"{sum(held)} of {len(held)} chapters ran to their end in {minutes:.1f} minutes")
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
