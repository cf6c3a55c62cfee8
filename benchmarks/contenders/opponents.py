"""The big model in few bits against what a user would take for a dense one: onnxruntime."""

import time
from dataclasses import replace

import jax
import numpy as np

from benchmarks.contenders import decoding
from benchmarks.contenders.decoding import BIG, N_LAYERS_WHOLE, N_TOKENS_BIG, PAUSE
from benchmarks.harness.alternate import PEERS_PYTHON, Worker
from efftx.models import in_eight_bits
from efftx.training.records import mean_with_interval

N_TURNS, DEPTHS = 15, (1, 3)
N_TOKENS = {"dense": N_TOKENS_BIG, "both, sparse readout": decoding.N_TOKENS}  # of a run
PEERS = {"onnxruntime, dense, 8 bits": 8, "onnxruntime, dense, 4 bits": 4}
SCALE_BITS = 32 / 32  # onnxruntime's: a float32 for each block of 32
LIBRARIES = ("onnxruntime", "onnx")
CONFIG = {"big": BIG, "n_layers": N_LAYERS_WHOLE, "depths": list(DEPTHS), "turns": N_TURNS}
CONFIG |= {"tokens": N_TOKENS | {"onnxruntime": N_TOKENS_BIG}, "batch": 1, "threads": 2}


def rows() -> list[dict]:
    """Models of one to three layers take turns; the slope between them gives the whole's time."""
    stored = {
        name: jax.eval_shape(in_eight_bits, shapes)
        for name, shapes in decoding.shapes_of(BIG).items()
        if name in N_TOKENS
    }
    runs = our_runs(stored)
    if PEERS_PYTHON.exists():
        runs |= their_runs()
    taken = turns(runs)
    read = {f"efftx, {name}, 8 bits": bytes_of(shapes) for name, shapes in stored.items()}
    read |= {who: bytes_of_peer(bits) for who, bits in PEERS.items()}
    names = dict.fromkeys(who for who, _ in runs)
    return [{"who": who} | row(taken, who, read[who]) for who in names]


def our_runs(stored: dict) -> dict:
    n_floats = max(map(decoding.numbers_in, stored.values()))
    n_codes = [
        decoding.numbers_in(s, np.int8) + 4 * decoding.numbers_in(s, np.int32)
        for s in stored.values()
    ]
    codes = decoding.random_memory(-(-max(n_codes) // 4) * 4, np.int8)
    memories = decoding.random_memory(n_floats), codes, codes.view(np.int32)
    models = {name: decoding.filled(shapes, *memories) for name, shapes in stored.items()}
    return {
        (f"efftx, {name}, 8 bits", depth): decoding.tokens_of(
            replace(model, blocks=model.blocks[:depth]), N_TOKENS[name]
        )
        for name, model in models.items()
        for depth in DEPTHS
    }


def their_runs() -> dict:
    def tokens(worker, depth):
        return lambda: worker.run(str(depth))["seconds"] / N_TOKENS_BIG

    how = {"sizes": BIG["sizes"], "depths": list(DEPTHS), "n_tokens": N_TOKENS_BIG}
    workers = {
        who: Worker("benchmarks.contenders.onnx_decoding", "products", how | {"bits": b}, peer=True)
        for who, b in PEERS.items()
    }
    return {(who, depth): tokens(w, depth) for who, w in workers.items() for depth in DEPTHS}


def turns(runs: dict) -> dict[tuple, list[float]]:
    """Seconds of each run at every turn, after a first one that compiles."""
    for run in runs.values():
        run()
    taken = {who: [] for who in runs}
    for _ in range(N_TURNS):
        for who, run in runs.items():
            time.sleep(PAUSE)
            taken[who].append(run())
    return taken


def row(taken: dict, who: str, n_bytes: int) -> dict:
    """All layers, each as slow as the slope between depths, turn by turn; with their interval."""
    few, many = (np.array(taken[who, depth]) for depth in (DEPTHS[0], DEPTHS[-1]))
    slope = (many - few) / (DEPTHS[-1] - DEPTHS[0])
    whole = few + (N_LAYERS_WHOLE - DEPTHS[0]) * slope
    return {
        "n_layers": N_LAYERS_WHOLE,
        "bytes_read": n_bytes,
        "seconds": float(np.median(whole)),
        "seconds_with_interval": mean_with_interval(whole, 4),
        "seconds_for_a_layer": mean_with_interval(slope, 5),
        "gb_per_second": n_bytes / float(np.median(whole)) / 1e9,
        "turns": {str(depth): taken[who, depth] for depth in DEPTHS},
    }


def bytes_of(shapes) -> int:
    return decoding.bytes_read(replace(shapes, blocks=shapes.blocks[:1] * N_LAYERS_WHOLE))


def bytes_of_peer(bits: int) -> int:
    d_model, d_ff, vocab = (BIG["sizes"][name] for name in ("d_model", "d_ff", "vocab"))
    weights = N_LAYERS_WHOLE * (4 * d_model**2 + 2 * d_model * d_ff) + d_model * vocab
    return round(weights * (bits + SCALE_BITS) / 8)
