"""Hashing by random rotations: vectors that point the same way tend to share a bucket."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from efftx.dtypes import DRAWN, at_least_float32
from efftx.precision import OF_CHOICES
from efftx.validation import (
    check_key,
    check_not_explicit,
    check_positive,
    check_vectors_of_head,
    require,
    values_are_known,
)

LARGEST_RADIX = 32  # of one factor of the hash: its rotation is a d_head × 16 matrix
MOST_BUCKETS = 2**29  # so that 2·bucket + chunk fits in an int32


def random_rotations(
    key: Key[Array, ""], d_head: int, n_buckets: int, n_hashes: int
) -> tuple[Float[Array, "n_hashes d_head half_radix"], ...]:
    r"""Gaussian matrices R, one of shape (n_hashes, d_head, b/2) for each factor b of n_buckets.

    n_buckets = b₁·b₂·… with as few even factors as keep each at most 32; an n_buckets that has no
    such factors (2 × a large prime, say) is hashed in one piece, which costs a d_head × n_buckets/2
    matrix and a product with it.

    Raises ValueError for a key that is none, an odd n_buckets and numbers below 1.
    Source: Andoni et al. 2015, arXiv 1509.02897; Kitaev et al. 2020, arXiv 2001.04451, section 2.
    """
    check_key(key=key)
    check_positive(d_head=d_head, n_hashes=n_hashes)
    radices = factor_buckets(n_buckets)
    keys = jax.random.split(key, len(radices))
    return tuple(
        jax.random.normal(k, (n_hashes, d_head, radix // 2), DRAWN)
        for k, radix in zip(keys, radices, strict=True)
    )


def hash_vectors(
    x: Float[Array, "length d_head"],
    rotations: tuple[Float[Array, "n_hashes d_head _"], ...],
) -> Int[Array, "n_hashes length"]:
    r"""The bucket of every vector in every round, int32 in [0, n_buckets).

    One factor is h(x) = argmax [xR; −xR]; several combine like digits, h = h₁·b₂ + h₂. Only the
    direction of x matters, so that queries and their normalised keys share buckets.

    Time O(n_hashes · L · d_head · Σ b) for factors b; one round's rotated vectors exist at a time.

    Raises ValueError where widths differ, and for rotations that are not those of one call.
    Source: Kitaev et al. 2020, arXiv 2001.04451, section 2; factorised as in trax.
    """
    check_vectors_of_head(x=x)
    check_not_explicit(rotations=rotations)
    n_hashes = {rotation.shape[0] for rotation in rotations}
    require(
        len(n_hashes) == 1,
        "rotations must be as random_rotations returns them: at least one array, all with the same "
        f"n_hashes; got {[rotation.shape for rotation in rotations]}.",
    )
    for rotation in rotations:
        require(
            rotation.ndim == 3 and rotation.shape[1] == x.shape[1],
            f"rotations must have shape (n_hashes, {x.shape[1]}, n_buckets/2) to fit x of width "
            f"{x.shape[1]}; got shape {rotation.shape}.",
        )
    return _hash_rounds(*at_least_float32(x), tuple(rotations))


@jax.jit
def _hash_rounds(x, rotations):
    def hash_one_round(round_rotations):
        bucket = jnp.zeros(len(x), jnp.int32)
        for rotation in round_rotations:
            rotated = jnp.matmul(x, rotation, precision=OF_CHOICES)
            digit = jnp.argmax(jnp.concatenate([rotated, -rotated], axis=-1), axis=-1)
            bucket = bucket * (2 * rotation.shape[-1]) + digit.astype(jnp.int32)
        return bucket

    return jax.lax.map(hash_one_round, rotations)  # one round's rotated vectors at a time


def default_n_buckets(length: int, chunk_len: int) -> int:
    """2·⌈length/chunk_len⌉ (a bucket fills half a chunk), rounded up to what factors well.

    Raises ValueError for numbers below 1.
    """
    check_positive(length=length, chunk_len=chunk_len)
    n_buckets = 2 * -(-length // chunk_len)
    while max(factor_buckets(n_buckets)) > LARGEST_RADIX:
        n_buckets += 2
    return n_buckets


@cache
def factor_buckets(n_buckets: int) -> tuple[int, ...]:
    """The fewest even radices of at most 32 with this product, as equal as can be; or itself.

    Raises ValueError for a number that is odd, below 2 or above 2²⁹.
    """
    check_positive(n_buckets=n_buckets)
    require(n_buckets % 2 == 0, f"n_buckets must be even; got {n_buckets}.")
    require(n_buckets <= MOST_BUCKETS, f"n_buckets must be at most 2**29; got {n_buckets}.")
    fewest = next(n for n in range(1, 30) if LARGEST_RADIX**n >= n_buckets)
    for n_radices in range(fewest, 30):
        splits = _splits(n_buckets, n_radices, LARGEST_RADIX)
        if splits:
            return min(splits, key=max)
    return (n_buckets,)


def _splits(number: int, n_radices: int, largest: int) -> list[tuple[int, ...]]:
    """Every way to write the number as a product of n even radices in non-increasing order."""
    if n_radices == 1:
        return [(number,)] if number % 2 == 0 and number <= largest else []
    return [
        (radix, *rest)
        for radix in range(2, largest + 1, 2)
        if number % radix == 0
        for rest in _splits(number // radix, n_radices - 1, radix)
    ]


def collision_probability(
    angle: Float[Array | np.ndarray, "*shape"] | float | int, n_buckets: int, n_hashes: int = 1
) -> Float[Array, "*shape"]:
    r"""Probability that two vectors at this angle (radians) share a bucket in at least one round.

    One factor of b buckets: the coordinates of xR and yR are b/2 independent Gaussian pairs (u, w)
    of correlation ρ = cos(angle), and the vectors collide where the same pair is largest in
    magnitude in both, with the same signs:

        p_b = b ∫∫_{u,w>0} φ_ρ(u, w) P(|U| < u, |W| < w)^{b/2 − 1} du dw.

    Factors and rounds are independent: p = 1 − (1 − ∏ p_b)^n_hashes. Integrated numerically in
    float64, to about 1e-4. Angles are concrete numbers in [0, π].

    Raises ValueError for angles outside [0, π], an odd n_buckets and n_hashes < 1.
    Source: Andoni et al. 2015, arXiv 1509.02897, section 3 (there as an asymptotic bound).
    """
    check_positive(n_hashes=n_hashes)
    require(
        values_are_known(angle),
        "angle must be a number that is known, outside of jit, grad and vmap; got a traced array.",
    )
    angles = np.asarray(angle, np.float64)
    require(
        bool(((angles >= 0) & (angles <= math.pi + 1e-6)).all()),
        f"angle must lie in [0, π] (radians); got {angle}.",
    )
    radices = factor_buckets(n_buckets)
    once = [math.prod(_collision_in_one(math.cos(a), b) for b in radices) for a in angles.ravel()]
    return jnp.asarray(1 - (1 - np.array(once)) ** n_hashes).reshape(angles.shape)


_normal_cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)), otypes=[float])


@cache
def _collision_in_one(rho: float, n_buckets: int, n_nodes: int = 48) -> float:
    """The double integral above, with w = ρu + σz so that it stays smooth as ρ nears 1."""
    sigma = math.sqrt(max(1 - rho * rho, 1e-12))
    node, weight = np.polynomial.legendre.leggauss(n_nodes)
    u, u_weight = 4 * (node + 1), 4 * weight  # u in (0, 8)
    lowest = np.clip(-rho * u / sigma, -6, 6)[:, None]  # z in (lowest, 6), where w > 0
    z, z_weight = lowest + (6 - lowest) / 2 * (node + 1), (6 - lowest) / 2 * weight
    density = lambda t: np.exp(-t * t / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    w = rho * u[:, None] + sigma * z
    y = u[:, None] * node  # the other pairs' U in (-u, u), then their W in (-w, w)
    upper = _normal_cdf((w[:, :, None] - rho * y[:, None, :]) / sigma)
    lower = _normal_cdf((-w[:, :, None] - rho * y[:, None, :]) / sigma)
    both_smaller = u[:, None] * ((upper - lower) * (density(y) * weight)[:, None, :]).sum(-1)
    others_smaller = np.clip(both_smaller, 0, 1) ** (n_buckets / 2 - 1)
    inner = (others_smaller * density(z) * z_weight).sum(-1)
    return float(n_buckets * (density(u) * u_weight * inner).sum())
