"""Exercise 07's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.attention``.
"""

import math
from itertools import pairwise

import jax.numpy as jnp
import numpy as np

DRAWS = 4  # of each size

# Part 1


def one_factor_cases(rng):
    """As many vectors as buckets, so that a wrong axis still gives (length,). R is square at
    first, so that R.T is told from R by its values, and then is not.
    """
    for d_head, n_axes in ((2, 2), (3, 3), (5, 3)):
        for _ in range(DRAWS):
            yield {
                "x": rng.normal(size=(2 * n_axes, d_head)),
                "R": rng.normal(size=(d_head, n_axes)),
            }


def signed(rotated):
    """[xR; −xR]."""
    return np.concatenate([rotated, -rotated], axis=-1)


def nearest(x, R):
    """The right bucket: the axis, with its sign, that x points along the most."""
    return signed(x @ R).argmax(-1)


def axis_by_axis(x, R):
    """The right axes numbered as +1, −1, +2, −2, …"""
    return np.stack([x @ R, -(x @ R)], axis=-1).reshape(len(x), -1).argmax(-1)


# Part 2


def digit_cases(rng):
    """The digits of one round and their radices, which all differ."""
    for radices in ((4, 6), (6, 2), (8,), (2, 6, 4), (4, 2, 8)):
        for _ in range(DRAWS):
            digits = [rng.integers(radix, size=6) for radix in radices]
            yield {"digits": np.stack(digits), "radices": np.array(radices)}


def as_number(digits, bases):
    """Digit after digit: what there is times the base, plus the next."""
    number = np.zeros_like(digits[0])
    for digit, base in zip(digits, bases, strict=True):
        number = number * base + digit
    return number


def by_next_radix(digits, radices):
    """Each digit times the radix after it alone; of two digits that is right."""
    return np.array([*radices[1:], 1]) @ digits


# Part 3


def chance_cases(rng):
    """Pairs' chances in one round, and a number of rounds."""
    for n_hashes in (2, 1, 4, 8):
        yield {"p": rng.uniform(0.05, 0.95, size=4), "n_hashes": n_hashes}


def found(p, n_hashes):
    return 1 - (1 - p) ** n_hashes


def target_cases(rng):
    """Targets between two whole numbers of rounds, so that no rounding error decides; and at last
    some that 1, 2 or 4 rounds reach exactly, in powers of 1/2, whose logs are exact.
    """
    for most, target in zip((1, 8, 8, 30), rng.uniform(0.1, 0.99, size=(DRAWS, 4)), strict=True):
        rounds = rng.integers(0, most, size=4) + rng.uniform(0.05, 0.95, size=4)
        yield {"p": 1 - (1 - target) ** (1 / rounds), "target": target}
    yield {"p": 1 - 0.5 ** np.array([1, 1, 2, 1]), "target": 1 - 0.5 ** np.array([1, 2, 4, 4])}


def rounds_for(p, target):
    """As a number that need not be whole: where 1 − (1 − p)^r is the target."""
    return np.log(1 - target) / np.log(1 - p)


def whole(numbers):
    """The fewest whole rounds."""
    return np.ceil(numbers).astype(int)


# Part 4

FROM_AN_EDGE = 1e-3  # radians that every angle but 0 keeps: float32 must not decide


def pair_cases(rng):
    """Vectors, some rounds' buckets and edges of bins; every bin holds a pair.

    Of the twelve vectors six are another's double, at the angle 0 to it.
    """
    for length, n_hashes, n_bins in ((4, 2, 2), (12, 3, 3)):
        draws = 0
        while draws < DRAWS:
            x, edges = rng.normal(size=(length, 3)), np.linspace(0, math.pi, n_bins + 1)
            if length == 12:
                x[6:] = 2 * x[:6]
            angle = angles(x)[np.triu_indices(length, 1)]
            clear = np.abs(angle[:, None] - edges)[angle > FROM_AN_EDGE].min() > FROM_AN_EDGE
            if clear and np.histogram(angle, edges)[0].all():
                draws += 1
                buckets = rng.integers(3, size=(n_hashes, length))
                yield {"x": x, "buckets": buckets, "edges": edges}


def cosines(x):
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return unit @ unit.T


def angles(x):
    return np.arccos(np.clip(cosines(x), -1, 1))


def earlier_first(length):
    """Every pair once: i < j."""
    return np.triu(np.ones((length, length), bool), 1)


def by_angle(x, buckets, edges, *, angle=angles, pairs=earlier_first):
    """Number of pairs and frequency of collisions in each bin; or with other angles or pairs."""
    same = (buckets[:, :, None] == buckets[:, None, :]).mean(0)
    size, counted = angle(x), pairs(len(x))
    inside = [counted & (low <= size) & (size < high) for low, high in pairwise(edges)]
    n_pairs = np.array([bin_.sum() for bin_ in inside])
    return n_pairs, np.array([same[bin_].sum() for bin_ in inside]) / n_pairs


def with_frequency(change):
    """The right number of pairs, and change(frequency, n_pairs, n_hashes)."""

    def measure(x, buckets, edges):
        n_pairs, frequency = by_angle(x, buckets, edges)
        return n_pairs, change(frequency, n_pairs, len(buckets))

    return measure


# All together


def whole_cases(rng):
    """Three rounds of one factor, and of two."""
    for radices in ((6,), (4, 10)):
        rotations = [rng.normal(size=(3, 7, radix // 2)) for radix in radices]
        yield {"x": rng.normal(size=(20, 7)), "rotations": tuple(map(jnp.float32, rotations))}
