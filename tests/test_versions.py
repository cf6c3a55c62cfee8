"""`make versions`: what is missing is said, and a matrix is kept and printed row by row."""

import json
import sys

import pytest

from tools import versions


def row(python="3.12", jax="newest", **steps):
    these = {"python": f"{python}.1", "jax": "0.12.0", "numpy": "2.5.0"}
    said = {name: {"held": not s, "said": s, "seconds": 1} for name, s in steps.items()}
    return {"python": python, "jax": jax, "versions": these, "steps": said}


def test_a_python_that_is_not_here_is_missing(monkeypatch):
    monkeypatch.setattr(versions, "interpreter", lambda python: None)
    tried = versions.tried("3.14", "newest", versions.QUICK)
    assert tried["missing"] == "no Python 3.14 here"
    assert "steps" not in tried


def test_this_very_python_is_found():
    here = f"3.{sys.version_info.minor}"
    assert versions.interpreter(here)
    assert versions.interpreter("2.99") is None


@pytest.mark.parametrize("code", ["import efftx", "raise SystemExit('no lanes')"])
def test_each_step_is_run_and_says_what_went_wrong(monkeypatch, code):
    monkeypatch.setattr(versions, "made", lambda *pair: (sys.executable, ""))
    step = versions.tried("3.11", "0.10", {"import": ("-c", code)})["steps"]["import"]
    assert (step["held"], step["said"]) == ((True, "") if "efftx" in code else (False, "no lanes"))


def test_the_newest_release_of_a_line_comes_last(tmp_path):
    names = ["3.12.1", "3.12.10", "3.12.9"]
    paths = [tmp_path / name / "bin" / "python3.12" for name in names]
    assert [path.parts[-3] for path in sorted(paths, key=versions.release)] == [
        "3.12.1",
        "3.12.9",
        "3.12.10",
    ]


def test_the_matrix_is_kept_pair_by_pair(tmp_path):
    path = tmp_path / "result.json"
    versions.keep(row(tests=""), path)
    versions.keep({"python": "3.14", "jax": "0.10", "missing": "no Python 3.14 here"}, path)
    versions.keep(row(chapters="2 failed"), path)  # the tests' outcome stays
    first, missing = json.loads(path.read_text())
    assert list(first["steps"]) == ["tests", "chapters"]
    assert list(versions.table([first, missing]))[2:] == [
        "| 3.12.1 | 0.12.0 | 2.5.0 | holds | 2 failed |",
        "| 3.14 | 0.10 | – | no Python 3.14 here | no Python 3.14 here |",
    ]
