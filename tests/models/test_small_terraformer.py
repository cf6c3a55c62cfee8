"""The pretrained Terraformer is the one that the committed results describe."""

import json

import jax
import numpy as np
import pytest

from efftx.models import chosen_units, generate, n_parameters, pretrained
from efftx.training.corpora import as_text
from efftx.training.losses import evaluate
from experiments import sparse_quality

RESULTS = json.loads(sparse_quality.RESULTS.read_text(encoding="utf-8"))


def test_the_terraformer_is_as_good_as_its_results_say():
    """On a text that is not theirs, so roughly; and in its sizes exactly."""
    model, sizes = pretrained.small_terraformer(), pretrained.small_terraformer_sizes()
    assert n_parameters(model) == RESULTS["variants"]["terraformer"]["n_parameters"]
    assert sizes == sparse_quality.sizes_of(sparse_quality.VARIANTS["terraformer"])
    expected = RESULTS["runs"][0]["bits_per_byte"]["held_out"]
    bits = evaluate(model, pretrained.example_text(), length=sizes.max_len, progress=False)
    assert bits == pytest.approx(expected, abs=0.4)


def test_the_terraformers_controllers_choose_by_what_they_read():
    model = pretrained.small_terraformer()
    units = chosen_units(model, pretrained.example_text()[:128])
    assert units.shape == (2, 128, pretrained.small_terraformer_sizes().d_ff // 16)
    assert all(len(np.unique(block)) > 1 for layer in np.asarray(units) for block in layer.T)


def test_the_terraformer_writes():
    prompt = np.frombuffer(b"def __init__(sel", np.uint8)
    model = pretrained.small_terraformer()
    assert as_text(generate(model, prompt, 1, jax.random.key(0), temperature=0)) == "f"


def test_the_terraformers_file_is_small_enough_to_ship():
    assert len(pretrained.TERRAFORMER.read_bytes()) <= 1024**2
