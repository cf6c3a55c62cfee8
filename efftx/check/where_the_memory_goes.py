"""Checks of exercise 02: count parameters, count what a block keeps, find the largest batch."""

from functools import partial

from efftx.check import where_the_memory_goes_answers as answers
from efftx.check.core import Check

count_parameters = Check(
    name="count_parameters",
    returns=("counts",),
    right=answers.parameters,
    cases=answers.model_cases,
    praise="Every number of the model is accounted for.",
    mistakes={
        "It looks as if the vectors of the positions were forgotten: the embedding has one for "
        "each token of the vocabulary and one for each position up to max_len.": (
            partial(answers.parameters, positions=0)
        ),
        "It looks as if the output projection of the attention were forgotten. There are four "
        "matrices: for q, k and v, and one back to d_model.": (
            partial(answers.parameters, projections=3)
        ),
        "It looks as if the attention had one head only. Each head has matrices of its own: "
        "d_model × d_head, n_heads times.": answers.one_head,
        "It looks as if the biases of the feed-forward layer were forgotten: b1 has d_ff numbers, "
        "b2 has d_model.": partial(answers.parameters, biases=0),
        "It looks as if each block had one layer norm only. It has two, one before each branch.": (
            partial(answers.parameters, norms=1)
        ),
        "It looks as if the last layer norm, before the readout, were forgotten.": (
            partial(answers.parameters, last_norm=0)
        ),
        "It looks as if a layer norm had one vector only. It has two, a scale and a shift.": (
            answers.half_the_norms
        ),
        "It looks as if there were a single block. Attention, feed-forward layer and two norms "
        "occur n_layers times.": partial(answers.parameters, layers=False),
        "It looks as if the readout used the embedding's matrix once more. In this model it has "
        "one of its own, d_model × vocab.": partial(answers.parameters, tied=True),
    },
)

count_kept_bytes = Check(
    name="count_kept_bytes",
    returns=("kept",),
    right=answers.kept,
    cases=answers.block_cases,
    praise="That is what a block leaves behind.",
    mistakes={
        "It looks as if numbers were counted instead of bytes. A float32 number has 4 bytes, "
        "a bool 1.": answers.numbers_not_bytes,
        "It looks as if the batch were forgotten: every example keeps its own activations.": (
            answers.of_one_example
        ),
        "It looks as if the scores grew with the length and not with its square. There is one for "
        "each pair of a query and a key, in each head.": answers.linear_scores,
        "It looks as if the scores were counted for half of the pairs. The causal mask sets the "
        "others to -inf, but full attention computes and keeps the whole matrix.": (
            answers.causal_scores
        ),
        "It looks as if there were one head only. The vectors have n_heads · d_head numbers, and "
        "every head has scores of its own.": answers.with_one_head,
        "It looks as if the scores were kept once. They are there twice, before the softmax and "
        "after it.": partial(answers.kept, scores=1),
        "It looks as if the signs were float32 numbers. A bool takes 1 byte.": (
            answers.signs_as_numbers
        ),
        "It looks as if the signs of the ReLU were forgotten: one bool for each number of the "
        "inside.": answers.without_signs,
        "It looks as if a block had one layer norm only. It has two.": (
            partial(answers.kept, norms=1)
        ),
        "It looks as if the inputs of the two branches were forgotten, what the norms return: one "
        "array of d_model each.": partial(answers.kept, inputs=0),
        "It looks as if the heads' results were forgotten, which the output projection needs: "
        "q, k, v and these make four.": partial(answers.kept, vectors=3),
        "It looks as if the two numbers of each row of the softmax were forgotten, its maximum "
        "and its sum.": partial(answers.kept, sums=0),
    },
)

largest_batches = Check(
    name="largest_batches",
    returns=("batches",),
    right=answers.batches,
    cases=answers.batch_cases,
    praise="No out-of-memory error needed to find out.",
    mistakes={
        "It looks as if the parameters cost nothing. Take off their bytes first; what is left is "
        "for the examples.": partial(answers.batches, fixed=0),
        "It looks as if a parameter took one byte. With its gradient and the optimiser's moments "
        "it takes bytes_per_parameter.": answers.parameters_as_bytes,
        "It looks as if the result were rounded up: the last example would not fit.": (
            partial(answers.batches, rounded=answers.up)
        ),
        "It looks as if the result were rounded to the nearest number. Part of an example is no "
        "example: round down.": partial(answers.batches, rounded=answers.nearest),
        "It looks as if a batch could be negative. Where the parameters alone are too large, "
        "nothing fits, and that is a batch of 0.": (
            partial(answers.batches, rounded=answers.negative)
        ),
        "It looks as if one example were always possible. Sometimes none fits, and the batch is "
        "0.": partial(answers.batches, rounded=answers.at_least_one),
        "It looks as if per_token + per_pair · length were the bytes of an example. That is what "
        "one of its positions takes: multiply by the length.": answers.of_one_token,
        "It looks as if per_pair were multiplied with the length once. There are length² pairs.": (
            partial(answers.batches, square=1)
        ),
        "It looks as if the pairs were forgotten: an example takes per_token · length + per_pair · "
        "length² bytes.": partial(answers.batches, pairs=0),
    },
)
