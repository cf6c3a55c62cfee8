"""The command says what it can do, and what of a request does not go."""

from dataclasses import fields

import pytest

from efftx.command import main
from efftx.training.own_text import TextRun


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_names_the_commands_and_shows_how_they_begin(capsys):
    said = helped(capsys)
    assert "python -m efftx train letters.txt" in said
    assert "python -m efftx generate" in said


def test_every_field_of_a_run_is_an_option_with_a_word_on_it(capsys):
    said = helped(capsys, "train")
    for field in fields(TextRun):
        assert f"--{field.name.replace('_', '-')}" in said
    assert "What to turn first" in said


def test_a_file_that_is_not_there_is_refused_in_words(tmp_path, capsys):
    assert main(["train", str(tmp_path / "letters.txt")]) == 2
    assert "letters.txt" in capsys.readouterr().err


def test_another_model_than_there_is_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "letters.txt", "--model", "oracle"])
    assert ended.value.code == 2
    assert "reformer" in capsys.readouterr().err
