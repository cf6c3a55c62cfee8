"""Bits per byte: what it counts, and over which bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.training import duplication
from efftx.training.batches import packed_windows, padded_windows
from efftx.training.losses import bits_per_byte, evaluate, mean_bits
from efftx.training.translation import translation_loss

TEXT = np.frombuffer(b"the quick brown fox jumps over the lazy dog " * 20, np.uint8)


def knows_nothing(tokens, key=None):
    return jnp.zeros((len(tokens), 256))


def says_the_same_again(tokens, key=None, *, key_mask=None):
    """Gives the byte just seen the odds 255 : 1 against every other, that is 1/2."""
    return jnp.log(jnp.ones((len(tokens), 256)).at[jnp.arange(len(tokens)), tokens].set(255))


def test_knowing_nothing_costs_eight_bits():
    assert float(bits_per_byte(knows_nothing, TEXT[:11])) == pytest.approx(8)


def test_bits_are_minus_log2_of_the_probability_of_the_next_byte():
    window = np.frombuffer(b"aab", np.uint8)  # a → a at 1/2, then a → b at 1/2 · 1/255
    expected = (1 + 1 + np.log2(255)) / 2
    assert float(bits_per_byte(says_the_same_again, window)) == pytest.approx(expected, rel=1e-5)


def test_the_key_reaches_the_model():
    def draws(tokens, key):
        return jax.random.normal(key, (len(tokens), 256))

    first, second = (bits_per_byte(draws, TEXT[:5], jax.random.key(seed)) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize(("length", "batch"), [(10, 1), (7, 4), (100, 8)])
def test_evaluate_counts_every_byte_of_the_whole_batches_once(length, batch):
    repeats = TEXT[1:] == TEXT[:-1]
    n_predictions = (len(TEXT) - 1) // length // batch * batch * length
    expected = 1 + np.log2(255) * (1 - repeats[:n_predictions].mean())
    model = jax.tree_util.Partial(says_the_same_again)
    bits = evaluate(model, TEXT, length=length, batch=batch, progress=False)
    assert bits == pytest.approx(expected, rel=1e-5)


# In float32 -----------------------------------------------------------------------------------

LOGITS = 9 * np.random.default_rng(0).normal(size=(40, 128)).astype(np.float32)
SEQUENCE = np.random.default_rng(1).integers(3, 128, size=40)


def in_dtype(dtype):
    """A model whose logits are these; rounded to bfloat16 they are those of a bfloat16 model."""
    rounded = jnp.asarray(LOGITS, jnp.bfloat16).astype(dtype)
    return jax.tree_util.Partial(
        lambda *tokens_and_key, **masks: rounded[: len(tokens_and_key[-2])]
    )


LOSSES = {
    "bits_per_byte": lambda model: bits_per_byte(model, SEQUENCE),
    "evaluate": lambda model: evaluate(model, SEQUENCE, length=13, batch=3, progress=False),
    "mean_bits": lambda model: mean_bits(model, SEQUENCE.reshape(4, 10), None),
    "duplication": lambda model: duplication.loss(model, SEQUENCE),
    "translation": lambda model: translation_loss(model, (SEQUENCE, SEQUENCE)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_bfloat16_model_is_that_of_its_logits(name):
    """Added up in bfloat16, the values would be off by a hundredth."""
    half, full = (LOSSES[name](in_dtype(dtype)) for dtype in (jnp.bfloat16, jnp.float32))
    assert float(half) == pytest.approx(float(full), rel=1e-6)
    assert jnp.result_type(half) == jnp.float32


# Masks ----------------------------------------------------------------------------------------


def looks_at_all_it_may(tokens, key=None, *, key_mask=None):
    """Its next token is the largest that it has seen anywhere; what is masked it does not see."""
    seen = tokens if key_mask is None else jnp.where(key_mask, tokens, 0)
    return 3 * jax.nn.one_hot(jnp.full(len(tokens), seen.max()), 256)


TEXTS = [np.array([3, 9, 4, 9, 9], np.uint8), np.array([7, 7], np.uint8)]


def test_padding_is_neither_seen_nor_predicted():
    tokens, key_mask = padded_windows(TEXTS, length=7)
    tokens = np.where(key_mask, tokens, 200)  # what stands in the padding does not matter
    for window, mask, text in zip(tokens, key_mask, TEXTS, strict=True):
        expected = float(bits_per_byte(looks_at_all_it_may, text))
        for masked in (
            bits_per_byte(looks_at_all_it_may, window, key_mask=mask),
            bits_per_byte(looks_at_all_it_may, (window, mask)),
            jax.jit(lambda *example: bits_per_byte(looks_at_all_it_may, example))(window, mask),
        ):
            assert float(masked) == pytest.approx(expected)
        assert float(bits_per_byte(looks_at_all_it_may, window)) != pytest.approx(expected)


def test_padding_may_stand_on_the_left():
    window = np.array([0, 0, *TEXTS[0]], np.uint8)
    masked = bits_per_byte(looks_at_all_it_may, window, key_mask=np.arange(7) >= 2)
    assert float(masked) == pytest.approx(float(bits_per_byte(looks_at_all_it_may, TEXTS[0])))


def test_only_predictions_that_count_are_part_of_the_mean():
    window = np.frombuffer(b"aabbb", np.uint8)  # of a at 1/2, b at 1/2 · 1/255, then b twice at 1/2
    counts = np.array([True, False, True, True])
    for masked in (
        bits_per_byte(says_the_same_again, window, counts=counts),
        bits_per_byte(says_the_same_again, (window, counts)),
        bits_per_byte(says_the_same_again, (window, None, counts)),
        bits_per_byte(says_the_same_again, (window, counts, np.ones(5, bool))),
    ):
        assert float(masked) == pytest.approx(1, rel=1e-5)
    assert float(bits_per_byte(says_the_same_again, window)) > 2


def test_both_masks_together():
    window, key_mask = np.array([3, 9, 4, 200], np.uint8), np.array([True, True, True, False])
    counts = np.array([False, True, True])  # so only 9 → 4, of which 9 · 3 was said
    masked = bits_per_byte(looks_at_all_it_may, (window, key_mask, counts))
    assert float(masked) == pytest.approx(np.log2(np.exp(3) + 255), rel=1e-5)


def test_in_chunks_the_masks_are_the_same():
    class Parts:
        """A model in two: vectors that say which token was seen, and a readout."""

        def __call__(self, tokens, key=None, *, key_mask=None):
            return self.readout(self.last_vectors(tokens, key, key_mask=key_mask))

        def last_vectors(self, tokens, key=None, *, key_mask=None):
            return looks_at_all_it_may(tokens, key, key_mask=key_mask)

        readout = staticmethod(jax.tree_util.Partial(lambda x: 2 * x))

    tokens, key_mask = padded_windows(TEXTS, length=7)
    whole, chunked = (
        bits_per_byte(Parts(), tokens[0], key_mask=key_mask[0], chunk_len=chunk_len)
        for chunk_len in (None, 3)
    )
    assert float(chunked) == pytest.approx(float(whole), rel=1e-6)


def test_under_a_trace_a_window_in_which_nothing_counts_gives_0():
    traced = jax.jit(lambda window, mask: bits_per_byte(says_the_same_again, (window, mask)))
    assert float(traced(TEXT[:6], np.zeros(5, bool))) == 0


def test_every_prediction_that_counts_weighs_the_same():
    """A window with one prediction is no more than one of a window with many."""
    model = jax.tree_util.Partial(says_the_same_again)
    documents = [np.frombuffer(text, np.uint8) for text in (b"aab", b"aaaaaaaaaa", b"ab")]
    n_changes, n_predictions = 2, 2 + 9 + 1
    expected = 1 + np.log2(255) * n_changes / n_predictions
    for windows in (padded_windows(documents, length=9), packed_windows(documents, length=4)):
        for batch in (1, 2, 8):
            bits = evaluate(model, windows, batch=batch, progress=False)
            assert bits == pytest.approx(expected, rel=1e-5)
