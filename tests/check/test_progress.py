"""What a learner has solved is kept in a file of their own, unless it is switched off."""

import json
import subprocess
import sys

import numpy as np
import pytest

from efftx.check import CheckFailed, chunking, progress
from efftx.check.map import as_text, count, course_parts
from efftx.plots.start_here import draw_progress


@pytest.fixture
def kept(tmp_path, monkeypatch):
    path = tmp_path / "folder/progress.json"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


def solved(layer, x, chunk_len):
    return np.concatenate([layer(x[i : i + chunk_len]) for i in range(0, len(x), chunk_len)])


def test_what_passes_is_kept_once(kept):
    for _ in range(2):
        chunking.in_chunks(solved)
    assert json.loads(kept.read_text()) == {"chunking": ["in_chunks"]}
    assert [path.name for path in kept.parent.iterdir()] == ["progress.json"]


def test_what_fails_is_not(kept):
    with pytest.raises(CheckFailed):
        chunking.in_chunks(lambda layer, x, chunk_len: solved(layer, x[::-1], chunk_len))
    assert not kept.exists()


def test_off_is_off(monkeypatch):
    monkeypatch.setenv(progress.VARIABLE, "off")
    chunking.in_chunks(solved)
    assert progress.file() is None
    assert progress.passed() == {}


def test_without_the_variable_it_is_in_the_users_folder(monkeypatch):
    monkeypatch.delenv(progress.VARIABLE)
    assert progress.file().parts[-2:] == ("efftx", "progress.json")


def test_where_nothing_can_be_written_the_answer_still_passes(kept, capsys):
    kept.parent.write_text("a file where the folder should be")
    chunking.in_chunks(solved)
    said = capsys.readouterr().out
    assert said.startswith("✓ in_chunks")
    assert "could not be kept" in said


def test_the_map_has_every_exercise(kept):
    chunking.in_chunks(solved)
    parts = course_parts()
    assert parts["04_chunking"]["in_chunks"]
    assert not parts["04_chunking"]["loss_in_chunks"]
    done, all_of_them = count(parts)
    assert done == 1
    assert all_of_them >= 3 * 12
    assert as_text(parts).splitlines()[0] == f"1 of {all_of_them} functions pass"
    assert len(draw_progress(parts).axes[0].collections) == all_of_them


def test_the_command_prints_it(kept):
    chunking.in_chunks(solved)
    command = [sys.executable, "-m", "efftx.check"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "04 chunking" in printed
    assert "■" in printed
    assert str(kept) in printed
