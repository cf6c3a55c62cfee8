"""Checks of exercise 12: what a token reads, the source first, a step of the SRU, speedups."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx.check import terraformer_answers as answers
from efftx.check import terraformer_experiment as experiment
from efftx.check.core import Check
from efftx.check.edited import mistakes_of
from efftx.check.guesses import Guess
from efftx.models.sru import SRU

EDITS = mistakes_of("12_terraformer")

weights_read = Check(
    name="weights_read",
    returns=("counts",),
    right=answers.counts,
    cases=answers.size_cases,
    praise="That is all a token reads.",
    mistakes=EDITS["weights_read"]
    | {
        "It looks as if the controller had C2 only. C1, d_model × d_lowrank, comes before it.": (
            answers.counts_with(controller=lambda d, ff, n, r, *_: r * ff)
        ),
        "It looks as if the controller scored one unit in each block only. It cannot know which "
        "one is on before it has scored all d_ff of them.": answers.counts_with(
            controller=lambda d, ff, n, r, *_: r * (d + ff // n),
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
        "It looks as if the readout were dense, d_model × vocab. Its multiplicative layer has D "
        "and E.": answers.counts_with(readout=lambda *sizes: sizes[0] * sizes[5]),
    },
)

decode_after_source = Check(
    name="decode_after_source",
    returns=("out",),
    right=answers.decoded,
    cases=answers.source_cases,
    praise="No cross-attention, and no padding in between.",
    mistakes=EDITS["decode_after_source"]
    | {
        "It looks as if the padding were set to zero but left where it was. The decoder still "
        "reads it: leave the rows out.": (
            partial(answers.decoded, first=lambda source, mask: source * mask[:, None])
        ),
        "It looks as if the source were read backwards.": (
            partial(answers.decoded, first=lambda source, mask: source[mask][::-1])
        ),
    },
)

sru_step = Check(
    name="sru_step",
    returns=("h", "c_next"),
    right=answers.sru,
    cases=answers.step_cases,
    praise="All that it remembers is c.",
    mistakes=EDITS["sru_step"]
    | {
        "It looks as if the past were not faded: the factor of c is f.": (
            partial(answers.sru, carried=lambda f, c, new: c + (1 - f) * new)
        ),
        "It looks as if the past played no part: c_next is f · c + (1 - f) · x W.": (
            partial(answers.sru, carried=lambda f, c, new: (1 - f) * new)
        ),
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
        "`c_next` is right, but in `h` the tanh seems to be missing.": (
            partial(answers.sru, shown=lambda r, x, xw, c, c_next: r * c_next + (1 - r) * x)
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
    },
)

speedups = Check(
    name="speedups",
    returns=("alone", "together"),
    right=answers.speeds,
    cases=answers.time_cases,
    praise="Amdahl would agree.",
    mistakes=EDITS["speedups"]
    | {
        "`alone` is right, but `together` looks like the sum of `alone`.": (
            partial(answers.speeds, together=lambda seconds, factors, alone: alone.sum())
        ),
        "`alone` is right, but `together` looks like the best of `alone`. All techniques are used "
        "at once.": partial(answers.speeds, together=lambda seconds, factors, alone: alone.max()),
        "`alone` is right, but `together` looks like a mean of the factors that forgets how long "
        "each part takes.": (
            partial(
                answers.speeds, together=lambda seconds, factors, alone: 1 / (1 / factors).mean()
            )
        ),
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

gain_with_a_dense_readout = Guess(
    name="gain_with_a_dense_readout",
    unit="times fewer",
    measured=experiment.with_a_dense_readout,
    within=1.15,
    praise="What stays dense is what you wait for.",
    too_low="The readout is a quarter of all, and that quarter stays. Of the other three quarters, "
    "the blocks, nearly all is gone.",
    too_high="The blocks read 30 times fewer weights, but the readout reads what it read before. "
    "Add up what is left, and divide once: Part 4.",
)
