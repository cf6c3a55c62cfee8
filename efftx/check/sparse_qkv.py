"""Checks of exercise 11: a multiplicative layer, permutations, a causal convolution, its steps."""

from functools import partial

import numpy as np

from efftx.check import sparse_qkv_answers as answers
from efftx.check.core import Check

multiplicative = Check(
    name="multiplicative",
    returns=("out",),
    right=answers.multiplied,
    cases=answers.factor_cases,
    praise="Few parameters, and every input reaches every output.",
    mistakes={
        "It looks as if the modules were not put one after the other: number s + m·S of your row "
        "is y[s, m], as when D and E are exchanged or y is reshaped from (M, S). It belongs at "
        "number s·M + m.": partial(answers.multiplied, order="lms"),
        "It looks as if x were summed with D and once more with E, and the two sums multiplied. "
        "There is one sum over i, of products of three numbers: x_i · D[i, s] · E[i, m].": (
            partial(answers.each_summed_for_itself, with_e=lambda x, e: x @ e)
        ),
        "It looks as if D and E each had a sum over i of their own, and the two sums were "
        "multiplied. There is one sum over i, of products of three numbers.": (
            partial(
                answers.each_summed_for_itself, with_e=lambda x, e: np.tile(e.sum(0), (len(x), 1))
            )
        ),
        "It looks as if D and E were added. The weight from x_i to y[s, m] is their product, "
        "D[i, s] · E[i, m].": answers.added,
        "It looks as if D had gone through a softmax over the modules. There is nothing to "
        "normalise: D holds weights as any matrix does, also negative ones.": (
            lambda x, d, e: answers.multiplied(x, answers.softmax(d, axis=1), e)
        ),
        "It looks as if y had gone through a softmax over the modules. The layer is linear: return "
        "the sums as they are.": lambda x, d, e: answers.softmax(
            answers.multiplied(x, d, e).reshape(len(x), d.shape[1], -1), axis=1
        ).reshape(len(x), -1),
        "It looks as if x were forgotten: each of your rows is Σ_i D[i, s] E[i, m].": (
            lambda x, d, e: answers.multiplied(np.ones_like(x), d, e)
        ),
        "It looks as if only the last i counted: is the sum overwritten at each turn of a "
        "loop?": answers.only_the_last,
    },
)

permutation_factors = Check(
    name="permutation_factors",
    returns=("d", "e"),
    right=answers.factors,
    cases=answers.permutation_cases,
    praise="With them the layer is exactly x[permutation].",
    mistakes={
        "It looks as if the permutation were turned round: your x_i goes to place permutation[i]. "
        "But place o takes number permutation[o]. So x_i goes to the place at which permutation "
        "holds i.": partial(answers.factors, find=np.asarray),
        "It looks as if the places were dealt out to the modules like cards. Modules stand one "
        "after the other: place o lies in module o // M, at o % M.": answers.dealt,
        "It looks as if you divided by S, the number of modules. Place o lies in module o // M, "
        "at o % M, with M = d_model / S, the width of one module.": (
            answers.by_the_number_of_modules
        ),
        "It looks as if the module were right, and the place inside it that of the permutation "
        "turned round. Take both from the same place.": answers.inverse_inside,
        "It looks as if x_i went everywhere in its module: E is all ones. Each row of E has one 1, "
        "at the place inside the module.": answers.everywhere_in_the_module,
        "It looks as if the permutation were forgotten: your x_i stays at place i.": (
            partial(answers.factors, find=np.sort)
        ),
    },
)

causal_convolution = Check(
    name="causal_convolution",
    returns=("z",),
    right=answers.convolved,
    cases=answers.grid_cases,
    praise="Neighbours see each other, never the future.",
    mistakes={
        "It looks as if position t saw position t + 1: the zeros stand on both sides along the "
        "length. With two zero rows before and none after, the last row of the kernel looks at t "
        "itself.": partial(answers.convolved, surround=answers.ahead),
        "It looks as if position t saw t + 1 and t + 2 and nothing before it: the zero rows stand "
        "after the text. They belong before it.": (
            partial(answers.convolved, surround=answers.only_ahead)
        ),
        "It looks as if the kernel's rows were turned round in time. The last row belongs to "
        "position t itself, the first one to t - 2.": answers.with_kernel(lambda k: k[::-1]),
        "It looks as if the kernel's columns were turned round. Column 0 belongs to the module "
        "before, s - 1, column 2 to the one after.": answers.with_kernel(lambda k: k[:, ::-1]),
        "It looks as if the kernel were turned round both ways, as mathematicians and "
        "scipy.signal.convolve do. Here K[i, j] is taken with y[t - 2 + i, s - 1 + j].": (
            answers.with_kernel(lambda k: k[::-1, ::-1])
        ),
        "It looks as if the kernel's two first axes were exchanged. The first goes along the "
        "length, the second along the modules.": answers.with_kernel(lambda k: k.swapaxes(0, 1)),
        "It looks as if modules were causal, too, and module s saw s - 2, s - 1 and s. There is no "
        "before and after among modules: it sees s - 1, s and s + 1.": (
            partial(answers.convolved, surround=answers.modules_before)
        ),
        "It looks as if the modules stood in a ring, the last one beside the first. Beyond them "
        "there are zeros.": partial(answers.convolved, surround=answers.ring_of_modules),
        "It looks as if the text stood in a ring, so that its end comes before its beginning: "
        "that is the future. Before the text there are zeros.": (
            partial(answers.convolved, surround=answers.ring_of_positions)
        ),
        "It looks as if the first position and the outer modules were repeated beyond the edge. "
        "There are zeros.": partial(answers.convolved, surround=answers.edges_around),
        "It looks as if K[i, j] were transposed. Its rows belong to the numbers of y, its columns "
        "to those of z: y[…] @ K[i, j].": answers.with_kernel(lambda k: k.swapaxes(2, 3)),
        "It looks as if each module saw itself only. The kernel also has columns for the modules "
        "beside it, s - 1 and s + 1.": answers.with_kernel(answers.own_module),
    },
)

convolution_step = Check(
    name="convolution_step",
    returns=("z", "history"),
    right=answers.stepped,
    cases=answers.step_cases,
    praise="Two rows stand for all the text before.",
    mistakes={
        "It looks as if the history were forgotten: z is that of a first position, with zeros "
        "before it.": answers.seen_as(lambda y, history: [*np.zeros_like(history), y]),
        "It looks as if the history were read from the wrong end. history[0] is two positions "
        "back, history[1] one.": answers.seen_as(lambda y, history: [*history[::-1], y]),
        "It looks as if y had been put into the history before it was looked at, so that it counts "
        "twice. The kernel sees history[0], history[1], y.": (
            answers.seen_as(lambda y, history: [history[1], y, y])
        ),
        "It looks as if the window were the wrong way round: y stands first and the history after "
        "it. The last row of the kernel belongs to y.": (
            answers.seen_as(lambda y, history: [y, *history])
        ),
        "It looks as if the history were returned as it came. The next position has y one position "
        "back.": answers.kept_as(lambda y, history, z: history),
        "It looks as if y had taken the place of the newest row. The oldest one is not needed any "
        "more.": answers.kept_as(lambda y, history, z: [history[0], y]),
        "It looks as if y stood at the beginning of the new history. The order is that of the "
        "text: the newest last.": answers.kept_as(lambda y, history, z: [y, history[0]]),
        "It looks as if the new history had the right two rows in the wrong order. The newest "
        "stands last.": answers.kept_as(lambda y, history, z: [y, history[1]]),
        "It looks as if z went into the history. The kernel looks at what goes into the "
        "convolution, y.": answers.kept_as(lambda y, history, z: [history[1], z]),
    },
)

decode = Check(
    name="decode",
    returns=("projections",),
    right=answers.q_k_v,
    cases=answers.decoding_cases,
    praise="Queries, keys and values, one token at a time.",
)
