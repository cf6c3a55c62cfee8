"""Which token comes next, from the scores of all."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

NextLogits = Float[Array, "vocab"]


def pick(
    logits: NextLogits,
    key: Key[Array, ""],
    *,
    temperature: float | int = 1.0,
    top_p: float | int = 1.0,
):
    """One token, int32."""
    if temperature == 0:
        return jnp.argmax(logits).astype(jnp.int32)
    logits = nucleus(logits.astype(jnp.float32) / temperature, top_p)
    return jax.random.categorical(key, logits).astype(jnp.int32)


def nucleus(logits: NextLogits, top_p: float | int) -> NextLogits:
    """-inf for all but the fewest tokens, one at least, that have probability top_p together."""
    order = jnp.argsort(-logits)
    p = jax.nn.softmax(logits)[order]
    likelier = jnp.cumsum(p) - p  # the probability of all that come before
    return jnp.where(jnp.zeros(len(p), bool).at[order].set(likelier < top_p), logits, -jnp.inf)
