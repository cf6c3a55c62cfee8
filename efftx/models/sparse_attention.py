"""Sparse QKV at its first address; now it is attention_layer(Hashed(), multiplicative())."""

from efftx.models.attention import Attention, attention_layer
from efftx.models.kinds import Hashed
from efftx.models.layer import Sizes
from efftx.models.projections import multiplicative


def init_sparse_lsh_attention(
    key, sizes: Sizes, *, n_modules: int | None = None, **how
) -> Attention:
    """LSH attention with these n_hashes, chunk_len, n_buckets among sparse projections."""
    return attention_layer(Hashed(**how), multiplicative(n_modules))(key, sizes)
