"""The functions of an exercise as its source has them: solved, or untouched."""

from tools.build import build
from tools.course import load
from tools.mistakes import definitions


def functions_of(kind: str, stem: str) -> str:
    """The imports and the functions of exercises/ or solutions/."""
    course = load()
    (chapter,) = (chapter for chapter in course.pages if chapter.stem == stem)
    cells = [c for c in build(course, kind, chapter, None).cells if c.cell_type == "code"]
    code = "\n".join(c.source for c in cells if "setup" not in c.metadata.get("tags", []))
    return "\n\n\n".join(source for _, source in definitions(code))


def run(code: str) -> dict:
    names: dict = {}
    exec(code, names)
    return names
