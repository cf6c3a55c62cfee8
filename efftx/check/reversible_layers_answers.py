"""Exercise 03's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.memory``; only the
dropout masks are drawn by jax, as the exercise draws them.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check.promises import held_at_once

LENGTH, D = 4, 3
DRAWS = 3  # of each kind of case
DEPTHS = (1, 2, 3)
SHALLOW, DEEP = 2, 10  # layers
LONG, WIDE = 256, 8  # of what is weighed: a stream is much larger than a layer's weights


def normal(rng, *shape):
    return rng.normal(size=shape)


# Part 1


def tanh_layer(x, w):
    return np.tanh(x @ w)


def block_cases(rng):
    """What a block leaves of random streams."""
    for length in (1, LENGTH):
        for _ in range(DRAWS):
            x1, x2 = normal(rng, 2, length, D)
            w_f, w_g = normal(rng, 2, D, D)
            y1 = x1 + tanh_layer(x2, w_f)
            y2 = x2 + tanh_layer(y1, w_g)
            yield {"y1": y1, "y2": y2, "w_f": w_f, "w_g": w_g}


def undone_block(y1, y2, w_f, w_g):
    x2 = y2 - tanh_layer(y1, w_g)
    return y1 - tanh_layer(x2, w_f), x2


# Parts 2 to 4: a stack of couplings (a, b) → (b, a + F(b)) with dropout


@cache
def kept(seed: int, shape: tuple) -> np.ndarray:
    return np.asarray(jax.random.bernoulli(jax.random.key(seed), 0.5, shape))


def branch(w, x, extra, seed):
    return np.where(kept(int(seed), x.shape), 2 * np.tanh(x @ w + extra), 0)


def pulled_back(w, x, extra, seed, g):
    """The gradients of w, x and extra, from that of the branch's result."""
    g = g * np.where(kept(int(seed), x.shape), 2 * (1 - np.tanh(x @ w + extra) ** 2), 0)
    return x.T @ g, g @ w.T, g.sum(0)


def forward(x1, x2, w, extra, seeds):
    for w_i, seed in zip(w, seeds, strict=True):
        x1, x2 = x2, x1 + branch(w_i, x2, extra, seed)
    return x1, x2


def stacks(rng):
    """What stacks of one layer and more leave of random streams."""
    for depth in DEPTHS:
        for _ in range(DRAWS):
            x1, x2 = normal(rng, 2, LENGTH, D)
            w, extra = normal(rng, depth, D, D), normal(rng, D)
            seeds = rng.choice(100, size=depth, replace=False)
            y1, y2 = forward(x1, x2, w, extra, seeds)
            yield {"y1": y1, "y2": y2}, {"w": w, "extra": extra, "seeds": seeds}


def stack_cases(rng):
    for results, layers in stacks(rng):
        yield {**results, **layers}


def down(w, seeds):
    """The layers from the last to the first: each one's weights with its seed."""
    return list(zip(w, seeds, strict=True))[::-1]


def undone_stack(y1, y2, w, extra, seeds):
    b, c = y1, y2
    for w_i, seed in down(w, seeds):
        b, c = c - branch(w_i, b, extra, seed), b
    return b, c


# Wrong ways through the layers: as `down`, but …


def seeds_upwards(w, seeds):
    return list(zip(w[::-1], seeds, strict=True))


# Part 3


def coupling_cases(rng):
    for _ in range(2 * DRAWS):
        b, c, g_b, g_c = normal(rng, 4, LENGTH, D)
        layer = {"w": normal(rng, D, D), "extra": normal(rng, D), "seed": int(rng.integers(100))}
        yield {"b": b, "c": c, "g_b": g_b, "g_c": g_c, **layer}


def coupling_back(b, c, g_b, g_c, *layer):
    """The right answer: a, and the gradients of a, b, w and extra."""
    return differentiated(b, c, g_b, g_c, layer, point=b, gradient=g_c)


def differentiated(b, c, g_b, g_c, layer, *, point, gradient):
    """What they are if the branch is differentiated at this point and pulls back this gradient."""
    w, extra, seed = layer
    g_w, g_through, g_extra = pulled_back(w, point, extra, seed, gradient)
    return c - branch(w, b, extra, seed), g_c, g_b + g_through, g_w, g_extra


def pulling_back(gradient):
    """The branch's gradients come from gradient(g_b, g_c) in the place of g_c."""

    def backward(b, c, g_b, g_c, *layer):
        return differentiated(b, c, g_b, g_c, layer, point=b, gradient=gradient(g_b, g_c))

    return backward


# Part 4


def gradient_cases(rng):
    for results, layers in stacks(rng):
        g1, g2 = normal(rng, 2, LENGTH, D)
        yield {**results, "g1": g1, "g2": g2, **layers}


def all_gradients(y1, y2, g1, g2, *stacked, layers=down):
    """x1, x2 and their gradients, those of w, and extra's layer by layer, from the last down."""
    w, extra, seeds = stacked
    b, c, g_b, g_c, g_ws, g_extras = y1, y2, g1, g2, [], []
    for w_i, seed in layers(w, seeds):
        a, g_a, g_b, g_w, g_extra = coupling_back(b, c, g_b, g_c, w_i, extra, seed)
        b, c, g_b, g_c = a, b, g_a, g_b
        g_ws.append(g_w)
        g_extras.append(g_extra)
    return b, c, g_b, g_c, g_ws, g_extras


def stack_back(*case, over_layers=sum, **way):
    """The right answer, or one that goes another way or puts its results together otherwise."""
    x1, x2, g_x1, g_x2, g_ws, g_extras = all_gradients(*case, **way)
    return x1, x2, g_x1, g_x2, np.stack(g_ws[::-1]), over_layers(g_extras)


# Part 5


def inputs_cases(rng):
    """The inputs of stacks instead of their results."""
    for case in gradient_cases(rng):
        y1, y2, *gradients_and_layers = case.values()
        x1, x2 = undone_stack(y1, y2, *gradients_and_layers[2:])
        yield {"x1": x1, "x2": x2} | {name: case[name] for name in list(case)[2:]}


def from_inputs(x1, x2, g1, g2, *layers):
    """The results of the stack, and the gradients of all that has one."""
    y1, y2 = forward(x1, x2, *layers)
    return y1, y2, *stack_back(y1, y2, g1, g2, *layers)[2:]


def differentiated_by_jax(make):
    """The stack that ``make`` returns, as its results and gradients."""

    def run(x1, x2, *others):
        *gradients, w, extra, seeds = map(jnp.asarray, others)
        stack = make()
        inputs = map(jnp.asarray, (x1, x2, w, extra))
        results, pull_back = jax.vjp(lambda *given: stack(*given, seeds), *inputs)
        return *results, *pull_back(tuple(gradients))

    return run


# What is promised besides: what is held at once does not grow with the number of layers.


def weighed(n_layers: int, names: tuple[str, str]) -> dict:
    """A long and narrow stack; ``names`` are those of its two streams."""
    rng = np.random.default_rng(0)
    streams = normal(rng, 4, LONG, WIDE).astype(np.float32)
    return {
        **dict(zip((*names, "g1", "g2"), streams, strict=True)),
        "w": normal(rng, n_layers, WIDE, WIDE).astype(np.float32),
        "extra": normal(rng, WIDE).astype(np.float32),
        "seeds": np.arange(n_layers),
    }


def keeps_nothing(*names: str):
    """The promise that what is held at once is the same at two depths."""

    def missing(answer) -> str:
        shallow, deep = (
            held_at_once(answer, weighed(n, names), "What it stores") for n in (SHALLOW, DEEP)
        )
        stream = 4 * LONG * WIDE
        grown = (deep - shallow) / (DEEP - SHALLOW) / stream
        if grown < 0.5:
            return ""
        return (
            f"it holds {shallow / 1024:.0f} KiB at {SHALLOW} layers and {deep / 1024:.0f} at "
            f"{DEEP}, {grown:.1f} streams of {stream / 1024:.0f} KiB more for every layer. So it "
            "stores activations. Rebuild a layer's input, use it, and go on from it."
        )

    return missing
