"""What sparse models refuse, and that they say what came and what would be right."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from efftx.models.decoding import prefill
from efftx.models.layers import Sizes
from efftx.models.sparse_attention import init_sparse_attention, init_sparse_lsh_attention
from efftx.models.sparse_layers import init_multiplicative_readout, init_sparse_feed_forward
from efftx.models.sru import with_sru
from efftx.models.terraformer import terraformer_with_encoder

SIZES = Sizes(d_model=8, d_ff=32, n_heads=2, d_head=4, vocab=10)
KEY = jax.random.key(0)
FULL = partial(init_sparse_attention, n_projections=3, attend=max)


def test_d_ff_that_n_does_not_divide():
    with pytest.raises(ValueError, match=r"d_ff must be a multiple of N = 5, .* got 32\."):
        init_sparse_feed_forward(KEY, SIZES, n_units=5)


@pytest.mark.parametrize("d_lowrank", [0, -1, 2.5])
def test_d_lowrank(d_lowrank):
    with pytest.raises(ValueError, match=f"d_lowrank must be a whole number .* got {d_lowrank}"):
        init_sparse_feed_forward(KEY, SIZES, n_units=4, d_lowrank=d_lowrank)


@pytest.mark.parametrize("init", [FULL, init_sparse_lsh_attention])
def test_heads_and_modules_that_do_not_fill_d_model(init):
    with pytest.raises(ValueError, match=r"n_heads · d_head must be d_model; got 2 · 3 and 8\."):
        init(KEY, replace(SIZES, d_head=3))
    with pytest.raises(ValueError, match=r"d_model must be a multiple of S = 3, .* got 8"):
        init(KEY, SIZES, n_modules=3)


@pytest.mark.parametrize(
    ("init", "name"),
    [
        (partial(init_multiplicative_readout, n_modules=0), "n_modules"),
        (partial(init_sparse_lsh_attention, n_hashes=0), "n_hashes"),
        (partial(init_sparse_lsh_attention, chunk_len=0), "chunk_len"),
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
