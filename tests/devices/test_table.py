"""docs/devices.md shows what benchmarks/devices.py measured, and it goes on without a compiler."""

import json
from pathlib import Path

import pytest

from benchmarks import devices
from benchmarks.contenders import devices as contenders
from benchmarks.harness import targets

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads(devices.RESULTS.read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/devices.md").read_text(encoding="utf-8")
ON_TPU = {(r["who"], r["length"]): r for r in RECORD["compiled"] if r["target"] == devices.TPU}


@pytest.mark.parametrize("table", [devices.table, devices.table_of_tpu])
def test_the_tables_are_those_of_the_record(table):
    assert "\n".join(table(RECORD)) in PAGE


def test_what_the_page_says_of_it_holds():
    mib = {
        (r["who"], r["length"], r["devices"]): r["temporary_mib"]
        for r in RECORD["compiled"]
        if r["target"] == devices.SIMULATED
    }
    ours, compiler = "LSH, sequence shared out", "LSH, left to the compiler"
    for length in devices.LENGTHS:
        assert mib[ours, length, 8] < mib[ours, length, 1] / 7
        assert 1.8 < mib[ours, length, 1] / mib[compiler, length, 1] < 2.2
        assert mib[ours, length, 2] > mib[compiler, length, 2]
        assert mib[ours, length, 4] < mib[compiler, length, 4]
        assert (
            mib["LSH, rounds shared out", length, 8] > mib["LSH, rounds shared out", length, 1] / 2
        )


def test_what_the_page_says_of_a_tpu_holds():
    assert {(who, length) for who in devices.WHO for length in devices.LENGTHS} == set(ON_TPU)
    assert not any("failed" in row for row in ON_TPU.values())
    together = {which: devices.together_mib(row) for which, row in ON_TPU.items()}
    too_much = [which for which, mib in together.items() if mib > devices.HAS_MIB]
    assert too_much == [("LSH, rounds shared out", 2**22)]
    assert ON_TPU[too_much[0]]["peak_mib"] < devices.HAS_MIB
    mib = {which: row["temporary_mib"] for which, row in ON_TPU.items()}
    ours, ring = "LSH, sequence shared out", "exact, in a ring"
    assert mib[ring, 2**20] < mib[ours, 2**20]
    assert mib[ours, 2**22] < mib[ring, 2**22]
    assert set(ON_TPU[ring, 2**20]["collectives"]) == {"collective-permute"}
    assert "all-to-all" in ON_TPU[ours, 2**20]["collectives"]
    assert all(row["compiler"]["libtpu"] for row in ON_TPU.values())


# The command -----------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled, by compilers that are quick."""
    those = []

    def compile_there(target, who, length, n_devices):
        those.append((target, who, length, n_devices))
        return {"temporary_mib": 2.0, "arguments_mib": 1.0, "collectives": {}}

    monkeypatch.setattr(devices, "in_its_own_process", compile_there)
    monkeypatch.setattr(targets, "versions", lambda target: {"libtpu": "0"})
    return those


def run(monkeypatch, path, *options):
    monkeypatch.setattr("sys.argv", ["devices.py", "--save", str(path), *options])
    devices.main()
    return json.loads(path.read_text())["compiled"]


def test_one_target_s_rows_take_the_place_of_its_own(compiled, monkeypatch, tmp_path):
    path = tmp_path / "devices.json"
    rows = run(monkeypatch, path, "--lengths", "64")
    assert len(rows) == len(compiled) == len(devices.WHO) * (len(devices.DEVICES) + 1)
    again = run(monkeypatch, path, "--lengths", "64", "--target", devices.TPU, "--busy")
    assert [row["target"] for row in again] == [row["target"] for row in rows]
    assert [row["busy"] for row in again if row["target"] == devices.TPU] == [True] * 4
    assert len(compiled) == len(rows) + 4


def test_a_compiler_that_is_missing_is_named_and_the_rest_goes_on(
    compiled, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(targets, "versions", lambda target: {})
    rows = run(monkeypatch, tmp_path / "devices.json", "--lengths", "64")
    assert {row["target"] for row in rows} == {devices.SIMULATED}
    said = "TPU v5e 2x4: not compiled for, libtpu not in .venv-compilers"
    assert said in capsys.readouterr().out


def test_a_row_of_what_does_not_compile_has_the_compiler_s_sentence():
    row = {"who": "exact, in a ring", "length": 64, "target": devices.TPU, "failed": "Ran out."}
    (line,) = devices.table_of_tpu({"compiled": [row]})[2:]
    assert "Ran out." in line


def test_a_program_is_weighed_on_simulated_devices():
    """Of a single device; what several hold is measured in tests/devices/on_eight.py."""
    row = contenders.measured(devices.SIMULATED, "exact, in a ring", 128, 1)
    assert set(row) == {"temporary_mib", "arguments_mib", "collectives"}
    assert row["arguments_mib"] == contenders.in_mib(2 * 128 * devices.D_HEAD * 4)


def test_the_slice_is_one_host_with_eight_chips():
    assert devices.TPU == targets.V5E_SLICE
    assert targets.slice_settings()["TPU_ACCELERATOR_TYPE"] == "v5litepod-8"
