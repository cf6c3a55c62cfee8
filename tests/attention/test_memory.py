"""Memory claims, asserted on what the compiler sets aside; nothing here is run."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from efftx.attention import (
    blocked_attention,
    full_attention,
    local_attention,
    lsh_attention,
    shared_qk_attention,
)
from efftx.memory import map_heads

D = 64
SHORT, LONG = 2**15, 2**17
BYTES = 4


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def temporary_bytes(function, *arrays) -> int:
    return jax.jit(function).lower(*arrays).compile().memory_analysis().temp_size_in_bytes


def forward_and_backward(attend, *vectors):
    out, pull_back = jax.vjp(attend, *vectors)
    return pull_back(out)


def lsh(n_hashes: int):
    """Hashing included."""
    return partial(lsh_attention, key=jax.random.key(0), n_hashes=n_hashes, n_buckets=512)


WAYS = {
    "blocked": lambda qk, v: blocked_attention(qk, qk, v, causal=True),
    "shared": partial(shared_qk_attention, causal=True),
    "lsh": lsh(4),
}


@pytest.mark.parametrize("way", WAYS)
def test_memory_is_linear_in_length(way):
    """Of the forward and the backward pass together, so of each of them."""
    work = partial(forward_and_backward, WAYS[way])
    short, long = (temporary_bytes(work, floats(L, D), floats(L, D)) for L in (SHORT, LONG))
    assert 2 * short < long < 4.5 * short  # four times the length
    assert long < 25 * LONG * D * BYTES  # a score matrix would be 1,024 of these


def test_the_whole_matrix_is_seen():
    """The measure can fail: full attention sets aside at least one L × L matrix."""
    length = 2048
    used = temporary_bytes(partial(full_attention, causal=True), *[floats(length, D)] * 3)
    assert used >= length * length * BYTES


def test_lsh_never_has_all_scores_of_a_round():
    """They too are linear in the length, but with long chunks they would be most of the memory."""
    chunk_len, d_head = 512, 8
    key = jax.random.key(0)
    attend = partial(lsh_attention, key=key, n_buckets=256, chunk_len=chunk_len)
    used = temporary_bytes(partial(forward_and_backward, attend), *[floats(LONG, d_head)] * 2)
    assert used < LONG * 2 * chunk_len * BYTES


@pytest.mark.parametrize("n_hashes", [1, 8])
def test_lsh_keeps_only_vectors_for_the_backward(n_hashes):
    """A handful of (length, d) arrays, whatever the number of rounds, and the buckets."""
    arrays = floats(LONG, D), floats(LONG, D)
    kept = jax.eval_shape(lambda *vectors: jax.vjp(lsh(n_hashes), *vectors)[1], *arrays)
    n_bytes = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(kept))
    buckets = n_hashes * LONG * BYTES
    assert n_bytes - buckets < 5 * LONG * D * BYTES


def test_many_heads_take_the_memory_of_one():
    """The scores of a head are gone when the next one starts; its vectors are small beside them."""
    length, d_head = 1024, 8
    one_head = partial(shared_qk_attention, causal=True, block_len=length)

    def used(all_heads, n_heads):
        work = partial(forward_and_backward, all_heads)
        return temporary_bytes(work, *[floats(n_heads, length, d_head)] * 2)

    one = used(partial(map_heads, one_head), 1)
    assert used(partial(map_heads, one_head), 8) < 2 * one
    assert used(jax.vmap(one_head), 8) > 6 * one


@pytest.mark.parametrize("way", ["lsh", "shared", "blocked", "queries", "local"])
def test_what_is_longer_than_the_text_costs_no_memory(way):
    """Chunks and blocks of 4,096 for 64 positions are as cheap as those of 64."""

    def used(size):
        ways = {
            "lsh": lambda x, y: lsh_attention(
                x, x, key=jax.random.key(0), n_buckets=2, chunk_len=size
            ),
            "shared": lambda x, y: shared_qk_attention(x, x, causal=True, block_len=size),
            "blocked": lambda x, y: blocked_attention(x, x, x, causal=True, block_len=size),
            # One query and many keys: its own block need not be as long as theirs.
            "queries": lambda x, y: blocked_attention(
                x[:1], y, y, causal=False, block_len=max(size, 2048)
            ),
            "local": lambda x, y: local_attention(x, x, x, chunk_len=size),
        }
        return temporary_bytes(ways[way], floats(64, 8), floats(2048, 8))

    assert used(4096) <= used(64) < 2**20
