"""Exercise 05: what learners hand in, right and wrong.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import swapping_and_quantization as check
from efftx.memory import Quantized, dequantize, quantize
from tests.check.exercise import Exercise

ABSMAX, CODES = "jnp.abs(x).max(axis=1)", "jnp.round(127 * x / scale).astype(jnp.int8)"
OF_EACH = "jnp.repeat(absmax, block_len)[: len(codes)]"
BACK = "codes / 127 * absmax_of_each"
COIN = "below + (u < x - below)"
FETCH, USE = "n_bytes / bandwidth", "2 / flops"
SLIPS = [
    (
        "quantize_rows",
        "the wrong axis",
        {ABSMAX: "jnp.abs(x).max(axis=0)", "absmax)[:, None]": "absmax)[None, :]"},
    ),
    (
        "quantize_rows",
        "the whole matrix",
        {ABSMAX: "jnp.full(len(x), jnp.abs(x).max())"},
    ),
    ("quantize_rows", "the largest magnitude", {ABSMAX: "x.max(axis=1)"}),
    ("quantize_rows", "truncated", {CODES: "(127 * x / scale).astype(jnp.int8)"}),
    ("quantize_rows", "rounded down", {"jnp.round(": "jnp.floor("}),
    ("quantize_rows", "128 stood where 127", {"jnp.round(127 *": "jnp.round(128 *"}),
    (
        "quantize_rows",
        "comes out as -128",
        {CODES: "np.round(128 * np.asarray(x / scale)).astype(np.int64).astype(np.int8)"},
    ),
    ("quantize_rows", "up to 255", {"jnp.round(127 *": "jnp.round(255 *"}),
    (
        "quantize_rows",
        "already divided by 127",
        {"return codes, absmax": "return codes, absmax / 127"},
    ),
    ("quantize_rows", "not divided by their absmax", {"127 * x / scale": "127 * x"}),
    ("dequantize_blocks", "not rescaled", {BACK: "codes / 127"}),
    ("dequantize_blocks", "division by 127 were missing", {BACK: "codes * absmax_of_each"}),
    ("dequantize_blocks", "divided by 128", {BACK: "codes / 128 * absmax_of_each"}),
    (
        "dequantize_blocks",
        "jnp.repeat, not jnp.tile",
        {OF_EACH: "jnp.tile(absmax, block_len)[: len(codes)]"},
    ),
    ("dequantize_blocks", "absmax of the first", {OF_EACH: "absmax[0]"}),
    ("dequantize_blocks", "the largest absmax of all", {OF_EACH: "absmax.max()"}),
    ("dequantize_blocks", "codes were divided by absmax", {BACK: "codes / 127 / absmax_of_each"}),
    ("round_by_coin", "up and down were exchanged", {"u < x": "u > x"}),
    (
        "round_by_coin",
        "up and down were exchanged",
        {COIN: "below + ((u > x - below) & (x > below))"},
    ),
    ("round_by_coin", "whatever u says. That is biased", {COIN: "jnp.round(x)"}),
    ("round_by_coin", "rounded down, whatever u", {COIN: "below"}),
    ("round_by_coin", "half a step too much", {COIN: "jnp.round(x + u)"}),
    ("round_by_coin", "It is unbiased", {COIN: "jnp.floor(x + u)"}),
    ("round_by_coin", "cut towards zero", {"jnp.floor(x)": "jnp.trunc(x)"}),
    ("round_by_coin", "the coin were always fair", {COIN: "below + ((u < 0.5) & (x > below))"}),
    ("round_by_coin", "one coin decided for all", {"(u < x": "(u[0] < x"}),
    ("round_by_coin", "nothing rounded", {COIN: "x + u - 0.5"}),
    ("tokens_to_hide", "It does two", {USE: "1 / flops"}),
    ("tokens_to_hide", "the backward pass", {USE: "6 / flops"}),
    (
        "tokens_to_hide",
        "upside down",
        {"seconds_to_fetch / seconds_for_a_token": "seconds_for_a_token / seconds_to_fetch"},
    ),
    ("tokens_to_hide", "played no part", {FETCH: "1 / bandwidth"}),
    ("tokens_to_hide", "on the wrong side", {FETCH: "1 / n_bytes / bandwidth"}),
    ("tokens_to_hide", "divided by bytes per second", {FETCH: "n_bytes * bandwidth"}),
    ("tokens_to_hide", "turned into bits", {FETCH: "8 * n_bytes / bandwidth"}),
]


# Other ways to be right: numpy, loops, the package, under jit.


def rows_in_numpy(x):
    x = np.asarray(x)
    absmax = np.abs(x).max(axis=1)
    with np.errstate(invalid="ignore"):
        scaled = np.nan_to_num(x / absmax[:, None])
    return np.rint(127 * scaled).astype(np.int8), absmax


def rows_of_the_package(x):
    quantized = quantize(x)
    return quantized.values, quantized.absmax[:, 0]


def blocks_by_index(codes, absmax, block_len):
    return jnp.float32(codes) * absmax[jnp.arange(len(codes)) // block_len] / 127


def blocks_in_a_loop(codes, absmax, block_len):
    return np.array([int(c) / 127 * float(absmax[i // block_len]) for i, c in enumerate(codes)])


def blocks_of_the_package(codes, absmax, block_len):
    return dequantize(Quantized(codes, absmax, block_len))


def coin_with_where(x, u):
    fraction = x % 1
    return jnp.where(u < fraction, jnp.ceil(x), jnp.floor(x))


def tokens_in_one_line(flops, bandwidth, n_bytes):
    return np.asarray(n_bytes, np.float64) * flops / bandwidth / 2


def rows_one_by_one(x):
    return jnp.stack([dequantize(quantize(row[None]))[0] for row in x])


RIGHT = [
    ("quantize_rows", rows_in_numpy),
    ("quantize_rows", rows_of_the_package),
    ("quantize_rows", jax.jit(rows_of_the_package)),
    ("dequantize_blocks", blocks_by_index),
    ("dequantize_blocks", blocks_in_a_loop),
    ("dequantize_blocks", blocks_of_the_package),
    ("round_by_coin", coin_with_where),
    ("round_by_coin", jax.jit(coin_with_where)),
    ("tokens_to_hide", tokens_in_one_line),
    ("there_and_back", rows_one_by_one),
]

PARTS = ("quantize_rows", "dequantize_blocks", "round_by_coin", "tokens_to_hide")
EXERCISE = Exercise(
    stem="05_swapping_and_quantization",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
    together={"there_and_back": check.there_and_back},
)


def test_a_slip_without_a_name_is_shown_an_example():
    message = EXERCISE.said("tokens_to_hide", lambda flops, bandwidth, n_bytes: flops)
    assert "The smallest input that fails: flops" in message
    assert "tokens[0]: got" in message
