"""The examples run as they stand, where their framework is installed: see examples/README.md."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {
    "plain_jax": "jax",
    "flax_nnx": "flax",
    "flax_linen": "flax",
    "equinox_model": "equinox",
    "haiku_model": "haiku",
}
PYTHON = os.environ.get("EFFTX_FRAMEWORKS", sys.executable)


def run(*arguments) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run([PYTHON, *arguments], env=env, capture_output=True, text=True)


def test_every_example_is_tried():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_it_runs_and_learns(name):
    find = f"import importlib.util; assert importlib.util.find_spec({NEEDS[name]!r})"
    if run("-c", find).returncode:
        pytest.skip(f"{NEEDS[name]} is not installed; EFFTX_FRAMEWORKS can name a Python with it")
    done = run(str(ROOT / "examples" / f"{name}.py"))
    assert done.returncode == 0, done.stderr
    assert "equal to efftx's layer" in done.stdout
