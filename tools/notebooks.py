"""Builds chapters/, exercises/ and solutions/ from source/ (`make notebooks`).

A notebook is executed again only when one of its code cells changed; text and the set-up cell are
exchanged in place. Exercises are never executed. Results that chapters read are copied into the
package first; the glossary and the sheet of formulas are written.
"""

import argparse
import sys
from collections.abc import Callable

import nbformat
from nbclient.exceptions import CellExecutionError

from tools import build, execute, mistakes, results, sheets
from tools.course import Chapter, Course, load, update_readme


def assemble(course: Course, kind: str, chapter: Chapter) -> nbformat.NotebookNode:
    """The notebook as source/ wants it, with the outputs that the committed one still justifies."""
    path = course.notebook(kind, chapter.stem)
    if kind == "exercises" or not path.exists():
        return build.build(course, kind, chapter, None)
    committed = nbformat.read(path, as_version=4)
    notebook = build.build(course, kind, chapter, committed.metadata.get("efftx"))
    build.keep_outputs(notebook, committed)
    return notebook


def executed(course: Course, kind: str, chapter: Chapter, on_cell=None) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, and with what the execution took written into it."""
    ran = build.build(course, kind, chapter, None)
    measured = execute.run(ran, course.notebook(kind, chapter.stem).parent, on_cell)
    execute.tidy(ran)
    notebook = build.build(course, kind, chapter, measured)
    build.keep_outputs(notebook, ran)
    return notebook


def update(course: Course, kind: str, chapter: Chapter, *, run: bool, force: bool) -> str:
    """Bring one notebook in step with its source; returns what was done in a word."""
    path = course.notebook(kind, chapter.stem)
    path.parent.mkdir(exist_ok=True)
    notebook, done = assemble(course, kind, chapter), "written"
    if run and kind != "exercises" and (force or not build.is_executed(notebook)):
        notebook, done = executed(course, kind, chapter, progress(f"{kind}/{chapter.stem}")), "run"
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return "in step"
    path.write_text(text, encoding="utf-8")
    return done


def update_all(course: Course, *, run: bool, force: bool = False, only: str = "") -> None:
    for kind in build.KINDS:
        for chapter in course.written(kind):
            if chapter.stem.startswith(only):
                done = update(course, kind, chapter, run=run, force=force)
                say(f"{kind}/{chapter.stem:<34} {done}\n")
    update_readme(course)


def say(text: str) -> None:
    print(("\r\033[K" if sys.stdout.isatty() else "") + text, end="", flush=True)


def progress(name: str) -> Callable[[int], None] | None:
    """Shows on a terminal which cell a kernel has finished; elsewhere it would only be noise."""
    return (lambda cell: say(f"{name}: cell {cell}")) if sys.stdout.isatty() else None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--all", action="store_true", help="execute even what did not change")
    options.add_argument("--no-run", action="store_true", help="rewrite cells, execute nothing")
    options.add_argument("--only", default="", metavar="NN", help="chapters that start with NN")
    chosen = options.parse_args()
    results.update()
    mistakes.update()
    sheets.update()
    try:
        update_all(load(), run=not chosen.no_run, force=chosen.all, only=chosen.only)
    except CellExecutionError as error:
        sys.exit(f"{error}\nmake notebooks: this cell failed, so its notebook was left as it was")


if __name__ == "__main__":
    main()
