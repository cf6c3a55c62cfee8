"""The memory capstone: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import numpy as np
import pytest

from efftx.check import capstone_memory as check
from efftx.check import capstone_memory_answers as answers
from efftx.memory import reversible_stack
from tests.check.exercise import Exercise

PARTS = ("forward", "inverse", "backward", "make_stack")


def stored(f, g):
    """Right values, right gradients, and everything is kept."""
    return lambda *inputs: answers.plain(f, g, *inputs)


def by_package(f, g):
    branches = [lambda w, x, key, extra, replay=None, f=f: (f(w, x), None) for f in (f, g)]

    def run(w_f, w_g, x1, x2):
        return reversible_stack(tuple(branches), (w_f, w_g), x1, x2)

    return run


def half_blocks(f, g, w_f, w_g, x1, x2):
    """fori_loop, and weights picked by number."""

    def block(n, streams):
        x1, x2 = streams
        x1 = x1 + f(w_f[n], x2)
        return x1, x2 + g(w_g[n], x1)

    return jax.lax.fori_loop(0, len(w_f), block, (x1, x2))


def undone_in_numpy(f, g, w_f, w_g, y1, y2):
    return tuple(np.asarray(x, np.float64) for x in answers.undone(f, g, w_f, w_g, y1, y2))


def kept_inputs(f, g, w_f, w_g, y1, y2, g1, g2):
    """Rebuilt all the way down, and then differentiated through a forward that stores."""

    def run(w_f, w_g, x1, x2):
        return EXERCISE.solved["forward"](f, g, w_f, w_g, x1, x2)

    x1, x2 = EXERCISE.solved["inverse"](f, g, w_f, w_g, y1, y2)
    return jax.vjp(run, w_f, w_g, x1, x2)[1]((g1, g2))


RIGHT = [
    ("forward", half_blocks),
    ("inverse", undone_in_numpy),
    ("make_stack", by_package),
]
EXERCISE = Exercise(
    stem="capstone_memory",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


def test_a_loop_of_python_is_told_that_it_is_written_out():
    said = EXERCISE.said("forward", answers.plain)
    assert said.startswith("✗ forward returns the right values. But: for 2 blocks it is a program")
    assert "the loop is Python's" in said


@pytest.mark.parametrize("make", [stored, lambda f, g: jax.checkpoint(stored(f, g))])
def test_what_stores_is_told_how_much(make):
    said = EXERCISE.said("make_stack", make)
    assert said.startswith("✗ make_stack returns the right values. But: it keeps ")
    assert "So it stores activations" in said


def test_rebuilding_first_and_storing_then_is_storing():
    said = EXERCISE.said("backward", kept_inputs)
    assert said.startswith("✗ backward returns the right values. But: it keeps ")


def test_checkpoints_of_every_block_still_store_the_streams():
    def make(f, g):
        def block(streams, weights):
            x1, x2 = streams
            x1 = x1 + f(weights[0], x2)
            return (x1, x2 + g(weights[1], x1)), None

        def run(w_f, w_g, x1, x2):
            return jax.lax.scan(jax.checkpoint(block), (x1, x2), (w_f, w_g))[0]

        return run

    assert "streams of 8 KiB for every block more" in EXERCISE.said("make_stack", make)
