"""What all tests share. Set before jax is imported anywhere."""

import os
import sys
from collections import Counter
from importlib import metadata

import pytest
from hypothesis import settings

from tests import compilation_cache

# Memory claims are about the CPU's compiler, so that they are the same on every machine. Most of
# the tests' time is compilation: these programs need not be fast. Without its MLIR emitters XLA
# compiles in half the time; a jaxlib that has no other ones stops at a flag that it does not know.
QUICK = "--xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):
    QUICK += " --xla_cpu_use_fusion_emitters=false"
HERE = {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "agg", "XLA_FLAGS": QUICK}
SET = "EFFTX_TESTS_SET"  # those of them that are ours: a worker of pytest-xdist inherits them
os.environ.setdefault(SET, " ".join(name for name in HERE if name not in os.environ))
for name, value in HERE.items():
    os.environ.setdefault(name, value)
# EFFTX_ARITHMETIC=bf16 or tf32: as a TPU or a newer GPU multiplies, see tools/arithmetic.py. Proofs
# are then at the highest precision, as in a notebook.
if ARITHMETIC := os.environ.get("EFFTX_ARITHMETIC"):
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
compilation_cache.use()
os.environ["EFFTX_PROGRESS"] = "off"  # tests are no learner, nor are the kernels that they start

# The first example of a property compiles, which takes seconds; and a test that fails must fail
# again when it is run again.
settings.register_profile("course", deadline=None, derandomize=True)
settings.load_profile("course")

# What takes longest begins first, so that no worker is left alone with it at the end.
LONGEST = ("tests/check/test_every_exercise.py", "tests/browser/", "chapters/", "solutions/")


def pytest_configure() -> None:
    if ARITHMETIC:
        from tools import arithmetic  # imports jax, for which all is set now

        arithmetic.use(ARITHMETIC)


def in_order(files: list[str]) -> list[int]:
    """For each test, given by its file, its place: the longest first, then files of many tests."""
    count = Counter(files)

    def place(file: str) -> tuple:
        long = next((n for n, start in enumerate(LONGEST) if file.startswith(start)), len(LONGEST))
        return long, -count[file], file

    return sorted(range(len(files)), key=lambda n: place(files[n]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [items[n] for n in in_order([item.nodeid.partition("::")[0] for item in items])]


@pytest.fixture(autouse=True, scope="module")
def no_program_outlives_its_file():
    """Each takes some pages of memory, and Linux gives a process no more than 65,530 pieces."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """A notebook runs on what a reader's would: its kernel inherits no platform from the tests."""
    ours = os.environ[SET].split() if item.path.suffix == ".ipynb" else []
    taken = {name: os.environ.pop(name) for name in ours}
    try:
        return (yield)
    finally:
        os.environ.update(taken)
