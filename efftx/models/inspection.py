"""Looking inside a model: the vectors that its heads compare, and the weights that come of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    require(
        model.residual is plain_residual,
        "attention_vectors follows the stream of plain_residual; "
        f"this model's residual is {getattr(model.residual, '__name__', model.residual)}.",
    )

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
        n_heads, length, _ = values.shape
        identity = jnp.broadcast_to(jnp.eye(length), (n_heads, length, length))
        return attend(*compared, identity, layer_key)

    return jax.lax.map(layer_maps, (attention_vectors(model, tokens, key), keys))
