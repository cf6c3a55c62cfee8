"""Bad lengths of the duplication task raise a ValueError that says what would be right."""

import pytest

from efftx.training.duplication import batch_at, excerpts_at


@pytest.mark.parametrize("length", [7, 2, 0, 8.0])
def test_lengths(length):
    with pytest.raises(ValueError, match=f"an even length of at least 4; got {length}"):
        batch_at(0, seed=0, length=length, batch=2)


def test_windows():
    with pytest.raises(ValueError, match="an even length of at least 4; got 5"):
        excerpts_at(0, seed=0, length=8, batch=2, window=5)
    with pytest.raises(ValueError, match="a window of 10 is not part of a sequence of 8"):
        excerpts_at(0, seed=0, length=8, batch=2, window=10)


def test_batches():
    with pytest.raises(ValueError, match="batch"):
        batch_at(0, seed=0, length=8, batch=0)
