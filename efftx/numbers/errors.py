"""How far one array is from another, relative to its size."""

import numpy as np


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """‖ours − theirs‖ / ‖theirs‖, all their numbers taken together."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
