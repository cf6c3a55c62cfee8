"""Checks of exercise 01: an LSTM, attention three times, a block, and how fast an LSTM forgets."""

from efftx.check import from_rnns_to_transformers_answers as answers
from efftx.check import from_rnns_to_transformers_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("01_from_rnns_to_transformers")

lstm = Check(
    name="lstm",
    returns=("h",),
    right=answers.stepped,
    cases=answers.lstm_cases,
    praise="Step by step, and nothing forgotten that should not be.",
    mistakes=EDITS["lstm"],
)

causal_attention = Check(
    name="causal_attention",
    returns=("out",),
    right=answers.attended,
    cases=answers.attention_cases,
    praise="No position sees its future.",
    mistakes=EDITS["causal_attention"],
)

cross_attention = Check(
    name="cross_attention",
    returns=("out",),
    right=answers.crossed,
    cases=answers.cross_cases,
    praise="One text asks, the other answers.",
    mistakes=EDITS["cross_attention"],
)

multi_head = Check(
    name="multi_head",
    returns=("out",),
    right=answers.with_heads,
    cases=answers.head_cases,
    praise="Every head looks for something of its own.",
    mistakes=EDITS["multi_head"],
)

block = Check(
    name="block",
    returns=("out",),
    right=answers.two_branches,
    cases=answers.block_cases,
    praise="A Transformer is a stack of these.",
    mistakes=EDITS["block"],
)

memory_of_lstm = Guess(
    name="memory_of_lstm",
    unit="positions",
    measured=experiment.faded_after,
    within=1.6,
    praise="About half of it is lost at every step, and a half of a half, and so on.",
    too_low="Not all of it is lost at once. The cell is multiplied by σ(f), which is about 1/2 "
    "here: after ten steps a thousandth is left, and a little more where gates happen to be open.",
    too_high="σ of something around 0 is about 1/2, and the cell is multiplied by it at every "
    "step. What was read n positions ago counts 1/2 to the power of n. An LSTM can learn to keep "
    "its gates open; untrained, it forgets fast.",
)
