"""Exercise 14: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from efftx.check import your_own_experiments as check
from efftx.check import your_own_experiments_experiment as experiment
from efftx.numbers import your_own_experiments as numbers
from tests.check.exercise import Exercise

AXIS = "devices"

# Other ways to be right: loops, other collectives, gradients by jax, other orders.


def bytes_in_a_loop(rows, row_bytes, shared, n_devices):
    total = 0
    for n, size, is_shared in zip(rows.tolist(), row_bytes.tolist(), shared.tolist(), strict=True):
        total += size * ((n + n_devices - 1) // n_devices if is_shared else n)
    return total


def bytes_of_every_device(rows, row_bytes, shared, n_devices):
    """Device by device, and the largest of them."""
    device = np.arange(n_devices)[:, None]
    mine = np.where(shared, rows // n_devices + (device < rows % n_devices), rows)
    return (mine * np.asarray(row_bytes)).sum(1).max()


def bytes_by_ceil(rows, row_bytes, shared, n_devices):
    return jnp.ceil(rows / jnp.where(shared, n_devices, 1)) @ row_bytes


def step_by_gradient(w, x, y, counts, rate):
    """Half the sum of squares of all devices; what autodiff makes of a psum is not relied on."""

    def half_a_square(w):
        return jnp.where(counts, (x @ w - y) ** 2, 0).sum() / 2

    gradient = lax.psum(jax.grad(half_a_square)(w), AXIS)
    return w - rate * gradient / lax.psum(counts.sum(), AXIS)


def step_with_means(w, x, y, counts, rate):
    """Means over the devices of sums and of numbers: their quotient is that of sums."""
    error = (x @ w - y) * counts
    return w - rate * lax.pmean(error @ x, AXIS) / lax.pmean(counts.mean(), AXIS) / len(y)


def step_with_everything(w, x, y, counts, rate):
    """Every device gets all examples."""
    x, y, counts = (lax.all_gather(array, AXIS, tiled=True) for array in (x, y, counts))
    return w - rate * ((x @ w - y) * counts) @ x / counts.sum()


def place_and_keys(q, turn):
    n, me, n_devices = len(q), lax.axis_index(AXIS), lax.axis_size(AXIS)
    of_whom = (me - turn) % n_devices
    return me * n + jnp.arange(n)[:, None], of_whom * n + jnp.arange(n)


def to_next():
    n_devices = lax.axis_size(AXIS)
    return [(i, (i + 1) % n_devices) for i in range(n_devices)]


def ring_in_a_loop(q, k, v):
    """lax.fori_loop, and sums that are merged by log-sum-exps."""

    def turn(number, carry):
        out, lse, k, v = carry
        place, keys = place_and_keys(q, number)
        scores = jnp.where(keys <= place, q @ k.T / len(q[0]) ** 0.5, -jnp.inf)
        new = jnp.logaddexp(lse, jax.nn.logsumexp(scores, axis=1))
        out = out * jnp.exp(lse - new)[:, None] + jnp.exp(scores - new[:, None]) @ v
        return out, new, *lax.ppermute((k, v), AXIS, to_next())

    start = jnp.zeros_like(v), jnp.full(len(q), -jnp.inf), k, v
    return lax.fori_loop(0, lax.axis_size(AXIS), turn, start)[0]


def ring_of_one_array(q, k, v):
    """Keys and values travel as one array, and nothing is sent after the last turn."""
    pair, top, sums = jnp.concatenate([k, v], axis=1), -jnp.inf, 0
    for turn in range(n_devices := lax.axis_size(AXIS)):
        place, keys = place_and_keys(q, turn)
        k, v = pair[:, : k.shape[1]], pair[:, k.shape[1] :]
        scores = jnp.where(keys <= place, jnp.einsum("id,jd->ij", q, k) / k.shape[1] ** 0.5, -1e30)
        new = jnp.maximum(top, scores.max(1, keepdims=True))
        weights = jnp.exp(scores - new)
        more = weights @ jnp.pad(v, [(0, 0), (1, 0)], constant_values=1)
        top, sums = new, jnp.exp(top - new) * sums + more
        if turn + 1 < n_devices:
            pair = lax.ppermute(pair, AXIS, to_next())
    return sums[:, 1:] / sums[:, :1]


def ring_with_everything(q, k, v):
    """Right in value; but every device gets all keys."""
    place, _ = place_and_keys(q, 0)
    keys, values = (lax.all_gather(x, AXIS, tiled=True) for x in (k, v))
    scores = jnp.where(jnp.arange(len(keys)) <= place, q @ keys.T / k.shape[1] ** 0.5, -jnp.inf)
    return jax.nn.softmax(scores) @ values


def bytes_in_closed_form(length, d, n_devices, n_hashes):
    return 8 * length * d, n_hashes * length * (n_devices - 1) / n_devices**2 * (12 * d + 4)


def bytes_by_jax(length, d, n_devices, n_hashes):
    leaves = jnp.float32(length) / n_devices * (1 - 1 / n_devices)
    return jnp.array(length * d * 8), jnp.array(n_hashes * 4) * leaves * (2 * d + (d + 1))


RIGHT = [
    ("bytes_each", bytes_in_a_loop),
    ("bytes_each", bytes_of_every_device),
    ("bytes_each", bytes_by_ceil),
    ("one_step", step_by_gradient),
    ("one_step", step_with_means),
    ("one_step", step_with_everything),
    ("ring_attention", ring_in_a_loop),
    ("ring_attention", ring_of_one_array),
    ("bytes_sent", bytes_in_closed_form),
    ("bytes_sent", bytes_by_jax),
]

PARTS = ("bytes_each", "one_step", "ring_attention", "bytes_sent")
EXERCISE = Exercise(
    stem="14_your_own_experiments",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


# Special to this exercise: what a device must not hold, and that the formulas are the package's.


def ring_with_all_keys_in_pieces(q, k, v):
    keys = lax.all_gather(k, AXIS)  # (devices, n, d)
    assert keys.ndim == 3
    return ring_with_everything(q, k, v)


@pytest.mark.parametrize("answer", [ring_with_everything, ring_with_all_keys_in_pieces])
def test_who_holds_all_keys_is_told(answer):
    said = EXERCISE.said("ring_attention", answer)
    assert said.startswith("✗ ring_attention returns the right values. But: on 32 devices")


@pytest.mark.parametrize("n_devices", [2, 4, 8])
def test_what_is_sent_is_what_the_package_counts(n_devices):
    """Its ring sends a byte of mask for each position besides, and of the sort only rows count."""
    ring, hashed = check.bytes_sent.right(2**20, 64, n_devices, 8)
    assert ring + 2**20 == numbers.sent_bytes(numbers.RING, n_devices, 2**20)
    assert abs(hashed / numbers.sent_bytes(numbers.SEQUENCE, n_devices, 2**20) - 1) < 0.35


def test_the_count_stops():
    assert [experiment.counted(n, "bfloat16") for n in (255, 256, 257, 2048)] == [255] + 3 * [256]
    assert experiment.counted(2048, "float32") == 2048
    assert experiment.last_right() == 256
