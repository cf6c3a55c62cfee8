"""Checks of exercise 04: a layer in chunks, its gradients in chunks, a loss in chunks."""

import numpy as np

from efftx.check import chunking_answers as answers
from efftx.check import chunking_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("04_chunking")

in_chunks = Check(
    name="in_chunks",
    returns=("out",),
    right=answers.chunked,
    cases=answers.layer_cases,
    praise="The layer never saw more positions than it has room for.",
    mistakes=EDITS["in_chunks"]
    | {
        "It looks as if the positions behind the last whole chunk were left 0, from row {0} on. "
        "They are a chunk too, a shorter one.": answers.with_rest(
            lambda layer, x, m, n: np.zeros_like(layer(x[:1]))
        ),
        "It looks as if the last chunk had been taken from the end of x, so that it overlaps with "
        "the one before, and then its first rows were used. Row {0} is another position's.": (
            answers.with_rest(answers.last_chunk_from_the_end)
        ),
        "It looks as if the start moved on by 1 instead of chunk_len, so that the chunks overlap: "
        "see row {0}.": answers.one_step_at_a_time,
        "It looks as if the positions were dealt out to the chunks like cards, every n-th to the "
        "same one, and not put back: row {0} is another position's. A chunk is a slice of "
        "neighbours.": answers.dealt_out,
    },
)

gradients_in_chunks = Check(
    name="gradients_in_chunks",
    returns=("g_w1", "g_b1", "g_w2", "g_x"),
    right=answers.gradients,
    cases=answers.gradient_cases,
    praise="Nothing d_ff wide is longer than a chunk.",
    promise=answers.one_chunk_at_a_time(answers.gradients_case(), "d_ff"),
    mistakes=EDITS["gradients_in_chunks"]
    | {
        "It looks as if the positions behind the last whole chunk were left out of the gradients "
        "of the weights. They are a chunk too, a shorter one.": answers.without_rest,
    },
)

loss_in_chunks = Check(
    name="loss_in_chunks",
    returns=("loss",),
    right=answers.mean_loss,
    cases=answers.loss_cases,
    praise="The scores of all positions never existed.",
    promise=answers.one_chunk_at_a_time(answers.loss_case(), "vocab"),
    mistakes=EDITS["loss_in_chunks"]
    | {
        "It looks as if the positions behind the last whole chunk were left out of the sum.": (
            answers.whole_chunks_only
        ),
    },
)

shortest_chunk = Guess(
    name="shortest_chunk",
    unit="positions",
    measured=experiment.longest_in_vain,
    within=2,
    praise="There the inside of a chunk is as small as what no chunk can cut: the results.",
    too_low="Shorter chunks make the inside smaller, and nothing else. The layer's result and its "
    "gradient have d_model columns and a row for every position. Once the inside of a chunk is "
    "smaller than these, half of it is half of very little.",
    too_high="The inside has d_ff columns, many more than d_model. A chunk has to be as much "
    "shorter than the whole before its inside is no larger than one array of all positions.",
)
