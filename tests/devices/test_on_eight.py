"""On eight simulated devices: see tests/devices/on_eight.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.devices import on_eight

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, "-m", "tests.devices.on_eight"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", on_eight.CHECKS)
def test_on_eight(name, found):
    assert found[name] == "", found[name]
