"""The LSTM against a loop over positions and gates; what it carries and what it cannot see."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import Sizes, named_parameters, recurrent
from efftx.models.recurrent import RecurrentModel
from efftx.training.batches import random_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.optimisers import adamw

SIZES = Sizes(n_layers=3, d_model=16, max_len=1, vocab=50)  # max_len plays no part


def some_tokens(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(SIZES.vocab, size=length)


@cache
def a_model(seed: int = 0) -> RecurrentModel:
    return recurrent(jax.random.key(seed), SIZES)


@jax.jit
def run(model, tokens):
    return model(tokens)


def logits_by_loops(model: RecurrentModel, tokens: np.ndarray) -> np.ndarray:
    """Position by position through all layers; equations and gates written out."""
    model = jax.tree.map(np.asarray, model)
    cells, outputs = (np.zeros((SIZES.n_layers, SIZES.d_model)) for _ in range(2))
    logits = []
    for token in tokens:
        x = model.embedding[token]
        for i in range(SIZES.n_layers):
            w, u, b = model.layers.w_in[i], model.layers.w_state[i], model.layers.b[i]
            forget, take, new, show = (
                x @ w[:, gate] + outputs[i] @ u[:, gate] + b[gate] for gate in range(4)
            )
            cells[i] = sigmoid(forget) * cells[i] + sigmoid(take) * np.tanh(new)
            outputs[i] = sigmoid(show) * np.tanh(cells[i])
            x = x + outputs[i]
        norm = model.readout.norm
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * norm.scale + norm.shift
        logits.append(x @ model.readout.w)
    return np.stack(logits)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("length", [1, 23, 100])
def test_logits_are_those_of_the_loops(length):
    random = np.random.default_rng(5)
    model = jax.tree.map(lambda x: x + jnp.float32(0.3 * random.normal(size=x.shape)), a_model())
    tokens = some_tokens(length)
    np.testing.assert_allclose(
        run(model, tokens), logits_by_loops(model, tokens), rtol=1e-3, atol=1e-4
    )


def test_a_change_changes_nothing_before_it_and_what_comes_after():
    tokens = some_tokens(32)
    for changed_at in (0, 13, 31):
        changed = tokens.copy()
        changed[changed_at] = (changed[changed_at] + 1) % SIZES.vocab
        difference = np.abs(run(a_model(), changed) - run(a_model(), tokens)).max(axis=1)
        assert difference[:changed_at].max(initial=0) < 1e-6
        assert difference[changed_at : changed_at + 4].min() > 1e-5


def test_gradients_reach_all_parameters_of_all_layers():
    def loss(model):
        return -jax.nn.log_softmax(model(np.arange(SIZES.vocab)))[:, 3].mean()

    for name, gradient in named_parameters(jax.jit(jax.grad(loss))(a_model())).items():
        assert np.isfinite(gradient).all(), name
        layers = gradient if name.startswith("layers.") else [gradient]
        assert all(np.abs(layer).max() > 0 for layer in layers), name


def test_a_batch_is_its_examples():
    batch = np.stack([some_tokens(20, seed) for seed in range(3)])
    one_by_one = np.stack([run(a_model(), tokens) for tokens in batch])
    np.testing.assert_allclose(jax.jit(jax.vmap(a_model()))(batch), one_by_one, atol=1e-5)


def test_a_new_model_knows_nothing_and_comes_from_its_key():
    tokens = some_tokens(40)
    logits = run(a_model(), tokens)
    np.testing.assert_array_equal(run(recurrent(jax.random.key(0), SIZES), tokens), logits)
    assert abs(-jax.nn.log_softmax(logits).mean() - np.log(SIZES.vocab)) < 0.05
    assert np.abs(run(a_model(seed=1), tokens) - logits).max() > 0.01


def test_it_is_trained_and_measured_like_a_transformer():
    text = np.frombuffer(b"Peter Piper picked a peck of pickled peppers; a peck.", np.uint8)
    model = recurrent(jax.random.key(0), Sizes(n_layers=1, d_model=64))
    state = train(
        model,
        loss=partial(bits_per_byte, chunk_len=8),
        batch_at=lambda step: random_windows(text, seed=0, step=step, length=32, batch=4),
        optimiser=adamw(300, peak=2e-2),
        n_steps=300,
        progress=False,
    )
    losses = np.asarray(state.losses)
    assert losses[0] == pytest.approx(8, abs=0.5)
    assert losses[-10:].mean() < 0.5
    assert bits_per_byte(state.model, text[:33]) < 1
