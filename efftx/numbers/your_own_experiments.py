"""Who holds what on several devices, and what travels between them.

Bytes that travel are those of a forward pass of one head, in float32, from the formulas of
`efftx.attention.ring` and `efftx.attention.exchange`; bytes that are held were measured.
"""

import numpy as np

from efftx.attention.exchange import TURNS

SEQUENCE, RING = "LSH, sequence shared out", "exact, in a ring"
ROUNDS, COMPILER = "LSH, rounds shared out", "LSH, left to the compiler"
STRATEGIES = (SEQUENCE, RING, ROUNDS, COMPILER)
SIMULATED, TPU = "CPU, simulated", "TPU v5e 2x4"  # the targets of benchmarks/devices.py
D_HEAD, N_HASHES, CHUNK_LEN = 64, 8, 64  # of benchmarks/devices.py
FLOAT = INTEGER = 4  # bytes
MIB = 2**20


def ring_turn_bytes(n_devices: int, length: int, d: int = D_HEAD) -> int:
    """What a device gives to the next in one turn: its keys, its values, and which are real."""
    return -(-length // n_devices) * (2 * d * FLOAT + 1)


def exchange_turn_bytes(n_devices: int, length: int, n_hashes: int, d: int = D_HEAD) -> int:
    """The buffer of one turn of the all-to-all, there and back; a D-th of it stays at home.

    A row is its vectors, position, code and codes of all rounds, and its slot; back come its
    output and log-sum-exp, for the slot that is asked for.
    """
    n_rows = -(-length // n_devices)
    room = -(-n_rows // (TURNS * n_devices))
    there = FLOAT * 2 * d + INTEGER * (2 + n_hashes) + INTEGER
    return n_devices * room * (there + INTEGER + FLOAT * (d + 1))


def sent_bytes(strategy: str, n_devices: int, length: int) -> int | None:
    """What leaves a device in a forward pass; None where only the compiler knows.

    Hashes are thought to spread rows nearly evenly: then the buffer is sent TURNS + 1 times.
    """
    if n_devices == 1:
        return 0
    if strategy == COMPILER:
        return None
    others = n_devices - 1
    if strategy == RING:
        return n_devices * ring_turn_bytes(n_devices, length)
    if strategy == ROUNDS:  # each collective in rings, the cheapest way
        whole = INTEGER * N_HASHES + 2 * FLOAT * (D_HEAD + 2)
        return length * whole * others // n_devices
    buffers = (TURNS + 1) * exchange_turn_bytes(n_devices, length, N_HASHES) * others // n_devices
    halo = CHUNK_LEN * (FLOAT * 2 * D_HEAD + INTEGER * (2 + N_HASHES))
    return N_HASHES * (buffers + halo)


def keys_of(turn: int, device: int, n_devices: int) -> int:
    """Whose keys and values a device has in a turn."""
    return (device - turn) % n_devices


def slots_of(buckets: np.ndarray) -> np.ndarray:
    """The slot of each position: sorted by bucket, then by position."""
    slots = np.empty(len(buckets), int)
    slots[np.argsort(buckets, kind="stable")] = np.arange(len(buckets))
    return slots


def leaves_home(buckets: np.ndarray, n_devices: int) -> np.ndarray:
    """For each position whether its slot is on another device."""
    share = len(buckets) // n_devices
    return np.arange(len(buckets)) // share != slots_of(buckets) // share


def held_mib(
    compiled: list[dict], strategy: str, length: int, target: str = SIMULATED
) -> dict[int, dict[str, float]]:
    """By devices, of the rows that benchmarks/devices.py recorded."""
    return {
        row["devices"]: {"inputs": row["arguments_mib"], "beside them": row["temporary_mib"]}
        for row in compiled
        if (row["who"], row["length"], row["target"]) == (strategy, length, target)
    }


def together_mib(row: dict) -> float:
    """Of a recorded row: inputs, their gradients, which are as large, and what is beside them."""
    return 2 * row["arguments_mib"] + row["temporary_mib"]
