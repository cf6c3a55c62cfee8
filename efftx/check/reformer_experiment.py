"""Exercise 09's experiment: short texts, for which hashing takes more memory than all pairs."""

from functools import cache, partial

import jax
import jax.numpy as jnp

from efftx import attention
from efftx.compiling import temporary_bytes

LENGTHS = (64, 128, 256, 512)
D_HEAD, N_HASHES, CHUNK_LEN = 32, 8, 32

KINDS = {
    "all pairs": partial(attention.shared_qk_attention_reference, causal=True),
    "8 rounds of hashing": partial(
        attention.lsh_attention, key=jax.random.key(0), n_hashes=N_HASHES, chunk_len=CHUNK_LEN
    ),
}


@cache
def working_bytes(kind: str, length: int) -> int:
    """What one head's gradient takes beyond inputs and results, as the compiler plans it."""

    def loss(qk, v):
        return jnp.sum(KINDS[kind](qk, v) ** 2)

    x = jax.ShapeDtypeStruct((length, D_HEAD), jnp.float32)
    return temporary_bytes(jax.grad(loss, argnums=(0, 1)), x, x)


def shortest_that_pays() -> int:
    """The first length at which hashing takes less."""
    exact, hashed = KINDS
    return next(n for n in LENGTHS if working_bytes(hashed, n) < working_bytes(exact, n))
