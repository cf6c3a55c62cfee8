"""The memory capstone's inputs, right answers, and what is weighed.

Values and gradients are those of the plain loop, differentiated by jax, which stores everything.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check.promises import NotMeasured, compiled_memory, n_operations, traced

SIZES = ((1, 2, 3), (2, 3, 2), (3, 2, 4))  # blocks, positions, d; few, jax compiles each anew
DRAWS = 2  # of each
SHALLOW, DEEP = 2, 32  # blocks
LONG, D_MODEL = 256, 8  # of what is weighed: a stream is much larger than a block's weights


class Branch:
    """What a block adds to a stream: tanh(mixed x · w).

    It prints as what it is, since it is shown where an answer is wrong.
    """

    def __init__(self, name: str, mixes: bool):
        self.name, self.mixes = name, mixes

    def __call__(self, w, x):
        return jnp.tanh((x - x.mean(0) / 2 if self.mixes else x) @ w)

    def __repr__(self):
        return f"the branch {self.name}"


F, G = Branch("F", mixes=True), Branch("G", mixes=False)


def case_of(rng, n_blocks: int, length: int, d: int) -> dict:
    """Weights and streams."""
    w_f, w_g = rng.normal(size=(2, n_blocks, d, d)).astype(np.float32)
    x1, x2 = rng.normal(size=(2, length, d)).astype(np.float32)
    return {"f": F, "g": G, "w_f": w_f, "w_g": w_g, "x1": x1, "x2": x2}


def forward_cases(rng):
    for n_blocks, length, d in SIZES:
        for _ in range(DRAWS):
            yield case_of(rng, n_blocks, length, d)


def with_gradients(rng, case: dict) -> dict:
    """The gradients of the loss for both results stand behind the inputs."""
    g1, g2 = rng.normal(size=(2, *case["x1"].shape)).astype(np.float32)
    return {**case, "g1": g1, "g2": g2}


def gradient_cases(rng):
    for case in forward_cases(rng):
        yield with_gradients(rng, case)


def from_results(case: dict) -> dict:
    """The same, with the results of the stack in the place of its inputs."""
    y1, y2 = map(np.asarray, plain(*list(case.values())[:6]))
    start = {name: case[name] for name in ("f", "g", "w_f", "w_g")}
    rest = {name: case[name] for name in ("g1", "g2") if name in case}
    return {**start, "y1": y1, "y2": y2, **rest}


def inverse_cases(rng):
    yield from map(from_results, forward_cases(rng))


def backward_cases(rng):
    yield from map(from_results, gradient_cases(rng))


def plain(f, g, w_f, w_g, *streams):
    """The stack as a loop."""
    x1, x2 = streams
    for n in range(len(w_f)):
        x1 = x1 + f(w_f[n], x2)
        x2 = x2 + g(w_g[n], x1)
    return x1, x2


def undone(f, g, w_f, w_g, *results):
    """What the loop began with."""
    y1, y2 = results
    for n in reversed(range(len(w_f))):
        y2 = y2 - g(w_g[n], y1)
        y1 = y1 - f(w_f[n], y2)
    return y1, y2


def differentiated(make):
    """The stack that ``make`` returns, as its results and the gradients of its four arrays."""

    def run(f, g, *arrays):
        *inputs, g1, g2 = arrays
        results, pull_back = jax.vjp(make(f, g), *map(jnp.asarray, inputs))
        return *results, *pull_back((jnp.asarray(g1), jnp.asarray(g2)))

    return run


def all_gradients(f, g, *arrays):
    """Results and gradients, by autodiff through the plain loop."""
    return differentiated(lambda f, g: lambda *inputs: plain(f, g, *inputs))(f, g, *arrays)


def gradients_from_results(f, g, w_f, w_g, *rest):
    """The four gradients, at the inputs that belong to these results."""
    y1, y2, g1, g2 = rest
    x1, x2 = undone(f, g, w_f, w_g, y1, y2)
    return all_gradients(f, g, w_f, w_g, x1, x2, g1, g2)[2:]


# What is promised besides: the program is as long for 32 blocks as for 2, and so is what it keeps.


def weighed(n_blocks: int, cases=lambda case, rng: case) -> dict:
    rng = np.random.default_rng(0)
    return cases(case_of(rng, n_blocks, LONG, D_MODEL), rng)


def as_loop(cases=lambda case, rng: case):
    """The promise that the number of operations does not depend on the number of blocks."""

    def missing(answer) -> str:
        programs = [traced(answer, weighed(n, cases)) for n in (SHALLOW, DEEP)]
        if None in programs:
            raise NotMeasured(
                "Whether the loop is part of the program was not measured: it is no jax."
            )
        few, many = (n_operations(program) for program in programs)
        if few == many:
            return ""
        return (
            f"for {SHALLOW} blocks it is a program of {few} operations, for {DEEP} of {many}: the "
            "loop is Python's, and jax sees every block written out. Let jax.lax.scan run it."
        )

    return missing


def keeps_nothing(cases):
    """The promise that working memory does not grow with the number of blocks."""

    def missing(answer) -> str:
        shallow, deep = (compiled_memory(answer, weighed(n, cases)) for n in (SHALLOW, DEEP))
        if shallow is None:
            raise NotMeasured("What it keeps was not measured: jax cannot trace it.")
        stream = 4 * LONG * D_MODEL
        grown = (deep - shallow) / (DEEP - SHALLOW) / stream
        if grown < 0.5:
            return ""
        return (
            f"it keeps {shallow / 1024:.0f} KiB at {SHALLOW} blocks and {deep / 1024:.0f} at "
            f"{DEEP}, {grown:.1f} streams of {stream / 1024:.0f} KiB for every block more. So it "
            "stores activations. Only results and weights may be kept; all else is rebuilt."
        )

    return missing
