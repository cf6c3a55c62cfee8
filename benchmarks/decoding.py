"""Seconds for a token, dense and sparse, one token at a time and one text (`make bench`).

*Medium* is the size of the paper's Table 1, *big* the talk's 10 billion parameters, of which a few
layers are timed, and *whole* all of those layers in eight bits. Dense and sparse models of a size
lie in the same memory and take turns in one run, with the largest matrix-vector product that the
memory holds beside them: no model can read its weights faster. Times are medians. Weights are
random numbers, and tokens are what these models find likeliest.

Writes benchmarks/results/decoding.json and prints the tables. The three parts need 4, 6 and 12 GB
of memory; the last is measured only where it is asked for, by `--parts whole`. Parts that the file
has are left as they are, unless they are named. torch takes part in the first; its environment is
that of the other benchmarks, see attention.py.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import decoding as contenders
from benchmarks.harness.alternate import PEERS_PYTHON
from benchmarks.harness.record import begun, keep

RESULTS = Path(__file__).parent / "results"
PARTS = {"medium": contenders.medium, "big": contenders.big, "whole": contenders.whole}
UNASKED = "medium", "big"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--parts", nargs="*", choices=PARTS, help="measured anew")
    options.add_argument("--save", default="decoding", help="name of the result file")
    chosen = options.parse_args()
    if not PEERS_PYTHON.exists():
        print(f"No {PEERS_PYTHON.parts[-3]}: efftx runs without torch (see --help).")
    path = RESULTS / f"{chosen.save}.json"
    record = begun(path, contenders.SEED, config())
    missing = [part for part in UNASKED if part not in record]
    for part in missing if chosen.parts is None else chosen.parts:
        record[part] = PARTS[part]()
        keep(path, record)
    for line in tables(record):
        print(line)


def config() -> dict:
    return {
        "medium": contenders.MEDIUM,
        "big": contenders.BIG,
        "context": contenders.CONTEXT,
        "batch": 1,
        "dtype": "float32, in part whole int8",
    }


def tables(record: dict):
    yield "; ".join(f"{k} {v}" for k, v in (record["machine"] | record["versions"]).items())
    if "medium" in record:
        yield from table("medium, 24 layers", record["medium"])
        both = record["medium"]["with_cross_attention"]
        read = ", ".join(f"{who} {n / 1e6:,.1f}" for who, n in both.items())
        yield f"Millions of weights read if the decoder also looked at a source: {read}."
    if "big" in record:
        yield from table("big, extrapolated from 1 to 3 layers", record["big"])
        yield from savings(record["big"]["rows"])
    if "whole" in record:
        yield from table("whole, in eight bits", record["whole"])


def table(title: str, part: dict):
    rows, limit = part["rows"], part["product"]["gb_per_second"]
    yield f"\n{title}; one matrix-vector product of all the memory: {limit:.1f} GB/s"
    yield "| | parameters (M) | read (M) | ms a token | tokens/s | GB/s | of product | × faster |"
    for row in rows:
        cells = [
            f"{row['parameters'] / 1e6:,.0f}",
            f"{row['weights_read'] / 1e6:,.1f}",
            f"{1e3 * row['seconds']:.4g}",
            f"{1 / row['seconds']:.3g}",
            f"{row['gb_per_second']:.1f}",
            f"{row['gb_per_second'] / limit:.0%}",
            f"{rows[0]['seconds'] / row['seconds']:.1f}",
        ]
        yield f"| {row['who']} | " + " | ".join(cells) + " |"


def savings(rows: list[dict]):
    """What is sparse alone saves little of the time, for the other part is left to be read."""
    seconds = {row["who"]: row["seconds"] for row in rows}
    saved = {who: seconds["dense"] - s for who, s in seconds.items()}
    alone = saved["sparse feed-forward"], saved["sparse QKV"]
    yield (
        f"Seconds saved: feed-forward alone {alone[0]:.3f}, QKV alone {alone[1]:.3f}, "
        f"together {sum(alone):.3f}; both at once {saved['both']:.3f}."
    )


if __name__ == "__main__":
    main()
