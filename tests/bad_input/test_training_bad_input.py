"""What training refuses, and that it says what came and what would be right."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from efftx.models import load_model, save_model
from efftx.training import checkpoints, corpora
from efftx.training.batches import (
    consecutive_windows,
    packed_windows,
    padded_windows,
    random_windows,
)
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte, evaluate
from efftx.training.number_words import number_words
from efftx.training.optimisers import adamw
from efftx.training.records import mean_with_interval
from efftx.training.translation import (
    as_arrays,
    bleu,
    random_pairs,
    translate,
    translation_loss,
)
from efftx.training.vocabularies import PAD, START, Pieces
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


SIX = np.arange(6)


@pytest.mark.parametrize(
    ("window", "masks", "message"),
    [
        (
            SIX,
            {"key_mask": np.ones(5, bool)},
            r"key_mask must have shape \(6,\), one entry for",
        ),
        (SIX, {"key_mask": np.ones(6)}, "key_mask must be bool, True for"),
        (SIX, {"counts": np.ones(6, bool)}, r"counts must be 5 bools, one for .*; got bool\[6\]"),
        (SIX, {"counts": np.ones(5)}, r"counts must be 5 bools, .*; got float64\[5\]"),
        (SIX, {"counts": True}, "counts must be 5 bools, .*; got a bool"),
        ((SIX, 3), {}, "counts must be 5 bools, .*; got a int"),
        ((SIX, np.ones(4, bool)), {}, r"counts must be 5 bools, .*; got bool\[4\]"),
        ((SIX, np.ones(6, bool), np.ones(6, bool)), {}, "an example has one key_mask; got two"),
        ((SIX, np.ones(5, bool)), {"counts": np.ones(5, bool)}, "one mask of predictions; got two"),
        (SIX, {"counts": np.zeros(5, bool)}, "no prediction counts: all of them are masked"),
        (SIX, {"key_mask": SIX % 2 == 0}, "no prediction counts: all of them are masked"),
    ],
)
def test_masks(window, masks, message):
    with pytest.raises(ValueError, match=message):
        bits_per_byte(lambda t, key, key_mask=None: jnp.zeros((len(t), 256)), window, **masks)


def test_evaluations():
    def model(tokens, key=None):
        return jnp.zeros((len(tokens), 256))

    windows = np.zeros((2, 6), int), np.zeros((2, 5), bool)
    for text, how, message in [
        (windows, {}, "no prediction counts: all of them are masked"),
        (windows, {"length": 5}, "windows have their length already; got length as well"),
        (TEXT, {}, "a text needs the length of the windows that it is cut into"),
        (TEXT, {"length": 5, "batch": 0}, "batch must be a whole number of at least 1; got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate(jax.tree_util.Partial(model), text, progress=False, **how)


class KnowsTen:
    vocab = 10


def test_a_text_outside_the_vocabulary():
    with pytest.raises(ValueError, match=r"the text must lie in 0 … 9 \(vocab 10\); got 0 … 15"):
        evaluate(KnowsTen(), TEXT, length=5, batch=1)


@pytest.mark.parametrize("cut", [padded_windows, packed_windows])
@pytest.mark.parametrize(
    ("texts", "how", "message"),
    [
        ([], {}, "there are no texts to cut windows from"),
        ([SIX, SIX[:1]], {}, r"a vector of at least 2 integers; number 1 is int64\[1\]"),
        ([SIX, np.ones(4)], {}, r"a vector of at least 2 integers; number 1 is float64\[4\]"),
        (["text"], {}, "a vector of at least 2 integers; number 0 is a str"),
        ([SIX], {"length": 0}, "length must be a whole number of at least 1; got 0"),
        ([SIX], {"batch": 0}, "batch must be a whole number of at least 1; got 0"),
    ],
)
def test_windows_of_many_texts(cut, texts, how, message):
    with pytest.raises(ValueError, match=message):
        cut(texts, **{"length": 5, **how})


def test_texts_that_are_too_long_or_too_short():
    with pytest.raises(ValueError, match=r"a window is 4 \+ 1 tokens, but the longest text has 6"):
        padded_windows([SIX[:3], SIX], length=4)
    with pytest.raises(ValueError, match=r"a window is 12 \+ 1 tokens, but the text has only 12"):
        packed_windows([SIX, SIX], length=12)
    with pytest.raises(ValueError, match="length must be at least 2 where documents are packed"):
        packed_windows([SIX, SIX], length=1)


def test_a_schedule_of_no_steps():
    with pytest.raises(ValueError, match="n_steps must be a whole number of at least 1; got 0"):
        adamw(0, peak=1e-3)


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
    with pytest.raises(ValueError, match=r"another run \(n_steps: None there, 3 here\)"):
        train_weights(checkpoint=path, n_steps=3, config={"n_steps": 3})  # they ask for it to agree
    with pytest.raises(ValueError, match=r"has done 2 steps already, more than n_steps = 1"):
        train_weights(checkpoint=path, n_steps=1)
    assert path.exists()


NO_STEP = pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1.5}, "seed must be a whole number; got 1.5"),
        ({"seed": True}, "seed must be a whole number; got True"),
        ({"n_steps": 2.0}, "n_steps must be a whole number of at least 1; got 2.0"),
        ({"save_every": 0}, "save_every must be a whole number of at least 1; got 0"),
        ({"examples_at_once": 0}, "examples_at_once must be a whole number of at least 1; got 0"),
        ({"checkpoint": "away/run.npz"}, r"there is no folder .*away for run\.npz; make it"),
        ({"checkpoint": "."}, "is a folder; the name of a file is needed"),
        ({"checkpoint": "blocked.npz"}, r"blocked\.npz cannot be written: .*"),
        ({"checkpoint": "foreign.npz"}, r"foreign\.npz is no file of efftx.*name another file"),
        ({"checkpoint": "cut.npz"}, r"cut\.npz is no file of efftx.*name another file"),
        ({"checkpoint": "empty.npz"}, r"empty\.npz is no file of efftx.*name another file"),
        ({"checkpoint": "model.npz"}, r"model\.npz is no checkpoint but a model; load_model reads"),
        ({"checkpoint": "tree.npz"}, r"tree\.npz is the checkpoint of something else: it has no"),
        ({"config": {"rate": float("nan")}}, "only text, finite numbers, .* can be written"),
        ({"config": {"f": jnp.sin}}, "only text, finite numbers, .* can be written: got"),
        ({"config": {1: 0, "a": 0}}, "only text, finite numbers, .* can be written"),
        (
            {"model": {"w": jnp.zeros(2), "n": jnp.int32(3)}},
            r"and n is int32\[\], which has no",
        ),
        ({"model": {"key": jax.random.key(0)}}, r"and key is key<fry>\[\], which has no gradient"),
        (
            {"model": {"a": {"b": jnp.ones(2)}, "a.b": jnp.ones(2)}},
            "5 arrays have only 4 different names",
        ),
        (
            {"batch_at": lambda step: np.ones((0, 3))},
            r"one; batch_at\(0\) gave float64\[0, 3\]",
        ),
        ({"batch_at": lambda step: np.float32(3)}, "must have as many examples, at least one"),
        ({"batch_at": lambda step: ()}, r"batch_at\(0\) gave no array"),
        (
            {"batch_at": lambda step: (np.ones((4, 3)), np.ones(3))},
            r"as many examples, at least one; batch_at\(0\) gave float64\[4, 3\], float64\[3\]",
        ),
        (
            {"batch_at": lambda step: np.array([[1, 9]]), "vocab": 9},
            r"tokens of batch_at\(0\) must lie in 0 … 8 \(vocab 9\); got 1 … 9",
        ),
        ({"batch_at": lambda step: np.array([[-1, 2]]), "vocab": 9}, "got -1 … 2"),
    ],
)


@NO_STEP
def test_what_is_wrong_is_said_before_the_first_step(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blocked.npz.unfinished").mkdir()
    np.savez("foreign.npz", w=np.ones(3))
    checkpoints.save("tree.npz", TREE, {"seed": 0})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "tree.npz").read_bytes()[:200])
    (tmp_path / "empty.npz").write_bytes(b"")
    save_model("model.npz", TREE)

    def loss(*_):
        raise AssertionError("a step was compiled")

    with pytest.raises(ValueError, match=message):
        train_weights(**{"loss": loss, "checkpoint": "run.npz", **options})
    assert not (tmp_path / "run.npz").exists()


@pytest.mark.parametrize(
    ("saved", "wanted", "message"),
    [
        (jnp.float32(3e38), jnp.float16(0), "w is float32 in the file; float16 cannot hold it all"),
        (jnp.int32(300), jnp.int8(0), "w is int32 in the file; int8 cannot hold it all"),
        (jnp.int32(-1), jnp.uint32(0), "w is int32 in the file; uint32 cannot hold it all"),
        (jnp.float32(1), jnp.int32(0), "w is float32 in the file and int32 here, another kind of"),
        (jnp.int32(1), jnp.float32(0), "w is int32 in the file and float32 here, another kind of"),
        (jnp.bfloat16(1), jnp.bool_(0), "w is bfloat16 in the file and bool here, another kind of"),
        (jax.random.key(1), jnp.uint32(0), "w is key<fry> in the file and uint32 here, another"),
        (
            jax.random.key(1),
            jax.random.key(1, impl="rbg"),
            "w is key<fry> .* and key<rbg> here",
        ),
    ],
)
def test_a_dtype_that_cannot_hold_what_was_saved(tmp_path, saved, wanted, message):
    path = tmp_path / "run.npz"
    checkpoints.save(path, {"w": saved})
    with pytest.raises(ValueError, match=rf"run\.npz is the checkpoint of another tree: {message}"):
        checkpoints.load(path, {"w": wanted})


def test_a_checkpoint_that_is_not_there(tmp_path):
    for read in (checkpoints.load, checkpoints.model_of):
        with pytest.raises(ValueError, match=r"there is no file .*run\.npz"):
            read(tmp_path / "run.npz", TREE)


def test_a_checkpoint_that_does_not_say_how_its_model_is_built(tmp_path):
    path = tmp_path / "run.npz"
    state = {"model": [jnp.ones(2), {3: jnp.ones(2)}]}
    checkpoints.save(path, state, model=state["model"])
    with pytest.raises(ValueError, match=r"how its model is built \(model\.1 is dict.*model_of\("):
        load_model(path)
    assert checkpoints.model_of(path, state["model"])[1][3].tolist() == [1, 1]
    checkpoints.save(path, state)
    with pytest.raises(ValueError, match="does not say how its model is built"):
        load_model(path)


def train_weights(**options):
    defaults = {
        "model": {"weights": jnp.zeros((2, 3))},
        "loss": linear,
        "batch_at": lambda step: np.ones((4, 3), np.float32),
        "optimiser": optax.sgd(0.1),
        "n_steps": 2,
        "progress": False,
    }
    return train(**{**defaults, **options})


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
    nothing = np.array([START, PAD, PAD])
    with pytest.raises(ValueError, match="no prediction counts: all of them are masked"):
        translation_loss(lambda s, t, *_, **__: jnp.zeros((len(t), 9)), (nothing, nothing))


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
