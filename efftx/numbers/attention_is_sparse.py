"""Attention with the largest weights alone, for chapter 06's widget."""

import numpy as np


def top_k(weights: np.ndarray, k: int) -> np.ndarray:
    """True at each row's k largest weights, of equal ones the first."""
    order = np.argsort(-weights, axis=-1, kind="stable")
    kept = np.zeros(weights.shape, bool)
    np.put_along_axis(kept, order[..., :k], True, axis=-1)
    return kept & (weights > 0)


def attend_to_top(weights: np.ndarray, v: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs from the k largest weights of each row, brought back to sum 1; and those weights."""
    kept = np.where(top_k(weights, k), weights, 0)
    kept /= kept.sum(-1, keepdims=True)
    return kept @ v, kept
