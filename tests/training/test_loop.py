"""Training: it learns, and a run that is killed and resumed ends where one ends that never was."""

import os
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import Exact, Shared, Sizes, transformer
from efftx.training.batches import random_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.optimisers import adamw

ROOT = Path(__file__).resolve().parents[2]
SIZES = Sizes(n_layers=1, d_model=32, d_ff=64, n_heads=2, d_head=16, max_len=48)
TEXT = np.frombuffer(b"Peter Piper picked a peck of pickled peppers; a peck.", np.uint8)
MODEL = transformer(jax.random.key(0), SIZES)


@cache
def optimiser(n_steps: int):
    """The same object for the same steps, so that the training step compiles once."""
    return adamw(n_steps, peak=1e-2)


def train_on_text(n_steps: int, model=MODEL, *, progress: bool = False):
    return train(
        model,
        loss=bits_per_byte,
        batch_at=lambda step: random_windows(TEXT, seed=0, step=step, length=32, batch=4),
        optimiser=optimiser(n_steps),
        n_steps=n_steps,
        progress=progress,
    )


@pytest.mark.parametrize("kind", [Exact(), Shared()], ids=["exact", "shared"])
def test_it_learns_a_short_text_by_heart(kind):
    state = train_on_text(300, transformer(jax.random.key(0), SIZES, kind=kind))
    losses = np.asarray(state.losses)
    assert np.isfinite(losses).all()
    assert losses[0] == pytest.approx(8, abs=0.5)
    assert losses[-10:].mean() < 0.5  # its first bytes do not say where a window starts
    assert int(state.step) == 300
    window = TEXT[:33]
    guesses = state.model(window[:-1]).argmax(1)
    assert (guesses[8:] == window[9:]).mean() > 0.9  # after a few bytes it knows where it is


def test_the_callers_model_is_left_as_it_was():
    model = jax.tree.map(jnp.copy, MODEL)
    before = jax.tree.map(np.array, model)
    state = train_on_text(4, model)
    jax.tree.map(np.testing.assert_array_equal, model, before)
    assert (state.model.readout.w != model.readout.w).any()


def test_the_progress_bar_shows_steps_and_loss(capsys):
    train_on_text(4, progress=True)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert re.search(r"loss=\d\.\d{3}", shown)


def test_without_progress_nothing_is_shown(capsys):
    train_on_text(4)
    assert capsys.readouterr().err == ""


def in_own_process(checkpoint: Path, *how_to_die: str) -> dict:
    """A run's command and surroundings; compiling is not tested here, so the runs share it."""
    shared_compilation = {
        "JAX_COMPILATION_CACHE_DIR": str(checkpoint.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "tests.training.killable_run", str(checkpoint), *how_to_die]
    return {"args": command, "cwd": ROOT, "env": {**os.environ, **shared_compilation}}


def run(checkpoint: Path, *how_to_die: str) -> int:
    process = in_own_process(checkpoint, *how_to_die)
    return subprocess.run(**process, stdout=subprocess.DEVNULL, timeout=120).returncode


def run_and_kill(checkpoint: Path, at_step: int) -> int:
    command = in_own_process(checkpoint, "hang", str(at_step))
    with subprocess.Popen(**command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == f"step {at_step}\n":
                process.kill()
    return process.returncode


def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    assert run(whole) == 0
    assert run(killed, "in_write", "0") == -signal.SIGKILL  # the very first checkpoint
    assert not killed.exists()
    assert run_and_kill(killed, at_step=3) == -signal.SIGKILL  # a step after a checkpoint
    assert run(killed, "before_move", "5") == -signal.SIGKILL  # the new file whole, not in place
    assert run(killed) == 0
    with np.load(whole) as expected, np.load(killed) as resumed:
        assert set(expected.files) == set(resumed.files)
        assert expected["efftx.json"] == resumed["efftx.json"]
        names = set(expected.files) - {"efftx.json", "seconds"}  # all but the time it took
        assert len(names) > 40
        for name in names:
            assert expected[name].tobytes() == resumed[name].tobytes(), name
