"""The multiplicative readout: any vocabulary, and a quarter of the parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import chunked_cross_entropy, cross_entropy_reference
from efftx.sparsity import multiplicative_logits, multiplicative_logits_reference

D = 6


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)


def readout(vocab, n_modules, dtype=jnp.float32):
    d, e = random(D, n_modules, seed=1), random(D, -(-vocab // n_modules), seed=2)
    return d.astype(dtype), e.astype(dtype)


@pytest.mark.parametrize("length", [1, 7, 40])
@pytest.mark.parametrize(("vocab", "n_modules"), [(1, 1), (8, 4), (33, 4), (30, 7), (5, 8)])
def test_values_and_gradients_are_those_of_the_definition(length, vocab, n_modules):
    x, factors = random(length, D), readout(vocab, n_modules)

    def run(logits):
        y, pull_back = jax.vjp(lambda x, d, e: logits(x, d, e, vocab), x, *factors)
        return y, pull_back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    ours, theirs = run(multiplicative_logits), run(multiplicative_logits_reference)
    assert ours[0].shape == (length, vocab)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, theirs)


def test_other_dtypes():
    x, factors = random(7, D, dtype=jnp.bfloat16), readout(33, 4, jnp.bfloat16)
    assert multiplicative_logits(x, *factors, 33).dtype == jnp.bfloat16


def test_its_loss_in_chunks():
    """As a readout of the chunked loss: the same loss, with one chunk's logits at a time."""
    x, targets = random(50, D), np.arange(50) % 33
    score = lambda factors, x: multiplicative_logits(x, *factors, 33)  # noqa: E731
    ours = chunked_cross_entropy(score, readout(33, 4), x, targets, chunk_len=16)
    right = cross_entropy_reference(score, readout(33, 4), x, targets)
    np.testing.assert_allclose(ours, right, rtol=1e-5)
