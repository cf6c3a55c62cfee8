"""The time capstone's inputs, right answers, and what is counted and weighed.

Values and gradients are those of one softmax over the union, through the whole L × L matrix.
"""

from collections.abc import Callable

import jax
import numpy as np

from efftx.check.programs import as_one_program
from efftx.check.promises import NotMeasured, compiled_memory, numbers_made, numpy_memory, traced

# length, rounds, buckets, chunk_len, causal; few, jax compiles each anew. First a single chunk.
SIZES = ((4, 2, 2, 4, False), (12, 3, 2, 3, True))
WIDE = 3  # queries and values alike, so that what is exchanged has the right shape
DRAWS = 3
LAST_RESORT = -1000.0
SHORT, LONG = (256, 2), (1024, 8)  # of what is weighed: positions, rounds
WIDTH, CHUNK = 32, 16
MOST_NUMBERS, MOST_BYTES = 6, 5  # times as much for 4 times the length: less than 16, and some room


def bucket_cases(rng):
    for length, n_hashes, n_buckets, chunk_len, _ in SIZES:
        for _ in range(DRAWS):
            buckets = rng.integers(n_buckets, size=(n_hashes, length))
            yield {"buckets": buckets, "chunk_len": chunk_len}


def laid_out(buckets, chunk_len):
    """Order, slots and codes."""
    order = np.argsort(buckets, axis=1, kind="stable")
    slot = np.argsort(order, axis=1)
    codes = slot // chunk_len + 2 * buckets
    return order.reshape(len(buckets), -1, chunk_len), slot, codes


def drawn(rng, length: int, n_hashes: int, n_buckets: int, chunk_len: int) -> dict:
    """Vectors, values and a layout."""
    q, v = rng.normal(size=(2, length, WIDE)).astype(np.float32)
    buckets = rng.integers(n_buckets, size=(n_hashes, length))
    order, slot, codes = laid_out(buckets, chunk_len)
    return {"q": q, "v": v / 2, "order": order, "slot": slot, "codes": codes}


def round_cases(rng):
    for *size, causal in SIZES:
        case = drawn(rng, *size)
        for r in range(size[1]):
            arrays = {name: case[name] for name in ("order", "codes")}
            yield {"q": case["q"], "r": r, **arrays, "causal": causal}


def attend_cases(rng):
    for *size, causal in SIZES:
        yield {**drawn(rng, *size), "causal": causal}


def backward_cases(rng):
    for case in attend_cases(rng):
        causal = case.pop("causal")
        out, lse = map(np.asarray, over_union(*case.values(), causal))
        g = rng.normal(size=out.shape).astype(np.float32) / 2
        yield {**case, "out": out, "lse": lse, "g": g, "causal": causal}


def whole_cases(rng):
    for length, n_hashes, n_buckets, chunk_len, causal in SIZES:
        q, v, g = rng.normal(size=(3, length, WIDE)).astype(np.float32) / 2
        buckets = rng.integers(n_buckets, size=(n_hashes, length))
        arrays = {"q": q, "v": v, "buckets": buckets, "g": g}
        yield {"chunk_len": chunk_len, "causal": causal, **arrays}


# By matrices of all pairs


def reached(codes, causal) -> np.ndarray:
    """(n_hashes, length, length): whom a query reaches in each round, itself apart."""
    codes = np.asarray(codes)
    back, position = codes[:, :, None] - codes[:, None, :], np.arange(codes.shape[1])
    allowed = position < position[:, None] if causal else position != position[:, None]
    return ((back == 0) | (back == 1)) & allowed


def in_chunks(q, r, order, codes, causal):
    """The scores of all pairs, then those of a chunk with itself and the one before."""
    pairs = reached(codes, causal)
    scores = q @ (q / np.linalg.norm(q, axis=1)[:, None]).T - np.log(np.maximum(pairs.sum(0), 1))
    scores = np.where(pairs[r], scores, -np.inf)
    np.fill_diagonal(scores, LAST_RESORT)
    own = order[r]
    before = np.roll(own, 1, axis=0)
    results = [
        scores[np.ix_(chunk, np.concatenate(both))]
        for chunk, both in zip(own, zip(before, own, strict=True), strict=True)
    ]
    results[0][:, : own.shape[1]] = -np.inf
    return np.stack(results)


def over_union(q, v, order, slot, codes, causal):
    """Output and log-sum-exp of one softmax; the last resort stands there once for each round."""
    scores = union_scores(q, codes, causal)
    lse = np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1)) + scores.max(1)
    return np.exp(scores - lse[:, None]) @ v, lse


def union_scores(q, codes, causal):
    union = reached(codes, causal).any(0)
    lengths = np.linalg.norm(q.astype(np.float64), axis=1)
    scores = np.where(union, q @ (q / lengths[:, None]).T, -np.inf)
    np.fill_diagonal(scores, LAST_RESORT + np.log(len(codes)))
    return scores


def gradients(q, v, order, slot, codes, *rest):
    """Those for q and v. The score q_i·q_j / ‖q_j‖ is differentiated for both."""
    *_, g, causal = rest
    out, lse = over_union(q, v, order, slot, codes, causal)
    scores = union_scores(q, codes, causal)
    p = np.exp(scores - lse[:, None])
    a = p * (g @ v.T - (g * out).sum(1)[:, None])
    np.fill_diagonal(a, 0)  # the last resort is a constant
    lengths = np.linalg.norm(q, axis=1)[:, None]
    along = (a * np.where(a == 0, 0, scores)).sum(0)[:, None]
    return a @ (q / lengths) + (a.T @ q - along * q / lengths) / lengths, p.T @ g


def whole(chunk_len, causal, q, v, buckets, g):
    """Output and gradients."""
    layout = laid_out(buckets, chunk_len)
    out, _ = over_union(q, v, *layout, causal)
    return out, *gradients(q, v, *layout, g, causal)


def differentiated(make: Callable) -> Callable:
    """The function that ``make`` returns, as its output and its gradients."""

    def run(chunk_len, causal, q, v, buckets, g):
        attention = make(chunk_len, causal)
        out, pull_back = jax.vjp(lambda q, v: attention(q, v, buckets), q, v)
        return out, *pull_back(g)

    return as_one_program(run)


# What is promised besides: four times the length is four times the work, and no round is kept.


def weighed(cases: Callable, length: int, n_hashes: int) -> dict:
    """A case of which only the shapes matter."""
    rng = np.random.default_rng(0)
    q, v, g = rng.normal(size=(3, length, WIDTH)).astype(np.float32)
    buckets = rng.integers(2 * length // CHUNK, size=(n_hashes, length)).astype(np.int32)
    order, slot, codes = (x.astype(np.int32) for x in laid_out(buckets, CHUNK))
    layout = {"order": order, "slot": slot, "codes": codes}
    every = {"q": q, "v": v, **layout, "out": v, "lse": v[:, 0], "g": g}
    every |= {"r": 1, "causal": True, "buckets": buckets, "chunk_len": CHUNK}
    names = next(iter(cases(rng)))  # in the order of the arguments
    return {name: every[name] for name in names}


def grows_with_length(cases: Callable):
    """The promise that four times the length takes about four times the numbers."""

    def missing(answer) -> str:
        sizes = (SHORT, (LONG[0], SHORT[1]))
        programs = [traced(answer, weighed(cases, *size)) for size in sizes]
        if None not in programs:
            few, many = map(numbers_made, programs)
            return too_many(few, many, "makes arrays of {0:,} numbers", "of {0:,}")
        few, many = (numpy_memory(answer, weighed(cases, *size)) for size in sizes)
        if few is None:
            raise NotMeasured("How it grows with the length was not measured: jax cannot trace it.")
        return too_many(few, many, "takes {0:,} bytes at once", "{0:,}")

    return missing


def too_many(few: int, many: int, first: str, then: str) -> str:
    if many < MOST_NUMBERS * max(few, 1):
        return ""
    return (
        f"for {SHORT[0]} positions it {first.format(few)}, for {LONG[0]:,} {then.format(many)}: "
        f"{many / few:.1f} times as many, where 4 would do. So it looks at all pairs somewhere. A "
        "query needs the keys of two chunks, whatever the length."
    )


def keeps_no_round(cases: Callable):
    """The promise that bytes grow with the length, and hardly with the rounds."""
    grows = grows_with_length(cases)

    def missing(answer) -> str:
        if pairs := grows(answer):
            return pairs
        few, many = (compiled_memory(answer, weighed(cases, *size)) for size in (SHORT, LONG))
        if few is None:
            raise NotMeasured("What it keeps was not measured: jax cannot trace it.")
        if many < MOST_BYTES * few:
            return ""
        return (
            f"it takes {few / 1024:,.0f} KiB for {SHORT[0]} positions in {SHORT[1]} rounds, and "
            f"{many / 1024:,.0f} for {LONG[0]:,} in {LONG[1]}: {many / few:.1f} times as much, "
            "where the length alone makes it 4 times. So something of the size of the vectors is "
            "kept for every round. Let jax.lax.scan run the rounds, and rebuild what the way back "
            "needs."
        )

    return missing
