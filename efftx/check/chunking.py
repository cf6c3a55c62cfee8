"""Checks of exercise 04: a layer in chunks, its gradients in chunks, a loss in chunks."""

from functools import partial

import numpy as np

from efftx.check import chunking_answers as answers
from efftx.check.core import Check

in_chunks = Check(
    name="in_chunks",
    returns=("out",),
    right=answers.chunked,
    cases=answers.layer_cases,
    praise="The layer never saw more positions than it has room for.",
    mistakes={
        "It looks as if the positions behind the last whole chunk were left 0, from row {0} on. "
        "They are a chunk too, a shorter one.": answers.with_rest(
            lambda layer, x, m, n: np.zeros_like(layer(x[:1]))
        ),
        "It looks as if the rest were filled with rows of zeros, or replaced by them: row {0} is "
        "what the layer makes of zeros. Give it the rows that are there, however few.": (
            answers.with_rest(answers.rest_of_zeros)
        ),
        "It looks as if the last chunk had been taken from the end of x, so that it overlaps with "
        "the one before, and then its first rows were used. Row {0} is another position's.": (
            answers.with_rest(answers.last_chunk_from_the_end)
        ),
        "It looks as if every chunk were the first one: see row {0}. Does the start of the slice "
        "move on?": answers.always_the_first,
        "It looks as if the start moved on by 1 instead of chunk_len, so that the chunks overlap: "
        "see row {0}.": answers.one_step_at_a_time,
        "It looks as if the chunks were joined in the wrong order, the last one first.": (
            answers.backwards
        ),
        "It looks as if the positions were dealt out to the chunks like cards, every n-th to the "
        "same one, and not put back: row {0} is another position's. A chunk is a slice of "
        "neighbours.": answers.dealt_out,
    },
)

gradients_in_chunks = Check(
    name="gradients_in_chunks",
    returns=("g_w1", "g_b1", "g_w2", "g_x"),
    right=answers.gradients,
    cases=answers.gradient_cases,
    praise="Nothing of width d_ff had to be kept.",
    mistakes={
        "It looks as if only the last chunk counted in the gradients of the weights: they were "
        "overwritten. Each chunk has a part in them; add the parts up.": (
            partial(answers.gradients, join=answers.last)
        ),
        "It looks as if the chunks were averaged. The gradient of the weights is the sum of the "
        "chunks' parts, not their mean.": partial(answers.gradients, join=answers.mean),
        "It looks as if the positions behind the last whole chunk were left out of the gradients "
        "of the weights. They are a chunk too, a shorter one.": answers.without_rest,
        "It looks as if the slope of the ReLU were forgotten. The gradient of the inside is "
        "g W2ᵀ only where the inside is positive, and 0 elsewhere.": (
            partial(answers.gradients, one=answers.no_slope)
        ),
        "It looks as if the slope of the ReLU were taken from the gradient. What counts is the "
        "sign of the inside, x W1 + b1, which you have to compute anew.": (
            partial(answers.gradients, one=answers.slope_of_g)
        ),
        "It looks as if the gradient of W2 were made from x W1 + b1 before the ReLU. W2 is "
        "multiplied with what comes after it.": partial(answers.gradients, one=answers.no_relu),
        "It looks as if b1 were forgotten when the inside was computed anew.": (
            partial(answers.gradients, one=answers.without_bias)
        ),
        "It looks as if the gradient of W1 were made with the x of the first chunk every time. "
        "Take the chunk's own.": answers.with_first_x,
    },
)

loss_in_chunks = Check(
    name="loss_in_chunks",
    returns=("loss",),
    right=answers.mean_loss,
    cases=answers.loss_cases,
    praise="The scores of all positions never existed.",
    mistakes={
        "It looks as if you took the mean of the chunks' means. That is the mean over positions "
        "only if all chunks are equally long. Add up first, and divide by the length at the "
        "end.": answers.of_chunks(answers.mean_of_means),
        "It looks as if the chunks' means were added up. Add up the losses of all positions, and "
        "divide by the length at the end.": answers.of_chunks(answers.sum_of_means),
        "It looks as if the sum were divided by the number of chunks. Divide by the number of "
        "positions.": answers.of_chunks(answers.mean_of_sums),
        "It looks as if the losses were added up and never divided by the length.": (
            answers.of_chunks(lambda parts, length: np.concatenate(parts).sum())
        ),
        "It looks as if the positions behind the last whole chunk were left out of the sum.": (
            answers.whole_chunks_only
        ),
        "It looks as if the targets were not cut: every chunk had the first ones. Cut x and "
        "targets in the same place.": answers.of_chunks(
            lambda parts, length: np.concatenate(parts).mean(),
            targets_of=lambda targets, i, m: targets,
        ),
        "It looks as if the sign were wrong: the loss is −log p, which is never negative.": (
            lambda *case: -answers.mean_loss(*case)
        ),
        "It looks as if the loss were in bits. Here it is in nats, with the natural logarithm.": (
            lambda *case: answers.mean_loss(*case) / np.log(2)
        ),
        "It looks as if log Σ exp(z) were computed as it stands. Scores in the thousands make exp "
        "infinite. jax.nn.logsumexp takes the largest off first.": (
            partial(answers.mean_loss, normalise=answers.naive_log_sum_exp)
        ),
        "It looks as if the denominator were missing: −log p is log Σ exp(z) minus the target's "
        "score.": partial(answers.mean_loss, normalise=lambda scores: 0 * scores[:, 0]),
    },
)
