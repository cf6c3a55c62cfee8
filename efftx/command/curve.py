"""The curve of a run, as a picture."""

import importlib
from pathlib import Path

import numpy as np


def save_curve(path: Path, losses: np.ndarray, held_out: float) -> Path | None:
    """Where the picture is; None where matplotlib, which is optional, is not installed."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError:
        return None
    figure = figures.Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    steps, means = smoothed(losses)
    axes.plot(steps, means, label="loss in training, bits per token")
    axes.axhline(held_out, linestyle="--", label="held out, bits per byte")
    axes.set(xlabel="step", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=144)
    return path


def smoothed(losses: np.ndarray, points: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbours, so that there are at most so many points."""
    parts = np.array_split(losses, min(points, len(losses)))
    ends = np.cumsum([len(part) for part in parts])
    return ends, np.array([part.mean() for part in parts])
