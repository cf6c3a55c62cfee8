"""Checks of the memory capstone: forward, inverse, backward, and one function of the three."""

from efftx.check import capstone_memory_answers as answers
from efftx.check.core import Check
from efftx.check.edited import mistakes_of

EDITS = mistakes_of("capstone_memory")


def _results(case, rng):
    return answers.from_results(case)


def _results_and_gradients(case, rng):
    return answers.from_results(answers.with_gradients(rng, case))


def _inputs_and_gradients(case, rng):
    return answers.with_gradients(rng, case)


forward = Check(
    name="forward",
    returns=("y1", "y2"),
    right=answers.plain,
    cases=answers.forward_cases,
    praise="As long a program at any depth.",
    promise=answers.as_loop(),
    mistakes=EDITS["forward"],
)

inverse = Check(
    name="inverse",
    returns=("x1", "x2"),
    right=answers.undone,
    cases=answers.inverse_cases,
    praise="Down again, in one loop.",
    promise=answers.as_loop(_results),
    mistakes=EDITS["inverse"],
)

backward = Check(
    name="backward",
    returns=("g_w_f", "g_w_g", "g_x1", "g_x2"),
    right=answers.gradients_from_results,
    cases=answers.backward_cases,
    praise="Flat from 2 to 32 blocks.",
    promise=answers.keeps_nothing(_results_and_gradients),
    mistakes=EDITS["backward"],
)

make_stack = Check(
    name="make_stack",
    returns=("y1", "y2", "g_w_f", "g_w_g", "g_x1", "g_x2"),
    right=answers.all_gradients,
    cases=answers.gradient_cases,
    praise="Flat from 2 to 32 blocks.",
    promise=answers.keeps_nothing(_inputs_and_gradients),
    seen=answers.differentiated,
    mistakes=EDITS["make_stack"],
)
