"""The big model in few bits against what a user would take for a dense one."""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.contenders import decoding
from benchmarks.contenders.decoding import BIG, N_LAYERS_WHOLE, N_TOKENS_BIG
from benchmarks.harness.alternate import PEERS_PYTHON, Worker
from efftx.models import in_eight_bits
from efftx.training.records import mean_with_interval

N_TURNS, DEPTHS = 15, (1, 3)
N_TOKENS = {"dense": N_TOKENS_BIG, "both, sparse readout": decoding.N_TOKENS}  # of a run
LIBRARIES = ("onnxruntime", "onnx", "torch", "xllamacpp", "gguf")
CONFIG = {"big": BIG, "n_layers": N_LAYERS_WHOLE, "depths": list(DEPTHS), "turns": N_TURNS}
CONFIG |= {"tokens": N_TOKENS | {"others": N_TOKENS_BIG}, "batch": 1, "threads": 2}


class Peer(NamedTuple):
    """Where a peer's runs are built, in how many bits, and what its scales add to each weight."""

    module: str
    builder: str
    bits: int
    scale_bits: float


ONNX, LLAMA, TORCH = (
    (f"benchmarks.contenders.{name}", builder)
    for name, builder in (
        ("onnx_decoding", "products"),
        ("llama_cpp_decoding", "llama"),
        ("torch_int8_decoding", "products"),
    )
)
PEERS = {
    "onnxruntime, dense, 8 bits": Peer(*ONNX, 8, 32 / 32),
    "onnxruntime, dense, 4 bits": Peer(*ONNX, 4, 32 / 32),
    "llama.cpp, dense, 8 bits": Peer(*LLAMA, 8, 16 / 32),
    "llama.cpp, dense, 4 bits": Peer(*LLAMA, 4, 16 / 32),
    "torch, dense, 8 bits": Peer(*TORCH, 8, 0),
}


def rows() -> list[dict]:
    """One layer and three take turns; the slope between them gives the time of them all."""
    stored = {
        name: jax.eval_shape(in_eight_bits, shapes)
        for name, shapes in decoding.shapes_of(BIG).items()
        if name in N_TOKENS
    }
    runs = our_runs(stored)
    if PEERS_PYTHON.exists():
        runs |= their_runs()
    taken = decoding.seconds_by_turn(runs, N_TURNS)
    read = {f"efftx, {name}, 8 bits": bytes_of(shapes) for name, shapes in stored.items()}
    read |= {who: bytes_of_peer(peer) for who, peer in PEERS.items()}
    names = dict.fromkeys(who for who, _ in runs)
    return [{"who": who} | row(taken, who, read[who]) for who in names]


def our_runs(stored: dict) -> dict:
    memories = decoding.memories_of_eight_bits(stored)
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
        who: Worker(peer.module, peer.builder, how | {"bits": peer.bits}, peer=True)
        for who, peer in PEERS.items()
    }
    return {(who, depth): tokens(w, depth) for who, w in workers.items() for depth in DEPTHS}


def row(taken: dict, who: str, n_bytes: int) -> dict:
    """All layers, each as slow as the slope between depths, turn by turn; with their interval."""
    few, many = (np.array(taken[who, depth]) for depth in (DEPTHS[0], DEPTHS[-1]))
    slope = (many - few) / (DEPTHS[-1] - DEPTHS[0])
    whole = few + (N_LAYERS_WHOLE - DEPTHS[0]) * slope
    seconds = float(np.median(whole))
    return {
        "n_layers": N_LAYERS_WHOLE,
        "bytes_read": n_bytes,
        "seconds": seconds,
        "seconds_with_interval": mean_with_interval(whole, 4),
        "seconds_for_a_layer": mean_with_interval(slope, 5),
        "gb_per_second": n_bytes / seconds / 1e9,
        "turns": {str(depth): taken[who, depth] for depth in DEPTHS},
    }


def bytes_of(shapes) -> int:
    return decoding.bytes_read(replace(shapes, blocks=shapes.blocks[:1] * N_LAYERS_WHOLE))


def bytes_of_peer(peer: Peer) -> int:
    d_model, d_ff, vocab = (BIG["sizes"][name] for name in ("d_model", "d_ff", "vocab"))
    weights = N_LAYERS_WHOLE * (4 * d_model**2 + 2 * d_model * d_ff) + d_model * vocab
    return round(weights * (peer.bits + peer.scale_bits) / 8)
