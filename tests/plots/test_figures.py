"""Figures: one look, and a caption that reaches readers who cannot see them."""

import ast
import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import rcParams

from efftx.plots import course_style, figures, new_figure, png

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def shown(monkeypatch):
    """The page's HTML for a figure; outside a notebook ``display`` would only print."""
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)

    def show_and_read(figure, caption: str) -> str:
        figures.show(figure, caption)
        return pages[-1].data

    return show_and_read


def test_the_picture_in_the_page_is_the_figure(shown):
    figure, ax = new_figure(3, 2)
    ax.plot([0, 1])
    encoded = re.search(r"base64,([^\"]+)", shown(figure, "a line"))[1]
    assert base64.b64decode(encoded) == png(figure)
    assert png(figure).startswith(b"\x89PNG")


def test_caption_is_alternative_text_and_is_escaped(shown):
    figure, _ = new_figure(2, 1)
    page = shown(figure, 'keys with "q < k" & more')
    assert 'alt="keys with &quot;q &lt; k&quot; &amp; more"' in page
    assert page.count("&quot;q &lt; k&quot; &amp; more") == 2  # and as the caption


@pytest.mark.parametrize("width", [3, 9])
def test_width_on_the_page_follows_the_figure(width, shown):
    figure, _ = new_figure(width, 1)
    assert f"width: {96 * width}px; max-width: 100%" in shown(figure, "x")


def test_style_is_the_course_s():
    with course_style():
        assert rcParams["axes.titlelocation"] == "left"
    _, axes = new_figure(4, 2, ncols=2)
    assert len(axes) == 2
    assert not axes[0].spines["top"].get_visible()


def test_the_readers_own_style_is_left_alone():
    """By importing every room of pictures, by drawing and by showing; in a fresh Python."""
    program = """
import importlib, pkgutil
from matplotlib import rcParams
before = dict(rcParams)
import efftx.plots
rooms = [importlib.import_module(found.name)
         for found in pkgutil.iter_modules(efftx.plots.__path__, "efftx.plots.")]
import numpy as np
from efftx.plots.lsh_attention import draw_leak
efftx.plots.png(draw_leak({"a": np.arange(3)}))
print(len(rooms), [name for name in before if rcParams[name] != before[name]])
"""
    python = [sys.executable, "-c", program]
    ran = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, check=True)
    rooms, changed = ran.stdout.split(maxsplit=1)
    assert int(rooms) == len(list((ROOT / "efftx/plots").glob("[a-z]*.py")))
    assert changed.strip() == "[]"


def undressed(source: str) -> list[str]:
    """Functions that make a figure and are not decorated with the style."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return [
        function.name
        for function in functions
        if "new_figure(" in ast.unparse(function.body)
        and "course_style()" not in map(ast.unparse, function.decorator_list)
    ]


PICTURES = sorted([*(ROOT / "efftx/plots").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")])


@pytest.mark.parametrize("path", PICTURES, ids=[path.stem for path in PICTURES])
def test_what_makes_a_figure_has_the_style(path):
    assert not undressed(path.read_text(encoding="utf-8"))


def test_a_figure_without_the_style_is_found():
    dressed = "@course_style()\ndef draw():\n    return new_figure()\n"
    assert undressed(dressed) == []
    assert undressed(dressed.partition("\n")[2]) == ["draw"]
