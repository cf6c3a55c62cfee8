"""Checks of exercise 07: hash, combine digits, the chances of several rounds, measure them."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import hashing_answers as answers
from efftx.check import hashing_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("07_hashing")

hash_once = Check(
    name="hash_once",
    returns=("buckets",),
    right=answers.nearest,
    cases=answers.one_factor_cases,
    praise="Every vector has its bucket.",
    mistakes=EDITS["hash_once"]
    | {
        "It looks as if an axis and its opposite were numbered side by side. Bucket i and bucket "
        "i + n_buckets/2 are opposite: first all of xR, then all of -xR.": answers.axis_by_axis,
        "It looks as if the buckets were counted from 1. They count from 0.": (
            lambda x, R: answers.nearest(x, R) + 1
        ),
        "It looks as if the rows of R were normalised first. The formula takes R as it was "
        "drawn.": lambda x, R: answers.nearest(x, R / np.linalg.norm(R, axis=1, keepdims=True)),
    },
)

combine_digits = Check(
    name="combine_digits",
    returns=("buckets",),
    right=answers.as_number,
    cases=answers.digit_cases,
    praise="Small hashes make a large one.",
    mistakes=EDITS["combine_digits"]
    | {
        "It looks as if the digits were multiplied with each other. Whoever has a digit 0 would "
        "land in bucket 0.": lambda digits, b: digits.prod(0),
        "Two digits are right, three are not: it looks as if each were multiplied by the next "
        "radix alone. The first of three needs both, h1·b2·b3 + h2·b3 + h3.": answers.by_next_radix,
        "It looks as if only the first digit counted.": lambda digits, b: digits[0],
    },
)

found_in_rounds = Check(
    name="found_in_rounds",
    returns=("chance",),
    right=answers.found,
    cases=answers.chance_cases,
    praise="One round is enough to be found.",
    mistakes=EDITS["found_in_rounds"]
    | {
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
    mistakes=EDITS["rounds_needed"]
    | {
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
    mistakes=EDITS["collisions_by_angle"]
    | {
        "It looks as if all ordered pairs were taken, a vector with itself among them. Take i < "
        "j.": partial(answers.by_angle, pairs=lambda n: np.ones((n, n), bool)),
        "The pairs are right, but the frequency looks like a number of collisions. Divide it by "
        "the number of rounds and by the number of pairs in the bin.": (
            answers.with_frequency(lambda f, n_pairs, n_hashes: f * n_pairs * n_hashes)
        ),
        "It looks as if the vectors were not normalised: the product of two vectors is the cosine "
        "of their angle only if both have length 1.": (
            partial(answers.by_angle, angle=lambda x: np.arccos(x @ x.T))
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

rounds_with_more_buckets = Guess(
    name="rounds_with_more_buckets",
    unit="rounds",
    measured=experiment.rounds_with_many_buckets,
    within=1.25,
    praise="Both digits must agree, and rounds are independent: your two formulas foretell it.",
    too_low="A pair shares one of 1,024 buckets only if it agrees in both digits, and each of them "
    "it misses in most rounds. The chance of one round is a product, not a sum.",
    too_high="32 times as many buckets are not 32 times as hard for a pair as near as this. If the "
    "two digits agree in 30 rounds of 100 each, how often do both?",
)
