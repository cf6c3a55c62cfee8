"""LSH attention in the place of another framework's attention: arrays as frameworks hold them."""

from functools import partial

import jax
from jaxtyping import Array, Bool, Float, Key

from efftx.attention import lsh_attention
from efftx.memory import map_heads
from efftx.validation import check_key, check_stream, describe, require


def lsh_attention_of_heads(
    qk: Float[Array, "batch length n_heads d_head"],
    v: Float[Array, "batch length n_heads d_value"],
    *,
    key: Key[Array, ""],
    key_mask: Bool[Array, "batch length"] | None = None,
    at_once: int = 1,
    **how,
) -> Float[Array, "batch length n_heads d_value"]:
    """:func:`efftx.attention.lsh_attention` of each head of each example, the heads last but one.

    So Flax, Haiku and Keras hold them. Each head has hashes of its own. ``key_mask`` is False for
    padding; ``how`` are n_hashes, chunk_len, causal and what else ``lsh_attention`` takes, and
    ``at_once`` is that of :func:`efftx.memory.map_heads`.

    Raises ValueError for arrays of other shapes, a key that is none, and as ``lsh_attention`` does.
    """
    check_stream(qk=qk, v=v)
    check_key(key=key)
    for name, array in (("qk", qk), ("v", v)):
        require(
            array.ndim == 4 and array.shape[:3] == qk.shape[:3],
            f"{name} must be (batch, length, n_heads, d), with the axes of qk; got "
            f"{describe(array)}.",
        )
    batch, length, n_heads, _ = qk.shape
    by_head = [x.swapaxes(1, 2) for x in (qk, v)]
    by_head.append(jax.random.split(key, batch * n_heads).reshape(batch, n_heads))
    if key_mask is not None:
        require(
            getattr(key_mask, "shape", None) == (batch, length),
            f"key_mask must be ({batch}, {length}), an entry for each position of each example; "
            f"got {describe(key_mask)}.",
        )
        by_head.append(key_mask[:, None])
    return map_heads(partial(_attend, how), *by_head, at_once=at_once).swapaxes(1, 2)


def _attend(how: dict, qk, v, key, key_mask=None):
    return lsh_attention(qk, v, key=key, key_mask=key_mask, **how)
