"""The committed batches belong to the experiment, and to one another."""

import json
from itertools import pairwise

import pytest

from efftx.memory import bert
from efftx.models.parameters import n_parameters
from experiments import bert_large as experiment

RESULTS = json.loads(experiment.results_file(experiment.NAME).read_text(encoding="utf-8"))
CELLS = RESULTS["cells"]
NAMES = [f"{cell['way']} at {cell['L']}" for cell in CELLS]


def test_results_and_experiment_belong_together():
    assert RESULTS["config"] == json.loads(json.dumps(experiment.config()))
    assert {"machine", "versions", "cells", "steps"} <= RESULTS.keys()
    assert {cell["way"] for cell in CELLS} == set(experiment.WAYS)
    assert len({(cell["way"], cell["L"]) for cell in CELLS}) == len(CELLS)


@pytest.mark.parametrize("cell", CELLS, ids=NAMES)
def test_each_batch_is_where_its_line_meets_the_card(cell):
    weighed = {int(batch): n for batch, n in cell["bytes"].items()}
    assert cell["batch"] == experiment.by_line(weighed)
    assert cell["verified"] == experiment.verified(weighed)
    assert cell["ledger"] == experiment.predicted(cell["way"], cell["L"])
    for batch, n_bytes in weighed.items():  # no compiled batch contradicts the line
        assert (n_bytes <= experiment.BUDGET) == (batch <= cell["batch"])


@pytest.mark.parametrize("way", experiment.WAYS)
def test_a_longer_text_never_takes_a_larger_batch(way):
    batches = sorted((cell["L"], cell["batch"]) for cell in CELLS if cell["way"] == way)
    assert all(shorter >= longer for (_, shorter), (_, longer) in pairwise(batches))


def test_a_line_is_drawn_through_the_two_nearest_batches(monkeypatch):
    monkeypatch.setattr(experiment, "BUDGET", 100)
    assert experiment.by_line({1: 101}) == 0
    assert experiment.by_line({1: 40, 4: 70}) == 7
    assert experiment.by_line({1: 40, 4: 70, 6: 80}) == 10
    assert experiment.verified({1: 40, 7: 100, 8: 110})
    assert not experiment.verified({1: 40, 7: 100})


def test_its_model_has_berts_blocks():
    """But for biases of attention: 4 vectors a layer."""
    parts = bert.parameters_by_part()
    model = experiment.jax.eval_shape(
        lambda: experiment.new_model(experiment.WAYS["plain"], length=512)
    )
    blocks = parts["attention"] + parts["feed-forward"] - bert.N_LAYERS * 4 * bert.D_MODEL
    assert n_parameters(model.blocks) == blocks
