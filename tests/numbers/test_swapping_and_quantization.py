"""Codes of any number of bits; at eight they are the package's."""

import numpy as np
import pytest

from efftx.memory import dequantize, quantize_blockwise
from efftx.numbers import swapping_and_quantization as numbers

NUMBERS = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)


def test_eight_bits_are_the_packages():
    codes, restored = numbers.quantize_to_bits(NUMBERS, 8, 64)
    quantized = quantize_blockwise(NUMBERS, block_len=64)
    np.testing.assert_array_equal(codes, quantized.values.ravel())
    np.testing.assert_allclose(restored, dequantize(quantized).ravel(), rtol=1e-6)


def test_zeros_stay_zeros():
    codes, restored = numbers.quantize_to_bits(np.zeros(5), 4, 16)
    assert codes.tolist() == restored.tolist() == [0] * 5


@pytest.mark.parametrize("bits", range(2, 9))
def test_more_bits_and_smaller_blocks_are_nearer(bits):
    errors = [numbers.error_of_codes(NUMBERS, bits, n) for n in (16, 64, 256, 1024, 4096)]
    assert errors == sorted(errors)
    if bits < 8:
        assert numbers.error_of_codes(NUMBERS, bits + 1, 64) < errors[1]
    codes, _ = numbers.quantize_to_bits(NUMBERS, bits, 64)
    assert np.abs(codes).max() == 2 ** (bits - 1) - 1
