"""Checks of exercise 02: count parameters and bytes, find the largest batch, weigh what is real."""

from efftx.check import where_the_memory_goes_answers as answers
from efftx.check import where_the_memory_goes_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("02_where_the_memory_goes")

count_parameters = Check(
    name="count_parameters",
    returns=("counts",),
    right=answers.parameters,
    cases=answers.model_cases,
    praise="Every number of the model is accounted for.",
    mistakes=EDITS["count_parameters"],
)

count_kept_bytes = Check(
    name="count_kept_bytes",
    returns=("kept",),
    right=answers.kept,
    cases=answers.block_cases,
    praise="That is what a block leaves behind.",
    mistakes=EDITS["count_kept_bytes"],
)

largest_batches = Check(
    name="largest_batches",
    returns=("batches",),
    right=answers.batches,
    cases=answers.batch_cases,
    praise="No out-of-memory error needed to find out.",
    mistakes=EDITS["largest_batches"],
)

kept_bytes = Check(
    name="kept_bytes",
    returns=("n_bytes",),
    right=answers.weighed,
    cases=answers.function_cases,
    praise="Now a ledger can be held to what jax really keeps.",
    mistakes=EDITS["kept_bytes"],
)

twice_the_bytes = Guess(
    name="twice_the_bytes",
    unit="tokens in a text",
    measured=experiment.twice_as_much,
    within=1.2,
    praise="Only the scores have grown, and they were half of all at 256.",
    too_low="The scores grow in proportion to the length, and nothing else does. They have to "
    "make up for the whole growth alone, and at 256 they are hardly half of all.",
    too_high="At 256 the scores are already nearly half of what a position keeps: 2 matrices, 2 "
    "heads, 256 keys. So they do not have to grow very often to add once more as much as all.",
)
