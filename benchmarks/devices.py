"""What each of several devices holds and sends, for a sequence of one or four million positions.

The gradient of attention of one head, d_head 64, float32, 8 rounds of hashing, on 1, 2, 4 and 8
simulated devices, and for the eight of a TPU v5e 2x4 as its own compiler plans it; compiled, not
run. Bytes are what a compiler sets aside on each device, for inputs and outputs and beside them;
collectives are those that stand in the program, each counted once however often a loop comes by.
Writes benchmarks/results/devices.json row by row, and prints it.

    python benchmarks/devices.py                          # all rows anew
    python benchmarks/devices.py --target "TPU v5e 2x4"   # one target's, beside those that stand

The TPU's compiler is a wheel in a folder of its own: see benchmarks/compilers.txt. Where it is
missing the command says so, and goes on with the rest. Its seconds are this machine's, and with
--busy were taken beside other work.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.accelerators import complaint
from benchmarks.contenders.devices import D_HEAD, N_HASHES, WHO
from benchmarks.harness import targets
from benchmarks.harness.record import keep
from efftx.numbers.your_own_experiments import SIMULATED, TPU, together_mib
from efftx.training.records import environment

RESULTS = Path(__file__).parent / "results" / "devices.json"
LENGTHS, DEVICES = (2**20, 2**22), (1, 2, 4, 8)
HAS_MIB = 16 * 2**10  # of a TPU v5e
TARGETS = {SIMULATED: DEVICES, TPU: (8,)}
CONFIG = {"d_head": D_HEAD, "n_hashes": N_HASHES, "chunk_len": 64, "dtype": "float32"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options.add_argument("--target", choices=list(TARGETS), help="this target alone")
    options.add_argument("--busy", action="store_true", help="other work runs here meanwhile")
    options.add_argument("--save", type=Path, default=RESULTS)
    chosen = options.parse_args()
    for target in [chosen.target] if chosen.target else TARGETS:
        if target == TPU and (lacking := targets.missing(targets.V5E)):
            print(f"{TPU}: not compiled for, {', '.join(lacking)} not in {targets.WHEELS.name}")
            continue
        for length, who, n_devices in product(chosen.lengths, WHO, TARGETS[target]):
            row = {"who": who, "length": length, "devices": n_devices, "target": target}
            row |= in_its_own_process(target, who, length, n_devices)
            if target == TPU:
                row |= {"compiler": targets.versions(targets.V5E), "busy": chosen.busy}
                row |= {"machine": environment()["machine"]}
            note(chosen.save, row)


def in_its_own_process(target: str, who: str, length: int, n_devices: int) -> dict:
    """The row's numbers, or what the compiler said when it refused."""
    command = [sys.executable, "-m", "benchmarks.contenders.devices", target, who]
    on_cpu = {**os.environ, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [*command, str(length), str(n_devices)],
        cwd=targets.ROOT,
        env=targets.slice_settings() if target == TPU else on_cpu,
        capture_output=True,
        text=True,
    )
    if ran.returncode == 0:
        return json.loads(ran.stdout.splitlines()[-1])
    return {"failed": complaint(ran.stderr)}


def note(path: Path, row: dict) -> None:
    """Put a row in the place of an older one of the same program, in the order of the tables.

    Machine and versions of the record are those of its CPU's rows.
    """
    print(json.dumps(row), flush=True)
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if record.get("config") != CONFIG:
        record = {"compiled": []}
    rows = [other for other in record["compiled"] if place(other) != place(row)] + [row]
    now = environment()
    if row["target"] == TPU:
        now |= {name: record[name] for name in now if name in record}
    keep(path, {**now, "config": CONFIG, "compiled": sorted(rows, key=place)})


def place(row: dict) -> tuple:
    order = list(TARGETS).index(row["target"]), row["length"], list(WHO).index(row["who"])
    return *order, row["devices"]


def table(record: dict) -> list[str]:
    """MiB on each simulated device, inputs and outputs apart, as docs/devices.md shows them."""
    rows = {place(row): row for row in record["compiled"]}
    lines = [
        "| | positions | " + " | ".join(f"{n} devices" for n in DEVICES) + " |",
        "|---|---|" + "---|" * len(DEVICES),
    ]
    for length, who in product(lengths_of(record), WHO):
        what = {"target": SIMULATED, "length": length, "who": who}
        found = [rows.get(place({**what, "devices": n})) for n in DEVICES]
        cells = (f"{row['temporary_mib']:,.0f}" if row else "–" for row in found)
        lines.append(f"| {who} | {length:,} | {' | '.join(cells)} |")
    return lines


def table_of_tpu(record: dict) -> list[str]:
    """MiB on each of a TPU's eight devices, what they send, and the compiler's seconds."""
    lines = [
        "| | positions | inputs, gradients | beside them | together | collectives | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["compiled"]:
        if row["target"] == TPU:
            lines.append(f"| {row['who']} | {row['length']:,} | {' | '.join(cells_of(row))} |")
    return lines


def cells_of(row: dict) -> tuple[str, ...]:
    if "failed" in row:
        return "–", row["failed"], "–", "–", "–"
    together = together_mib(row)
    mib = (2 * row["arguments_mib"], row["temporary_mib"], together)
    inputs, beside, all_of_it = (f"{n:,.0f}" for n in mib)
    too_much = ", more than 16 GiB" if together > HAS_MIB else ""
    sent = ", ".join(f"{n} {kind}" for kind, n in row["collectives"].items())
    return inputs, beside, all_of_it + too_much, sent, f"{row['compile_seconds']:.0f}"


def lengths_of(record: dict) -> list[int]:
    return sorted({row["length"] for row in record["compiled"]})


if __name__ == "__main__":
    main()
