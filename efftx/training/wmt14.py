"""WMT 2014 English to German, the talk's benchmark, from files that you have.

Nothing is downloaded. A folder must hold four text files, a sentence in each line, line by line the
translation of the other:

- ``train.en``, ``train.de``: one or all of the parallel corpora that
  https://www.statmt.org/wmt14/translation-task.html offers (Europarl v7, Common Crawl, News
  Commentary v9), their files of one language one after the other;
- ``newstest2014.en``, ``newstest2014.de``: the test set, which sacrebleu fetches and whose checksum
  it knows: ``sacrebleu -t wmt14/full -l en-de --echo src > newstest2014.en``, and ``ref`` for the
  other.
"""

from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

from efftx.training.translation import Pair, ParallelText
from efftx.training.vocabularies import Bytes
from efftx.validation import check_positive, require


def wmt14(folder: Path | str, *, n_train: int = 100_000, max_bytes: int = 256) -> ParallelText:
    """The first pairs of which neither side is empty or longer than ``max_bytes``; all of the test.

    Tokens are bytes, so no vocabulary has to be learned first; published systems learn one and have
    sequences a few times shorter. Test sentences are never left out, however long.

    Raises ValueError if a file is missing, if two files have different numbers of lines, or if no
    pair is left.
    """
    check_positive(n_train=n_train, max_bytes=max_bytes)
    folder = Path(folder)
    fitting = (pair for pair in read_pairs(folder, "train") if fits(pair, max_bytes))
    train = tuple(islice(fitting, n_train))
    require(len(train) >= 1, f"no pair in train.en and train.de fits into {max_bytes} bytes.")
    held_out = tuple(read_pairs(folder, "newstest2014"))
    return ParallelText("WMT 2014, English to German", train, held_out, Bytes())


def read_pairs(folder: Path, name: str) -> Iterator[Pair]:
    """Line by line, so that a corpus of millions of lines is never in memory as a whole."""
    paths = [folder / f"{name}.{language}" for language in ("en", "de")]
    for path in paths:
        require(path.exists(), f"there is no file {path}; see help(efftx.training.wmt14).")
    with open(paths[0], encoding="utf-8") as english, open(paths[1], encoding="utf-8") as german:
        for source, target in zip_longest(english, german):
            same = source is not None and target is not None
            require(same, f"{name}.en and {name}.de have different numbers of lines.")
            yield source.strip(), target.strip()


def fits(pair: Pair, max_bytes: int) -> bool:
    return all(0 < len(text.encode()) <= max_bytes for text in pair)
