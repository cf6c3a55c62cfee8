"""LSH attention: each query attends only to keys that a hash puts into the same bucket."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key

from efftx.attention.blocked import shared_qk_attention
from efftx.attention.by_length import hash_by_length
from efftx.attention.chunks import attend_in_chunks
from efftx.attention.full import (
    check_shared_qk,
    in_dtype_of,
    shared_qk_over,
    without_padding,
)
from efftx.attention.hashing import (
    default_n_buckets,
    factor_buckets,
    hash_vectors,
    random_rotations,
)
from efftx.attention.layout import Rule
from efftx.dtypes import at_least_float32
from efftx.precision import exactly
from efftx.shards import vary_alike
from efftx.validation import (
    check_choice,
    check_key_mask,
    check_not_explicit,
    check_positive,
    describe,
    hint_for_key,
    is_key,
    require,
    values_are_known,
)

SEMANTICS = ("paper", "trax")


def lsh_attention(
    qk: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    *,
    key: Key[Array, ""] | None = None,
    n_buckets: int | None = None,
    n_hashes: int = 1,
    chunk_len: int = 64,
    causal: bool = True,
    key_mask: Bool[Array, "length"] | None = None,
    buckets: Integer[Array, "n_hashes length"] | None = None,
    return_buckets: bool = False,
    full_below: int = 0,
    semantics: str = "paper",
) -> Float[Array, "length d_value"] | tuple:
    r"""Attention of one head among the vectors that hash into the same buckets.

    In each of n_hashes rounds the vectors are hashed, sorted by (bucket, position) and cut into
    chunks of m = chunk_len. Query i reaches key j where both share the bucket and j's chunk is i's
    own or the one before (and j < i, if causal). With P_i the union of what the rounds reach,

        o_i = Σ_{j ∈ P_i} exp(q_i·k_j) v_j / Σ_{j ∈ P_i} exp(q_i·k_j),    k_j = q_j / ‖q_j‖,

    and o_i = v_i where P_i is empty: a position attends to itself only as a last resort.

    Time O(n_hashes · L · m), memory O(L·d) forward and backward. Any length ≥ 1. Computed in at
    least float32; the result has v's dtype. Buckets are integers: no gradient runs through them.
    A gradient of a gradient keeps the scores, O(n_hashes · L · m).

    key_mask     True for positions that take part; others are padding: no slot, output 0.
    buckets      replays these, in the form of ``hash_vectors``, instead of hashing with ``key``.
                 Under jit their values cannot be checked; they must lie in [0, n_buckets).
    n_buckets    even; by default 2·⌈L/m⌉ rounded up to a number that factors well, where L counts
                 no padding: it changes nothing.
    full_below   lengths below this use exact ``shared_qk_attention``, which is then faster; never
                 with ``buckets``. The buckets that ``return_buckets`` returns are None then.
    semantics    "paper", or "trax": what trax and Hugging Face compute. There a query attends to
                 all of its two chunks whatever the buckets, a pair found in several rounds counts
                 several times, and the first chunk looks back to the last.

    Returns the output, or (output, buckets) with ``return_buckets``. Raises ValueError for bad
    input, before anything is compiled.
    Source: Kitaev, Kaiser & Levskaya 2020, arXiv 2001.04451, section 2 and appendix A.
    """
    check_shared_qk(qk, v, causal, key_mask)
    check_positive(n_hashes=n_hashes, chunk_len=chunk_len)
    check_choice("semantics", semantics, SEMANTICS)
    check_key_or_buckets(key, buckets)
    length = len(qk)
    if length < full_below and buckets is None:
        exact = shared_qk_attention(qk, v, causal=causal, key_mask=key_mask)
        return (exact, None) if return_buckets else exact
    how = {"n_buckets": n_buckets, "n_hashes": n_hashes, "chunk_len": chunk_len}
    buckets, n_buckets = find_buckets(qk, key, key_mask, buckets, **how)
    # A chunk that is longer than the text would only be filled up.
    rule = Rule(n_buckets, min(chunk_len, length), causal, paper=semantics == "paper")
    out = in_dtype_of(v, _attend(rule, qk, v, jnp.asarray(buckets, jnp.int32), key_mask))
    return (out, buckets) if return_buckets else out


@partial(jax.jit, static_argnames="rule")
def _attend(rule: Rule, qk, v, buckets, key_mask):
    mask = jnp.ones(len(qk), bool) if key_mask is None else key_mask
    queries, values = without_padding(key_mask, *at_least_float32(qk, v))
    return attend_in_chunks(rule, *vary_alike((queries, values, buckets, mask)))


def check_key_or_buckets(key, buckets) -> None:
    require(
        buckets is not None or is_key(key),
        "lsh_attention needs key=jax.random.key(seed) to hash with, or buckets to replay; "
        f"got key={key!r}.{hint_for_key(key)}",
    )


def find_buckets(
    qk, key, key_mask, buckets, *, n_buckets: int | None, n_hashes: int, chunk_len: int
) -> tuple:
    """The buckets to attend with, replayed or hashed, and of how many they are."""
    length, d_head = qk.shape
    by_length = n_buckets is None and key_mask is not None
    if n_buckets is None:
        n_buckets = default_n_buckets(length, chunk_len)
    if buckets is not None:
        check_buckets(buckets, n_hashes, length, n_buckets)
    elif by_length:
        how = {"n_hashes": n_hashes, "chunk_len": chunk_len}
        buckets = hash_by_length(qk, key, jnp.sum(key_mask), **how)
    else:
        buckets = hash_vectors(qk, random_rotations(key, d_head, n_buckets, n_hashes))
    return buckets, n_buckets


def check_buckets(buckets, n_hashes: int, length: int, n_buckets: int) -> None:
    """Buckets to replay have the form of ``hash_vectors``; values are checked where concrete."""
    check_not_explicit(buckets=buckets)
    factor_buckets(n_buckets)  # even, at least 2
    check_integers(buckets)
    require(
        buckets.shape == (n_hashes, length),
        f"buckets must have shape (n_hashes, length) = ({n_hashes}, {length}); "
        f"got {describe(buckets)}.",
    )
    if not values_are_known(buckets):
        return
    values = np.asarray(buckets)
    require(
        bool(((values >= 0) & (values < n_buckets)).all()),
        f"buckets must lie in [0, n_buckets) = [0, {n_buckets}); "
        f"got values from {values.min()} to {values.max()}.",
    )


def check_integers(buckets) -> None:
    """Buckets are an array of integers."""
    require(
        hasattr(buckets, "shape") and jnp.issubdtype(buckets.dtype, jnp.integer),
        f"buckets must be integers, as hash_vectors returns them; got {describe(buckets)}.",
    )


@exactly
def lsh_attention_reference(
    qk: Float[Array, "length d_head"],
    v: Float[Array, "length d_value"],
    buckets: Integer[Array, "n_hashes length"],
    *,
    chunk_len: int = 64,
    causal: bool = True,
    key_mask: Bool[Array, "length"] | None = None,
    semantics: str = "paper",
) -> Float[Array, "length d_value"]:
    r"""What :func:`lsh_attention` computes with these buckets, through the whole L × L matrix.

    The weight of a pair is n_ij·exp(q_i·k_j), where n_ij counts the rounds that reach it: at most 1
    in the paper's union, the plain count under trax. Takes O(L²) memory.

    Raises ValueError as :func:`reach_count`, and for arrays that are not as long as the buckets.
    """
    check_shared_qk(qk, v, causal, key_mask)
    queries, values = without_padding(key_mask, *at_least_float32(qk, v))
    count = reach_count(
        buckets, chunk_len=chunk_len, causal=causal, key_mask=key_mask, semantics=semantics
    )
    require(
        len(count) == len(qk),
        f"buckets and qk must have the same length; got {describe(buckets)} and {describe(qk)}.",
    )
    if semantics == "paper":
        count = jnp.minimum(count, 1)
    return in_dtype_of(v, shared_qk_over(count, queries, values, key_mask))


def reach_count(
    buckets: Integer[Array, "n_hashes length"],
    *,
    chunk_len: int,
    causal: bool = True,
    key_mask: Bool[Array, "length"] | None = None,
    semantics: str = "paper",
) -> Int[Array, "length length"]:
    """In how many rounds query i reaches key j ≠ i (N_ij of the paper, where not zero).

    Takes O(L²) memory. Raises ValueError for buckets that are no (n_hashes, length) integers,
    chunk_len < 1 and unknown semantics.
    """
    check_integers(buckets)
    require(
        buckets.ndim == 2,
        f"buckets must have shape (n_hashes, length); got {describe(buckets)}.",
    )
    check_positive(chunk_len=chunk_len)
    check_choice("semantics", semantics, SEMANTICS)
    length = buckets.shape[1]
    check_key_mask(key_mask, length)
    valid = jnp.ones(length, bool) if key_mask is None else key_mask
    position = jnp.arange(length)
    n_chunks = jnp.maximum(-(-valid.sum() // chunk_len), 1)
    pairs = valid[:, None] & valid & (position[:, None] != position)
    if causal:
        pairs &= position < position[:, None]
    count = jnp.zeros((length, length), jnp.int32)
    for bucket in buckets:
        order = jnp.lexsort((position, bucket, ~valid))
        chunk = jnp.zeros_like(position).at[order].set(position // chunk_len)
        back = chunk[:, None] - chunk
        if semantics == "paper":
            same_bucket = bucket[:, None] == bucket
            count += pairs & same_bucket & ((back == 0) | (back == 1))
        else:
            own, before = back == 0, back % n_chunks == 1 % n_chunks
            count += (pairs & own).astype(jnp.int32) + (pairs & before)
    return count
