"""The recurrent branch, and the presets: a step gives what the whole model gives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    Hashed,
    Sizes,
    attention_layer,
    hardened,
    multiplicative,
    prefill,
    scaling_transformer,
    step,
    terraformer,
    terraformer_with_encoder,
)
from efftx.models.sru import fading_sum, fading_sum_reference
from efftx.training.batches import random_windows
from efftx.training.corpora import python_documentation
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.number_words import number_words
from efftx.training.optimisers import adamw
from efftx.training.translation import (
    as_arrays,
    bleu,
    random_pairs,
    translate,
    translation_loss,
)

SIZES = Sizes(n_layers=2, d_model=16, d_ff=32, n_heads=4, d_head=4, max_len=40, vocab=30)
SOURCE = np.arange(11) % 7 + 3
HOW = {"n_units": 4}


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("length", [1, 2, 13])
def test_a_fading_sum_is_the_loop(length):
    f, u, start = jax.nn.sigmoid(random(length, 3)), random(length, 3, seed=1), random(3)
    run = lambda sum_: jax.vjp(sum_, f, u, start)  # noqa: E731
    (ours, our_back), (theirs, their_back) = run(fading_sum), run(fading_sum_reference)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), our_back(u), their_back(u))


def test_an_sru_by_hand():
    layer = terraformer(jax.random.key(0), SIZES, **HOW).blocks.feed_forward.layer
    sru = jax.tree.map(lambda x: x[0], layer.sru)
    x, sigmoid = random(5, 32), lambda z: 1 / (1 + np.exp(-z))
    c, (w, w_f, w_r) = np.zeros(32), np.moveaxis(np.asarray(sru.w), 1, 0)
    for x_t, mine in zip(np.asarray(x), sru(x)[0], strict=True):
        f, r = sigmoid(x_t @ w_f + sru.b[0]), sigmoid(x_t @ w_r + sru.b[1])
        c = f * c + (1 - f) * (x_t @ w)
        np.testing.assert_allclose(mine, r * np.tanh(c) + (1 - r) * x_t, atol=1e-5)
    np.testing.assert_allclose(sru(x)[1], c, atol=1e-5)


MODELS = {
    "Scaling Transformer": scaling_transformer,
    "Terraformer": terraformer,
    "Terraformer with LSH": partial(
        terraformer,
        attention=attention_layer(Hashed(n_hashes=2, chunk_len=32, n_buckets=4), multiplicative()),
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_gives_what_the_whole_model_gives(kind):
    model, key = MODELS[kind](jax.random.key(0), SIZES, **HOW), jax.random.key(1)
    whole = jax.jit(lambda model: hardened(model)(SOURCE, key))(model)
    logits, state = prefill(model, SOURCE[:4], capacity=20, key=key)
    np.testing.assert_allclose(logits, whole[3], atol=1e-4)
    one = jax.jit(step)
    for position in range(4, len(SOURCE)):
        logits, state = one(model, state, SOURCE[position])
        np.testing.assert_allclose(logits, whole[position], atol=1e-4)


# Learning -------------------------------------------------------------------------------------


def test_it_learns_to_translate():
    """By the hard masks, too, with which it translates."""
    task = number_words(n_train=20, n_held_out=1)
    arrays = as_arrays(task.vocabulary, task.train)
    sizes = Sizes(
        n_layers=1,
        d_model=64,
        d_ff=256,
        n_heads=4,
        d_head=16,
        max_len=16,
        vocab=len(task.vocabulary),
    )
    state = train(
        terraformer_with_encoder(jax.random.key(0), sizes, n_units=8),
        loss=translation_loss,
        batch_at=lambda step: random_pairs(*arrays, seed=0, step=step, batch=16),
        optimiser=adamw(250, peak=5e-3),
        n_steps=250,
        progress=False,
    )
    losses = np.asarray(state.losses)
    assert losses[0] == pytest.approx(np.log(len(task.vocabulary)), abs=0.4)
    assert losses[-10:].mean() < 0.3
    sources, references = zip(*task.train, strict=True)
    translations = translate(state.model, task.vocabulary, sources, max_len=14)
    assert bleu(translations, references, task.vocabulary) > 80


def test_it_learns_text():
    text = python_documentation().train
    sizes = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=64)
    state = train(
        terraformer(jax.random.key(0), sizes, n_units=8),
        loss=bits_per_byte,
        batch_at=lambda step: random_windows(text, seed=0, step=step, length=64, batch=16),
        optimiser=adamw(150, peak=5e-3),
        n_steps=150,
        progress=False,
    )
    losses = np.asarray(state.losses)
    assert losses[0] == pytest.approx(8, abs=0.3)  # knowing nothing costs 8 bits a byte
    assert losses[-10:].mean() < 4
