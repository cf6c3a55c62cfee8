"""The package installs from a wheel and asks for little; Binder finds what it needs."""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def call(*command, cwd=None) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that no build/ of the clone leaks in or is left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "efftx", folder / "efftx", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    call(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", ".", cwd=folder)
    (built,) = (folder / "dist").glob("efftx-*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel, tmp_path_factory) -> str:
    """A new venv with the wheel in it, and this venv's other packages within reach."""
    folder = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin/python"
    call(*PIP, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    # A path in a .pth file is searched, but its own .pth files, as that of an editable install of
    # efftx, are not read.
    (site,) = folder.glob("lib/python3.*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(python)


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    files = {p for p in (ROOT / "efftx").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    packed = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert packed == {str(path.relative_to(ROOT)) for path in files}


def test_the_installed_wheel_imports(clean_python):
    program = "import efftx.attention; print(efftx.__file__)"
    found = call(clean_python, "-I", "-c", program, cwd="/").strip()
    assert Path(found).is_relative_to(Path(clean_python).parent.parent)


def test_attention_needs_only_jax_numpy_and_jaxtyping(clean_python):
    program = """
import sys, jax, jax.numpy, numpy, jaxtyping
before = {name.partition(".")[0] for name in sys.modules}
import efftx.attention
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - sys.stdlib_module_names))
"""
    assert call(clean_python, "-I", "-c", program, cwd="/").split() == ["efftx"]


def test_binder_names_a_python_that_fits_and_files_that_exist():
    version = re.fullmatch(r"python-3\.(\d+)\n", (ROOT / "binder/runtime.txt").read_text())
    assert 11 <= int(version[1]) <= 13
    lines = (ROOT / "binder/requirements.txt").read_text().splitlines()
    # `-r` is read from the file's folder, `-e` from the repository's root, where Binder runs pip.
    assert lines == ["-r ../requirements.txt", "-e ."]
    assert (ROOT / "requirements.txt").exists()


@pytest.mark.skipif(
    not shutil.which("jupyter-repo2docker"), reason="jupyter-repo2docker is not installed"
)
def test_repo2docker_takes_binder_for_what_it_is(tmp_path):
    shutil.copytree(ROOT / "binder", tmp_path / "binder")
    command = ["jupyter-repo2docker", "--no-build", "--debug", "."]
    plan = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "environment for python=3.12" in plan.stderr
    # The package is part of what is installed, so the repository has to be there before.
    _, _, then = plan.stdout.partition("COPY --chown=0:0 src/ ")
    assert 'pip install --no-cache-dir -r "binder/requirements.txt"' in then
