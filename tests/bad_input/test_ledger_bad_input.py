"""What the ledger refuses, and that it says what came and what would be right."""

import pytest

from efftx.memory.ledger import Step, max_batch

SIZES = dict(n_layers=2, d_model=8, d_ff=16, n_heads=2, d_head=4, vocab=20, length=10)


@pytest.mark.parametrize("budget", [-1, 0, "16 GB", None, float("nan"), float("inf"), True])
def test_budget(budget):
    with pytest.raises(ValueError, match="budget must be a positive number of bytes, as 16"):
        max_batch(Step(**SIZES), budget)


NUMBERS = [*SIZES, "max_len", "batch", "n_hashes", "ff_chunk_len", "loss_chunk_len", "parameters"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("number", [0, -3, 2.5, "8", True])
def test_numbers(name, number):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got"):
        Step(**{**SIZES, name: number})


def test_other_options():
    with pytest.raises(ValueError, match=r"attention must be 'full' or .*; got 'sparse'"):
        Step(**SIZES, attention="sparse")
    with pytest.raises(ValueError, match="optimiser_bytes must not be negative; got -8"):
        Step(**SIZES, optimiser_bytes=-8)
