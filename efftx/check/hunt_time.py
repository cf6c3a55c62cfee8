"""Checks of the time hunt: what is broken, and what is sound in another way."""

from efftx.check import hunt_time_sound as sound
from efftx.check.hunts import Hunt

NOT_ITSELF = "(key_position != query_position)"
NOT_THE_LAST = "(np.arange(2 * chunk_len) != chunk_len - 1)"
SORT = "np.argsort(buckets, stable=True)"
EXISTS = "exists = is_there(len(position), chunk_len)"
CAUSAL = "(key_position <= query_position)"
DISCOUNT = "scores - np.log(times_found(chunk_of, query_position, key_position))"
WEIGHTS = "weights = softmax(lses, axis=0)"
FOUND = "((back == 0) | (back == 1)).sum(axis=0)"
BY_HAND = [
    ("np.roll(chunks, 1, axis=0)", "np.concatenate([chunks[-1:], chunks[:-1]])"),
]
IN_OTHER_UNITS = [
    ("softmax(scores, axis=-1)", "np.exp(scores - lse[..., None])"),
    ("    lse = logsumexp(scores, axis=-1)\n", ""),
    ("    weights = np", "    lse = logsumexp(scores, axis=-1)\n    weights = np"),
]

test_order = Hunt(
    name="test_order",
    module=sound,
    function="sort_by_bucket",
    broken={
        "in a bucket it puts the later position first": [
            (SORT, "len(buckets) - 1 - np.argsort(buckets[::-1], stable=True)"),
        ],
        "in a bucket it mixes the positions up": [
            (SORT, "np.lexsort((np.sin(99.0 * np.arange(len(buckets))), buckets))"),
        ],
        "it sorts by bucket · 64 + position, so that from position 64 on buckets mix": [
            (SORT, "np.argsort(64 * buckets + np.arange(len(buckets)))"),
        ],
        "it puts the largest bucket first": [(SORT, "np.argsort(-buckets, stable=True)")],
        "it returns the slot of each position, not the position in each slot": [
            (SORT, "np.argsort(np.argsort(buckets, stable=True))"),
        ],
        "it counts buckets in eight bits: 128 becomes −128": [
            (SORT, "np.argsort(buckets.astype(np.int8), stable=True)"),
        ],
        "it goes forwards through even buckets and backwards through odd ones": [
            (
                SORT,
                "np.lexsort((np.arange(len(buckets)) * (1 - 2 * (buckets % 2)), buckets))",
            ),
        ],
    },
    sound={
        "sorts by two keys": [(SORT, "np.lexsort((np.arange(len(buckets)), buckets))")],
    },
)

test_window = Hunt(
    name="test_window",
    module=sound,
    function="attend",
    broken={
        "its first chunk looks back to the last": [(EXISTS, "exists = np.array(True)")],
        "it looks at the chunk behind its own, not at the one before": [
            ("np.roll(chunks, 1, axis=0)", "np.roll(chunks, -1, axis=0)"),
            ("(chunk > 0)", "(chunk < n_chunks - 1)"),
        ],
        "it looks at its own chunk only": [("(chunk > 0)", "(chunk < 0)")],
        "of the chunk before it misses the last slot": [
            (
                "exists & (key_position != query_position)",
                f"exists & {NOT_ITSELF} & {NOT_THE_LAST}",
            ),
        ],
        "its second chunk does not look back either": [("(chunk > 0)", "(chunk > 1)")],
        "a query looks at itself as at any other": [
            ("seen = exists & (key_position != query_position)", "seen = exists"),
            ("LAST_RESORT, scores)", "scores, scores)"),
        ],
        "in a bucket it puts the later position first, so that other neighbours meet": [
            (SORT, "len(buckets) - 1 - np.argsort(buckets[::-1], stable=True)"),
        ],
        "a query that sees nobody returns zeros, and not its own value": [
            ("LAST_RESORT, scores)", "LAST_RESORT, scores)\n    alone = ~seen.any(axis=-1)"),
            ("v[key_position])", "v[key_position]) * ~alone[..., None]"),
        ],
    },
    sound={
        "moves the chunks on by hand": BY_HAND,
        "takes its softmax as exp(score − log-sum-exp)": IN_OTHER_UNITS,
    },
)

test_rounds = Hunt(
    name="test_rounds",
    module=sound,
    function="attend",
    broken={
        "a key that two rounds find counts twice, since log N is missing": [(DISCOUNT, "scores")],
        "log N is added, not subtracted": [(DISCOUNT, DISCOUNT.replace(" - ", " + "))],
        "it returns the plain mean of the rounds": [
            (WEIGHTS, "weights = np.full(lses.shape, 1 / len(lses))"),
        ],
        "it returns the last round alone": [
            (WEIGHTS, "weights = (np.arange(len(lses)) == len(lses) - 1)[:, None] + 0 * lses"),
        ],
        "N is the number of all rounds, whether they found the key or not": [
            (FOUND, "(back == back).sum(axis=0)"),
        ],
        "in N only rounds count in which both stand in the same chunk": [
            (FOUND, "(back == 0).sum(axis=0)"),
        ],
        "it takes the round with the largest log-sum-exp, and no other": [
            (WEIGHTS, "weights = (lses == lses.max(axis=0)) / (lses == lses.max(axis=0)).sum(0)"),
        ],
        "a third round and those behind it are left out": [
            (
                WEIGHTS,
                "two = np.arange(len(lses))[:, None] < 2\n"
                "    weights = softmax(np.where(two, lses, -np.inf), axis=0)",
            ),
        ],
    },
    sound={
        "joins its rounds from the last to the first": [
            ("for order in orders]\n    outs", "for order in orders[::-1]]\n    outs"),
        ],
        "takes its softmax as exp(score − log-sum-exp)": IN_OTHER_UNITS,
    },
)

test_causal = Hunt(
    name="test_causal",
    module=sound,
    function="attend",
    broken={
        "it compares slots of the sorted row, not positions": [
            (
                CAUSAL,
                "(np.arange(2 * chunk_len) <= chunk_len + np.arange(chunk_len)[:, None])",
            ),
        ],
        "the chunk before is taken for the past, whatever stands in it": [
            (CAUSAL, f"((np.arange(2 * chunk_len) < chunk_len) | {CAUSAL})"),
        ],
        "it lets a query see the next position": [(CAUSAL, CAUSAL.replace("<= q", "<= 1 + q"))],
        "it masks after the softmax: the future is still in the denominator": [
            (
                "    if causal:\n",
                "    late = causal & (key_position > query_position)\n    if False:\n",
            ),
            ("softmax(scores, axis=-1)", "softmax(scores, axis=-1) * ~late"),
        ],
        "it masks the scores, but lets later values in with a small weight": [
            ("softmax(scores, axis=-1)", "softmax(scores, axis=-1) + 0.01 * exists"),
        ],
        "only the first round is masked": [
            ("if causal:", "if causal and (order == sort_first(chunk_of)).all():"),
            (
                "def unit(x):",
                "def sort_first(chunk_of):\n    return np.argsort(chunk_of[0])\n\n\ndef unit(x):",
            ),
        ],
        "its mask is upside down: a query sees the future and not the past": [
            (CAUSAL, CAUSAL.replace("<=", ">=")),
        ],
        "in its last chunk it forgets the mask": [
            (
                CAUSAL,
                "((key_position <= query_position) | (np.arange(len(position))[:, None, None] == "
                "len(position) - 1))",
            ),
        ],
    },
    sound={
        "moves the chunks on by hand": BY_HAND,
        "takes its softmax as exp(score − log-sum-exp)": IN_OTHER_UNITS,
    },
)
