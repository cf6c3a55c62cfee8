"""Writes the repository's address into the course (`make badges REPO=owner/name`)."""

import re
import sys
from pathlib import Path

from tools.course import ROOT, load
from tools.notebooks import update_all

ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")


def set_repository(repository: str, root: Path = ROOT) -> None:
    """Write `repository` into the list, the README's badges and every notebook; run nothing."""
    if not ADDRESS.fullmatch(repository):
        raise ValueError(f"REPO must be owner/name as on GitHub, not {repository!r}")
    listed = root / "source/course.toml"
    text, found = re.subn(
        r'^repository = ".*?"',
        f'repository = "{repository}"',
        listed.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if found != 1:
        raise ValueError(f"{listed.name} must have one line that begins with: repository =")
    listed.write_text(text, encoding="utf-8")
    update_all(load(root), run=False)


if __name__ == "__main__":
    try:
        set_repository(sys.argv[1] if len(sys.argv) == 2 else "")
    except ValueError as error:
        sys.exit(f"make badges: {error}")
