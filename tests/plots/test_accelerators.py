"""The table and the picture of what was compiled for devices that nobody had."""

import pytest

from efftx.plots import accelerators as pictures
from efftx.results import recorded

TPU, GPU, STEP = "TPU v5e", "NVIDIA T4", "a step"
RECORD = {
    "results": [
        {"target": GPU, "program": STEP, "peak_bytes": 3 * 2**30, "compile_seconds": 12.4},
        {"target": GPU, "program": "offload", "failed": "JaxRuntimeError: no"},
        {"target": TPU, "program": STEP, "peak_bytes": 2**29, "compile_seconds": 240.0},
    ]
}


def test_a_line_for_each_program_and_a_column_for_each_device():
    heading, *lines = pictures.lines_of_compiled(RECORD)
    assert heading.split() == [*pictures.HEADING.split(), *GPU.split(), *TPU.split()]
    assert [line.split() for line in lines] == [
        [*STEP.split(), "3.00", "GiB", "12", "s", "0.50", "GiB", "240", "s"],
        ["offload", "does", "not", "compile", "–"],
    ]
    assert len({len(line) for line in (heading, *lines)}) == 1


def test_of_the_programs_that_are_asked_for():
    assert [line.split()[0] for line in pictures.lines_of_compiled(RECORD, "off")][1:] == [
        "offload"
    ]


@pytest.mark.parametrize("budget", [None, 16 * 2**30])
def test_bars_are_as_long_as_what_the_compilers_plan(budget):
    (ax,) = pictures.draw_compiled(RECORD, budget=budget).axes
    assert [bar.get_width() for bar in ax.patches] == [3, 0, 0.5, 0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [STEP, "offload"]
    assert len(ax.lines) == (budget is not None)


def test_what_was_recorded_has_both_devices_and_a_million_fits_into_14_gib():
    record = recorded("accelerators")
    assert pictures.devices_of(record) == [GPU, TPU]
    (million,) = pictures.compiled_for(record, "MILLION_TOKENS").values()
    for device in (GPU, TPU):
        row = million[device]
        assert max(row["peak_bytes"], row["argument_bytes"] + row["temporary_bytes"]) <= 14 * 2**30
    assert not [row["program"] for row in record["results"] if "failed" in row]
