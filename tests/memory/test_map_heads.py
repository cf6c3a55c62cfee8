"""All heads of a batch, one at a time or a few, as a loop would do it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import lsh_attention
from efftx.memory import map_heads
from tests.attention.oracles import (
    D_HEAD,
    D_VALUE,
    N_BUCKETS,
    assert_close,
    options,
)

BATCH, N_HEADS, LENGTH = 2, 3, 20
LEADING = (BATCH, N_HEADS)


def noisy(qk, v, key, mask, table):
    """Not attention: something cheap whose result depends on every argument."""
    noise = jax.random.normal(key, v.shape)
    return jnp.where(mask[:, None], qk[:, :1] * v + noise, 0) + table, mask.sum()


def batch_arrays():
    rng = np.random.default_rng(0)
    qk = jnp.asarray(rng.normal(size=(*LEADING, LENGTH, D_HEAD)), jnp.float32)
    v = jnp.asarray(rng.normal(size=(*LEADING, LENGTH, D_VALUE)), jnp.float32)
    mask = jnp.asarray(rng.random((BATCH, 1, LENGTH)) < 0.8)  # shared by the heads
    return qk, v, mask


def every_head():
    return np.ndindex(*LEADING)


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_a_loop_over_batch_and_heads(at_once):
    """4 does not divide the six heads; 100 are more than there are."""
    qk, v, mask = batch_arrays()
    keys = jax.random.split(jax.random.key(0), LEADING)
    table = jnp.arange(N_HEADS * D_VALUE, dtype=jnp.float32).reshape(1, N_HEADS, 1, D_VALUE)
    out, n_valid = map_heads(noisy, qk, v, keys, mask, table, at_once=at_once)
    assert out.shape == v.shape
    assert n_valid.shape == LEADING
    for b, h in every_head():
        alone, n_alone = noisy(qk[b, h], v[b, h], keys[b, h], mask[b, 0], table[0, h])
        np.testing.assert_allclose(out[b, h], alone, rtol=1e-6, atol=1e-6)
        assert n_valid[b, h] == n_alone


def test_without_leading_axes_it_is_one_head():
    qk, v, _ = batch_arrays()
    out = map_heads(lambda qk, v: qk[:, :1] * v, qk[0, 0], v[0, 0])
    np.testing.assert_allclose(out, qk[0, 0, :, :1] * v[0, 0], rtol=1e-6)


def test_lsh_attention_of_all_heads_with_gradients():
    qk, v, mask = batch_arrays()
    rng = np.random.default_rng(1)
    buckets = jnp.asarray(rng.integers(N_BUCKETS, size=(*LEADING, 2, LENGTH)), jnp.int32)

    def attend(qk, v, buckets, mask):
        return lsh_attention(qk, v, buckets=buckets, key_mask=mask, **options(2))

    def run(attend_all, *given):
        out, pull_back = jax.vjp(lambda qk, v: attend_all(qk, v, *given), qk, v)
        return out, *pull_back(jnp.cos(v))

    def heads_by_vmap(qk, v, buckets, mask):
        mask = jnp.broadcast_to(mask, (*LEADING, LENGTH))
        return jax.vmap(jax.vmap(attend))(qk, v, buckets, mask)

    def heads_by_map(*arrays):
        return map_heads(attend, *arrays, at_once=2)

    ours, theirs = (
        jax.jit(run, static_argnums=0)(attend_all, buckets, mask)
        for attend_all in (heads_by_map, heads_by_vmap)
    )
    assert_close(ours, theirs, 1e-5)
