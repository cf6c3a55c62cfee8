"""A name that nothing was recorded under."""

import pytest

from efftx.results import recorded


def test_the_error_lists_what_there_is():
    with pytest.raises(ValueError, match=r"one of .*small_text_model.*; got 'nothing'"):
        recorded("nothing")
