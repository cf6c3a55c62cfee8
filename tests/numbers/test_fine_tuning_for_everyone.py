"""Bytes of a step, by kind, against models whose sizes everybody knows."""

import pytest

from efftx.numbers import fine_tuning_for_everyone as numbers


def test_a_model_of_7b_as_everybody_counts_it():
    full = numbers.gigabytes("7B", "full, Adam", 16, 512)
    assert full["trained, with its state"] == pytest.approx(107, rel=0.01)
    assert numbers.gigabytes("7B", "adapters", 16, 512)["frozen weights"] == pytest.approx(13.4)
    assert numbers.gigabytes("7B", "adapters", 4, 512)["frozen weights"] == pytest.approx(4.1875)


def test_the_adapters_of_the_pretrained_model():
    """As many as efftx makes of it, see experiments/results/fine_tuning.json."""
    d, kv, d_ff = 576, 192, 1536
    ours = 30 * 8 * ((d + d) + (d + 2 * kv) + (d + d) + 3 * (d + d_ff))
    assert numbers.adapter_numbers(numbers.SHAPES["135M"]) == pytest.approx(ours, rel=0.2)


def test_checkpoints_and_fewer_bits_take_less():
    for size in numbers.SHAPES:
        totals = [
            sum(numbers.gigabytes(size, "adapters", bits, 512, kept).values())
            for bits, kept in ((16, False), (16, True), (8, True), (4, True))
        ]
        assert totals == sorted(totals, reverse=True)
