"""From a text to a model: by the command, by the function, and back where it was stopped."""

import importlib
from dataclasses import asdict

import numpy as np
import pytest

from efftx.command import main
from efftx.models import load_model
from efftx.training import TextRun, Trained, documents, train_on_text
from efftx.training.needs import check_fits, cures

TEXT = b"she sells sea shells by the sea shore. " * 30
RUN = TextRun(
    model="transformer", length=16, layers=1, width=8, heads=2, batch=4, at_once=2, steps=6
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / "text.txt").write_bytes(TEXT)
    return place


def options(run: TextRun) -> list[str]:
    said = {n: v for n, v in asdict(run).items() if v is not None and type(v) is not bool}
    return [part for n, v in said.items() for part in (f"--{n.replace('_', '-')}", str(v))]


@pytest.fixture(scope="module")
def straight(folder):
    """The whole run, by the command."""
    out = folder / "straight.npz"
    assert main(["train", str(folder / "text.txt"), *options(RUN), "--out", str(out)]) == 0
    return out


def test_a_stopped_run_goes_on_to_the_same_bits_as_the_command_s(folder, straight):
    out = folder / "stopped.npz"

    def stop(step, loss, state):
        if step == 3:
            raise KeyboardInterrupt

    how = {"checkpoint": out, "save_every": 2, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        train_on_text([folder / "text.txt"], RUN, on_step=stop, **how)
    trained = train_on_text([folder / "text.txt"], RUN, **how)
    assert isinstance(trained, Trained)
    assert 0 < trained.bits_per_byte < 9
    theirs, ours = np.load(straight), np.load(out)
    names = set(theirs.files) - {"seconds", "efftx.json"}
    assert len(names) > 20
    for name in names:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_what_was_trained_writes(straight, capsys):
    assert straight.with_suffix(".png").exists()
    ask = ["generate", str(straight), "--prompt", "she ", "--new", "5", "--temperature", "0"]
    assert main(ask) == 0
    said = capsys.readouterr().out
    assert said.startswith("she ")
    assert load_model(straight).vocab == 256


def test_what_does_not_go_is_said_before_it_starts(folder, straight, capsys):
    text = str(folder / "text.txt")
    assert main(["train", str(folder / "none.txt")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    assert main(["train", text, *options(RUN), "--length", "500"]) == 2
    assert "take more text, or a length of at most" in capsys.readouterr().err
    assert main(["generate", str(straight), "--prompt", ""]) == 2
    assert "the prompt is empty" in capsys.readouterr().err


def test_a_run_that_does_not_fit_is_refused_with_what_would_make_it_fit(monkeypatch):
    """Of the compiler's answers only that they fall with what is taken away."""
    run = TextRun(model="reformer", length=64, rounds=2, batch=4)
    sizes = {None: 8 * 2**30, 1: 4 * 2**30}
    fewer = lambda run, vocab: sizes[run.at_once] // (1 if run.rounds == 2 else 2)  # noqa: E731
    monkeypatch.setattr("efftx.training.needs.step_bytes", fewer)
    assert check_fits(run, 256, 9 * 2**30) == 8 * 2**30
    says = r"needs 8.00 GiB, and you have 3.00 GiB. With --at-once 1 --rounds 1 it takes 2.00 GiB"
    with pytest.raises(ValueError, match=says):
        check_fits(run, 256, 3 * 2**30)
    with pytest.raises(ValueError, match=r"Not even with .* does it fit"):
        check_fits(run, 256, 2**30)


def test_cures_are_of_the_model_at_hand():
    names = lambda **how: [option for option, _ in cures(TextRun(**how))]  # noqa: E731
    assert names(rounds=4) == ["--at-once 1", "--rounds 1", "--length 256"]
    assert names(model="transformer", batch=1) == ["--reversible", "--length 256"]
    assert names(model="transformer", batch=1, reversible=True, length=2) == []


# Documents --------------------------------------------------------------------------------------


def test_a_folder_is_read_without_what_is_hidden(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("a/one.txt", "two.txt", ".git/config", ".hidden"):
        (tmp_path / name).write_text(name)
    read = documents.read_documents([tmp_path])
    assert sorted(read.values()) == [b"a/one.txt", b"two.txt"]


def test_of_one_document_the_end_is_held_out_and_of_many_whole_ones():
    alone = documents.split({"one": bytes(range(100))})
    assert alone.train.tolist() == list(range(90))
    assert alone.held_out.tolist() == list(range(90, 100))
    many = documents.split({str(n): bytes([n]) * 50 for n in range(200)})
    assert not set(many.train.tolist()) & set(many.held_out.tolist())
    assert len(many.train) + len(many.held_out) == 200 * 50


def test_a_tokenizer_without_its_package_is_refused_in_words(monkeypatch):
    def not_there(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", not_there)
    with pytest.raises(ValueError, match="pip install 'efftx\\[train\\]'"):
        _ = documents.Tokens("words.json").vocab
