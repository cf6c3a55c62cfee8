"""Ten billion parameters in few bits, against what a user would take for a dense model.

    python benchmarks/opponents.py

The talk's 10 billion parameters, as decoding.py has them: our dense and our sparse model in eight
bits, and dense ones in onnxruntime, llama.cpp and torch, in eight and in four bits. Models of one
and of three layers take turns; a slope, turn by turn, gives the time of all 29 layers, and its
interval. Weights are random numbers. The peers' products are checked against float32 first.

Writes benchmarks/results/opponents.json and prints the table; needs 18 GB of memory. The peers live
in the environment of the other benchmarks, see attention.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import opponents as contenders
from benchmarks.contenders.decoding import SEED
from benchmarks.harness.record import begun, keep

RESULT = Path(__file__).parent / "results/opponents.json"


def main() -> None:
    record = begun(RESULT, SEED, contenders.CONFIG, contenders.LIBRARIES)
    record["results"] = contenders.rows()
    keep(RESULT, record)
    for line in table(record):
        print(line)


def table(record: dict):
    yield "; ".join(f"{k} {v}" for k, v in (record["machine"] | record["versions"]).items())
    yield "| | GB read | ms a token, and its 95 % interval | tokens/s | GB/s |"
    for row in record["results"]:
        low, high = (1e3 * end for end in row["seconds_with_interval"]["interval_95"])
        yield (
            f"| {row['who']} | {row['bytes_read'] / 1e9:.2f} | {1e3 * row['seconds']:.0f} "
            f"({low:.0f} to {high:.0f}) | {1 / row['seconds']:.2f} | {row['gb_per_second']:.1f} |"
        )


if __name__ == "__main__":
    main()
