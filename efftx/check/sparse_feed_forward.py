"""Checks of exercise 10: which units are on, straight through, only the chosen units, the load."""

from functools import partial

import jax.numpy as jnp

from efftx import sparsity
from efftx.check import sparse_feed_forward_answers as answers
from efftx.check import sparse_feed_forward_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("10_sparse_feed_forward")

units_that_are_on = Check(
    name="units_that_are_on",
    returns=("on",),
    right=answers.chosen,
    cases=answers.choice_cases,
    praise="One in each block, without reading W1.",
    mistakes=EDITS["units_that_are_on"]
    | {
        "It looks as if the highest score were sought over the positions. Each position chooses "
        "for itself; look along the N units of a block.": (
            partial(answers.chosen, among=partial(answers.highest, axis=0))
        ),
        "It looks as if the highest scores were taken wherever they stand, so that some blocks "
        "have several units on and others none.": (
            partial(answers.chosen, among=answers.strongest_anywhere)
        ),
    },
)

straight_through = Check(
    name="straight_through",
    returns=("mask", "g_scores"),
    right=answers.straight_through,
    cases=answers.gradient_cases,
    praise="Hard on the way up, soft on the way down.",
    mistakes=EDITS["straight_through"],
)

only_the_chosen = Check(
    name="only_the_chosen",
    returns=("y",),
    right=answers.gathered,
    cases=answers.gathering_cases,
    praise="Nobody reads the weights of units that are off.",
    promise=answers.reads_the_chosen_alone,
    mistakes=EDITS["only_the_chosen"],
)

load = Check(
    name="load",
    returns=("shares", "effective"),
    right=answers.load,
    cases=answers.load_cases,
    praise="Now a number says how evenly the work is shared.",
    mistakes=EDITS["load"],
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

units_that_can_win = Guess(
    name="units_that_can_win",
    unit="units",
    measured=experiment.through_two_numbers,
    within=1.5,
    praise="Those at the rim: in a plane only the corners of the outline are ever farthest out.",
    too_low="With one number the largest and the smallest unit win. In a plane there are more "
    "directions than left and right, and each corner of the outline is farthest in one of them.",
    too_high="A unit wins where its point in the plane is farthest out in the direction of x C1. "
    "One in the middle of the others never is, whatever the direction.",
)
