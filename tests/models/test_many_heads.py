"""Frameworks' axes: (batch, length, heads, d)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import lsh_attention
from efftx.models import lsh_attention_of_heads

HOW = {"n_hashes": 2, "chunk_len": 4}
KEY = jax.random.key(3)


def arrays(batch=2, length=13, n_heads=3):
    random = np.random.default_rng(0)
    return [jnp.float32(random.normal(size=(batch, length, n_heads, d))) for d in (4, 5)]


@pytest.mark.parametrize("masked", [False, True])
def test_each_head_of_each_example_attends_to_itself(masked):
    qk, v = arrays()
    mask = jnp.arange(13) < jnp.array([[13], [9]]) if masked else None
    out = jax.jit(lambda qk, v: lsh_attention_of_heads(qk, v, key=KEY, key_mask=mask, **HOW))(qk, v)
    keys = jax.random.split(KEY, 6)
    for example in range(2):
        for head in range(3):
            alone = lsh_attention(
                qk[example, :, head],
                v[example, :, head],
                key=keys[3 * example + head],
                key_mask=mask[example] if masked else None,
                **HOW,
            )
            np.testing.assert_allclose(out[example, :, head], alone, rtol=1e-5, atol=1e-6)
