"""What a chapter's sentences owe its cells: printed numbers, and answers to questions."""

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

QUESTION = re.compile(r"\*\*[^*]+\?\*\*")
ANSWER = "▸"
OPEN_AT_ONCE = 2  # a question within a question

SOURCED = re.compile(r"https?://|et al\.|\b(?:paper|talk|slide)s?\b", re.IGNORECASE)
UNSAID = re.compile(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", re.DOTALL)
UNIT = r"\s*(?:%|[KMG]i?B\b|kB\b|bits?\b|nats?\b|times\b|×|points\b)"
NUMBER = re.compile(
    rf"(?<![\w.,/^_=·-])(\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+\.\d+|\d+(?={UNIT}))(?![\w/]|[.,]\d)"
)
VALUE = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?")
NEAR = 12  # cells: who reads the sentence still has them in mind


def unanswered(notebook: NotebookNode) -> list[str]:
    """A bold question is the reader's; its answer stands after it, behind a mark."""
    text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    complaints, still_open = [], []
    for match in re.finditer(rf"{QUESTION.pattern}|{ANSWER}", text):
        if match[0] != ANSWER:
            still_open.append(match[0])
        elif still_open:
            still_open.pop()
        else:
            complaints.append(f"an answer to no question: {text[match.start() :][:60]!r}")
        if len(still_open) > OPEN_AT_ONCE:
            complaints.append(f"not answered before the next is asked: {still_open.pop(0)}")
    return complaints + [f"never answered: {question}" for question in still_open]


def unheld_numbers(notebook: NotebookNode) -> list[str]:
    """Numbers of sentences and captions that no cell near them printed or computed with.

    A number is held by one that rounds to it; a percentage by a share, too. Not looked at: integers
    without a unit, formulas, code, and paragraphs that give a source.
    """
    cells = notebook.cells
    values = [_values(cell) for cell in cells]
    complaints = []
    for place, cell in enumerate(cells[1:], 1):
        near = set().union(*values[max(0, place - NEAR) : place + NEAR + 1])
        complaints += [
            f"nobody printed {number}: …{context}…"
            for number, factor, context in _said(cell)
            if not any(_rounds_to(value * scale, number) for value in near for scale in {1, factor})
        ]
    return complaints


def _said(cell: NotebookNode) -> Iterator[tuple[str, int, str]]:
    """Each number that is to be held, 100 if it is a percentage, and the words around it."""
    for text in _unsourced(_paragraphs(cell)):
        for match in NUMBER.finditer(text):
            around = text[max(0, match.start() - 40) : match.end() + 20]
            is_share = text[match.end() :].lstrip().startswith("%")
            yield match[1], 100 if is_share else 1, " ".join(around.split())


def _paragraphs(cell: NotebookNode) -> list[str]:
    if cell.cell_type == "markdown":
        return cell.source.split("\n\n")
    return [caption for call in _shows(cell) for caption in _strings(call.args[1])]


def _unsourced(paragraphs: list[str]) -> Iterator[str]:
    """A paragraph names its source itself; that of a table may stand before or after it."""
    for place, text in enumerate(paragraphs):
        beside = paragraphs[max(0, place - 1) : place + 2] if text.startswith("|") else [text]
        if not any(map(SOURCED.search, beside)):
            yield UNSAID.sub(" ", text)


def _shows(cell: NotebookNode) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(_tree(cell))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "show"
        and len(node.args) == 2
    ]


def _strings(node: ast.AST) -> list[str]:
    constants = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def _values(cell: NotebookNode) -> set[float]:
    """The numbers of a code cell: those that it computes with, and those that it printed."""
    if cell.cell_type != "code":
        return set()
    constants = [n.value for n in ast.walk(_tree(cell)) if isinstance(n, ast.Constant)]
    printed = [output.get("text", "") for output in cell.outputs]
    printed += [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    printed += [_table(output) for output in cell.outputs]
    found = [match for text in printed for match in VALUE.findall(text)]
    found += [x for x in constants if isinstance(x, str) and VALUE.fullmatch(x)]  # keys of results
    numbers = {x for x in constants if isinstance(x, int | float)}
    return numbers | {float(text.replace(",", "")) for text in found}


def _table(output: NotebookNode) -> str:
    """The text of an HTML or Markdown output; a figure's own words are its caption's."""
    data = output.get("data", {})
    html = "".join(data.get("text/html", "")) + "".join(data.get("text/markdown", ""))
    return re.sub(r"<[^>]*>", " ", re.sub(r"<figure.*?</figure>", " ", html, flags=re.DOTALL))


def _tree(cell: NotebookNode) -> ast.AST:
    plain = "\n".join(
        "" if x.lstrip().startswith(("%", "!")) else x for x in cell.source.split("\n")
    )
    return ast.parse(plain if cell.cell_type == "code" else "")


def _rounds_to(value: float, number: str) -> bool:
    decimals = len(number.partition(".")[2])
    return abs(value - float(number.replace(",", ""))) <= 0.5001 * 10**-decimals
