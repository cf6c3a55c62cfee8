"""Each guard finds what it is there to find: a sound notebook, broken in one way at a time."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebooks import guards
from tools.build import METADATA
from tools.course import ROOT, load

FIGURE = '<figure><img src="data:image/png;base64,QUJD" alt="A curve"></figure>'


def show(**data):
    return new_output("display_data", data={key.replace("_", "/"): v for key, v in data.items()})


def sound():
    """An executed notebook without fault: set-up, a print, a figure."""
    cells = [
        new_markdown_cell("# 08 · LSH attention"),
        new_code_cell("set_up()", metadata={"tags": ["setup"]}, execution_count=1),
        new_code_cell("my_guess = plots.ask('MiB')\nprint(4)", execution_count=2),
        new_code_cell("my_guess.show(figure)", execution_count=3, outputs=[show(text_html=FIGURE)]),
    ]
    cells[2].outputs = [new_output("stream", name="stdout", text="4\n")]
    return new_notebook(cells=cells, metadata=dict(METADATA))


def output(notebook, new):
    notebook.cells[2].outputs.append(new)


def text(notebook, words):
    output(notebook, new_output("stream", name="stdout", text=words))


def prose(notebook, words):
    notebook.cells[0].source += words


BROKEN = {
    "another kernel": lambda n: n.metadata.update(kernelspec={"name": "xpython"}),
    "an invalid cell": lambda n: n.cells[0].update(cell_type="poem"),
    "half a megabyte": lambda n: text(n, "x" * 500_001),
    "41 code cells": lambda n: n.cells.extend(
        new_code_cell("1", execution_count=4 + i) for i in range(38)
    ),
    "a null count": lambda n: n.cells[2].update(execution_count=None),
    "counts out of order": lambda n: n.cells[2].update(execution_count=7),
    "raises-exception": lambda n: n.cells[2].metadata.update(tags=["raises-exception"]),
    "an error": lambda n: output(n, new_output("error", ename="E", evalue="v", traceback=[])),
    "a warning": lambda n: output(n, new_output("stream", name="stderr", text="Warning")),
    "an absolute path": lambda n: text(n, "saved to /home/ada/figure.png"),
    "a path of the clone": lambda n: text(n, f"read {ROOT}/efftx"),
    "a path in the source": lambda n: prose(n, r" see C:\Users\ada"),
    "an address": lambda n: text(n, "<object at 0x7f3a2b1c4d5e>"),
    "colours": lambda n: text(n, "\x1b[31mred\x1b[0m"),
    "a dead widget": lambda n: output(n, show(**{"application_vnd.jupyter.widget-view+json": {}})),
    "widget state": lambda n: n.metadata.update(widgets={}),
    "execution times": lambda n: n.cells[2].metadata.update(execution={}),
    "an image without alt": lambda n: output(n, show(text_html='<img src="data:,">')),
    "an image with empty alt": lambda n: output(n, show(text_html='<img src="data:," alt=" ">')),
    "a bare image": lambda n: output(n, show(image_png="QUJD")),
    "an unnamed image": lambda n: prose(n, "![](data:,)"),
    "no guess asked for": lambda n: n.cells[2].update(source="print(4)"),
    "a guess that is not shown": lambda n: n.cells[3].update(source="show()"),
    "nine imports": lambda n: n.cells[2].update(source=n.cells[2].source + "\nimport math" * 9),
    "a question without an answer": lambda n: prose(n, "\n\n**Why 8?**"),
    "an answer without a question": lambda n: prose(n, "\n\n▸ Because."),
    "answers that come too late": lambda n: prose(n, "\n\n**A?** **B?** **C?** ▸ 1 ▸ 2 ▸ 3"),
    "a number that nobody printed": lambda n: n.cells.append(
        new_markdown_cell("It takes 17.5 MiB.")
    ),
    "a caption's number": lambda n: n.cells[3].update(source="my_guess.show(figure, '12 MiB')"),
    "a share that is rounded up": lambda n: n.cells.append(new_markdown_cell("In 5 % of cases.")),
    "no set-up cell": lambda n: n.cells[1].metadata.update(tags=[]),
    "a late set-up cell": lambda n: n.cells.insert(3, n.cells.pop(1)),
}


def complaints(notebook):
    return [c for guard in guards.GUARDS["chapters"] for c in guard(notebook)]


def test_a_sound_notebook_has_no_complaint():
    assert complaints(sound()) == []


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_notebook_is_found_out(fault):
    notebook = sound()
    BROKEN[fault](notebook)
    assert complaints(notebook)


@pytest.mark.parametrize(
    "words",
    [
        "It takes 4 MiB.",
        "In 400 % of cases.",
        "The paper says [7.25 MiB](https://example.org/x).",
        "| the paper's | MiB |\n|---|---|\n| x | 7.25 |",
        "`7.25 MiB` and $7.25$ MiB",
        "**How much?** ▸ 4 MiB.",
        "**How much? And** then **why?** ▸ Because.",
    ],
)
def test_what_a_cell_or_a_source_gives_may_be_said(words):
    notebook = sound()
    notebook.cells.append(new_markdown_cell(words))
    assert complaints(notebook) == []


def test_an_executed_exercise_is_found_out():
    assert len(guards.executed(sound())) == 3


def test_data_in_an_image_is_no_path():
    notebook = sound()
    output(notebook, show(text_html='<img src="data:image/png;base64,QU/home/QU" alt="A curve">'))
    assert complaints(notebook) == []


@pytest.mark.parametrize(
    ("link", "is_dead"),
    [
        ("[x](15_outlook.ipynb)", False),  # on the list, whether it is written or not
        ("[x](../exercises/15_outlook.ipynb#part-1)", False),
        ("[x](../pyproject.toml)", False),
        ("[x](https://example.org/y)", False),
        ("[x](#limits)", False),
        ("[x](14_epilogue.ipynb)", True),
        ("[x](../chapters/nowhere.ipynb)", True),
        ('<a href="nowhere.html">x</a>', True),
    ],
)
def test_dead_links_are_found(link, is_dead):
    course = load()
    page = course.notebook("chapters", "08_lsh_attention")
    assert bool(guards.dead_links(course, page, [link])) == is_dead
