"""What sparse models refuse, and that they say what came and what would be right."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from efftx.models import (
    Blocked,
    Exact,
    Hashed,
    Local,
    Sizes,
    attention_layer,
    multiplicative,
    prefill,
    sparse_feed_forward,
    terraformer_with_encoder,
    with_sru,
)
from efftx.models.readouts import init_multiplicative_readout
from efftx.models.sparse_feed_forward import init_sparse_feed_forward

SIZES = Sizes(d_model=8, d_ff=32, n_heads=2, d_head=4, vocab=10)
KEY = jax.random.key(0)
KINDS = {"exact": Exact(), "hashed": Hashed()}


def test_d_ff_that_n_does_not_divide():
    with pytest.raises(ValueError, match=r"d_ff must be a multiple of N = 5, .* got 32\."):
        init_sparse_feed_forward(KEY, SIZES, n_units=5)


@pytest.mark.parametrize("d_lowrank", [0, -1, 2.5])
def test_d_lowrank(d_lowrank):
    with pytest.raises(ValueError, match=f"d_lowrank must be a whole number .* got {d_lowrank}"):
        init_sparse_feed_forward(KEY, SIZES, n_units=4, d_lowrank=d_lowrank)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_and_modules_that_do_not_fill_d_model(kind):
    of = lambda *modules: attention_layer(KINDS[kind], multiplicative(*modules))  # noqa: E731
    with pytest.raises(ValueError, match=r"n_heads · d_head must be d_model; got 2 · 3 and 8\."):
        of()(KEY, replace(SIZES, d_head=3))
    with pytest.raises(ValueError, match=r"d_model must be a multiple of S = 3, .* got 8"):
        of(3)(KEY, SIZES)


@pytest.mark.parametrize(
    ("init", "name"),
    [
        (partial(init_multiplicative_readout, n_modules=0), "n_modules"),
        (lambda *_: Hashed(n_hashes=0), "n_hashes"),
        (lambda *_: Hashed(chunk_len=0), "chunk_len"),
        (lambda *_: Hashed(n_buckets=0), "n_buckets"),
        (lambda *_: Local(chunk_len=0), "chunk_len"),
        (lambda *_: Blocked(block_len=0), "block_len"),
        (lambda *_: sparse_feed_forward(n_units=0), "n_units"),
    ],
)
def test_numbers_below_one(init, name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got 0"):
        init(KEY, SIZES)


def test_an_sru_without_a_state():
    with pytest.raises(ValueError, match="d_state must be a whole number of at least 1; got 0"):
        with_sru(init_sparse_feed_forward, 0)


def test_a_decoder_that_reads_its_source_first():
    model = terraformer_with_encoder(KEY, SIZES, n_units=4)
    tokens, mask = np.arange(5), np.arange(5) < 3
    with pytest.raises(ValueError, match="reads a source first: pass source="):
        prefill(model, tokens, capacity=8)
    with pytest.raises(ValueError, match="a source without padding"):
        prefill(model, tokens, capacity=8, source=model.encode(tokens, key_mask=mask))
    with pytest.raises(ValueError, match=r"key_mask must have shape \(5,\)"):
        model(tokens, tokens, key_mask=mask[:4])
