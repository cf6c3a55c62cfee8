"""What experiments share: runs that are measured once, schedules, curves and results files."""

import json
import os

import numpy as np
import pytest

from experiments import harness


def test_a_run_is_measured_once_and_anew_when_it_went_on(tmp_path):
    checkpoint, measured = tmp_path / "task.LSH-4.0.npz", []

    def measure():
        measured.append(len(measured))
        return {"n": len(measured)}

    checkpoint.write_bytes(b"")
    assert [harness.kept(checkpoint, measure)["n"] for _ in range(3)] == [1, 1, 1]
    assert json.loads((tmp_path / "task.LSH-4.0.json").read_text()) == {"n": 1}
    younger = (tmp_path / "task.LSH-4.0.json").stat().st_mtime + 9
    os.utime(checkpoint, (younger, younger))
    assert harness.kept(checkpoint, measure)["n"] == 2


def test_a_schedules_entry_holds_from_its_step_on():
    schedule = {0: "short", 10: "longer", 25: "whole"}
    steps = [0, 9, 10, 24, 25, 1000]
    expected = ["short", "short", "longer", "longer", "whole", "whole"]
    assert [harness.at_step(schedule, step) for step in steps] == expected


def test_a_curve_is_means_of_stretches():
    assert harness.curve(np.arange(6.0), steps_each=3) == [1, 4]
    assert harness.curve([0.0004] * 20) == [0]


def test_a_results_file_names_what_a_number_needs(tmp_path):
    runs = [{"seconds": 1.25}, {"seconds": 2.5}]
    record = harness.head("name", iter(runs), packages=("pytest",))
    assert list(record) == ["experiment", "machine", "versions", "peak_rss_gib", "seconds"]
    assert record["seconds"] == pytest.approx(3.8, abs=0.05)
    assert record["versions"]["pytest"] == pytest.__version__
    harness.write(tmp_path / "results" / "name.json", record)
    assert json.loads((tmp_path / "results" / "name.json").read_text()) == record
    assert harness.results_file("x").parent.name == "results"


def test_the_command_line_makes_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["experiment", "--checkpoints", str(tmp_path / "kept")])
    assert harness.checkpoints_folder("What it does.\n\nMore.") == tmp_path / "kept"
    assert (tmp_path / "kept").is_dir()
