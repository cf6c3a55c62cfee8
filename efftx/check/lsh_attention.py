"""Checks of exercise 08: sort and undo, who may look at whom, one round, several rounds."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import lsh_attention_answers as answers
from efftx.check import lsh_attention_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("08_lsh_attention")

sort_and_undo = Check(
    name="sort_and_undo",
    returns=("order", "slot"),
    right=answers.in_order,
    cases=answers.bucket_cases,
    praise="Every position finds its way back.",
    mistakes=EDITS["sort_and_undo"]
    | {
        "The buckets are in order, but inside a bucket the later position comes first. Sort by "
        "(bucket, position): the earlier one must.": answers.later_first,
        "It looks as if the buckets played no part: the positions stand where they stood.": (
            answers.with_its_inverse(lambda buckets: np.arange(len(buckets)))
        ),
        "It looks as if `order` held the sorted buckets. It must hold positions: order[s] is the "
        "position that stands in slot s.": (
            lambda buckets: (np.sort(buckets), answers.in_order(buckets)[1])
        ),
    },
)

allowed_pairs = Check(
    name="allowed_pairs",
    returns=("allowed",),
    right=answers.pairs,
    cases=answers.slot_cases,
    praise="Who may look at whom is settled.",
    mistakes=EDITS["allowed_pairs"]
    | {
        "It looks as if the chunks played no part: query {0} may look at key {1}, which is in its "
        "bucket, but neither in its chunk nor in the one before.": (
            partial(answers.pairs, without="window")
        ),
    },
)

attend = Check(
    name="attend",
    returns=("out", "lse"),
    right=answers.attended,
    cases=answers.round_cases,
    praise="One round stands.",
    mistakes=EDITS["attend"],
)

join_rounds = Check(
    name="join_rounds",
    returns=("out",),
    right=answers.over_union,
    cases=answers.rounds_cases,
    praise="Many rounds, one softmax.",
    mistakes=EDITS["join_rounds"]
    | {
        "N is 0 where no round allows a pair, also for a query and itself, and log 0 = -inf ends "
        "in nan. Take log(max(N, 1)).": answers.nothing_is_a_number,
    },
)


def _package(q, v, buckets, chunk_len, causal):
    return attention.lsh_attention(
        jnp.asarray(q),
        jnp.asarray(v),
        buckets=jnp.asarray(buckets),
        n_buckets=4,
        n_hashes=len(buckets),
        chunk_len=chunk_len,
        causal=causal,
    )


my_lsh_attention = Check(
    name="my_lsh_attention",
    returns=("out",),
    right=_package,
    cases=answers.whole_cases,
    praise="It computes what efftx computes.",
)

rounds_for_a_small_error = Guess(
    name="rounds_for_a_small_error",
    unit="rounds",
    measured=experiment.rounds_for_a_small_error,
    within=1.5,
    praise="The error falls by a factor with every round, and the pairs that are left are harder.",
    too_low="The first rounds find the pairs that are easy to find, those that point the same way. "
    "What is missing after them meets more rarely, so each further round gains less.",
    too_high="Rounds are no noisy measurements of which one takes the mean, with an error that "
    "falls like 1/√n. Each finds keys that were missing: what is missing is multiplied by less "
    "than 1 every time.",
)
