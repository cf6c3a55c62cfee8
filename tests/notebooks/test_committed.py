"""The committed notebooks are in step with source/ and fit to be read."""

import nbformat
import pytest

from tests.notebooks import guards
from tools.build import KINDS, PART
from tools.course import Course, badges, course_map, load, replace_block
from tools.notebooks import assemble

COURSE: Course = load()
NOTEBOOKS = [(kind, chapter) for kind in KINDS for chapter in COURSE.written(kind)]
NAMES = [f"{kind}/{chapter.stem}" for kind, chapter in NOTEBOOKS]
EACH = pytest.mark.parametrize(("kind", "chapter"), NOTEBOOKS, ids=NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_notebook_has_a_source_and_the_other_way_round(kind):
    built = {path.stem for path in (COURSE.root / kind).glob("*.ipynb")}
    assert built == {chapter.stem for chapter in COURSE.written(kind)}


@pytest.mark.parametrize("folder", ["chapters", "exercises"])
def test_every_source_is_on_the_list(folder):
    sources = {path.stem for path in (COURSE.root / "source" / folder).glob("*.py")}
    assert sources <= {page.stem for page in COURSE.pages}


@EACH
def test_built_is_committed(kind, chapter):
    committed = COURSE.notebook(kind, chapter.stem).read_text(encoding="utf-8")
    built = nbformat.writes(assemble(COURSE, kind, chapter)) + "\n"
    assert built == committed, f"{kind}/{chapter.stem} is behind its source: run `make notebooks`"


@EACH
def test_notebook_is_fit_to_be_read(kind, chapter):
    path = COURSE.notebook(kind, chapter.stem)
    notebook = nbformat.read(path, as_version=4)
    complaints = [c for guard in guards.GUARDS[kind] for c in guard(notebook)]
    complaints += guards.dead_links(COURSE, path, guards.prose_of(notebook))
    assert not complaints, "\n".join([str(path), *complaints])


@EACH
def test_title_is_the_lists(kind, chapter):
    first = nbformat.read(COURSE.notebook(kind, chapter.stem), as_version=4).cells[0]
    start = chapter.number if kind == "chapters" else chapter.heading
    expected = f"# {start} · {chapter.title}"
    assert first.source.splitlines()[0] == expected


@EACH
def test_time_and_memory_stand_at_the_top(kind, chapter):
    notebook = nbformat.read(COURSE.notebook(kind, chapter.stem), as_version=4)
    measured = notebook.metadata.get("efftx", {})
    if kind == "chapters":
        assert f"{measured['seconds']} seconds to run" in notebook.cells[0].source
        assert measured["peak_mb"] <= 1000, "a free Binder guarantees 1 GB"
        assert measured["seconds"] <= 120  # 90 where nothing else runs on the cores' host
    else:
        parts = [m for cell in notebook.cells for m in PART.findall(cell.source)]
        assert len(parts) >= 3
        assert f"{len(parts)} parts · about {sum(map(int, parts))} minutes" in (
            notebook.cells[0].source.lower()
        )


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_lead_somewhere(page):
    path = COURSE.root / page
    text = path.read_text(encoding="utf-8")
    assert not guards.dead_links(COURSE, path, [text])
    assert not guards.IMAGE.search(text) or guards.ALT.search(text)


def test_readme_shows_the_list():
    readme = (COURSE.root / "README.md").read_text(encoding="utf-8")
    assert replace_block(readme, "course map", course_map(COURSE)) == readme
    assert replace_block(readme, "badges", badges(COURSE)) == readme
