"""Local attention against a loop over positions, and against its reference's gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import full_attention, local, local_attention, local_attention_reference

D_HEAD, D_VALUE = 8, 6


def vectors(length: int, dtype=jnp.float32):
    rng = np.random.default_rng(length)
    return [jnp.asarray(rng.normal(size=(length, d)), dtype) for d in (D_HEAD, D_HEAD, D_VALUE)]


def a_mask(length: int):
    return jnp.asarray((np.random.default_rng(1).random(length) < 0.7) & (np.arange(length) > 0))


def by_loops(q, k, v, chunk_len, key_mask=None):
    """Each position in turn: the keys from the start of the chunk before up to itself."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros_like(v)
    for i in range(len(q)):
        first = max(i // chunk_len - 1, 0) * chunk_len
        keys = [j for j in range(first, i + 1) if key_mask is None or key_mask[j]]
        if keys:
            w = np.exp(k[keys] @ q[i] / np.sqrt(D_HEAD))
            out[i] = w @ v[keys] / w.sum()
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("length", "chunk_len"), [(1, 8), (7, 8), (16, 8), (45, 8), (20, 1)])
def test_values_are_those_of_the_loops(length, chunk_len, masked):
    mask = a_mask(length) if masked else None
    expected = by_loops(*vectors(length), chunk_len, mask)
    how = {"chunk_len": chunk_len, "key_mask": mask}
    np.testing.assert_allclose(local_attention(*vectors(length), **how), expected, atol=1e-5)
    reference = local_attention_reference(*vectors(length), **how)
    np.testing.assert_allclose(reference, expected, atol=1e-5)


def gradients(attend, length, **how):
    def loss(qkv):
        out = attend(*qkv, **how)
        return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum()

    return jax.grad(loss)(vectors(length))


@pytest.mark.parametrize("length", [1, 45])
def test_gradients_are_those_of_the_reference(length):
    how = {"chunk_len": 8, "key_mask": a_mask(length)}
    ours, theirs = (
        gradients(attend, length, **how) for attend in (local_attention, local_attention_reference)
    )
    for g, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(g, expected, atol=1e-5)


def test_chunks_may_be_worked_off_in_groups(monkeypatch):
    """As they are where there are many: here two at a time, and a rest of one."""
    monkeypatch.setattr(local, "SCORES_AT_ONCE", 2 * 2 * 7 * 7)
    length = 33
    expected = by_loops(*vectors(length), 7)
    np.testing.assert_allclose(local_attention(*vectors(length), chunk_len=7), expected, atol=1e-5)


def test_a_long_chunk_is_full_attention():
    q, k, v = vectors(20)
    expected = full_attention(q, k, v, causal=True)
    np.testing.assert_allclose(local_attention(q, k, v, chunk_len=64), expected, atol=1e-5)


def test_bfloat16_is_computed_in_float32():
    out = local_attention(*vectors(30, jnp.bfloat16), chunk_len=8)
    assert out.dtype == jnp.bfloat16
    expected = by_loops(*vectors(30, jnp.bfloat16), 8)
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.02)


def test_padding_is_not_read():
    q, k, v = vectors(20)
    mask = a_mask(20)
    hidden = [jnp.where(mask[:, None], x, jnp.nan) for x in (k, v)]
    out = local_attention(q, *hidden, chunk_len=8, key_mask=mask)
    np.testing.assert_array_equal(out, local_attention(q, k, v, chunk_len=8, key_mask=mask))


def test_memory_is_linear_in_length():
    def temporary_bytes(length):
        shapes = [jax.ShapeDtypeStruct((length, 64), jnp.float32)] * 3
        attend = partial(local_attention, chunk_len=64)
        step = jax.jit(lambda *qkv: jax.vjp(attend, *qkv)[1](qkv[2]))
        return step.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    short, long = temporary_bytes(2**14), temporary_bytes(2**16)
    assert long < 4.2 * short
    assert long < 25 * 2**16 * 64 * 4
