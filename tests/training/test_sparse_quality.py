"""The committed qualities belong to the experiment, and say what its runs say."""

import json

import numpy as np
import pytest

from experiments import sparse_quality as experiment

RESULTS = json.loads(experiment.RESULTS.read_text(encoding="utf-8"))
VARIANTS, RUNS = RESULTS["variants"], RESULTS["runs"]
SPARSE = [name for name, variant in experiment.VARIANTS.items() if variant.n_units > 1]


def test_results_and_experiment_belong_together():
    assert RESULTS["config"] == experiment.CONFIG
    assert RESULTS["seeds"] == list(experiment.SEEDS)
    assert list(VARIANTS) == list(experiment.VARIANTS)
    assert {"machine", "versions", "seconds", "peak_rss_gib", "L", "corpus"} <= RESULTS.keys()
    assert {(run["variant"], run["seed"]) for run in RUNS} == {
        (name, seed) for name in experiment.VARIANTS for seed in experiment.SEEDS
    }


@pytest.mark.parametrize("name", experiment.VARIANTS)
def test_no_variant_has_more_parameters_than_the_dense_model(name):
    """Nor as many fewer as another block of units would make up for."""
    variant = experiment.VARIANTS[name]
    sizes = experiment.sizes_of(variant)
    ours, dense = VARIANTS[name]["n_parameters"], VARIANTS["dense"]["n_parameters"]
    assert experiment.count(variant, sizes) == ours <= dense
    assert VARIANTS[name]["d_ff"] == sizes.d_ff
    one_more = experiment.replace(sizes, d_ff=sizes.d_ff + variant.n_units)
    assert experiment.count(variant, one_more) > dense
    assert ours > 0.97 * dense


def test_the_dense_model_is_its_own_measure():
    assert experiment.sizes_of(experiment.VARIANTS["dense"]) == experiment.SIZES
    assert VARIANTS["dense"]["more_than_dense"]["interval_95"] == [0, 0]
    assert VARIANTS["dense"]["perplexity_ratio"]["mean"] == 1


@pytest.mark.parametrize("name", experiment.VARIANTS)
def test_what_is_compared_is_what_the_runs_gave(name):
    assert VARIANTS[name] == experiment.compare(name, RUNS)
    for run in RUNS:
        assert run["bits_per_byte"]["held_out"] < run["training_curve"][0]
        assert len(run["training_curve"]) == experiment.N_STEPS // 20


@pytest.mark.parametrize("name", SPARSE)
def test_loads_are_shares(name):
    for run in RUNS:
        if run["variant"] == name:
            for layer in run["load_of_each_layer"]:
                assert len(layer["loads_busiest_first"]) == VARIANTS[name]["n_units"]
                assert sum(layer["loads_busiest_first"]) == pytest.approx(1, abs=0.01)
                assert 0 < layer["share_of_units_ever_on"] <= 1
                assert 0 <= layer["entropy_bits"] <= layer["entropy_bits_if_even"]


def test_held_out_windows_come_from_all_over_the_text():
    held_out = np.arange(200_000) % 251
    windows = experiment.held_out_windows(experiment.Corpus("a", held_out, held_out))
    assert windows.shape[1:] == (experiment.BATCH, experiment.LENGTH + 1)
    step = experiment.EVALUATED * experiment.BATCH * experiment.LENGTH
    assert windows[1, 0, 0] == step % 251
    assert len(windows) * step >= len(held_out) - step
