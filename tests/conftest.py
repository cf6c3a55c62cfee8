"""What all tests share. Set before jax is imported anywhere."""

import os

from hypothesis import settings

# Memory claims are about the CPU's compiler, so that they are the same on every machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

# The first example of a property compiles, which takes seconds; and a test that fails must fail
# again when it is run again.
settings.register_profile("course", deadline=None, derandomize=True)
settings.load_profile("course")
