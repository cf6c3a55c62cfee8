"""Positions of any length: axial tables read like whole ones, rotations tell distances."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import hash_vectors, random_rotations
from efftx.models import Sizes
from efftx.models.embedding import init_embedding
from efftx.models.positions import AxialPositions, init_axial, rotate

SIZES = Sizes(d_model=6, max_len=35, vocab=9)


def whole_table(axial: AxialPositions) -> np.ndarray:
    """Row by row, as the definition has it."""
    first, second = np.asarray(axial.first), np.asarray(axial.second)
    join = (lambda a, b: a + b) if axial.how == "sum" else (lambda a, b: np.concatenate([a, b]))
    return np.stack([join(a, b) for a in first for b in second])


@pytest.mark.parametrize("how", ["sum", "concatenate"])
@pytest.mark.parametrize(("max_len", "n2"), [(35, None), (35, 5), (1, None), (7, 64)])
def test_an_axial_table_reads_like_the_whole_one(how, max_len, n2):
    axial = init_axial(jax.random.key(0), max_len, 6, how=how, n2=n2)
    table = whole_table(axial)
    assert len(axial) == len(table) >= max_len
    for length in (1, max_len // 2, max_len):
        np.testing.assert_array_equal(axial[:length], table[:length])
    for row in (0, max_len - 1):
        np.testing.assert_array_equal(jax.jit(lambda a, i: a[i])(axial, row), table[row])


def test_a_million_axial_positions_are_two_thousand_vectors():
    axial = jax.eval_shape(lambda: init_axial(jax.random.key(0), 2**20, 8))
    assert len(axial) == 2**20
    assert sum(x.size for x in jax.tree.leaves(axial)) == 2 * 1024 * 8


@pytest.mark.parametrize("how", ["sum", "concatenate"])
def test_axial_rows_start_with_the_variance_of_sinusoids(how):
    rows = init_axial(jax.random.key(0), 10_000, 64, how=how)[:10_000]
    assert float(rows.var()) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("positions", ["learned", "axial", "none"])
def test_one_token_is_embedded_as_in_a_text(positions):
    embedding = init_embedding(jax.random.key(0), SIZES, positions=positions)
    tokens = np.arange(23) % 9
    whole = embedding(tokens)
    np.testing.assert_allclose(
        embedding.next(jnp.int32(tokens[17]), jnp.int32(17))[0], whole[17], rtol=1e-6
    )


def test_without_positions_any_length_goes():
    embedding = init_embedding(jax.random.key(0), replace(SIZES, max_len=1), positions="none")
    assert embedding(np.zeros(50, int)).shape == (50, 6)


@pytest.mark.parametrize("d_head", [2, 7, 8])
def test_rotated_scores_depend_on_the_distance_only(d_head):
    q, k = jax.random.normal(jax.random.key(0), (2, 1, d_head))

    def score(i, j):
        return float((rotate(q, i) @ rotate(k, j).T)[0, 0])

    for distance in (0, 1, 40):
        assert score(distance, 0) == pytest.approx(score(500 + distance, 500), abs=1e-4)
    assert abs(score(40, 0) - score(0, 0)) > 1e-3


def test_rotation_starts_anywhere_and_keeps_lengths():
    x = jax.random.normal(jax.random.key(0), (3, 20, 8))
    turned = rotate(x)
    np.testing.assert_allclose(rotate(x[:, 13:], 13), turned[:, 13:], atol=1e-6)
    norms = [jnp.linalg.norm(a, axis=-1) for a in (x, turned)]
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_hashing_after_the_rotation_sees_what_the_scores_compare():
    """A vector at far positions: its score with itself falls, and so does sharing a bucket."""
    x = jnp.tile(jax.random.normal(jax.random.key(0), (1, 64)), (400, 1))
    rotations = random_rotations(jax.random.key(1), 64, 32, 8)
    before, after = hash_vectors(x, rotations), hash_vectors(rotate(x), rotations)
    assert (before == before[:, :1]).all()
    same = (after == after[:, :1]).mean(0)
    assert same[:3].mean() > 0.7
    assert same[200:].mean() < same[:3].mean() - 0.2


@pytest.mark.parametrize("how", ["sum", "concatenate"])
def test_a_short_window_trains_the_first_rows_only(how):
    """As `init_axial` says: 35 positions are 6 × 6, and a window of 13 reaches 3 of the first."""
    axial = init_axial(jax.random.key(0), 35, 6, how=how)
    gradient = jax.grad(lambda axial: (axial[:13] ** 2).sum())(axial)
    trained = np.asarray((gradient.first != 0).any(-1))
    assert trained.tolist() == [True] * 3 + [False] * 3
    assert (gradient.second != 0).any(-1).all()
