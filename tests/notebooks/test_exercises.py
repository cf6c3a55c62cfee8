"""An untouched exercise fails at its checks, in words that help, and nowhere else."""

import nbformat
import pytest

from tools.course import Chapter, load

COURSE = load()
EXERCISES = COURSE.written("exercises")
FRIENDLY = (AssertionError, NotImplementedError)


def run_untouched(source_cells: list[tuple[str, bool]]) -> list[Exception]:
    """Run the cells in one namespace; returns what the cells that are checks raised."""
    names, raised = {"__name__": "__main__"}, []
    for source, is_check in source_cells:
        if not is_check:
            exec(source, names)
            continue
        with pytest.raises(FRIENDLY) as caught:
            exec(source, names)
        raised.append(caught.value)
    return raised


def cells_of(chapter: Chapter) -> list[tuple[str, bool]]:
    notebook = nbformat.read(COURSE.notebook("exercises", chapter.stem), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell.source, "check" in cell.metadata.get("tags", [])) for cell in code]


@pytest.mark.parametrize("chapter", EXERCISES, ids=[chapter.stem for chapter in EXERCISES])
def test_untouched_stubs_fail_with_a_friendly_message(chapter, monkeypatch):
    monkeypatch.chdir(COURSE.root / "exercises")
    monkeypatch.syspath_prepend(str(COURSE.root))
    raised = run_untouched(cells_of(chapter))
    assert len(raised) >= 3, "an exercise has at least three parts, each with a check"
    for error in raised:
        assert len(str(error).split()) >= 4, f"not a sentence: {error!r}"
        assert "Traceback" not in str(error)


def test_a_check_that_passes_untouched_is_found_out():
    with pytest.raises(pytest.fail.Exception):
        run_untouched([("1 + 1", True)])


def test_an_error_outside_the_checks_is_found_out():
    with pytest.raises(ZeroDivisionError):
        run_untouched([("1 / 0", False)])
