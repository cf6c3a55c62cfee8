"""The benchmark that compiles for devices that are not there: its records, and what it says."""

import json

import jax
import pytest

from benchmarks import accelerators as benchmark
from benchmarks.contenders import accelerators as contenders
from benchmarks.harness import targets

TRACED_BY_OTHERS = (  # the same functions with other sizes, or another optimiser
    "reversible stack, 32 layers",
    "SIXTEEN_GB, 1 round, Adam",
    "Terraformer, a training step, 8-bit Adam",
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty file of results, and compilers that are installed and quick."""
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "accelerators.json")
    monkeypatch.setattr(targets, "versions", lambda target: dict.fromkeys(targets.NEEDS[target]))
    compiled = []

    def compile_there(target, name):
        compiled.append((target, name))
        return {"peak_bytes": 2**30, "compile_seconds": 1.0}

    monkeypatch.setattr(benchmark, "in_its_own_process", compile_there)
    return compiled


def run(monkeypatch, *options):
    monkeypatch.setattr("sys.argv", ["accelerators.py", *options])
    benchmark.main()


def test_rows_are_kept_one_by_one_and_compiled_once(results, monkeypatch, capsys):
    run(monkeypatch, "--only", "int8")
    run(monkeypatch, "--only", "decoding")
    assert len(results) == 4  # two programs for two devices
    rows = json.loads(benchmark.RESULTS.read_text())["results"]
    names = [(row["target"], row["program"]) for row in rows]
    assert len(names) == 4
    assert names == sorted(names)
    run(monkeypatch, "--only", "int8", "--again", "--target", targets.T4, "--busy")
    assert len(results) == 5
    assert [row["busy"] for row in benchmark.recorded()["results"]] == [False, True, False, False]
    assert "1.00, 1 s" in capsys.readouterr().out


def test_a_compiler_that_is_missing_is_named_and_the_other_goes_on(results, monkeypatch, capsys):
    monkeypatch.setattr(targets, "missing", lambda t: ["libtpu"] if t == targets.V5E else [])
    run(monkeypatch, "--only", "int8")
    assert [target for target, _ in results] == [targets.T4]
    assert "TPU v5e: not compiled for, libtpu not in .venv-compilers" in capsys.readouterr().out


def test_results_of_other_sizes_do_not_count(results, monkeypatch):
    run(monkeypatch, "--only", "int8")
    monkeypatch.setattr(contenders, "LENGTH", 1)
    assert not benchmark.recorded()["results"]


def test_what_is_not_installed_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "WHEELS", tmp_path)
    assert targets.missing(targets.V5E) == ["libtpu"]
    folder = tmp_path / "libtpu-0.0.42.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: libtpu\nVersion: 0.0.42\n")
    assert not targets.missing(targets.V5E)


def test_a_complaint_is_the_line_that_names_the_error():
    trace = "Traceback:\n  File x\njax.errors.JaxRuntimeError: INTERNAL: no lanes\nmore\n-----\n"
    assert benchmark.complaint(trace) == "jax.errors.JaxRuntimeError: INTERNAL: no lanes"
    assert benchmark.complaint("") == "nothing was said"


def test_settings_do_not_lose_the_machines_own(monkeypatch):
    monkeypatch.setenv("HOME", "here")
    for target in targets.NEEDS:
        environment = targets.settings(target)
        assert (environment["HOME"], environment["JAX_PLATFORMS"]) == ("here", "cpu")
        assert str(targets.WHEELS) in environment["PYTHONPATH"]


@pytest.mark.parametrize(
    "name", [name for name in contenders.PROGRAMS if name not in TRACED_BY_OTHERS]
)
def test_every_program_can_be_traced(name):
    program, arguments = contenders.built(name)
    assert program.trace(*arguments).jaxpr
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(arguments))
