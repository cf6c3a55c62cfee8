"""Bytes that a position reads, by hand."""

from efftx.numbers import sparse_feed_forward as numbers

D_MODEL, D_FF = 1024, 4096


def test_bytes_by_hand():
    assert numbers.mib_read(1, D_MODEL, D_FF) == (32, 0)
    assert numbers.mib_read(64, D_MODEL, D_FF) == (0.5, 16 * 5 * 1024 * 4 / 2**20)
