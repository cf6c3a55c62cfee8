"""The Reformer: exact where nothing is missed, rebuilt gradients, no future, any length, memory."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import reversible_forward
from efftx.models import (
    Attention,
    Hashed,
    Shared,
    Sizes,
    attention_layer,
    init_feed_forward,
    language_model,
    local,
    lsh,
    n_parameters,
    named_parameters,
    plain_residual,
    reformer,
    reversible_residual,
    transformer,
    with_parameters,
    with_rounds,
)
from efftx.models.branch import branches, keys_for
from efftx.models.norm import UNNORMED
from efftx.models.reformer import SIXTEEN_GB
from efftx.training.losses import bits_per_byte
from tests.models.test_residuals import loss_and_gradients

SIZES = Sizes(n_layers=4, d_model=16, d_ff=24, n_heads=2, d_head=8, max_len=100, vocab=50)
KEY = jax.random.key(3)
PATTERN = (local(chunk_len=4), lsh(n_hashes=2, chunk_len=4))


def some_tokens(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(SIZES.vocab, size=length)


def a_reformer(**how):
    return reformer(jax.random.key(0), SIZES, ff_chunk_len=7, **{"attention": PATTERN, **how})


def test_an_lsh_layer_that_misses_nothing_is_shared_qk_attention():
    """All vectors in one bucket of one chunk."""
    exact = attention_layer(Shared())(jax.random.key(0), SIZES)
    x = jax.random.normal(jax.random.key(1), (20, 16))
    layer = Attention(exact.projection, Hashed(n_hashes=3, chunk_len=32, n_buckets=4))
    one_bucket = jnp.zeros((SIZES.n_heads, 3, 20), jnp.uint8)
    y, replay = layer(x, replay=one_bucket)
    np.testing.assert_allclose(y, exact(x)[0], atol=1e-5)
    assert replay.dtype == jnp.uint8
    assert jnp.abs(layer(x, KEY)[0] - y).max() > 1e-3


def test_a_reformer_that_misses_nothing_is_a_reversible_shared_qk_transformer(monkeypatch):
    """The same parameters, and everything in one bucket."""
    exact = transformer(jax.random.key(0), SIZES, kind=Shared(), residual=reversible_residual)
    hashed = reformer(
        jax.random.key(0), SIZES, attention=lsh(n_hashes=2, chunk_len=64), positions="learned"
    )
    arrays = {
        name.replace("feed_forward.layer.", "feed_forward.layer.layer."): np.asarray(array)
        for name, array in named_parameters(exact).items()
    }
    assert n_parameters(exact) == n_parameters(hashed)
    tokens = some_tokens(30)

    def run(model):
        return loss_and_gradients(model, lambda model, key: model(tokens, key), KEY)

    monkeypatch.setattr(
        "efftx.attention.lsh.hash_vectors",
        lambda x, rotations: jnp.zeros((len(rotations[0]), len(x)), jnp.int32),
    )
    loss, gradients = run(exact)
    hashed_loss, hashed_gradients = run(with_parameters(hashed, arrays))
    assert float(hashed_loss) == pytest.approx(float(loss), rel=1e-5)
    for ours, theirs in zip(hashed_gradients.values(), gradients.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(jnp.abs(theirs).max()))


def replays_of(model, tokens):
    """What every branch of every layer chose."""
    run = lambda branch, x, key, extra, replay=None: branch(x, key, replay=replay)  # noqa: E731
    parts, x = branches(model.blocks), model.embedding(tokens)
    keys = keys_for(model.blocks, KEY)
    return reversible_forward((run,) * len(parts), parts, x, x, keys)[1]


def with_given_choices(model, replays):
    """The same function in a loop that stores all activations, its choices being given."""

    def stored(blocks, x, keys, extra=None):
        a, b = x, x
        for layer in range(len(jax.tree.leaves(blocks)[0])):
            for branch, chosen in zip(branches(blocks), replays, strict=True):
                part, chosen = jax.tree.map(lambda array, i=layer: array[i], (branch, chosen))
                a, b = b, a + part(b, None, extra, chosen)[0]
        return (a + b) / 2

    return replace(model, residual=stored)


def test_rebuilt_gradients_are_the_stored_ones():
    model, tokens = a_reformer(), some_tokens(45)
    call = lambda model, key: model(tokens, key)  # noqa: E731
    loss, ours = loss_and_gradients(model, call, KEY)
    stored = with_given_choices(model, replays_of(model, tokens))
    stored_loss, theirs = loss_and_gradients(stored, call)
    assert float(loss) == pytest.approx(float(stored_loss), rel=1e-6)
    for name, right in theirs.items():
        scale = float(jnp.abs(right).max())
        assert scale > 0, name
        np.testing.assert_allclose(ours[name], right, atol=1e-5 * scale, err_msg=name)


def test_gradients_of_a_bfloat16_reformer_are_near_those_of_float32():
    """In its own dtype; the sums are float32."""
    model, tokens = a_reformer(), some_tokens(45)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), low)
    wide = with_given_choices(wide, replays_of(low, tokens))
    low_loss, ours = loss_and_gradients(low, lambda model, key: model(tokens, key), KEY)
    loss, theirs = loss_and_gradients(wide, lambda model, key: model(tokens, key))
    assert float(low_loss) == pytest.approx(float(loss), rel=1e-2)
    for name, right in theirs.items():
        assert ours[name].dtype == jnp.bfloat16, name
        error = np.linalg.norm(ours[name].astype(np.float32) - right) / np.linalg.norm(right)
        assert error < 0.15, name


def test_buckets_are_chosen_once_and_kept_in_the_narrowest_type():
    replays = jax.eval_shape(partial(replays_of, a_reformer()), some_tokens(45))
    (buckets,) = jax.tree.leaves(replays)
    assert (buckets.shape, buckets.dtype) == ((2, SIZES.n_heads, 2, 45), jnp.uint8)


def test_a_change_changes_nothing_before_it():
    """The buckets being given: a change may move a later vector, and with it chunks' borders."""
    model, tokens = a_reformer(), some_tokens(45)
    model = with_given_choices(model, replays_of(model, tokens))
    given = jax.jit(lambda tokens: model(tokens))
    for changed_at in (0, 20, 44):
        changed = tokens.copy()
        changed[changed_at] = (changed[changed_at] + 1) % SIZES.vocab
        difference = np.abs(given(changed) - given(tokens)).max(axis=1)
        assert difference[:changed_at].max(initial=0) < 1e-6
        assert difference[changed_at] > 1e-3


@pytest.mark.parametrize("length", [1, 3, 64, 99])
def test_any_length(length):
    logits = jax.jit(lambda model: model(some_tokens(length), KEY))(a_reformer())
    assert logits.shape == (length, SIZES.vocab)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("rotary", [False, True])
def test_norm_and_heads_may_be_worked_off_in_pieces(rotary, monkeypatch):
    """What a head sees of x does not depend on how many positions are projected together."""
    layer = lsh(n_hashes=2, chunk_len=4, rotary=rotary)(jax.random.key(0), SIZES)
    x = jax.random.normal(jax.random.key(1), (45, 16))
    whole = layer(x, KEY)[0]
    monkeypatch.setattr("efftx.memory.heads.POSITIONS_AT_ONCE", 10)
    np.testing.assert_allclose(layer.behind(UNNORMED, x, KEY)[0], whole, atol=1e-5)
    unturned = replace(layer, kind=replace(layer.kind, rotary=False))
    assert rotary == bool(jnp.abs(unturned(x, KEY)[0] - whole).max() > 1e-3)


def test_a_layer_is_the_same_wherever_the_pattern_puts_it():
    """Its first values depend on its depth only, so models of other patterns compare."""
    one_kind = a_reformer(attention=lsh())
    two_kinds = a_reformer(attention=(lsh(), lsh(n_hashes=2)))
    assert (one_kind.n_layers, two_kinds.n_layers) == (4, 4)
    for slot, block in enumerate(two_kinds.blocks):
        expected = one_kind.blocks.attention.layer.projection.w_in[slot::2]
        np.testing.assert_array_equal(block.attention.layer.projection.w_in, expected)


def test_rounds_can_be_exchanged_after_training():
    tokens, model = some_tokens(45), a_reformer()
    more, exact = with_rounds(model, 8), with_rounds(model, None)
    assert [block.attention.layer.kind.n_hashes for block in (model.blocks[1], more.blocks[1])] == [
        2,
        8,
    ]
    assert exact.blocks[1].attention.layer.kind == Shared()
    logits = [np.asarray(m(tokens, KEY)) for m in (with_rounds(model, 1), more, exact)]
    gaps = [np.abs(x - logits[2]).mean() for x in logits[:2]]
    assert gaps[1] < 0.7 * gaps[0]
    plain = transformer(jax.random.key(0), SIZES, kind=Shared())
    hashed = with_rounds(plain, 4, chunk_len=64)
    assert hashed.blocks.attention.layer.kind == Hashed(n_hashes=4)
    assert with_rounds(hashed, None).blocks.attention.layer.kind == Shared()


def test_a_plain_residual_works_too():
    """There autodiff keeps the buckets of the forward, and gradients reach every parameter."""
    tokens = some_tokens(45)
    call = lambda model, key: model(tokens, key)  # noqa: E731
    _, gradients = loss_and_gradients(a_reformer(residual=plain_residual), call, KEY)
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), name
        assert np.abs(gradient).max() > 0, name


# Memory and other devices ---------------------------------------------------------------------

LONG = replace(SIZES, d_model=64, d_ff=256, n_heads=2, d_head=32, max_len=2**14, vocab=256)


def step(model, window, seed):
    loss = partial(bits_per_byte, chunk_len=512)
    return jax.value_and_grad(loss)(model, window, jax.random.key(seed))


def temporary_bytes(n_layers: int, length: int, attention=None) -> int:
    sizes = replace(LONG, n_layers=n_layers)
    make = partial(reformer, sizes=sizes, attention=attention or lsh(chunk_len=32))
    model = jax.eval_shape(make, jax.random.key(0))
    window = jax.ShapeDtypeStruct((length + 1,), jnp.uint8)
    return jax.jit(step).lower(model, window, 0).compile().memory_analysis().temp_size_in_bytes


def test_memory_is_flat_in_depth_and_linear_in_length():
    """Beyond parameters' gradients: a layer keeps its buckets, one or two bytes each."""
    activation = 2**14 * LONG.d_model * 4
    shallow, deep, short = (
        temporary_bytes(*case) for case in ((2, 2**14), (16, 2**14), (2, 2**13))
    )
    per_layer = n_parameters(jax.eval_shape(lambda: lsh()(jax.random.key(0), LONG))) * 4
    assert (deep - shallow) / 14 < 0.02 * activation + 4 * per_layer
    assert shallow < 2.2 * short
    assert shallow < 20 * activation


@pytest.mark.parametrize("sizes", [SIZES, SIXTEEN_GB])
def test_a_step_lowers_for_gpu_and_tpu(sizes):
    """With gradients, at full length; it was not run there."""
    model = jax.eval_shape(lambda: reformer(jax.random.key(0), sizes, attention=PATTERN))
    window = jax.ShapeDtypeStruct((sizes.max_len + 1,), jnp.uint8)
    leaves, tree = jax.tree.flatten(model)
    run = jax.jit(lambda leaves, window: step(jax.tree.unflatten(tree, leaves), window, 0)[0])
    platforms = ["cpu", "cuda", "tpu"]
    exported = jax.export.export(run, platforms=platforms)(leaves, window)
    assert list(exported.platforms) == platforms


def test_local_layers_take_part_in_any_model():
    init = local(chunk_len=4)
    model = language_model(jax.random.key(0), SIZES, init, init_feed_forward, plain_residual)
    tokens = some_tokens(30)
    changed = tokens.copy()
    changed[0] = (changed[0] + 1) % SIZES.vocab
    difference = np.abs(model(changed) - model(tokens)).max(axis=1)
    reach = 4 * (SIZES.n_layers + 1)  # each layer sees one chunk further
    assert difference[: reach // 2].min() > 0
    assert difference[reach:].max() == 0
