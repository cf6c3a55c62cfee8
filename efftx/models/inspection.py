"""Looking inside a model: the vectors that its heads compare, and the weights that come of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from efftx.models.decoding import parts_of, through_layers
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.layers import OptionalKey, Tokens
from efftx.models.residuals import branch_keys, plain_residual
from efftx.models.transformer import LanguageModel
from efftx.validation import require


def attention_vectors(
    model: LanguageModel, tokens: Tokens, key: OptionalKey = None
) -> Float[Array, "n_layers projections n_heads length d_head"]:
    """What the heads of every layer compare: q, k and v, or qk and v of a shared-QK model.

    >>> qk, v = attention_vectors(model, tokens)[layer]  # each (n_heads, length, d_head)

    Raises ValueError if the model's residual is not the plain one.
    """
    check_plain(model)

    def step(x, layer):
        block, (attention_key, feed_forward_key) = layer
        vectors = block.attention.layer.vectors(block.attention.norm(x))
        x = x + block.attention(x, attention_key)
        return x + block.feed_forward(x, feed_forward_key), vectors

    layers = (model.blocks, branch_keys(key, model.n_layers))
    return jax.lax.scan(step, model.embedding(tokens), layers)[1]


def attention_maps(
    model: LanguageModel, tokens: Tokens, key: OptionalKey = None
) -> Float[Array, "n_layers n_heads length length"]:
    """The weight that each query (row) gives to each key (column), in every layer and head.

    Attention is linear in its values: with the identity matrix as values it returns its weights.
    """
    attend = model.blocks.attention.layer.attend
    keys = branch_keys(key, model.n_layers)[0]

    def layer_maps(vectors_and_key):
        (*compared, values), layer_key = vectors_and_key
        return attend(*compared, identity_like(values), layer_key)

    return jax.lax.map(layer_maps, (attention_vectors(model, tokens, key), keys))


def cross_attention_maps(
    model: EncoderDecoder, source: Tokens, target, *, key_mask=None
) -> Float[Array, "n_layers n_heads target_length source_length"]:
    """The weight that each target position (row) gives to each source position (column).

    Raises ValueError if the model's residual is not the plain one.
    """
    check_plain(model)
    encoded = model.encode(source, key_mask=key_mask)

    def step(x, block):
        x = x + block.attention(x)
        cross, normed = block.cross_attention.layer, block.cross_attention.norm(x)
        q, k, v = cross.vectors_across(normed, encoded)
        weights = cross.attend(q, k, identity_like(v), encoded.key_mask)
        x = x + cross(normed, None, encoded)
        return x + block.feed_forward(x), weights

    return jax.lax.scan(step, model.embedding(target), model.decoder)[1]


def chosen_units(
    model: LanguageModel, tokens: Tokens
) -> Integer[Array, "n_layers length n_blocks"]:
    """Which unit of each block, 0 … N − 1, the controllers turn on at each position.

    The masks are hard and without noise, as they are when the model generates. Any residual.

    Raises ValueError for a model with dense feed-forward layers.
    """
    check_one_kind(model)

    def read(branch, x, key, cache):
        return branch.with_replay(x)

    parts = parts_of(model)
    nothing = (None,) * len(parts.branches)
    units = through_layers(parts, read, parts.embedding(tokens), nothing, nothing)[1][-1]
    require(units is not None, "this model has no controllers: its feed-forward layers are dense.")
    return units


def identity_like(values):
    """The identity matrix for every head, in the place of its (length, d_value) values."""
    n_heads, length, _ = values.shape
    return jnp.broadcast_to(jnp.eye(length), (n_heads, length, length))


def check_plain(model: LanguageModel | EncoderDecoder) -> None:
    check_one_kind(model)
    require(
        model.residual is plain_residual,
        "looking inside follows the stream of plain_residual; "
        f"this model's residual is {getattr(model.residual, '__name__', model.residual)}.",
    )


def check_one_kind(model: LanguageModel | EncoderDecoder) -> None:
    require(
        not isinstance(getattr(model, "blocks", None), tuple),
        "looking inside needs blocks of one kind; this model's are a pattern of several.",
    )
