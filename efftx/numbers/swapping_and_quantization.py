"""Codes of any number of bits, for chapter 05's widget."""

import numpy as np

from efftx.numbers.errors import relative_error


def quantize_to_bits(
    numbers: np.ndarray, bits: int, block_len: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of −(2^(bits − 1) − 1) and up, and the numbers they stand for; absmax of each block."""
    largest = 2 ** (bits - 1) - 1
    blocks = np.pad(numbers.ravel(), (0, -numbers.size % block_len)).reshape(-1, block_len)
    absmax = np.abs(blocks).max(axis=1, keepdims=True)
    codes = np.round(largest * blocks / np.where(absmax == 0, 1, absmax))
    restored = codes / largest * absmax
    return codes.ravel()[: numbers.size], restored.ravel()[: numbers.size]


def error_of_codes(numbers: np.ndarray, bits: int, block_len: int) -> float:
    """‖x̂ − x‖ / ‖x‖ of what comes back."""
    _, restored = quantize_to_bits(numbers, bits, block_len)
    return relative_error(restored, numbers.ravel())


def bits_per_number(bits: int, block_len: int) -> float:
    """With 32 bits for each block's absmax."""
    return bits + 32 / block_len
