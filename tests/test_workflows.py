"""What runs on GitHub is what the README promises: the same Pythons, the same lines of jax."""

import re
import tomllib
from pathlib import Path

from tools import versions
from tools.course import ROOT

WORKFLOW = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed(name: str) -> list[str]:
    return re.findall(r'"([^"]+)"', re.search(rf"^ +{name}: \[(.*)\]$", WORKFLOW, re.MULTILINE)[1])


def test_the_matrix_is_what_the_readme_asks_for():
    asked = re.search(r"Python ([\d., ]+ or [\d.]+); jax ([\d.]+) or newer", README)
    assert listed("python") == re.findall(r"3\.\d+", asked[1])
    assert set(listed("python")) <= set(versions.PYTHONS)
    assert listed("jax") == list(versions.JAXES.values()) == [f"jax=={asked[2]}.*", "jax"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={listed('python')[0]}"


def test_what_it_calls_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)", WORKFLOW):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for path in re.findall(r"--ignore=(\S+)", WORKFLOW):
        assert Path(ROOT, path).exists()
