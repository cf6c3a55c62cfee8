"""Checks of exercise 06: top keys, online softmax, counting scores, causal attention in blocks."""

from functools import partial

import numpy as np

from efftx.check import attention_is_sparse_answers as answers
from efftx.check.core import Check

top_mass = Check(
    name="top_mass",
    returns=("mass",),
    right=answers.mass_of_top,
    cases=answers.weight_cases,
    praise="You can say how sparse a head is.",
    mistakes={
        "It looks as if the first k keys were taken, not the k largest. Sort each row first.": (
            lambda weights, k: weights[:, :k].sum(-1)
        ),
        "It looks as if the k smallest weights were added up: `jnp.sort` puts those first.": (
            lambda weights, k: np.sort(weights)[:, :k].sum(-1)
        ),
        "It looks as if the columns were sorted. A query's weights are a row: sort along the last "
        "axis.": lambda weights, k: np.sort(weights, axis=0)[:, -k:].sum(-1),
        "It looks as if the largest k of each column were added up. A query's weights are a row, "
        "and its share is one number for each row.": (
            lambda weights, k: answers.largest_first(weights, axis=0)[:k].sum(0)
        ),
        "It looks as if the result were the k-th largest weight alone. Add up all k.": (
            lambda weights, k: answers.largest_first(weights)[:, k - 1]
        ),
        "It looks as if k + 1 weights were added up. Counting from 0, entry k is one too many.": (
            lambda weights, k: answers.mass_of_top(weights, k + 1)
        ),
        "It looks as if k - 1 weights were added up: one is missing.": (
            lambda weights, k: answers.mass_of_top(weights, k - 1)
        ),
        "It looks as if the mean of the k largest weights were taken. The share is their sum.": (
            lambda weights, k: answers.mass_of_top(weights, k) / k
        ),
        "It looks as if all weights were taken that reach the k-th largest. In row {0} several are "
        "equal to it, and then these are more than k.": answers.mass_from_threshold,
        "It looks as if the k most recent keys were taken. The largest may be anywhere: see query "
        "{0}.": answers.mass_of_recent,
    },
)

add_keys = Check(
    name="add_keys",
    returns=("maximum", "total", "weighted"),
    right=answers.added,
    cases=answers.state_cases,
    praise="A softmax in pieces.",
    mistakes={
        "It looks as if the old sums were added as they are. They are relative to the old maximum: "
        "multiply both by exp(old maximum - new maximum).": (
            partial(answers.added, keep=(answers.unchanged,) * 2)
        ),
        "`total` is right, but it looks as if the old `weighted` were added as it is. Both "
        "sums shrink by the same factor.": (
            partial(answers.added, keep=(answers.to_common, answers.unchanged))
        ),
        "It looks as if the old `total` were added as it is. It is relative to the old maximum, "
        "just like `weighted`.": partial(
            answers.added, keep=(answers.unchanged, answers.to_common)
        ),
        "It looks as if the old sums were multiplied by exp(new maximum - old maximum). The sign "
        "is the other way round: old terms shrink.": (
            partial(answers.added, keep=(lambda own, common: np.exp(common - own),) * 2)
        ),
        "It looks as if `maximum` were that of the new scores alone. It is the largest of all "
        "scores so far: see row {0}.": (
            partial(answers.added, reference=lambda maximum, scores: scores.max(-1))
        ),
        "It looks as if the old maximum stayed. Where a new score is larger, it has to grow: see "
        "row {0}.": partial(answers.added, reference=lambda maximum, scores: maximum),
        "It looks as if all rows shared one maximum. Each query has its own: take it along the "
        "row.": (
            partial(
                answers.added,
                reference=lambda maximum, scores: np.maximum(maximum, scores.max()),
            )
        ),
        "`maximum` is right, but it looks as if the new scores were taken relative to their own "
        "largest. Take the common maximum off, the one that you return.": (
            partial(answers.added, of=lambda maximum, scores: scores.max(-1))
        ),
        "`maximum` is right, but it looks as if the new scores went into exp as they are. Take the "
        "new maximum off first, else exp overflows: e^89 is no float32.": (
            partial(answers.added, of=answers.no_maximum)
        ),
        "It looks as if `maximum` played no part in the sums. They are sums of exp(score - "
        "maximum): without it exp overflows, e^89 is no float32.": (
            partial(answers.added, of=answers.no_maximum, keep=(answers.unchanged,) * 2)
        ),
        "It looks as if the old sums were forgotten: only the new keys are in the result.": (
            partial(answers.added, keep=(answers.nothing,) * 2)
        ),
        "`maximum` and `total` are right, but `weighted` looks as if it were divided already. "
        "Divide once, when all keys are in.": answers.added_and_divided,
    },
)

keys_compared = Check(
    name="keys_compared",
    returns=("n_keys",),
    right=answers.keys_compared,
    cases=answers.count_cases,
    praise="Every score is counted.",
    mistakes={
        "It looks as if only the allowed keys were counted, 0 to i. Whole blocks are computed: the "
        "query's own block to its end, though part of it is masked. See query {0}.": (
            lambda length, block_len: np.arange(length) + 1
        ),
        "It looks as if every query were compared with all keys. Blocks above the diagonal are "
        "skipped. See query {0}.": lambda length, block_len: np.full(length, length),
        "It looks as if the query's own block were left out. The block on the diagonal is computed "
        "as well. See query {0}.": (
            lambda length, block_len: np.arange(length) // block_len * block_len
        ),
        "It looks as if blocks were counted. Count keys: a block has block_len of them.": (
            lambda length, block_len: np.arange(length) // block_len + 1
        ),
        "It looks as if the last block were always full. Beyond the end of the sequence there are "
        "no keys. See query {0}.": answers.uncapped,
        "It looks as if a query in the first place of its block missed that block: rounding i up "
        "to a multiple of block_len leaves it where it is. See query {0}.": (
            lambda length, block_len: np.minimum(
                -(-np.arange(length) // block_len) * block_len, length
            )
        ),
        "It looks as if the allowed keys were rounded down to whole blocks. Blocks are computed as "
        "soon as one of their keys is needed: round up. See query {0}.": (
            lambda length, block_len: (np.arange(length) + 1) // block_len * block_len
        ),
    },
)

blocked_causal_attention = Check(
    name="blocked_causal_attention",
    returns=("out",),
    right=answers.blocked,
    cases=answers.attention_cases,
    praise="Exact, and no matrix in sight.",
    mistakes={
        "All is right but one thing: it looks as if blocks above the diagonal were computed and "
        "then masked. Skip them. Here the last block's values are nan, as if nobody had written "
        "them yet. Query {0} comes before that block and still met it: 0 times nan is nan.": (
            partial(answers.blocked, visit=answers.every_block)
        ),
        "It looks as if the causal mask were missing altogether: see query {0}.": (
            partial(
                answers.blocked, visit=answers.every_block, allowed=lambda query, key, _: key >= 0
            )
        ),
        "It looks as if the block on the diagonal were not masked. Inside it some keys come later "
        "than some queries: see query {0}.": (
            partial(answers.blocked, allowed=lambda query, key, _: key >= 0)
        ),
        "It looks as if the block on the diagonal were skipped. Every query needs at least its own "
        "key: see query {0}.": partial(answers.blocked, visit=lambda i, n: range(i)),
        "It looks as if a query might not look at itself. With keys of its own it may: see query "
        "{0}.": partial(answers.blocked, allowed=lambda query, key, _: key < query),
        "It looks as if places inside the blocks were compared by the mask. Compare positions in "
        "the sequence: block number · block_len + place. See query {0}.": (
            partial(
                answers.blocked,
                allowed=lambda query, key, block_len: key % block_len <= query % block_len,
            )
        ),
        "It looks as if the scores were not divided by √d.": partial(answers.blocked, scale=1.0),
        "It looks as if only the query's own block counted. Keep what `add_keys` returns, and go "
        "on with it. See query {0}.": partial(answers.blocked, visit=lambda i, n: [i]),
        "It looks as if the weighted sums were not divided by `total` at the end.": (
            answers.undivided
        ),
        "It looks as if a block of queries went on with the sums of the block before. Each starts "
        "anew: maximum -inf, total 0, weighted 0. See query {0}.": answers.never_reset,
        "It looks as if each block had a softmax of its own, and their outputs were averaged. A "
        "block that holds more weight must count for more. See query {0}.": (
            answers.mean_of_blocks
        ),
    },
)
