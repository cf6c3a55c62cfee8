"""A contender in a process of its own: builds itself once, then runs when it is asked to.

    python -m benchmarks.harness.worker benchmarks.contenders.attention BUILDER '{"length": 1024}'

Reads a line with the name of a run, answers with a line of JSON: seconds, and the peak of the
resident memory, above what was resident before and of the whole process.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def resident_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since the last reset) of this process; Linux only."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure(run) -> dict:
    time.sleep(0.1)  # what the run before has freed may be handed back by another thread
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = resident_mib("VmRSS")
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    peak = resident_mib("VmHWM")
    return {"seconds": seconds, "grown_mib": peak - before, "process_mib": peak}


MOST_GIB = 20  # a contender that wants more dies of it, and not the machine


def main(module: str, builder: str, config: str, most_gib: str = str(MOST_GIB)) -> None:
    most_memory = int(most_gib) * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (most_memory, most_memory))
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not mix with the answers
    runs = getattr(importlib.import_module(module), builder)(**json.loads(config))
    for line in sys.stdin:
        print(json.dumps(measure(runs[line.strip()])), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
