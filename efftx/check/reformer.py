"""Checks of exercise 09: axial positions, a block that replays its buckets, decoding."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import reformer_answers as answers
from efftx.check.core import Check
from efftx.check.reformer_answers import Block

__all__ = ["Block", "axial_rows", "block_backward", "candidates", "look_up", "my_decoding"]

axial_rows = Check(
    name="axial_rows",
    returns=("rows",),
    right=answers.axial,
    cases=answers.axial_cases,
    praise="A million rows out of two thousand.",
    mistakes={
        "It looks as if the two factors were exchanged: the table is read row by row, so i // n2 "
        "says which row of `first`, and i % n2 which of `second`. See entry {0}.": (
            partial(answers.axial, places=answers.columns_first)
        ),
        "It looks as if i were divided by the number of rows of `first`. Divide by n2, the number "
        "of rows of `second`: that is how many positions share a row of `first`. See entry {0}.": (
            partial(answers.axial, places=answers.divided_by_the_other)
        ),
        "It looks as if n1 were used twice where n2 belongs. Both the quotient and the rest are "
        "those of a division by n2 = len(second). See entry {0}.": (
            partial(answers.axial, places=answers.divided_by_both)
        ),
        "It looks as if both factors were read with a rest, i % n1 and i % n2. Then some rows come "
        "twice and others never. `first` is read with the quotient, i // n2.": (
            partial(answers.axial, places=answers.the_same_in_both)
        ),
        "It looks as if positions were counted from 1. They count from 0.": (
            partial(answers.axial, places=answers.counted_from_one)
        ),
        "It looks as if only `first` were read: then all positions of one line are equal.": (
            partial(answers.axial, join=lambda a, b: a)
        ),
        "It looks as if only `second` were read: then position 0 and position n2 are equal.": (
            partial(answers.axial, join=lambda a, b: b)
        ),
        "It looks as if the two rows were multiplied. They are added.": (
            partial(answers.axial, join=np.multiply)
        ),
    },
)

block_backward = Check(
    name="block_backward",
    returns=("x1", "x2", "g_x1", "g_x2"),
    right=answers.block_backward,
    cases=answers.block_cases,
    praise="The buckets of the way up are those of the way down.",
    mistakes={
        "It looks as if the buckets were chosen anew on the way down: attention was called without "
        "the `buckets` of the forward pass. From a rebuilt x a hash may choose others, and then "
        "something else is subtracted than was added.": answers.chosen_anew,
        "The streams are right, but it looks as if their gradients were taken with buckets chosen "
        "anew. Give attention the `buckets` inside jax.vjp, too.": (
            answers.gradients_of_buckets_anew
        ),
        "It looks as if the branches were added. The way up added them: take them away.": (
            partial(answers.block_backward, sign=1)
        ),
        "It looks as if attention were given y2. It worked on x2, which has to be rebuilt first: "
        "x2 = y2 − FeedForward(y1).": partial(answers.block_backward, at_rebuilt=False),
        "It looks as if g2 were forgotten in `g_x2`. x2 goes into y2 directly, too, with slope "
        "1.": answers.without_direct,
        "It looks as if the feed-forward layer's share were missing in the gradient of y1: y2 "
        "depends on y1, too. Add what FeedForward pulls back from g2 to g1.": (
            answers.without_share_of_feed_forward
        ),
        "`g_x1` is right, but it looks as if attention pulled back g1 alone. It stands in y1, so "
        "it pulls back all of the gradient of y1, with the feed-forward layer's share.": (
            answers.only_attention_without_share
        ),
        "It looks as if the gradients had the minus sign that belongs to rebuilding. Streams are "
        "taken apart, gradients add up.": answers.with_minus,
    },
)

candidates = Check(
    name="candidates",
    returns=("reached",),
    right=answers.union,
    cases=answers.cache_cases,
    praise="Each key once, from whatever round.",
    mistakes={
        "It looks as if a key had to share the query's bucket in every round, see slot {0}. One "
        "round is enough: the candidates are the union.": partial(answers.union, join=np.all),
        "It looks as if empty slots were let in, see slot {0}. Only the first n_read slots hold a "
        "key; what stands in the others looks like bucket 0.": (
            partial(answers.union, filled=lambda n_read: np.inf)
        ),
        "It looks as if one slot too many were let in: slot {0}. Slots count from 0, so the last "
        "one that is filled is n_read − 1.": partial(answers.union, filled=lambda n: n + 1),
        "It looks as if the newest key were left out: slot {0}. The slots 0 … n_read − 1 are all "
        "filled.": partial(answers.union, filled=lambda n: n - 1),
        "It looks as if only the first round were asked, see slot {0}.": (
            partial(answers.union, join=lambda same, axis: same[:, 0])
        ),
        "It looks as if only the last round were asked, see slot {0}.": (
            partial(answers.union, join=lambda same, axis: same[:, -1])
        ),
        "It looks as if buckets of different rounds were compared, see slot {0}. Each round has a "
        "rotation of its own: bucket 2 of one has nothing to do with bucket 2 of another.": (
            answers.any_round_with_any
        ),
        "It looks as if a key found in two rounds cancelled itself out, see slot {0}. Found twice "
        "is found: take `any`, not a sum or an exclusive or.": (
            partial(answers.union, join=answers.odd_number_of_rounds)
        ),
    },
)

look_up = Check(
    name="look_up",
    returns=("out",),
    right=answers.look_up,
    cases=answers.look_up_cases,
    praise="The cache answers.",
    mistakes={
        "It looks as if a query without candidates got nan: that is 0/0. Then it attends to itself "
        "as a last resort, and the output is its own value v.": (
            partial(answers.look_up, alone=lambda v, values: np.full_like(v, np.nan))
        ),
        "It looks as if a query without candidates got zeros. Then it attends to itself as a last "
        "resort, and the output is its own value v.": (
            partial(answers.look_up, alone=lambda v, values: np.zeros_like(v))
        ),
        "It looks as if a query without candidates got the mean of all values, as when all scores "
        "are the same large negative number. Then its output is its own value v.": (
            partial(answers.look_up, alone=lambda v, values: values.mean(0))
        ),
        "It looks as if `reached` were ignored: the softmax runs over all slots.": (
            answers.look_up_everything
        ),
        "It looks as if keys out of reach got the score 0, which is a weight of e⁰ = 1. Their "
        "score must be −∞.": answers.zero_score_elsewhere,
        "It looks as if the query always attended to itself, too. It does so only where nothing "
        "else is reached.": answers.look_up_with_itself,
        "It looks as if the query were normalised. Only keys have length 1, and those of the cache "
        "have it already.": answers.look_up_normalised,
        "It looks as if the scores were divided by √d. With keys of length 1 the score is q·k.": (
            lambda q, *rest: answers.look_up(q, *rest, scale=len(q) ** -0.5)
        ),
        "It looks as if the weights did not add up to 1: divide by the sum of exp(score).": (
            answers.look_up_unnormalised
        ),
    },
)


def _whole_text(qk, v, buckets):
    return attention.lsh_attention(
        jnp.asarray(qk),
        jnp.asarray(v),
        buckets=jnp.asarray(buckets),
        n_buckets=4,
        n_hashes=len(buckets),
        chunk_len=len(qk),
    )


my_decoding = Check(
    name="my_decoding",
    returns=("out",),
    right=_whole_text,
    cases=answers.decoding_cases,
    praise="Token by token, as of the whole text.",
)
