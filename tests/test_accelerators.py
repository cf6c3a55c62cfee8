"""`make accelerators`: notebooks under a TPU's and a newer GPU's products, and what it prints."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import accelerators
from tools.course import ROOT, load

NUMBERS = "import jax, jax.numpy as jnp\nx = jax.random.normal(jax.random.key(0), (64, 64))"
CLAIM = "assert jnp.allclose(x @ x, jnp.matmul(x, x, precision='highest'), atol=1e-4)"


class OnePage:
    """A course of one notebook."""

    def __init__(self, path):
        self.path = path

    def notebook(self, kind, stem):
        return self.path


@pytest.fixture
def page(tmp_path):
    """A claim that a rounded product breaks; the same at the highest precision; and one more."""
    switched = (ROOT / "source/setup_cell.py").read_text(encoding="utf-8")
    assert 'jax.config.update("jax_default_matmul_precision", "highest")' in switched
    switched = 'jax.config.update("jax_default_matmul_precision", "highest")\n'
    cells = [NUMBERS, CLAIM, switched + CLAIM, "assert x.shape == (64, 64)"]
    notebook = new_notebook(cells=[new_markdown_cell("# Title"), *map(new_code_cell, cells)])
    nbformat.write(notebook, tmp_path / "page.ipynb")
    return OnePage(tmp_path / "page.ipynb")


@pytest.mark.parametrize("arithmetic", ["bf16", "tf32"])
def test_a_claim_that_a_rounded_product_breaks_is_found_and_stops_nothing(page, arithmetic):
    row = accelerators.run(page, "chapters", load().chapters[0], arithmetic)
    assert row["claims"] == 3
    (failed,) = row["failed"]
    assert (failed["cell"], failed["line"]) == (2, CLAIM)
    assert failed["said"].startswith("AssertionError")


@pytest.mark.parametrize(
    ("kind", "stem", "arithmetic"),
    [
        ("chapters", "02_where_the_memory_goes", "bf16"),
        ("solutions", "capstone_memory", "tf32"),
    ],
)
def test_a_page_of_the_course_holds_there(kind, stem, arithmetic):
    (page,) = (page for page in load().pages if page.stem == stem)
    assert not accelerators.run(load(), kind, page, arithmetic)["failed"]


def test_what_was_run_is_kept_and_printed(tmp_path):
    path = tmp_path / "result.json"
    claim = {"cell": 7, "line": "assert a | b", "said": "AssertionError"}
    rows = [
        {"arithmetic": "tf32", "notebook": "chapters/b", "claims": 9, "failed": []},
        {"arithmetic": "bf16", "notebook": "chapters/a", "claims": 4, "failed": [claim]},
    ]
    for row in (*rows, rows[0]):
        accelerators.keep(row, path)
    assert json.loads(path.read_text()) == rows[::-1] == accelerators.recorded(path)
    *_, failing, tpu, gpu = accelerators.table(rows)
    assert failing == "| bf16 | chapters/a | 7 | `assert a \\| b` |"
    assert tpu == "| bf16 | a TPU's default | 0 of 1 hold | 1 cells fail |"
    assert gpu == "| tf32 | an Ampere GPU's default | 1 of 1 hold | 0 cells fail |"
    assert [accelerators.outcome(row) for row in rows] == [
        "   9 claims, no cells failed",
        "   4 claims, 1 cells failed",
    ]


def test_no_claim_that_was_tried_fails():
    rows = accelerators.recorded()
    pages = {f"{kind}/{p.stem}" for kind in accelerators.KINDS for p in load().written(kind)}
    for arithmetic in accelerators.DEVICES:
        assert {row["notebook"] for row in rows if row["arithmetic"] == arithmetic} <= pages
    assert not [row["notebook"] for row in rows if row["failed"]]
