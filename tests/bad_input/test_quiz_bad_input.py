"""The quiz says what is no question of it, and what is no answer."""

import pytest

from efftx.check import quiz


@pytest.mark.parametrize("n", [0, 11, -1, 1.0, True, "1", None])
def test_a_question_that_there_is_not(n):
    with pytest.raises(ValueError, match="n must be a question's number, 1 to 10; got"):
        quiz.ask(n)


@pytest.mark.parametrize("answer", ["5", None, True, [5.4]])
def test_an_answer_that_is_no_number(answer):
    with pytest.raises(ValueError, match="answer must be a number; got"):
        quiz.grade(1, answer)
