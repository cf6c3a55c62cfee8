"""Checks of exercise 13: an adapter's start, its product, an exchange, bytes, a budget."""

from efftx.check import fine_tuning_for_everyone_answers as answers
from efftx.check import fine_tuning_for_everyone_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("13_fine_tuning_for_everyone")

start = Check(
    name="start",
    returns=("a", "b"),
    right=answers.started,
    cases=answers.start_cases,
    praise="It changes nothing, and can learn.",
    mistakes=EDITS["start"],
)

adapted_product = Check(
    name="adapted_product",
    returns=("out",),
    right=answers.product,
    cases=answers.product_cases,
    praise="The matrix of the change never existed.",
    promise=answers.without_the_matrix,
    mistakes=EDITS["adapted_product"],
)

exchange = Check(
    name="exchange",
    returns=("out",),
    right=answers.exchanged,
    cases=answers.exchange_cases,
    praise="One task out, another in.",
    mistakes=EDITS["exchange"],
)

step_bytes = Check(
    name="step_bytes",
    returns=("counts",),
    right=answers.step,
    cases=answers.step_cases,
    praise="Every byte has its kind.",
    mistakes=EDITS["step_bytes"],
)

which_to_adapt = Check(
    name="which_to_adapt",
    returns=("adapted",),
    right=answers.chosen,
    cases=answers.budget_cases,
    praise="No other choice within the budget has more.",
    mistakes=EDITS["which_to_adapt"],
)

rank_that_saves_nothing = Guess(
    name="rank_that_saves_nothing",
    unit="columns",
    measured=experiment.as_many_as_the_matrices,
    within=1.1,
    praise="A thin change has to be thin.",
    too_low="An adapter of rank r has r · (d_in + d_out) numbers. Of a square matrix it catches up "
    "at half of d; a long one of d × 4 d has more to catch up with, 4 d² against 5 r d.",
    too_high="The adapter has *two* factors: at rank d it trains twice as many numbers as a square "
    "matrix of d × d has. Add up r · (d_in + d_out) over the four matrices of a block.",
)
