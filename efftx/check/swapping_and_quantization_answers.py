"""Exercise 05: what is right, what it is tried on, and what is promised besides."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check.promises import operations, traced

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


def codes_of(x, absmax):
    """Int8 codes of x; absmax is broadcast against it."""
    scale = np.float32(np.where(absmax == 0, 1, absmax))
    return np.round(np.float32(127) * (x / scale)).astype(np.int8)


def rows(x):
    """The right codes and absmax."""
    absmax = np.abs(x).max(axis=1)
    return codes_of(x, absmax[:, None]), absmax


ZEROS = {"x": np.zeros((2, 3), np.float32)}
NAN_AS_INT = (
    "for a row of zeros it divides 0 by 0, and makes an int8 of nan. Here that happens to give 0. "
    "No standard says so, and another processor may give another number. Divide such a row by 1."
)


def cares_for_zeros(answer) -> str:
    """The promise that no nan is made an int8: of jax's answers and of numpy's."""
    program = traced(answer, ZEROS)
    if program is None:
        with warnings.catch_warnings(record=True) as warned, np.errstate(invalid="warn"):
            warnings.simplefilter("always")
            answer(jnp.zeros((2, 3)))
        return NAN_AS_INT if any("in cast" in str(each.message) for each in warned) else ""
    if "select_n" in operations(program):  # something is chosen where something else is not
        return ""
    try:
        with jax.disable_jit(), jax.debug_nans(True):
            jax.block_until_ready(answer(jnp.zeros((2, 3))))
    except FloatingPointError:
        return NAN_AS_INT
    return ""


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


def restored(codes, absmax, block_len):
    """The right numbers."""
    return codes / np.float32(127) * np.repeat(absmax, block_len)[: len(codes)]


# Part 3


def coin_cases(rng):
    """Numbers of both signs, whole ones among them, and a draw between 0 and 1 for each."""
    for n in (4, 6, 12, 200):
        x = rng.uniform(-9, 9, n).astype(np.float32)
        u = rng.uniform(0.01, 0.99, n).astype(np.float32)
        x[0] = np.round(x[0])
        if n > 4:
            x[1], u[1] = np.floor(x[1]) + 0.25, 0.25  # no less than the fraction: down
            x[2], u[2] = np.round(x[2]), 0  # a draw may be 0, and a whole number stays
        yield {"x": x, "u": u}


def by_coin(x, u):
    """Up where u is less than the distance from below."""
    return np.floor(x) + (u < x - np.floor(x))


# Part 4


def machine_cases(rng):
    """Some machines: operations and bytes a second, in the same unit of 10⁹; bytes a parameter."""
    for n in (1, 3, 8):
        yield {
            "flops": rng.uniform(10, 1000, n).astype(np.float32),
            "bandwidth": rng.uniform(1, 60, n).astype(np.float32),
            "n_bytes": rng.choice([1, 2, 4], n).astype(np.float32),
        }


def tokens(flops, bandwidth, n_bytes):
    """So that 2 T / flops = n_bytes / bandwidth."""
    return n_bytes * flops / (2 * bandwidth)
