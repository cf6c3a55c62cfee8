"""Draws the README's picture: python docs/picture.py"""

from pathlib import Path

import jax
import numpy as np

from efftx.attention import hash_vectors, random_rotations
from efftx.plots.lsh_attention import draw_steps

TEXT = "a hash puts like things together"
N_BUCKETS, CHUNK_LEN, QUERY, WIDTH = 8, 4, 28, 16
PICTURE = Path(__file__).with_name("bucket_sort_chunk_attend.png")


def letter_vectors(text: str, seed: int) -> jax.Array:
    """A random direction for each letter, and a little of the letter before it."""
    letters = np.frombuffer(text.encode(), np.uint8)
    directions = jax.random.normal(jax.random.key(seed), (128, WIDTH))
    return directions[letters] + 0.4 * directions[np.roll(letters, 1)]


def main(seed: int = 7) -> None:
    rotations = random_rotations(jax.random.key(seed), WIDTH, N_BUCKETS, n_hashes=1)
    buckets = np.asarray(hash_vectors(letter_vectors(TEXT, seed), rotations)[0])
    figure = draw_steps(TEXT, buckets, CHUNK_LEN, query=QUERY)
    figure.savefig(PICTURE, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
