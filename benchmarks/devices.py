"""What each of several devices holds and sends, for a sequence of one or four million positions.

The gradient of attention of one head, d_head 64, float32, 8 rounds of hashing, on 1, 2, 4 and 8
simulated devices; compiled, not run. Bytes are what the compiler sets aside on each device, for
inputs and outputs and beside them; collectives are those that stand in the program, each counted
once however often a loop comes by. Writes benchmarks/results/devices.json, and prints it.

    python benchmarks/devices.py
"""

import argparse
import json
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from efftx.attention import lsh_attention, ring_attention, sharded_lsh_attention
from efftx.compiling import for_one_run
from efftx.training.records import environment

RESULTS = Path(__file__).parent / "results" / "devices.json"
D_HEAD, N_HASHES, AXIS = 64, 8, "sequence"
LENGTHS, DEVICES = (2**20, 2**22), (1, 2, 4, 8)
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


def measured(who: str, length: int, n_devices: int) -> dict:
    mesh = jax.make_mesh((n_devices,), (AXIS,), axis_types=(AxisType.Auto,))
    attend, spec = WHO[who](mesh)
    spread = NamedSharding(mesh, spec)
    vectors = jax.ShapeDtypeStruct((length, D_HEAD), jnp.float32, sharding=spread)
    loss = lambda qk, v: jnp.sin(attend(qk, v)).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(loss, (0, 1)), out_shardings=spread, compiler_options=for_one_run())
    program = gradient.lower(vectors, vectors).compile()
    plan = program.memory_analysis()
    return {
        "who": who,
        "length": length,
        "devices": n_devices,
        "temporary_mib": round(plan.temp_size_in_bytes / 2**20, 1),
        "arguments_mib": round(plan.argument_size_in_bytes / 2**20, 1),
        "collectives": dict(sorted(collectives(program).items())),
    }


def collectives(program) -> Counter:
    return Counter(re.findall(rf" ({COLLECTIVES})(?:-start)?\(", program.as_text()))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options.add_argument("--save", type=Path, default=RESULTS)
    chosen = options.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    record = {
        **environment(),
        "config": {"d_head": D_HEAD, "n_hashes": N_HASHES, "chunk_len": 64, "dtype": "float32"},
        "compiled": [],
    }
    for length in chosen.lengths:
        for who in WHO:
            for n_devices in DEVICES:
                record["compiled"].append(row := measured(who, length, n_devices))
                print(json.dumps(row), flush=True)
                jax.clear_caches()
                chosen.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def table(record: dict) -> list[str]:
    """MiB on each device, inputs and outputs apart, as docs/devices.md shows them."""
    compiled = record["compiled"]
    lengths = sorted({row["length"] for row in compiled})
    lines = [
        "| | positions | " + " | ".join(f"{n} devices" for n in DEVICES) + " |",
        "|---|---|" + "---|" * len(DEVICES),
    ]
    for length in lengths:
        for who in WHO:
            found = {r["devices"]: r for r in compiled if (r["who"], r["length"]) == (who, length)}
            cells = (f"{found[n]['temporary_mib']:,.0f}" if n in found else "–" for n in DEVICES)
            lines.append(f"| {who} | {length:,} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
