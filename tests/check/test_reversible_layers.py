"""Exercise 03: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import reversible_layers as check
from efftx.memory import reversible_forward, reversible_inverse, reversible_stack
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

UNDO_F = "x1 = y1 - jnp.tanh(x2 @ w_f)"
UNDO_G = "x2 = y2 - jnp.tanh(y1 @ w_g)"
UNDO = "a = c - branch(w[layer], b, extra, seeds[layer])"
DOWN = "    b, c = y1, y2\n    for layer in reversed(range(len(w))):"
ALL_DOWN = "jnp.zeros_like(extra)\n    for layer in reversed(range(len(w))):"
STEP = "g_c, w[layer], extra, seeds[layer])"
BACK = "return c - y, g_c, g_b + g_through, g_w, g_extra"
SLIPS = [
    ("undo_block", "at x2", {UNDO_F: "x1 = y1 - jnp.tanh(y2 @ w_f)"}),
    (
        "undo_block",
        "order in which it was done",
        {UNDO_G: "x1 = y1 - jnp.tanh(y2 @ w_f)", UNDO_F: "x2 = y2 - jnp.tanh(x1 @ w_g)"},
    ),
    ("undo_block", "exchanged: return", {"return x1, x2": "return x2, x1"}),
    ("undo_block", "F and G were exchanged", {"y1 @ w_g": "y1 @ w_f", "x2 @ w_f": "x2 @ w_g"}),
    (
        "undo_block",
        "subtract",
        {UNDO_G: UNDO_G.replace("-", "+"), UNDO_F: UNDO_F.replace("-", "+")},
    ),
    ("undo_block", "still y1", {UNDO_F: "x1 = y1"}),
    (
        "undo_stack",
        "from the first to the last",
        {DOWN: DOWN.replace("reversed(range(len(w)))", "range(len(w))")},
    ),
    (
        "undo_stack",
        "own seed again",
        {UNDO: UNDO.replace("seeds[layer]", "seeds[len(w) - 1 - layer]")},
    ),
    ("undo_stack", "first layer's seed", {UNDO: UNDO.replace("seeds[layer]", "seeds[0]")}),
    ("undo_stack", "from seed + 1", {UNDO: UNDO.replace("seeds[layer]", "seeds[layer] + 1")}),
    ("undo_stack", "subtract", {UNDO: UNDO.replace("c - ", "c + ")}),
    ("undo_stack", "ran on c", {UNDO: UNDO.replace("b, extra", "c, extra")}),
    (
        "undo_stack",
        "inside the loop",
        {"        b, c = a, b\n    return b, c": "        return a, b"},
    ),
    ("undo_stack", "stop too early", {DOWN: DOWN.replace("range(len(w))", "range(1, len(w))")}),
    ("undo_stack", "x1 and x2 were exchanged", {"    return b, c\n": "    return c, b\n"}),
    ("undo_stack", "exchanged back", {"        b, c = a, b\n": "        c = a\n"}),
    (
        "backward_coupling",
        "wrong point, at c",
        {"jax.vjp(f, w, b, extra)": "jax.vjp(f, w, c, extra)"},
    ),
    (
        "backward_coupling",
        "at the rebuilt a",
        {
            "y, pull_back = jax.vjp(f, w, b, extra)": "y = f(w, b, extra)\n"
            "    pull_back = jax.vjp(f, w, c - y, extra)[1]"
        },
    ),
    ("backward_coupling", "through the branch alone", {BACK: BACK.replace("g_b + ", "")}),
    ("backward_coupling", "still the one that came in", {BACK: BACK.replace(" + g_through", "")}),
    ("backward_coupling", "slope 1", {BACK: BACK.replace("g_c,", "g_b,")}),
    ("backward_coupling", "a minus had slipped", {"pull_back(g_c)": "pull_back(-g_c)"}),
    ("backward_coupling", "pull back g_c", {"pull_back(g_c)": "pull_back(g_b)"}),
    ("backward_coupling", "dropped", {BACK: BACK.replace("g_extra", "0 * g_extra")}),
    ("backward_coupling", "added to c once more", {BACK: BACK.replace("c - y", "c + y")}),
    (
        "backward_stack",
        "from the first to the last",
        {
            ALL_DOWN: ALL_DOWN.replace("reversed(range(len(w)))", "range(len(w))"),
            "g_ws[::-1]": "g_ws",
        },
    ),
    ("backward_stack", "Turn it round", {"g_ws[::-1]": "g_ws"}),
    ("backward_stack", "write over it", {"g_extra += g_seen": "g_extra = g_seen"}),
    ("backward_stack", "it is 0", {"g_extra += g_seen": "pass"}),
    ("backward_stack", "mean over the layers", {"g_extra += g_seen": "g_extra += g_seen / len(w)"}),
    (
        "backward_stack",
        "taken at y1",
        {
            "b, c, g_b, g_c = a, b, g_a, g_b": "g_b, g_c = g_a, g_b",
            "return b, c, g_b": "return y2, y1, g_b",
        },
    ),
    ("backward_stack", "first layer's seed", {STEP: STEP.replace("seeds[layer]", "seeds[0]")}),
    ("backward_stack", "from seed + 1", {STEP: STEP.replace("seeds[layer]", "seeds[layer] + 1")}),
    (
        "backward_stack",
        "their gradients were exchanged",
        {"return b, c, g_b, g_c, jnp": "return b, c, g_c, g_b, jnp"},
    ),
]


# Other ways to be right: the package, autodiff of the way forward, by hand, under jit.


def dropped(w, x, key, extra, replay=None):
    kept = jax.random.bernoulli(key, 0.5, x.shape)
    return jnp.where(kept, 2 * jnp.tanh(x @ w + extra), 0), None


def keys(seeds):
    return (jax.vmap(jax.random.key)(jnp.asarray(seeds)),)


def packages_inverse(y1, y2, w, extra, seeds):
    return reversible_inverse((dropped,), (w,), y1, y2, keys(seeds), extra)


def packages_block(y1, y2, w_f, w_g):
    def layer(w, x, key, extra, replay=None):
        return jnp.tanh(x @ w), None

    return reversible_inverse((layer, layer), (w_f[None], w_g[None]), y1, y2)


def packages_gradients(y1, y2, g1, g2, w, extra, seeds):
    x1, x2 = packages_inverse(y1, y2, w, extra, seeds)
    _, pull_back = jax.vjp(
        lambda *given: reversible_stack((dropped,), (given[2],), *given[:2], keys(seeds), given[3]),
        x1,
        x2,
        w,
        extra,
    )
    return x1, x2, *pull_back((g1, g2))


def gradients_of_the_way_forward(b, c, g_b, g_c, w, extra, seed):
    """All at once: the vjp of the coupling itself."""
    run = lambda a, b, w, extra: (b, a + dropped(w, b, jax.random.key(seed), extra)[0])  # noqa: E731
    a = c - run(jnp.zeros_like(b), b, w, extra)[1]
    return a, *jax.vjp(run, a, b, w, extra)[1]((g_b, g_c))


def by_hand(b, c, g_b, g_c, w, extra, seed):
    """float64, with the derivative of tanh written out."""
    kept = np.asarray(jax.random.bernoulli(jax.random.key(seed), 0.5, b.shape))
    b, c, g_b, g_c, w = (np.asarray(x, np.float64) for x in (b, c, g_b, g_c, w))
    t = np.tanh(b @ w + np.asarray(extra, np.float64))
    g = 2 * kept * (1 - t**2) * g_c
    return c - 2 * kept * t, g_c, g_b + g @ w.T, b.T @ g, g.sum(0)


def numpy_block(y1, y2, w_f, w_g):
    y1, y2, w_f, w_g = (np.asarray(x, np.float64) for x in (y1, y2, w_f, w_g))
    x2 = y2 - np.tanh(y1 @ w_g)
    return y1 - np.tanh(x2 @ w_f), x2


RIGHT = [
    ("undo_block", packages_block),
    ("undo_block", numpy_block),
    ("undo_stack", packages_inverse),
    ("undo_stack", jax.jit(packages_inverse)),
    ("backward_coupling", gradients_of_the_way_forward),
    ("backward_coupling", by_hand),
    ("backward_stack", packages_gradients),
]

PARTS = ("undo_block", "undo_stack", "backward_coupling", "backward_stack")
EXERCISE = Exercise(
    stem="03_reversible_layers",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
)


# Special to this exercise.


def test_the_inputs_are_what_the_exercises_forward_makes():
    """So the check and the page speak of the same stack."""
    for case in check.undo_stack.cases(np.random.default_rng(0)):
        x1, x2 = check.undo_stack.right(*case.values())
        layers = (jnp.asarray(case["w"]),), x1, x2, keys(case["seeds"]), jnp.asarray(case["extra"])
        results, _ = reversible_forward(
            (dropped,), layers[0], *map(jnp.float32, layers[1:3]), *layers[3:]
        )
        np.testing.assert_allclose(results, (case["y1"], case["y2"]), atol=1e-4)
        ours = EXERCISE.solved["forward"](x1, x2, *map(jnp.asarray, list(case.values())[2:]))
        np.testing.assert_allclose(ours, (case["y1"], case["y2"]), atol=1e-4)


def test_an_error_of_rounding_is_no_mistake():
    def rounded(*case):
        return tuple(x.astype(jnp.float32) for x in packages_inverse(*case))

    check.undo_stack(rounded)
