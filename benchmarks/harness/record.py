"""The file that a benchmark's results stand in: begun once, and gone on with after a break."""

import json
import subprocess
from pathlib import Path

from benchmarks.harness.alternate import PEERS_PYTHON
from benchmarks.harness.machine import limits
from efftx.training.records import environment

PEERS = ("torch", "transformers", "reformer-pytorch")


def begun(path: Path, seed: int, config: dict, peers: tuple[str, ...] = PEERS) -> dict:
    """What an interrupted run on the same machine and versions left behind, or a new record."""
    now = {**environment(), "seed": seed, "config": config, "peers": peer_versions(peers)}
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if {name: record.get(name) for name in now} != now:
        record = {}
    # Neighbours can only make a machine slower: the best that was measured is what it can do.
    before, measured = record.get("limits", {}), limits()
    best = {name: max(value, before.get(name, 0)) for name, value in measured.items()}
    return {**now, "results": [], **record, "limits": best}


def peer_versions(peers: tuple[str, ...]) -> dict[str, str]:
    """By library; none where the peers' environment is not there."""
    if not PEERS_PYTHON.exists():
        return {}
    ask = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    command = [PEERS_PYTHON, "-c", ask, *peers]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(zip(peers, answer.split(), strict=True))


def keep(path: Path, record: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
