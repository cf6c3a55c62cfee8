"""The tests' own surroundings: in which order they run, and what a notebook's kernel inherits."""

import os
from types import SimpleNamespace

import pytest

from tests import conftest


def test_what_takes_longest_begins_first_and_no_file_is_torn_apart():
    short, many = "tests/test_readme.py", "tests/plots/test_hashing.py"
    page, exercises = "solutions/03_reversible_layers.ipynb", conftest.LONGEST[0]
    files = [short, many, page, many, exercises, page, many]
    assert [files[n] for n in conftest.in_order(files)] == [
        *(exercises, page, page),
        *(many, many, many, short),
    ]
    assert conftest.in_order(["a.py", "a.py"]) == [0, 1]


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_a_kernel_inherits_no_platform_that_the_tests_have_set(suffix, monkeypatch):
    monkeypatch.setenv(conftest.SET, "JAX_PLATFORMS")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    item = SimpleNamespace(path=SimpleNamespace(suffix=suffix))
    running = conftest.pytest_runtest_protocol(item)
    next(running)
    assert ("JAX_PLATFORMS" in os.environ) == (suffix == ".py")
    with pytest.raises(StopIteration):
        running.send(None)
    assert os.environ["JAX_PLATFORMS"] == "cpu"
