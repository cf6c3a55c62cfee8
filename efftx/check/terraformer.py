"""Checks of exercise 12: what a token reads, the source first, a step of the SRU, speedups."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx.check import terraformer_answers as answers
from efftx.check.core import Check
from efftx.models.sru import SRU

weights_read = Check(
    name="weights_read",
    returns=("counts",),
    right=answers.counts,
    cases=answers.size_cases,
    praise="That is all a token reads.",
    mistakes={
        "It looks as if the chosen units had a column of W1 and no row of W2. Each has both: "
        "2 · d_model weights.": answers.counts_with(
            chosen_units=lambda d, ff, n, *_: d * ff // n,
        ),
        "It looks as if all units were counted. Of each block of n_units one is on, so d_ff / "
        "n_units units are read.": answers.counts_with(
            chosen_units=lambda d, ff, *_: 2 * d * ff,
        ),
        "It looks as if n_units units were on in all. n_units is the size of a block; on is one in "
        "each of the d_ff / n_units blocks.": answers.counts_with(
            chosen_units=lambda d, ff, n, *_: 2 * d * n,
        ),
        "It looks as if the controller had C1 only. C2, d_lowrank × d_ff, is read too, and it is "
        "the larger one.": answers.counts_with(controller=lambda d, ff, n, r, *_: d * r),
        "It looks as if the controller had C2 only. C1, d_model × d_lowrank, comes before it.": (
            answers.counts_with(controller=lambda d, ff, n, r, *_: r * ff)
        ),
        "It looks as if the controller scored one unit in each block only. It cannot know which "
        "one is on before it has scored all d_ff of them.": answers.counts_with(
            controller=lambda d, ff, n, r, *_: r * (d + ff // n),
        ),
        "It looks as if the controller were one matrix of d_model × d_ff. It goes through a "
        "bottleneck of d_lowrank numbers.": answers.counts_with(
            controller=lambda d, ff, *_: d * ff,
        ),
        "It looks as if the convolutions had 9 matrices in all. A kernel looks at 3 positions and "
        "3 modules, which makes 9, and q, k and v have a kernel each.": answers.counts_with(
            qkv=lambda d, ff, n, r, s, *_: d * (s + d // s) + 9 * (d // s) ** 2,
        ),
        "It looks as if q, k and v had a multiplicative layer each. They share one.": (
            answers.counts_with(
                qkv=lambda d, ff, n, r, s, *_: 3 * d * (s + d // s) + 27 * (d // s) ** 2
            )
        ),
        "It looks as if an output projection were counted, d_model × d_model. Sparse QKV has "
        "none.": answers.counts_with(
            qkv=lambda d, ff, n, r, s, *_: d * (s + d // s) + 27 * (d // s) ** 2 + d * d,
        ),
        "It looks as if the convolutions' matrices were S × S. Their channels are the M = d_model "
        "/ S numbers of a module.": answers.counts_with(
            qkv=lambda d, ff, n, r, s, *_: d * (s + d // s) + 27 * s**2,
        ),
        "It looks as if the readout were dense, d_model × vocab. Its multiplicative layer has D "
        "and E.": answers.counts_with(readout=lambda *sizes: sizes[0] * sizes[5]),
        "It looks as if D were forgotten in the readout: it is d_model × readout_modules.": (
            answers.counts_with(readout=lambda *sizes: sizes[0] * sizes[5] // sizes[6])
        ),
    },
)

decode_after_source = Check(
    name="decode_after_source",
    returns=("out",),
    right=answers.decoded,
    cases=answers.source_cases,
    praise="No cross-attention, and no padding in between.",
    mistakes={
        "It looks as if the padding were left between source and target. Leave out the rows where "
        "mask is False.": partial(answers.decoded, first=lambda source, mask: source),
        "It looks as if the padding were set to zero but left where it was. The decoder still "
        "reads it: leave the rows out.": (
            partial(answers.decoded, first=lambda source, mask: source * mask[:, None])
        ),
        "It looks as if the mask were turned round: True are the rows to keep.": (
            partial(answers.decoded, first=lambda source, mask: source[~mask])
        ),
        "It looks as if padding were expected at the end: the first rows were kept, as many as "
        "mask has True. Take those where mask is True.": (
            partial(answers.decoded, first=lambda source, mask: source[: mask.sum()])
        ),
        "It looks as if the source were read backwards.": (
            partial(answers.decoded, first=lambda source, mask: source[mask][::-1])
        ),
        "It looks as if the decoder knew nothing of the source: it was not read, or read behind "
        "the target, where a causal decoder does not see it. It must come first.": (
            partial(answers.decoded, first=lambda source, mask: source[:0])
        ),
        "It looks as if the first rows of the result were returned. They are the source's; the "
        "target's come behind them.": answers.rows_of_the_source,
        "It looks as if the rows were cut out one too early: the first is that of the last row "
        "before the target.": partial(answers.decoded, shift=-1),
        "It looks as if the target were looked for behind a source of full length. The padding is "
        "gone, so it begins at row mask.sum().": answers.cut_behind_the_padding,
    },
)

sru_step = Check(
    name="sru_step",
    returns=("h", "c_next"),
    right=answers.sru,
    cases=answers.step_cases,
    praise="All that it remembers is c.",
    mistakes={
        "It looks as if f and 1 - f were exchanged: f says how much of the old c is kept.": (
            partial(answers.sru, carried=lambda f, c, new: (1 - f) * c + f * new)
        ),
        "It looks as if new input came in at full strength: its factor is 1 - f.": (
            partial(answers.sru, carried=lambda f, c, new: f * c + new)
        ),
        "It looks as if the past were not faded: the factor of c is f.": (
            partial(answers.sru, carried=lambda f, c, new: c + (1 - f) * new)
        ),
        "It looks as if the past played no part: c_next is f · c + (1 - f) · x W.": (
            partial(answers.sru, carried=lambda f, c, new: (1 - f) * new)
        ),
        "It looks as if the weights of the two gates were exchanged.": answers.gates_exchanged,
        "It looks as if the gates looked at c, as an LSTM's do. Here they look at x alone; that is "
        "what makes the unit simple.": answers.gates_of_the_past,
        "It looks as if the sigmoid of the gates were forgotten. They must lie between 0 and 1.": (
            partial(answers.sru, gate=lambda x: x)
        ),
        "It looks as if the biases were forgotten.": answers.without_biases,
        "It looks as if the matrices were multiplied from the wrong side. It is x @ w, with x as "
        "a row.": answers.transposed,
        "It looks as if x itself were carried on. What comes into c is x W.": (
            lambda x, c, w, *rest: answers.sru(
                x, c, w, *rest, carried=lambda f, c, new: f * c + (1 - f) * x
            )
        ),
        "`c_next` looks as if tanh were taken of x W. There is one tanh, that of c_next in h.": (
            partial(answers.sru, taken=np.tanh)
        ),
        "`c_next` is right, but `h` looks as if it were made from the old c.": (
            partial(answers.sru, shown=lambda r, x, xw, c, c_next: r * np.tanh(c) + (1 - r) * x)
        ),
        "`c_next` is right, but in `h` the tanh seems to be missing.": (
            partial(answers.sru, shown=lambda r, x, xw, c, c_next: r * c_next + (1 - r) * x)
        ),
        "`c_next` is right, but in `h` the way past the unit seems to be missing: (1 - r) · x.": (
            partial(answers.sru, shown=lambda r, x, xw, c, c_next: r * np.tanh(c_next))
        ),
        "`c_next` is right, but in `h` x W seems to go past the unit. It is x itself.": (
            partial(
                answers.sru, shown=lambda r, x, xw, c, c_next: r * np.tanh(c_next) + (1 - r) * xw
            )
        ),
        "`c_next` is right, but in `h` r and 1 - r seem to be exchanged: r says how much of c is "
        "shown.": (
            partial(
                answers.sru, shown=lambda r, x, xw, c, c_next: (1 - r) * np.tanh(c_next) + r * x
            )
        ),
        "It looks as if the two results were exchanged: return h, c_next.": (
            lambda *case: answers.sru(*case)[::-1]
        ),
    },
)

speedups = Check(
    name="speedups",
    returns=("alone", "together"),
    right=answers.speeds,
    cases=answers.time_cases,
    praise="Amdahl would agree.",
    mistakes={
        "`alone` is right, but `together` looks like the product of `alone`. Speedups of parts do "
        "not multiply: add up the seconds that are left, and divide once.": (
            partial(answers.speeds, together=lambda seconds, factors, alone: alone.prod())
        ),
        "`alone` is right, but `together` looks like the sum of `alone`.": (
            partial(answers.speeds, together=lambda seconds, factors, alone: alone.sum())
        ),
        "`alone` is right, but `together` looks like the best of `alone`. All techniques are used "
        "at once.": partial(answers.speeds, together=lambda seconds, factors, alone: alone.max()),
        "`alone` is right, but `together` looks like the mean of the factors, weighted by the "
        "seconds. Add up seconds, not factors: each part takes seconds / factor.": (
            partial(
                answers.speeds,
                together=lambda seconds, factors, alone: (seconds * factors).sum() / seconds.sum(),
            )
        ),
        "`alone` is right, but `together` looks like a mean of the factors that forgets how long "
        "each part takes.": (
            partial(
                answers.speeds, together=lambda seconds, factors, alone: 1 / (1 / factors).mean()
            )
        ),
        "`together` is right, but `alone` looks like the factors themselves. They make a part "
        "faster; the rest of the model takes as long as before.": (
            partial(answers.speeds, alone=lambda seconds, factors, alone: factors)
        ),
        "`together` is right, but `alone` looks as if the faster part took no time at all. It "
        "takes seconds / factor.": (
            partial(
                answers.speeds,
                alone=lambda seconds, factors, alone: seconds.sum() / (seconds.sum() - seconds),
            )
        ),
        "`together` is right, but `alone` looks as if seconds / factor were what a part saves. It "
        "is what the part still takes.": (
            partial(
                answers.speeds,
                alone=lambda seconds, factors, alone: (
                    seconds.sum() / (seconds.sum() - seconds / factors)
                ),
            )
        ),
        "It looks as if the ratio were upside down. A speedup is the time before, divided by the "
        "time after.": answers.upside_down,
        "It looks as if the seconds that are left were returned. How many times faster is the "
        "whole?": answers.seconds_left,
    },
)


def _package(x, w, w_f, w_r, b_f, b_r):
    weights = jnp.stack([jnp.asarray(matrix) for matrix in (w, w_f, w_r)], axis=1)
    unit = SRU(weights, jnp.stack([jnp.asarray(b_f), jnp.asarray(b_r)]))
    return unit(jnp.asarray(x))[0]


my_sru = Check(
    name="my_sru",
    returns=("h",),
    right=_package,
    cases=answers.text_cases,
    praise="Step by step it is what the package computes at once.",
)
