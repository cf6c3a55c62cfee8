"""Exercise 04's inputs, right answers, and the functions that make its mistakes.

Written in numpy from the definitions, so that they share nothing with ``efftx.memory``.
"""

import numpy as np

from efftx.check.promises import held_at_once, largest_array

# Few sizes, since jax compiles every operation for each: length, chunk_len. Two leave a rest, and
# one chunk is longer than all.
SIZES = ((4, 2), (5, 2), (7, 3), (3, 8))
DRAWS = 3  # of each
D_MODEL, D_FF, VOCAB = 2, 3, 4

# Part 1


class Layer:
    """Some function of each position, of width 2 to width 3; it has room for a few positions only.

    It prints as what it is, since it is shown where an answer is wrong.
    """

    def __init__(self, rng, room: int):
        self.weights = rng.normal(size=(D_MODEL, D_FF))
        self.room = room

    def __call__(self, x):
        if len(x) > self.room:
            raise ValueError(
                f"out of memory: this layer has room for {self.room} positions at a time, and it "
                f"was given {len(x)}."
            )
        return abs(x @ self.weights) + 1

    def __repr__(self):
        return f"a layer with room for {self.room} positions"


def layer_cases(rng):
    for length, chunk_len in SIZES:
        for _ in range(DRAWS):
            x = rng.normal(size=(length, D_MODEL))
            yield {"layer": Layer(rng, chunk_len), "x": x, "chunk_len": chunk_len}


def starts(x, chunk_len):
    return range(0, len(x), chunk_len)


def chunked(layer, x, chunk_len):
    """The right output."""
    return np.concatenate([layer(x[i : i + chunk_len]) for i in starts(x, chunk_len)])


def with_rest(rest):
    """Another way to deal with the positions behind the last whole chunk: rest(layer, x, m, n)."""

    def mistake(layer, x, chunk_len):
        out = chunked(layer, x, chunk_len)
        if n_rest := len(x) % chunk_len:
            out[-n_rest:] = rest(layer, x, chunk_len, n_rest)
        return out

    return mistake


def last_chunk_from_the_end(layer, x, chunk_len, n_rest):
    """The chunk that ends where x ends, of which the first rows are taken instead of the last."""
    return layer(x[-chunk_len:])[:n_rest]


def one_step_at_a_time(layer, x, chunk_len):
    """Chunk number n starts at position n."""
    lengths = [len(x[i : i + chunk_len]) for i in starts(x, chunk_len)]
    return np.concatenate([layer(x[n : n + m]) for n, m in enumerate(lengths)])


def dealt_out(layer, x, chunk_len):
    """Every n-th position to the same chunk, as cards are dealt."""
    n_chunks = len(starts(x, chunk_len))
    return np.concatenate([layer(x[i::n_chunks]) for i in range(n_chunks)])


# Part 2


def gradient_cases(rng):
    for length, chunk_len in SIZES:
        for draw in range(DRAWS):
            shapes = {
                "w1": (D_MODEL, D_FF),
                "b1": (D_FF,),
                "w2": (D_FF, D_MODEL),
                "x": (length, D_MODEL),
                "g": (length, D_MODEL),
            }
            arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
            if draw == 1:  # an inside of exactly 0, where the slope is 0
                arrays["b1"][:], arrays["x"][0] = 0, 0
            yield {**arrays, "chunk_len": chunk_len}


def one_chunk(w1, b1, w2, x, g):
    """The gradients of one chunk: of w1, b1, w2 and x."""
    inside = x @ w1 + b1
    g_inside = (g @ w2.T) * (inside > 0)
    return x.T @ g_inside, g_inside.sum(0), np.maximum(inside, 0).T @ g, g_inside @ w1.T


def gradients(w1, b1, w2, x, g, chunk_len):
    """The right gradients; chunks do not matter to them."""
    return one_chunk(w1, b1, w2, x, g)


def without_rest(w1, b1, w2, x, g, chunk_len):
    """The sums over whole chunks only; the rest's gradient of x is there."""
    n_whole = len(x) // chunk_len * chunk_len
    *_, of_x = gradients(w1, b1, w2, x, g, chunk_len)
    *of_weights, _ = one_chunk(w1, b1, w2, x[:n_whole], g[:n_whole])
    return *of_weights, of_x


# Part 3


def loss_cases(rng):
    """The last of each size has scores in the thousands, of which no exponential is finite."""
    for length, chunk_len in SIZES:
        for draw in range(DRAWS):
            size = 1000 if draw == DRAWS - 1 else 1
            yield {
                "w": size * rng.normal(size=(D_MODEL, VOCAB)),
                "x": rng.normal(size=(length, D_MODEL)),
                "targets": rng.integers(VOCAB, size=length),
                "chunk_len": chunk_len,
            }


def surprises(w, x, targets):
    """−log p of each target."""
    scores = x @ w
    largest = scores.max(1)
    normaliser = largest + np.log(np.exp(scores - largest[:, None]).sum(1))
    return normaliser - scores[np.arange(len(x)), targets]


def mean_loss(w, x, targets, chunk_len):
    """The right loss; chunks do not matter to it."""
    return surprises(w, x, targets).mean()


def whole_chunks_only(w, x, targets, chunk_len):
    """The rest is left out of the sum, but not out of the number of positions."""
    n_whole = len(x) // chunk_len * chunk_len
    return surprises(w, x, targets)[:n_whole].sum() / len(x)


# What is promised besides: no array of the answer has d_ff, or vocab, columns and more rows than a
# chunk, and no list holds them all. Told apart by widths that no other axis has.

WIDE, LONG, SHORT = 67, 480, 16  # columns, positions, positions in a chunk


def gradients_case() -> dict:
    rng = np.random.default_rng(0)
    shapes = {"w1": (3, WIDE), "b1": (WIDE,), "w2": (WIDE, 3), "x": (LONG, 3), "g": (LONG, 3)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**arrays, "chunk_len": SHORT}


def loss_case() -> dict:
    rng = np.random.default_rng(0)
    w, x = (rng.normal(size=shape).astype(np.float32) for shape in ((3, WIDE), (LONG, 3)))
    return {"w": w, "x": x, "targets": rng.integers(WIDE, size=LONG), "chunk_len": SHORT}


def rows_of_an_array(answer, case: dict) -> int | None:
    numbers = largest_array(answer, case, WIDE)
    return None if numbers is None else numbers // WIDE


def rows_held(answer, case: dict) -> int | None:
    """By all arrays together."""
    what = "Whether it goes chunk by chunk"
    return held_at_once(answer, case, what, lambda shape: WIDE in shape) // (4 * WIDE)


# For how many rows there is room: several arrays of a chunk's size, in numpy perhaps of float64.
ROOM = {rows_of_an_array: SHORT, rows_held: 10 * SHORT}


def one_chunk_at_a_time(case: dict, columns: str):
    """The promise that no array is ``WIDE`` columns wide and longer than a chunk."""

    def missing(answer) -> str:
        for measure, room in ROOM.items():
            n_rows = measure(answer, case)
            if n_rows is not None and n_rows > room:
                return (
                    f"with {LONG} positions in chunks of {SHORT} it has {n_rows} rows of {columns} "
                    "columns at once. Let nothing of that width have more than chunk_len rows, and "
                    "keep nothing of it for later."
                )
        return ""

    return missing
