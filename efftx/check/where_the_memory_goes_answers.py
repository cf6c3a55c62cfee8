"""Exercise 02's inputs and right answers.

Plain arithmetic from the definitions, so that it shares nothing with ``efftx.memory.ledger``.
"""

import jax
import jax.numpy as jnp
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


def parameters(n_layers, *sizes):
    """The right counts: embeddings, attention, feed-forward, norms, readout."""
    d_model, d_ff, n_heads, d_head, vocab, max_len = sizes
    return np.array(
        [
            (vocab + max_len) * d_model,
            n_layers * 4 * d_model * n_heads * d_head,
            n_layers * (2 * d_model * d_ff + d_ff + d_model),
            (2 * n_layers + 1) * 2 * d_model,
            d_model * vocab,
        ]
    )


# Part 2


def block_cases(rng):
    names = ("batch", "length", "d_model", "d_ff", "n_heads", "d_head")
    for _ in range(DRAWS):
        sizes = rng.choice(np.arange(2, 30), len(names), replace=False)
        yield {name: int(size) for name, size in zip(names, sizes, strict=True)}


def kept(batch, length, d_model, d_ff, n_heads, d_head):
    """The right bytes: norms, vectors, scores, feed-forward."""
    rows = batch * length
    return np.array(
        [
            rows * 2 * (4 * d_model + 3) * FLOAT,
            rows * 4 * n_heads * d_head * FLOAT,
            rows * n_heads * (2 * length + 2) * FLOAT,
            rows * d_ff * (FLOAT + BOOL),
        ]
    )


# Part 3


def batch_cases(rng):
    """Lengths of which the last fits nothing; and one budget that the parameters alone exceed.

    In every other draw two examples of 32 fit to the byte.
    """
    for draw in range(DRAWS):
        n_parameters, bytes_per_parameter = int(rng.integers(100, 200)), int(rng.integers(10, 30))
        per_token, per_pair = int(rng.integers(20, 60)), int(rng.integers(1, 4))
        fixed = n_parameters * bytes_per_parameter
        exact = 2 * (32 * per_token + 32**2 * per_pair)
        left = exact if draw % 2 else int(rng.integers(9_000, 20_000))
        yield {
            "lengths": np.array([8, 16, 32, 400]),
            "budget": fixed // 2 if draw == DRAWS - 1 else fixed + left,
            "n_parameters": n_parameters,
            "bytes_per_parameter": bytes_per_parameter,
            "per_token": per_token,
            "per_pair": per_pair,
        }


def batches(lengths, budget, n_parameters, bytes_per_parameter, *per_example):
    """The right batches."""
    per_token, per_pair = per_example
    left = budget - n_parameters * bytes_per_parameter
    lengths = lengths.astype(np.int64)
    return np.maximum(left // (per_token * lengths + per_pair * lengths**2), 0)


# Part 4


class Named:
    """A function that prints as its formula, since it is shown where an answer is wrong."""

    def __init__(self, formula: str, function):
        self.formula, self.function = formula, function

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __repr__(self):
        return self.formula


def positive(x):
    return jnp.where(x > 0, x, 0)


TWO_PRODUCTS = Named("x @ w1 @ w2", lambda w1, w2, x: x @ w1 @ w2)
SQUARE = Named("x * x", lambda x: x * x)
SIGNS = Named("where(x @ w > 0, x @ w, 0)", lambda w, x: positive(x @ w))
WEIGHTS = Named("softmax(q @ k.T)", lambda q, k: jax.nn.softmax(q @ k.T))
PARTLY = Named("sin(x) * x", lambda x: jnp.sin(x) * x)


def function_cases(rng):
    """Functions that keep arguments only, arrays of their own, bools, and numbers of two bytes."""
    n, d = 5, 3
    x = rng.normal(size=(n, d)).astype(np.float32)
    square = rng.normal(size=(d, d)).astype(np.float32)
    yield {"f": SQUARE, "x": x}
    yield {"f": PARTLY, "x": x}
    yield {"f": SIGNS, "w": square, "x": x}
    yield {"f": TWO_PRODUCTS, "w1": square, "w2": square.T, "x": x}
    yield {"f": WEIGHTS, "q": x, "k": x[::-1]}
    yield {"f": PARTLY, "x": x.astype(jnp.bfloat16)}


def weighed(f, *arguments):
    """The right bytes: of what the pull-back holds and was not given."""
    arguments = [jnp.asarray(x) for x in arguments]
    kept = jax.tree.leaves(jax.vjp(f, *arguments)[1])
    new = {id(array): array.nbytes for array in kept if not any(array is x for x in arguments)}
    return np.array(sum(new.values()))
