"""Checks of exercise 06: top keys, online softmax, counting scores, causal attention in blocks."""

from efftx.check import attention_is_sparse_answers as answers
from efftx.check import attention_is_sparse_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("06_attention_is_sparse")

top_mass = Check(
    name="top_mass",
    returns=("mass",),
    right=answers.mass_of_top,
    cases=answers.weight_cases,
    praise="You can say how sparse a head is.",
    mistakes=EDITS["top_mass"],
)

add_keys = Check(
    name="add_keys",
    returns=("maximum", "total", "weighted"),
    right=answers.added,
    cases=answers.state_cases,
    praise="A softmax in pieces.",
    mistakes=EDITS["add_keys"],
)

keys_compared = Check(
    name="keys_compared",
    returns=("n_keys",),
    right=answers.keys_compared,
    cases=answers.count_cases,
    praise="Every score is counted.",
    mistakes=EDITS["keys_compared"],
)

blocked_causal_attention = Check(
    name="blocked_causal_attention",
    returns=("out",),
    right=answers.blocked,
    cases=answers.attention_cases,
    praise="Exact, and no matrix in sight.",
    promise=answers.few_scores,
    mistakes=EDITS["blocked_causal_attention"]
    | {
        "It looks as if a block of queries went on with the sums of the block before. Each starts "
        "anew: maximum -inf, total 0, weighted 0. See query {0}.": answers.never_reset,
        "It looks as if each block had a softmax of its own, and their outputs were averaged. A "
        "block that holds more weight must count for more. See query {0}.": (
            answers.mean_of_blocks
        ),
    },
)

top_keys_of_many = Guess(
    name="top_keys_of_many",
    unit="keys",
    measured=experiment.at_the_longest,
    within=1.3,
    praise="It is a share of the keys, and not a number of keys.",
    too_low="Sixteen times as many keys bring sixteen times as many large scores. The top keys are "
    "a fixed share of all, so their number grows with the length.",
    too_high="Sixteen times as many keys bring sixteen times as many large scores, and no more: "
    "the top keys are a fixed share of all.",
)
