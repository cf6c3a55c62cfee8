"""What a deep stack of blocks keeps for its gradient, and the price of keeping less (`make bench`).

d_model 256, d_ff 1024, 4 heads, length 4096, float32, blocked attention in all. The outputs are the
loss and the gradients; no optimiser is inside. Memory is what the compiler sets aside beside inputs
and outputs, so it depends on no clock; times are medians of contenders that take turns. Writes
benchmarks/results/memory.json and memory.png, and prints the tables.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from benchmarks.contenders import memory as contenders
from benchmarks.harness.alternate import Worker, take_turns
from efftx.plots import course_style, new_figure, png
from efftx.training.records import environment

RESULTS = Path(__file__).parent / "results"
DEPTHS = (2, 4, 8, 16, 32)
DEPTH_TIMED = 4
REPEATS = 3  # of each compilation
SECONDS_FOR_ONE = 30  # five steps of each contender, however slow
ACTIVATION_MIB = contenders.LENGTH * contenders.D_MODEL * 4 / 2**20


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    options.add_argument("--depth-timed", type=int, default=DEPTH_TIMED)
    options.add_argument("--save", default="memory", help="name of the result files")
    chosen = options.parse_args()
    record = {
        **environment(),
        "seed": contenders.SEED,
        "config": config(),
        "memory": temporary_mib(chosen.depths),
        "compile": compile_seconds((chosen.depths[0], chosen.depths[-1])),
        "time": step_seconds(chosen.depth_timed),
        "drift": contenders.drift(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{chosen.save}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".png").write_bytes(png(draw(record["memory"])))
    for line in tables(record):
        print(line)


def config() -> dict:
    return {
        "d_model": contenders.D_MODEL,
        "d_ff": contenders.D_FF,
        "n_heads": contenders.N_HEADS,
        "L": contenders.LENGTH,
        "ff_chunk_len": contenders.FF_CHUNK_LEN,
        "attention": "blocked",
        "dtype": "float32",
    }


def temporary_mib(depths) -> list[dict]:
    """By contender, what its step needs at each depth."""
    rows = []
    for name in contenders.CONTENDERS:
        row = {"who": name}
        for depth in depths:
            compiled = contenders.lowered(name, depth).compile()
            row[str(depth)] = compiled.memory_analysis().temp_size_in_bytes / 2**20
            jax.clear_caches()
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def compile_seconds(depths) -> list[dict]:
    """Tracing and compiling, medians, the depths in turn."""
    rows = []
    for name in contenders.CONTENDERS:
        times = {depth: [] for depth in depths}
        for _ in range(REPEATS):
            for depth, taken in times.items():
                jax.clear_caches()
                started = time.perf_counter()
                contenders.lowered(name, depth).compile()
                taken.append(time.perf_counter() - started)
        medians = {str(depth): statistics.median(taken) for depth, taken in times.items()}
        rows.append({"who": name} | medians)
        print(json.dumps(rows[-1]), flush=True)
    return rows


def step_seconds(depth: int) -> list[dict]:
    """One step of each contender in turn, each in a process of its own."""
    names = list(contenders.CONTENDERS)
    workers = {
        name: Worker(contenders.__name__, "step", {"name": name, "depth": depth}, peer=False)
        for name in names
    }
    taken = take_turns(workers, "step", SECONDS_FOR_ONE)
    for worker in workers.values():
        worker.stop()
    return [{"who": name, "depth": depth} | taken.get(name, {}) for name in names]


def tables(record: dict):
    yield "; ".join(f"{k} {v}" for k, v in (record["machine"] | record["versions"]).items())
    depths = [depth for depth in record["memory"][0] if depth != "who"]
    first, last = depths[0], depths[-1]
    yield f"\ntemporary memory in MiB by depth; one activation is {ACTIVATION_MIB:.0f} MiB"
    yield "| | " + " | ".join(depths) + " | % of an activation per block | of plain |"
    plain = record["memory"][0][last]
    for row in record["memory"]:
        growth = (row[last] - row[first]) / (int(last) - int(first)) / ACTIVATION_MIB
        cells = [f"{row[depth]:,.1f}" for depth in depths]
        share = f"1/{plain / row[last]:.1f}"
        yield f"| {row['who']} | " + " | ".join([*cells, f"{growth:.2%}", share]) + " |"
    timed = record["time"][0]["depth"]
    yield f"\nseconds for a step at {timed} blocks, and to compile {first} and {last} blocks"
    yield "| | seconds | × plain | peak MiB | compile | compile | ratio |"
    base = record["time"][0]["seconds"]
    for row, compiled in zip(record["time"], record["compile"], strict=True):
        if "seconds" not in row:
            yield f"| {row['who']} | out of memory |"
            continue
        short, long = compiled[first], compiled[last]
        cells = [
            f"{row['seconds']:.2f}",
            f"{row['seconds'] / base:.2f}",
            f"{row['grown_mib']:,.0f}",
            f"{short:.2f}",
            f"{long:.2f}",
            f"{long / short:.2f}",
        ]
        yield f"| {row['who']} | " + " | ".join(cells) + " |"
    yield f"\nrelative errors at {record['drift'][0]['depth']} blocks: of the input, rebuilt;"
    yield "of gradients against float64; of gradients rebuilt against gradients stored"
    yield "| parameters | streams | input | stored | rebuilt | rebuilt against stored |"
    for row in record["drift"]:
        errors = [f"{row[of]:.1e}" for of in ("input", "stored", "rebuilt", "rebuilt, of stored")]
        yield "| " + " | ".join([row["parameters"], row["streams"], *errors]) + " |"


@course_style()
def draw(rows: list[dict]):
    """Temporary memory against depth."""
    figure, ax = new_figure(7, 3.8)
    for row in rows:
        depths = [int(depth) for depth in row if depth != "who"]
        ax.loglog(depths, [row[str(depth)] for depth in depths], marker="o", label=row["who"])
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.minorticks_off()
    ax.set(xlabel="blocks", ylabel="temporary memory, MiB")
    ax.legend()
    return figure


if __name__ == "__main__":
    main()
