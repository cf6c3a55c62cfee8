"""The functions of an exercise as its source has them: solved, or untouched."""

import ast

from tools.build import build
from tools.course import load

KEPT = ast.Import | ast.ImportFrom | ast.FunctionDef


def functions_of(kind: str, stem: str) -> str:
    """The imports and the functions of exercises/ or solutions/."""
    course = load()
    (chapter,) = (chapter for chapter in course.chapters if chapter.stem == stem)
    cells = [c for c in build(course, kind, chapter, None).cells if c.cell_type == "code"]
    code = "\n".join(c.source for c in cells if "setup" not in c.metadata.get("tags", []))
    kept = [node for node in ast.parse(code).body if isinstance(node, KEPT)]
    return "\n\n\n".join(ast.get_source_segment(code, node) for node in kept)


def run(code: str) -> dict:
    names: dict = {}
    exec(code, names)
    return names
