"""The pretrained models are the ones that the committed results describe."""

import hashlib
import json

import jax
import numpy as np
import pytest

from efftx.models import Sizes, attention_maps, n_parameters, pretrained
from efftx.training.corpora import as_text, is_held_out
from efftx.training.losses import evaluate
from experiments import small_text_model as experiment

RESULTS = json.loads(experiment.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", pretrained.KINDS)
def test_a_model_is_as_good_as_its_results_say(kind):
    model, result = pretrained.small_text_model(kind), RESULTS["models"][kind]
    assert n_parameters(model) == result["n_parameters"]
    expected = result["bits_per_byte"]["example_text"]
    assert expected < 3
    length = pretrained.small_text_sizes().max_len
    bits = evaluate(model, pretrained.example_text(), length=length, batch=1, progress=False)
    assert bits == pytest.approx(expected, abs=0.005)


def test_the_kinds_differ_in_their_projections():
    shared, plain = (pretrained.small_text_model(kind) for kind in ("shared_qk", "plain"))
    assert shared.blocks.attention.layer.projection.w_in.shape[2] == 2
    assert plain.blocks.attention.layer.projection.w_in.shape[2] == 3


@pytest.mark.parametrize("kind", pretrained.KINDS)
def test_attention_has_become_sparse(kind):
    """In every layer some head gives most of its weight to a few keys of hundreds."""
    tokens = pretrained.example_text()[:512]
    maps = jax.jit(attention_maps)(pretrained.small_text_model(kind), tokens)
    top = np.sort(np.asarray(maps)[:, :, 256:], axis=-1)[..., -16:].sum(-1).mean(-1)
    assert (top.max(axis=1) > 0.5).all()


def test_the_example_text_is_python_that_no_training_saw():
    assert is_held_out(RESULTS["example_text"])
    text = pretrained.example_text()
    assert text.dtype == np.uint8
    assert len(text) > pretrained.small_text_sizes().max_len
    compile(as_text(text), "example", "exec")
    text[:] = 0  # a copy: the next caller gets the text again
    assert pretrained.example_text().any()


def test_the_file_is_small_enough_to_ship():
    assert len(pretrained.FILE.read_bytes()) <= 2 * 1024**2


def test_results_and_experiment_belong_together():
    assert RESULTS["config"] == experiment.CONFIG
    assert Sizes(**RESULTS["config"]["sizes"]) == pretrained.small_text_sizes() == experiment.SIZES
    assert {"machine", "versions", "L", "peak_rss_gib", "corpus"} <= RESULTS.keys()
    assert len(RESULTS["corpus"]["sha256"]) == 64
    for kind in pretrained.KINDS:
        result = RESULTS["models"][kind]
        assert len(result["training_curve"]) == experiment.N_STEPS // 100
        assert result["bits_per_byte"]["held_out"] < result["training_curve"][0]
        assert result["seconds"] > 0


# Of all arrays, whatever they are called; taken from the files as the experiments wrote them, under
# the names that parameters had then.
AS_TRAINED = {
    pretrained.FILE: "49d94ff5c06b26d4f9b64916e76ec46d5446fa8b4932caad0dfe42bae15cb105",
    pretrained.TERRAFORMER: "63c4f6a67329cd701ea97dc20dc53df8b566837a40794aab5f65b640ed609f5a",
}


def digest_of(arrays) -> str:
    """The same under other names, and another if one bit, shape or dtype is."""
    each = (x.tobytes() + f"{x.shape}{x.dtype}".encode() for x in arrays)
    one_by_one = sorted(hashlib.sha256(content).hexdigest() for content in each)
    return hashlib.sha256("".join(one_by_one).encode()).hexdigest()


@pytest.mark.parametrize("file", AS_TRAINED, ids=lambda file: file.name)
def test_weights_are_those_that_were_trained_to_the_bit(file):
    with np.load(file) as found:
        arrays = [found[name] for name in found.files if found[name].dtype.kind == "f"]
    assert digest_of(arrays) == AS_TRAINED[file]
    arrays[0] = np.nextafter(arrays[0], np.float16(np.inf))
    assert digest_of(arrays) != AS_TRAINED[file]
