"""Runs tests and chapters under every Python and every line of jax (`make versions`).

Each pair gets an environment of its own below .cache/versions, with the newest of everything else;
what is there is used again. Pythons that are not installed and releases that have no wheels are
said to be missing. The matrix is printed and kept in tools/versions_result.json. All of it takes
hours; `--quick` imports everything, and runs the tests of attention alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tools.course import ROOT

RESULT = ROOT / "tools/versions_result.json"
HOME = ROOT / ".cache/versions"
PYTHONS = "3.11", "3.12", "3.13", "3.14"
JAXES = {"0.10": "jax==0.10.*", "newest": "jax"}
SHAPES = "--jaxtyping-packages=efftx,beartype.beartype"
IMPORT = """
import importlib, pkgutil, efftx
names = [module.name for module in pkgutil.walk_packages(efftx.__path__, "efftx.")]
for name in names:
    importlib.import_module(name)
"""
VERSIONS = """
import json, platform
from importlib.metadata import version
names = "jax", "jaxlib", "numpy", "optax"
print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in names}}))
"""
QUICK = {
    "import": ("-W", "error::DeprecationWarning:efftx", "-c", IMPORT),
    "attention": ("-m", "pytest", "-q", "-x", "tests/attention", SHAPES),
}
WHOLE = {
    "import": QUICK["import"],
    "tests": ("-m", "pytest", "-q", "tests", "--ignore=tests/bad_input", SHAPES),
    "bad input": ("-m", "pytest", "-q", "tests/bad_input"),
    "chapters": ("-m", "tools.chapters"),
}


def interpreter(python: str) -> str | None:
    """The newest one of this line that starts: pyenv's, or what the PATH has."""
    shims = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    there = sorted(shims.glob(f"{python}.*/bin/python{python}"), key=release)
    candidates = [*map(str, reversed(there)), shutil.which(f"python{python}")]
    starts = lambda one: subprocess.run([one, "-c", "import venv"], capture_output=True)  # noqa: E731
    return next((one for one in candidates if one and starts(one).returncode == 0), None)


def release(path: Path) -> list[int]:
    return [int(n) for n in path.parts[-3].split(".") if n.isdigit()]


def made(python: str, jax: str) -> tuple[Path | None, str]:
    """The environment's Python; or none, and in words what is missing."""
    found = interpreter(python)
    if found is None:
        return None, f"no Python {python} here"
    folder = HOME / f"{python}-{jax}"
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / ".ready").exists():
        subprocess.run([found, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(inside), "-m", "pip", "install", "--quiet", "--upgrade", JAXES[jax]]
        pip = run([*install, "-r", "requirements.txt"])
        if pip.returncode:
            return None, f"not to be installed: {last_line(pip.stderr)}"
        (folder / ".ready").touch()
    return inside, ""


def run(command: list[str]) -> subprocess.CompletedProcess:
    """In the clone's root, which is imported from; kernels are started by this very Python."""
    path = os.pathsep.join((str(Path(command[0]).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": "."}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1][:200]


def tried(python: str, jax: str, steps: dict[str, tuple]) -> dict:
    """One pair: its versions, and what came of each step."""
    row = {"python": python, "jax": jax, "date": f"{date.today()}"}
    inside, missing = made(python, jax)
    if inside is None:
        return {**row, "missing": missing}
    row["versions"] = json.loads(run([str(inside), "-c", VERSIONS]).stdout)
    row["steps"] = {}
    for name, arguments in steps.items():
        started = time.perf_counter()
        ran = run([str(inside), *arguments])
        said = "" if ran.returncode == 0 else last_line(ran.stdout + ran.stderr)
        seconds = round(time.perf_counter() - started)
        row["steps"][name] = {"held": not said, "said": said, "seconds": seconds}
    return row


def table(rows: list[dict]) -> Iterator[str]:
    """Markdown: a line for each pair, a column for each step."""
    steps = list(dict.fromkeys(name for row in rows for name in row.get("steps", ())))
    yield f"| Python | jax | numpy | {' | '.join(steps)} |"
    yield "|---" * (3 + len(steps)) + "|"
    for row in rows:
        versions = row.get("versions", {"python": row["python"], "jax": row["jax"], "numpy": "–"})
        held = {name: outcome(step) for name, step in row.get("steps", {}).items()}
        cells = [held.get(name, row.get("missing", "not tried")) for name in steps]
        yield f"| {' | '.join([versions['python'], versions['jax'], versions['numpy'], *cells])} |"


def outcome(step: dict) -> str:
    return "holds" if step["held"] else step["said"]


def recorded(path: Path = RESULT) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def keep(row: dict, path: Path = RESULT) -> None:
    """Put a row in the place of the one before; steps that were not tried again stay."""
    pair = lambda row: (row["python"], row["jax"])  # noqa: E731
    before = next((old for old in recorded(path) if pair(old) == pair(row)), {})
    if before.get("versions") == row.get("versions") and "steps" in row:
        row = {**row, "steps": {**before.get("steps", {}), **row["steps"]}}
    rows = sorted([*(r for r in recorded(path) if pair(r) != pair(row)), row], key=pair)
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--python", choices=PYTHONS, action="append", help="this one alone")
    options.add_argument("--jax", choices=list(JAXES), action="append", help="this line alone")
    options.add_argument("--quick", action="store_true", help="imports and attention's tests")
    chosen = options.parse_args()
    rows = []
    for python in chosen.python or PYTHONS:
        for jax in chosen.jax or JAXES:
            rows.append(tried(python, jax, QUICK if chosen.quick else WHOLE))
            keep(rows[-1])
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    print(*table(rows), sep="\n")
    sys.exit(any(not step["held"] for row in rows for step in row.get("steps", {}).values()))


if __name__ == "__main__":
    main()
