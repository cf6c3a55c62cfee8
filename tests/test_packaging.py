"""The package installs from a wheel and asks for little; Binder finds what it needs.

Whatever is imported must have been asked for: nothing may lean on what happens to be installed.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import efftx

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COURSE = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["course"]
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


def test_the_version_stands_in_one_place(wheel):
    """And in what people cite, and in what pip and `importlib.metadata` read."""
    assert wheel.name.split("-")[1] == efftx.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {efftx.__version__}\n" in citation


def test_type_checkers_are_told_that_there_are_types(wheel):
    assert "efftx/py.typed" in zipfile.ZipFile(wheel).namelist()


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


# What chapters and exercises import ------------------------------------------------------------

NOTEBOOKS = sorted((ROOT / "source").rglob("*.py"))
PACKAGE = sorted((ROOT / "efftx").rglob("*.py"))


def imports_of(path: Path) -> list[str]:
    """Every import statement of a file, in functions too, a line each."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


def top_level(statement: str) -> set[str]:
    (node,) = ast.parse(statement).body
    names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
    return {name.partition(".")[0] for name in names}


STATEMENTS = sorted({line for path in NOTEBOOKS + PACKAGE for line in imports_of(path)})


def missing(python: str, requirement: str) -> dict[str, str]:
    """Which of the statements fail where only this was installed, and what they miss."""
    call = [python, "-I", str(ROOT / "tests/blocked_imports.py")]
    asked = json.dumps([requirement, STATEMENTS])
    ran = subprocess.run(call, cwd="/", input=asked, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_set_up_cell_installs_what_chapters_and_exercises_import(clean_python):
    assert len(NOTEBOOKS) > 20
    assert len(STATEMENTS) > 200
    assert missing(clean_python, "efftx[course]") == {}


def test_the_package_alone_is_not_enough_for_the_chapters(clean_python):
    """So the blocker blocks."""
    lacking = set(missing(clean_python, "efftx").values())
    assert lacking >= {"IPython", "ipywidgets", "matplotlib", "num2words", "sacrebleu", "tqdm"}
    assert not lacking & {"jax", "numpy", "jaxtyping", "optax", "scipy"}  # scipy comes with jax


def test_what_the_course_imports_it_asks_for_by_name():
    """Not only through what another package happens to need today."""
    names = {canonicalize_name(Requirement(line).name) for line in COURSE} | {"efftx"}
    owners = metadata.packages_distributions()
    imported = {name for line in STATEMENTS for name in top_level(line)} - sys.stdlib_module_names
    for module in sorted(imported):
        assert names & {canonicalize_name(owner) for owner in owners[module]}, module


def test_requirements_name_the_course_and_repeat_what_must_be_newer():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [line.partition("#")[0].strip() for line in lines]
    assert asked.count("-e .[course]") == 1
    here = {Requirement(line).name for line in asked if line and not line.startswith("-")}
    there = {Requirement(line).name for line in COURSE}
    assert here & there == {"ipywidgets"}


def test_binder_names_a_python_that_fits_and_files_that_exist():
    version = re.fullmatch(r"python-3\.(\d+)\n", (ROOT / "binder/runtime.txt").read_text())
    assert 11 <= int(version[1]) <= 13
    lines = (ROOT / "binder/requirements.txt").read_text().splitlines()
    # `-r` is read from the file's folder, the `-e .[course]` in it from where Binder runs pip: the
    # repository's root.
    assert lines == ["-r ../requirements.txt"]
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
