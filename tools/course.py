"""The course as `source/course.toml` lists it: its chapters, its map and its address."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST_PAGE = "chapters/00_start_here.ipynb"
BRANCH = "main"


@dataclass(frozen=True)
class Chapter:
    stem: str
    title: str
    pillar: str
    promise: str
    kind: str = "Exercise"  # or "Capstone" or "Bug hunt": of a pillar, without a chapter

    @property
    def number(self) -> str:
        return self.stem.split("_")[0]

    @property
    def heading(self) -> str:
        """What its exercise is called."""
        return f"{self.kind} {self.number}" if self.kind == "Exercise" else self.kind


@dataclass(frozen=True)
class Course:
    root: Path
    repository: str
    chapters: tuple[Chapter, ...]
    practice: tuple[Chapter, ...] = ()  # without a chapter of their own

    @property
    def pages(self) -> tuple[Chapter, ...]:
        return self.chapters + self.practice

    def source(self, kind: str, stem: str) -> Path:
        """The file to edit: exercises and solutions are built from one."""
        folder = "chapters" if kind == "chapters" else "exercises"
        return self.root / "source" / folder / f"{stem}.py"

    def notebook(self, kind: str, stem: str) -> Path:
        return self.root / kind / f"{stem}.ipynb"

    def written(self, kind: str) -> list[Chapter]:
        """The pages of which a source exists; the others are in preparation."""
        return [page for page in self.pages if self.source(kind, page.stem).exists()]


def load(root: Path = ROOT) -> Course:
    listed = tomllib.loads((root / "source/course.toml").read_text(encoding="utf-8"))
    chapters = tuple(Chapter(**entry) for entry in listed["chapter"])
    practice = tuple(Chapter(**entry) for entry in listed.get("practice", ()))
    return Course(root, listed["repository"], chapters, practice)


def course_map(course: Course, folder: str = "") -> str:
    """The table of chapters, with links as they are written in a page of `folder`."""
    up = "../" if folder else ""
    rows = [_row(course, chapter, up) for chapter in course.chapters]
    lines = ["| | Chapter | What you will do | Practice |", "|---|---|---|---|", *rows]
    if course.practice:
        lines += ["", "| Larger pieces of work | What you will do | Practice |", "|---|---|---|"]
        lines += [_larger_row(course, page, up) for page in course.practice]
    return "\n".join(lines)


def _row(course: Course, chapter: Chapter, up: str) -> str:
    title, practice = f"**{chapter.title}** (in preparation)", ""
    if course.source("chapters", chapter.stem).exists():
        title = f"**[{chapter.title}]({up}chapters/{chapter.stem}.ipynb)**"
    if course.source("exercises", chapter.stem).exists():
        practice = _practice(chapter, up)
    columns = (chapter.number, f"{title} <br> *{chapter.pillar}*", chapter.promise, practice)
    return f"| {' | '.join(columns)} |"


def _larger_row(course: Course, page: Chapter, up: str) -> str:
    written = course.source("exercises", page.stem).exists()
    practice = _practice(page, up) if written else "in preparation"
    return (
        f"| **{page.heading} · {page.title}** <br> *{page.pillar}* | {page.promise} | {practice} |"
    )


def _practice(page: Chapter, up: str) -> str:
    places = (("exercise", "exercises"), ("solution", "solutions"))
    return " · ".join(f"[{word}]({up}{kind}/{page.stem}.ipynb)" for word, kind in places)


def services(repository: str, page: str) -> dict[str, str]:
    """Where a page of the repository can be run in the browser."""
    return {
        "Binder": f"https://mybinder.org/v2/gh/{repository}/{BRANCH}?urlpath=lab/tree/{page}",
        "Colab": f"https://colab.research.google.com/github/{repository}/blob/{BRANCH}/{page}",
        "Kaggle": "https://kaggle.com/kernels/welcome?src="
        f"https://github.com/{repository}/blob/{BRANCH}/{page}",
    }


def badges(course: Course) -> str:
    if not course.repository:
        return "*Binder, Colab and Kaggle: `make badges REPO=owner/name` writes the badges here.*"
    images = {
        "Binder": "https://mybinder.org/badge_logo.svg",
        "Colab": "https://colab.research.google.com/assets/colab-badge.svg",
        "Kaggle": "https://kaggle.com/static/images/open-in-kaggle.svg",
    }
    links = services(course.repository, FIRST_PAGE)
    return "\n".join(f"[![{name}]({images[name]})]({links[name]})" for name in images)


def update_readme(course: Course) -> None:
    """Rewrite the two blocks of README.md that are made from the list."""
    readme = course.root / "README.md"
    before = readme.read_text(encoding="utf-8")
    text = replace_block(before, "badges", badges(course))
    text = replace_block(text, "course map", course_map(course))
    if text != before:
        readme.write_text(text, encoding="utf-8")


def replace_block(text: str, name: str, content: str) -> str:
    """Put `content` between the comments `<!-- name:begin -->` and `<!-- name:end -->`."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the page must have one line {begin} and one line {end}")
    block = f"{begin}\n{content}\n{end}"
    return re.sub(f"{begin}.*?{end}", lambda _: block, text, flags=re.DOTALL)
