"""Checks of exercise 08: sort and undo, who may look at whom, one round, several rounds."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check import lsh_attention_answers as answers
from efftx.check.core import Check

sort_and_undo = Check(
    name="sort_and_undo",
    returns=("order", "slot"),
    right=answers.in_order,
    cases=answers.bucket_cases,
    praise="Every position finds its way back.",
    mistakes={
        "It looks as if the two results were exchanged: return (order, slot).": (
            lambda buckets: answers.in_order(buckets)[::-1]
        ),
        "It looks as if `slot` were `order` once more. To undo an order takes its inverse: "
        "slot[order[s]] = s for every slot s.": (
            lambda buckets: (answers.in_order(buckets)[0],) * 2
        ),
        "It looks as if `slot` were counted from 1. Slots count from 0, like positions.": (
            lambda buckets: (answers.in_order(buckets)[0], answers.in_order(buckets)[1] + 1)
        ),
        "It looks as if the order were descending: the largest bucket comes first. The smallest "
        "must.": answers.with_its_inverse(lambda buckets: np.argsort(-buckets, kind="stable")),
        "The buckets are in order, but inside a bucket the later position comes first. Sort by "
        "(bucket, position): the earlier one must.": answers.later_first,
        "The buckets are in order, but inside a bucket the positions are not. It looks as if the "
        "position were forgotten: numpy's default sort may exchange equal buckets, and "
        'kind="stable" does not.': answers.with_its_inverse(np.argsort),
        "It looks as if the buckets played no part: the positions stand where they stood.": (
            answers.with_its_inverse(lambda buckets: np.arange(len(buckets)))
        ),
        "It looks as if `order` held the sorted buckets. It must hold positions: order[s] is the "
        "position that stands in slot s.": (
            lambda buckets: (np.sort(buckets), answers.in_order(buckets)[1])
        ),
    },
)

allowed_pairs = Check(
    name="allowed_pairs",
    returns=("allowed",),
    right=answers.pairs,
    cases=answers.slot_cases,
    praise="Who may look at whom is settled.",
    mistakes={
        "It looks as if the causal mask were missing: query {0} may look at key {1}, which comes "
        "later. With causal=True only earlier positions count.": (
            partial(answers.pairs, without="causal")
        ),
        "It looks as if other buckets were let in: query {0} may look at key {1}, which lies in "
        "another bucket and is only a neighbour in the sorted row.": (
            partial(answers.pairs, without="bucket")
        ),
        "It looks as if a query might look at itself: query {0} at key {1}. Leave the diagonal "
        "out.": partial(answers.pairs, without="itself"),
        "It looks as if the chunks played no part: query {0} may look at key {1}, which is in its "
        "bucket, but neither in its chunk nor in the one before.": (
            partial(answers.pairs, without="window")
        ),
        "It looks as if the wrap-around were left in: query {0}, in the first chunk, may look at "
        "key {1}, in the last. The first chunk has no chunk before it.": (
            partial(answers.pairs, window=answers.own_or_before_in_a_ring)
        ),
        "It looks as if queries looked at the chunk after their own instead of the one before: "
        "see query {0} and key {1}.": partial(answers.pairs, window=answers.own_or_after),
        "It looks as if only the own chunk counted: query {0} may not look at key {1}, which is "
        "in its bucket and in the chunk before.": (partial(answers.pairs, window=answers.own_only)),
        "It looks as if the chunks were cut from the unsorted sequence. Position i stands in "
        "slot[i] of the sorted row, so its chunk is slot[i] // chunk_len. See query {0}, "
        "key {1}.": answers.pairs_of_unsorted_chunks,
        "It looks as if rows and columns were exchanged: rows are queries, columns are keys.": (
            lambda *case: answers.pairs(*case).T
        ),
    },
)

attend = Check(
    name="attend",
    returns=("out", "lse"),
    right=answers.attended,
    cases=answers.round_cases,
    praise="One round stands.",
    mistakes={
        "It looks as if the keys were not normalised. The score is q·k with k = q/‖q‖: divide "
        "each key by its length.": lambda q, *rest: answers.attended(q, *rest, keys=q),
        "It looks as if the queries were normalised too. Only the keys have length 1.": (
            lambda q, *rest: answers.attended(answers.unit(q), *rest)
        ),
        "It looks as if the scores were divided by √d as well. With keys of length 1 the score "
        "is q·k and nothing else.": (
            lambda q, *rest: answers.attended(q, *rest, scale=q.shape[1] ** -0.5)
        ),
        "It looks as if the discount were ignored: subtract it from the scores.": (
            lambda q, v, allowed, discount: answers.attended(q, v, allowed)
        ),
        "It looks as if the discount were added. It has to be subtracted from the scores.": (
            lambda q, v, allowed, discount: answers.attended(q, v, allowed, -discount)
        ),
        "It looks as if a query always looked at itself, see query {0}. It may as a last resort "
        "only: on the diagonal the score is -1000.": (
            answers.attended_with_diagonal(lambda itself: itself)
        ),
        "Query {0} may look at no other key, and 0/0 is nan. It needs itself as a last resort: on "
        "the diagonal the score is -1000, not -inf.": (answers.attended_with_filler(-np.inf)),
        "Query {0} has only its last resort, and its `lse` looks like -100000, as in the chapter. "
        "Here the score on the diagonal is -1000, which keeps more digits in float32.": (
            answers.attended_with_diagonal(lambda itself: -1e5)
        ),
        "Query {0} has only its last resort, and its `lse` looks like q·k - 1000. The score on the "
        "diagonal is -1000 and nothing else.": (
            answers.attended_with_diagonal(lambda itself: itself - 1000)
        ),
        "Query {0} may look at no other key, and got the mean of all values: where all scores are "
        "the same large negative number, all keys weigh the same. It needs itself as a last "
        "resort: -1000 on the diagonal, -inf elsewhere.": answers.attended_with_filler(-1e9),
        "`out` is right, but `lse` looks like the largest score of each row. It is the log of the "
        "sum of exp(score) over the keys.": (
            answers.with_other_lse(lambda *scored: answers.score(*scored).max(-1))
        ),
        "`out` is right, but `lse` looks like the sum of exp(score): its log is missing.": (
            answers.with_other_lse(lambda *scored: np.exp(answers.score(*scored)).sum(-1))
        ),
        "`out` is right, but `lse` looks as if it were taken over all keys. Take it over the "
        "masked scores, those that went into the softmax.": (
            answers.with_other_lse(
                lambda q, allowed, discount: answers.logsumexp(q @ answers.unit(q).T - discount)
            )
        ),
        "It looks as if the weights did not add up to 1: divide by the sum of exp(score), or take "
        "exp(score - lse).": answers.attended_with_weights(np.exp),
        "It looks as if the softmax ran over the queries. It runs along a row, over the keys.": (
            answers.attended_with_weights(partial(answers.softmax, axis=0))
        ),
    },
)

join_rounds = Check(
    name="join_rounds",
    returns=("out",),
    right=answers.over_union,
    cases=answers.rounds_cases,
    praise="Many rounds, one softmax.",
    mistakes={
        "It looks as if log N were forgotten: a key that two rounds find counts twice. Subtract "
        "log N from the scores of every round before its softmax. See query {0}.": (
            partial(answers.over_rounds, discount=np.zeros_like)
        ),
        "It looks as if N were subtracted instead of log N. N copies of weight 1/N make one: "
        "exp(score - log N) is exp(score)/N.": partial(answers.over_rounds, discount=np.copy),
        "It looks as if log N were added. It has to be subtracted: a key that is found twice must "
        "weigh half in each round.": (
            partial(answers.over_rounds, discount=lambda n: -answers.log_count(n))
        ),
        "N is 0 where no round allows a pair, also for a query and itself, and log 0 = -inf ends "
        "in nan. Take log(max(N, 1)).": answers.nothing_is_a_number,
        "It looks as if the rounds were averaged. A round that found much must count for more: "
        "its weight is exp(lse), divided by the sum over the rounds. See query {0}.": (
            partial(answers.over_rounds, weights=lambda lse: np.ones_like(lse) / len(lse))
        ),
        "It looks as if the rounds were added up. Their weights must add up to 1: take a softmax "
        "of their lse.": partial(answers.over_rounds, weights=np.ones_like),
        "It looks as if the rounds were weighted by exp(-lse): the sign is wrong, so the round "
        "that found the least counts the most. See query {0}.": (
            partial(answers.over_rounds, weights=lambda lse: answers.by_lse(-lse))
        ),
        "It looks as if the softmax of lse ran over the positions. It runs over the rounds: for "
        "each position their weights add up to 1.": (
            partial(answers.over_rounds, weights=answers.softmax)
        ),
        "Query {0} finds no key in any round: its lse are near -1000, exp(lse) is 0 in all of "
        "them, and 0/0 is nan. jax.nn.softmax takes the largest off first.": (
            partial(answers.over_rounds, weights=lambda lse: np.exp(lse) / np.exp(lse).sum(0))
        ),
        "It looks as if the first round were there several times. In real life this happens when "
        "every round hashes with the same key. See query {0}.": (
            lambda q, v, allowed: answers.over_union(q, v, allowed[:1])
        ),
        "It looks as if only the first round counted. Does each call of `attend` get a round of "
        "its own? See query {0}.": partial(answers.over_rounds, weights=answers.first_round),
        "It looks as if only the last round counted. Does the loop write over what it found? See "
        "query {0}.": partial(answers.over_rounds, weights=answers.last_round),
        "It looks as if a key had to be found by all rounds. One is enough: the keys are the "
        "union. See query {0}.": (lambda q, v, allowed: answers.attended(q, v, allowed.all(0))[0]),
    },
)


def _package(q, v, buckets, chunk_len, causal):
    return attention.lsh_attention(
        jnp.asarray(q),
        jnp.asarray(v),
        buckets=jnp.asarray(buckets),
        n_buckets=4,
        n_hashes=len(buckets),
        chunk_len=chunk_len,
        causal=causal,
    )


my_lsh_attention = Check(
    name="my_lsh_attention",
    returns=("out",),
    right=_package,
    cases=answers.whole_cases,
    praise="It computes what efftx computes.",
)
