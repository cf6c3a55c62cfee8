"""Mistakes as they stand in source/exercises, and as the package has them."""

import pytest

from efftx.check.edited import edited, exchanged, mistakes_of
from tools import mistakes
from tools.course import ROOT, Course, load

CELL = """\
# The sentence is long,
# and goes on.
# - a
# - b
# +
# - c
# + d
# or
# - e
# + f

# Another.
# - g
# + h
"""


def test_the_package_has_the_mistakes_of_the_sources():
    """`make notebooks` writes them."""
    copies = {path.name: path.read_text() for path in (ROOT / mistakes.PACKAGED).glob("*.json")}
    assert copies == mistakes.packaged()
    assert len(copies) >= 12


def test_a_cell_is_sentences_with_edits():
    first, second = mistakes.parsed(CELL)
    assert first == {
        "says": "The sentence is long, and goes on.",
        "ways": [[["a\nb", ""], ["c", "d"]], [["e", "f"]]],
    }
    assert second == {"says": "Another.", "ways": [[["g", "h"]]]}


def test_what_is_taken_out_must_stand_there_once():
    with pytest.raises(ValueError, match="2 times in the solution, not once: 'x'"):
        exchanged("x = x", [["x", "y"]], "the solution")
    with pytest.raises(ValueError, match="0 times"):
        exchanged("x = 1", [["1", "2"], ["1", "3"]], "the solution")


def test_a_source_with_an_edit_that_does_not_fit_is_not_built(tmp_path):
    course = load()
    text = course.source("exercises", "04_chunking").read_text(encoding="utf-8")
    broken = Course(tmp_path, "", course.chapters)
    path = broken.source("exercises", "04_chunking")
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("# - jnp.concatenate(chunks)", "# - jnp.concatenate(pieces)"))
    with pytest.raises(ValueError, match="0 times in in_chunks of 04_chunking"):
        mistakes.of_exercise(broken, "04_chunking")


def test_a_line_that_is_no_edit_is_refused():
    with pytest.raises(ValueError, match="begins with '- ' or '\\+ '; got 'c'"):
        mistakes.parsed("# Says.\n# - a\n# + b\n# c")


def test_an_edit_changes_one_function():
    code = {"": "import math", "f": "def f(x):\n    return x", "g": "def g(x):\n    return f(x)"}
    changed = edited(code, "f", [["return x", "return 2 * x"]])
    names = {}
    exec(changed, names)
    assert names["g"](3) == 6


def test_every_mistake_is_a_function():
    (first, *_) = mistakes_of("04_chunking")["in_chunks"].values()
    assert callable(first[0])
