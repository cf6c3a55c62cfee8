"""What runs here also lowers for GPU and TPU: nothing needs a kernel that only a CPU has."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from efftx.attention import blocked_attention, lsh_attention, shared_qk_attention

PLATFORMS = ["cpu", "cuda", "tpu"]


def blocked(qk, v, key, key_mask):
    return blocked_attention(qk, 2 * qk, v, causal=True, key_mask=key_mask, block_len=16)


def shared(qk, v, key, key_mask):
    return shared_qk_attention(qk, v, causal=True, key_mask=key_mask, block_len=16)


def lsh(qk, v, key, key_mask):
    how = {"key_mask": key_mask, "n_hashes": 2, "chunk_len": 8, "n_buckets": 64}
    return lsh_attention(qk, v, key=key, **how)


def value_and_gradients(attend, qk, v, seed, key_mask):
    key = jax.random.key(seed)
    out, pull_back = jax.vjp(lambda qk, v: attend(qk, v, key, key_mask), qk, v)
    return out, *pull_back(out)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("attend", [blocked, shared, lsh])
def test_lowers_for_every_platform_with_gradients(attend, dtype):
    qk, v = (jax.ShapeDtypeStruct((45, d), dtype) for d in (8, 6))
    seed, key_mask = jnp.uint32(0), jax.ShapeDtypeStruct((45,), jnp.bool_)
    function = jax.jit(partial(value_and_gradients, attend))
    exported = jax.export.export(function, platforms=PLATFORMS)(qk, v, seed, key_mask)
    assert list(exported.platforms) == PLATFORMS
    assert [(x.shape, x.dtype) for x in exported.out_avals] == [
        (x.shape, dtype) for x in (v, qk, v)
    ]
