"""Checks of exercise 07: hash, combine digits, the chances of several rounds, measure them."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import hashing_answers as answers
from efftx.check.core import Check

hash_once = Check(
    name="hash_once",
    returns=("buckets",),
    right=answers.nearest,
    cases=answers.one_factor_cases,
    praise="Every vector has its bucket.",
    mistakes={
        "It looks as if the negative half were missing: vector {0} points against an axis, and "
        "that is a bucket of its own. Take the argmax over [xR; -xR].": (
            lambda x, R: (x @ R).argmax(-1)
        ),
        "Vector {0} got the bucket opposite to its own. It looks as if the two halves were "
        "exchanged, or as if it were an argmin: take the argmax of [xR; -xR], xR first.": (
            lambda x, R: answers.signed(x @ R).argmin(-1)
        ),
        "It looks as if the sign were dropped: vector {0} points against its axis, but got the "
        "bucket of those that point along it. Opposite vectors must not share a bucket.": (
            lambda x, R: np.abs(x @ R).argmax(-1)
        ),
        "It looks as if R were transposed. Its axes are its columns, so the product is x @ R.": (
            lambda x, R: answers.nearest(x, R.T)
        ),
        "It looks as if the argmax ran over the vectors, for each bucket. It runs over the "
        "buckets, for each vector: along the last axis.": (
            lambda x, R: answers.signed(x @ R).argmax(0)
        ),
        "It looks as if an axis and its opposite were numbered side by side. Bucket i and bucket "
        "i + n_buckets/2 are opposite: first all of xR, then all of -xR.": answers.axis_by_axis,
        "It looks as if the buckets were counted from 1. They count from 0.": (
            lambda x, R: answers.nearest(x, R) + 1
        ),
        "It looks as if the columns of R were normalised first. The formula takes them as they "
        "were drawn.": lambda x, R: answers.nearest(x, R / np.linalg.norm(R, axis=0)),
        "It looks as if the rows of R were normalised first. The formula takes R as it was "
        "drawn.": lambda x, R: answers.nearest(x, R / np.linalg.norm(R, axis=1, keepdims=True)),
        "It looks as if the bucket were that of the nearest column by distance, which depends on "
        "the length of x: see vector {0}. Only its direction may count.": answers.nearest_tip,
    },
)

combine_digits = Check(
    name="combine_digits",
    returns=("buckets",),
    right=answers.as_number,
    cases=answers.digit_cases,
    praise="Small hashes make a large one.",
    mistakes={
        "It looks as if the digits were in the wrong order: the first one is the most "
        "significant, h = h1·b2 + h2.": (
            lambda digits, b: answers.as_number(digits[::-1], b[::-1])
        ),
        "It looks as if the digits were added. Vectors whose digits merely have the same sum "
        "would share a bucket.": lambda digits, b: digits.sum(0),
        "It looks as if the digits were multiplied with each other. Whoever has a digit 0 would "
        "land in bucket 0.": lambda digits, b: digits.prod(0),
        "It looks like the wrong base: a digit was moved up by its own radix. To make room for "
        "the next digit, multiply by the radix of that: h1·b2, not h1·b1.": (
            lambda digits, b: answers.as_number(digits, [1, *b[:-1]])
        ),
        "It looks like the wrong base: the first radix in every place. To make room for a digit, "
        "multiply by its radix.": lambda digits, b: answers.as_number(digits, [b[0]] * len(b)),
        "It looks like the wrong base: the last radix in every place. To make room for a digit, "
        "multiply by its radix.": lambda digits, b: answers.as_number(digits, [b[-1]] * len(b)),
        "It looks like the wrong base: 10, as in everyday numbers. The base of a digit is its "
        "radix.": lambda digits, b: answers.as_number(digits, [10] * len(b)),
        "Two digits are right, three are not: it looks as if each were multiplied by the next "
        "radix alone. The first of three needs both, h1·b2·b3 + h2·b3 + h3.": answers.by_next_radix,
        "It looks as if only the first digit counted.": lambda digits, b: digits[0],
        "It looks as if only the last digit counted. Does the loop write over what it had?": (
            lambda digits, b: digits[-1]
        ),
        "It looks as if the last digit were moved up as well: there is nothing after it to make "
        "room for.": lambda digits, b: answers.as_number(digits, b) * b[-1],
    },
)

found_in_rounds = Check(
    name="found_in_rounds",
    returns=("chance",),
    right=answers.found,
    cases=answers.chance_cases,
    praise="One round is enough to be found.",
    mistakes={
        "It looks like p times the rounds. That counts a pair twice that two rounds find, and "
        "passes 1.": lambda p, n: p * n,
        "It looks like p times the rounds, cut off at 1. Chances add up only where no two of them "
        "can happen together.": lambda p, n: np.minimum(1, p * n),
        "It looks like p ** n_hashes: the chance that every round finds the pair. One is enough.": (
            lambda p, n: p**n
        ),
        "It looks like (1 - p) ** n_hashes: the chance that no round finds the pair. What is "
        "wanted is all the rest.": lambda p, n: (1 - p) ** n,
        "It looks like 1 - p ** n_hashes: the chance that not every round finds the pair. The "
        "pair is lost only if every round misses it, each with 1 - p.": lambda p, n: 1 - p**n,
        "It looks like the chance that exactly one round finds the pair. Two or more are good as "
        "well.": lambda p, n: n * p * (1 - p) ** (n - 1),
        "It looks as if the number of rounds played no part.": lambda p, n: p,
    },
)

rounds_needed = Check(
    name="rounds_needed",
    returns=("rounds",),
    right=lambda p, target: answers.whole(answers.rounds_for(p, target)),
    cases=answers.target_cases,
    praise="No round too many, and none too few.",
    mistakes={
        "It looks as if the number were rounded down: these rounds just miss the target. Round "
        "up.": lambda p, target: np.floor(answers.rounds_for(p, target)).astype(int),
        "It looks as if the number were rounded to the nearest. Where that is down, the target is "
        "missed: round up.": lambda p, target: np.rint(answers.rounds_for(p, target)).astype(int),
        "It looks like one round too many.": (
            lambda p, target: answers.whole(answers.rounds_for(p, target)) + 1
        ),
        "It looks like target / p. Chances of rounds do not add up, since two may find the same "
        "pair.": lambda p, target: answers.whole(target / p),
        "It looks like log(target) / log(p): the rounds that all find the pair. Solve "
        "1 - (1 - p)^r = target for r.": (
            lambda p, target: answers.whole(np.log(target) / np.log(p))
        ),
        "It looks as if the fraction were upside down.": (
            lambda p, target: answers.whole(1 / answers.rounds_for(p, target))
        ),
        "It looks like log(target) / log(1 - p), the rounds after which the chance to miss has "
        "fallen to the target. It must fall to 1 - target.": (
            lambda p, target: answers.whole(np.log(target) / np.log(1 - p))
        ),
    },
)

collisions_by_angle = Check(
    name="collisions_by_angle",
    returns=("n_pairs", "frequency"),
    right=answers.by_angle,
    cases=answers.pair_cases,
    praise="What theory predicts, you can measure.",
    mistakes={
        "It looks as if every vector were paired with itself too, at angle 0, where it always "
        "collides. Take the pairs with i < j.": (
            partial(answers.by_angle, pairs=lambda n: np.triu(np.ones((n, n), bool)))
        ),
        "It looks as if every pair were counted twice, as (i, j) and as (j, i). Take i < j.": (
            answers.pairs_twice
        ),
        "It looks as if all ordered pairs were taken, a vector with itself among them. Take i < "
        "j.": partial(answers.by_angle, pairs=lambda n: np.ones((n, n), bool)),
        "The pairs are right, but the frequency looks like the share of pairs that meet in at "
        "least one round. What is wanted is the mean over the rounds.": (
            partial(answers.by_angle, over=lambda same: same.any(0))
        ),
        "The pairs are right, but the frequency looks like the share of pairs that meet in every "
        "round. What is wanted is the mean over the rounds.": (
            partial(answers.by_angle, over=lambda same: same.all(0))
        ),
        "The pairs are right, but the frequency looks as if only the first round counted.": (
            partial(answers.by_angle, over=lambda same: same[0])
        ),
        "The pairs are right, but it looks as if the rounds were added up. Divide by their "
        "number: a frequency is at most 1.": (
            answers.with_frequency(lambda f, n_pairs, n_hashes: f * n_hashes)
        ),
        "The pairs are right, but the frequency looks like a number of collisions, averaged over "
        "the rounds. Divide it by the number of pairs in the bin.": (
            answers.with_frequency(lambda f, n_pairs, n_hashes: f * n_pairs)
        ),
        "The pairs are right, but the frequency looks like a number of collisions. Divide it by "
        "the number of rounds and by the number of pairs in the bin.": (
            answers.with_frequency(lambda f, n_pairs, n_hashes: f * n_pairs * n_hashes)
        ),
        "The pairs are right, but it looks as if the collisions of a bin were divided by the "
        "number of all pairs. Divide by the pairs of the same bin.": (
            answers.with_frequency(lambda f, n_pairs, n_hashes: f * n_pairs / n_pairs.sum())
        ),
        "It looks as if the cosines were put into bins. The edges are angles: take the arccos.": (
            partial(answers.by_angle, angle=answers.cosines)
        ),
        "It looks as if the vectors were not normalised: the product of two vectors is the cosine "
        "of their angle only if both have length 1.": (
            partial(answers.by_angle, angle=lambda x: np.arccos(x @ x.T))
        ),
        "It looks as if the vectors were not normalised, only cut off at -1 and 1: the product of "
        "two vectors is the cosine of their angle only if both have length 1.": (
            partial(answers.by_angle, angle=lambda x: np.arccos(np.clip(x @ x.T, -1, 1)))
        ),
        "It looks as if the angles were in degrees. The edges are in radians.": (
            partial(answers.by_angle, angle=lambda x: np.degrees(answers.angles(x)))
        ),
    },
)

my_hash_vectors = Check(
    name="my_hash_vectors",
    returns=("buckets",),
    right=lambda x, rotations: attention.hash_vectors(jnp.float32(x), rotations),
    cases=answers.whole_cases,
    praise="It computes what efftx computes.",
)
