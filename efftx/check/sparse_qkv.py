"""Checks of exercise 11: a multiplicative layer, permutations, a causal convolution, its steps."""

from functools import partial

import numpy as np

from efftx.check import sparse_qkv_answers as answers
from efftx.check import sparse_qkv_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("11_sparse_qkv")

multiplicative = Check(
    name="multiplicative",
    returns=("out",),
    right=answers.multiplied,
    cases=answers.factor_cases,
    praise="Few parameters, and every input reaches every output.",
    mistakes=EDITS["multiplicative"]
    | {
        "It looks as if D and E each had a sum over i of their own, and the two sums were "
        "multiplied. There is one sum over i, of products of three numbers.": (
            partial(
                answers.each_summed_for_itself, with_e=lambda x, e: np.tile(e.sum(0), (len(x), 1))
            )
        ),
    },
)

permutation_factors = Check(
    name="permutation_factors",
    returns=("d", "e"),
    right=answers.factors,
    cases=answers.permutation_cases,
    praise="With them the layer is exactly x[permutation].",
    mistakes=EDITS["permutation_factors"],
)

causal_convolution = Check(
    name="causal_convolution",
    returns=("z",),
    right=answers.convolved,
    cases=answers.grid_cases,
    praise="Neighbours see each other, never the future.",
    mistakes=EDITS["causal_convolution"],
)

convolution_step = Check(
    name="convolution_step",
    returns=("z", "history"),
    right=answers.stepped,
    cases=answers.step_cases,
    praise="Two rows stand for all the text before.",
    mistakes=EDITS["convolution_step"],
)

decode = Check(
    name="decode",
    returns=("projections",),
    right=answers.q_k_v,
    cases=answers.decoding_cases,
    praise="Queries, keys and values, one token at a time.",
)

modules_that_read_least = Guess(
    name="modules_that_read_least",
    unit="modules",
    measured=experiment.fewest,
    choices=experiment.MODULES,
    praise="More than would balance D and E, because the 27 matrices of M × M want a small M.",
    too_low="With few modules each is wide, and the three kernels have 27 matrices of M × M: that "
    "grows with the square. D and E alone would be in balance at the root of d_model.",
    too_high="D has a column for every module. Once the kernels are small, each further module "
    "makes D larger and nothing much smaller.",
)
