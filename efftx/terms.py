"""The course's words and its formulas: one list, terms.toml, and the two pages made of it.

A formula is written once, as people read it; `Formula.value` computes exactly what is written, and
tests hold that to what the package counts.

    glossary()       # docs/glossary.md
    formula_sheet()  # docs/formulas.md
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from efftx.validation import require

LIST = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
AS_PYTHON = str.maketrans({"·": "*", "−": "-", "²": "**2", "^": "**"})


@dataclass(frozen=True)
class Term:
    """A word of the course, and the stem of the chapter that explains it."""

    word: str
    meaning: str
    chapter: str


@dataclass(frozen=True)
class Formula:
    """What is counted, how, the stem of the chapter that explains it, and sizes for an example."""

    what: str
    formula: str
    chapter: str
    sizes: dict[str, float | int]

    def value(self, **sizes: float | int) -> float | int:
        """What is written, for these sizes.

        Raises ValueError unless they are those that the formula names.
        """
        needed, given = (", ".join(sorted(names)) for names in (self.sizes, sizes))
        require(needed == given, f"the formula needs {needed}; got {given or 'no sizes'}.")
        # Only what terms.toml holds, a file of the package, is ever evaluated.
        return eval(self.formula.translate(AS_PYTHON), {"__builtins__": {}}, sizes)

    @property
    def example(self) -> str:
        """The sizes and the value, in words."""
        sizes = ", ".join(f"{name} = {size:,}" for name, size in self.sizes.items())
        value = self.value(**self.sizes)
        return f"{sizes}: {value:.3g}" if value < 10 else f"{sizes}: {value:,.0f}"


TERMS = sorted((Term(**term) for term in LIST["term"]), key=lambda term: term.word.lower())
FORMULAS = {
    part["title"]: [Formula(**formula) for formula in part["formula"]] for part in LIST["part"]
}


def formulas() -> list[Formula]:
    """All of them, in the sheet's order."""
    return [one for part in FORMULAS.values() for one in part]


def glossary(chapters: str = "../chapters") -> str:
    """All words as a page of Markdown; ``chapters`` is the way from there to the chapters."""
    rows = [
        f"| **{term.word}** | {term.meaning} | {_link(term.chapter, chapters)} |" for term in TERMS
    ]
    head = ["| Word | What it means here | Chapter |", "|---|---|---|"]
    return "\n".join(["# The course's words", "", *head, *rows, ""])


def formula_sheet(chapters: str = "../chapters") -> str:
    """All formulas, with an example of each, as one page of Markdown."""
    return "\n".join(["# The course's formulas", "", *_sheet_lines(chapters)])


def _sheet_lines(chapters: str) -> Iterator[str]:
    yield "L positions, d is d_model, n parameters, R rounds, chunks of m, S modules."
    yield ""
    yield "| | Formula | For example | Chapter |"
    yield "|---|---|---|---|"
    for title, part in FORMULAS.items():
        yield f"| **{title}** | | | |"
        for one in part:
            link = _link(one.chapter, chapters)
            yield f"| {one.what} | `{one.formula}` | {one.example} | {link} |"
    yield ""


def _link(stem: str, chapters: str) -> str:
    return f"[{stem[:2]}]({chapters}/{stem}.ipynb)"
