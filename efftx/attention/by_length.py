"""Hashing into as many buckets as a text's own length asks for, whatever its padding.

How many buckets there are by default follows from the length, and with padding that is the number
of tokens, which may be known on the device only. So the rotations of all lengths up to the padded
one are there, few and small, and the text's own are looked up.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key

from efftx.attention.hashing import LARGEST_RADIX, default_n_buckets, factor_buckets
from efftx.dtypes import DRAWN, at_least_float32
from efftx.precision import OF_CHOICES

HALF = LARGEST_RADIX // 2


def hash_by_length(
    x: Float[Array, "length d_head"],
    key: Key[Array, ""],
    n_tokens: Integer[Array | np.ndarray, ""] | int,
    *,
    n_hashes: int,
    chunk_len: int,
) -> Int[Array, "n_hashes length"]:
    """The buckets that `hash_vectors` finds in a text of n_tokens with its default n_buckets.

    They do not depend on how long x is beyond them. ``n_tokens`` lies in 1 … length.
    """
    radices = radices_by_chunks(-(-len(x) // chunk_len), chunk_len)
    n_chunks = jnp.maximum(-(-n_tokens // chunk_len), 1)
    radix = jnp.asarray(radices)[n_chunks - 1]  # of each factor; 1 where there is none
    n_factors = (radix > 1).sum()
    (vectors,) = at_least_float32(x)
    bucket = jnp.zeros((n_hashes, len(x)), jnp.int32)
    for factor in range(radices.shape[1]):
        tables = rotations_of_factor(key, factor, radices, (n_hashes, x.shape[1]))
        rotation = tables[n_factors - 1, radix[factor] // 2]
        digit = jax.lax.map(lambda r, b=radix[factor]: digits(vectors, r, b // 2), rotation)
        bucket = bucket * radix[factor] + digit
    return bucket


def digits(x: Float[Array, "length d_head"], rotation: Array, half: Array) -> Int[Array, "length"]:
    """argmax [xR; −xR] of an R with ``half`` columns that count; 0 where there are none."""
    product = jnp.matmul(x, rotation, precision=OF_CHOICES)
    rotated = jnp.where(jnp.arange(HALF) < half, product, -jnp.inf)
    mirrored = jnp.where(jnp.arange(HALF) < half, -product, -jnp.inf)
    place = jnp.argmax(jnp.concatenate([rotated, mirrored], axis=-1), axis=-1).astype(jnp.int32)
    return jnp.where(place < HALF, place, place - HALF + half)


def rotations_of_factor(key, factor: int, radices: np.ndarray, shape: tuple[int, int]) -> Array:
    """[n_factors − 1, radix / 2]: those that `random_rotations` draws, filled up with zeros."""
    n_hashes, d_head = shape
    most = radices.shape[1]
    tables = jnp.zeros((most, HALF + 1, n_hashes, d_head, HALF))
    for n_factors in range(factor + 1, most + 1):
        of_so_many = radices[(radices > 1).sum(1) == n_factors, factor]
        factor_key = jax.random.split(key, n_factors)[factor]
        for half in np.unique(of_so_many) // 2:
            drawn = jax.random.normal(factor_key, (n_hashes, d_head, half), DRAWN)
            tables = tables.at[n_factors - 1, half, :, :, :half].set(drawn)
    return tables


@cache
def radices_by_chunks(n_chunks: int, chunk_len: int) -> np.ndarray:
    """(n_chunks, most factors): the radices for a text of 1, 2, … chunks, then 1s."""
    lengths = range(chunk_len, (n_chunks + 1) * chunk_len, chunk_len)
    factors = [factor_buckets(default_n_buckets(length, chunk_len)) for length in lengths]
    most = max(map(len, factors))
    return np.array([[*radices, *[1] * (most - len(radices))] for radices in factors])
