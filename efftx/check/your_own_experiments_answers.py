"""Exercise 14's inputs, right answers, and what is promised besides.

Written in numpy from the definitions, so that they share nothing with ``efftx.attention`` and
``efftx.training``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import jax
import numpy as np
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from efftx.check.promises import arrays_made

AXIS = "devices"
DRAWS = 3  # of each kind of case


@dataclass(frozen=True)
class OnDevices:
    """What a function of one device makes of all: index i of an input is device i's."""

    each: Callable
    in_axes: tuple

    def __call__(self, *inputs):
        return jax.vmap(self.each, in_axes=self.in_axes, axis_name=AXIS)(*inputs)


# Part 1


def ledger_cases(rng):
    """Rows that divide evenly and rows that do not, fewer rows than devices, nothing shared out."""
    for n_devices in (2, 3, 4):
        for n in (1, 4):
            for _ in range(DRAWS):
                rows, row_bytes = rng.integers(1, 20, n), 4 * rng.integers(1, 9, n)
                ledger = {"rows": rows, "row_bytes": row_bytes, "shared": rng.random(n) < 0.6}
                yield {**ledger, "n_devices": n_devices}


def fullest(rows, row_bytes, shared, n_devices):
    """The right number of bytes: rows are dealt out one by one, and device 0 never has fewer."""
    mine = [len(range(0, n, n_devices)) if s else n for n, s in zip(rows, shared, strict=True)]
    return np.dot(mine, row_bytes)


# Part 2


def step_cases(rng):
    """Devices with as many examples that count, with different numbers, one without any."""
    for n_devices, n, d in ((2, 2, 1), (3, 4, 2)):
        for kind in ("all", "some", "none on one"):
            for _ in range(DRAWS):
                x, y = rng.normal(size=(n_devices, n, d)), rng.normal(size=(n_devices, n))
                counts = (rng.random((n_devices, n)) < 0.7) | (kind == "all")
                counts[:, 0] = True
                counts[-1] &= kind != "none on one"
                rate = float(rng.choice([0.1, 0.3]))
                yield {"w": rng.normal(size=d), "x": x, "y": y, "counts": counts, "rate": rate}


def stepped(w, x, y, counts, rate):
    """The right weights, once for each device: one device has all examples that count."""
    error = x[counts] @ w - y[counts]
    after = w - rate * np.mean(error[:, None] * x[counts], axis=0)
    return np.tile(after, (len(x), 1))


# Part 3


def ring_cases(rng):
    """Few positions and many devices, and the other way round; scores large enough to matter."""
    for n_devices, n, d, d_value in ((2, 1, 2, 1), (2, 3, 4, 2), (4, 3, 4, 3)):
        for _ in range(DRAWS):
            q, k = 2 * rng.normal(size=(2, n_devices, n, d))
            yield {"q": q, "k": k, "v": rng.normal(size=(n_devices, n, d_value))}


def attended(q, k, v):
    """The right outputs, by the matrix of all scores."""
    queries, keys, values = (x.reshape(-1, x.shape[-1]) for x in (q, k, v))
    weights = np.tril(np.exp(queries @ keys.T / np.sqrt(q.shape[-1])))
    return (weights / weights.sum(1, keepdims=True) @ values).reshape(v.shape)


N_DEVICES, SHARE, WIDTH = 32, 4, 8  # so that all keys are more numbers than a turn's scores


def share_by_share(answer: OnDevices) -> str:
    """The promise that a device never has the keys, or the values, of all."""
    x = np.zeros((1, N_DEVICES * SHARE, WIDTH), np.float32)  # 1, so that no device's shape is this
    mesh, spec = AbstractMesh((N_DEVICES,), (AXIS,)), P(None, AXIS)
    here = jax.shard_map(
        lambda *inputs: answer.each(*(share[0] for share in inputs))[None],
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    shapes = arrays_made(here, {"q": x, "k": x, "v": x})
    if max(prod(shape) for shape in shapes if shape != x.shape) < x.size:
        return ""
    return (
        f"on {N_DEVICES} devices with {SHARE} positions of width {WIDTH} each, a device makes an "
        f"array of {x.size} numbers: that is all keys. Give them on with `jax.lax.ppermute`, and "
        "use what is there before the next ones come."
    )


# Part 4


def sent_cases(rng):
    for n_devices in (2, 3, 8):
        for n_hashes in (1, 3):
            for _ in range(DRAWS):
                share, d = (int(n) for n in rng.integers(2, 20, 2))
                sizes = {"length": share * n_devices, "d": d}
                yield {**sizes, "n_devices": n_devices, "n_hashes": n_hashes}


def sent(length, d, n_devices, n_hashes):
    """The right bytes, position by position: what it is, and to how many devices it may go."""
    pair, result = 8 * d, 4 * d + 4
    in_a_ring = sum(pair for _turn in range(n_devices) for _ in range(length // n_devices))
    may_go_to = [device != 0 for device in range(n_devices)]
    hashed = n_hashes * (pair + result) * length / n_devices * np.mean(may_go_to)
    return in_a_ring, hashed
