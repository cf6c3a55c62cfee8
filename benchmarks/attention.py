"""LSH attention against the other implementations, and against exact attention (`make bench`).

8 heads of width 64, chunks of 64, float32, causal. Contenders take turns within one run; times are
medians, memory is the peak above what was resident before, less outputs and gradients ("scratch").
Writes benchmarks/results/attention.json and attention.png, and prints the tables. A run that was
interrupted goes on where it stopped; remove the file to measure anew. The peers need

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/requirements.txt

(torch from its CPU index where there is no GPU); without them efftx and jax run alone.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import attention as contenders
from benchmarks.harness.alternate import PEERS_PYTHON, Worker, take_turns
from benchmarks.harness.record import begun, keep
from efftx.plots import course_style, new_figure, png

RESULTS = Path(__file__).parent / "results"
LENGTHS = (1024, 4096, 8192, 16384, 65536, 262144)
ROUNDS = (1, 2, 4, 8)
PASSES = ("forward", "both")
ROUNDS_BESIDE_EXACT = 4  # exact attention takes its turns with this many rounds of hashing
PEERS_UP_TO = 65536  # beyond, their minutes a run would say no more
EXACT_UP_TO = 16384  # its time is quadratic
LONGEST_RUN = 90  # seconds: what would take longer is left out, and the result says so


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options.add_argument("--rounds", type=int, nargs="+", default=ROUNDS)
    options.add_argument("--save", default="attention", help="name of the result files")
    chosen = options.parse_args()
    if not PEERS_PYTHON.exists():
        print(f"No {PEERS_PYTHON.parts[-3]}: efftx and jax run without their peers (see --help).")
    path = RESULTS / f"{chosen.save}.json"
    record = begun(path, contenders.SEED, config())
    done = {(row["L"], row.get("n_hashes")) for row in record["results"]}
    for length in chosen.lengths:
        for n_hashes in chosen.rounds:
            if (length, n_hashes) not in done:
                record["results"] += measure(length, n_hashes, record["results"])
                record["results"].sort(key=lambda row: (row["L"], row.get("n_hashes", 0)))
                keep(path, record)
    for table in tables(record):
        print(table)
    (RESULTS / f"{chosen.save}.png").write_bytes(png(draw(record["results"])))


def config() -> dict:
    return {
        "n_heads": contenders.N_HEADS,
        "d_head": contenders.D_HEAD,
        "chunk_len": contenders.CHUNK_LEN,
        "causal": True,
        "dtype": "float32",
    }


def measure(length: int, n_hashes: int, before: list[dict]) -> list[dict]:
    """Forward, then forward and backward, of all contenders that can be expected to finish."""
    rows = []
    for name in PASSES:
        here = taking_part(n_hashes, length)
        who = [w for w in here if expected(before, w, name, length, n_hashes)]
        workers = {w: start(w, length, n_hashes) for w in who}
        taken = take_turns(workers, name)
        for worker in workers.values():
            worker.stop()
        for w in here:
            row = {"who": w, "L": length, "pass": name}
            row |= {"n_hashes": n_hashes} if contenders.CONTENDERS[w].hashes else {}
            if w in taken:
                row |= taken[w]
                handed_over = results_mib(w, name, length, row["weighed_in_first_run"])
                row["scratch_mib"] = row.pop("grown_mib") - handed_over
            else:
                row["left_out"] = "out of memory" if w in who else f"over {LONGEST_RUN} s"
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def taking_part(n_hashes: int, length: int) -> list[str]:
    peers = PEERS_PYTHON.exists() and length <= PEERS_UP_TO
    exact = n_hashes == ROUNDS_BESIDE_EXACT and length <= EXACT_UP_TO
    return [
        name
        for name, contender in contenders.CONTENDERS.items()
        if (contender.hashes or exact) and (peers or not contender.peer)
    ]


def expected(before: list[dict], who: str, name: str, length: int, n_hashes: int) -> bool:
    """Whether this run should end in time, judged by the same at the next shorter length."""
    hashes = contenders.CONTENDERS[who].hashes
    earlier = [
        row
        for row in before
        if (row["who"], row["pass"]) == (who, name)
        and row.get("n_hashes", n_hashes) == n_hashes
        and row["L"] < length
    ]
    if not earlier:
        return True
    last = max(earlier, key=lambda row: row["L"])
    growth = (length / last["L"]) ** (1 if hashes else 2)
    return "seconds" in last and last["seconds"] * growth <= LONGEST_RUN


def start(who: str, length: int, n_hashes: int) -> Worker:
    contender = contenders.CONTENDERS[who]
    arguments = {"length": length, "n_hashes": n_hashes}
    return Worker(contenders.__name__, contender.builder.__name__, arguments, peer=contender.peer)


def results_mib(who: str, name: str, length: int, in_first_run: bool) -> float:
    """What a run hands over: its output, or its gradients.

    torch's gradients take the place of those of the run before, if there was one, and add nothing;
    but output and cotangent are there as well.
    """
    contender = contenders.CONTENDERS[who]
    one = contenders.N_HEADS * length * contenders.D_HEAD * 4 / 2**20
    if name == "forward":
        return one
    new_gradients = contender.n_gradients if in_first_run or not contender.peer else 0
    return one * (new_gradients + (2 if contender.peer else 0))


def least_seconds(record: dict, length: int, n_hashes: int, name: str) -> float:
    """The machine's limit: the score and value products at its best rate, rows at its bandwidth.

    Forward: 2 products per pair of query and window key, and a row of q and v and a row of the
    output gathered per slot. Backward: 5 products (the scores once more), and a row of q, v and
    the cotangent and a row of the three gradients.
    """
    heads, d, m = contenders.N_HEADS, contenders.D_HEAD, contenders.CHUNK_LEN
    slots = heads * length * n_hashes
    products, row = (2, 3 * d) if name == "forward" else (7, 9 * d)
    flop, moved = products * 2 * slots * 2 * m * d, 2 * 4 * slots * row
    best = record["limits"]
    return flop / best["gflop_per_second"] / 1e9 + moved / best["gather_gb_per_second"] / 1e9


def tables(record: dict):
    names = list(contenders.CONTENDERS)
    lsh = [name for name in names if contenders.CONTENDERS[name].hashes]
    cells = {(r["who"], r["L"], r.get("n_hashes"), r["pass"]): r for r in record["results"]}
    yield "; ".join(f"{k} {v}" for k, v in (record["machine"] | record["versions"]).items())
    for name in PASSES:
        yield f"\n{name}: seconds (scratch MiB)"
        yield "| L | rounds | " + " | ".join([*lsh, "× faster", "× limit", "exact: "]) + " |"
        for length, n in sorted({(L, n) for _, L, n, _ in cells if n}):
            ours, *peers = (cells.get((w, length, n, name), {}) for w in lsh)
            peer_times = [p["seconds"] for p in peers if "seconds" in p]
            faster = f"{min(peer_times) / ours['seconds']:.1f}" if peer_times else ""
            limit = f"{ours['seconds'] / least_seconds(record, length, n, name):.1f}"
            exact = [
                f"{w} {cell(cells[w, length, None, name])}"
                for w in names
                if n == ROUNDS_BESIDE_EXACT and (w, length, None, name) in cells
            ]
            columns = [f"{length:,}", str(n), cell(ours), *map(cell, peers), faster, limit]
            yield "| " + " | ".join([*columns, "; ".join(exact)]) + " |"


def cell(row: dict) -> str:
    if "seconds" not in row:
        return row.get("left_out", "")
    return f"{row['seconds']:.3g} ({row['scratch_mib']:.0f})"


@course_style()
def draw(results: list[dict]):
    """Seconds and scratch of forward and backward against length."""
    figure, axes = new_figure(9, 3.8, ncols=2)
    for who in contenders.CONTENDERS:
        rows = [
            r
            for r in results
            if r["who"] == who
            and r["pass"] == "both"
            and "seconds" in r
            and r.get("n_hashes", ROUNDS_BESIDE_EXACT) == ROUNDS_BESIDE_EXACT
        ]
        label = f"{who}, 4 rounds" if contenders.CONTENDERS[who].hashes else who
        for ax, field in zip(axes, ("seconds", "scratch_mib"), strict=True):
            ax.loglog([r["L"] for r in rows], [r[field] for r in rows], marker="o", label=label)
    axes[0].set(title="forward and backward", xlabel="length L", ylabel="seconds")
    axes[1].set(title="scratch memory", xlabel="length L", ylabel="MiB")
    axes[0].legend()
    return figure


if __name__ == "__main__":
    main()
