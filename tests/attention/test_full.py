"""The references against loops over the equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import (
    full_attention,
    local_attention_reference,
    lsh_attention_reference,
    shared_qk_attention_reference,
)
from tests.attention.oracles import assert_close, assert_rounded, scores_of, value_and_gradients

LENGTH, D_HEAD, D_VALUE = 13, 5, 3
either_way = pytest.mark.parametrize("causal", [True, False], ids=["causal", "both_ways"])


def some_arrays(*lengths: int, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    widths = [D_HEAD] * (len(lengths) - 1) + [D_VALUE]
    return [jnp.asarray(rng.normal(size=size), dtype) for size in zip(lengths, widths, strict=True)]


def a_mask(length: int):
    """The first two keys are masked, so that the first two causal queries have none."""
    return (np.arange(length) > 1) & (np.random.default_rng(1).random(length) < 0.7)


def weighted_mean(scores, v):
    weights = np.exp(scores)
    return weights @ v / weights.sum()


@either_way
def test_full_attention_is_equation_1_of_vaswani_et_al(x64, causal):
    q, k, v = some_arrays(LENGTH, LENGTH, LENGTH, dtype=jnp.float64)
    mask = a_mask(LENGTH)
    ours = full_attention(q, k, v, causal=causal, key_mask=jnp.asarray(mask))
    q, k, v = map(np.asarray, (q, k, v))
    for i in range(LENGTH):
        keys = [j for j in range(LENGTH) if mask[j] and (j <= i or not causal)]
        theirs = weighted_mean(k[keys] @ q[i] / np.sqrt(D_HEAD), v[keys]) if keys else 0 * v[i]
        np.testing.assert_allclose(ours[i], theirs, 1e-12, 1e-12)


@either_way
def test_shared_qk_attends_to_itself_only_as_a_last_resort(x64, causal):
    qk, v = some_arrays(LENGTH, LENGTH, dtype=jnp.float64)
    mask = a_mask(LENGTH)
    ours = shared_qk_attention_reference(qk, v, causal=causal, key_mask=jnp.asarray(mask))
    v, scores, alone = np.asarray(v), scores_of(qk), 0
    for i in range(LENGTH):
        others = [j for j in range(LENGTH) if mask[j] and (j < i if causal else j != i)]
        alone += not others and mask[i]
        theirs = weighted_mean(scores[i, others], v[others]) if others else v[i]
        np.testing.assert_allclose(ours[i], theirs * mask[i], 1e-12, 1e-12)
    assert alone == causal  # the first valid position of a causal sequence


def test_cross_attention_reads_other_keys():
    q, k, v = some_arrays(4, 7, 7)
    ours = full_attention(q, k, v, causal=False)
    theirs = [weighted_mean(k @ row / np.sqrt(D_HEAD), v) for row in q]
    assert_close([ours], [np.stack(theirs)], 1e-5)


def test_rows_without_a_permitted_key_are_zero_with_zero_gradients():
    q, k, v = some_arrays(LENGTH, LENGTH, LENGTH)
    given = {"key_mask": jnp.asarray(a_mask(LENGTH))}
    out, g_q, g_k, g_v = value_and_gradients(full_attention, (q, k, v), given, causal=True)
    np.testing.assert_array_equal(out[:2], np.zeros((2, D_VALUE)))
    np.testing.assert_array_equal(g_q[:2], np.zeros((2, D_HEAD)))
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in (g_q, g_k, g_v))


def test_bfloat16_is_float32_rounded():
    q, k, v = some_arrays(LENGTH, LENGTH, LENGTH, dtype=jnp.bfloat16)
    exact = full_attention(*(x.astype(jnp.float32) for x in (q, k, v)), causal=True)
    assert_rounded([full_attention(q, k, v, causal=True)], [exact])


CLEAN = jnp.cos(jnp.arange(24.0)).reshape(6, 4)


@pytest.mark.parametrize(
    "attend",
    [
        lambda x, mask: full_attention(CLEAN, x, x, causal=False, key_mask=mask),
        lambda x, mask: shared_qk_attention_reference(x, x, causal=False, key_mask=mask),
        lambda x, mask: local_attention_reference(CLEAN, x, x, chunk_len=3, key_mask=mask),
        lambda x, mask: lsh_attention_reference(
            x, x, jnp.zeros((1, len(x)), int), chunk_len=3, key_mask=mask
        ),
    ],
    ids=["full", "shared", "local", "lsh"],
)
def test_references_do_not_read_padding(attend):
    """Not even a NaN that stands there, forward or backward; as all efficient functions."""
    x, mask = CLEAN, jnp.arange(6) < 4

    def of_valid(x):
        return attend(x, mask)[:4]

    spoiled = x.at[4:].set(jnp.nan)
    np.testing.assert_array_equal(of_valid(spoiled), of_valid(x))
    loss = jax.grad(lambda x: (of_valid(x) ** 2).sum())
    np.testing.assert_array_equal(loss(spoiled)[:4], loss(x)[:4])
