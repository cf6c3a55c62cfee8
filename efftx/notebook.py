"""What a notebook does out of its reader's sight: it keeps to the memory of a small machine."""

import ctypes
from contextlib import suppress

import jax
import psutil
from IPython import get_ipython

FULL = 500 * 2**20  # bytes: a free Binder has 1 GB, and a cell needs some of it


def keep_small() -> None:
    """From now on, a cell that finds its process `FULL` begins with `free_memory`.

    Outside of IPython nothing happens.
    """
    if (shell := get_ipython()) is not None:
        shell.events.register("pre_run_cell", free_memory_if_full)


def free_memory_if_full(cell: object = None) -> None:
    """`free_memory`, if this process holds more than `FULL` bytes."""
    if psutil.Process().memory_info().rss > FULL:
        free_memory()


def free_memory() -> None:
    """Forget all programs that jax has compiled, and give their memory back to the system."""
    jax.clear_caches()
    with suppress(OSError, AttributeError):  # only the C library of most Linux systems has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
