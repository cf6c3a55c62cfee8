"""Corpora: the same bytes every time, no document on both sides, and no wrong file accepted."""

import hashlib
import io
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest

from efftx.training import corpora

MODULES = [f"{folder}module{i}.py" for folder in ("", "email/", "xml/dom/") for i in range(40)]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a corpus reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def library(tmp_path) -> Path:
    """A folder laid out like a standard library, each file's text its own name."""
    skipped = [
        "test/test_os.py",
        "unittest/test/case.py",
        "ctypes/tests/a.py",
        "idlelib/idle_test/b.py",
        "site-packages/other.py",
        "_sysconfigdata__linux.py",
        "config-3.11-x86/python-config.py",
        "email/notes.txt",
    ]
    for name in reversed(MODULES + skipped):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


def lines(tokens: np.ndarray) -> list[str]:
    return corpora.as_text(tokens).splitlines()


@pytest.mark.parametrize("corpus", [corpora.python_documentation, corpora.standard_library])
def test_real_text_is_there_and_the_same_every_time(corpus):
    first, second = corpus(), corpus()
    assert first.sha256 == second.sha256
    for part in (first.train, first.held_out):
        assert part.dtype == np.uint8
        assert b"statement" in part.tobytes()
    assert len(first.train) > 300_000
    assert 0.03 < len(first.held_out) / len(first.train) < 0.2


def test_the_library_is_sorted_without_tests_and_split_by_file(library):
    corpus = corpora.standard_library(library)
    train, held_out = lines(corpus.train), lines(corpus.held_out)
    assert train == sorted(train)
    assert held_out == sorted(held_out)
    assert set(train).isdisjoint(held_out)
    assert sorted(train + held_out) == sorted(MODULES)
    assert 3 <= len(held_out) <= 25


def test_a_new_file_moves_no_other_to_the_other_side(library):
    before = corpora.standard_library(library)
    (library / "a_new_module.py").write_text("a_new_module.py\n")
    after = corpora.standard_library(library)
    assert set(lines(before.train)) <= set(lines(after.train))
    assert set(lines(before.held_out)) <= set(lines(after.held_out))
    assert before.sha256 != after.sha256


def test_the_checksum_is_of_all_the_text():
    corpus = corpora.Corpus("two", corpora.as_tokens(b"train "), corpora.as_tokens(b"held out"))
    assert corpus.sha256 == hashlib.sha256(b"train held out").hexdigest()


def test_bytes_and_text_are_the_same_thing():
    text = "naïve ✓ \n"
    tokens = corpora.as_tokens(text.encode())
    assert tokens.tolist() == list(text.encode())
    assert corpora.as_text(tokens) == text
    assert corpora.as_text(tokens[:3]) == "na\N{REPLACEMENT CHARACTER}"


# enwik8, on a stub of 1,000 bytes --------------------------------------------------------------

STUB = bytes(range(250)) * 4
STUB_SHA256 = hashlib.sha256(STUB).hexdigest()


@pytest.fixture
def stub_url(tmp_path) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("enwik8", STUB)
    (tmp_path / "server.zip").write_bytes(archive.getvalue())
    return (tmp_path / "server.zip").as_uri()


def test_enwik8_is_trained_on_90_percent_and_held_out_the_last_5(tmp_path):
    (tmp_path / "enwik8").write_bytes(STUB)
    corpus = corpora.enwik8(tmp_path / "enwik8", sha256=STUB_SHA256)
    assert corpus.train.tobytes() == STUB[:900]
    assert corpus.held_out.tobytes() == STUB[950:]


def test_enwik8_is_downloaded_only_when_asked_and_once(tmp_path, stub_url):
    path = tmp_path / "data" / "enwik8"
    path.parent.mkdir()
    with pytest.raises(ValueError, match="download=True"):
        corpora.enwik8(path, url=stub_url, sha256=STUB_SHA256)
    corpora.enwik8(path, download=True, url=stub_url, sha256=STUB_SHA256)
    assert [file.name for file in path.parent.iterdir()] == ["enwik8"]
    again = corpora.enwik8(path, download=True, url="http://nowhere.invalid", sha256=STUB_SHA256)
    assert again.train.tobytes() == STUB[:900]


def test_a_wrong_download_is_refused_and_leaves_nothing(tmp_path, stub_url):
    path = tmp_path / "data" / "enwik8"
    path.parent.mkdir()
    with pytest.raises(ValueError, match=f"SHA-256 is {STUB_SHA256}, expected 00ff"):
        corpora.enwik8(path, download=True, url=stub_url, sha256="00ff")
    assert list(path.parent.iterdir()) == []


def test_a_wrong_file_is_refused(tmp_path):
    (tmp_path / "enwik8").write_bytes(STUB[:-1])
    with pytest.raises(ValueError, match="enwik8 is not the file it should be"):
        corpora.enwik8(tmp_path / "enwik8", sha256=STUB_SHA256)


def test_the_published_checksum_is_the_default(tmp_path):
    (tmp_path / "enwik8").write_bytes(STUB)
    with pytest.raises(ValueError, match="expected 2b49720ec4d78c3c"):
        corpora.enwik8(tmp_path / "enwik8")
