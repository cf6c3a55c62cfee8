"""How a program is compiled that runs once, and what a compiler says that one takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax


def for_one_run(level: int = 1) -> dict:
    """The ``compiler_options`` of `jax.jit` for a program that need not be fast: soon compiled.

    A CPU's compiler stops early, at level 0 before all; what it plans to take in memory stays what
    it is. Other devices' programs are compiled as ever.
    """
    return {"xla_backend_optimization_level": level} if jax.default_backend() == "cpu" else {}


def quick_jit(f: Callable) -> Callable:
    """`jax.jit` for a function that is called a few times, on little data: see `for_one_run`."""
    return jax.jit(f, compiler_options=for_one_run())


def for_a_cpu() -> AbstractContextManager:
    """What is compiled in this ``with`` is compiled for the CPU, whatever devices there are.

    Claims about bytes are claims about one compiler: so every reader weighs the same program.
    """
    return jax.default_device(jax.devices("cpu")[0])


def temporary_bytes(f: Callable, *inputs) -> int:
    """What f takes beyond inputs and results, as a CPU's compiler plans it; nothing is run.

    ``inputs`` are arrays, or their shapes.
    """
    with for_a_cpu():
        return _temporary_bytes(f, inputs)


def planned_bytes(f: Callable, *inputs) -> int:
    """`temporary_bytes`; where the reader's device has another answer, that is printed beside."""
    planned, device = temporary_bytes(f, *inputs), jax.devices()[0]
    if device.platform != "cpu":
        here = _temporary_bytes(f, inputs)
        print(f"(CPU {planned / 2**20:,.1f} MiB, this {device.device_kind} {here / 2**20:,.1f})")
    return planned


def _temporary_bytes(f: Callable, inputs: tuple) -> int:
    program = jax.jit(f).lower(*inputs).compile(compiler_options=for_one_run(level=0))
    return program.memory_analysis().temp_size_in_bytes
