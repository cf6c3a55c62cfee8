"""Checks of exercise 05: rows in eight bits, blocks brought back, rounding by coin, swapping."""

from efftx.check import swapping_and_quantization_answers as answers
from efftx.check import swapping_and_quantization_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("05_swapping_and_quantization")

quantize_rows = Check(
    name="quantize_rows",
    returns=("codes", "absmax"),
    right=answers.rows,
    cases=answers.matrix_cases,
    praise="A quarter of the bytes, and no row pays for another.",
    exact=("codes",),
    promise=answers.cares_for_zeros,
    mistakes=EDITS["quantize_rows"],
)

dequantize_blocks = Check(
    name="dequantize_blocks",
    returns=("numbers",),
    right=answers.restored,
    cases=answers.block_cases,
    praise="Every block found its own absmax.",
    mistakes=EDITS["dequantize_blocks"],
)

round_by_coin = Check(
    name="round_by_coin",
    returns=("rounded",),
    right=answers.by_coin,
    cases=answers.coin_cases,
    praise="Right on average, which rounding to the nearest is not.",
    mistakes=EDITS["round_by_coin"],
)

tokens_to_hide = Check(
    name="tokens_to_hide",
    returns=("tokens",),
    right=answers.tokens,
    cases=answers.machine_cases,
    praise="The size of the layer has cancelled.",
    mistakes=EDITS["tokens_to_hide"],
)

there_and_back = Check(
    name="there_and_back",
    returns=("restored",),
    right=answers.there_and_back,
    cases=answers.matrix_cases,
    praise="Your parts fit together.",
)

one_outlier = Guess(
    name="one_outlier",
    unit="standard deviations",
    measured=experiment.half_is_lost,
    within=1.5,
    praise="One number in 4,096, and half of the others are gone.",
    too_low="A number becomes 0 only if it is below half a code, absmax / 254. Half of all normal "
    "numbers are below 0.67, so half a code has to be as large as that.",
    too_high="A code is absmax / 127, and all that is below half of it becomes 0: absmax / 254. "
    "Half of all normal numbers are below 0.67, and that is reached at an absmax of 0.67 · 254.",
)
