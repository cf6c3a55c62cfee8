"""Which functions of the exercises have passed, kept in a small file in the user's own folder.

``EFFTX_PROGRESS=off`` keeps nothing, and a path keeps it there.
"""

import json
import os
import sys
from pathlib import Path

from platformdirs import user_data_path

VARIABLE = "EFFTX_PROGRESS"


def file() -> Path | None:
    """Where progress is kept; None if it is switched off."""
    setting = os.environ.get(VARIABLE, "")
    if setting.lower() in ("off", "0", "no"):
        return None
    return Path(setting) if setting else user_data_path("efftx") / "progress.json"


def passed() -> dict[str, list[str]]:
    """{module of efftx.check: names of the functions that passed}."""
    path = file()
    if path is None or not path.exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def keep(check) -> None:
    """Note that a check has passed; where nothing can be written, say so and go on."""
    path, module, so_far = file(), module_of(check), passed()
    if path is None or module is None or check.name in so_far.get(module, ()):
        return
    try:
        _write(path, {**so_far, module: [*so_far.get(module, ()), check.name]})
    except OSError as error:  # a full disk or a folder of somebody else's must not fail an answer
        print(f"(That it passed could not be kept: {error}. {VARIABLE}=off keeps nothing.)")


def _write(path: Path, so_far: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(so_far, indent=1), encoding="utf-8")
    unfinished.replace(path)  # whole or not at all, whoever else writes


def module_of(check) -> str | None:
    """The exercise that a check belongs to: the module of efftx.check where it stands."""
    start = "efftx.check."
    modules = {n.removeprefix(start): m for n, m in sys.modules.items() if n.startswith(start)}
    return next((n for n, m in modules.items() if any(x is check for x in vars(m).values())), None)
