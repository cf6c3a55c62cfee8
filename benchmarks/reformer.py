"""A training step of the Reformer against the other implementations (`make bench`).

6 layers, d_model 256, d_ff 1024, 4 heads of width 64, chunks of 64, 2 rounds, bytes, one sequence,
float32, causal; forward, backward and Adam's update. Times are medians of contenders that take
turns. Memory is the peak of the whole process (interpreter, library, compiler, parameters,
gradients, Adam's moments, activations), and beside it the peak above what was resident before the
step. Then each looks for the largest power of two at which it completes a step, in a process that
gets so much memory and no more. Writes benchmarks/results/reformer.json and reformer.png, and
prints the tables. A run that was interrupted goes on where it stopped; remove the file to measure
anew. The peers need

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/requirements.txt

(torch from its CPU index where there is no GPU); without them efftx runs alone.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import reformer as contenders
from benchmarks.harness.alternate import PEERS_PYTHON, Worker, take_turns
from benchmarks.harness.record import begun, keep
from efftx.memory.flops import step_flops
from efftx.memory.ledger import Step
from efftx.plots import new_figure, png

RESULTS = Path(__file__).parent / "results"
LENGTHS = (16384, 65536)
SECONDS_FOR_ONE = 30  # of steps of each contender
MOST_GIB, MOST_SECONDS = 16, 600  # for the one step of an attempt at a length, compilation included
DOUBT = 1.25  # lengths that should need up to so much more memory than there is are tried, too
LONGEST = 2**24


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
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
            record["results"] += measure(length)
            keep(path, record)
    limits = {"most_gib": chosen.most_gib, "most_seconds": chosen.most_seconds}
    tried = record.setdefault("largest", [])
    for who in taking_part():
        if who in chosen.who and who not in {row["who"] for row in tried}:
            tried.append(largest(who, record["results"], **limits))
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


def measure(length: int) -> list[dict]:
    """Steps of all contenders in turn: seconds, and memory."""
    workers = {who: start(who, length) for who in taking_part()}
    taken = take_turns(workers, "step", SECONDS_FOR_ONE)
    for worker in workers.values():
        worker.stop()
    died = {"left_out": "out of memory"}
    rows = [{"who": who, "L": length} | taken.get(who, died) for who in workers]
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


# The largest length ---------------------------------------------------------------------------


def largest(who: str, results: list[dict], most_gib: int, most_seconds: float) -> dict:
    """From the largest power of two that should fit downwards, until a step completes."""
    longest = max((r for r in results if r["who"] == who and "seconds" in r), key=lambda r: r["L"])
    powers = [2**k for k in range(LONGEST.bit_length()) if longest["L"] < 2**k <= LONGEST]
    fitting = [
        length
        for length in powers
        if process_gib(longest, length) <= DOUBT * most_gib
        and step_seconds(longest, length) <= most_seconds
    ]
    found = {"who": who, "most_gib": most_gib, "most_seconds": most_seconds, "L": longest["L"]}
    too_long = next((length for length in powers if length not in fitting), None)
    found |= {"extrapolated": expectation(longest, too_long)} if too_long else {}
    found["attempts"] = []
    for length in reversed(fitting):
        found["attempts"].append(attempt(who, length, most_gib, most_seconds))
        if "seconds" in found["attempts"][-1]:
            found["L"] = length
            break
    print(json.dumps(found), flush=True)
    return found


def attempt(who: str, length: int, most_gib: int, most_seconds: float) -> dict:
    worker = start(who, length, most_gib=most_gib)
    started = time.monotonic()
    answer = worker.attempt("step", most_seconds)
    worker.stop()
    late = time.monotonic() - started >= most_seconds
    return {"L": length} | (answer or {"failed": "out of time" if late else "out of memory"})


def process_gib(row: dict, length: int) -> float:
    """What a step at another length should take: all that the step adds grows with the length."""
    fixed = row["process_mib"] - row["grown_mib"]
    return (fixed + row["grown_mib"] * length / row["L"]) / 1024


def step_seconds(row: dict, length: int) -> float:
    return row["seconds"] * length / row["L"]


def expectation(row: dict, length: int) -> dict:
    gib, seconds = process_gib(row, length), step_seconds(row, length)
    return {"L": length, "gib": round(gib, 1), "seconds": round(seconds)}


# What is printed and drawn --------------------------------------------------------------------


def least_seconds(record: dict, length: int) -> float:
    """The machine's limit: all matrix products of a reversible step at its best rate."""
    sizes = {name: record["config"][name] for name in ("n_layers", "d_model", "d_ff", "n_heads")}
    sizes |= {name: record["config"][name] for name in ("d_head", "vocab", "n_hashes")}
    step = Step(
        **sizes,
        length=length,
        attention="lsh",
        lsh_chunk_len=contenders.CHUNK_LEN,
        reversible=True,
        ff_chunk_len=contenders.FF_CHUNK_LEN,
        loss_chunk_len=contenders.FF_CHUNK_LEN,
    )
    return step_flops(step) / record["limits"]["gflop_per_second"] / 1e9


def tables(record: dict):
    versions = record["machine"] | record["versions"] | record["peers"]
    yield "; ".join(f"{k} {v}" for k, v in versions.items())
    yield "\na training step: seconds (peak MiB of the process; of it above what was there before)"
    names = list(contenders.CONTENDERS)
    columns = [*names, "× faster", "floor: products, seconds", "× floor", "memory"]
    yield "| L | " + " | ".join(columns) + " |"
    cells = {(row["who"], row["L"]): row for row in record["results"]}
    for length in sorted({row["L"] for row in record["results"]}):
        ours, *peers = (cells.get((who, length), {}) for who in names)
        floor, done = least_seconds(record, length), [p for p in peers if "seconds" in p]
        faster = f"{min(p['seconds'] for p in done) / ours['seconds']:.2f}" if done else ""
        share = min((p["process_mib"] for p in done), default=0) / ours["process_mib"]
        last = [faster, f"{floor:.2f}", f"{ours['seconds'] / floor:.1f}", f"1/{share:.1f}"]
        yield f"| {length:,} | " + " | ".join([*map(cell, (ours, *peers)), *last]) + " |"
    yield "\nthe largest power of two at which a step completes"
    yield "| | L | within | seconds, with compilation (peak MiB) | attempts, expectations |"
    for row in record["largest"]:
        yield f"| {row['who']} | {row['L']:,} | " + " | ".join(how_it_went(row)) + " |"


def cell(row: dict) -> str:
    if "seconds" not in row:
        return row.get("left_out", "")
    return f"{row['seconds']:.3g} ({row['process_mib']:,.0f}; {row['grown_mib']:,.0f})"


def how_it_went(row: dict):
    """The limits, the step that completed, and why it was no longer one."""
    yield f"{row['most_gib']} GiB, {row['most_seconds']:.0f} s"
    done = [a for a in row["attempts"] if "seconds" in a]
    yield cell(done[0]) if done else "see above"
    reasons = [f"{a['L']:,}: {a['failed']}" for a in row["attempts"] if "failed" in a]
    if "extrapolated" in row:
        expected = row["extrapolated"]
        needs = f"about {expected['gib']} GiB, {expected['seconds']} s"
        reasons.append(f"{expected['L']:,}: not tried, {needs} by extrapolation")
    yield "; ".join(reasons)


def draw(record: dict):
    """Seconds and memory against length, up to the largest."""
    figure, axes = new_figure(9, 3.8, ncols=2)
    for who in contenders.CONTENDERS:
        tried = [a for row in record["largest"] if row["who"] == who for a in row["attempts"]]
        rows = [r for r in record["results"] if r["who"] == who] + tried
        rows = [row for row in rows if "seconds" in row]
        lengths = [row["L"] for row in rows]
        axes[0].loglog(lengths, [row["seconds"] for row in rows], marker="o", label=who)
        axes[1].loglog(lengths, [r["process_mib"] / 1024 for r in rows], marker="o", label=who)
    axes[0].set(title="a training step", xlabel="length L", ylabel="seconds")
    axes[1].set(title="peak memory of the process", xlabel="length L", ylabel="GiB")
    axes[0].legend()
    return figure


if __name__ == "__main__":
    main()
