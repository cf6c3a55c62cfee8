"""Attention of a sequence that is shared out: its gradient, compiled for so many devices, not run.

    python -m benchmarks.contenders.devices "TPU v5e 2x4" "exact, in a ring" 1048576 8

prints a line of JSON: what each device takes, and the collectives that stand in the program.
"""

import json
import re
import sys
import time
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.harness.targets import V5E_SLICE, slice_devices
from efftx.attention import lsh_attention, ring_attention, sharded_lsh_attention
from efftx.compiling import for_one_run

D_HEAD, N_HASHES, AXIS = 64, 8, "sequence"
COLLECTIVES = "all-to-all|all-gather|all-reduce|collective-permute|reduce-scatter"


def by_sequence(mesh: Mesh):
    return partial(sharded_lsh_attention, mesh=mesh, axis=AXIS, **hashed()), P(AXIS)


def by_rounds(mesh: Mesh):
    how = {"mesh": mesh, "axis": AXIS, "shared_out": "rounds"}
    return partial(sharded_lsh_attention, **how, **hashed()), P()


def by_the_compiler(mesh: Mesh):
    """The function for one device, of arrays that lie spread."""
    return partial(lsh_attention, **hashed()), P(AXIS)


def ring(mesh: Mesh):
    attend = partial(ring_attention, mesh=mesh, axis=AXIS, causal=True)
    return lambda qk, v: attend(qk, qk, v), P(AXIS)


WHO = {
    "LSH, sequence shared out": by_sequence,
    "LSH, rounds shared out": by_rounds,
    "LSH, left to the compiler": by_the_compiler,
    "exact, in a ring": ring,
}


def hashed() -> dict:
    return {"key": jax.random.key(0), "n_hashes": N_HASHES}


def lowered(who: str, length: int, mesh: Mesh):
    """The gradient of a loss, whose arrays lie spread as this way of sharing out wants them."""
    attend, spec = WHO[who](mesh)
    spread = NamedSharding(mesh, spec)
    vectors = jax.ShapeDtypeStruct((length, D_HEAD), jnp.float32, sharding=spread)
    loss = lambda qk, v: jnp.sin(attend(qk, v)).sum()  # noqa: E731
    return jax.jit(jax.grad(loss, (0, 1)), out_shardings=spread).lower(vectors, vectors)


def mesh_for(target: str, n_devices: int) -> Mesh:
    devices = slice_devices() if target == V5E_SLICE else None
    return jax.make_mesh((n_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def measured(target: str, who: str, length: int, n_devices: int) -> dict:
    """MiB on each device, and collectives; of a TPU what is alive at once, too, and seconds."""
    on_tpu = target == V5E_SLICE
    program = lowered(who, length, mesh_for(target, n_devices))
    started = time.perf_counter()
    compiled = program.compile(None if on_tpu else for_one_run())
    seconds = round(time.perf_counter() - started, 1)
    plan = compiled.memory_analysis()
    row = {
        "temporary_mib": in_mib(plan.temp_size_in_bytes),
        "arguments_mib": in_mib(plan.argument_size_in_bytes),
        "collectives": dict(sorted(collectives(compiled).items())),
    }
    if on_tpu:
        row |= {"peak_mib": in_mib(plan.peak_memory_in_bytes), "compile_seconds": seconds}
    return row


def in_mib(n_bytes: int) -> float:
    return round(n_bytes / 2**20, 1)


def collectives(program) -> Counter:
    return Counter(re.findall(rf" ({COLLECTIVES})(?:-start)?\(", program.as_text()))


def main(target: str, who: str, length: str, n_devices: str) -> None:
    jax.config.update("jax_num_cpu_devices", int(n_devices))
    print(json.dumps(measured(target, who, int(length), int(n_devices))))


if __name__ == "__main__":
    main(*sys.argv[1:])
