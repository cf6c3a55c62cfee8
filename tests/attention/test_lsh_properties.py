"""What LSH attention promises about time, padding, replay, dtypes and transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efftx.attention import (
    default_n_buckets,
    hash_vectors,
    lsh_attention,
    lsh_attention_reference,
    random_rotations,
    shared_qk_attention,
)
from tests.attention.oracles import (
    CHUNK_LEN,
    D_HEAD,
    D_VALUE,
    LENGTH,
    N_BUCKETS,
    Case,
    a_case,
    assert_close,
    assert_rounded,
    options,
    value_and_gradients,
)

seeds = st.integers(0, 2**32 - 1)


def attend(case: Case, **how):
    return lsh_attention(*case.vectors, **case.given, **options(len(case.buckets), **how))


def gradients(case: Case):
    """Output and gradients, of the one compiled function that the tests below share."""
    return value_and_gradients(lsh_attention, case.vectors, case.given, **options(4))


def changed_at(case: Case, t: int, seed: int) -> Case:
    """Other vectors at position t, and the same buckets."""
    qk, v, *_ = a_case(length=LENGTH, seed=seed)
    return case._replace(qk=case.qk.at[t].set(3 * qk[t]), v=case.v.at[t].set(v[t]))


# Time


@pytest.mark.parametrize("n_hashes", [1, 4])
@settings(max_examples=15)
@given(t=st.integers(0, LENGTH - 1), seed=seeds)
def test_a_change_changes_nothing_before_it(n_hashes, t, seed):
    case = a_case(n_hashes, seed=1)
    before, after = attend(case), attend(changed_at(case, t, seed))
    np.testing.assert_array_equal(before[:t], after[:t])


def test_a_change_does_change_what_follows_and_both_ways_what_precedes():
    case, t = a_case(4, seed=1), LENGTH // 2
    case = case._replace(key_mask=jnp.ones(LENGTH, bool))
    for how in ({"causal": True}, {"causal": False}):
        moved = np.abs(attend(case, **how) - attend(changed_at(case, t, 7), **how)).max(1) > 0
        assert moved[t + 1 :].any()
        assert moved[:t].any() != how["causal"]


# Padding


@pytest.mark.parametrize("n_hashes", [1, 4])
@settings(max_examples=5)
@given(seed=seeds)
def test_appended_masked_keys_change_no_valid_output(n_hashes, seed):
    n_valid = 60
    longer = a_case(n_hashes, seed=seed)
    longer = longer._replace(key_mask=jnp.arange(LENGTH) < n_valid)
    shorter = Case(
        longer.qk[:n_valid],
        longer.v[:n_valid],
        longer.buckets[:, :n_valid],
        longer.key_mask[:n_valid],
    )
    assert_close([attend(longer)[:n_valid]], [attend(shorter)], 1e-6)


@settings(max_examples=5)
@given(seed=seeds, garbage=st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
def test_garbage_in_padding_reaches_no_valid_output_or_gradient(seed, garbage):
    """Padding takes no slot, so that not even 0 · NaN can happen."""
    case = a_case(4, seed=seed)
    padding = ~case.key_mask
    spoilt = case._replace(
        qk=jnp.where(padding[:, None], garbage, case.qk),
        v=jnp.where(padding[:, None], garbage, case.v),
        buckets=jnp.where(padding, 0, case.buckets),
    )
    for clean, ours in zip(gradients(case), gradients(spoilt), strict=True):
        np.testing.assert_array_equal(ours, clean)


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_exact_attention_does_not_read_padding_either(garbage):
    case = a_case(1)
    spoilt = case._replace(
        qk=jnp.where(case.key_mask[:, None], case.qk, garbage),
        v=jnp.where(case.key_mask[:, None], case.v, garbage),
    )
    given = {"key_mask": case.key_mask}
    exact = lambda c: value_and_gradients(  # noqa: E731
        shared_qk_attention, c.vectors, given, causal=True, block_len=8
    )
    for clean, ours in zip(exact(case), exact(spoilt), strict=True):
        np.testing.assert_array_equal(ours, clean)


@pytest.mark.parametrize("wide", [0, 1])
def test_vectors_of_two_dtypes_meet_in_the_wider(wide):
    case = a_case(1)
    with jax.enable_x64(True):
        both = [jnp.asarray(x, jnp.float64) for x in case.vectors]
        mixed = [x if i == wide else x.astype(jnp.float32) for i, x in enumerate(both)]
        how = {"causal": True, "key_mask": case.key_mask}
        out, expected = (shared_qk_attention(*x, **how) for x in (mixed, both))
        hashed = lsh_attention(*mixed, **case.given, **options(1))
    assert out.dtype == hashed.dtype == mixed[1].dtype
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_padding_gives_zero_and_zero_gradients():
    case = a_case(4)
    nobody = case._replace(key_mask=jnp.zeros(LENGTH, bool))
    assert not case.key_mask[0]
    for result in gradients(case):
        assert not result[~case.key_mask].any()
        assert result[case.key_mask].any(1).sum() > LENGTH / 2
    for result in gradients(nobody):
        np.testing.assert_array_equal(result, np.zeros_like(result))


def test_masking_the_first_position_makes_the_second_the_first():
    """It has no one to attend to but itself."""
    case = a_case(4)
    case = case._replace(key_mask=jnp.arange(LENGTH) > 0)
    out = attend(case)
    np.testing.assert_array_equal(out[0], np.zeros(D_VALUE))
    np.testing.assert_array_equal(out[1], case.v[1])


@pytest.mark.parametrize("scale", [0, 1e-25, 1e12])
def test_vectors_of_extreme_length_have_finite_gradients(scale):
    case = a_case(4)
    results = gradients(case._replace(qk=scale * case.qk))
    assert all(np.isfinite(result).all() for result in results)


# Hashing, replay, and the exact way below a threshold


def test_hashed_by_key_and_replayed_by_buckets():
    qk, v, _, key_mask = a_case(4)
    given, key = {"key_mask": key_mask, **options(4)}, jax.random.key(3)
    out, buckets = lsh_attention(qk, v, key=key, return_buckets=True, **given)
    rotations = random_rotations(key, D_HEAD, N_BUCKETS, 4)
    np.testing.assert_array_equal(buckets, hash_vectors(qk, rotations))
    replayed = lsh_attention(qk, v, buckets=buckets, **given)
    np.testing.assert_array_equal(out, replayed)
    other = lsh_attention(qk, v, key=jax.random.key(4), **given)
    assert np.abs(other - out).max() > 0.1


def test_replay_frees_the_gradient_from_flipped_buckets():
    """Rebuilt inputs that differ in the last bit may hash elsewhere; with buckets they do not."""
    case = a_case(4)
    _, buckets = lsh_attention(
        *case.vectors, key=jax.random.key(0), return_buckets=True, **options(4)
    )
    case = case._replace(buckets=buckets)
    rebuilt = case._replace(qk=case.qk * (1 + 1e-6))
    assert_close(gradients(rebuilt), gradients(case), 1e-4)


def test_the_default_number_of_buckets():
    qk, v, *_ = a_case()
    _, buckets = lsh_attention(qk, v, key=jax.random.key(0), chunk_len=2, return_buckets=True)
    rotations = random_rotations(jax.random.key(0), D_HEAD, default_n_buckets(LENGTH, 2), 1)
    np.testing.assert_array_equal(buckets, hash_vectors(qk, rotations))


@pytest.mark.parametrize("causal", [True, False])
def test_full_below_is_exact_attention_and_has_no_buckets(causal):
    qk, v, _, key_mask = a_case()
    exact = shared_qk_attention(qk, v, causal=causal, key_mask=key_mask)
    given = {"key": jax.random.key(0), "key_mask": key_mask, **options(causal=causal)}
    out, buckets = lsh_attention(qk, v, full_below=LENGTH + 1, return_buckets=True, **given)
    assert buckets is None
    np.testing.assert_array_equal(out, exact)
    hashed = lsh_attention(qk, v, full_below=LENGTH, **given)  # not below it
    assert np.abs(hashed - exact).max() > 0.1


def test_full_below_never_applies_to_a_replay():
    case = a_case(4)
    out, buckets = attend(case, full_below=LENGTH + 1, return_buckets=True)
    np.testing.assert_array_equal(buckets, case.buckets)
    np.testing.assert_array_equal(out, attend(case))


# Dtypes and transformations


def test_bfloat16_is_float32_rounded():
    """Sums and softmax are taken in float32, so that only the results are rounded."""
    low = a_case(4, dtype=jnp.bfloat16)
    high = low._replace(qk=low.qk.astype(jnp.float32), v=low.v.astype(jnp.float32))
    assert_rounded(gradients(low), gradients(high))


def test_vmap_and_jit_are_a_loop_over_heads():
    cases = [a_case(4, seed=seed) for seed in range(3)]
    heads = jax.tree.map(lambda *xs: jnp.stack(xs), *cases)
    keys = jax.random.split(jax.random.key(0), 3)

    def one_head(qk, v, key, key_mask):
        how = {"key": key, "key_mask": key_mask, "return_buckets": True}
        return lsh_attention(qk, v, **how, **options(4))

    out, buckets = jax.jit(jax.vmap(one_head))(heads.qk, heads.v, keys, heads.key_mask)
    for head, (case, key) in enumerate(zip(cases, keys, strict=True)):
        alone, its_buckets = one_head(case.qk, case.v, key, case.key_mask)
        np.testing.assert_array_equal(buckets[head], its_buckets)
        assert_close([out[head]], [alone], 1e-5)


def test_any_integers_can_be_replayed():
    case = a_case(4)
    narrow = case._replace(buckets=case.buckets.astype(jnp.int8))
    np.testing.assert_array_equal(attend(narrow), attend(case))


@pytest.mark.parametrize("semantics", ["paper", "trax"])
def test_gradients_of_gradients_are_those_of_the_definition(x64, semantics):
    """Also where a query reaches nothing and where a key is padding."""
    case = a_case(2, dtype=jnp.float64)
    how = {"chunk_len": CHUNK_LEN, "semantics": semantics}

    def second(attend, **more):
        def penalty(*vectors):
            loss = lambda *x: jnp.sin(attend(*x, **case.given, **how, **more)).sum()  # noqa: E731
            return sum((g**3).sum() for g in jax.grad(loss, argnums=(0, 1))(*vectors))

        return jax.jit(jax.grad(penalty, argnums=(0, 1)))(*case.vectors)

    ours = second(lsh_attention, n_hashes=2, n_buckets=N_BUCKETS)
    assert_close(ours, second(lsh_attention_reference), 1e-10)


def test_buckets_out_of_range_do_no_harm_under_jit():
    """Their values cannot be checked there. The result means nothing, but no row is read or written
    that is not there: rows are moved without a look at bounds."""
    case, how = a_case(2), options(2)
    wrong = jnp.stack([case.buckets[0] * 10**6 - 3, case.buckets[1] - 2**30])
    run = jax.jit(lambda buckets: lsh_attention(*case.vectors, buckets=buckets, **how))
    assert np.isfinite(run(wrong)).all()
