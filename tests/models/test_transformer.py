"""The composition against a loop that anyone can check, and what it promises about the future."""

from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    Blocked,
    Exact,
    LanguageModel,
    Shared,
    Sizes,
    attention_layer,
    init_feed_forward,
    language_model,
    named_parameters,
    plain_residual,
    transformer,
)

SIZES = Sizes(n_layers=3, d_model=16, d_ff=24, n_heads=2, d_head=4, max_len=40, vocab=50)
KINDS = {
    "full": Exact(),
    "blocked": Blocked(),
    "shared": Shared(),
}


def some_tokens(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(SIZES.vocab, size=length)


@cache
def a_model(kind: str = "full", seed: int = 0) -> LanguageModel:
    return transformer(jax.random.key(seed), SIZES, kind=KINDS[kind])


@jax.jit
def run(model, tokens, key=None):
    return model(tokens, key)


def logits_by_loops(model: LanguageModel, tokens: np.ndarray, attend_one_head) -> np.ndarray:
    """The Transformer as the paper's text has it: layer by layer, head by head."""
    model = jax.tree.map(np.asarray, model)
    x = model.embedding.tokens[tokens] + model.embedding.positions[: len(tokens)]
    for layer in range(SIZES.n_layers):
        block = jax.tree.map(lambda stacked, layer=layer: stacked[layer], model.blocks)
        inputs, w_in = normalised(x, block.attention.norm), block.attention.layer.projection.w_in
        for head in range(SIZES.n_heads):
            vectors = [inputs @ w_in[:, i, head] for i in range(w_in.shape[1])]
            x = x + attend_one_head(*vectors) @ block.attention.layer.projection.w_out[head]
        inputs, mlp = normalised(x, block.feed_forward.norm), block.feed_forward.layer
        x = x + np.maximum(inputs @ mlp.w1 + mlp.b1, 0) @ mlp.w2 + mlp.b2
    return normalised(x, model.readout.norm) @ model.readout.w


def normalised(x, norm):
    deviation = np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return (x - x.mean(1, keepdims=True)) / deviation * norm.scale + norm.shift


def attend_one_by_one(q, k, v):
    """Each position in turn to all up to itself."""
    weights = [np.exp(k[: i + 1] @ q[i] / np.sqrt(q.shape[1])) for i in range(len(q))]
    return np.stack([w @ v[: len(w)] / w.sum() for w in weights])


def share_one_by_one(qk, v):
    """Each position to all before it, to itself only where there are none."""
    k = qk / np.linalg.norm(qk, axis=1, keepdims=True)
    weights = [np.exp(k[:i] @ qk[i]) for i in range(1, len(qk))]
    return np.stack([v[0]] + [w @ v[: len(w)] / w.sum() for w in weights])


def with_random_parameters(model: LanguageModel) -> LanguageModel:
    """Norms and biases start at 1 and 0, where a forgotten one would not show."""
    random = np.random.default_rng(5)
    return jax.tree.map(lambda x: x + jnp.float32(0.3 * random.normal(size=x.shape)), model)


@pytest.mark.parametrize("length", [1, 23, 40])
@pytest.mark.parametrize(
    ("kind", "attend_one_head"),
    [
        ("full", attend_one_by_one),
        ("blocked", attend_one_by_one),
        ("shared", share_one_by_one),
    ],
)
def test_logits_are_those_of_the_loops(kind, attend_one_head, length):
    model, tokens = with_random_parameters(a_model(kind)), some_tokens(length)
    logits = run(model, tokens)
    assert logits.shape == (length, SIZES.vocab)
    expected = logits_by_loops(model, tokens, attend_one_head)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_changes_nothing_before_it(kind):
    model, tokens = a_model(kind), some_tokens(32)
    for changed_at in (0, 13, 31):
        changed = tokens.copy()
        changed[changed_at] = (changed[changed_at] + 1) % SIZES.vocab
        difference = np.abs(run(model, changed) - run(model, tokens)).max(axis=1)
        assert difference[:changed_at].max(initial=0) < 1e-6
        assert difference[changed_at] > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_all_parameters_of_all_layers(kind):
    tokens = some_tokens(SIZES.max_len)

    def loss(model):
        return -jax.nn.log_softmax(model(tokens))[:, 3].mean()

    for name, gradient in named_parameters(jax.jit(jax.grad(loss))(a_model(kind))).items():
        assert np.isfinite(gradient).all(), name
        layers = gradient if name.startswith("blocks.") else [gradient]
        assert all(np.abs(layer).max() > 0 for layer in layers), name


def test_a_batch_is_its_examples():
    model = a_model()
    batch = np.stack([some_tokens(20, seed) for seed in range(3)])
    one_by_one = np.stack([run(model, tokens) for tokens in batch])
    np.testing.assert_allclose(jax.jit(jax.vmap(model))(batch), one_by_one, atol=1e-5)


def test_bytes_are_tokens():
    tokens = some_tokens(20)
    np.testing.assert_array_equal(
        run(a_model(), tokens.astype(np.uint8)), run(a_model(), tokens.astype(np.int32))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_model_knows_nothing_and_comes_from_its_key(kind):
    """It gives every token nearly the same probability, and other keys give other models."""
    tokens = some_tokens(SIZES.max_len)
    logits = run(a_model(kind), tokens)
    again = transformer(jax.random.key(0), SIZES, kind=KINDS[kind])
    np.testing.assert_array_equal(run(again, tokens), logits)
    assert abs(-jax.nn.log_softmax(logits).mean() - np.log(SIZES.vocab)) < 0.05
    assert np.abs(run(a_model(kind, seed=1), tokens) - logits).max() > 0.01


def test_layers_start_different():
    w1 = a_model().blocks.feed_forward.layer.w1
    assert w1.shape == (3, 16, 24)
    assert np.abs(w1[0] - w1[1]).max() > 0.1


@dataclass(frozen=True, kw_only=True)
class Noisy(Exact):
    """A kind that draws numbers: full attention plus noise on every head's output."""

    def attend(self, vectors, key, replay, key_mask):
        out, _ = super().attend(vectors, key, replay, key_mask)
        return out + 0.1 * jax.random.normal(key, out.shape), None


def test_keys_reach_every_layer_and_replay():
    init = attention_layer(Noisy())
    model = language_model(jax.random.key(0), SIZES, init, init_feed_forward, plain_residual)
    tokens, key = some_tokens(12), jax.random.key(7)
    logits = run(model, tokens, key)
    np.testing.assert_array_equal(run(model, tokens, key), logits)
    assert np.abs(run(model, tokens, jax.random.key(8)) - logits).max() > 1e-3


def test_each_branch_of_each_layer_has_its_own_key():
    drawn = []

    def recording_residual(blocks, x, keys, extra):
        for branch_keys in keys:
            drawn.extend(float(jax.random.uniform(key)) for key in branch_keys)
        return plain_residual(blocks, x, keys)

    replace(a_model(), residual=recording_residual)(some_tokens(5), jax.random.key(0))
    assert len(set(drawn)) == 2 * SIZES.n_layers


def test_attention_and_residual_can_be_exchanged():
    """The two exchanges that make a Reformer: here two streams with shared-QK attention."""

    def two_streams(blocks, x, keys, extra):
        def step(streams, block_and_keys):
            block, (attention_key, feed_forward_key) = block_and_keys
            y1 = streams[0] + block.attention(streams[1], attention_key)[0]
            return (y1, streams[1] + block.feed_forward(y1, feed_forward_key)[0]), None

        y1, y2 = jax.lax.scan(step, (x, x), (blocks, keys))[0]
        return (y1 + y2) / 2

    init = attention_layer(Shared())
    model = language_model(jax.random.key(0), SIZES, init, init_feed_forward, two_streams)
    plain = transformer(jax.random.key(0), SIZES, kind=Shared())
    tokens = some_tokens(12)
    assert jax.tree.map(jnp.shape, named_parameters(model)) == jax.tree.map(
        jnp.shape, named_parameters(plain)
    )
    assert np.abs(run(model, tokens) - run(plain, tokens)).max() > 1e-3


def test_depth_compiles_once():
    """Twice the layers is the same program with a longer scan, not a longer program."""

    def program_length(n_layers):
        sizes = replace(SIZES, n_layers=n_layers)
        model = jax.eval_shape(lambda: transformer(jax.random.key(0), sizes))
        return len(run.lower(model, some_tokens(8)).as_text().splitlines())

    assert program_length(8) == program_length(4)


def test_all_branches_together_add_variance_one():
    """What each adds at the start is so small because there are 2 · n_layers of them."""
    sizes = Sizes(n_layers=8, d_model=64, d_ff=512, n_heads=4, d_head=16)
    block = transformer(jax.random.key(0), sizes).blocks
    for last, fan_in in (
        (block.feed_forward.layer.w2, 512),
        (block.attention.layer.projection.w_out, 64),
    ):
        assert float(last.std()) * fan_in**0.5 * 16**0.5 == pytest.approx(1, rel=0.03)
