"""Attention block by block against attention through the whole matrix."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import (
    blocked_attention,
    full_attention,
    shared_qk_attention,
    shared_qk_attention_reference,
)
from efftx.memory import map_heads
from tests.attention.oracles import (
    D_HEAD,
    D_VALUE,
    assert_close,
    assert_rounded,
    value_and_gradients,
)

LENGTH, BLOCK_LEN = 45, 16  # three blocks, the last not full


def cross_arrays(length: int, n_keys: int, dtype=jnp.float32):
    """q, k, v, and a mask that leaves the first two queries of a causal sequence no key."""
    rng = np.random.default_rng([length, n_keys])
    sizes = (length, D_HEAD), (n_keys, D_HEAD), (n_keys, D_VALUE)
    mask = (rng.random(n_keys) < 0.7) & (np.arange(n_keys) > 1)
    return [jnp.asarray(rng.normal(size=size), dtype) for size in sizes], jnp.asarray(mask)


def shared_arrays(dtype=jnp.float32):
    """qk with a zero vector among its rows, v, and a mask."""
    (qk, _, v), mask = cross_arrays(LENGTH, LENGTH, dtype)
    return (qk.at[7].set(0), v), mask


@pytest.mark.parametrize(
    ("length", "n_keys", "block_len", "causal"),
    [
        (LENGTH, LENGTH, BLOCK_LEN, True),
        (LENGTH, LENGTH, BLOCK_LEN, False),
        (LENGTH, LENGTH, 512, True),
        (1, 1, 1, True),
        (37, 61, BLOCK_LEN, False),
        (61, 37, BLOCK_LEN, False),
    ],
    ids=["causal", "both_ways", "one_block", "one_position", "more_keys", "more_queries"],
)
def test_blocked_is_full_with_gradients(x64, length, n_keys, block_len, causal):
    vectors, mask = cross_arrays(length, n_keys, jnp.float64)
    given = {"key_mask": mask}
    ours = value_and_gradients(
        blocked_attention, vectors, given, causal=causal, block_len=block_len
    )
    theirs = value_and_gradients(full_attention, vectors, given, causal=causal)
    assert_close(ours, theirs, 1e-12)
    assert ours[0].dtype == jnp.float64


@pytest.mark.parametrize(
    ("block_len", "causal"),
    [(BLOCK_LEN, True), (BLOCK_LEN, False), (512, True)],
    ids=["causal", "both_ways", "one_block"],
)
def test_shared_qk_is_its_reference_with_gradients(x64, block_len, causal):
    vectors, mask = shared_arrays(jnp.float64)
    given = {"key_mask": mask}
    ours = value_and_gradients(
        shared_qk_attention, vectors, given, causal=causal, block_len=block_len
    )
    theirs = value_and_gradients(shared_qk_attention_reference, vectors, given, causal=causal)
    assert_close(ours, theirs, 1e-12)


def test_without_a_mask_every_key_counts():
    vectors, mask = cross_arrays(LENGTH, LENGTH)
    how = {"causal": True, "block_len": BLOCK_LEN}
    ours = blocked_attention(*vectors, **how)
    assert_close([ours], [full_attention(*vectors, causal=True)], 1e-5)
    assert_close([ours], [blocked_attention(*vectors, key_mask=mask | True, **how)], 1e-6)


# The compiled functions below are shared: causal, in float32, with a mask.


def blocked(vectors, mask):
    how = {"causal": True, "block_len": BLOCK_LEN}
    return value_and_gradients(blocked_attention, vectors, {"key_mask": mask}, **how)


def shared(vectors, mask):
    how = {"causal": True, "block_len": BLOCK_LEN}
    return value_and_gradients(shared_qk_attention, vectors, {"key_mask": mask}, **how)


def test_gradients_in_float32():
    vectors, mask = cross_arrays(LENGTH, LENGTH)
    theirs = value_and_gradients(full_attention, vectors, {"key_mask": mask}, causal=True)
    assert_close(blocked(vectors, mask), theirs, 1e-5)


def test_rows_without_a_permitted_key_are_zero_with_zero_gradients():
    vectors, mask = cross_arrays(LENGTH, LENGTH)
    out, g_q, *_ = blocked(vectors, mask)
    for rows in (out, g_q):
        np.testing.assert_array_equal(rows[:2], np.zeros_like(rows[:2]))
        assert rows[5:].any()
    for result in blocked(vectors, jnp.zeros(LENGTH, bool)):
        np.testing.assert_array_equal(result, np.zeros_like(result))


def test_shared_qk_gives_padding_zero_and_zero_gradients():
    vectors, mask = shared_arrays()
    for result in shared(vectors, mask):
        assert np.isfinite(result).all()
        assert not result[~mask].any()
        assert result[mask].any()
    for result in shared(vectors, jnp.zeros(LENGTH, bool)):
        np.testing.assert_array_equal(result, np.zeros_like(result))


def test_zero_vectors_have_finite_gradients():
    (qk, v), mask = shared_arrays()
    assert all(np.isfinite(result).all() for result in shared((0 * qk, v), mask))


def test_blocks_above_the_diagonal_are_skipped():
    """A block that was computed and then masked would spread 0 · NaN."""
    (q, k, v), mask = cross_arrays(LENGTH, LENGTH)
    last = jnp.arange(LENGTH)[:, None] >= 2 * BLOCK_LEN  # the rows of the last block
    spoil = lambda x: jnp.where(last, jnp.nan, x)  # noqa: E731
    clean, spoilt = blocked((q, k, v), mask)[0], blocked((q, spoil(k), spoil(v)), mask)[0]
    np.testing.assert_array_equal(spoilt[: 2 * BLOCK_LEN], clean[: 2 * BLOCK_LEN])
    assert np.isnan(spoilt[-1]).all()
    clean, spoilt = shared((q, v), mask)[0], shared((spoil(q), spoil(v)), mask)[0]
    np.testing.assert_array_equal(spoilt[: 2 * BLOCK_LEN], clean[: 2 * BLOCK_LEN])


def test_bfloat16_is_float32_rounded():
    for attend, (vectors, mask) in (
        (blocked, cross_arrays(LENGTH, LENGTH, jnp.bfloat16)),
        (shared, shared_arrays(jnp.bfloat16)),
    ):
        exact = attend([x.astype(jnp.float32) for x in vectors], mask)
        assert_rounded(attend(vectors, mask), exact)


def test_vmap_is_a_loop_over_heads():
    vectors, mask = cross_arrays(LENGTH, LENGTH)
    stacked = [jnp.stack([x, 2 * x]) for x in vectors]
    masks = jnp.stack([mask, ~mask])
    ours = jax.jit(jax.vmap(lambda q, k, v, m: blocked((q, k, v), m)))(*stacked, masks)
    for head in range(2):
        alone = blocked([x[head] for x in stacked], masks[head])
        assert_close([x[head] for x in ours], alone, 1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_gradients_in_blocks(x64, causal):
    """Of the third order, too, and head by head: a loop around it must not confuse it."""
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 11, d))) for d in (4, 4, 3))
    mask = jnp.arange(11) != 3

    def third(attend):
        def of_order(n, f):
            if n == 0:
                return f
            lower = of_order(n - 1, f)
            return lambda *x: sum((g**2).sum() for g in jax.grad(lower, argnums=(0, 1, 2))(*x))

        one = partial(attend, causal=causal, key_mask=mask)
        loss = lambda *x: jnp.sin(map_heads(one, *x)).sum()  # noqa: E731
        return jax.jit(jax.grad(of_order(2, loss), argnums=(0, 1, 2)))(q, k, v)

    ours, theirs = third(partial(blocked_attention, block_len=4)), third(full_attention)
    scale = max(float(jnp.abs(x).max()) for x in theirs)
    assert_close([x / scale for x in ours], [x / scale for x in theirs], 1e-10)
