"""One's own text: files and folders into tokens, in a part to train with and one held out."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from efftx.training.corpora import Corpus, as_text, as_tokens, split_corpus
from efftx.validation import require

HELD_OUT = 10  # of a single document the last tenth


@dataclass(frozen=True)
class Tokens:
    """Bytes, each of them a token; or with a file of the `tokenizers` package, its tokens."""

    file: Path | str | None = None

    @property
    def vocab(self) -> int:
        return 256 if self.file is None else self.tokenizer.get_vocab_size()

    @property
    def tokenizer(self) -> Any:
        return tokenizers().Tokenizer.from_file(str(self.file))

    def encoded(self, text: bytes) -> np.ndarray:
        if self.file is None:
            return as_tokens(text)
        ids = self.tokenizer.encode(text.decode(errors="replace")).ids
        return np.array(ids, np.int32)

    def decoded(self, tokens: Iterable) -> str:
        """Tokens to read."""
        ids = [int(token) for token in tokens]
        return as_text(ids) if self.file is None else self.tokenizer.decode(ids)


def tokenizers():
    """The package, which nothing else here needs."""
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise ValueError(
            "a tokenizer's file is read with the package tokenizers, which is not installed: "
            "pip install 'efftx[train]', or leave the file out and train on bytes."
        ) from error


def read_documents(paths: Iterable[Path | str]) -> dict[str, bytes]:
    """The files by name; of a folder all files in it whose name does not begin with a dot.

    Raises ValueError for a path that is not there, and if there is nothing to read.
    """
    documents = {}
    for path in map(Path, paths):
        require(path.exists(), f"there is no file or folder {path}.")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        hidden = lambda file: any(p.startswith(".") for p in file.relative_to(path).parts)  # noqa: B023, E731
        documents |= {str(f): f.read_bytes() for f in files if f.is_file() and not hidden(f)}
    require(any(documents.values()), "there is no text to train on: all of it is empty.")
    return documents


def split(documents: dict[str, bytes]) -> Corpus:
    """Whole documents held out where there are enough of them; of few the last tenth of all."""
    corpus = split_corpus("own text", documents)
    if _balanced(corpus):
        return corpus
    text = as_tokens(*(documents[name] for name in sorted(documents)))
    cut = len(text) - len(text) // HELD_OUT
    return Corpus("own text", train=text[:cut], held_out=text[cut:])


def _balanced(corpus: Corpus) -> bool:
    """A tenth of all names may be a part of any size: it should be 5 to 20 % of the bytes."""
    share = len(corpus.held_out) / (len(corpus.train) + len(corpus.held_out))
    return 0.05 <= share <= 0.2
