"""Formulas against arrays that are counted, and the paper's sizes."""

import numpy as np
import pytest

from efftx.sparsity import (
    n_dense_attention,
    n_dense_feed_forward,
    n_multiplicative,
    n_sparse_feed_forward,
    n_sparse_qkv,
    widened_d_ff,
)

MEDIUM = {"n_modules": 16, "n_units": 64}


def test_the_papers_formula_of_the_multiplicative_layer():
    d_model, n_modules = 1024, 16
    papers = n_modules * d_model + d_model**2 // n_modules
    assert n_multiplicative(d_model, n_modules, d_model // n_modules) == papers


def test_sparse_qkv_of_a_medium_model_by_hand():
    assert n_sparse_qkv(1024, 16) == 16 * 1024 + 1024 * 64 + 3 * 9 * 64 * 64 == 192_512
    assert n_sparse_qkv(1024, 16, n_projections=2) == 192_512 - 9 * 64 * 64
    assert n_dense_attention(1024) == 4 * 1024**2


def test_the_papers_balance_leaves_the_block_within_two_percent():
    """d_ff + 2·d_model: 12.6 million against 12.8, controllers apart."""
    dense = n_dense_attention(1024) + n_dense_feed_forward(1024, 4096)
    sparse = n_sparse_qkv(1024, 16) + n_dense_feed_forward(1024, 4096 + 2 * 1024)
    assert round(dense / 1e6, 1) == 12.6
    assert round(sparse / 1e6, 1) == 12.8


@pytest.mark.parametrize("d_lowrank", [None, 1, 40])
@pytest.mark.parametrize("n_projections", [2, 3])
@pytest.mark.parametrize("d_ff", [512, 1000, 4096])
def test_one_more_block_would_be_too_many(d_ff, n_projections, d_lowrank):
    def sparse(width):
        attention = n_sparse_qkv(1024, 16, n_projections)
        return attention + n_sparse_feed_forward(1024, width, 64, d_lowrank)

    width = widened_d_ff(1024, d_ff, **MEDIUM, d_lowrank=d_lowrank, n_projections=n_projections)
    dense = n_dense_attention(1024, n_projections) + n_dense_feed_forward(1024, d_ff)
    assert width % 64 == 0
    assert sparse(width) <= dense < sparse(width + 64)


def test_a_medium_models_width():
    """Below the paper's 6144, since the controller is counted."""
    assert widened_d_ff(1024, 4096, **MEDIUM) == 5952


def test_counts_are_whole_numbers():
    assert isinstance(n_sparse_feed_forward(1024, 4096, 64), int)
    assert np.isclose(
        n_sparse_feed_forward(1024, 4096, 64) / n_dense_feed_forward(1024, 4096), 1, atol=0.01
    )
