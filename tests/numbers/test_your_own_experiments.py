"""What is sent between devices, and who travels when a sequence is sorted."""

import jax.numpy as jnp
import numpy as np

from efftx.attention import sort_by_bucket
from efftx.numbers import your_own_experiments as numbers

DEVICES = (1, 2, 4, 8)
BUCKETS = np.random.default_rng(0).integers(6, size=32)


def test_a_ring_sends_as_much_however_many_share_it():
    """Two arrays of 64 numbers for each of 2²⁰ positions, and whether the position is real."""
    sent = {n: numbers.sent_bytes(numbers.RING, n, 2**20) for n in DEVICES}
    assert sent == {1: 0, 2: 513 * 2**20, 4: 513 * 2**20, 8: 513 * 2**20}


def test_hashing_sends_a_share_of_its_rows():
    """A buffer of an eighth of a device's rows, nine times in each of eight rounds."""
    row = 4 * (2 * 64 + 2 + 8 + 1) + 4 * (1 + 64 + 1)
    assert numbers.exchange_turn_bytes(8, 2**20, 8) == 2**20 // 8 // 8 * row
    sent = [numbers.sent_bytes(numbers.SEQUENCE, n, 2**20) for n in (2, 4, 8)]
    assert sent[0] > sent[1] > sent[2] > 8 * 9 * 2**14 * row * 7 // 8
    assert sent[2] < 1.01 * (8 * 9 * 2**14 * row * 7 // 8)


def test_an_odd_length_is_filled_up():
    assert numbers.ring_turn_bytes(4, 101, d=8) == 26 * (2 * 8 * 4 + 1)
    assert numbers.exchange_turn_bytes(4, 101, 1, d=8) == 4 * (4 * (16 + 4) + 4 * (1 + 9))


def test_only_the_compiler_does_not_say():
    unknown = {name for name in numbers.STRATEGIES if numbers.sent_bytes(name, 4, 2**20) is None}
    assert unknown == {numbers.COMPILER}
    assert numbers.sent_bytes(numbers.COMPILER, 1, 2**20) == 0


def test_slots_are_those_of_the_package():
    order = sort_by_bucket(jnp.asarray(BUCKETS), 6)
    assert (np.argsort(numbers.slots_of(BUCKETS)) == order).all()


def test_who_stays_at_home():
    assert not numbers.leaves_home(np.zeros(8, int), 4).any()  # one bucket: in place
    assert numbers.leaves_home(np.array([1, 1, 0, 0]), 2).all()
