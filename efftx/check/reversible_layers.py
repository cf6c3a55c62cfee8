"""Checks of exercise 03: undo a block, undo a stack, one coupling's gradients, all of them."""

from functools import partial

import numpy as np

from efftx.check import reversible_layers_answers as answers
from efftx.check.core import Check

undo_block = Check(
    name="undo_block",
    returns=("x1", "x2"),
    right=answers.undone_block,
    cases=answers.block_cases,
    praise="What the block did is undone.",
    mistakes={
        "It looks as if the branches were added once more. To undo an addition, subtract.": (
            partial(answers.undone_block, sign=1)
        ),
        "x2 is right. But x1 looks like y1 - F(y2): the block computed F at x2, and that is what "
        "you have just rebuilt. Take F there.": answers.undone_with_the_result,
        "It looks as if the block were undone in the order in which it was done. What came last "
        "must go first: x2 needs only what is known, y1 and y2; then x1.": (
            answers.undone_in_forward_order
        ),
        "It looks as if x1 and x2 were exchanged: return (x1, x2).": (
            lambda *case: answers.undone_block(*case)[::-1]
        ),
        "It looks as if F and G were exchanged: G, with w_g, was added to the second stream.": (
            lambda y1, y2, w_f, w_g: answers.undone_block(y1, y2, w_g, w_f)
        ),
        "x2 is right, but x1 is still y1: what F added is still in it.": (
            lambda y1, *case: (y1, answers.undone_block(y1, *case)[1])
        ),
        "It looks as if nothing were undone: these are y1 and y2.": lambda y1, y2, *w: (y1, y2),
    },
)

undo_stack = Check(
    name="undo_stack",
    returns=("x1", "x2"),
    right=answers.undone_stack,
    cases=answers.stack_cases,
    praise="Down again, to where it began.",
    mistakes={
        "It looks as if the layers were undone from the first to the last. The last one was added "
        "last, so it must go first, and its seed with it.": (
            partial(answers.undone_stack, layers=answers.upwards)
        ),
        "The weights go from the last layer to the first, but it looks as if the seeds went from "
        "the first to the last: each layer's dropout must be drawn from its own seed again.": (
            partial(answers.undone_stack, layers=answers.seeds_upwards)
        ),
        "It looks as if all layers used the first layer's seed. Each has its own.": (
            partial(answers.undone_stack, layers=answers.first_seed_for_all)
        ),
        "It looks as if new dropout were drawn, from seed + 1. What is subtracted must be exactly "
        "what was added: draw it from the same seed.": (
            partial(answers.undone_stack, layers=answers.drawn_anew)
        ),
        "It looks as if only the last layer were undone. Does the `return` stand inside the "
        "loop?": partial(answers.undone_stack, layers=answers.last_only),
        "It looks as if the first layer were left out. Does your loop stop too early?": (
            partial(answers.undone_stack, layers=answers.all_but_the_first)
        ),
        "It looks as if the branches were added once more. To undo an addition, subtract.": (
            partial(answers.undone_stack, sign=1)
        ),
        "It looks as if the branch ran on c, the stream that was changed. It ran on b, the one "
        "that was not, and so you still have what it saw.": answers.undone_with_the_other_stream,
        "It looks as if the streams were not exchanged back: (b, c) becomes (a, b) with "
        "a = c - F(b).": answers.undone_without_exchange,
        "It looks as if x1 and x2 were exchanged: return (x1, x2).": (
            lambda *case: answers.undone_stack(*case)[::-1]
        ),
    },
)

backward_coupling = Check(
    name="backward_coupling",
    returns=("a", "g_a", "g_b", "g_w", "g_extra"),
    right=answers.coupling_back,
    cases=answers.coupling_cases,
    praise="Undone and differentiated at once.",
    mistakes={
        "It looks as if the vjp were taken at the wrong point, at c. The branch ran on b: take it "
        "there.": answers.pulled_back_at(lambda a, b, c: c),
        "It looks as if the vjp were taken at the wrong point, at the rebuilt a. The branch ran on "
        "b, which needs no rebuilding.": answers.pulled_back_at(lambda a, b, c: a),
        "g_b looks like what comes back through the branch alone. b was also passed on unchanged: "
        "add the g_b that came in.": (
            answers.with_other(g_b=lambda given, right: right - given["g_b"])
        ),
        "g_b is still the one that came in. c depends on b too, through the branch: add what the "
        "vjp gives for x.": answers.with_other(g_b=lambda given, right: given["g_b"]),
        "g_a looks like the g_b that came in. Only c = a + F(b) depends on a, with slope 1: its "
        "gradient is that of c.": answers.with_other(g_a=lambda given, right: given["g_b"]),
        "It looks as if a minus had slipped into the gradients. The minus belongs to rebuilding, "
        "a = c - F(b). The gradients are those of the way forward, c = a + F(b).": (
            answers.pulling_back(lambda g_b, g_c: -g_c)
        ),
        "It looks as if g_b were pulled back through the branch. Its result went into c: pull "
        "back g_c.": answers.pulling_back(lambda g_b, g_c: g_b),
        "It looks as if g_b + g_c were pulled back through the branch. Its result went into c "
        "alone: pull back g_c.": answers.pulling_back(lambda g_b, g_c: g_b + g_c),
        "It looks as if the gradient of `extra` were dropped: it is 0. The branch looks at it, so "
        "the vjp must be taken for it too.": (
            answers.with_other(g_extra=lambda given, right: np.zeros_like(right))
        ),
        "The gradients are right, but it looks as if F(b) were added to c once more. To rebuild a, "
        "subtract it.": answers.with_other(a=lambda given, right: 2 * given["c"] - right),
    },
)

backward_stack = Check(
    name="backward_stack",
    returns=("x1", "x2", "g_x1", "g_x2", "g_w", "g_extra"),
    right=answers.stack_back,
    cases=answers.gradient_cases,
    praise="All gradients, and no activation was stored.",
    mistakes={
        "It looks as if the layers were taken from the first to the last. Both rebuilding and "
        "gradients go from the last to the first.": (
            partial(answers.stack_back, layers=answers.upwards, order=1)
        ),
        "It looks as if g_w were stacked in the order in which it was computed, the last layer's "
        "first. Turn it round: g_w[i] belongs to w[i].": partial(answers.stack_back, order=1),
        "It looks as if g_extra were that of the first layer alone. Does the loop write over it? "
        "All layers look at `extra`: add their gradients up.": (
            partial(answers.stack_back, over_layers=lambda gradients: gradients[-1])
        ),
        "It looks as if g_extra were that of the last layer alone. All layers look at `extra`: add "
        "their gradients up.": (
            partial(answers.stack_back, over_layers=lambda gradients: gradients[0])
        ),
        "It looks as if g_extra were a mean over the layers. Gradients of what is used several "
        "times add up.": (
            partial(answers.stack_back, over_layers=lambda gradients: np.mean(gradients, axis=0))
        ),
        "It looks as if the gradient of `extra` were dropped: it is 0.": (
            partial(answers.stack_back, over_layers=lambda gradients: np.zeros_like(gradients[0]))
        ),
        "It looks as if all gradients were taken at y1. Each layer saw another stream: go on from "
        "the a and b that the step before has rebuilt.": answers.stack_back_without_rebuilding,
        "It looks as if the seeds went from the first to the last while the weights went from the "
        "last to the first. Each layer's dropout must be drawn from its own seed again.": (
            partial(answers.stack_back, layers=answers.seeds_upwards)
        ),
        "It looks as if all layers used the first layer's seed. Each has its own.": (
            partial(answers.stack_back, layers=answers.first_seed_for_all)
        ),
        "It looks as if new dropout were drawn, from seed + 1. The gradient is that of what was "
        "computed: draw it from the same seed.": (
            partial(answers.stack_back, layers=answers.drawn_anew)
        ),
        "x1 and x2 are right, but it looks as if their gradients were exchanged.": (
            answers.streams_exchanged
        ),
    },
)
