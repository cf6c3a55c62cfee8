"""Checks of exercise 03: undo a block, a stack, one coupling's gradients, all, and within jax."""

from functools import partial

from efftx.check import reversible_layers_answers as answers
from efftx.check import reversible_layers_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess

EDITS = mistakes_of("03_reversible_layers")

undo_block = Check(
    name="undo_block",
    returns=("x1", "x2"),
    right=answers.undone_block,
    cases=answers.block_cases,
    praise="What the block did is undone.",
    mistakes=EDITS["undo_block"]
    | {
        "It looks as if nothing were undone: these are y1 and y2.": lambda y1, y2, *w: (y1, y2),
    },
)

undo_stack = Check(
    name="undo_stack",
    returns=("x1", "x2"),
    right=answers.undone_stack,
    cases=answers.stack_cases,
    praise="Down again, to where it began.",
    mistakes=EDITS["undo_stack"],
)

backward_coupling = Check(
    name="backward_coupling",
    returns=("a", "g_a", "g_b", "g_w", "g_extra"),
    right=answers.coupling_back,
    cases=answers.coupling_cases,
    praise="Undone and differentiated at once.",
    mistakes=EDITS["backward_coupling"]
    | {
        "It looks as if g_b + g_c were pulled back through the branch. Its result went into c "
        "alone: pull back g_c.": answers.pulling_back(lambda g_b, g_c: g_b + g_c),
    },
)

backward_stack = Check(
    name="backward_stack",
    returns=("x1", "x2", "g_x1", "g_x2", "g_w", "g_extra"),
    right=answers.stack_back,
    cases=answers.gradient_cases,
    praise="All gradients, and no activation was stored.",
    promise=answers.keeps_nothing("y1", "y2"),
    mistakes=EDITS["backward_stack"]
    | {
        "It looks as if g_extra were that of the last layer alone. All layers look at `extra`: add "
        "their gradients up.": (
            partial(answers.stack_back, over_layers=lambda gradients: gradients[0])
        ),
        "It looks as if the seeds went from the first to the last while the weights went from the "
        "last to the first. Each layer's dropout must be drawn from its own seed again.": (
            partial(answers.stack_back, layers=answers.seeds_upwards)
        ),
    },
)

make_stack = Check(
    name="make_stack",
    returns=("y1", "y2", "g_x1", "g_x2", "g_w", "g_extra"),
    right=answers.from_inputs,
    cases=answers.inputs_cases,
    praise="jax differentiates through it, and stores no activation.",
    promise=answers.keeps_nothing("x1", "x2"),
    seen=answers.differentiated_by_jax,
    mistakes=EDITS["make_stack"],
)

worthwhile_depth = Guess(
    name="worthwhile_depth",
    unit="layers",
    measured=experiment.first_gain,
    within=1.5,
    praise="Two streams and their gradients cost something, and a few layers do not pay for it.",
    too_low="A reversible backward pass is not free of memory: it carries two streams and the "
    "gradients of both, four arrays in the place of one layer's input. A few layers' inputs are no "
    "more than that.",
    too_high="What the reversible stack needs does not depend on the depth, and it is not much: "
    "some four arrays and the layer at hand. Checkpoints need one more for every layer.",
)
