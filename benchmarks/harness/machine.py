"""What the machine that runs a benchmark can do at best."""

import statistics
import time

import jax
import jax.numpy as jnp


def limits() -> dict:
    """GFLOP/s of a large float32 product, and GB/s of gathering rows of 128 float32 numbers."""
    x = jax.random.normal(jax.random.key(0), (2048, 2048))
    rows = jax.random.normal(jax.random.key(1), (16384, 128))
    order = jax.random.permutation(jax.random.key(2), len(rows))
    product = _seconds(jax.jit(lambda x: x @ x), x)
    # In a loop that reuses its memory, as the attention does: a fresh result costs page faults.
    turns = 16
    loop = jax.jit(lambda rows: jax.lax.fori_loop(0, turns, lambda _, x: x[order], rows))
    gather = _seconds(loop, rows) / turns
    return {
        "gflop_per_second": 2 * len(x) ** 3 / product / 1e9,
        "gather_gb_per_second": 2 * rows.nbytes / gather / 1e9,
    }


def _seconds(run, argument) -> float:
    jnp.asarray(run(argument)).block_until_ready()
    times = []
    for _ in range(7):
        started = time.perf_counter()
        run(argument).block_until_ready()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
