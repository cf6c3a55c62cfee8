"""Exercise 02's inputs, right answers, and the functions that make its mistakes.

Plain arithmetic from the definitions, so that it shares nothing with ``efftx.memory.ledger``.
"""

from functools import partial

import numpy as np

DRAWS = 6
FLOAT, BOOL = 4, 1  # bytes

# Part 1


def model_cases(rng):
    """Sizes that are all different, or a product could hide which factor is wrong."""
    names = ("n_layers", "d_model", "d_ff", "n_heads", "d_head", "vocab", "max_len")
    for _ in range(DRAWS):
        n_layers, n_heads = rng.choice(np.arange(2, 6), size=2, replace=False)
        d_head, d_model, d_ff, vocab, max_len = rng.choice(np.arange(7, 40), 5, replace=False)
        sizes = (n_layers, d_model, d_ff, n_heads, d_head, vocab, max_len)
        yield {name: int(size) for name, size in zip(names, sizes, strict=True)}


def parameters(
    *sizes,
    positions=1,
    projections=4,
    biases=1,
    norms=2,
    last_norm=1,
    layers=True,
    tied=False,
):
    """The right counts (embeddings, attention, feed-forward, norms, readout); or other ones."""
    n_layers, d_model, d_ff, n_heads, d_head, vocab, max_len = sizes
    times = n_layers if layers else 1
    return np.array(
        [
            (vocab + positions * max_len) * d_model,
            times * projections * d_model * n_heads * d_head,
            times * (2 * d_model * d_ff + biases * (d_ff + d_model)),
            (times * norms + last_norm) * 2 * d_model,
            0 if tied else d_model * vocab,
        ]
    )


def one_head(*sizes):
    return parameters(*sizes[:3], 1, *sizes[4:])


def half_the_norms(*sizes):
    return parameters(*sizes) * np.array([2, 2, 2, 1, 2]) // 2


# Part 2


def block_cases(rng):
    names = ("batch", "length", "d_model", "d_ff", "n_heads", "d_head")
    for _ in range(DRAWS):
        sizes = rng.choice(np.arange(2, 30), len(names), replace=False)
        yield {name: int(size) for name, size in zip(names, sizes, strict=True)}


def kept(
    batch,
    length,
    d_model,
    d_ff,
    n_heads,
    d_head,
    *,
    norms=2,
    inputs=1,
    statistics=1,
    vectors=4,
    scores=2,
    sums=2,
    signs=BOOL,
    number=FLOAT,
):
    """The right bytes (norms, vectors, scores, feed-forward); or with one thing counted wrong."""
    rows = batch * length
    return np.array(
        [
            rows * norms * ((3 + inputs) * d_model + 3 * statistics) * number,
            rows * vectors * n_heads * d_head * number,
            rows * n_heads * (scores * length + sums) * number,
            rows * d_ff * (number + signs),
        ]
    )


def of_one_example(batch, *sizes):
    return kept(1, *sizes)


def with_one_head(batch, length, d_model, d_ff, n_heads, d_head):
    return kept(batch, length, d_model, d_ff, 1, d_head)


def linear_scores(batch, length, d_model, d_ff, n_heads, d_head):
    """Two numbers for each query instead of for each pair."""
    right = kept(batch, length, d_model, d_ff, n_heads, d_head)
    right[2] = batch * length * n_heads * (2 + 2) * FLOAT
    return right


def causal_scores(batch, length, d_model, d_ff, n_heads, d_head):
    """Only the pairs on and below the diagonal."""
    right = kept(batch, length, d_model, d_ff, n_heads, d_head)
    right[2] = batch * n_heads * (length * (length + 1) + 2 * length) * FLOAT
    return right


numbers_not_bytes = partial(kept, number=1, signs=1)
signs_as_numbers = partial(kept, signs=FLOAT)
without_signs = partial(kept, signs=0)

# Part 3


def batch_cases(rng):
    """Lengths of which the last fits nothing; and one budget that the parameters alone exceed."""
    for draw in range(DRAWS):
        n_parameters, bytes_per_parameter = int(rng.integers(100, 200)), int(rng.integers(10, 30))
        per_token, per_pair = int(rng.integers(20, 60)), int(rng.integers(1, 4))
        fixed = n_parameters * bytes_per_parameter
        left = int(rng.integers(9_000, 20_000))
        yield {
            "lengths": np.array([8, 16, 32, 400]),
            "budget": fixed // 2 if draw == DRAWS - 1 else fixed + left,
            "n_parameters": n_parameters,
            "bytes_per_parameter": bytes_per_parameter,
            "per_token": per_token,
            "per_pair": per_pair,
        }


def whole(batches):
    """As many examples as fit: rounded down, and not less than none."""
    return np.maximum(np.floor(batches), 0).astype(int)


def batches(
    lengths,
    budget,
    n_parameters,
    bytes_per_parameter,
    per_token,
    per_pair,
    *,
    fixed=1,
    square=2,
    pairs=1,
    rounded=whole,
):
    """The right batches; or with one term wrong."""
    left = budget - fixed * n_parameters * bytes_per_parameter
    lengths = lengths.astype(float)
    return rounded(left / (per_token * lengths + pairs * per_pair * lengths**square))


def of_one_token(lengths, budget, n_parameters, bytes_per_parameter, per_token, per_pair):
    """The bytes of a position taken for those of an example."""
    left = budget - n_parameters * bytes_per_parameter
    return whole(left / (per_token + per_pair * lengths.astype(float)))


def parameters_as_bytes(lengths, budget, n_parameters, bytes_per_parameter, *rest):
    return batches(lengths, budget, n_parameters, 1, *rest)


def at_least_one(batches):
    return np.maximum(np.floor(batches), 1).astype(int)


def negative(batches):
    return np.floor(batches).astype(int)


def up(batches):
    return np.maximum(np.ceil(batches), 0).astype(int)


def nearest(batches):
    return np.maximum(np.rint(batches), 0).astype(int)
