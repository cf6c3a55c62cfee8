"""What adapters and stores of few bits refuse, and that they say what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.memory import (
    LowRank,
    init_low_rank,
    low_rank_product,
    merged,
    quantize_four_bits,
    stored,
)
from efftx.models import Sizes, adapted, grouped, in_bits, init_adapters, llama, transformer

KEY, W = jax.random.key(0), jnp.ones((6, 4))
SIZES = Sizes(n_layers=1, d_model=8, d_ff=8, n_heads=2, d_head=4, max_len=8, vocab=5)
MODEL = transformer(KEY, SIZES)


@pytest.mark.parametrize("rank", [0, -1, 5, 1.0, True, None])
def test_rank(rank):
    with pytest.raises(ValueError, match=r"rank must be (a whole number|from 1 to 4)"):
        init_low_rank(KEY, W, rank=rank)
    if rank != 5:
        with pytest.raises(ValueError, match=r"rank must be a whole number of at least 1; got"):
            init_adapters(KEY, MODEL, "*", rank=rank)


@pytest.mark.parametrize("alpha", [0, -1.0, np.inf, "4", True])
def test_alpha(alpha):
    with pytest.raises(ValueError, match="alpha must be a positive number; got"):
        init_low_rank(KEY, W, rank=1, alpha=alpha)


@pytest.mark.parametrize("w", [W[0], W.astype(jnp.int32), 3.0, None])
def test_no_matrix(w):
    with pytest.raises(ValueError, match="is one of a floating-point matrix; got"):
        init_low_rank(KEY, w, rank=1)


def test_changes_of_another_shape():
    for other in (jnp.ones((4, 6)), jnp.ones((6, 5)), jnp.ones((2, 6, 4))):
        change = init_low_rank(KEY, other, rank=1)
        with pytest.raises(ValueError, match=r"is none of a matrix of \(6, 4\)"):
            merged(W, LowRank(change.a[..., :1], change.b, 1.0))
    with pytest.raises(ValueError, match=r"x must be \(length, \*in\) with \(6,\) for \*in; got"):
        low_rank_product(jnp.ones((3, 4)), W, init_low_rank(KEY, W, rank=1))


@pytest.mark.parametrize("names", ["*.query", "blocks.*.scale", ("*.w1", "nothing")])
def test_names_that_match_nothing(names):
    with pytest.raises(ValueError, match="matches no matrix of this model; they are embedding"):
        init_adapters(KEY, MODEL, names, rank=1)


def test_no_names():
    with pytest.raises(ValueError, match="names must be a pattern, or several; got none"):
        init_adapters(KEY, MODEL, (), rank=1)


def test_adapters_of_another_model():
    adapters = init_adapters(KEY, llama(KEY, SIZES), "*.gate", rank=1)
    with pytest.raises(ValueError, match=r"no matrix called blocks.feed_forward.layer.gate"):
        adapted(MODEL, adapters)


@pytest.mark.parametrize("bits", [2, 16, 32, "8"])
def test_bits_of_a_model(bits):
    with pytest.raises(ValueError, match="bits must be 8 or 4; got"):
        in_bits(MODEL, bits)
    with pytest.raises(ValueError, match="bits must be 32 or 8 or 4; got 5"):
        stored(W, 5)


def test_bits_twice():
    with pytest.raises(ValueError, match="are stored in fewer bits already"):
        in_bits(in_bits(MODEL, 8), 4)


@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        (W * 1e5, {}, "ends at 65,504; got a number of size 100,000"),
        (W * np.nan, {}, "are infinite or NaN"),
        (W[:0], {}, "nothing to quantize in an empty array"),
        (W, {"axis": 2}, "axis must be one of the 2 axes"),
        (W, {"block_len": 3}, "block_len must be even; got 3"),
        (W, {"block_len": 0}, "block_len must be a whole number of at least 1; got 0"),
    ],
)
def test_four_bits(x, how, message):
    with pytest.raises(ValueError, match=message):
        quantize_four_bits(x, **how)


def test_groups():
    with pytest.raises(ValueError, match="n_heads must be a multiple of n_groups; got 2 and 3"):
        llama(KEY, SIZES, n_groups=3)
    with pytest.raises(ValueError, match="n_groups must be a whole number of at least 1; got 0"):
        grouped(0)
