"""The Reformer: a Transformer with two parts exchanged.

Its attention is among vectors that a hash finds alike, so that time is linear in the length; its
residual has two streams and rebuilds its activations, so that memory is flat in the depth. What is
wide inside a layer exists for a chunk of positions, or for one head, at a time.

>>> import jax
>>> import jax.numpy as jnp
>>> model = reformer(jax.random.key(0), Sizes(n_layers=2), attention=lsh(n_hashes=2))
>>> model(jnp.arange(5), jax.random.key(1)).shape  # the key of its hashes
(5, 256)

Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
from jaxtyping import Array, Key

from efftx.models.attention import Attention, attention_layer
from efftx.models.chunked import chunked
from efftx.models.embedding import init_embedding
from efftx.models.feed_forward import init_feed_forward
from efftx.models.kind import Kind
from efftx.models.kinds import Hashed, Local, Shared
from efftx.models.layer import Sizes
from efftx.models.parameters import Tree
from efftx.models.residuals import Residual, reversible_residual
from efftx.models.transformer import LanguageModel, language_model
from efftx.validation import check_positive

# A million positions on a CPU take about 7.5 GiB in a training step, see
# experiments/million_tokens.py.
MILLION_TOKENS = Sizes(n_layers=6, d_model=256, d_ff=1024, n_heads=4, d_head=64, max_len=2**20)
# For a free GPU or TPU of 16 GB, at 2**18 positions, with Adam. Compiled for both, run on neither:
# 10.0 GiB at the peak on an NVIDIA T4, and 10.5 on a TPU v5e, which sets 14.7 aside, see
# benchmarks/accelerators.py.
SIXTEEN_GB = Sizes(n_layers=24, d_model=1024, d_ff=4096, n_heads=16, d_head=64, max_len=2**18)


def lsh(**how) -> Callable:
    """A layer of LSH attention with these n_hashes, chunk_len, n_buckets, rotary; see `Hashed`.

    Raises ValueError for numbers below 1, and an odd n_buckets.
    """
    return attention_layer(Hashed(**how))


def local(**how) -> Callable:
    """A layer of local attention with this chunk_len, rotary; see `Local`.

    Raises ValueError for chunk_len < 1.
    """
    return attention_layer(Local(**how))


def reformer(
    key: Key[Array, ""],
    sizes: Sizes,
    *,
    attention: Callable | tuple[Callable, ...] = lsh(),  # noqa: B008 (a constant)
    ff_chunk_len: int = 1024,
    positions: str = "axial",
    residual: Residual | Callable = reversible_residual,
) -> LanguageModel:
    """A language model with LSH attention, reversible residuals and chunked feed-forward layers.

    ``attention`` is one kind of layer, or a pattern that repeats with the depth, as in
    ``(local(), local(), lsh(n_hashes=4))``; see `lsh` and `local`. ``positions`` are "axial",
    "learned" or "none" (with rotary layers). Any length up to max_len, and with "none" any at all.
    For very long sequences take the loss in chunks, too: ``partial(bits_per_byte, chunk_len=…)``.

    Raises ValueError unless n_layers is a multiple of the pattern's length.
    """
    feed_forward = chunked(init_feed_forward, ff_chunk_len)
    embedding = partial(init_embedding, positions=positions)
    return language_model(key, sizes, attention, feed_forward, residual, embedding)


def with_rounds(model: Tree, n_hashes: int | None, *, chunk_len: int = 64) -> Tree:
    """The same parameters, evaluated with another number of hashing rounds; None: exactly.

    Exchanges the kind of every layer whose queries are its keys, hashed or exact, dense or sparse,
    causal or not. ``chunk_len`` is for layers that had none before. Raises ValueError for numbers
    below 1.

    >>> import jax
    >>> model = reformer(jax.random.key(0), Sizes(n_layers=1), attention=lsh(n_hashes=4))
    >>> with_rounds(model, 8).blocks.attention.layer.kind.n_hashes
    8
    >>> with_rounds(model, None).blocks.attention.layer.kind
    Shared(causal=True, rotary=False, longest=10000.0)
    """
    if n_hashes is not None:
        check_positive(n_hashes=n_hashes, chunk_len=chunk_len)

    def is_attention(part) -> bool:
        return isinstance(part, Attention)

    def exchanged(part):
        if not is_attention(part) or not isinstance(part.kind, Shared):
            return part
        return replace(part, kind=_in_rounds(part.kind, n_hashes, chunk_len))

    return jax.tree.map(exchanged, model, is_leaf=is_attention)


def _in_rounds(kind: Shared, n_hashes: int | None, chunk_len: int) -> Kind:
    alike = {"causal": kind.causal, "rotary": kind.rotary}
    if n_hashes is None:
        return Shared(**alike)
    if isinstance(kind, Hashed):
        return replace(kind, n_hashes=n_hashes)
    return Hashed(**alike, n_hashes=n_hashes, chunk_len=chunk_len)
