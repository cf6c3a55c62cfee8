"""From a source file to a notebook: a pure function of the text, the course and the measurement."""

import re
from collections import defaultdict

import jupytext
from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from tools.course import Chapter, Course, course_map, services

KINDS = ("chapters", "exercises", "solutions")
STUB = 'raise NotImplementedError("your turn: replace this line")'
SOLUTION = re.compile(r"^( *)# SOLUTION\n(.*?)^ *# END SOLUTION *\n?", re.DOTALL | re.MULTILINE)
PART = re.compile(r"^## Part \d+: .+ · [★☆]{3} · (\d+) minutes$", re.MULTILINE)
LEFT_OUT = {
    "chapters": set(),
    "exercises": {"solution-only", "mistakes"},
    "solutions": {"exercise-only", "mistakes"},
}
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},  # the version that ran it would change at every build
}


def build(course: Course, kind: str, chapter: Chapter, measured: dict | None) -> NotebookNode:
    """The notebook of one source, without outputs.

    `measured` is what the last execution took (see `tools.execute`). It stands in the notebook's
    metadata, so that building twice gives the same cells.
    """
    text = course.source(kind, chapter.stem).read_text(encoding="utf-8")
    page = jupytext.reads(text, fmt="py:percent")
    cells = [c for c in page.cells if not LEFT_OUT[kind] & set(c.metadata.get("tags", []))]
    intro = _intro(course, kind, chapter, cells, measured)
    body = f"\\1{STUB}\n" if kind == "exercises" else "\\2"
    for position, cell in enumerate(cells):
        cell.id = f"{chapter.number}-{position:02d}"
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "markdown":
            cell.source = _fill_in(cell.source, course, intro)
        elif is_setup(cell):
            cell.source = setup_source(course)
            cell.metadata["jupyter"] = {"source_hidden": True}
        else:
            cell.source = SOLUTION.sub(body, cell.source).rstrip()
    metadata = METADATA | ({"efftx": measured} if measured else {})
    return new_notebook(cells=cells, metadata=metadata)


def is_setup(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and "setup" in cell.metadata.get("tags", [])


def setup_source(course: Course) -> str:
    source = (course.root / "source/setup_cell.py").read_text(encoding="utf-8").rstrip()
    return source.replace('repository = ""', f'repository = "{course.repository}"')


def _fill_in(text: str, course: Course, intro: str) -> str:
    text = text.replace("<!-- measured -->", intro)
    return text.replace("<!-- course map -->", course_map(course, "chapters"))


def _intro(course, kind, chapter, cells, measured) -> str:
    """One line at the top: how long it takes, what it needs, where it runs."""
    if kind == "chapters":
        facts = [f"about {reading_minutes(cells)} minutes to read", *_needs(measured)]
    else:
        minutes = [int(m) for c in cells for m in PART.findall(c.source)]
        facts = [f"{len(minutes)} parts", f"about {sum(minutes)} minutes"]
    line = " · ".join(facts)
    if course.repository:
        links = services(course.repository, f"{kind}/{chapter.stem}.ipynb")
        line += " · open in " + ", ".join(f"[{name}]({url})" for name, url in links.items())
    return f"*{line[0].upper()}{line[1:]}*"


def _needs(measured: dict | None) -> list[str]:
    if not measured:
        return []
    return [
        f"{measured['seconds']} seconds to run on {measured['device']}",
        f"{measured['peak_mb']} MB of memory at its peak",
        f"measured with {measured['versions']}",
    ]


def reading_minutes(cells: list[NotebookNode]) -> int:
    """200 words a minute for prose, 15 lines a minute for code, rounded up to five minutes."""
    words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
    lines = sum(len(c.source.splitlines()) for c in cells if c.cell_type == "code")
    return 5 * (1 + int((words / 200 + lines / 15) // 5))


def keep_outputs(new: NotebookNode, old: NotebookNode) -> None:
    """Give each code cell of `new` what the same code gave in `old`; edited cells stay bare."""
    outputs = defaultdict(list)
    for cell in old.cells:
        outputs[_identity(cell)].append(cell)
    for cell in new.cells:
        if cell.cell_type == "code" and outputs[_identity(cell)]:
            same = outputs[_identity(cell)].pop(0)
            cell.outputs, cell.execution_count = same.outputs, same.execution_count


def _identity(cell: NotebookNode) -> str:
    # The set-up cell gives the same in a clone whatever address stands in it.
    return "set-up" if is_setup(cell) else cell.source


def is_executed(notebook: NotebookNode) -> bool:
    """Whether the code cells were run once each, from top to bottom."""
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1))
