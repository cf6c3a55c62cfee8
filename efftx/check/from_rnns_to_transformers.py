"""Checks of exercise 01: an LSTM, causal attention, cross-attention with padding."""

from functools import partial

import numpy as np

from efftx.check import from_rnns_to_transformers_answers as answers
from efftx.check.core import Check

lstm = Check(
    name="lstm",
    returns=("h",),
    right=answers.stepped,
    cases=answers.lstm_cases,
    praise="Step by step, and nothing forgotten that should not be.",
    mistakes={
        "It looks as if nothing were carried from one position to the next: both the cell and the "
        "output must be, from turn to turn of the loop.": (
            partial(answers.stepped, carried=(0, 0))
        ),
        "It looks as if the cell were zero at each step. What was written into it before must be "
        "kept, as far as σ(f) lets it.": partial(answers.stepped, carried=(0, 1)),
        "It looks as if the last output played no part: h @ u is missing, or h is still zero when "
        "the next position comes.": partial(answers.stepped, carried=(1, 0)),
        "It looks as if the cell were fed back in the place of the output: it is h that is "
        "multiplied by u.": partial(answers.stepped, fed_back=0),
        "It looks as if the cells were returned. The outputs are wanted: h = σ(o) tanh(c).": (
            partial(answers.stepped, shown=0)
        ),
        "It looks as if f and i were exchanged: f says what stays of the old cell, i what of the "
        "new is taken in. The order is f, i, g, o.": (partial(answers.stepped, order=(1, 0, 2, 3))),
        "It looks as if g and o were exchanged. The order is f, i, g, o.": (
            partial(answers.stepped, order=(0, 1, 3, 2))
        ),
        "It looks as if nothing were ever struck out: multiply the old cell by σ(f).": (
            partial(answers.stepped, gates=answers.gated_without_forgetting)
        ),
        "It looks as if the tanh of g were missing: the cell takes in σ(i) tanh(g).": (
            partial(answers.stepped, gates=answers.gated_without_tanh_of_new)
        ),
        "It looks as if the tanh of the cell were missing: the output is σ(o) tanh(c).": (
            partial(answers.stepped, gates=answers.gated_without_tanh_of_cell)
        ),
        "It looks as if the gates were not squeezed between 0 and 1: σ(f), σ(i) and σ(o), with "
        "jax.nn.sigmoid.": partial(answers.stepped, gates=answers.gated_without_sigmoids),
        "It looks as if b were forgotten.": (
            lambda x, w, u, b: answers.stepped(x, w, u, np.zeros_like(b))
        ),
    },
)

causal_attention = Check(
    name="causal_attention",
    returns=("out",),
    right=answers.attended,
    cases=answers.attention_cases,
    praise="All positions at once, and none sees its future.",
    mistakes={
        "It looks as if the mask were missing: position {0} sees what comes after it.": (
            partial(answers.attended, mask=np.ones_like)
        ),
        "It looks as if the triangle were on the wrong side: a position may see itself and those "
        "before it, not those after it. Rows are queries, columns are keys.": (
            partial(answers.attended, mask=lambda scores: answers.not_later(scores).T)
        ),
        "It looks as if a position could not see itself. Then position 0 sees nothing, and 0/0 is "
        "nan: the diagonal belongs to the triangle.": (
            partial(answers.attended, mask=lambda scores: np.tri(*scores.shape, k=-1, dtype=bool))
        ),
        "It looks as if the scores of later positions were set to 0. exp(0) is 1: they still get "
        "weight. Set them to -inf.": partial(answers.attended, filler=0),
        "It looks as if the mask came after the softmax, so that the weights of position {0} do "
        "not add up to 1. Mask the scores, then take the softmax.": (answers.masked_after_softmax),
        "It looks as if the scores were not divided by √d.": partial(answers.attended, scale=1),
        "It looks as if the scores were divided by d. It is its root.": (
            lambda q, k, v: answers.attended(q, k, v, scale=1 / q.shape[1])
        ),
        "It looks as if the scores were multiplied by √d. They are divided by it.": (
            lambda q, k, v: answers.attended(q, k, v, scale=q.shape[1] ** 0.5)
        ),
        "It looks as if the softmax ran over the queries. It runs along a row, over the keys.": (
            partial(answers.attended, normalise=partial(answers.softmax, axis=0))
        ),
        "It looks as if the weights did not add up to 1: divide exp(score) by the sum over the "
        "row.": partial(answers.attended, normalise=np.exp),
        "It looks as if q and k were exchanged: row i holds the scores of query i.": (
            lambda q, k, v: answers.attended(k, q, v)
        ),
        "It looks as if the keys were averaged. The weights belong to the values.": (
            lambda q, k, v: answers.attended(q, k, k)
        ),
    },
)

cross_attention = Check(
    name="cross_attention",
    returns=("out",),
    right=answers.crossed,
    cases=answers.cross_cases,
    praise="One text asks, the other answers.",
    mistakes={
        "It looks as if the mask were ignored: padding gets weight.": (
            partial(answers.crossed, mask=np.ones_like)
        ),
        "It looks as if the mask were upside down: it is True for words, False for padding.": (
            lambda x, source, key_mask, *rest: answers.crossed(x, source, ~key_mask, *rest)
        ),
        "It looks as if the padding's scores were set to 0. exp(0) is 1: it still gets weight. "
        "Set them to -inf.": partial(answers.crossed, filler=0),
        "It looks as if the padding's vectors were set to 0 instead of being masked. Their scores "
        "are 0 then, exp(0) is 1, and they still get weight. Set their scores to -inf.": (
            answers.crossed_with_zeroed_padding
        ),
        "It looks as if the mask came after the softmax: the weights of each query must add up to "
        "1 over the words.": answers.crossed_and_masked_after_softmax,
        "It looks as if there were a causal mask. The source is there as a whole: every position "
        "of x may see all of it.": answers.crossed_causally,
        "It looks as if the scores were not divided by the root of d_head.": (
            partial(answers.crossed, scale=1)
        ),
        "It looks as if the softmax ran over the queries. It runs along a row, over the source.": (
            partial(answers.crossed, normalise=partial(answers.softmax, axis=0))
        ),
        "It looks as if the keys were averaged: the values are source @ w_v.": (
            lambda x, source, mask, w_q, w_k, w_v: answers.crossed(x, source, mask, w_q, w_k, w_k)
        ),
        "It looks as if keys and queries shared w_q. The keys are source @ w_k.": (
            lambda x, source, mask, w_q, w_k, w_v: answers.crossed(x, source, mask, w_q, w_q, w_v)
        ),
        "It looks as if the projections of queries and keys were exchanged: queries are x @ w_q, "
        "keys are source @ w_k.": (
            lambda x, source, mask, w_q, w_k, w_v: answers.crossed(x, source, mask, w_k, w_q, w_v)
        ),
    },
)
