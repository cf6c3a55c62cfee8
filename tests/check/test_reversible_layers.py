"""Exercise 03: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import reversible_layers as check
from efftx.memory import reversible_forward, reversible_inverse, reversible_stack
from tests.check.exercise import Exercise

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


def packages_stack():
    """Its scan in the place of our loops."""

    def run(x1, x2, w, extra, seeds):
        return reversible_stack((dropped,), (w,), x1, x2, keys(seeds), extra)

    return run


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
    ("make_stack", packages_stack),
]

PARTS = ("undo_block", "undo_stack", "backward_coupling", "backward_stack", "make_stack")
EXERCISE = Exercise(
    stem="03_reversible_layers",
    parts={name: getattr(check, name) for name in PARTS},
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


def rebuilt_first_and_stored_then(y1, y2, g1, g2, w, extra, seeds):
    """Right to the last digit, and every layer's stream is stored on the way."""
    x1, x2 = packages_inverse(y1, y2, w, extra, seeds)
    forward = EXERCISE.solved["forward"]
    pull_back = jax.vjp(lambda *given: forward(*given, seeds), x1, x2, w, extra)[1]
    return x1, x2, *pull_back((g1, g2))


def undone_first_and_differentiated_then(y1, y2, g1, g2, w, extra, seeds):
    """All streams in a list, then the gradients."""
    streams, pull_back = [(y1, y2)], EXERCISE.solved["backward_coupling"]
    for n in reversed(range(len(w))):
        b, c = streams[-1]
        streams.append((c - dropped(w[n], b, jax.random.key(seeds[n]), extra)[0], b))
    g_ws, g_extra = [], 0
    for b_c, n in zip(streams, reversed(range(len(w))), strict=False):
        _, g1, g2, g_w, g_seen = pull_back(*b_c, g1, g2, w[n], extra, seeds[n])
        g_ws.append(g_w)
        g_extra += g_seen
    return *streams[-1], g1, g2, jnp.stack(g_ws[::-1]), g_extra


def test_what_stores_is_told_how_much():
    said = EXERCISE.said("backward_stack", rebuilt_first_and_stored_then)
    assert said.startswith("✗ backward_stack returns the right values. But: it holds ")
    assert "So it stores activations" in said


def test_a_list_of_all_streams_is_storing_too():
    said = EXERCISE.said("backward_stack", undone_first_and_differentiated_then)
    assert "streams of 8 KiB more for every layer. So it stores activations" in said


def checkpointed():
    """Only the streams between the layers, and that is enough."""

    def run(x1, x2, w, extra, seeds):
        for n in range(len(w)):
            branch = jax.checkpoint(
                lambda *given, n=n: dropped(given[0], given[1], jax.random.key(seeds[n]), given[2])[
                    0
                ]
            )
            x1, x2 = x2, x1 + branch(w[n], x2, extra)
        return x1, x2

    return run


def test_jaxs_own_gradient_stores():
    for make in (lambda: EXERCISE.solved["forward"], checkpointed):
        said = EXERCISE.said("make_stack", make)
        assert said.startswith("✗ make_stack returns the right values. But: it holds ")
