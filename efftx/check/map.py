"""How far a learner is: every function and prediction of the exercises, and whether it passed.

``python -m efftx.check`` prints it, chapter 00 draws it.
"""

import importlib

from efftx.check.core import Check
from efftx.check.edited import HERE
from efftx.check.guesses import Guess
from efftx.check.hunts import Hunt
from efftx.check.progress import passed

Parts = dict[str, dict[str, bool]]


def course_parts() -> Parts:
    """{exercise: {function: whether it has passed}}, in the order of the course."""
    done = passed()
    return {path.stem: parts_of(path.stem, done) for path in sorted(HERE.glob("*.json"))}


def parts_of(stem: str, done: dict[str, list[str]]) -> dict[str, bool]:
    """The functions of one exercise; ``done`` holds those that passed, by module."""
    name = stem.partition("_")[2] if stem[0].isdigit() else stem
    checks = vars(importlib.import_module(f"efftx.check.{name}")).values()
    return {
        check.name: check.name in done.get(name, ())
        for check in checks
        if isinstance(check, Check | Guess | Hunt)
    }


def count(parts: Parts) -> tuple[int, int]:
    """How many functions pass, of how many."""
    return sum(sum(row.values()) for row in parts.values()), sum(map(len, parts.values()))


def as_text(parts: Parts) -> str:
    """A row for each exercise, a square for each of its functions."""
    width = max(map(len, parts))
    squares = {
        stem: "".join("■" if done else "□" for done in row.values()) for stem, row in parts.items()
    }
    rows = [f"{stem.replace('_', ' '):{width}}  {row}" for stem, row in squares.items()]
    return "\n".join(["{} of {} functions pass".format(*count(parts)), *rows])
