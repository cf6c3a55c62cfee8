"""What the sparsity capstone's answers read and make, besides the right values."""

from collections.abc import Callable
from math import prod

import numpy as np

from efftx.check.capstone_sparsity_answers import drawn, step_case, units_of, weights_of
from efftx.check.promises import NotMeasured, arrays_made, n_operations, numbers_read, traced


def reads_the_chosen(answer) -> str:
    """Of the units' weights, those of one unit in each block."""
    n_blocks, n_units, d_model = 8, 16, 64
    rng = np.random.default_rng(0)
    case = {"x": drawn(rng, d_model), **units_of(rng, d_model, n_blocks, n_units)}
    allowed = {"w1": n_blocks * d_model, "w2": n_blocks * d_model, "b1": n_blocks}
    return reads_more(answer, case, allowed, f"One unit in each of {n_blocks} blocks is on.")


def reads_more(answer, case: dict, allowed: dict, why: str) -> str:
    """The first of the inputs of which more is read than allowed."""
    for name, most in allowed.items():
        read = numbers_read(answer, case, name)
        if read is None:
            raise NotMeasured("What it reads was not measured: jax cannot trace it.")
        if read > most:
            return (
                f"it reads {read:,} numbers of {name}, which has {case[name].size:,}; {most:,} are "
                f"enough. {why} Take the rows that are needed out with an index, and compute with "
                "nothing else."
            )
    return ""


def makes_nothing_dense(cases: Callable):
    """No array has as many numbers as the dense layer's weight."""

    def missing(answer) -> str:
        case, dense = cases(np.random.default_rng(0))
        shapes = arrays_made(answer, case)
        if shapes is None:
            raise NotMeasured("What it makes was not measured: jax cannot trace it.")
        largest = max(shapes, key=prod)
        if prod(largest) < dense:
            return ""
        return (
            f"it makes an array of shape {largest}, {prod(largest):,} numbers, and the dense layer "
            f"has {dense:,}. Then nothing is won by D and E. Multiply x with D first, and the "
            "result with E."
        )

    return missing


def wide_step(rng):
    return step_case(rng, 3, 8, 64, 8), 64**2


def wide_scores(rng):
    x, d, e = drawn(rng, 32), drawn(rng, 32, 4), drawn(rng, 32, 25)
    return {"x": x, "d": d, "e": e, "vocab": 100}, 32 * 100


def reads_little_in_a_loop(answer) -> str:
    """Rows of the embedding and of the units for each token; a program of one length."""
    n_blocks, n_units, d_model, vocab, length = 4, 16, 32, 50, 3
    rng = np.random.default_rng(0)
    weights = weights_of(rng, d_model, vocab, n_blocks, n_units)
    cases = [{"prompt": np.arange(length), "n_new": n, **weights} for n in (2, 6)]
    programs = [traced(answer, case) for case in cases]
    if None in programs:
        raise NotMeasured("What it reads was not measured: jax cannot trace it.")
    few, many = map(n_operations, programs)
    if few != many:
        return (
            f"to write 2 tokens it is a program of {few} operations, for 6 of {many}: the loop is "
            "Python's, and jax sees every token written out. Let jax.lax.scan run it."
        )
    turns = length + 6
    allowed = {"embedding": turns * d_model, "w1": turns * n_blocks * d_model}
    allowed |= {"w2": allowed["w1"], "b1": turns * n_blocks}
    why = f"It has {turns - 1} tokens to read, each with one row and one unit in each block."
    return reads_more(answer, cases[1], allowed, why)
