"""Checks of exercise 14: a sharded ledger, a missing reduction, a ring, bytes that are sent."""

from functools import partial

from efftx.check import your_own_experiments_answers as answers
from efftx.check import your_own_experiments_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("14_your_own_experiments")

bytes_each = Check(
    name="bytes_each",
    returns=("n_bytes",),
    right=answers.fullest,
    cases=answers.ledger_cases,
    praise="No device holds more.",
    mistakes=EDITS["bytes_each"],
)

one_step = Check(
    name="one_step",
    returns=("w",),
    right=answers.stepped,
    cases=answers.step_cases,
    praise="All devices walk together.",
    mistakes=EDITS["one_step"],
    seen=partial(answers.OnDevices, in_axes=(None, 0, 0, 0, None)),
)

ring_attention = Check(
    name="ring_attention",
    returns=("out",),
    right=answers.attended,
    cases=answers.ring_cases,
    praise="And no device ever held all keys.",
    promise=answers.share_by_share,
    mistakes=EDITS["ring_attention"],
    seen=partial(answers.OnDevices, in_axes=(0, 0, 0)),
)

bytes_sent = Check(
    name="bytes_sent",
    returns=("in_a_ring", "hashed"),
    right=answers.sent,
    cases=answers.sent_cases,
    praise="What travels is known before anything runs.",
    mistakes=EDITS["bytes_sent"],
)

count_in_half_the_bytes = Guess(
    name="count_in_half_the_bytes",
    unit="devices",
    measured=experiment.last_right,
    within=1.1,
    praise="A number of 8 digits counts no further.",
    too_low="Eight binary digits write more whole numbers than that: all from 0 to 11111111, and "
    "the next one, 100000000, too, since its last digit is 0.",
    too_high="Take the number with nine binary digits that ends in 1. bfloat16 has eight: where is "
    "it rounded to, and what becomes of the 1 that was added?",
)
