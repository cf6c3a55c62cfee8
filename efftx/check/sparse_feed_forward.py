"""Checks of exercise 10: which units are on, straight through, only the chosen units, the load."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx import sparsity
from efftx.check import sparse_feed_forward_answers as answers
from efftx.check.core import Check

units_that_are_on = Check(
    name="units_that_are_on",
    returns=("on",),
    right=answers.chosen,
    cases=answers.choice_cases,
    praise="One in each block, without reading W1.",
    mistakes={
        "It looks as if the highest score were sought over the wrong axis: over the blocks instead "
        "of over a block's N units. Cut the scores into (length, n_blocks, N) and look along the "
        "last axis.": partial(answers.chosen, among=partial(answers.highest, axis=1)),
        "It looks as if the highest score were sought over the positions. Each position chooses "
        "for itself; look along the N units of a block.": (
            partial(answers.chosen, among=partial(answers.highest, axis=0))
        ),
        "It looks as if a block were every n_blocks-th unit. A block is N neighbours: units 0 to "
        "N - 1, then N to 2N - 1, and so on.": answers.dealt_out,
        "It looks as if only one of all units were on. Every block has one.": (
            partial(answers.chosen, among=answers.of_all_units)
        ),
        "It looks as if the highest scores were taken wherever they stand, so that some blocks "
        "have several units on and others none.": (
            partial(answers.chosen, among=answers.strongest_anywhere)
        ),
        "It looks as if every unit with a score above 0 were on. Scores are compared with each "
        "other: the highest of its block is on, whatever its sign.": (
            partial(answers.chosen, among=lambda scores: scores > 0)
        ),
        "It looks as if the lowest score had won. It is the highest that does.": (
            partial(answers.chosen, rate=np.negative)
        ),
        "It looks as if the sign of the scores were lost: the largest magnitude has won. The "
        "highest score wins, and -3 is lower than 1.": partial(answers.chosen, rate=np.abs),
        "It looks as if a ReLU stood before the comparison: in a block without a positive score "
        "the first unit has won. There is no ReLU in the controller.": (
            partial(answers.chosen, rate=answers.relu)
        ),
    },
)

straight_through = Check(
    name="straight_through",
    returns=("mask", "g_scores"),
    right=answers.straight_through,
    cases=answers.gradient_cases,
    praise="Hard on the way up, soft on the way down.",
    mistakes={
        "It looks as if the noise played no part: the unit with the highest score is on. On is "
        "where score + noise is highest.": (
            answers.first(lambda scores, noise, g: answers.highest(scores).astype(float))
        ),
        "It looks as if the noise were added to the probabilities. Gumbel noise belongs to their "
        "logarithms, that is to the scores.": answers.first(answers.beside_probabilities),
        "It looks as if the mask were the soft one. On the way up it is hard: 1 for one unit of "
        "each block, 0 for the others.": (
            answers.first(lambda scores, noise, g: answers.softmax(scores))
        ),
        "It looks as if the mask were the softmax of score + noise. On the way up it is hard: 1 "
        "for one unit of each block, 0 for the others.": (
            answers.first(lambda scores, noise, g: answers.softmax(scores + noise))
        ),
        "The gradient is 0 everywhere: it looks as if it had been taken through the hard mask, "
        "without the straight-through step. Let it go through the softmax.": (
            answers.second(lambda scores, noise, g: np.zeros_like(g))
        ),
        "It looks as if g were passed on unchanged, as if the mask were the scores themselves. "
        "Between the two stands a softmax, and its derivative is wanted.": (
            answers.second(lambda scores, noise, g: g)
        ),
        "It looks as if the softmax were taken over all units of all blocks. Each block has a "
        "softmax of its own, along the last axis.": answers.second(answers.over_all_units),
        "It looks as if the noise had got into the soft mask. It is only there to explore: the "
        "gradient is that of the softmax of the scores alone.": (
            answers.second(
                lambda scores, noise, g: answers.through(answers.softmax(scores + noise), g)
            )
        ),
        "It looks as if the sum were missing: soft · g alone. A score that rises takes "
        "probability from the other units of its block.": (
            answers.second(lambda scores, noise, g: answers.softmax(scores) * g)
        ),
        "It looks as if each probability depended on its own score alone, soft · (1 - soft) · g. "
        "A score that rises takes probability from the other units of its block, too.": (
            answers.second(answers.only_itself)
        ),
        "It looks as if the sum over a block were taken of g and not of soft · g.": (
            answers.second(
                lambda scores, noise, g: answers.softmax(scores) * (g - g.sum(-1, keepdims=True))
            )
        ),
    },
)

only_the_chosen = Check(
    name="only_the_chosen",
    returns=("y",),
    right=answers.gathered,
    cases=answers.gathering_cases,
    praise="Nobody reads the weights of units that are off.",
    mistakes={
        "It looks as if all units were computed and those that are off multiplied by 0. Here "
        "their weights are nan, and 0 · nan is nan. Take the chosen columns and rows out first, "
        "and compute with nothing else.": answers.everything_masked,
        "It looks as if rows of W1 were gathered. A unit's weights in W1 (d_model, d_ff) are a "
        "column, w1[:, i].": answers.rows_of_w1,
        "It looks as if columns of W2 were gathered. A unit's weights in W2 (d_ff, d_model) are a "
        "row, w2[i].": answers.columns_of_w2,
        "It looks as if the numbers within the blocks were taken for numbers of units. Unit u of "
        "block b is number b · N + u.": partial(answers.gathered, where=lambda units, d_ff: units),
        "It looks as if the units were counted in the wrong order, as u · n_blocks + b. Unit u of "
        "block b is number b · N + u, since the units of a block are neighbours.": (
            partial(answers.gathered, where=answers.in_the_wrong_order)
        ),
        "It looks as if b1 were forgotten.": answers.without_b1,
        "It looks as if b1 were taken at the numbers within the blocks. Gather it at the same "
        "places as the columns of W1.": answers.first_biases,
        "It looks as if b2 were forgotten. It belongs to no unit and is always added, whole.": (
            answers.without_b2
        ),
        "It looks as if the ReLU were forgotten. A chosen unit may still come out negative, and "
        "then gives 0.": partial(answers.gathered, act=lambda inside: inside),
    },
)

load = Check(
    name="load",
    returns=("shares", "effective"),
    right=answers.load,
    cases=answers.load_cases,
    praise="Now a number says how evenly the work is shared.",
    mistakes={
        "It looks as if the units were counted and the counts not divided by the number of "
        "positions.": answers.first(
            lambda units, n_units: answers.shares_of(units, n_units) * len(units)
        ),
        "It looks as if the counts were divided by all choices of all blocks. Each position "
        "chooses once in each block: divide by the number of positions.": answers.first(
            lambda units, n_units: answers.shares_of(units, n_units) / units.shape[1]
        ),
        "It looks as if the blocks were thrown together. Unit 0 of one block has nothing to do "
        "with unit 0 of another; count each block by itself.": (
            answers.first(answers.all_blocks_together)
        ),
        "It looks as if 0 · log 0 had been computed, which is nan, where a unit is never on. Such "
        "a unit counts as 0 in the sum.": answers.effective_by(answers.carelessly),
        "It looks as if the entropy were returned. Its exponential is the effective number: of "
        "N units in equal use the entropy is ln N, and exp of it N.": (
            answers.effective_by(answers.entropy)
        ),
        "It looks as if the sign of the entropy were lost: what you return is below 1. Entropy is "
        "minus the sum of p · ln p.": (
            answers.effective_by(lambda shares: np.exp(-answers.entropy(shares)))
        ),
        "It looks as if the entropy were in bits, and exp taken of it. With log2 it is 2 to the "
        "power of the entropy.": (
            answers.effective_by(lambda shares: np.exp(answers.entropy(shares) / np.log(2)))
        ),
        "It looks as if you counted the units that are ever on. A unit that is on once in a "
        "thousand positions should hardly count.": (
            answers.effective_by(lambda shares: (shares > 0).sum(-1).astype(float))
        ),
        "It looks as if you took 1 / Σ p². That measures evenness, too, but here exp of the "
        "entropy is asked for.": answers.effective_by(lambda shares: 1 / (shares**2).sum(-1)),
        "It looks as if one number were made for all blocks. Each block has its own.": (
            answers.effective_by(answers.all_blocks_as_one)
        ),
    },
)


def _by_the_package(*case):
    """The same layer by `efftx.sparsity`, whose weights lie in blocks, a row for each unit."""
    x, c1, c2, w1, b1, w2, b2 = map(jnp.asarray, case[:-1])
    blocks = sparsity.n_blocks_of(len(b1), case[-1]), case[-1]
    w1, w2 = (w.reshape(*blocks, -1) for w in (w1.T, w2))
    units = sparsity.strongest_units(sparsity.controller_scores(x, c1, c2.reshape(-1, *blocks)))
    return sparsity.gathered_feed_forward(x, units, w1, b1.reshape(blocks), w2, b2)


my_sparse_layer = Check(
    name="my_sparse_layer",
    returns=("y",),
    right=_by_the_package,
    cases=answers.layer_cases,
    praise="This is a sparse feed-forward layer.",
)
