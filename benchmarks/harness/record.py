"""The file that a benchmark's results stand in: begun once, and gone on with after a break."""

import json
import subprocess
from pathlib import Path

from benchmarks.harness.alternate import PEERS_PYTHON
from benchmarks.harness.machine import limits
from efftx.training.records import environment

PEERS = ("torch", "transformers", "reformer-pytorch")


def begun(path: Path, seed: int, config: dict) -> dict:
    """What an interrupted run on the same machine and versions left behind, or a new record."""
    now = {**environment(), "seed": seed, "config": config}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if {name: record.get(name) for name in now} == now:
            return record
    return {**now, "peers": peer_versions(), "limits": limits(), "results": []}


def peer_versions() -> dict[str, str]:
    """By library; none where the peers' environment is not there."""
    if not PEERS_PYTHON.exists():
        return {}
    ask = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    command = [PEERS_PYTHON, "-c", ask, *PEERS]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(zip(PEERS, answer.split(), strict=True))


def keep(path: Path, record: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
