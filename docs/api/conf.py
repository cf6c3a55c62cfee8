"""How Sphinx builds the reference (`make docs`): from the docstrings, and without a network."""

import inspect
import re
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the package of this clone, whichever is installed

import efftx  # noqa: E402

project, release = "efftx", efftx.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode"]
default_role = "py:obj"  # `lsh_attention` in a docstring is a link, if it is a public name

html_theme = "furo"
html_title = f"efftx {release}"
html_show_sphinx = html_copy_source = html_show_sourcelink = False

add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 80
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True  # as they are written: Exact() and not all of its fields
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_docstring_signature = False

COLUMNS = re.compile(r"(\w+) {2,}(?=\S)")  # in `help`: a parameter, then what it is
BESIDE = re.compile(r"^    (\w+): .*?  # (?!noqa)(.+)$", re.MULTILINE)  # what a field is


def of_fields(a_class: type) -> list[str]:
    """What the source says beside the fields of a dataclass: of most, the shape."""
    said = dict(BESIDE.findall(inspect.getsource(a_class)))
    names = [field.name for field in fields(a_class) if field.name in said]
    return [f":param {name}: " + re.sub(r"([*|])", r"\\\1", said[name]) for name in names]


def as_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are written for `help`: here columns become a list, and what is indented stays."""
    given, lines[:] = list(lines), []
    indented = False  # the last line that was not empty
    for line in given:
        begins = line.startswith("    ") and not indented and lines and not lines[-1]
        lines += ["::", ""] if begins else [""] if line.startswith("Source") else []
        lines.append(COLUMNS.sub(r":param \1: ", line) if COLUMNS.match(line) else line)
        indented = line.startswith("    ") if line else indented
    if what == "class" and is_dataclass(obj):
        lines += ["", *of_fields(obj), ""]


def plainly(app, what, name, obj, options, signature, returned):
    """Array for jax's class, and nothing for Any: jax fills such a field with tracers, too."""
    short = [(text or "").replace(": ~typing.Any", "") for text in (signature, returned)]
    return tuple(re.sub(r"[\w.]+\.Array\b", "Array", text) or None for text in short)


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("autodoc-process-signature", plainly)
