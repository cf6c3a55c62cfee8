"""What `make notebooks`, `make chapters` and `make badges` do, on a course of one chapter."""

import nbformat
import pytest

from tests.notebooks.conftest import STEM
from tools import badges, build, chapters, execute
from tools.course import load, replace_block
from tools.notebooks import update, update_all


def read(course, kind):
    return nbformat.read(course.notebook(kind, STEM), as_version=4)


def source_of(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells)


@pytest.fixture
def chapter(course):
    return course.written("chapters")[0]


@pytest.fixture
def edit(course):
    def edit(kind, old, new):
        path = course.source(kind, STEM)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def test_exercise_has_stubs_and_the_solution_has_none(course, chapter):
    exercise, solution = (build.build(course, k, chapter, None) for k in ("exercises", "solutions"))
    stub = build.STUB
    assert f'def double(x):\n    """Twice x."""\n    {stub}' in source_of(exercise)
    assert f"    if x < 0:\n        {stub}\n    {stub}" in source_of(exercise)
    assert "    twice = 2 * x\n    return twice" in source_of(solution)
    assert stub not in source_of(solution)
    for page in (exercise, solution):
        assert "SOLUTION" not in source_of(page)
        assert "2 parts · about 25 minutes" in source_of(page).lower()
    assert "Multiplication" in source_of(solution)
    assert "Multiplication" not in source_of(exercise)


def test_setup_cell_is_put_in_and_hidden(course, chapter):
    cell = build.build(course, "chapters", chapter, None).cells[1]
    assert cell.metadata["jupyter"] == {"source_hidden": True}
    assert "the build writes" not in cell.source
    compile(cell.source, "set-up", "exec")


def test_course_map_links_what_is_there(course, chapter):
    page = source_of(build.build(course, "chapters", chapter, None))
    assert "[LSH attention](../chapters/08_lsh_attention.ipynb)" in page
    assert "[exercise](../exercises/08_lsh_attention.ipynb)" in page
    assert "**Hashing** (in preparation)" in page


def test_measurement_stands_at_the_top(course, chapter):
    took = {"seconds": 7, "peak_mb": 310, "device": "2 CPU cores", "versions": "Python 3.12"}
    page = build.build(course, "chapters", chapter, took)
    assert "7 seconds to run on 2 CPU cores · 310 MB of memory" in page.cells[0].source
    assert page.metadata["efftx"] == took


def test_build_executes_once_and_then_keeps(course, chapter, edit):
    """One execution, then: nothing to do; text edited; code edited."""
    do = {"run": True, "force": False}
    assert update(course, "chapters", chapter, **do) == "run"
    first = read(course, "chapters")
    assert [c.execution_count for c in first.cells if c.cell_type == "code"] == [1, 2, 3]
    assert first.cells[2].outputs[0].data["text/plain"] == "42"
    assert 50 < first.metadata["efftx"]["peak_mb"] < 2000
    assert update(course, "chapters", chapter, **do) == "in step"

    edit("chapters", "# <!-- course map -->", "# More prose.")
    assert update(course, "chapters", chapter, **do) == "written"
    assert "More prose." in read(course, "chapters").cells[0].source
    assert read(course, "chapters").cells[2].outputs == first.cells[2].outputs

    edit("chapters", "40 + 2", "42 + 0")
    assert update(course, "chapters", chapter, run=False, force=False) == "written"
    assert read(course, "chapters").cells[2].execution_count is None  # not passed off as run
    assert update(course, "chapters", chapter, **do) == "run"


def test_memory_is_the_kernels_own_whoever_started_it(course, chapter):
    """The kernel is started by a process that has held 2 GB; Linux adds that to its ru_maxrss."""
    held = bytearray(2 * 10**9)
    held[::4096] = b"x" * len(held[::4096])  # touched, so that it is resident
    update(course, "chapters", chapter, run=True, force=False)
    assert read(course, "chapters").metadata["efftx"]["peak_mb"] < 1000


def test_make_chapters_counts_claims_and_finds_failures(course, chapter, edit, capsys):
    update(course, "chapters", chapter, run=True, force=False)
    assert chapters.run_chapter(course, chapter)
    assert "MB     2 claims" in capsys.readouterr().out
    edit("chapters", "assert total == 42", "assert total == 43")
    update(course, "chapters", chapter, run=False, force=False)
    assert not chapters.run_chapter(course, chapter)
    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert "assert total == 43" in printed


def test_a_failing_widget_fails_the_chapter(course, chapter, edit, capsys):
    widget = "import ipywidgets\nipywidgets.interact(lambda x: 1 / x, x=(-1, 1))"
    edit("chapters", "def double(x)", f"{widget}\n\ndef double(x)")
    update(course, "chapters", chapter, run=False, force=False)
    assert not chapters.run_chapter(course, chapter)
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_badges_reach_every_page_without_an_execution(course):
    update_all(course, run=False)
    assert "make badges" in (course.root / "README.md").read_text()
    badges.set_repository("ada/efftx", course.root)
    readme = (course.root / "README.md").read_text()
    for service in ("mybinder.org/v2/gh/ada/efftx", "github/ada/efftx", "kaggle.com"):
        assert service in readme
    for kind in build.KINDS:
        page = source_of(read(course, kind))
        assert 'repository = "ada/efftx"' in page
        assert f"github/ada/efftx/blob/main/{kind}/{STEM}.ipynb" in page
    badges.set_repository("grace/course", course.root)
    assert load(course.root).repository == "grace/course"
    assert "ada" not in (course.root / "README.md").read_text()


@pytest.mark.parametrize(
    "address", ["", "efftx", "a/b/c", "https://github.com/a/b", 'a/b"', "a /b", "-a/b"]
)
def test_badges_refuse_what_is_no_address(course, address):
    with pytest.raises(ValueError, match="owner/name"):
        badges.set_repository(address, course.root)
    assert load(course.root).repository == ""


def test_a_page_without_its_block_is_refused():
    with pytest.raises(ValueError, match="course map:begin"):
        replace_block("# No block", "course map", "table")


def test_dead_widgets_and_progress_bars_are_not_kept():
    def view(words):
        data = {execute.WIDGET: {"model_id": "a"}, "text/plain": words}
        return nbformat.v4.new_output("display_data", data=data)

    printed = nbformat.v4.new_output("stream", text="kept\n")
    cell = nbformat.v4.new_code_cell("1", metadata={"execution": {}})
    cell.outputs = [view("interactive(…)"), view("  3%|▎   | 3/100 [00:01]"), printed]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    execute.tidy(notebook)
    assert cell.outputs[0].data == {"text/plain": execute.DEAD_WIDGET}
    assert cell.outputs[1:] == [printed]
    assert cell.metadata == {}
