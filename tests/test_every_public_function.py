"""Every public function in every way in which people use functions of arrays.

The table (tests/public) has a row for each name; each column (tests/public/columns.py) is one way.
A row either works, that is, gives what it gives in plain float32, or refuses with the sentence that
the row states. A new public name without a row fails here.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from jax import lax

from tests.public import columns
from tests.public.rows import Elsewhere
from tests.public.table import ARRAYS, NUMBERS, ROOMS

SETTINGS = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="module")
def compiled_quickly():
    """These are hundreds of programs of a few numbers: to optimise them would take minutes."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)  # as it is unless asked for


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_name_has_a_row(room):
    assert sorted(room.__all__) == sorted(ROOMS[room])
    for name, row in ROOMS[room].items():
        if isinstance(row, Elsewhere) and row.where not in ROOMS[room]:
            called = getattr(room, name).__name__
            assert called in (ROOT / row.where).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    assert NUMBERS[name].call() == NUMBERS[name].right


def judge(row, column, said: str) -> None:
    """It works, or says what the row states."""
    sentence = row.refuses.get(column.__name__)
    if sentence is None:
        assert said == ""
    else:
        assert said.startswith("ValueError")
        assert re.search(sentence, said)


def cells(those):
    for name, row in ARRAYS.items():
        for column in those:
            if columns.applies(column, row):
                yield pytest.param(name, column, id=f"{name}-{column.__name__}")


@pytest.mark.parametrize(("name", "column"), list(cells((*columns.OF_ALL, *columns.OF_GRADIENTS))))
def test_here(name, column):
    judge(ARRAYS[name], column, columns.outcome(column, ARRAYS[name]))


@pytest.fixture(scope="module")
def found_apart():
    """What was found on two simulated devices, and without a checker of types."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    run = subprocess.run(
        [sys.executable, "-m", "tests.public.columns"],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(("name", "column"), list(cells(columns.APART)))
def test_apart(name, column, found_apart):
    judge(ARRAYS[name], column, found_apart[f"{name}-{column.__name__}"])


@jax.custom_vjp
def bent_square(x):
    """Its gradient is right; the gradient of its gradient is 0."""
    return x**2


bent_square.defvjp(lambda x: (x**2, x), lambda x, g: (lax.stop_gradient(2 * x) * g,))


def test_a_column_can_fail():
    row = replace(ARRAYS["efftx.attention.unit_keys"], call=bent_square, twin=lambda x: x**2)
    assert columns.outcome(columns.grad, row) == ""
    assert columns.outcome(columns.grad_of_grad, row).startswith("AssertionError")
    wrong = replace(row, call=lambda x: 1.02 * x**2)
    for column in columns.OF_ALL:
        fails = columns.outcome(column, wrong).startswith("AssertionError")
        assert fails or column is columns.bfloat16  # which is not as exact
    with pytest.raises(AssertionError):
        judge(replace(row, refuses={"jit": "."}), columns.jit, "")
