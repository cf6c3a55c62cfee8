"""The list of faults still fits the code, and the tool that tries them can tell them apart."""

import json
import shutil
from dataclasses import replace

import pytest

from tools import faults
from tools.course import ROOT

LISTED = faults.load()
NAMES = [fault.says for fault in LISTED]


@pytest.mark.parametrize("fault", LISTED, ids=NAMES)
def test_every_fault_can_be_put_in(fault, tmp_path):
    path = tmp_path / fault.file
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / fault.file, path)
    before = fault.put_into(tmp_path)
    assert before == (ROOT / fault.file).read_text(encoding="utf-8")
    if path.suffix == ".py":
        compile(path.read_text(encoding="utf-8"), path, "exec")
    assert (ROOT / fault.test).exists()


def test_each_has_its_own_sentence():
    assert len(set(NAMES)) == len(NAMES) >= 30


def test_what_was_tried_is_on_the_list_and_says_with_what():
    result = json.loads(faults.RESULT.read_text(encoding="utf-8"))
    assert {row["says"] for row in result} <= set(NAMES)
    for row in result:
        assert {"outcome", "seconds", "date", "jax", "python"} <= set(row)


def test_a_new_outcome_takes_the_place_of_the_old_one_and_leaves_the_others(tmp_path):
    first, second, path = NAMES[0], NAMES[1], tmp_path / "result.json"
    for says, outcome in [(second, "died"), (first, "SURVIVED"), (first, "died"), ("gone", "died")]:
        faults.record([{"says": says, "outcome": outcome}], path)
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"says": first, "outcome": "died"},
        {"says": second, "outcome": "died"},
    ]


TREE = {
    "code_of.py": "def double(x):\n    return 2 * x  # twice\n\n\ndef quiet():\n    return 1\n",
    "test_code.py": "from code_of import double\n\n\ndef test():\n    assert double(2) == 4\n",
}
FAULT = faults.Fault("three times", "code_of.py", "2 * x", "3 * x", "test_code.py")


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_one_is_noticed_and_one_is_not_and_the_tree_is_as_before(tree):
    unseen = replace(FAULT, says="unseen", old="return 1", new="return 2")
    rows = list(faults.tried(tree, [FAULT, unseen]))
    assert {row["says"]: row["outcome"] for row in rows} == {
        "three times": "died",
        "unseen": "SURVIVED",
    }
    assert (tree / "code_of.py").read_text() == TREE["code_of.py"]


def test_a_test_that_fails_anyway_notices_nothing(tree):
    FAULT.put_into(tree)
    with pytest.raises(RuntimeError, match=r"test_code\.py fails without a fault"):
        next(faults.tried(tree, [replace(FAULT, old="3 * x", new="4 * x")]))


def test_a_test_that_is_not_there_is_no_news(tree):
    with pytest.raises(RuntimeError, match="tested nothing"):
        next(faults.tried(tree, [replace(FAULT, test="test_gone.py")]))


@pytest.mark.parametrize(
    ("old", "new", "times"), [("4 * x", "x", 0), ("return", "yield", 2), ("2 * x", "2 * x", 1)]
)
def test_an_old_text_that_is_not_there_once_is_refused(tree, old, new, times):
    with pytest.raises(ValueError, match=rf"it stands there {times} times"):
        replace(FAULT, old=old, new=new).put_into(tree)
