"""All predictions of the exercises, and what their solutions predict."""

import importlib

import jupytext

from efftx.check.guesses import Guess
from tools.course import load

PREDICTION = "my_guess"
COURSE = load()


def guesses_of(stem: str) -> list[Guess]:
    module = importlib.import_module(f"efftx.check.{stem.partition('_')[2]}")
    return [thing for thing in vars(module).values() if isinstance(thing, Guess)]


NUMBERED = [page.stem for page in COURSE.written("exercises") if page.stem[0].isdigit()]
EXPERIMENTS = [(stem, guess) for stem in NUMBERED for guess in guesses_of(stem)]
LABELS = [f"{stem[:2]}-{guess.name}" for stem, guess in EXPERIMENTS]


def predicted_by_the_solution(stem: str):
    """The value of the cell in which the solution predicts."""
    text = COURSE.source("exercises", stem).read_text(encoding="utf-8")
    (cell,) = (
        cell.source
        for cell in jupytext.reads(text, fmt="py:percent").cells
        if "solution-only" in cell.metadata.get("tags", []) and f"{PREDICTION} =" in cell.source
    )
    names: dict = {}
    exec(cell, names)
    return names[PREDICTION]
