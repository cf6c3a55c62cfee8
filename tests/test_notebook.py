"""A notebook keeps to the memory of a small machine, and its reader need not know."""

import jax
import pytest
from IPython.core.interactiveshell import InteractiveShell

from efftx import notebook


@pytest.fixture
def traced():
    """A compiled square, and how often it was traced."""
    traces = []

    @jax.jit
    def square(x):
        traces.append(x)
        return x * x

    square(2.0), square(3.0)
    assert len(traces) == 1
    return square, traces


def test_what_was_compiled_is_forgotten(traced):
    square, traces = traced
    notebook.free_memory()
    assert square(4.0) == 16
    assert len(traces) == 2


@pytest.mark.parametrize(("full", "again"), [(0, 1), (2**60, 0)], ids=["full", "not full"])
def test_only_a_full_process_forgets_before_a_cell(full, again, traced, monkeypatch):
    monkeypatch.setattr(notebook, "FULL", full)
    shell = InteractiveShell()
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    notebook.keep_small(), notebook.keep_small()  # the set-up cell may run twice
    assert shell.events.callbacks["pre_run_cell"].count(notebook.free_memory_if_full) == 1
    square, traces = traced
    shell.run_cell("1 + 1")
    square(4.0)
    assert len(traces) == 1 + again


def test_outside_of_a_notebook_nothing_happens():
    notebook.keep_small()
