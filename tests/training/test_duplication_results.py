"""The committed table belongs to the experiment, and says what its runs say."""

import json

import pytest

from experiments import duplication as experiment

RESULTS = json.loads(experiment.RESULTS.read_text(encoding="utf-8"))
TASKS, RUNS = RESULTS["tasks"], RESULTS["runs"]


def test_results_and_experiment_belong_together():
    assert {"machine", "versions", "seconds", "peak_rss_gib"} <= RESULTS.keys()
    assert RESULTS["paper"] == experiment.PAPER
    assert {(run["task"], run["trained_with"], run["seed"]) for run in RUNS} == {
        (name, trained, seed)
        for name, task in experiment.TASKS.items()
        for seed in task.seeds
        for trained in experiment.TRAINED_WITH
    }


@pytest.mark.parametrize("name", experiment.TASKS)
def test_a_table_is_what_the_runs_gave(name):
    assert TASKS[name] == experiment.report(name, RUNS)
    table = TASKS[name]["per_cent"]
    assert list(table) == list(experiment.TRAINED_WITH)
    for row in table.values():
        assert list(row) == list(experiment.ROUNDS)


def test_the_papers_table_has_the_same_rows_and_columns():
    table = experiment.PAPER["per_cent"]
    assert list(table) == list(experiment.TRAINED_WITH)
    assert table["Full"]["LSH-1"] == 52.5
    assert table["LSH-1"]["LSH-8"] == 99.9
