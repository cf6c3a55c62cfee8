"""Checks of exercise 09: axial positions, a block that replays its buckets, decoding."""

import jax.numpy as jnp

from efftx import attention
from efftx.check import reformer_answers as answers
from efftx.check import reformer_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess
from efftx.check.reformer_answers import Block

__all__ = [
    "Block",
    "axial_rows",
    "block_backward",
    "candidates",
    "look_up",
    "my_decoding",
    "shortest_that_pays",
]

EDITS = mistakes_of("09_reformer")

axial_rows = Check(
    name="axial_rows",
    returns=("rows",),
    right=answers.axial,
    cases=answers.axial_cases,
    praise="A million rows out of two thousand.",
    promise=answers.without_the_table,
    mistakes=EDITS["axial_rows"],
)

block_backward = Check(
    name="block_backward",
    returns=("x1", "x2", "g_x1", "g_x2"),
    right=answers.block_backward,
    cases=answers.block_cases,
    praise="The buckets of the way up are those of the way down.",
    mistakes=EDITS["block_backward"],
)

candidates = Check(
    name="candidates",
    returns=("reached",),
    right=answers.union,
    cases=answers.cache_cases,
    praise="Each key once, from whatever round.",
    mistakes=EDITS["candidates"],
)

look_up = Check(
    name="look_up",
    returns=("out",),
    right=answers.look_up,
    cases=answers.look_up_cases,
    praise="The cache answers.",
    mistakes=EDITS["look_up"],
)


def _whole_text(qk, v, buckets):
    return attention.lsh_attention(
        jnp.asarray(qk),
        jnp.asarray(v),
        buckets=jnp.asarray(buckets),
        n_buckets=4,
        n_hashes=len(buckets),
        chunk_len=len(qk),
    )


my_decoding = Check(
    name="my_decoding",
    returns=("out",),
    right=_whole_text,
    cases=answers.decoding_cases,
    praise="Token by token, as of the whole text.",
)

shortest_that_pays = Guess(
    name="shortest_that_pays",
    unit="positions",
    measured=experiment.shortest_that_pays,
    choices=experiment.LENGTHS,
    praise="There a row of the matrix is longer than all that hashing keeps of a position.",
    too_low="Hashing has costs of its own: of each position it keeps its place in the sorted row, "
    "sorted copies of its vectors, and the scores of two chunks. On a short text the whole matrix "
    "is less.",
    too_high="The rounds run one after the other, and each needs the room of the one before. So 8 "
    "rounds take hardly more than one, whose row has 2 · 32 scores and not 8 times as many.",
)
