"""How a program is compiled that runs once."""

import jax


def for_one_run() -> dict:
    """The ``compiler_options`` of `jax.jit` for a program that need not be fast: soon compiled.

    A CPU's compiler stops early, so that drawing a model's first values takes a third of the time,
    and gives the same bits. Other devices' programs are compiled as ever.
    """
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
