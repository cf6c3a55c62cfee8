"""Exercise 03's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.memory``; only the
dropout masks are drawn by jax, as the exercise draws them.
"""

from functools import cache

import jax
import numpy as np

LENGTH, D = 4, 3
DRAWS = 3  # of each kind of case
DEPTHS = (1, 2, 3)


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


def undone_block(y1, y2, w_f, w_g, *, sign=-1):
    x2 = y2 + sign * tanh_layer(y1, w_g)
    return y1 + sign * tanh_layer(x2, w_f), x2


def undone_with_the_result(y1, y2, w_f, w_g):
    return y1 - tanh_layer(y2, w_f), y2 - tanh_layer(y1, w_g)


def undone_in_forward_order(y1, y2, w_f, w_g):
    x1 = y1 - tanh_layer(y2, w_f)
    return x1, y2 - tanh_layer(x1, w_g)


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


def undone_stack(y1, y2, w, extra, seeds, *, layers=down, sign=-1):
    b, c = y1, y2
    for w_i, seed in layers(w, seeds):
        b, c = c + sign * branch(w_i, b, extra, seed), b
    return b, c


def undone_with_the_other_stream(y1, y2, w, extra, seeds):
    b, c = y1, y2
    for w_i, seed in down(w, seeds):
        b, c = c - branch(w_i, c, extra, seed), b
    return b, c


def undone_without_exchange(y1, y2, w, extra, seeds):
    b, c = y1, y2
    for w_i, seed in down(w, seeds):
        b, c = b, c - branch(w_i, b, extra, seed)
    return b, c


# Wrong ways through the layers: as `down`, but …


def upwards(w, seeds):
    return list(zip(w, seeds, strict=True))


def seeds_upwards(w, seeds):
    return list(zip(w[::-1], seeds, strict=True))


def first_seed_for_all(w, seeds):
    return [(w_i, seeds[0]) for w_i in w[::-1]]


def drawn_anew(w, seeds):
    return [(w_i, seed + 1) for w_i, seed in down(w, seeds)]


def last_only(w, seeds):
    return down(w, seeds)[:1]


def all_but_the_first(w, seeds):
    return down(w, seeds)[:-1]


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


def pulled_back_at(point):
    """The branch's gradients taken at point(a, b, c); what a is then, is left open."""

    def backward(b, c, g_b, g_c, *layer):
        a = coupling_back(b, c, g_b, g_c, *layer)[0]
        _, *gradients = differentiated(b, c, g_b, g_c, layer, point=point(a, b, c), gradient=g_c)
        return None, *gradients

    return backward


def pulling_back(gradient):
    """The branch's gradients come from gradient(g_b, g_c) in the place of g_c."""

    def backward(b, c, g_b, g_c, *layer):
        return differentiated(b, c, g_b, g_c, layer, point=b, gradient=gradient(g_b, g_c))

    return backward


def with_other(**changes):
    """The right answer but for some results; each change is a function of the case and of it."""
    names = ("a", "g_a", "g_b", "g_w", "g_extra")

    def backward(*case):
        given = dict(zip(("b", "c", "g_b", "g_c", "w", "extra", "seed"), case, strict=True))
        right = coupling_back(*case)
        return tuple(
            changes[name](given, value) if name in changes else value
            for name, value in zip(names, right, strict=True)
        )

    return backward


# Part 4


def gradient_cases(rng):
    for results, layers in stacks(rng):
        g1, g2 = normal(rng, 2, LENGTH, D)
        yield {**results, "g1": g1, "g2": g2, **layers}


def all_gradients(y1, y2, g1, g2, *stacked, layers=down, rebuild=True):
    """x1, x2 and their gradients, those of w, and extra's layer by layer, from the last down."""
    w, extra, seeds = stacked
    b, c, g_b, g_c, g_ws, g_extras = y1, y2, g1, g2, [], []
    for w_i, seed in layers(w, seeds):
        a, g_a, g_b, g_w, g_extra = coupling_back(b, c, g_b, g_c, w_i, extra, seed)
        b, c = (a, b) if rebuild else (b, c)
        g_b, g_c = g_a, g_b
        g_ws.append(g_w)
        g_extras.append(g_extra)
    return b, c, g_b, g_c, g_ws, g_extras


def stack_back(*case, order=-1, over_layers=sum, **way):
    """The right answer, or one that goes another way or puts its results together otherwise."""
    x1, x2, g_x1, g_x2, g_ws, g_extras = all_gradients(*case, **way)
    return x1, x2, g_x1, g_x2, np.stack(g_ws[::order]), over_layers(g_extras)


def stack_back_without_rebuilding(*case):
    """Every layer's gradients at y1; x1 and x2 are left open."""
    return None, None, *stack_back(*case, rebuild=False)[2:]


def streams_exchanged(*case):
    x1, x2, g_x1, g_x2, *rest = stack_back(*case)
    return x1, x2, g_x2, g_x1, *rest
