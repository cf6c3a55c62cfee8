"""What chunking refuses, and that it says what came and what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import chunked_cross_entropy, map_chunks
from efftx.models import Sizes, transformer
from efftx.training.losses import bits_per_byte

X = jnp.ones((10, 4))
W = jnp.ones((4, 7))
TARGETS = np.arange(10) % 7


def double(params, x):
    return 2 * x


def readout(w, x):
    return x @ w


@pytest.mark.parametrize("chunk_len", [0, -3, 2.5, "8", None, True])
def test_chunk_len(chunk_len):
    message = "chunk_len must be a whole number of at least 1; got"
    with pytest.raises(ValueError, match=message):
        map_chunks(double, None, X, chunk_len=chunk_len)
    with pytest.raises(ValueError, match=message):
        chunked_cross_entropy(readout, W, X, TARGETS, chunk_len=chunk_len)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((), "needs at least one array"),
        ((X[:0],), r"at least one position; got float32\[0, 4\]"),
        ((jnp.float32(3),), r"at least one position; got float32\[\]"),
        (([1, 2],), "at least one position; got a int"),
        ((X, X[:9]), r"must have the same length; got float32\[10, 4\] and float32\[9, 4\]"),
    ],
)
def test_arrays(arrays, message):
    with pytest.raises(ValueError, match=message):
        map_chunks(double, None, *arrays, chunk_len=4)


@pytest.mark.parametrize(
    ("f", "came"),
    [
        (lambda params, x: x.sum(), r"float32\[\]"),
        (lambda params, x: x[:-1], r"float32\[3, 4\]"),
        (lambda params, x: (x, x.T[:2]), r"float32\[2, 4\]"),
    ],
)
def test_a_function_that_does_not_return_a_row_for_each_position(f, came):
    message = f"one row for each of the 4 positions that it gets; got {came}"
    with pytest.raises(ValueError, match=message):
        map_chunks(f, None, X, chunk_len=4)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x: map_chunks(f, None, x, chunk_len=4))(X)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (TARGETS[:9], r"targets must be \(10,\) integers, .*; got int64\[9\]"),
        (TARGETS * 1.0, r"got float64\[10\]"),
        (list(TARGETS), "got a list"),
        (TARGETS + 1, r"targets must lie in 0 … 6 \(vocab 7\); got 1 … 7"),
        (TARGETS - 1, "got -1 … 5"),
    ],
)
def test_targets(targets, message):
    with pytest.raises(ValueError, match=message):
        chunked_cross_entropy(readout, W, X, targets, chunk_len=4)


def test_vectors_of_a_whole_batch():
    with pytest.raises(ValueError, match=r"x must be a \(length, width\) array of one example"):
        chunked_cross_entropy(readout, W, jnp.ones((2, 10, 4)), TARGETS, chunk_len=4)


@pytest.mark.parametrize("chunk_len", [0, -3, 2.5])
def test_chunk_len_of_a_model_and_of_a_loss(chunk_len):
    message = f"chunk_len must be a whole number of at least 1; got {chunk_len}"
    sizes = Sizes(n_layers=1, d_model=4, d_ff=4, n_heads=1, d_head=4, max_len=10)
    with pytest.raises(ValueError, match=message):
        transformer(jax.random.key(0), sizes, ff_chunk_len=chunk_len)
    with pytest.raises(ValueError, match=message):
        bits_per_byte(transformer(jax.random.key(0), sizes), TARGETS, chunk_len=chunk_len)
