"""The committed qualities belong to the experiment, and say what its runs say."""

import json

import jax
import pytest

from experiments import text_quality as experiment

RESULTS = json.loads(experiment.RESULTS.read_text(encoding="utf-8"))
VARIANTS, RUNS = RESULTS["variants"], RESULTS["runs"]
SHARED = [name for name in VARIANTS if name == "shared_qk" or "lsh" in name]


def test_results_and_experiment_belong_together():
    assert RESULTS["config"] == experiment.CONFIG
    assert RESULTS["L"] >= 2048
    assert RESULTS["seeds"] == list(experiment.SEEDS)
    assert list(VARIANTS) == list(experiment.ATTENTION)
    assert {"machine", "versions", "seconds", "peak_rss_gib", "corpus"} <= RESULTS.keys()
    assert {(run["attention"], run["seed"]) for run in RUNS} == {
        (name, seed) for name in experiment.ATTENTION for seed in experiment.SEEDS
    }


@pytest.mark.parametrize("name", experiment.ATTENTION)
def test_no_variant_has_more_parameters_than_full_attention(name):
    """Nor as many fewer as another unit in each layer would make up for."""
    ours, full = VARIANTS[name]["n_parameters"], VARIANTS["full"]["n_parameters"]
    assert VARIANTS[name]["d_ff"] == experiment.width(name)
    assert ours == experiment.count(name, experiment.width(name))
    assert ours <= full < experiment.count(name, experiment.width(name) + 1)
    assert ours > 0.99 * full


@pytest.mark.parametrize("name", experiment.ATTENTION)
def test_what_is_compared_is_what_the_runs_gave(name):
    assert VARIANTS[name] == experiment.compare(name, RUNS)
    for run in RUNS:
        assert run["bits_per_byte"] < run["training_curve"][0]
        assert len(run["training_curve"]) == experiment.N_STEPS // 20


def test_answers_are_what_the_runs_gave():
    assert RESULTS["answers"] == {
        f"{one} less {other}": experiment.less(one, other, RUNS)
        for one, other in experiment.QUESTIONS
    }
    assert VARIANTS["shared_qk"]["less_shared_qk"]["interval_95"] == [0, 0]


@pytest.mark.parametrize("name", SHARED)
def test_read_as_it_was_trained_it_is_itself(name):
    as_trained = "exact" if name == "shared_qk" else name[-1]
    for run in RUNS:
        if run["attention"] == name:
            assert run["read_with"][as_trained] == pytest.approx(run["bits_per_byte"], abs=2e-4)


def test_what_shares_queries_and_keys_is_read_with_other_rounds():
    shares = {name for name, each in VARIANTS.items() if each["read_with"]}
    assert shares == set(SHARED)
    for name in experiment.ATTENTION:
        model = experiment.build(jax.random.key(0), name, 8)
        assert experiment.shares_qk(model) == (name in shares)


def test_without_attention_no_other_position_matters():
    model = experiment.build(jax.random.key(0), "off", 8)
    tokens = jax.numpy.arange(6)
    changed = model(tokens.at[2].set(7)) != model(tokens)
    assert changed.any(1).tolist() == [False, False, True, False, False, False]
