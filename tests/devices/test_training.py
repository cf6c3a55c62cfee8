"""The same run on one device, on eight, and in two processes, which go on from eight's checkpoint.

All of them are simulated or on this machine: see tests/devices/run.py.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EIGHT = "--xla_force_host_platform_device_count=8"
DIES_AT = 7  # the last file before it is that of six steps


def start(*arguments, flags: str = "") -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.devices.run", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(run: subprocess.Popen) -> dict:
    said, errors = run.communicate()
    assert run.returncode == 0, errors
    return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict:
    return finished(start(tmp_path_factory.mktemp("one") / "run.npz", 6))


@pytest.fixture(scope="module")
def file_of_eight(tmp_path_factory, one) -> Path:
    path = tmp_path_factory.mktemp("eight") / "run.npz"
    eight = finished(start(path, 4, flags=EIGHT))
    np.testing.assert_allclose(eight["losses"], one["losses"][:4], rtol=1e-4)
    assert one["shared"] == 0  # of a single device there are no shares
    assert eight["shared"] == 6  # two arrays of parameters, and both of their moments
    return path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def test_two_processes_go_on_from_what_eight_devices_saved_until_one_dies(one, file_of_eight):
    address = f"localhost:{free_port()}"
    first = start(file_of_eight, 8, address, 0)
    second = start(file_of_eight, 8, address, 1, DIES_AT)
    second.communicate()
    assert second.returncode != 0
    _, said = first.communicate()
    assert first.returncode != 0
    assert "process 0 lost another of the 2 processes" in said
    losses = np.load(file_of_eight)["losses"]
    np.testing.assert_allclose(losses[:6], one["losses"], rtol=1e-4)
    assert not losses[6:].any()
