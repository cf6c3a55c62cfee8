"""Rebuilt against stored: the same values and gradients, in memory that no depth increases."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from efftx.memory import (
    reversible_forward,
    reversible_inverse,
    reversible_stack,
    reversible_stack_reference,
    undo_by_autodiff,
)

N_LAYERS, D = 3, 6


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def normed(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


# Kinds of branches, and what they are stacked from.


def mix(params, x, key, extra, replay=None):
    """Lets positions see each other."""
    x = normed(x).astype(params["w"].dtype)
    return jax.nn.softmax(x @ params["w"] @ x.T) @ x, None


def drop(params, x, key, extra, replay=None):
    """A feed-forward layer with dropout from the key."""
    hidden = jnp.tanh(normed(x).astype(params["w"].dtype) @ params["w"]) + params["b"]
    kept = True if key is None else jax.random.bernoulli(key, 0.7, hidden.shape)
    return jnp.where(kept, hidden, 0), None


def look(params, x, key, extra, replay=None):
    """Looks at a source behind a mask, as an encoder-decoder's cross-attention does."""
    scores = x @ params["w"] @ extra["source"].T
    weights = jax.nn.softmax(jnp.where(extra["mask"], scores, -1e9))
    return weights @ extra["source"] * extra["scale"], None


def bucket(params, x, key, extra, replay=None):
    """Every number goes one of two ways; which, is replayed."""
    chosen = (x > 0).astype(jnp.uint8) if replay is None else replay
    return jnp.where(chosen == 1, x @ params["w"], jnp.sin(x)), chosen


def delicate(params, x, key, extra, replay=None):
    """Its choice hangs on the last bit of x, so that after any rounding it would be another."""
    last_bit = lax.bitcast_convert_type(x, jnp.int32) & 1
    return bucket(params, x, key, extra, last_bit.astype(jnp.uint8) if replay is None else replay)


def weights(n_branches, n_layers=N_LAYERS, d=D, dtype=jnp.float32):
    scale = 0.5 * d**-0.5
    return tuple(
        {
            "w": scale * random(n_layers, d, d, seed=i, dtype=dtype),
            "b": jnp.zeros((n_layers, d), dtype),
        }
        for i in range(n_branches)
    )


def keys(n_branches, n_layers=N_LAYERS):
    return tuple(jax.random.split(jax.random.key(3), (n_branches, n_layers)))


EXTRA = {
    "source": random(5, D, seed=9),
    "mask": jnp.array([True, True, False, True, True]),
    "scale": jnp.float32(0.7),
    "number": jnp.arange(3),
    "key": jax.random.key(1),
}
PATTERNS = {
    "the paper's block": (mix, drop),
    "a decoder's block": (mix, look, drop),
    "one branch": (drop,),
    "local, local, LSH": (mix, drop, mix, drop, bucket, drop),
}


def values_and_gradients(stack, branches, params, x1, x2, keys, extra):
    """The two results, and gradients of a weighted sum for all that has one."""
    numbers = ["source", "scale"]

    @jax.jit
    def run(params, x1, x2, some_extra):
        def of_floats(params, x1, x2, some_extra):
            return stack(branches, params, x1, x2, keys, {**extra, **some_extra})

        results, pull_back = jax.vjp(of_floats, params, x1, x2, some_extra)
        weight = jnp.arange(x1.size).reshape(x1.shape) % 5 - 1.0
        return results, pull_back((weight.astype(x1.dtype), 2 * weight.astype(x1.dtype)))

    return run(params, x1, x2, {name: extra[name] for name in numbers})


def relative_error(ours, theirs) -> float:
    def flat(tree):
        return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])

    return float(np.linalg.norm(flat(ours) - flat(theirs)) / np.linalg.norm(flat(theirs)))


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_values_and_all_gradients_are_those_of_the_loop(pattern, length):
    branches = PATTERNS[pattern]
    n = len(branches)
    streams = random(length, D, seed=1), random(length, D, seed=2)
    arguments = (branches, weights(n), *streams, keys(n), EXTRA)
    ours, our_gradients = values_and_gradients(reversible_stack, *arguments)
    theirs, their_gradients = values_and_gradients(reversible_stack_reference, *arguments)
    assert relative_error(ours, theirs) < 1e-6
    for mine, right in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_equal(jax.tree.map(jnp.shape, mine), jax.tree.map(jnp.shape, right))
        zero = not any(np.any(leaf) for leaf in jax.tree.leaves(right))
        assert zero or relative_error(mine, right) < 1e-5


def test_two_branches_are_the_papers_equations():
    params, x1, x2 = weights(2, n_layers=1), random(7, D, seed=1), random(7, D, seed=2)
    f, g = (jax.tree.map(lambda p: p[0], p) for p in params)
    y1 = x1 + mix(f, x2, None, None)[0]
    y2 = x2 + drop(g, y1, None, None)[0]
    ours = reversible_stack((mix, drop), params, x1, x2)
    np.testing.assert_allclose(ours, (y1, y2), atol=1e-6)


def test_the_gradient_of_extra_is_the_sum_over_all_branches():
    """Not only of the last: with k layers that add a·extra each, it is k."""

    def add(a, x, key, extra, replay=None):
        return jnp.broadcast_to(a * extra, x.shape), None

    def total(extra):
        y1, y2 = reversible_stack((add,), (jnp.ones(4),), random(2, D), random(2, D), None, extra)
        return y1[0, 0] + y2[0, 0]

    assert jax.grad(total)(jnp.float32(3)) == 4


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_inverse_rebuilds_both_streams(pattern):
    branches = PATTERNS[pattern]
    n = len(branches)
    streams = random(7, D, seed=1), random(7, D, seed=2)
    results, replay = jax.jit(partial(reversible_forward, branches))(
        weights(n), *streams, keys(n), EXTRA
    )
    back = jax.jit(partial(reversible_inverse, branches))
    rebuilt = back(weights(n), *results, keys(n), EXTRA, replay=replay)
    assert relative_error(rebuilt, streams) < 1e-5


def test_without_its_replay_a_delicate_choice_is_another():
    branches, streams = (delicate, drop), (random(7, D, seed=1), random(7, D, seed=2))
    results, replay = jax.jit(partial(reversible_forward, branches))(weights(2), *streams)
    back = jax.jit(partial(reversible_inverse, branches))
    assert relative_error(back(weights(2), *results, replay=replay), streams) < 1e-5
    assert relative_error(back(weights(2), *results), streams) > 1e-2


def test_what_is_replayed_decides_the_gradient():
    """A branch that chooses anew on the way back gets other gradients."""

    def forgetful(params, x, key, extra, replay=None):
        return delicate(params, x, key, extra)

    def gradient(stack, branch):
        x = random(7, D, seed=1)

        def total(params):
            return sum(y.sum() for y in stack((branch, drop), params, x, x))

        return jax.jit(jax.grad(total))(weights(2, n_layers=1))

    right = gradient(reversible_stack_reference, delicate)
    assert relative_error(gradient(reversible_stack, delicate), right) < 1e-5
    assert relative_error(gradient(reversible_stack, forgetful), right) > 1e-2


def test_dropout_is_that_of_the_key():
    x = random(7, D)
    run = jax.jit(lambda keys: reversible_stack((drop,), weights(1), x, x, keys))
    one, again, other = (run(k) for k in (keys(1), keys(1), (keys(2)[1],)))
    np.testing.assert_array_equal(one, again)
    assert relative_error(other, one) > 0.01


class Scaled:
    """y = params · x, which can be undone by hand."""

    def __init__(self):
        self.n_undone = 0

    def __call__(self, params, x, key, extra, replay=None):
        return params * x, None

    def undo(self, params, x, given, streams):
        self.n_undone += 1
        c, g_c, g_x = streams
        return (c - params * x, g_x + params * g_c), (g_c * x).sum(0), None


def undo_scaled_by_hand(branch, *how):
    return branch.undo(*how) if branch is not mix else undo_by_autodiff(branch, *how)


def test_who_can_undo_a_branch_otherwise_may():
    """At once, as here by hand; its neighbours in the pattern as always."""
    scaled = Scaled()
    params, x = (random(N_LAYERS, D), weights(1)[0]), random(7, D, seed=1)

    def gradient(stack):
        def total(params, x):
            y1, y2 = stack((scaled, mix), params, x, 2 * x)
            return (y1 * y2).mean()

        return jax.grad(total, argnums=(0, 1))(params, x)

    theirs = gradient(reversible_stack_reference)
    assert scaled.n_undone == 0
    ours = gradient(partial(reversible_stack, undo=undo_scaled_by_hand))
    assert relative_error(ours, theirs) < 1e-5
    assert scaled.n_undone == 1  # traced once for all layers


def test_parameters_without_a_gradient_may_be_whole_numbers():
    """As a table of positions: it is passed on, and gets no gradient."""

    def permuted(params, x, key, extra, replay=None):
        return jnp.tanh(x[:, params["order"]] * params["w"]), None

    params = ({"order": jnp.stack([jnp.arange(D)[::-1]] * 4), "w": random(4, D)},)
    x = random(5, D, seed=1)

    def total(stack, w):
        y1, y2 = stack((permuted,), ({**params[0], "w": w},), x, x)
        return (y1 * y2).sum()

    ours, theirs = (
        jax.grad(partial(total, stack))(params[0]["w"])
        for stack in (reversible_stack, reversible_stack_reference)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_batch_is_its_examples():
    batch = random(4, 7, D, seed=1)

    def loss(stack, params, x):
        y1, y2 = stack((mix, drop), params, x, 2 * x)
        return (y1 * y2).mean()

    def of_batch(stack):
        of_all = jax.vmap(partial(loss, stack), in_axes=(None, 0))
        return jax.jit(jax.grad(lambda params, x: of_all(params, x).sum(), argnums=(0, 1)))

    ours, theirs = (
        of_batch(stack)(weights(2), batch)
        for stack in (reversible_stack, reversible_stack_reference)
    )
    assert relative_error(ours, theirs) < 1e-5


# Rounding


def error_of_24_blocks(dtype, stream_dtype):
    """Of the gradients, rebuilt against stored, and of the rebuilt input."""
    branches, params = (mix, drop), weights(2, n_layers=24, d=32, dtype=dtype)
    x = random(48, 32, dtype=stream_dtype)

    def loss(stack, params, x):
        return sum((y.astype(jnp.float32) ** 2).mean() for y in stack(branches, params, x, x))

    ours, theirs = (
        jax.jit(jax.grad(partial(loss, stack), argnums=(0, 1)))(params, x)
        for stack in (reversible_stack, reversible_stack_reference)
    )
    results, _ = jax.jit(partial(reversible_forward, branches))(params, x, x)
    rebuilt = jax.jit(partial(reversible_inverse, branches))(params, *results)
    return relative_error(ours, theirs), relative_error(rebuilt, (x, x))


def test_in_float32_rebuilt_is_as_good_as_stored():
    gradients, rebuilt = error_of_24_blocks(jnp.float32, jnp.float32)
    assert gradients < 1e-5
    assert rebuilt < 1e-5


def test_streams_in_bfloat16_drift_and_float32_streams_mend_it():
    """Even where the branches are in bfloat16; so keep the streams in float32."""
    all_low, _ = error_of_24_blocks(jnp.bfloat16, jnp.bfloat16)
    low_branches, _ = error_of_24_blocks(jnp.bfloat16, jnp.float32)
    assert 1e-2 < all_low < 1
    assert low_branches < all_low / 2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtypes_stay(dtype):
    x, params = random(7, D), weights(2, dtype=dtype)
    stack = partial(reversible_stack, (mix, drop))
    results, pull_back = jax.vjp(stack, params, x, x)
    g_params, g_x1, _ = pull_back(results)
    assert {x.dtype for x in jax.tree.leaves(g_params)} == {jnp.dtype(dtype)}
    assert {y.dtype for y in results} == {g_x1.dtype} == {jnp.dtype(jnp.float32)}


# Memory and work. Nothing below is run.

LENGTH, WIDTH, BYTES = 4096, 256, 4
ACTIVATION = LENGTH * WIDTH * BYTES
ONE_BLOCK = ((WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH))


def causal_mean(w, x, key, extra, replay=None):
    """Cheap for a branch that lets positions see each other."""
    return jnp.cumsum(normed(x), axis=0) / jnp.arange(1, len(x) + 1)[:, None] @ w, None


def feed_forward(params, x, key, extra, replay=None):
    w1, w2 = params
    return jax.nn.relu(normed(x) @ w1) @ w2, None


BLOCK = (causal_mean, feed_forward)


def shapes(n_layers):
    mixing, w1, w2 = (jax.ShapeDtypeStruct((n_layers, *s), jnp.float32) for s in ONE_BLOCK)
    return (mixing, (w1, w2)), jax.ShapeDtypeStruct((LENGTH, WIDTH), jnp.float32)


def reversible(params, x):
    y1, y2 = reversible_stack(BLOCK, params, x, x)
    return y1 + y2


def plain(params, x, wrap=lambda step: step):
    @wrap
    def step(x, layer):
        for branch, p in zip(BLOCK, layer, strict=True):
            x = x + branch(p, x, None, None)[0]
        return x, None

    return lax.scan(step, x, params)[0]


checkpointed = partial(plain, wrap=partial(jax.checkpoint, prevent_cse=False))


def compiled(model, n_layers):
    """A training step without the optimiser: loss and all gradients are results."""

    def loss(params, x):
        return (model(params, x) ** 2).mean()

    step = jax.value_and_grad(loss, argnums=(0, 1))
    return jax.jit(step).lower(*shapes(n_layers)).compile()


def temporary_bytes(model, n_layers) -> int:
    return compiled(model, n_layers).memory_analysis().temp_size_in_bytes


def test_memory_is_flat_in_depth():
    shallow, deep = (temporary_bytes(reversible, n) for n in (2, 32))
    assert (deep - shallow) / 30 <= 0.02 * ACTIVATION


@pytest.mark.parametrize("n_layers", [8, 32])
def test_memory_is_below_that_of_checkpoints(n_layers):
    assert temporary_bytes(reversible, n_layers) < temporary_bytes(checkpointed, n_layers)


def test_the_measure_sees_what_is_stored():
    """Checkpoints keep one activation for each layer, autodiff alone many."""
    for model, at_least in ((checkpointed, 0.99), (plain, 5)):
        shallow, deep = (temporary_bytes(model, n) for n in (2, 32))
        assert (deep - shallow) / 30 >= at_least * ACTIVATION


def test_the_narrow_replays_are_all_that_grows():
    """One byte for each number, in each layer; and what is kept for the backward pass is known."""

    def choosing(w, x, key, extra, replay=None):
        chosen = (x > 0).astype(jnp.uint8) if replay is None else replay
        return jnp.where(chosen == 1, x @ w, 0), chosen

    def kept(n_layers):
        w = jax.ShapeDtypeStruct((n_layers, WIDTH, WIDTH), jnp.float32)
        stack = lambda w, x: reversible_stack((choosing,), (w,), x, x)  # noqa: E731
        residuals = jax.eval_shape(lambda *a: jax.vjp(stack, *a)[1], w, shapes(1)[1])
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(residuals))

    for n_layers in (2, 32):
        parameters = n_layers * WIDTH * WIDTH * BYTES
        assert kept(n_layers) == parameters + 2 * ACTIVATION + n_layers * LENGTH * WIDTH


def test_the_backward_pass_takes_each_branch_once():
    """One evaluation both rebuilds and prepares the gradient: the least possible overhead."""

    def wave(a, x, key, extra, replay=None):
        return jnp.sin(a * x), None

    x = random(5, D)
    loss = lambda a: sum(y.sum() for y in reversible_stack((wave,), (a,), x, x))  # noqa: E731
    program = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones(4)))
    assert program.count("= sin ") == 2  # one forward, one backward
    assert program.count("= cos ") == 1


def test_depth_compiles_once():
    """More layers are the same program with longer scans, not a longer program."""

    def program_length(n_layers):
        return len(
            jax.jit(jax.grad(lambda *a: reversible(*a).sum()))
            .lower(*shapes(n_layers))
            .as_text()
            .splitlines()
        )

    assert program_length(32) == program_length(2)


def test_gradients_of_extra_are_summed_in_float32():
    """In bfloat16 a sum of ones, one for each of 1,000 layers, would stop at 256."""

    def add(p, x, key, extra, replay=None):
        return jnp.broadcast_to(extra.astype(x.dtype), x.shape), None

    def total(extra):
        x = jnp.zeros((1, 1))
        return sum(y.sum() for y in reversible_stack((add,), (jnp.zeros(1000),), x, x, None, extra))

    assert jax.grad(total)(jnp.bfloat16(0)) == 1000


# A batch in the streams


def of_batch(branch):
    """A branch of one example, mapped inside."""

    def run(p, x, key, extra, replay=None):
        return jax.vmap(lambda x, r: branch(p, x, key, extra, r))(x, replay)

    return run


@pytest.mark.parametrize("leading", [(4,), (2, 2)])
def test_streams_of_a_batch_are_its_examples(leading):
    """Branches take the batch themselves, whatever its axes: here one is mapped, one is not."""
    batch = random(4, 7, D, seed=1)
    mapped = of_batch(bucket) if len(leading) == 1 else of_batch(of_batch(bucket))

    def loss(branches, params, x, extra):
        y1, y2 = reversible_stack(branches, params, x, 2 * x, None, extra)
        return (y1 * y2).sum() / 100

    def one_by_one(params, batch):
        return sum(loss((bucket, drop), params, x, None) for x in batch)

    inside = partial(loss, (mapped, drop), extra=None)
    ours = jax.jit(jax.grad(inside, argnums=(0, 1)))(weights(2), batch.reshape(*leading, 7, D))
    theirs = jax.jit(jax.grad(one_by_one, argnums=(0, 1)))(weights(2), batch)
    assert relative_error(ours, theirs) < 1e-5


def test_forward_and_inverse_take_a_batch():
    batch = random(4, 7, D, seed=1)
    branches = (of_batch(mix), drop)
    results, replay = reversible_forward(branches, weights(2), batch, 2 * batch)
    rebuilt = reversible_inverse(branches, weights(2), *results, replay=replay)
    assert relative_error(rebuilt, (batch, 2 * batch)) < 1e-5


def test_a_batch_inside_costs_what_as_many_positions_cost():
    """And mapped around the stack several times that, for the gradients of each example."""
    n_layers, of_one = 8, BLOCK

    def used(run, *shape):
        params, x = shapes(n_layers)
        x = jax.ShapeDtypeStruct((*shape, WIDTH), x.dtype)
        step = jax.grad(lambda params, x: (run(params, x) ** 2).mean(), argnums=(0, 1))
        compiled = jax.jit(step).lower(params, x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def inside(params, x):
        return sum(reversible_stack(tuple(map(of_batch, of_one)), params, x, x))

    single = used(reversible, LENGTH)
    assert used(inside, 8, LENGTH // 8) < 1.1 * single
    assert used(jax.vmap(reversible, (None, 0)), 8, LENGTH // 8) > 2 * single


# What branches close over


def closing(w, x, source, mask):
    """One closes over a mask, a float of the trace and a key; one chooses, over a mask as well."""
    key = jax.random.fold_in(jax.random.key(0), mask.sum())

    def looks(p, x, key_of_layer, extra, replay=None):
        noise = jax.random.normal(key, x.shape)
        return jnp.tanh(x @ p) * mask + source @ p * noise, None

    def chooses(p, x, key_of_layer, extra, replay=None):
        chosen = ((x > 0) & mask).astype(jnp.uint8) if replay is None else replay
        return jnp.where(chosen == 1, jnp.tanh(x @ p), jnp.sin(x)) * mask, chosen

    return (looks, chooses), (w, 2 * w), x, x + 1


CLOSED = random(3, D, D) / 4, random(7, D, seed=1), random(7, D, seed=2)
MODES = {
    "grad": lambda f, n: jax.grad(f, argnums=n),
    "jit of grad": lambda f, n: jax.jit(jax.grad(f, argnums=n)),
    "grad of jit": lambda f, n: jax.grad(jax.jit(f), argnums=n),
    "grad of a loop": lambda f, n: jax.grad(
        lambda *x: lax.map(lambda i: f(*x[:3], x[3]) * i, jnp.ones(1))[0], argnums=n
    ),
    "grad of vmap": lambda f, n: jax.grad(
        lambda w, x, *others: jax.vmap(f, (None, 0, None, None))(w, x[None], *others)[0], argnums=n
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_what_branches_close_over_is_kept_and_gets_its_gradient(mode):
    """Once an opaque error of jax in some modes: what was closed over was gone on the way back."""
    mask = jnp.arange(7)[:, None] < 5

    def loss(stack, *given):
        y1, y2 = stack(*closing(*given))
        return jnp.sin(y1 * y2).sum()

    ours = MODES[mode](partial(loss, reversible_stack), (0, 1, 2))(*CLOSED, mask)
    theirs = jax.grad(partial(loss, reversible_stack_reference), (0, 1, 2))(*CLOSED, mask)
    assert relative_error(ours, theirs) < 1e-5


def test_numbers_in_extra_are_as_good_as_arrays():
    def gradient(stack, scale):
        extra = {**EXTRA, "scale": scale}
        x = random(7, D)
        return jax.grad(lambda w: stack((look,), w, x, x, None, extra)[1].sum())(weights(1))

    theirs = gradient(reversible_stack_reference, jnp.float32(0.7))
    assert relative_error(gradient(reversible_stack, 0.7), theirs) < 1e-6
