"""The package's copy of what experiments and benchmarks measured."""

import json

from efftx.results import recorded
from tools import results
from tools.course import ROOT


def test_the_package_has_the_committed_results():
    """`make notebooks` copies them."""
    copies = {path.name: path.read_text() for path in (ROOT / results.PACKAGED).glob("*.json")}
    assert copies == results.packaged()
    assert "small_text_model.json" in copies


def test_a_result_can_be_read():
    there = json.loads((ROOT / "experiments/results/small_text_model.json").read_text())
    assert recorded("small_text_model") == there


def test_what_is_gone_is_removed_and_what_changed_is_copied(tmp_path):
    for folder in (*results.SOURCES, results.PACKAGED):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / results.PACKAGED / "gone.json").write_text("{}")
    source = tmp_path / "benchmarks/results/speed.json"
    for value in (1, 2):
        source.write_text(json.dumps({"é": value}, indent=4))
        results.update(tmp_path)
        (copy,) = (tmp_path / results.PACKAGED).iterdir()
        assert copy.name == "speed.json"
        assert copy.read_text(encoding="utf-8") == f'{{"é":{value}}}\n'
