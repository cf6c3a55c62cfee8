"""What a check says to a thing that is not a function."""

import jax.numpy as jnp
import pytest

from efftx.check import CheckFailed
from efftx.check import lsh_attention as check


@pytest.mark.parametrize(
    ("answer", "came"),
    [(jnp.zeros((2, 3)), r"an array, float32\[2, 3\]"), (None, "a NoneType"), ((1, 2), "a tuple")],
)
def test_an_answer_must_be_a_function(answer, came):
    with pytest.raises(CheckFailed, match=f"itself, attend, without calling it; got {came}"):
        check.attend(answer)
