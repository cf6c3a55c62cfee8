"""Exercise 05: what learners hand in, right and wrong.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import swapping_and_quantization as check
from efftx.memory import Quantized, dequantize, quantize
from tests.check.exercise import Exercise

ABSMAX, CODES = "jnp.abs(x).max(axis=1)", "jnp.round(127 * x / scale).astype(jnp.int8)"
FETCH, USE = "n_bytes / bandwidth", "2 / flops"


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
    right=RIGHT,
    together={"there_and_back": check.there_and_back},
)


def test_a_slip_without_a_name_is_shown_an_example():
    message = EXERCISE.said("tokens_to_hide", lambda flops, bandwidth, n_bytes: flops)
    assert "called with the smallest input that fails: flops" in message
    assert "tokens[0]: got" in message


def rows_without_care(x):
    absmax = jnp.abs(x).max(axis=1)
    return jnp.round(127 * x / absmax[:, None]).astype(jnp.int8), absmax


def rows_in_numpy_without_care(x):
    x = np.asarray(x)
    absmax = np.abs(x).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(127 * x / absmax[:, None])
    return codes.astype(np.int8), absmax


@pytest.mark.parametrize("answer", [rows_without_care, jax.jit(rows_without_care)])
def test_a_row_of_zeros_must_not_pass_by_luck(answer):
    said = EXERCISE.said("quantize_rows", answer)
    assert "returns the right values. But: for a row of zeros it divides 0 by 0" in said


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_numpys_luck_is_found_too():
    said = EXERCISE.said("quantize_rows", rows_in_numpy_without_care)
    assert "for a row of zeros it divides 0 by 0" in said


@pytest.mark.parametrize(
    "answer", [lambda x: jnp.nan_to_num(x), lambda x: jnp.where(jnp.isnan(x), 0, x)]
)
def test_a_row_of_zeros_may_be_mended_later(answer):
    def rows(x):
        absmax = jnp.abs(x).max(axis=1)
        return jnp.round(answer(127 * x / absmax[:, None])).astype(jnp.int8), absmax

    EXERCISE.checks["quantize_rows"](rows)


def test_codes_of_four_bytes_are_no_quarter():
    def rows(x):
        codes, absmax = rows_of_the_package(x)
        return codes.astype(jnp.int32), absmax

    said = EXERCISE.said("quantize_rows", rows)
    assert "`codes` must be of dtype int8; got int32" in said
