"""docs/devices.md shows what benchmarks/devices.py measured."""

import json
from pathlib import Path

from benchmarks import devices

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads(devices.RESULTS.read_text(encoding="utf-8"))


def test_the_table_is_that_of_the_record():
    page = (ROOT / "docs/devices.md").read_text(encoding="utf-8")
    assert "\n".join(devices.table(RECORD)) in page


def test_what_the_page_says_of_it_holds():
    mib = {(r["who"], r["length"], r["devices"]): r["temporary_mib"] for r in RECORD["compiled"]}
    ours, compiler = "LSH, sequence shared out", "LSH, left to the compiler"
    for length in devices.LENGTHS:
        assert mib[ours, length, 8] < mib[ours, length, 1] / 7
        assert 1.8 < mib[ours, length, 1] / mib[compiler, length, 1] < 2.2
        assert mib[ours, length, 2] > mib[compiler, length, 2]
        assert mib[ours, length, 4] < mib[compiler, length, 4]
        assert (
            mib["LSH, rounds shared out", length, 8] > mib["LSH, rounds shared out", length, 1] / 2
        )
