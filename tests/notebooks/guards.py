"""What a committed notebook must and must not have. A guard returns the complaints it has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tests.notebooks.prose import unanswered, unheld_numbers
from tools.build import KINDS, is_executed
from tools.course import ROOT, Course

MAX_BYTES = 500_000
MAX_CODE_CELLS = 40
DATA_URI = re.compile(r"data:[\w/+.;-]+,[\w+/=%-]+")
ABSOLUTE = r"(?<![\w.])/(?:home|Users|root|tmp|mnt|opt|srv)/\w|site-packages|\b[A-Z]:\\\w"
NOT_FOR_READERS = {
    "an absolute path": re.compile(f"{ABSOLUTE}|{re.escape(str(ROOT))}"),
    "a memory address": re.compile(r"\bat 0x[0-9a-f]{6,}"),
    "terminal colours": re.compile("\x1b\\["),
}
MARKDOWN_LINK = re.compile(r"\]\(([^()\s]+)\)")
HTML_LINK = re.compile(r"""(?:href|src)=["']([^"']+)["']""")
IMAGE = re.compile(r"<img\b[^>]*>")
ALT = re.compile(r"""\balt=(?:"[^"]*\w[^"]*"|'[^']*\w[^']*')""")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (output for cell in code_cells(notebook) for output in cell.outputs)


def text_of(output: NotebookNode) -> str:
    return "\n".join([output.get("text", ""), *map(str, output.get("data", {}).values())])


def prose_of(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def wrong_format(notebook: NotebookNode) -> list[str]:
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"not a valid notebook: {error.message}"]
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    return [] if kernel == "python3" else [f"the kernel is {kernel!r}, not 'python3'"]


def too_large(notebook: NotebookNode) -> list[str]:
    size, cells = len(nbformat.writes(notebook).encode()), len(code_cells(notebook))
    complaints = []
    if size > MAX_BYTES:
        complaints.append(f"{size} bytes, more than {MAX_BYTES}")
    if cells > MAX_CODE_CELLS:
        complaints.append(f"{cells} code cells, more than {MAX_CODE_CELLS}")
    return complaints


def not_executed(notebook: NotebookNode) -> list[str]:
    # nbval passes a checked cell with a null count silently.
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return [] if is_executed(notebook) else [f"the cells' counts are {counts}, not 1, 2, 3, …"]


def executed(notebook: NotebookNode) -> list[str]:
    ran = [c for c in code_cells(notebook) if c.outputs or c.execution_count is not None]
    return [f"a cell has outputs or a count: {cell.source[:40]!r}" for cell in ran]


def errors(notebook: NotebookNode) -> list[str]:
    """Errors, words on stderr, and the tag that would let errors pass."""
    tagged = [c for c in notebook.cells if "raises-exception" in c.metadata.get("tags", [])]
    failed = [o for o in outputs(notebook) if o.output_type == "error"]
    warned = [o for o in outputs(notebook) if o.get("name") == "stderr"]
    return (
        [f"tagged raises-exception, which means may: {cell.source[:40]!r}" for cell in tagged]
        + [f"an error: {output.ename}: {output.evalue}" for output in failed]
        + [f"on stderr: {output.text[:80]!r}" for output in warned]
    )


def run_to_run_noise(notebook: NotebookNode) -> list[str]:
    """Widgets without their kernel, execution times, and text that names this machine."""
    texts = [DATA_URI.sub("", text_of(output)) for output in outputs(notebook)]
    texts += [cell.source for cell in notebook.cells]
    found = [
        f"{what}: {match[0]!r}"
        for text in texts
        for what, pattern in NOT_FOR_READERS.items()
        if (match := pattern.search(text))
    ]
    if "widgets" in notebook.metadata or "widget-view" in json.dumps([*outputs(notebook)]):
        found.append("the state or the view of a widget")
    if any("execution" in cell.metadata for cell in notebook.cells):
        found.append("execution times")
    return found


def images_without_words(notebook: NotebookNode) -> list[str]:
    html = [text_of(output) for output in outputs(notebook)] + prose_of(notebook)
    complaints = [
        f"an image without alt text: {tag[:60]}"
        for text in html
        for tag in IMAGE.findall(text)
        if not ALT.search(tag)
    ]
    bare = [o for o in outputs(notebook) if any(m.startswith("image/") for m in o.get("data", {}))]
    unnamed = [text for text in prose_of(notebook) if "![](" in text]
    return complaints + ["a bare image, which cannot have alt text"] * len(bare + unnamed)


def dead_links(course: Course, page: Path, texts: list[str]) -> list[str]:
    """Relative links that lead nowhere; chapters in preparation are allowed."""
    planned = {course.notebook(kind, chapter.stem) for kind in KINDS for chapter in course.pages}
    links = [link for text in texts for p in (MARKDOWN_LINK, HTML_LINK) for link in p.findall(text)]
    relative = [link for link in links if not re.match(r"[a-z]+:|#", link)]
    targets = {link: (page.parent / link.split("#")[0]).resolve() for link in relative}
    return [
        f"a dead link: {link}"
        for link, target in targets.items()
        if not target.exists() and target not in planned
    ]


def setup_cells(notebook: NotebookNode) -> list[str]:
    """One set-up cell, before all other code."""
    tags = ["setup" in cell.metadata.get("tags", []) for cell in code_cells(notebook)]
    alone_and_first = tags.count(True) == 1 and tags[0]
    return [] if alone_and_first else ["not one set-up cell before all other code"]


def nothing_asked(notebook: NotebookNode) -> list[str]:
    """The reader may put a guess into a box, and a figure after it shows where it lies."""
    cells = [cell.source for cell in code_cells(notebook)]
    asked = [n for n, code in enumerate(cells) if "my_guess = " in code]
    shown = [n for n, code in enumerate(cells) if "my_guess.show(" in code]
    return [] if asked and shown and asked[0] < shown[0] else ["no guess is asked for and shown"]


def many_imports(notebook: NotebookNode) -> list[str]:
    """What a chapter needs later is imported there: before its first idea stand few lines of it."""
    first = next(
        cell for cell in code_cells(notebook) if "setup" not in cell.metadata.get("tags", [])
    )
    n_imports = len(re.findall(r"^(?:import|from) ", first.source, re.MULTILINE))
    return [f"{n_imports} imports in the first cell"] if n_imports > 8 else []


EVERYWHERE = [wrong_format, too_large, errors, run_to_run_noise, images_without_words, setup_cells]
GUARDS = {
    "chapters": [
        *EVERYWHERE,
        not_executed,
        nothing_asked,
        many_imports,
        unanswered,
        unheld_numbers,
    ],
    "exercises": [*EVERYWHERE, executed],
    "solutions": [*EVERYWHERE, not_executed],
}
