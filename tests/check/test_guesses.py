"""Predictions: what is right is measured, what is wrong is told why, what is none is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import CheckFailed, progress
from efftx.check.guesses import Guess
from efftx.check.map import parts_of
from tests.check.experiments import EXPERIMENTS, LABELS, predicted_by_the_solution

OF_EACH = pytest.mark.parametrize(("stem", "guess"), EXPERIMENTS, ids=LABELS)


def words_of(text: str) -> str:
    return " ".join(text.split())


def failed(guess: Guess, prediction) -> str:
    with pytest.raises(CheckFailed) as caught:
        guess(prediction)
    return words_of(str(caught.value))


def sides(guess: Guess) -> tuple[list, list]:
    """Some predictions below what is right, and some above it."""
    outcome = guess.measured()
    if guess.choices:
        place = guess.choices.index(outcome)
        return list(guess.choices[:place]), list(guess.choices[place + 1 :])
    if guess.within == 1:
        return [outcome - 1], [outcome + 1]
    return [outcome / guess.within / 1.01], [outcome * guess.within * 1.01]


@OF_EACH
def test_what_the_solution_predicts_is_right(stem, guess, capsys):
    guess(predicted_by_the_solution(stem))
    said = words_of(capsys.readouterr().out)
    assert said.startswith(f"✓ {guess.name}: predicted ")
    assert said.endswith(guess.praise)


@OF_EACH
def test_either_side_is_told_why(stem, guess):
    below, above = sides(guess)
    assert below or above
    for predictions, lesson in ((below, guess.too_low), (above, guess.too_high)):
        for prediction in predictions:
            assert words_of(lesson) in failed(guess, prediction)


@OF_EACH
def test_the_outcome_itself_is_right(stem, guess, capsys):
    guess(guess.measured())
    assert capsys.readouterr().out.startswith("✓")


@OF_EACH
def test_nothing_is_asked_for_kindly(stem, guess):
    assert failed(guess, ...).startswith(f"✗ {guess.name}: make a prediction first.")


@OF_EACH
def test_it_is_on_the_map(stem, guess):
    assert guess.name in parts_of(stem, {})


# Of the form:

LAYERS = Guess(
    name="depth",
    unit="layers",
    measured=lambda: 12,
    praise="So it is.",
    too_low="Deeper.",
    too_high="Shallower.",
    within=1.5,
)
DTYPES = Guess(
    name="dtype",
    unit="",
    measured=lambda: "bfloat16",
    praise="So it is.",
    too_low="Wider.",
    too_high="Narrower.",
    choices=("int8", "bfloat16", "float32"),
)


@pytest.mark.parametrize(
    "prediction", [12, 12.0, np.int64(12), np.float32(8), jnp.float32(18), jnp.array([12])]
)
def test_numbers_of_every_kind_are_taken(prediction, capsys):
    LAYERS(prediction)
    assert "measured 12 layers. So it is." in capsys.readouterr().out


@pytest.mark.parametrize("prediction", [None, ...])
def test_no_prediction(prediction):
    assert "make a prediction first. Put a number of layers" in failed(LAYERS, prediction)


@pytest.mark.parametrize(
    ("prediction", "came"),
    [
        ("twelve", "the text 'twelve'"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, "True"),
        ([12], "a list"),
        (jnp.ones(2), "an array, float32[2]"),
        (1j, "a complex"),
    ],
)
def test_what_is_no_number_is_refused_with_what_came(prediction, came):
    assert failed(LAYERS, prediction) == f"✗ depth: predict a number of layers; got {came}."


def test_a_number_is_right_within_its_factor():
    assert failed(LAYERS, 7.9) == (
        "✗ depth: predicted 7.9 layers, measured 12 layers. Deeper. Being wrong costs nothing here."
        " Change your picture, then the prediction."
    )
    assert "Shallower." in failed(LAYERS, 18.1)


@pytest.mark.parametrize(
    ("number", "said"), [(0.25, "0.25"), (3.0, "3"), (7.894, "7.89"), (3871.5, "3,872")]
)
def test_numbers_are_said_in_as_many_digits_as_are_worth_it(number, said):
    guess = Guess("n", "keys", lambda: 1e6, "", "Low.", "High.")
    assert failed(guess, number).startswith(f"✗ n: predicted {said} keys, measured 1,000,000 keys.")


def test_choices_have_an_order_and_no_others():
    DTYPES("bfloat16")
    assert "predicted int8, measured bfloat16. Wider." in failed(DTYPES, "int8")
    assert "Narrower." in failed(DTYPES, "float32")
    refused = "✗ dtype: predict one of 'int8', 'bfloat16', 'float32'; got 'float16'."
    assert failed(DTYPES, "float16") == refused


def test_the_judge_is_the_experiment_and_it_runs_at_every_grading(capsys):
    outcomes = [3, 300]
    guess = Guess("n", "steps", lambda: outcomes.pop(), "", "Low.", "High.")
    assert "Low." in failed(guess, 3)
    guess(3)
    assert capsys.readouterr().out.startswith("✓ n: predicted 3 steps, measured 3 steps.")


def test_what_is_right_is_kept_and_what_is_wrong_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    (_, guess), *_ = EXPERIMENTS
    below, above = sides(guess)
    failed(guess, [*below, *above][0])
    assert progress.passed() == {}
    guess(guess.measured())
    (names,) = progress.passed().values()
    assert names == [guess.name]
