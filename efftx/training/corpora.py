"""Real text without a download (the Python documentation, the standard library), and enwik8.

Bytes in, uint8 arrays out. A document (a topic, a file) is held out or not by a hash of its name,
so it is on the same side in every Python version. The text itself differs from version to version:
record `Corpus.sha256` with every result.
"""

import hashlib
import shutil
import sysconfig
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import jax
import numpy as np

from efftx.validation import require

ENWIK8_URL = "http://mattmahoney.net/dc/enwik8.zip"
ENWIK8_SHA256 = "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"

# Not part of the standard library's own source: tests, other people's packages, and files that are
# written when Python is installed and name the machine's folders.
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
SKIPPED_STARTS = ("_sysconfigdata", "config-")


@dataclass(frozen=True)
class Corpus:
    """A text in two parts that share no document."""

    name: str
    train: np.ndarray  # uint8
    held_out: np.ndarray  # uint8

    @property
    def sha256(self) -> str:
        """Of the training part followed by the held-out part."""
        return hashlib.sha256(self.train.tobytes() + self.held_out.tobytes()).hexdigest()


def python_documentation() -> Corpus:
    """The reference texts behind `help()`: 0.5 MB of technical prose, a tenth held out."""
    return split_corpus("pydoc_data.topics", {name: text.encode() for name, text in topics.items()})


def standard_library(folder: Path | str | None = None) -> Corpus:
    """The source of Python's own modules, without tests: 10 MB, a tenth of the files held out.

    Raises ValueError if the folder (by default this Python's) has no Python source.
    """
    folder = Path(folder or sysconfig.get_path("stdlib"))
    documents = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.py")
        if is_library_source(path.relative_to(folder))
    }
    require(bool(documents), f"there is no Python source in {folder}.")
    return split_corpus("standard library", documents)


def is_library_source(path: Path) -> bool:
    return SKIPPED_FOLDERS.isdisjoint(path.parts) and not any(
        part.startswith(SKIPPED_STARTS) for part in path.parts
    )


def split_corpus(name: str, documents: dict[str, bytes]) -> Corpus:
    """Sorted by name, one document after the other, each in one of the two parts."""
    parts = {False: [], True: []}
    for document in sorted(documents):
        parts[is_held_out(document)].append(documents[document])
    return Corpus(name, train=as_tokens(*parts[False]), held_out=as_tokens(*parts[True]))


def is_held_out(document: str) -> bool:
    """A tenth of all names, by their hash: the same ones wherever and whenever it is asked."""
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8]) % 10 == 0


def as_tokens(*texts: bytes) -> np.ndarray:
    """The bytes of all texts, one after the other, as uint8 tokens."""
    return np.frombuffer(b"".join(texts), np.uint8)


def as_text(tokens: Sequence | np.ndarray | jax.Array) -> str:
    """Tokens to read; bytes that are no UTF-8 show as the replacement character."""
    return np.asarray(tokens, np.uint8).tobytes().decode("utf-8", errors="replace")


def enwik8(
    path: Path | str, *, download: bool = False, url: str = ENWIK8_URL, sha256: str = ENWIK8_SHA256
) -> Corpus:
    """The first 100 MB of a Wikipedia dump of 2006; trained on 90 %, held out the last 5 %.

    The 5 % between are the usual validation part; they are in neither, so that figures compare with
    published ones. ``download=True`` fetches the file to `path` if it is not there (36 MB).

    Raises ValueError if the file is not there or its SHA-256 is another.
    """
    path = Path(path)
    if download and not path.exists():
        download_zipped(url, path, member="enwik8", sha256=sha256)
    require(
        path.exists(),
        f"there is no file {path}. Fetch {ENWIK8_URL} and unzip it, or pass download=True.",
    )
    text = path.read_bytes()
    check_sha256(path.name, text, sha256)
    tokens = as_tokens(text)
    return Corpus("enwik8", tokens[: len(tokens) * 90 // 100], tokens[len(tokens) * 95 // 100 :])


def download_zipped(url: str, path: Path, *, member: str, sha256: str) -> None:
    """Fetch a zip file and put one member of it at `path`, but only if its checksum is right."""
    archive, unfinished = (path.with_name(path.name + end) for end in (".zip", ".unfinished"))
    with urllib.request.urlopen(url) as response, open(archive, "wb") as file:
        shutil.copyfileobj(response, file)
    with zipfile.ZipFile(archive) as content:
        text = content.read(member)
    archive.unlink()
    check_sha256(url, text, sha256)
    unfinished.write_bytes(text)
    unfinished.replace(path)


def check_sha256(name: str, content: bytes, expected: str) -> None:
    actual = hashlib.sha256(content).hexdigest()
    require(
        actual == expected,
        f"{name} is not the file it should be: its SHA-256 is {actual}, expected {expected}.",
    )
