"""The recurrent branch, and the presets: a step gives what the whole model gives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models.decoding import prefill, step
from efftx.models.layers import Sizes
from efftx.models.sparse_attention import init_sparse_lsh_attention
from efftx.models.sparse_layers import hardened
from efftx.models.sru import fading_sum, fading_sum_reference
from efftx.models.terraformer import (
    scaling_transformer,
    terraformer,
)

SIZES = Sizes(n_layers=2, d_model=16, d_ff=32, n_heads=4, d_head=4, max_len=40, vocab=30)
SOURCE, TARGET = np.arange(11) % 7 + 3, np.arange(9) % 5 + 3
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
        attention=partial(init_sparse_lsh_attention, n_hashes=2, chunk_len=32, n_buckets=4),
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
