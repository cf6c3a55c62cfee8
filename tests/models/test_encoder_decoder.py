"""Encoder and decoder against a loop that anyone can check; what the target may not see."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import EncoderDecoder, Sizes, encoder_decoder, named_parameters, plain_residual
from efftx.models.branch import branches

SIZES = Sizes(n_layers=3, d_model=16, d_ff=24, n_heads=2, d_head=4, max_len=40, vocab=50)


def some_tokens(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(SIZES.vocab, size=length)


@cache
def a_model(seed: int = 0) -> EncoderDecoder:
    return encoder_decoder(jax.random.key(seed), SIZES)


@jax.jit
def run(model, source, target, key=None, key_mask=None):
    return model(source, target, key, key_mask=key_mask)


# The same in loops -----------------------------------------------------------------------------


def logits_by_loops(model: EncoderDecoder, source, target) -> np.ndarray:
    """Both halves as the paper's text has them: block by block, head by head, query by query."""
    model = jax.tree.map(np.asarray, model)
    x = embedded(model, source)
    for block in unstacked(model.encoder):
        inputs = normalised(x, block.attention.norm)
        x = x + attended(block.attention.layer, inputs, inputs, causal=False)
        x = x + fed_forward(block.feed_forward, x)
    encoded = normalised(x, model.encoder_norm)
    y = embedded(model, target)
    for block in unstacked(model.decoder):
        inputs = normalised(y, block.attention.norm)
        y = y + attended(block.attention.layer, inputs, inputs, causal=True)
        inputs = normalised(y, block.cross_attention.norm)
        y = y + attended(block.cross_attention.layer, inputs, encoded, causal=False)
        y = y + fed_forward(block.feed_forward, y)
    return normalised(y, model.readout.norm) @ model.readout.w


def embedded(model, tokens):
    return model.embedding.tokens[tokens] + model.embedding.positions[: len(tokens)]


def unstacked(blocks):
    return [jax.tree.map(lambda stacked, i=i: stacked[i], blocks) for i in range(SIZES.n_layers)]


def normalised(x, norm):
    deviation = np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return (x - x.mean(1, keepdims=True)) / deviation * norm.scale + norm.shift


def fed_forward(branch, x):
    mlp = branch.layer
    return np.maximum(normalised(x, branch.norm) @ mlp.w1 + mlp.b1, 0) @ mlp.w2 + mlp.b2


def attended(layer, x, memory, *, causal):
    out = np.zeros_like(x)
    for head in range(SIZES.n_heads):
        w_q, w_k, w_v = layer.projection.w_in[:, :, head].transpose(1, 0, 2)
        for i, q in enumerate(x @ w_q):
            seen = memory[: i + 1] if causal else memory
            weights = np.exp(seen @ w_k @ q / np.sqrt(len(q)))
            out[i] += weights @ seen @ w_v / weights.sum() @ layer.projection.w_out[head]
    return out


def with_random_parameters(model: EncoderDecoder) -> EncoderDecoder:
    """Norms and biases start at 1 and 0, where a forgotten one would not show."""
    random = np.random.default_rng(5)
    return jax.tree.map(lambda x: x + jnp.float32(0.3 * random.normal(size=x.shape)), model)


@pytest.mark.parametrize(("n_source", "n_target"), [(1, 1), (23, 9), (9, 23), (40, 40)])
def test_logits_are_those_of_the_loops(n_source, n_target):
    model = with_random_parameters(a_model())
    source, target = some_tokens(n_source), some_tokens(n_target, seed=1)
    logits = run(model, source, target)
    assert logits.shape == (n_target, SIZES.vocab)
    expected = logits_by_loops(model, source, target)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


# What is seen and what is not ------------------------------------------------------------------


def changed(tokens: np.ndarray, at: int) -> np.ndarray:
    tokens = tokens.copy()
    tokens[at] = (tokens[at] + 1) % SIZES.vocab
    return tokens


def effect(source, target, changed_source, changed_target) -> np.ndarray:
    """For each position of the target, how much its logits move."""
    before, after = run(a_model(), source, target), run(a_model(), changed_source, changed_target)
    return np.abs(after - before).max(axis=1)


@pytest.mark.parametrize("at", [0, 7, 19])
def test_a_change_of_the_target_changes_nothing_before_it(at):
    source, target = some_tokens(12), some_tokens(20, seed=1)
    moved = effect(source, target, source, changed(target, at))
    assert moved[:at].max(initial=0) < 1e-6
    assert moved[at] > 1e-3


@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_change_of_the_source_changes_every_position_of_the_target(at):
    source, target = some_tokens(12), some_tokens(20, seed=1)
    assert effect(source, target, changed(source, at), target).min() > 1e-4


def test_the_encoder_looks_both_ways():
    source = some_tokens(12)
    encode = jax.jit(lambda model, source: model.encode(source).vectors)
    moved = encode(a_model(), changed(source, 6)) - encode(a_model(), source)
    assert np.abs(moved).max(axis=1).min() > 1e-4


@pytest.mark.parametrize("padded_length", [13, 40])
def test_padding_changes_nothing_whatever_stands_in_it(padded_length):
    source, target = some_tokens(12), some_tokens(20, seed=1)
    padded = np.concatenate([source, some_tokens(padded_length - 12, seed=2)])
    mask = np.arange(padded_length) < 12
    alone = run(a_model(), source, target)
    np.testing.assert_allclose(run(a_model(), padded, target, None, mask), alone, atol=1e-5)
    assert np.abs(run(a_model(), padded, target) - alone).max() > 1e-3  # without the mask


def test_without_any_source_it_is_a_language_model():
    """A source that is nothing but padding: the logits are finite and do not depend on it."""
    target, nothing = some_tokens(8), np.zeros(5, bool)
    one, other = (run(a_model(), some_tokens(5, seed), target, None, nothing) for seed in (2, 3))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, other, atol=1e-6)


# The composition -------------------------------------------------------------------------------


def test_gradients_reach_all_parameters_of_all_layers():
    source, target = some_tokens(SIZES.max_len), some_tokens(SIZES.max_len, seed=1)

    def loss(model):
        return -jax.nn.log_softmax(model(source, target))[:, 3].mean()

    for name, gradient in named_parameters(jax.jit(jax.grad(loss))(a_model())).items():
        assert np.isfinite(gradient).all(), name
        layers = gradient if name.startswith(("encoder.", "decoder.")) else [gradient]
        assert all(np.abs(layer).max() > 0 for layer in layers), name


def test_a_batch_is_its_examples():
    sources, targets = (np.stack([some_tokens(n, n + i) for i in range(3)]) for n in (12, 20))
    masks = np.arange(12) < np.array([[12], [7], [1]])
    batch = jax.jit(lambda model, *xs, key_mask: jax.vmap(model)(*xs, key_mask=key_mask))
    examples = zip(sources, targets, masks, strict=True)
    one_by_one = [run(a_model(), source, target, None, mask) for source, target, mask in examples]
    together = batch(a_model(), sources, targets, key_mask=masks)
    np.testing.assert_allclose(together, np.stack(one_by_one), atol=1e-5)


def test_encoding_once_and_decoding_is_the_whole():
    source, target, mask = some_tokens(12), some_tokens(5, seed=1), np.arange(12) < 9
    encode = jax.jit(lambda model: model.encode(source, key_mask=mask))
    decode = jax.jit(lambda model, encoded: model.decode(target, encoded))
    in_parts = decode(a_model(), encode(a_model()))
    np.testing.assert_allclose(in_parts, run(a_model(), source, target, None, mask), atol=1e-6)


def test_a_new_model_knows_nothing_and_comes_from_its_key():
    source, target = some_tokens(30), some_tokens(40, seed=1)
    logits = run(a_model(), source, target)
    again = encoder_decoder(jax.random.key(0), SIZES)
    np.testing.assert_array_equal(run(again, source, target), logits)
    assert abs(-jax.nn.log_softmax(logits).mean() - np.log(SIZES.vocab)) < 0.05
    assert np.abs(run(a_model(seed=1), source, target) - logits).max() > 0.01


def test_each_branch_of_each_layer_has_its_own_key_and_the_residual_can_be_exchanged():
    drawn, seen = [], []

    def recording_residual(blocks, x, keys, extra=None):
        assert len(keys) == len(branches(blocks))
        for branch_keys in keys:
            drawn.extend(float(jax.random.uniform(key)) for key in branch_keys)
        seen.append(extra)
        return plain_residual(blocks, x, keys, extra)

    model, mask = replace(a_model(), residual=recording_residual), np.ones(5, bool)
    model(some_tokens(5), some_tokens(4), jax.random.key(0), key_mask=mask)
    assert len(set(drawn)) == (2 + 3) * SIZES.n_layers
    assert seen[0].key_mask.all()  # the encoder's branches get the mask
    source = seen[1].source  # the decoder's the encoded source
    assert source.vectors.shape == (5, SIZES.d_model)
    assert source.key_mask is seen[0].key_mask
