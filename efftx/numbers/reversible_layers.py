"""How far rebuilt streams are from those that were there."""

import numpy as np


def errors_by_level(stored: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """Of both streams together, relative, at each level (levels, 2, length, d_model)."""
    axes = (1, 2, 3)
    return np.sqrt(((rebuilt - stored) ** 2).sum(axes) / (stored**2).sum(axes))
