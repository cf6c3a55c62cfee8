"""The decoder that reads its source first: its definition, its padding, its steps."""

from dataclasses import fields
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import reversible_stack_reference
from efftx.models import (
    Exact,
    Sizes,
    Source,
    attention_layer,
    generate,
    hardened,
    init_feed_forward,
    named_parameters,
    plain_residual,
    prefill,
    reversible_residual,
    step,
    terraformer_with_encoder,
)
from efftx.models.branch import branches
from efftx.models.source_first import after_source, source_first
from efftx.models.terraformer import lsh_attentions

SIZES = Sizes(n_layers=2, d_model=16, d_ff=32, n_heads=4, d_head=4, max_len=40, vocab=30)
SOURCE, TARGET = (np.random.default_rng(n).integers(SIZES.vocab, size=n) for n in (11, 9))
KEY = jax.random.key(1)
DENSE = partial(
    source_first,
    jax.random.key(0),
    SIZES,
    encoder_attention=attention_layer(Exact(causal=False)),
    attention=attention_layer(),
    feed_forward=init_feed_forward,
)
SPARSE = partial(terraformer_with_encoder, jax.random.key(0), SIZES, n_units=4)
MODELS = {
    "dense": partial(DENSE, residual=plain_residual),
    "dense, reversible": partial(DENSE, residual=reversible_residual),
    "Terraformer": SPARSE,
    # No bucket can have more than chunk_len members: then steps find what the whole model finds.
    "Terraformer with LSH": partial(
        SPARSE, **lsh_attentions(n_hashes=2, chunk_len=64, n_buckets=4)
    ),
}
EVERY = pytest.mark.parametrize("kind", MODELS)


@cache
def a_model(kind: str):
    return hardened(MODELS[kind]())


@jax.jit
def run(model, source, target, key_mask=None):
    return model(source, target, KEY, key_mask=key_mask)


def changed(tokens: np.ndarray, at: int) -> np.ndarray:
    tokens = tokens.copy()
    tokens[at] = (tokens[at] + 1) % SIZES.vocab
    return tokens


# What it computes ------------------------------------------------------------------------------


def test_by_its_definition():
    """One text, the source's vectors and then the target's, through the decoder's blocks."""
    model = a_model("dense")
    x = jnp.concatenate([model.encode(SOURCE).vectors, model.embedding(TARGET)])
    for layer in range(SIZES.n_layers):
        for branch in branches(jax.tree.map(lambda stacked, i=layer: stacked[i], model.decoder)):
            x = x + branch(x)[0]
    logits = model.readout(x)[len(SOURCE) :]
    np.testing.assert_allclose(run(model, SOURCE, TARGET), logits, atol=1e-5)


def test_there_is_no_cross_attention():
    decoder = a_model("Terraformer").decoder
    assert [field.name for field in fields(decoder)] == ["attention", "feed_forward"]


@EVERY
def test_the_target_is_causal_and_sees_all_of_the_source(kind):
    model = a_model(kind)
    before = run(model, SOURCE, TARGET)
    moved = np.abs(run(model, SOURCE, changed(TARGET, 4)) - before).max(axis=1)
    assert moved[:4].max() < 1e-5
    assert moved[4] > 1e-3
    if "LSH" not in kind:  # hashing leaves out keys, so there not every position need see a change
        for at in (0, 10):
            moved = np.abs(run(model, changed(SOURCE, at), TARGET) - before).max(axis=1)
            assert moved.min() > 1e-6


@EVERY
@pytest.mark.parametrize("before", [0, 3])
def test_padding_changes_nothing_wherever_it_stands(kind, before):
    rng = np.random.default_rng(5)
    padding = rng.integers(SIZES.vocab, size=6)
    parts = padding[:before], SOURCE[:5], padding[before:5], SOURCE[5:], padding[5:]
    mask = np.concatenate([np.full(len(part), i % 2 == 1) for i, part in enumerate(parts)])
    padded = run(a_model(kind), np.concatenate(parts), TARGET, mask)
    np.testing.assert_allclose(padded, run(a_model(kind), SOURCE, TARGET), atol=1e-4)


def test_what_follows_the_source_comes_before_its_padding():
    source = Source(jnp.arange(4.0)[:, None], jnp.array([True, True, True, False]))
    x, start = after_source(source, jnp.array([[8.0], [9.0]]))
    assert (x[:, 0].tolist()[:5], int(start)) == ([0, 1, 2, 8, 9], 3)
    assert len(x) == 6


@EVERY
def test_a_batch_is_its_examples(kind):
    sources, targets = np.stack([SOURCE, SOURCE[::-1]]), np.stack([TARGET, TARGET[::-1]])
    masks = np.arange(11) < np.array([[11], [7]])
    batch = jax.jit(jax.vmap(run, in_axes=(None, 0, 0, 0)))(a_model(kind), sources, targets, masks)
    for logits, source, target, mask in zip(batch, sources, targets, masks, strict=True):
        alone = run(a_model(kind), source[mask], target)
        np.testing.assert_allclose(logits, alone, atol=1e-4)


# Training --------------------------------------------------------------------------------------


def stored_residual(blocks, x, keys, extra=None):
    """What `reversible_residual` computes, in a loop and with every activation stored."""

    def run(branch, x, key, extra, replay=None):
        return branch(x, key, extra)[0], None

    params = branches(blocks)
    y1, y2 = reversible_stack_reference((run,) * len(params), params, x, x, keys, extra)
    return (y1 + y2) / 2


def test_rebuilt_gradients_are_those_of_autodiff_and_reach_all_parameters():
    mask, kind = np.arange(11) < 9, "Terraformer with LSH"

    @jax.jit
    def gradients(model):
        loss = lambda model: (model(SOURCE, TARGET, KEY, key_mask=mask) ** 2).mean()  # noqa: E731
        return jax.grad(loss)(model)

    ours = named_parameters(gradients(MODELS[kind]()))
    theirs = named_parameters(gradients(MODELS[kind](residual=stored_residual)))
    for name, right in theirs.items():
        scale = float(jnp.abs(right).max())
        layers = right if name.startswith(("encoder.", "decoder.")) else [right]
        assert all(jnp.abs(layer).max() > 0 for layer in layers), name
        np.testing.assert_allclose(ours[name], right, atol=1e-4 * scale, err_msg=name)


# Decoding --------------------------------------------------------------------------------------


@EVERY
def test_every_step_is_the_whole_models(kind):
    model = a_model(kind)
    encode_key, decode_key = jax.random.split(KEY)
    source = jax.jit(lambda model: model.encode(SOURCE, encode_key))(model)
    whole = run(model, SOURCE, TARGET)
    begin = jax.jit(partial(prefill, capacity=20, key=decode_key))
    logits, state = begin(model, TARGET[:2], source=source)
    np.testing.assert_allclose(logits, whole[1], atol=1e-4)
    assert int(state.position) == len(SOURCE) + 2
    one = jax.jit(step)
    for position in range(2, len(TARGET)):
        logits, state = one(model, state, TARGET[position])
        np.testing.assert_allclose(logits, whole[position], atol=1e-4)


def test_a_target_may_fill_max_len():
    """The source's positions are not the target's."""
    model, target = a_model("Terraformer"), np.arange(40) % SIZES.vocab
    source = model.encode(SOURCE)
    _, state = prefill(model, target[:39], capacity=40, source=source)
    logits, _ = step(model, state, jnp.int32(target[39]))
    np.testing.assert_allclose(logits, model.decode(target, source)[39], atol=1e-4)


def test_generating_is_the_loop_over_the_likeliest_token():
    model = jax.tree.map(lambda x: 3 * x, a_model("Terraformer"))  # clear preferences

    def one(tokens):
        source = model.encode(tokens)
        return generate(model, TARGET[:1], 5, KEY, temperature=0, source=source)

    batch = jax.vmap(one)(np.stack([SOURCE, SOURCE[::-1]]))
    for source, written in zip([SOURCE, SOURCE[::-1]], batch, strict=True):
        target = [*TARGET[:1]]
        for _ in range(5):
            target.append(int(run(model, source, np.array(target))[-1].argmax()))
        assert target[1:] == written.tolist()
