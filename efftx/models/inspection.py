"""Looking inside a model: the vectors that its heads compare, and the weights that come of them.

Any residual, and layers of any kind; but all of one kind, for their results stand in one array.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from efftx.models.attention import Attention
from efftx.models.branch import branch_keys, n_stacked
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.layer import OptionalKey, Tokens
from efftx.models.parts import Parts
from efftx.models.transformer import LanguageModel
from efftx.validation import check_not_explicit, require


def attention_vectors(
    model: LanguageModel, tokens: Tokens, key: OptionalKey = None
) -> Float[Array, "n_layers projections n_heads length d_head"]:
    """What the heads of every layer compare: q, k and v, or qk and v where queries are keys.

    >>> import jax
    >>> from efftx.models import Sizes, transformer
    >>> model = transformer(jax.random.key(0), Sizes())
    >>> q, k, v = attention_vectors(model, jnp.arange(7))[1]  # of layer 1, each of every head
    >>> q.shape
    (4, 7, 32)

    Rotary vectors are turned already. Raises ValueError for a pattern of several kinds of layers.
    """

    def vectors(layer, x, key):
        return jnp.stack(layer.kind.turned(layer.vectors(x)[0]))

    return _seen(_of_one_kind(model), model.embedding(tokens), key, vectors, n_of_source=0)


def attention_maps(
    model: LanguageModel, tokens: Tokens, key: OptionalKey = None
) -> Float[Array, "n_layers n_heads length length"]:
    """The weight that each query (row) gives to each key (column), in every layer and head.

    Attention is linear in its values: with the identity matrix as values it returns its weights.
    """

    def weights(layer, x, key):
        *compared, v = layer.vectors(x)[0]
        heads = (*compared, identity_like(v)), layer.head_keys(key), None
        return layer.each_head(layer.kind, heads, None)[0]

    return _seen(_of_one_kind(model), model.embedding(tokens), key, weights, n_of_source=0)


def cross_attention_maps(
    model: EncoderDecoder, source: Tokens, target, *, key_mask=None
) -> Float[Array, "n_layers n_heads target_length source_length"]:
    """The weight that each target position (row) gives to each source position (column).

    Raises ValueError for a model without cross-attention.
    """
    parts = model.parts(model.encode(source, key_mask=key_mask))

    def weights(layer, x, key):
        q, k, v = layer.vectors(x, parts.extra)[0]
        heads = (q, k, identity_like(v)), layer.head_keys(key), None
        return layer.each_head(layer.kind, heads, parts.extra.source.key_mask)[0]

    return _seen(parts, model.embedding(target), None, weights, n_of_source=2)


def chosen_units(
    model: LanguageModel, tokens: Tokens
) -> Integer[Array, "n_layers length n_blocks"]:
    """Which unit of each block, 0 … N − 1, the controllers turn on at each position.

    The masks are hard and without noise, as they are when the model generates.

    Raises ValueError for a model with dense feed-forward layers.
    """
    parts = _of_one_kind(model)

    def read(branch, x, key, cache):
        return branch(x)

    units = _through(parts, read, model.embedding(tokens), None)[-1]
    require(units is not None, "this model has no controllers: its feed-forward layers are dense.")
    return units


def _seen(parts: Parts, x, key: OptionalKey, look: Callable, *, n_of_source: int) -> Array:
    """look(layer, normed x, key) of the attention layers that read so much of a source, stacked."""

    def read(branch, x, key, cache):
        y, layer = branch(x, key, parts.extra)[0], branch.layer
        looked_at = isinstance(layer, Attention) and layer.kind.n_of_source == n_of_source
        return y, look(layer, branch.norm(x), key) if looked_at else None

    seen = [found for found in _through(parts, read, x, key) if found is not None]
    require(len(seen) == 1, "this model has no such attention to look at.")
    return seen[0]


def _through(parts: Parts, read: Callable, x, key: OptionalKey) -> tuple:
    """What ``read`` leaves of each branch, with a leading axis of size n_layers."""
    n_layers, n_branches = n_stacked(parts.branches), len(parts.branches)
    keys, nothing = branch_keys(key, n_layers, n_branches), (None,) * n_branches
    _, left = parts.residual.one_by_one(parts.branches, read, x, keys, nothing)
    return left if n_layers > 1 else jax.tree.map(lambda of_one: of_one[None], left)


def identity_like(values):
    """The identity matrix for every head, in the place of its (length, d_value) values."""
    n_heads, length, _ = values.shape
    return jnp.broadcast_to(jnp.eye(length), (n_heads, length, length))


def _of_one_kind(model: LanguageModel) -> Parts:
    check_not_explicit(model=model)
    require(
        not isinstance(model.blocks, tuple),
        "looking inside needs blocks of one kind; this model's are a pattern of several.",
    )
    return model.parts()
