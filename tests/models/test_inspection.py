"""What can be seen inside a model is what the model computes with."""

import importlib
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import jax
import numpy as np
import pytest

from efftx.models import (
    Across,
    Attention,
    Blocked,
    LanguageModel,
    Shared,
    Sizes,
    encoder_decoder,
    inspection,
    plain_residual,
    reversible_residual,
    scaling_transformer,
    terraformer,
    transformer,
)
from efftx.sparsity import sparsity_mask

attention_maps, attention_vectors = map(
    jax.jit, (inspection.attention_maps, inspection.attention_vectors)
)
SIZES = Sizes(n_layers=2, d_model=16, d_ff=24, n_heads=3, d_head=4, max_len=40)
TOKENS = np.frombuffer(b"to be or not to be, that is", np.uint8)
L = len(TOKENS)


def a_model(**kind) -> LanguageModel:
    return transformer(jax.random.key(0), SIZES, **kind)


def test_vectors_of_the_first_layer_are_projections_of_the_embedded_tokens():
    model = a_model(kind=Shared())
    x = model.embedding(TOKENS)
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    qk, v = attention_vectors(model, TOKENS)[0]
    assert qk.shape == v.shape == (3, L, 4)
    w_in = model.blocks.attention.layer.projection.w_in[0]
    np.testing.assert_allclose(qk[2], x @ w_in[:, 0, 2], atol=1e-4)
    np.testing.assert_allclose(v[1], x @ w_in[:, 1, 1], atol=1e-4)


@pytest.mark.parametrize(("kind", "n"), [({}, 3), ({"kind": Shared()}, 2)])
def test_later_layers_see_what_earlier_layers_wrote(kind, n):
    vectors = attention_vectors(a_model(**kind), TOKENS)
    assert vectors.shape == (2, n, 3, L, 4)
    changed = TOKENS.copy()
    changed[0] += 1  # in the first layer this changes position 0 alone, in the second all
    difference = np.abs(attention_vectors(a_model(**kind), changed) - vectors).max(axis=(1, 2, 4))
    assert (difference[0, 1:] == 0).all()
    assert (difference[1] > 0).all()


@pytest.mark.parametrize("kind", [{}, {"kind": Blocked()}])
def test_maps_of_full_attention_are_the_softmax_of_its_scores(kind):
    model = a_model(**kind)
    maps = attention_maps(model, TOKENS)
    for layer in range(2):
        q, k, _ = attention_vectors(model, TOKENS)[layer]
        scores = np.where(np.tri(L, dtype=bool), np.einsum("hid,hjd->hij", q, k) / 2, -np.inf)
        np.testing.assert_allclose(maps[layer], jax.nn.softmax(scores, axis=-1), atol=1e-5)


def test_maps_of_shared_qk_attention_look_at_themselves_only_as_a_last_resort():
    maps = np.asarray(attention_maps(a_model(kind=Shared()), TOKENS))
    assert maps.shape == (2, 3, L, L)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    assert (maps[..., 0, 0] == 1).all()
    assert (maps[..., np.arange(1, L), np.arange(1, L)] == 0).all()
    assert (maps[..., ~np.tri(L, dtype=bool)] == 0).all()


def test_maps_reproduce_what_the_heads_return():
    model = a_model(kind=Shared())
    first = jax.tree.map(lambda stacked: stacked[0], model.blocks.attention)
    qk, v = attention_vectors(model, TOKENS)[0]
    returned = jax.vmap(lambda *vectors: first.layer.kind(vectors)[0])(qk, v)
    np.testing.assert_allclose(attention_maps(model, TOKENS)[0] @ v, returned, atol=1e-5)


# Across ----------------------------------------------------------------------------------------

ACROSS = encoder_decoder(jax.random.key(0), SIZES)
SOURCE, MASK = TOKENS[:9], np.arange(9) < 7
cross_attention_maps = jax.jit(inspection.cross_attention_maps)


def test_maps_across_spend_the_whole_budget_on_what_is_no_padding():
    maps = cross_attention_maps(ACROSS, SOURCE, TOKENS, key_mask=MASK)
    assert maps.shape == (2, 3, L, 9)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    assert (maps[..., ~MASK] == 0).all()
    assert (maps[..., MASK] > 0).all()


def test_maps_across_are_the_weights_that_the_model_uses():
    """With them in the place of its softmax, the model gives the same logits."""
    maps = cross_attention_maps(ACROSS, SOURCE, TOKENS, key_mask=MASK)
    handed_out = []

    @dataclass(frozen=True, kw_only=True)
    class Given(Across):
        def attend(self, vectors, key, replay, key_mask):
            handed_out.append(len(handed_out))  # one head of one layer after the other
            layer, head = divmod(handed_out[-1], SIZES.n_heads)
            return maps[layer, head] @ vectors[-1], None

        one_by_one: ClassVar[bool] = True

    cross = ACROSS.decoder.cross_attention
    given = replace(
        ACROSS,
        decoder=replace(
            ACROSS.decoder,
            cross_attention=replace(cross, layer=Attention(cross.layer.projection, Given())),
        ),
    )
    with jax.disable_jit():  # so that the scan calls it for each layer
        logits = given(SOURCE, TOKENS, key_mask=MASK)
    assert handed_out == list(range(2 * SIZES.n_heads))
    np.testing.assert_allclose(logits, ACROSS(SOURCE, TOKENS, key_mask=MASK), atol=1e-4)


# Units -----------------------------------------------------------------------------------------

SPARSE_SIZES = replace(SIZES, n_heads=4)  # without an output projection heads fill d_model
SPARSE = {
    "Scaling Transformer": partial(scaling_transformer, residual=plain_residual),
    "its reversible kin": partial(scaling_transformer, residual=reversible_residual),
    "Terraformer": terraformer,
}


@pytest.mark.parametrize("kind", SPARSE)
def test_units_are_those_that_the_model_turns_on(kind, monkeypatch):
    """The masks that the model multiplies with have their ones at these units."""
    model = SPARSE[kind](jax.random.key(0), SPARSE_SIZES, n_units=4)
    units, masks = inspection.chosen_units(model, TOKENS), []

    def spy(scores, *args, **how):
        mask, units = sparsity_mask(scores, *args, **how)
        jax.debug.callback(masks.append, mask, ordered=True)  # each layer's, from within the scan
        return mask, units

    home = importlib.import_module("efftx.models.sparse_feed_forward")
    monkeypatch.setattr(home, "sparsity_mask", spy)
    model(TOKENS)
    jax.effects_barrier()
    assert units.shape == (2, L, 6)
    np.testing.assert_array_equal(units, np.argmax(masks, axis=-1))
    assert len(np.unique(units)) == 4


def test_units_under_jit_and_mapped_over_a_batch():
    model = terraformer(jax.random.key(0), SPARSE_SIZES, n_units=4)
    units = jax.jit(jax.vmap(inspection.chosen_units, (None, 0)))(model, TOKENS.reshape(3, -1))
    first = inspection.chosen_units(model, TOKENS.reshape(3, -1)[0])
    np.testing.assert_array_equal(units[0], first)
