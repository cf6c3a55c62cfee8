"""The reference in docs/api: every public name has an entry, its example runs, the HTML is built.

It is built as `make docs` does it, and must do without a network.
"""

import doctest
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from efftx import attention, memory, models, sparsity, training
from tests.test_docstrings import OPTIONS

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FOLDER = ROOT / "docs/api"
PAGES = sorted(FOLDER.glob("*.rst"))
ROOMS = (attention, memory, models, sparsity, training)
PUBLIC = {f"{room.__name__}.{name}": getattr(room, name) for room in ROOMS for name in room.__all__}
ENTRY = re.compile(r"^\.\. auto(?:function|class|data):: (\S+)\n", re.MULTILINE)
LINK = re.compile(r"<(\.\./[^>]+)>`__")
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=\"([^\"]*)\"")
ELSEWHERE = re.compile(r"(?:\w+:)?//")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def entries(text: str) -> Iterator[tuple[str, str]]:
    """The name of each entry, and what belongs to it: the indented lines below."""
    for found in ENTRY.finditer(text):
        below = re.match(r"(?:(?:   .*)?\n)*", text[found.end() :])
        yield found[1], below[0]


def without_example(text: str) -> list[str]:
    """Entries below which no line of an example has their name."""
    return [
        name
        for name, below in entries(text)
        if not re.search(rf"^ +(?:>>>|\.\.\.) .*\b{name.rpartition('.')[2]}\b", below, re.MULTILINE)
    ]


def failures(page: Path) -> list[str]:
    """What each example of a page that fails says."""
    examples = doctest.DocTestParser().get_doctest(
        text_of(page), {"__name__": "__main__"}, page.name, str(page), 0
    )
    said = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(examples, out=said.append)
    return said


def loaded_from_elsewhere(html: str) -> list[str]:
    """Scripts, styles and pictures that a page takes from another host."""
    return [address for address in LOADED.findall(html) if ELSEWHERE.match(address)]


def test_every_public_name_has_one_entry_and_nothing_else_has():
    assert sorted(n for page in PAGES for n, _ in entries(text_of(page))) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_is(name):
    assert inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_entry_has_an_example(page):
    assert not without_example(text_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_the_course_lead_somewhere(page):
    assert not [link for link in LINK.findall(text_of(page)) if not (FOLDER / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write a file
    said = failures(page)
    assert not said, "\n".join(said)


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """The folder that is built, as `make docs` does it; a warning is an error."""
    for package in ("sphinx", "furo"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    (command,) = re.findall(r"-m sphinx (.*) docs/api build/docs$", MAKEFILE, re.MULTILINE)
    folder = tmp_path_factory.mktemp("html")
    build = [sys.executable, "-m", "sphinx", *command.split(), "docs/api", str(folder)]
    ran = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def test_the_html_has_every_page_and_every_name(html):
    pages = {page.stem: text_of(html / f"{page.stem}.html") for page in PAGES}
    assert pages.keys() > {room.__name__.rpartition(".")[2] for room in ROOMS}
    identifiers = re.compile(r'id="(efftx\.\w+\.\w+)"')
    found = [name for page in pages.values() for name in identifiers.findall(page)]
    assert sorted(found) == sorted(PUBLIC)


def test_the_html_can_be_searched(html):
    index = text_of(html / "searchindex.js")
    assert all(name.rpartition(".")[2] in index for name in PUBLIC)


def test_the_html_loads_nothing_from_another_host(html):
    pages = sorted(html.rglob("*.html"))
    assert len(pages) > len(PAGES)  # those of the source, too
    for page in pages:
        assert not loaded_from_elsewhere(text_of(page)), page


# The checks above can fail:


def test_an_entry_without_an_example_is_found():
    entry = ".. autofunction:: efftx.room.found\n\n   >>> found(1)\n   1\n\n"
    other = ".. autofunction:: efftx.room.lost\n\n   >>> found(2)\n   2\n\n>>> lost(3)\n3\n"
    assert [name for name, _ in entries(entry + other)] == ["efftx.room.found", "efftx.room.lost"]
    assert without_example(entry + other) == ["efftx.room.lost"]


def test_an_example_that_fails_is_found(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text("A page\n\n>>> x = 1\n\n.. autofunction:: efftx.f\n\n   >>> x + 1\n   3\n")
    (said,) = failures(page)
    assert "Expected:\n    3\nGot:\n    2" in said


def test_what_comes_from_another_host_is_found():
    here = '<script src="_static/a.js"></script><link rel="x" href="a.css"><a href="https://b.org">'
    there = '<script async src="https://b.org/a.js"></script><link href="//b.org/a.css" rel="x">'
    assert loaded_from_elsewhere(here) == []
    assert loaded_from_elsewhere(there) == ["https://b.org/a.js", "//b.org/a.css"]
