"""`make check`: which tests are next to a change, and what it says when its time is over."""

import subprocess
import sys

import pytest

from tools import check
from tools.course import ROOT


@pytest.fixture
def tree(tmp_path):
    """A repository with a branch that left main and changed a technique."""
    files = {
        "efftx/attention/lsh.py": "A = 1\n",
        "efftx/plots/lsh.py": "B = 1\n",
        "tests/attention/test_lsh.py": "from efftx.attention import lsh\n",
        "tests/bad_input/test_lsh_bad_input.py": "import efftx.attention.lsh\n",
        "tests/attention/test_full.py": "import efftx.attention.full\n",
        "tests/models/test_model.py": "from efftx.attention.lsh import A\n",
        "tests/models/test_other.py": "import efftx.models\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    who = ["-c", "user.name=A", "-c", "user.email=a@b"]
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        [*who, "commit", "-qm", "first"],
        ["checkout", "-qb", "branch"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_what_changed_on_the_branch_or_is_new_counts(tree):
    assert check.changed(tree) == []
    (tree / "efftx/attention/lsh.py").write_text("A = 2\n")
    (tree / "new.md").touch()
    assert check.changed(tree) == ["efftx/attention/lsh.py", "new.md"]


def test_where_git_knows_nothing_nothing_changed(tmp_path):
    assert check.changed(tmp_path) == []


def test_the_nearest_tests_come_first_and_the_far_ones_never(tree):
    assert check.next_to(["efftx/attention/lsh.py"], tree) == [
        ["tests/attention/test_lsh.py", "tests/bad_input/test_lsh_bad_input.py"],
        ["tests/attention/test_full.py"],
        ["tests/models/test_model.py"],
    ]
    assert check.next_to(["tests/models/test_other.py"], tree) == [["tests/models/test_other.py"]]
    assert check.next_to(["README.md"], tree) == []


def test_an_exercise_has_the_stem_of_its_check():
    near, *_ = check.next_to(["source/exercises/08_lsh_attention.py"])
    assert near == ["tests/check/test_lsh_attention.py", "tests/plots/test_lsh_attention.py"]


def test_bad_input_is_tested_without_the_shape_checks():
    good, bad = check.calls([["tests/test_a.py", "tests/bad_input/test_b.py"]], workers=2)
    assert check.SHAPES in good
    assert "tests/test_a.py" in good
    assert check.SHAPES not in bad
    assert bad[-1] == "tests/bad_input/test_b.py"


def test_smoke_is_a_test_of_every_room():
    rooms = {path.name for path in (ROOT / "efftx").iterdir() if (path / "__init__.py").exists()}
    assert {name.split("/")[1] for name in check.SMOKE} >= rooms - {"results"}
    assert all((ROOT / name).exists() for name in (*check.SMOKE, *check.ALWAYS))


def test_it_fails_where_a_test_does_and_says_when_its_time_is_over(monkeypatch, capfd):
    python = [sys.executable, "-c"]
    commands = {"right": [*python, ""], "wrong": [*python, "exit(3)"]}
    monkeypatch.setattr(check, "calls", lambda groups, _: [commands[name] for name in groups])
    assert check.run(["right", "wrong"], 1, 60) == 3
    assert check.run(["right"], 1, 60) == 0
    assert "right as far as it looks" in capfd.readouterr().out
    commands["slow"] = [*python, "import time; time.sleep(60)"]
    assert check.run(["slow", "wrong"], 1, 0.1) == 0
    assert "its time is over" in capfd.readouterr().out
