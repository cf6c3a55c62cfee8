"""Padding moves no real logit: hashes, buckets and chunks follow the text's own length."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    Blocked,
    Hashed,
    Shared,
    Sizes,
    attention_layer,
    hardened,
    local,
    lsh,
    multiplicative,
    plain_residual,
    recurrent,
    reformer,
    terraformer,
    terraformer_with_encoder,
    transformer,
)
from efftx.models.terraformer import lsh_attentions
from efftx.training.losses import bits_per_byte

SIZES = Sizes(n_layers=2, d_model=16, d_ff=32, n_heads=2, d_head=8, max_len=160, vocab=50)
TEXT = np.random.default_rng(0).integers(SIZES.vocab, size=101).astype(np.int32)
KEY = jax.random.key(4)
OLD, NEW = (partial(make, jax.random.key(0), SIZES) for make in (transformer, reformer))
MODELS = {
    "exact": OLD,
    "blocked": partial(OLD, kind=Blocked(block_len=16)),
    "shared": partial(OLD, kind=Shared()),
    "local": partial(NEW, attention=local(chunk_len=8)),
    "hashed": partial(NEW, attention=lsh(n_hashes=2, chunk_len=8), ff_chunk_len=16),
    "hashed, stored": partial(NEW, attention=lsh(chunk_len=4), residual=plain_residual),
    "rotary pattern": partial(
        NEW, attention=(local(rotary=True), lsh(chunk_len=8, rotary=True)), positions="none"
    ),
    "sparse, hashed": lambda: hardened(
        terraformer(
            jax.random.key(0),
            SIZES,
            n_units=4,
            attention=attention_layer(Hashed(chunk_len=8), multiplicative()),
        )
    ),
    "LSTM": lambda: recurrent(jax.random.key(0), SIZES),
}


@cache
def a_model(kind: str):
    return MODELS[kind]()


def padded(length: int):
    tokens = np.full(length, 7, np.int32)
    tokens[: len(TEXT)] = TEXT
    return tokens, np.arange(length) < len(TEXT)


@pytest.mark.parametrize("length", [102, 150])
@pytest.mark.parametrize("kind", MODELS)
def test_no_real_logit_moves(kind, length):
    model, (tokens, mask) = a_model(kind), padded(length)
    whole = model(TEXT, KEY)
    ours = jax.jit(lambda tokens, mask: model(tokens, KEY, key_mask=mask))(tokens, mask)
    np.testing.assert_allclose(ours[: len(TEXT)], whole, atol=1e-4)


def test_without_the_mask_a_hashed_models_logits_do_move():
    """So the test above would notice."""
    model, (tokens, _) = a_model("hashed"), padded(150)
    assert np.abs(model(tokens, KEY)[: len(TEXT)] - model(TEXT, KEY)).max() > 1e-2


@pytest.mark.parametrize("kind", ["shared", "hashed", "sparse, hashed"])
def test_a_ragged_batch_trains_as_its_texts(kind):
    """The gradient of the mean over texts of several lengths, each padded to the longest."""
    model, lengths = a_model(kind), (101, 40)
    windows = np.stack([np.where(np.arange(101) < n, TEXT, 0) for n in lengths])
    masks = np.arange(101) < np.array(lengths)[:, None]

    def of_batch(model):
        loss = lambda window, mask: bits_per_byte(model, (window, mask), KEY)  # noqa: E731
        return jax.vmap(loss)(windows, masks).mean()

    def one_by_one(model):
        return sum(bits_per_byte(model, TEXT[:n], KEY) for n in lengths) / len(lengths)

    (ours, our_g), (theirs, their_g) = (
        jax.jit(jax.value_and_grad(loss))(model) for loss in (of_batch, one_by_one)
    )
    # A vector on the border of two buckets may fall to the other side by rounding.
    assert float(ours) == pytest.approx(float(theirs), rel=1e-3 if "hashed" in kind else 1e-5)
    for one, other in zip(*map(jax.tree.leaves, (our_g, their_g)), strict=True):
        off = float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))
        assert off < (0.05 if "hashed" in kind else 1e-4)


def test_the_target_of_a_decoder_that_hashes_its_source_too():
    sizes = Sizes(n_layers=1, d_model=16, d_ff=32, n_heads=2, d_head=8, max_len=160, vocab=50)
    attentions = lsh_attentions(n_hashes=2, chunk_len=8)
    model = hardened(terraformer_with_encoder(KEY, sizes, n_units=4, **attentions))
    source, target = TEXT[:33], TEXT[40:61]
    whole = model(source, target, KEY)
    source_mask, target_mask = np.arange(50) < 33, np.arange(60) < 21
    ours = model(
        np.pad(source, (0, 17)),
        np.pad(target, (0, 39)),
        KEY,
        key_mask=source_mask,
        target_mask=target_mask,
    )
    np.testing.assert_allclose(ours[:21], whole, atol=1e-4)


@pytest.mark.parametrize("kind", ["exact", "hashed", "LSTM"])
def test_padding_that_does_not_come_last_is_refused(kind):
    tokens, mask = padded(102)
    for wrong in (mask[::-1], np.zeros(102, bool)):
        with pytest.raises(ValueError, match="then False for the padding, which comes last"):
            a_model(kind)(tokens, KEY, key_mask=wrong)
