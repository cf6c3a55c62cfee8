"""The room's index: what a user imports, and nothing heavy with it."""

import subprocess
import sys

from efftx import training


def test_the_index_lists_what_there_is():
    assert sorted(training.__all__) == training.__all__
    assert all(hasattr(training, name) for name in training.__all__)


def test_importing_it_brings_in_no_package_of_a_single_task():
    code = "import sys, efftx.training; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(answer.stdout.split())
    assert "efftx.training.loop" in loaded
    assert loaded.isdisjoint({"sacrebleu", "num2words", "scipy.stats", "matplotlib"})
