"""Exercise 08's experiment: a trained model's head, and how its error falls with the rounds."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention
from efftx.check.lsh_attention_answers import attended, in_order, pairs
from efftx.models import attention_vectors, pretrained

LENGTH, LAYER, HEAD = 512, 1, 3
N_BUCKETS, CHUNK_LEN, MOST_ROUNDS = 32, 32, 64
ROUNDS = (1, 2, 4, 8, 16, 32)
SMALL = 0.02  # relative error


@cache
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """qk and v of the head, on a text."""
    tokens = pretrained.example_text()[:LENGTH]
    qk, v = attention_vectors(pretrained.small_text_model("shared_qk"), tokens)[LAYER]
    return np.asarray(qk[HEAD]), np.asarray(v[HEAD])


@cache
def buckets() -> np.ndarray:
    qk, _ = vectors()
    rotations = attention.random_rotations(
        jax.random.key(0), qk.shape[1], N_BUCKETS, n_hashes=MOST_ROUNDS
    )
    return np.asarray(attention.hash_vectors(jnp.asarray(qk), rotations))


@cache
def reached() -> np.ndarray:
    """(MOST_ROUNDS, LENGTH, LENGTH) bool: what the rounds up to each one find together."""
    rounds = [pairs(one, in_order(one)[1], CHUNK_LEN, causal=True) for one in buckets()]
    return np.logical_or.accumulate(rounds)


@cache
def error(n_rounds: int) -> float:
    """How far LSH attention is from the exact one, relative to the size of that."""
    exact, _ = attended(*vectors(), np.tri(LENGTH, k=-1, dtype=bool))
    ours, _ = attended(*vectors(), reached()[n_rounds - 1])
    return float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))


def rounds_for_a_small_error() -> int:
    return next(n for n in range(1, MOST_ROUNDS + 1) if error(n) < SMALL)
