"""The real JupyterLab on the loopback, and a real browser in front of it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tools.course import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # a container's root cannot have one; the browser sees the loopback only
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
# Cells outside the window would not be in the page, and an error there would not be seen.
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}


@dataclass(frozen=True)
class Lab:
    address: str
    token: str
    root: Path

    def page(self, path: str) -> str:
        return f"{self.address}/lab/tree/{path}?token={self.token}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{address}/login", timeout=5):
        return True
    return False


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """JupyterLab over a copy of the chapters, with no user's settings."""
    home = tmp_path_factory.mktemp("home")
    root = tmp_path_factory.mktemp("course")
    for folder in ("chapters", "efftx", "source", "experiments"):
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, root / folder)
    for name, text in SETTINGS.items():
        file = home / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    port, token = free_port(), secrets.token_hex(16)
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            lab_command(root, port, token), env=environment(home), stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not answers(address):
            assert server.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        yield Lab(address, token, root)
    finally:
        server.terminate()
        server.wait(timeout=30)


def lab_command(root: Path, port: int, token: str) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"),
        *(["--allow-root"] if os.getuid() == 0 else []),
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}",
    ]


def environment(home: Path) -> dict[str, str]:
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    own = {f"JUPYTER_{folder}": str(home / folder.lower()) for folder in folders}
    own["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    own["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    return os.environ | own | {"JUPYTER_PREFER_ENV_PATH": "1"}


@pytest.fixture(scope="session")
def chromium() -> str:
    named = os.environ.get("EFFTX_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} in PATH, EFFTX_CHROMIUM not set")
    return found


@pytest.fixture
def page(chromium) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


@pytest.fixture
def screenshots(tmp_path) -> Path:
    folder = Path(os.environ.get("EFFTX_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
