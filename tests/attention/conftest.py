"""Double precision for the tests that ask for it."""

import jax
import pytest


@pytest.fixture
def x64():
    """Within the test, arrays may be float64."""
    with jax.enable_x64(True):
        yield
