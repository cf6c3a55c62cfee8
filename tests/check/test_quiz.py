"""The quiz: answers are computed, right ones pass, wrong ones do not, and none is given away."""

import inspect
import math

import pytest
from IPython.display import Markdown

from efftx.check import quiz

NUMBERS = range(1, len(quiz.QUESTIONS) + 1)
# By hand, from the sizes in the question; the quiz asks the package.
BY_HAND = (
    335_141_888 * 16 / 1e9,
    2 * 12 * 4096**2 * 4 / 2**30,
    2 * 2**20 * 256 * 4 / 2**30,
    6,
    8 * 2 * 64,
    100 / 3,
    1 + 4 / 256,
    2 * 1024 * 64,
    100 * (1024 * (16 + 64) + 3 * 9 * 64**2) / (4 * 1024**2),
    8 * 2 * 4096,
)


@pytest.mark.parametrize("n", NUMBERS)
def test_what_is_right_by_hand_passes(n):
    right, said = quiz.grade(n, BY_HAND[n - 1])
    assert right
    assert said.startswith("Right: ")
    assert quiz.question(n).unit in said


@pytest.mark.parametrize("factor", [0, -1, 0.5, 0.9, 1.1, 2, 4, 1000, math.inf, math.nan])
@pytest.mark.parametrize("n", NUMBERS)
def test_what_is_wrong_does_not(n, factor):
    right, said = quiz.grade(n, factor * BY_HAND[n - 1])
    assert not right
    assert said == f"Not yet. {quiz.question(n).hint} (Chapter {quiz.question(n).chapter:02})"


def test_without_the_scale_a_number_does_not_take_eight_bits():
    assert not quiz.grade(7, 1)[0]


@pytest.mark.parametrize("n", NUMBERS)
def test_no_answer_is_written_down(n):
    """Neither in the question and its hint nor in the code."""
    asked = quiz.question(n)
    answer = asked.answer()
    text = " ".join([asked.text, asked.hint, inspect.getsource(asked.answer)])
    spellings = {quiz.in_words(answer), f"{answer:.2f}"}
    if answer > 100:  # shorter ones may stand there as something else
        spellings |= {f"{answer:.0f}", f"{answer:_.0f}"}
        assert not any(spelling in text for spelling in spellings)


def test_an_answer_is_computed_when_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(quiz, "state_bytes", lambda step: {"all": 10**9})
    assert quiz.grade(1, 1.0)[0]
    assert not quiz.grade(1, BY_HAND[0])[0]


def test_there_are_ten_and_their_chapters_are_different_ones():
    assert len(quiz.QUESTIONS) == 10
    assert len({asked.chapter for asked in quiz.QUESTIONS}) >= 6


@pytest.mark.parametrize("n", NUMBERS)
def test_a_question_is_shown_and_what_is_typed_is_graded(n, monkeypatch):
    shown = []
    monkeypatch.setattr(quiz, "display", shown.append)
    box = quiz.ask(n)
    text, row = shown
    assert isinstance(text, Markdown)
    assert quiz.question(n).text in text.data
    _, reply = row.children
    assert reply.value == ""
    box.value = 0.1
    assert reply.value.startswith("Not yet")
    box.value = BY_HAND[n - 1]
    assert reply.value.startswith("Right")
