"""The examples in docstrings run as they stand and give what they say."""

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ROOT = Path(__file__).resolve().parent.parent
WITH_EXAMPLES = [  # by their text, so that nothing is imported to list them
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "efftx").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def failures(module: ModuleType) -> list[str]:
    """What each example that fails says, on a line of its own in the report."""
    runner, said = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False), []
    found = [one for one in doctest.DocTestFinder().find(module) if one.examples]
    assert found, "no docstring has an example"
    for one in found:
        runner.run(one, out=said.append, clear_globs=False)
    return said


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run_as_they_stand(name):
    said = failures(importlib.import_module(name))
    assert not said, "\n".join(said)


def test_an_example_that_fails_is_found():
    module = ModuleType("example")
    module.__doc__ = ">>> 1 + 1\n2\n>>> 1 + 1\n3\n>>> undefined\n"
    said = failures(module)
    assert len(said) == 2
    assert "Expected:\n    3\nGot:\n    2" in said[0]
    assert "NameError" in said[1]
