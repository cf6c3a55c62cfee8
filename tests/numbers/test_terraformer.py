"""Weights that a token reads, part by part."""

from itertools import product

import pytest

from efftx.numbers import terraformer as numbers

MEDIUM, BIG = list(numbers.MODELS)[1:]


def test_what_the_dense_models_read_is_their_size():
    assert sum(numbers.weights_read(MEDIUM, False, False, False).values()) == (
        24 * 12 * 1024**2 + 1024 * 32_000
    )
    big = numbers.weights_read(BIG, False, False, False)
    embedding = big["readout"]  # as large
    assert sum(big.values()) + embedding == pytest.approx(10e9, rel=0.01)


@pytest.mark.parametrize("model", numbers.MODELS)
def test_feed_forward_and_qkv_together_save_more_than_one_and_one(model):
    dense, qkv, ff, both = (
        sum(numbers.weights_read(model, *chosen, True).values())
        for chosen in product((False, True), repeat=2)
    )
    assert dense - both > (dense - ff) + (dense - qkv)


def test_every_switch_changes_its_part_only():
    dense = numbers.weights_read(MEDIUM, False, False, False)
    changed = {
        part
        for chosen in ((True, False, False), (False, False, True))
        for part, read in numbers.weights_read(MEDIUM, *chosen).items()
        if read != dense[part]
    }
    assert changed == {"feed-forward", "controller", "readout"}
    qkv = numbers.weights_read(MEDIUM, False, True, False)
    assert qkv["attention"] < dense["attention"] / 20
    assert qkv["feed-forward"] == 1.5 * dense["feed-forward"]
