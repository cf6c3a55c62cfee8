"""What the Reformer's parts and decoding refuse, before anything is compiled."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import local_attention
from efftx.models import (
    Kind,
    Sizes,
    attention_vectors,
    generate,
    local,
    lsh,
    prefill,
    reformer,
    transformer,
    with_rounds,
)
from efftx.models.embedding import init_embedding
from efftx.models.positions import init_axial

KEY = jax.random.key(0)
SIZES = Sizes(n_layers=2, d_model=8, d_ff=8, n_heads=2, d_head=4, max_len=9, vocab=20)
MODEL = reformer(KEY, SIZES)
TOKENS = np.arange(5)


def test_local_attention():
    x = jnp.ones((6, 4))
    for chunk_len in (0, -1, 2.5):
        with pytest.raises(ValueError, match="chunk_len must be a whole number of at least 1"):
            local_attention(x, x, x, chunk_len=chunk_len)
    with pytest.raises(ValueError, match="same length"):
        local_attention(x, x[:3], x)
    with pytest.raises(ValueError, match="key_mask must be bool"):
        local_attention(x, x, x, key_mask=jnp.ones(6))


def test_positions():
    with pytest.raises(ValueError, match="how must be 'sum' or 'concatenate'; got 'product'"):
        init_axial(KEY, 10, 8, how="product")
    with pytest.raises(ValueError, match="n2 must be a whole number"):
        init_axial(KEY, 10, 8, n2=-2)
    with pytest.raises(ValueError, match=r"only \[: length\] is read"):
        init_axial(KEY, 10, 8)[3:]
    with pytest.raises(ValueError, match="positions must be 'learned' or 'axial' or 'none'"):
        init_embedding(KEY, SIZES, positions="rotary")
    with pytest.raises(ValueError, match=r"takes 1 to 9 tokens \(max_len\); got 10"):
        MODEL(np.zeros(10, int), KEY)


def test_patterns_and_rounds():
    with pytest.raises(ValueError, match="n_layers must be a multiple of the pattern's 3 slots"):
        reformer(KEY, SIZES, attention=(local(), local(), lsh()))
    for how in ({"n_hashes": 0}, {"chunk_len": 0}):
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            reformer(KEY, SIZES, attention=lsh(**how))
    with pytest.raises(ValueError, match="n_hashes must be a whole number"):
        with_rounds(MODEL, 0)
    with pytest.raises(ValueError, match=r"call the model with key=jax\.random\.key\(seed\)"):
        MODEL(TOKENS)
    with pytest.raises(ValueError, match="a pattern of several"):
        attention_vectors(reformer(KEY, SIZES, attention=(local(), lsh())), TOKENS)


@pytest.mark.parametrize("capacity", [4, 10])
def test_a_capacity_that_does_not_fit(capacity):
    with pytest.raises(ValueError, match="capacity must be from 5, the prompt's length, to 9"):
        prefill(MODEL, TOKENS, capacity=capacity, key=KEY)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"n_new": 0}, "n_new must be a whole number of at least 1"),
        ({"n_new": 5}, "capacity must be from 5.* to 9.*; got 10"),
        ({"temperature": -1}, r"temperature must be at least 0 \(greedy\); got -1"),
        ({"top_p": 0}, r"top_p must lie in \(0, 1\]; got 0"),
        ({"top_p": 1.5}, r"top_p must lie in \(0, 1\]; got 1.5"),
    ],
)
def test_generate(how, message):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, TOKENS, **{"n_new": 2, "key": KEY, **how})


@dataclass(frozen=True, kw_only=True)
class Nearest(Kind):
    """Each query takes its own value."""

    def attend(self, vectors, key, replay, key_mask):
        return vectors[-1], None


def test_decoding_of_what_it_does_not_know():
    strange = transformer(KEY, SIZES, kind=Nearest())
    assert np.isfinite(strange(TOKENS)).all()
    with pytest.raises(ValueError, match=r"Nearest attention cannot generate: .* Derive it from"):
        prefill(strange, TOKENS, capacity=6)
    other = replace(MODEL, residual=partial(max))
    with pytest.raises(ValueError, match=r"streams.*should be an efftx\.models\.Residual"):
        prefill(other, TOKENS, capacity=6, key=KEY)
