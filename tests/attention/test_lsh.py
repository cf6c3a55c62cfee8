"""LSH attention against its definition: the union of what the rounds reach, as a whole matrix."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import (
    layout,
    lsh_attention,
    lsh_attention_reference,
    reach_count,
    shared_qk_attention,
)
from tests.attention.oracles import (
    CHUNK_LEN,
    a_case,
    assert_close,
    attend_by_count,
    attend_by_rounds,
    loss_weights,
    options,
    reached_by_loops,
    value_and_gradients,
)

ROUNDS = [1, 2, 4, 8]
either_way = pytest.mark.parametrize("causal", [True, False], ids=["causal", "both_ways"])
every_rounds = pytest.mark.parametrize("n_hashes", ROUNDS)


@cache
def exact_results(n_hashes: int, causal: bool):
    """lsh_attention's output and gradients in float64, which several tests look at."""
    with jax.enable_x64(True):
        case = a_case(n_hashes, dtype=jnp.float64)
        static = options(n_hashes, causal)
        return value_and_gradients(lsh_attention, case.vectors, case.given, **static)


def reference(case, *, causal, semantics="paper"):
    """Output and gradients by way of the L × L matrix."""
    static = {"chunk_len": CHUNK_LEN, "causal": causal, "semantics": semantics}
    return value_and_gradients(lsh_attention_reference, case.vectors, case.given, **static)


@every_rounds
@either_way
def test_union_oracle_in_float64_with_gradients(x64, n_hashes, causal):
    case = a_case(n_hashes, dtype=jnp.float64)
    theirs = reference(case, causal=causal)
    assert theirs[0].dtype == jnp.float64
    assert_close(exact_results(n_hashes, causal), theirs, 1e-12)


@every_rounds
@either_way
def test_union_oracle_in_float32(n_hashes, causal):
    case = a_case(n_hashes)
    ours = lsh_attention(*case.vectors, **case.given, **options(n_hashes, causal))
    reached = reached_by_loops(case.buckets, case.key_mask, causal=causal)
    theirs = attend_by_count(reached.any(0), *case.vectors, case.key_mask)
    assert ours.dtype == jnp.float32
    assert_close([ours], [theirs], 1e-5)


def test_gradients_in_float32():
    case = a_case(4)
    ours = value_and_gradients(lsh_attention, case.vectors, case.given, **options(4))
    assert_close(ours, reference(case, causal=True), 1e-5)


@every_rounds
@either_way
def test_the_papers_formula_joins_rounds_to_the_union(x64, n_hashes, causal):
    """A softmax in each round, discounted, and the rounds joined: the paper's way to the union."""
    case = a_case(n_hashes, dtype=jnp.float64)
    reached = reached_by_loops(case.buckets, case.key_mask, causal=causal)
    ours, *_ = exact_results(n_hashes, causal)
    assert_close([ours], [attend_by_rounds(reached, *case.vectors, case.key_mask)], 1e-12)
    undiscounted = attend_by_rounds(reached, *case.vectors, case.key_mask, discount=False)
    error = np.linalg.norm(undiscounted - ours) / np.linalg.norm(ours)
    assert error < 1e-12 if n_hashes == 1 else error > 0.01  # so the oracle tells them apart


@either_way
@pytest.mark.parametrize("semantics", ["paper", "trax"])
@pytest.mark.parametrize("chunk_len", [CHUNK_LEN, 100], ids=["ten_chunks", "one_chunk"])
def test_reach_count_is_the_definition(causal, semantics, chunk_len):
    case = a_case(4)
    ours = reach_count(
        case.buckets,
        chunk_len=chunk_len,
        causal=causal,
        key_mask=case.key_mask,
        semantics=semantics,
    )
    trax = semantics == "trax"
    each_round = reached_by_loops(
        case.buckets, case.key_mask, causal=causal, chunk_len=chunk_len, trax=trax
    )
    np.testing.assert_array_equal(ours, each_round.sum(0))
    assert ours.max() > 1  # some pair is reached more than once


@pytest.mark.parametrize(("n_hashes", "causal"), [(1, False), (4, True)])
def test_trax_semantics_with_gradients(x64, n_hashes, causal):
    case = a_case(n_hashes, dtype=jnp.float64)
    static = options(n_hashes, causal, semantics="trax")
    ours = value_and_gradients(lsh_attention, case.vectors, case.given, **static)
    assert_close(ours, reference(case, causal=causal, semantics="trax"), 1e-12)
    reached = reached_by_loops(case.buckets, case.key_mask, causal=causal, trax=True)
    by_loops = attend_by_count(reached.sum(0), *case.vectors, case.key_mask)
    assert_close([ours[0]], [by_loops], 1e-12)
    assert np.abs(ours[0] - exact_results(n_hashes, causal)[0]).max() > 0.1


@either_way
def test_one_bucket_pair_and_one_chunk_is_exact_attention_in_each_bucket(x64, causal):
    case = a_case(dtype=jnp.float64)
    bucket = case.buckets[0] % 2
    static = {"n_buckets": 2, "chunk_len": len(bucket), "causal": causal}
    ours = lsh_attention(*case.vectors, buckets=bucket[None], key_mask=case.key_mask, **static)
    for b in (0, 1):
        members = case.key_mask & (bucket == b)
        exact = shared_qk_attention(*case.vectors, causal=causal, key_mask=members)
        assert_close([ours[members]], [exact[members]], 1e-12)
        assert members.sum() > 10


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65])
def test_any_length(length):
    """Chunks of 64: less than one, exactly one, and one more than that; without a mask.

    Both ways, since with two chunks a wrap-around would be most like the chunk before.
    """
    case = a_case(2, length)
    ours = lsh_attention(
        *case.vectors, buckets=case.buckets, n_hashes=2, n_buckets=8, chunk_len=64, causal=False
    )
    reached = reached_by_loops(case.buckets, None, chunk_len=64, causal=False)
    assert_close([ours], [attend_by_count(reached.any(0), *case.vectors)], 1e-5)


def test_a_single_position_keeps_its_value_and_passes_its_gradient_on():
    qk, v, buckets, _ = a_case(length=1)
    given = {"buckets": buckets, "key_mask": jnp.array([True])}
    out, g_qk, g_v = value_and_gradients(lsh_attention, (qk, v), given, **options())
    np.testing.assert_array_equal(out, v)
    np.testing.assert_array_equal(g_qk, jnp.zeros_like(qk))
    np.testing.assert_array_equal(g_v, loss_weights(v.shape))


@pytest.mark.parametrize("semantics", ["paper", "trax"])
@pytest.mark.parametrize(
    ("length", "fewest", "sizes"), [(83, 16, (4, 3)), (84, 4, (4, 3)), (85, 3, (6, 2))]
)
def test_several_groups_of_chunks_are_one(monkeypatch, semantics, length, fewest, sizes):
    """Long sequences are worked off in groups of chunks; here three chunks are long enough.

    The lengths are of this test only: what is compiled here must not serve another one.
    """
    monkeypatch.setattr(layout, "SCORES_IN_A_GROUP", 3 * 2 * CHUNK_LEN**2)
    monkeypatch.setattr(layout, "FEWEST_CHUNKS", fewest)
    case, static = a_case(2, length), options(2, semantics=semantics)
    ours = value_and_gradients(lsh_attention, case.vectors, case.given, **static)
    assert_close(ours, reference(case, causal=True, semantics=semantics), 1e-5)
    assert layout.group_sizes(length, CHUNK_LEN) == sizes
