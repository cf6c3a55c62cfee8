"""What ``experiments/`` and ``benchmarks/`` measured, as the chapters read it.

The build copies their ``results/*.json`` here, so that they come along where only the package is
installed, as on Colab.
"""

import json
from pathlib import Path

from efftx.validation import require

HERE = Path(__file__).parent


def recorded(name: str) -> dict:
    """The results of a run, with machine, versions, seed and configuration.

    Raises ValueError for a name that nothing was recorded under, and lists those there are.
    """
    names = sorted(path.stem for path in HERE.glob("*.json"))
    require(name in names, f"name must be one of {', '.join(names)}; got {name!r}.")
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
