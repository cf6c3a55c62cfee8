"""What training refuses, and that it says what came and what would be right."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efftx.training import checkpoints, corpora
from efftx.training.batches import consecutive_windows, random_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte, evaluate
from efftx.training.number_words import number_words
from efftx.training.records import mean_with_interval
from efftx.training.translation import (
    as_arrays,
    bleu,
    random_pairs,
    translate,
    translation_loss,
)
from efftx.training.vocabularies import Pieces
from efftx.training.wmt14 import wmt14

TEXT = np.arange(20)


@pytest.mark.parametrize(
    ("length", "batch", "message"),
    [
        (0, 1, "length must be a whole number of at least 1; got 0"),
        (5, 0, "batch must be a whole number of at least 1; got 0"),
        (2.5, 1, "length must be a whole number of at least 1; got 2.5"),
        (20, 1, r"a window is 20 \+ 1 tokens, but the text has only 20"),
    ],
)
def test_windows(length, batch, message):
    with pytest.raises(ValueError, match=message):
        random_windows(TEXT, seed=0, step=0, length=length, batch=batch)
    with pytest.raises(ValueError, match=message):
        consecutive_windows(TEXT, length=length, batch=batch)


def test_a_text_too_short_for_one_batch():
    with pytest.raises(ValueError, match=r"a batch is 4 windows of 5 \+ 1 tokens, but the text"):
        evaluate(lambda tokens, key: tokens, TEXT, length=5, batch=4)


@pytest.mark.parametrize("window", [np.zeros(1, int), np.zeros((2, 9), int), np.zeros(9)])
def test_a_window_without_a_prediction(window):
    with pytest.raises(ValueError, match="a window must be a vector of at least 2 integers; got"):
        bits_per_byte(lambda tokens, key: jnp.zeros((len(tokens), 256)), window)


TREE = {"weights": jnp.zeros((2, 3)), "count": jnp.int32(4)}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    checkpoints.save(path, TREE, {"rate": 0.1, "seed": 3})
    return path


def test_the_checkpoint_of_another_run(checkpoint):
    with pytest.raises(ValueError, match=r"another run \(rate: 0\.1 there, 0\.2 here\)"):
        checkpoints.load(checkpoint, TREE, {"rate": 0.2, "seed": 3})
    with pytest.raises(ValueError, match=r"rate: 0\.1 there, None here; seed: 3 there, None here"):
        checkpoints.load(checkpoint, TREE)


def test_the_checkpoint_of_another_model(checkpoint):
    config = {"rate": 0.1, "seed": 3}
    with pytest.raises(ValueError, match=r"weights must have shape \(3, 2\); got float32\[2, 3\]"):
        checkpoints.load(checkpoint, {**TREE, "weights": jnp.zeros((3, 2))}, config)
    with pytest.raises(ValueError, match="no array for bias"):
        checkpoints.load(checkpoint, {**TREE, "bias": jnp.zeros(2)}, config)
    with pytest.raises(ValueError, match="nothing in the tree is called count"):
        checkpoints.load(checkpoint, {"weights": TREE["weights"]}, config)


def linear(model, batch, key):
    return (model["weights"] @ batch).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1; got 0"),
        ({"save_every": 0}, "save_every must be a whole number of at least 1; got 0"),
    ],
)
def test_a_run_of_no_steps(arguments, message):
    with pytest.raises(ValueError, match=message):
        train_weights(**arguments)


def test_a_run_that_goes_on_with_another_seed_or_length(tmp_path):
    path = tmp_path / "run.npz"
    train_weights(checkpoint=path)
    with pytest.raises(ValueError, match=r"another run \(seed: 0 there, 1 here\)"):
        train_weights(checkpoint=path, seed=1)
    with pytest.raises(ValueError, match=r"another run \(n_steps: 2 there, 3 here\)"):
        train_weights(checkpoint=path, n_steps=3)


def train_weights(**options):
    return train(
        {"weights": jnp.zeros((2, 3))},
        loss=linear,
        batch_at=lambda step: np.ones((4, 3), np.float32),
        optimiser=optax.sgd(0.1),
        **{"n_steps": 2, "progress": False, **options},
    )


def test_a_library_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no Python source in"):
        corpora.standard_library(tmp_path)


def test_enwik8_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*enwik8\. Fetch http.*download=True"):
        corpora.enwik8(tmp_path / "enwik8")


# Translation -----------------------------------------------------------------------------------

PIECES = Pieces(("one", "two"))


def test_vocabularies():
    with pytest.raises(
        ValueError, match="no piece of the vocabulary begins with 't' in 'onethree'"
    ):
        PIECES.encode("onethree")
    with pytest.raises(ValueError, match="pieces must not be empty"):
        Pieces(())
    with pytest.raises(ValueError, match="pieces must not be empty"):
        Pieces(("one", ""))
    with pytest.raises(ValueError, match="each piece must be listed once; 'one' is listed twice"):
        Pieces(("one", "two", "one"))


def test_pairs():
    with pytest.raises(ValueError, match="there are no pairs to encode"):
        as_arrays(PIECES, [])
    arrays = as_arrays(PIECES, [("one", "two")])
    with pytest.raises(ValueError, match="batch must be a whole number of at least 1; got 0"):
        random_pairs(*arrays, seed=0, step=0, batch=0)
    with pytest.raises(ValueError, match=r"a target must be a vector from START to END; got int32"):
        translation_loss(lambda *_, **__: None, arrays)


def test_translations_and_references():
    with pytest.raises(ValueError, match="each translation needs one reference; got 1 and 2"):
        bleu(["one"], ["one", "two"], PIECES)
    with pytest.raises(ValueError, match="each translation needs one reference; got 0 and 0"):
        bleu([], [], PIECES)
    with pytest.raises(ValueError, match="there is nothing to translate"):
        translate(None, PIECES, [], max_len=5)
    with pytest.raises(ValueError, match="max_len must be a whole number of at least 1; got 0"):
        translate(None, PIECES, ["one"], max_len=0)


def test_number_words():
    with pytest.raises(ValueError, match="n_train must be a whole number of at least 1; got 0"):
        number_words(n_train=0)
    with pytest.raises(ValueError, match="at most 2,000 pairs"):
        number_words(n_train=2_001)


def test_wmt14(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*train\.en; see help"):
        wmt14(tmp_path)
    (tmp_path / "train.en").write_text("one\n")
    (tmp_path / "train.de").write_text("eins\nzwei\n")
    with pytest.raises(
        ValueError, match=r"train\.en and train\.de have different numbers of lines"
    ):
        wmt14(tmp_path)
    (tmp_path / "train.de").write_text("eins\n")
    with pytest.raises(ValueError, match=r"no pair in train\.en and train\.de fits into 2 bytes"):
        wmt14(tmp_path, max_bytes=2)
    with pytest.raises(ValueError, match=r"there is no file .*newstest2014\.en"):
        wmt14(tmp_path)


def test_an_interval_of_one_value():
    with pytest.raises(ValueError, match="an interval needs at least two values; got 1"):
        mean_with_interval([2.5], digits=2)
