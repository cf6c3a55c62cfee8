"""How a program is compiled that runs once."""

import jax


def for_one_run() -> dict:
    """The ``compiler_options`` of `jax.jit` for a program that need not be fast: soon compiled.

    A CPU's compiler stops early; what it plans to take in memory stays what it is. Other devices'
    programs are compiled as ever.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
