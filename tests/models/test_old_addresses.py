"""What was written for the first version's modules goes on."""

import jax

from efftx import models
from efftx.models.layers import Attention, FeedForward, LayerNorm, Sizes
from efftx.models.sparse_attention import init_sparse_lsh_attention


def test_they_lead_to_what_stands_elsewhere_now():
    assert (Sizes, Attention) == (models.Sizes, models.Attention)
    assert (FeedForward, LayerNorm) == (models.FeedForward, models.LayerNorm)
    sizes = Sizes(d_model=8, n_heads=2, d_head=4)
    layer = init_sparse_lsh_attention(jax.random.key(0), sizes, n_hashes=3, n_modules=4)
    assert layer.kind == models.Hashed(n_hashes=3)
    assert layer.projection.d.shape == (8, 4)
    assert layer.n_hashes == 3
    assert models.attention_layer()(jax.random.key(0), sizes).n_hashes == 0
