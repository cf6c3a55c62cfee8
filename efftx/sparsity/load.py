"""How evenly a controller spreads its choices over the units of each block.

A unit's *load* is the share of positions at which it is the one of its block that is on. Even loads
are 1/N each; a unit of load 0 may as well not be there.
"""

import numpy as np
from jaxtyping import Float, Integer

from efftx.validation import check_below, check_positive, describe, require

Loads = Float[np.ndarray, "n_blocks n_units"]


def unit_loads(units: Integer[np.ndarray, "length n_blocks"], n_units: int) -> Loads:
    """The share of positions at which each unit is on; the N loads of a block add up to 1.

    Raises ValueError unless the units are a non-empty matrix of integers from 0 to N − 1.
    """
    check_positive(n_units=n_units)
    units = np.asarray(units)
    require(
        units.ndim == 2 and units.size > 0 and np.issubdtype(units.dtype, np.integer),
        f"units must be integers of shape (length, n_blocks); got {describe(units)}.",
    )
    check_below("units", units, n_units, "N =")
    return np.stack([np.bincount(block, minlength=n_units) for block in units.T]) / len(units)


def share_ever_on(loads: Loads) -> float:
    """The share of units that are on at least once."""
    return float((loads > 0).mean())


def load_entropy(loads: Loads) -> float:
    """−Σ p log2 p of a block's loads p, in bits, the mean over blocks; log2 N where all are even.

    Two to this power is how many units, used evenly, would give the same entropy.
    """
    terms = np.where(loads > 0, loads * np.log2(np.maximum(loads, np.finfo(float).tiny)), 0)
    return float(-terms.sum(axis=1).mean())


def sorted_loads(loads: Loads) -> Float[np.ndarray, "n_units"]:
    """The load of a block's busiest unit, of its second, and so on; the mean over blocks."""
    return np.sort(loads, axis=1)[:, ::-1].mean(axis=0)
