"""Runs import statements where only what one requirement reaches can be imported.

Reads `[requirement, [statement, …]]` as JSON from stdin; prints the statements that fail, with the
module that was not to be had. Other packages may be installed: here they cannot be found.
"""

import json
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def reached_from(requirement: str) -> set[str]:
    """The distributions that pip would install for it, by name, all of which must be here."""
    reached, to_do = set(), [Requirement(requirement)]
    while to_do:
        asked = to_do.pop()
        new = {(canonicalize_name(asked.name), extra) for extra in {"", *asked.extras}} - reached
        reached |= new
        needs = [Requirement(line) for line in metadata.requires(asked.name) or [] if new]
        to_do += [
            need
            for need in needs
            if not need.marker or any(need.marker.evaluate({"extra": extra}) for _, extra in new)
        ]
    return {name for name, _ in reached}


class Blocker:
    """First of the finders: refuses what belongs to other distributions than these."""

    def __init__(self, allowed: set[str]):
        self.allowed, self.owners = allowed, metadata.packages_distributions()

    def find_spec(self, name, path=None, target=None):
        owners = {canonicalize_name(one) for one in self.owners.get(name.partition(".")[0], ())}
        if owners and not owners & self.allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def failing(statements: list[str]) -> dict[str, str]:
    failed = {}
    for statement in statements:
        try:
            exec(statement, {})
        except ModuleNotFoundError as error:
            failed[statement] = error.name
    return failed


if __name__ == "__main__":
    requirement, statements = json.load(sys.stdin)
    sys.meta_path.insert(0, Blocker(reached_from(requirement)))
    print(json.dumps(failing(statements)))
