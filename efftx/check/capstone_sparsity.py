"""Checks of the sparsity capstone: chosen units, attention with a cache, readout, and the loop."""

from efftx.check import capstone_sparsity_answers as answers
from efftx.check import capstone_sparsity_reads as reads
from efftx.check.core import Check
from efftx.check.edited import mistakes_of

EDITS = mistakes_of("capstone_sparsity")

feed_forward = Check(
    name="feed_forward",
    returns=("y",),
    right=answers.masked,
    cases=answers.unit_cases,
    praise="One row in each block is read.",
    promise=reads.reads_the_chosen,
    mistakes=EDITS["feed_forward"],
)

attention_step = Check(
    name="attention_step",
    returns=("out", "history", "keys", "values"),
    right=answers.stepped,
    cases=answers.step_cases,
    praise="It remembers what it needs.",
    promise=reads.makes_nothing_dense(reads.wide_step),
    seen=answers.with_a_cache,
    mistakes=EDITS["attention_step"],
)

token_scores = Check(
    name="token_scores",
    returns=("scores",),
    right=answers.scored,
    cases=answers.score_cases,
    praise="Nothing of the size of the vocabulary times the width.",
    promise=reads.makes_nothing_dense(reads.wide_scores),
    mistakes=EDITS["token_scores"],
)

write = Check(
    name="write",
    returns=("tokens", "scores"),
    right=answers.written,
    cases=answers.writing_cases,
    praise="It reads a few rows for each token.",
    promise=reads.reads_little_in_a_loop,
    seen=answers.with_weights,
    mistakes=EDITS["write"],
)
