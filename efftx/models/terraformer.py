"""Scaling Transformers and the Terraformer: all that is dense made sparse.

A Scaling Transformer is a Transformer with three parts exchanged: sparse feed-forward, sparse QKV
and, if one likes, a sparse readout. A Terraformer is also reversible, as the Reformer is, and has a
small recurrent branch in its feed-forward layers.

>>> import jax
>>> import jax.numpy as jnp
>>> from efftx.sparsity import widened_d_ff
>>> sizes = Sizes(d_ff=widened_d_ff(128, 512, n_modules=4, n_units=16))
>>> model = terraformer(jax.random.key(0), sizes, n_units=16)
>>> model(jnp.arange(5), jax.random.key(1)).shape  # in training; without a key masks are hard
(5, 256)

Both are language models. From a source to a target goes `terraformer_with_encoder`, whose decoder
reads the encoder's output and then the target; for long sources take ``**lsh_attentions()``.

Source: Jaszczur et al. 2021, arXiv 2111.12763.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
from jaxtyping import Array, Key

from efftx.models.attention import attention_layer
from efftx.models.kinds import Blocked, Exact, Hashed
from efftx.models.layer import Sizes
from efftx.models.parameters import Tree
from efftx.models.projections import multiplicative
from efftx.models.readouts import init_multiplicative_readout
from efftx.models.residuals import Residual, plain_residual, reversible_residual
from efftx.models.source_first import SourceFirst, source_first
from efftx.models.sparse_feed_forward import init_sparse_feed_forward
from efftx.models.sru import with_sru
from efftx.models.transformer import LanguageModel, language_model

SRU_WIDTH = 32
SPARSE_QKV = attention_layer(Blocked(), multiplicative())
SPARSE_QKV_BOTH_WAYS = attention_layer(Exact(causal=False), multiplicative())


def scaling_transformer(
    key: Key[Array, ""],
    sizes: Sizes,
    *,
    n_units: int = 64,
    d_lowrank: int | None = None,
    attention: Callable = SPARSE_QKV,
    readout_modules: int = 4,
    residual: Residual | Callable = plain_residual,
    sru: int | None = None,
) -> LanguageModel:
    """A language model with sparse feed-forward layers, sparse QKV and a sparse readout.

    One unit in each block of N = n_units is on. ``attention`` is an ``init(key, sizes)``, as
    ``attention_layer(Hashed(), multiplicative())``; with ``sru`` feed-forward layers have an SRU of
    this width.

    Raises ValueError unless N divides d_ff, the modules d_model, and the heads fill d_model.
    """
    feed_forward = _feed_forward(n_units, d_lowrank, sru)
    model = language_model(key, sizes, attention, feed_forward, residual)
    return _with_sparse_readout(model, key, sizes, readout_modules)


terraformer = partial(scaling_transformer, residual=reversible_residual, sru=SRU_WIDTH)


def terraformer_with_encoder(
    key: Key[Array, ""],
    sizes: Sizes,
    *,
    n_units: int = 64,
    d_lowrank: int | None = None,
    encoder_attention: Callable = SPARSE_QKV_BOTH_WAYS,
    attention: Callable = SPARSE_QKV,
    readout_modules: int = 4,
    residual: Residual | Callable = reversible_residual,
    sru: int | None = SRU_WIDTH,
) -> SourceFirst:
    """A Terraformer from a source to a target, with n_layers blocks in each half.

    Raises ValueError as `scaling_transformer`. Source: Jaszczur et al. 2021, arXiv 2111.12763.
    """
    model = source_first(
        key,
        sizes,
        encoder_attention=encoder_attention,
        attention=attention,
        feed_forward=_feed_forward(n_units, d_lowrank, sru),
        residual=residual,
    )
    return _with_sparse_readout(model, key, sizes, readout_modules)


def lsh_attentions(*, n_modules: int | None = None, **how) -> dict[str, Callable]:
    """LSH attention for both halves, with these n_hashes, chunk_len, n_buckets, n_modules.

    >>> import jax
    >>> sizes = Sizes(n_layers=1, d_ff=128)
    >>> model = terraformer_with_encoder(jax.random.key(0), sizes, **lsh_attentions(n_hashes=2))
    >>> model.encoder.attention.layer.kind.causal, model.decoder.attention.layer.kind.causal
    (False, True)
    """
    projection = multiplicative(n_modules)
    return {
        "encoder_attention": attention_layer(Hashed(causal=False, **how), projection),
        "attention": attention_layer(Hashed(**how), projection),
    }


def _feed_forward(n_units, d_lowrank, sru):
    init = partial(init_sparse_feed_forward, n_units=n_units, d_lowrank=d_lowrank)
    return init if sru is None else with_sru(init, sru)


def _with_sparse_readout(model: Tree, key, sizes: Sizes, n_modules: int) -> Tree:
    key = jax.random.fold_in(key, 1)
    return replace(model, readout=init_multiplicative_readout(key, sizes, n_modules=n_modules))
