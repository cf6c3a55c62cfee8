"""Writes the glossary and the sheet of formulas into docs/, from the list in efftx/terms.toml."""

from pathlib import Path

from efftx import terms
from tools.course import ROOT


def pages(root: Path = ROOT) -> dict[Path, str]:
    """The text of each page, as docs/ should have it."""
    docs = root / "docs"
    return {docs / "glossary.md": terms.glossary(), docs / "formulas.md": terms.formula_sheet()}


def update(root: Path = ROOT) -> None:
    for page, text in pages(root).items():
        page.write_text(text, encoding="utf-8")
