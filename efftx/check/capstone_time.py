"""Checks of the time capstone: layout, scores, all rounds, and a backward pass of its own."""

from efftx.check import capstone_time_answers as answers
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.programs import as_one_program

EDITS = mistakes_of("capstone_time")

lay_out = Check(
    name="lay_out",
    returns=("order", "slot", "codes"),
    right=answers.laid_out,
    cases=answers.bucket_cases,
    praise="Every chunk knows who stands in it.",
    promise=answers.grows_with_length(answers.bucket_cases),
    mistakes=EDITS["lay_out"],
)

round_scores = Check(
    name="round_scores",
    returns=("scores",),
    right=answers.in_chunks,
    cases=answers.round_cases,
    praise="Two chunks for each query, and no more.",
    promise=answers.grows_with_length(answers.round_cases),
    seen=as_one_program,
    mistakes=EDITS["round_scores"],
)

attend = Check(
    name="attend",
    returns=("out", "lse"),
    right=answers.over_union,
    cases=answers.attend_cases,
    praise="It grows with the length alone.",
    promise=answers.keeps_no_round(answers.attend_cases),
    seen=as_one_program,
    mistakes=EDITS["attend"],
)

backward = Check(
    name="backward",
    returns=("g_q", "g_v"),
    right=answers.gradients,
    cases=answers.backward_cases,
    praise="Rebuilt, used, forgotten.",
    promise=answers.keeps_no_round(answers.backward_cases),
    seen=as_one_program,
    mistakes=EDITS["backward"],
)

make_attention = Check(
    name="make_attention",
    returns=("out", "g_q", "g_v"),
    right=answers.whole,
    cases=answers.whole_cases,
    praise="It keeps no round.",
    promise=answers.keeps_no_round(answers.whole_cases),
    seen=answers.differentiated,
    mistakes=EDITS["make_attention"],
)
