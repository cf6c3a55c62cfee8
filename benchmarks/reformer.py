"""A training step of the Reformer against the other implementations (`make bench`).

6 layers, d_model 256, d_ff 1024, 4 heads of width 64, chunks of 64, 2 rounds, bytes, one sequence,
float32, causal; forward, backward and Adam's update. Times are medians of contenders that take
turns. The memory of a step is what it takes beyond interpreter, library and compiler: parameters
and Adam's moments, which are there before it, and the peak above that, gradients and all. The peak
of the whole process stands beside it. Then each looks for the largest power of two at which it
completes a step, in a process that gets so much memory and no more. Writes
benchmarks/results/reformer.json and reformer.png, and prints the tables. A run that was interrupted
goes on where it stopped; remove the file to measure anew. The peers need

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/requirements.txt

(torch from its CPU index where there is no GPU); without them efftx runs alone.
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import reformer as contenders
from benchmarks.harness.alternate import PEERS_PYTHON, Worker, median_seconds
from benchmarks.harness.largest import largest
from benchmarks.harness.record import begun, keep
from efftx.memory.flops import step_flops
from efftx.memory.ledger import Step, state_bytes
from efftx.plots import course_style, new_figure, png

RESULTS = Path(__file__).parent / "results"
LENGTHS = (16384, 65536)
SECONDS_FOR_ONE = 60  # of steps of each contender
MOST_GIB, MOST_SECONDS = 12, 600  # for the one step of an attempt at a length, compilation included


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options.add_argument("--no-weigh", dest="weigh", action="store_false", help="only time")
    options.add_argument("--who", nargs="*", default=list(contenders.CONTENDERS), help="attempts")
    options.add_argument("--most-gib", type=int, default=MOST_GIB)
    options.add_argument("--most-seconds", type=float, default=MOST_SECONDS)
    options.add_argument("--save", default="reformer", help="name of the result files")
    chosen = options.parse_args()
    if not PEERS_PYTHON.exists():
        print(f"No {PEERS_PYTHON.parts[-3]}: efftx runs without its peers (see --help).")
    path = RESULTS / f"{chosen.save}.json"
    record = begun(path, contenders.SEED, config())
    for length in chosen.lengths:
        if length not in {row["L"] for row in record["results"]}:
            record["results"] += time_all(length)
            keep(path, record)
    for row in record["results"]:
        if "seconds" in row and "step_mib" not in row and chosen.weigh:
            row |= weigh(**row)
            keep(path, record)
    limits = {"most_gib": chosen.most_gib, "most_seconds": chosen.most_seconds}
    tried = record.setdefault("largest", [])
    for who in taking_part():
        if who in chosen.who and who not in {row["who"] for row in tried}:
            rows = [r for r in record["results"] if r["who"] == who and "grown_mib" in r]
            found = largest(partial(start, who), max(rows, key=lambda row: row["L"]), **limits)
            tried.append({"who": who, **found})
            print(json.dumps(tried[-1]), flush=True)
            keep(path, record)
    for line in tables(record):
        print(line)
    path.with_suffix(".png").write_bytes(png(draw(record)))


def config() -> dict:
    return {
        "n_layers": contenders.N_LAYERS,
        "d_model": contenders.D_MODEL,
        "d_ff": contenders.D_FF,
        "n_heads": contenders.N_HEADS,
        "d_head": contenders.D_HEAD,
        "vocab": contenders.VOCAB,
        "batch": 1,
        "n_hashes": contenders.N_HASHES,
        "chunk_len": contenders.CHUNK_LEN,
        "ff_chunk_len": contenders.FF_CHUNK_LEN,
        "optimiser": "adam",
        "causal": True,
        "dtype": "float32",
    }


def taking_part() -> list[str]:
    return [
        name
        for name, contender in contenders.CONTENDERS.items()
        if PEERS_PYTHON.exists() or not contender.peer
    ]


def start(who: str, length: int, **most_gib: int) -> Worker:
    contender = contenders.CONTENDERS[who]
    what = contenders.__name__, contender.builder.__name__, {"length": length}
    return Worker(*what, peer=contender.peer, **most_gib)


def time_all(length: int) -> list[dict]:
    """Steps of all contenders in turn."""
    workers = {who: start(who, length) for who in taking_part()}
    taken = median_seconds(workers, "step", SECONDS_FOR_ONE)
    for worker in workers.values():
        worker.stop()
    died = {"left_out": "out of memory"}
    rows = [{"who": who, "L": length} | taken.get(who, died) for who in workers]
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def weigh(who: str, L: int, **measured) -> dict:
    worker = start(who, L)
    weight = worker.weighed("step")
    worker.stop()
    weight["step_mib"] = state_mib(L) + weight["grown_mib"]
    print(json.dumps({"who": who, "L": L} | weight), flush=True)
    return weight


def state_mib(length: int) -> float:
    """Parameters and Adam's moments: efftx's, from which the peers' differ by about 1 MiB."""
    rows = sum(contenders.axial_shape(length))
    state = state_bytes(replace(ledger_step(length), max_len=rows))
    return (state["parameters"] + state["optimiser state"]) / 2**20


def ledger_step(length: int) -> Step:
    """efftx's step, to count by."""
    return Step(
        n_layers=contenders.N_LAYERS,
        d_model=contenders.D_MODEL,
        d_ff=contenders.D_FF,
        n_heads=contenders.N_HEADS,
        d_head=contenders.D_HEAD,
        vocab=contenders.VOCAB,
        length=length,
        attention="lsh",
        n_hashes=contenders.N_HASHES,
        lsh_chunk_len=contenders.CHUNK_LEN,
        reversible=True,
        ff_chunk_len=contenders.FF_CHUNK_LEN,
        loss_chunk_len=contenders.FF_CHUNK_LEN,
    )


# What is printed and drawn --------------------------------------------------------------------


def least_seconds(record: dict, length: int) -> float:
    """The machine's limit: all matrix products of a reversible step at its best rate."""
    return step_flops(ledger_step(length)) / record["limits"]["gflop_per_second"] / 1e9


def tables(record: dict):
    versions = record["machine"] | record["versions"] | record["peers"]
    yield "; ".join(f"{k} {v}" for k, v in versions.items())
    yield "\na training step: seconds (MiB of the step; of the whole process)"
    names = list(contenders.CONTENDERS)
    columns = [*names, "× faster", "floor: products, seconds", "× floor", "memory", "process"]
    yield "| L | " + " | ".join(columns) + " |"
    cells = {(row["who"], row["L"]): row for row in record["results"]}
    for length in sorted({row["L"] for row in record["results"]}):
        ours, *peers = (cells.get((who, length), {}) for who in names)
        floor, done = least_seconds(record, length), [p for p in peers if "seconds" in p]
        faster = f"{min(p['seconds'] for p in done) / ours['seconds']:.2f}" if done else ""
        shares = [share(field, ours, done) for field in ("step_mib", "process_mib")]
        last = [faster, f"{floor:.2f}", f"{ours['seconds'] / floor:.1f}", *shares]
        yield f"| {length:,} | " + " | ".join([*map(cell, (ours, *peers)), *last]) + " |"
    yield "\nthe largest power of two at which a step completes"
    yield "| | L | within | seconds, with compilation (process, MiB) | attempts, expectations |"
    for row in record["largest"]:
        yield f"| {row['who']} | {row['L']:,} | " + " | ".join(how_it_went(row)) + " |"


def share(field: str, ours: dict, peers: list[dict]) -> str:
    """Of the peer that takes least."""
    weights = [peer[field] for peer in peers if field in peer]
    return f"1/{min(weights) / ours[field]:.1f}" if weights else ""


def cell(row: dict) -> str:
    if "seconds" not in row:
        return row.get("left_out", "")
    weights = [f"{row[field]:,.0f}" for field in ("step_mib", "process_mib") if field in row]
    return f"{row['seconds']:.3g} ({'; '.join(weights)})"


def how_it_went(row: dict):
    """The limits, the step that completed, and why it was no longer one."""
    yield f"{row['most_gib']} GiB, {row['most_seconds']:.0f} s"
    done = [a for a in row["attempts"] if "seconds" in a]
    yield cell(done[0]) if done else "see above"
    reasons = [f"{a['L']:,}: {a['failed']}" for a in row["attempts"] if "failed" in a]
    untried = row["untried"]
    needs = f"about {untried['gib']} GiB, {untried['seconds']} s"
    yield "; ".join([*reasons, f"{untried['L']:,}: not tried, {needs} by extrapolation"])


@course_style()
def draw(record: dict):
    """Seconds and memory against length, up to the largest."""
    figure, axes = new_figure(9, 3.8, ncols=2)
    for who in contenders.CONTENDERS:
        tried = [a for row in record["largest"] if row["who"] == who for a in row["attempts"]]
        rows = [r for r in record["results"] if r["who"] == who] + tried
        rows = [row for row in rows if "seconds" in row]
        lengths = [row["L"] for row in rows]
        axes[0].loglog(lengths, [row["seconds"] for row in rows], marker="o", label=who)
        weighed = [(row["L"], row["process_mib"] / 1024) for row in rows if "process_mib" in row]
        axes[1].loglog(*zip(*weighed, strict=True), marker="o", label=who)
    axes[1].set_yticks((0.5, 1, 2, 4, 8))
    powers = sorted({int(x) for line in axes[0].lines for x in line.get_xdata()})
    for ax in axes:
        ax.set_xticks(powers, [f"{power // 1024}k" for power in powers])
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    axes[0].set(title="a training step", xlabel="length L", ylabel="seconds")
    axes[1].set(title="peak memory of the process", xlabel="length L", ylabel="GiB")
    axes[0].legend()
    return figure


if __name__ == "__main__":
    main()
