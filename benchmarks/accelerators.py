"""Compiles the course's programs for a TPU and a GPU, with their own compilers and neither device.

    python benchmarks/accelerators.py                                # what is not there yet
    python benchmarks/accelerators.py --only million --again         # anew, by a part of the name

The compilers are wheels, in a folder of their own (.venv-compilers); benchmarks/compilers.txt says
which. Where they are missing, or one of them is, the command says so and compiles for the others.
Programs are compiled one at a time, each in a process of its own, and what each plans to take is
written at once into benchmarks/results/accelerators.json: interrupt it whenever you like. Nothing
is run: "compiled for, not run on". Seconds are this machine's, and those of `busy` rows were taken
beside other work.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders.accelerators import PROGRAMS, config
from benchmarks.harness import targets
from benchmarks.harness.record import keep
from efftx.training.records import environment

RESULTS = Path(__file__).parent / "results" / "accelerators.json"
SAID = 300  # characters of a compiler's complaint


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="programs whose name has this in it")
    options.add_argument("--target", choices=list(targets.NEEDS), help="this device alone")
    options.add_argument("--again", action="store_true", help="also what is there already")
    options.add_argument("--busy", action="store_true", help="other work runs here meanwhile")
    chosen = options.parse_args()
    names = [name for name in PROGRAMS if chosen.only.lower() in name.lower()]
    for target in [chosen.target] if chosen.target else targets.NEEDS:
        if lacking := targets.missing(target):
            print(f"{target}: not compiled for, {', '.join(lacking)} not in {targets.WHEELS.name}")
            continue
        for name in names:
            if chosen.again or not done(target, name):
                note(target, name, in_its_own_process(target, name) | {"busy": chosen.busy})
    for line in table(recorded()):
        print(line)


def recorded() -> dict:
    """What the file holds of these programs."""
    record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if record.get("config") != config():
        record = {"results": []}
    return record


def done(target: str, name: str) -> bool:
    """By these versions of the target's compiler."""
    rows = (row for row in recorded()["results"] if row["target"] == target)
    versions = targets.versions(target)
    return any(row["program"] == name and row["compiler"] == versions for row in rows)


def in_its_own_process(target: str, name: str) -> dict:
    """The row's numbers, or what the compiler said when it refused."""
    command = [sys.executable, "-m", "benchmarks.harness.targets", target, name]
    ran = subprocess.run(
        command, cwd=targets.ROOT, env=targets.settings(target), capture_output=True, text=True
    )
    if ran.returncode == 0:
        return json.loads(ran.stdout.splitlines()[-1])
    return {"failed": complaint(ran.stderr)}


def complaint(stderr: str) -> str:
    """The line of a traceback that names the error, without what jax adds below it."""
    lines = [line for line in stderr.splitlines() if line.partition(":")[0].endswith("Error")]
    return (lines or stderr.splitlines() or ["nothing was said"])[-1][:SAID]


def note(target: str, name: str, row: dict) -> None:
    """Put a row in the place of an older one of its name, in the order of the programs."""
    row = {"target": target, "program": name, "compiler": targets.versions(target), **row}
    print(json.dumps(row, ensure_ascii=False), flush=True)
    others = recorded()["results"]
    rows = [r for r in others if (r["target"], r["program"]) != (target, name)] + [row]
    places = {name: place for place, name in enumerate(PROGRAMS)}
    rows.sort(key=lambda row: (row["target"], places[row["program"]]))
    keep(RESULTS, {**environment(), "config": config(), "results": rows})


def table(record: dict):
    """Markdown: what each program takes, GiB at the peak, with one column a device."""
    devices = sorted({row["target"] for row in record["results"]})
    yield "| compiled for, not run on | " + " | ".join(f"{d}: GiB, s" for d in devices) + " |"
    yield "|---|" + "---|" * len(devices)
    rows = {(row["target"], row["program"]): row for row in record["results"]}
    for name in PROGRAMS:
        cells = [cell(rows.get((device, name))) for device in devices]
        yield f"| {name} | {' | '.join(cells)} |"


def cell(row: dict | None) -> str:
    if row is None:
        return "–"
    if "failed" in row:
        return "does not compile"
    return f"{row['peak_bytes'] / 2**30:.2f}, {row['compile_seconds']:.0f} s"


if __name__ == "__main__":
    main()
