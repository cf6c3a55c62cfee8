"""Mistakes that are edits of the solution, as the build takes them from ``source/exercises``."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).parent / "edits"


@dataclass(frozen=True)
class Edited:
    """The solution with some of its lines exchanged, called as a learner's answer is."""

    name: str  # of the function
    code: str  # of all functions of the solution

    def __call__(self, *case):
        return self.function(*(jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in case))

    @cached_property
    def function(self):
        names: dict = {"__name__": f"a mistake in {self.name}"}
        exec(self.code, names)
        return names[self.name]


def mistakes_of(stem: str) -> dict[str, dict[str, list[Edited]]]:
    """Of an exercise: {function: {what to say: the ways to make this mistake}}."""
    data = json.loads((HERE / f"{stem}.json").read_text(encoding="utf-8"))
    return {
        name: {
            mistake["says"]: [Edited(name, edited(data["code"], name, w)) for w in mistake["ways"]]
            for mistake in mistakes
        }
        for name, mistakes in data["mistakes"].items()
    }


def edited(code: dict[str, str], name: str, way: Iterable) -> str:
    """The whole solution, one of its functions changed."""
    changed = {**code, name: exchanged(code[name], way, name)}
    return "\n\n".join(["import numpy as np", *changed.values()])


def exchanged(text: str, edits: Iterable, of: str) -> str:
    """The text with each old piece exchanged for the new one.

    Raises ValueError unless the old piece stands there once.
    """
    for old, new in edits:
        if text.count(old) != 1:
            raise ValueError(f"{text.count(old)} times in {of}, not once: {old!r}")
        text = text.replace(old, new)
    return text
