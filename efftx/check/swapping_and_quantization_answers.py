"""Exercise 05: what is right, what it is tried on, and how it goes wrong. All in numpy."""

from functools import partial

import numpy as np

DRAWS = 3

# Part 1


def matrix_cases(rng):
    """Square matrices, so that rows and columns can be confused; one has a row of zeros.

    The largest of a row is a power of two: so it does not matter to a truncated code how a
    division is rounded.
    """
    for size in (3, 4, 9):
        for draw in range(DRAWS):
            x = rng.uniform(-1, 1, size=(size, size)).astype(np.float32)
            x[np.arange(size), rng.integers(size, size=size)] = rng.choice([-1, 1], size)
            x *= 2.0 ** rng.integers(-2, 4, size=(size, 1))
            if draw == 1:
                x[1] = 0
            yield {"x": x}


def row_absmax(x):
    return np.abs(x).max(axis=1)


def saturated(x):
    """To int8 as jax converts: what does not fit becomes the nearest that does."""
    return np.clip(x, -128, 127).astype(np.int8)


def wrapped(x):
    """To int8 as numpy converts: 128 becomes -128."""
    return x.astype(np.int64).astype(np.int8)


def codes_of(x, absmax, *, to=np.round, largest=127, as_int8=saturated):
    """Int8 codes of x; absmax is broadcast against it."""
    scale = np.float32(np.where(absmax == 0, 1, absmax))
    return as_int8(to(np.float32(largest) * (x / scale)))


def rows(x, **changes):
    """The right codes and absmax; or with another rounding, or another largest code."""
    absmax = row_absmax(x)
    return codes_of(x, absmax[:, None], **changes), absmax


def rows_over_columns(x):
    absmax = np.abs(x).max(axis=0)
    return codes_of(x, absmax[None, :]), absmax


def rows_over_everything(x):
    absmax = np.full(len(x), np.abs(x).max())
    return codes_of(x, absmax[:, None]), absmax


def rows_without_abs(x):
    absmax = x.max(axis=1)
    return codes_of(x, absmax[:, None]), absmax


def rows_with_step(x):
    """absmax / 127 in the place of absmax."""
    codes, absmax = rows(x)
    return codes, absmax / np.float32(127)


def there_and_back(x):
    """Each row through eight bits."""
    codes, absmax = rows(x)
    return codes / np.float32(127) * absmax[:, None]


# Part 2


def block_cases(rng):
    """Codes and the absmax of their blocks; the last block is often shorter than the others."""
    for n, block_len in ((6, 3), (7, 3), (5, 8), (64, 16), (90, 32)):
        x = (
            rng.normal(size=n).astype(np.float32)
            * np.repeat(rng.uniform(0.1, 4, -(-n // block_len)).astype(np.float32), block_len)[:n]
        )
        blocks = np.pad(x, (0, -n % block_len)).reshape(-1, block_len)
        absmax = np.abs(blocks).max(axis=1)
        codes = codes_of(blocks, absmax[:, None]).ravel()[:n]
        yield {"codes": codes, "absmax": absmax, "block_len": block_len}


def absmax_of_each(codes, absmax, block_len):
    return np.repeat(absmax, block_len)[: len(codes)]


def restored(codes, absmax, block_len, *, of_each=absmax_of_each, largest=127):
    """The right numbers; or with another absmax for each, or another largest code."""
    return codes / np.float32(largest) * of_each(codes, absmax, block_len)


def dealt_out(codes, absmax, block_len):
    """As cards are: number 0 to block 0, number 1 to block 1, …"""
    return np.resize(absmax, len(codes))


def first_block(codes, absmax, block_len):
    return absmax[0]


def largest_block(codes, absmax, block_len):
    return absmax.max()


def one(codes, absmax, block_len):
    return np.float32(1)


def not_divided(codes, absmax, block_len):
    return restored(codes, absmax, block_len, largest=1)


def divided_by_absmax(codes, absmax, block_len):
    return codes / np.float32(127) / absmax_of_each(codes, absmax, block_len)


# Part 3


def coin_cases(rng):
    """Numbers of both signs, whole ones among them, and a draw between 0 and 1 for each."""
    for n in (4, 6, 12, 200):
        x = rng.uniform(-9, 9, n).astype(np.float32)
        x[0] = np.round(x[0])
        yield {"x": x, "u": rng.uniform(0.01, 0.99, n).astype(np.float32)}


def by_coin(x, u, *, below=np.floor, up=np.less):
    """Down, or up where up(u, fraction); the fraction is the distance from below."""
    return below(x) + up(u, x - below(x))


def to_nearest(x, u):
    return np.round(x)


def always_down(x, u):
    return np.floor(x)


def never_rounded(x, u):
    return x + u - np.float32(0.5)


def added_and_rounded(x, u):
    return np.round(x + u)


def added_and_cut(x, u):
    return np.floor(x + u)


def one_coin(x, u):
    return by_coin(x, u[0])


def even_coin(x, u):
    return np.floor(x) + (u < 0.5) * (x != np.floor(x))


# Part 4


def machine_cases(rng):
    """Some machines: operations and bytes a second, in the same unit of 10⁹; bytes a parameter."""
    for n in (1, 3, 8):
        yield {
            "flops": rng.uniform(10, 1000, n).astype(np.float32),
            "bandwidth": rng.uniform(1, 60, n).astype(np.float32),
            "n_bytes": rng.choice([1, 2, 4], n).astype(np.float32),
        }


def tokens(flops, bandwidth, n_bytes, *, per_token=2):
    """So that per_token · T / flops = n_bytes / bandwidth."""
    return n_bytes * flops / (per_token * bandwidth)


tokens_of_bits = partial(tokens, per_token=0.25)


def tokens_upside_down(flops, bandwidth, n_bytes):
    return 1 / tokens(flops, bandwidth, n_bytes)


def tokens_without_bytes(flops, bandwidth, n_bytes):
    return tokens(flops, bandwidth, np.float32(1))


def tokens_with_faster_link(flops, bandwidth, n_bytes):
    return n_bytes * flops * bandwidth / 2


def tokens_of_smaller(flops, bandwidth, n_bytes):
    return flops / (2 * bandwidth * n_bytes)
