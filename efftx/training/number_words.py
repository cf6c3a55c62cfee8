"""Number words from English to German: a translation task that needs no download.

    twenty-one thousand, three hundred and two   →   einundzwanzigtausenddreihundertzwei

German writes a number below a million as one word and says the units before the tens, so a
translation must find out what belongs where. The words are num2words'; where its German is its own
(einhunderteinstausend for 101,000: dictionaries have no s there), so is the task's.
"""

from collections.abc import Iterable

import numpy as np
from num2words import num2words

from efftx.training.translation import Pair, ParallelText
from efftx.training.vocabularies import Pieces
from efftx.validation import check_positive, require

N_DIGITS = 6  # numbers below a million
MOST = 2_000  # pairs for training; there are only 999 numbers of up to three digits


def number_words(*, n_train: int = 120, n_held_out: int = 500, seed: int = 0) -> ParallelText:
    """Few pairs to learn from, of one to six digits; held out are others, all of six digits.

    In training each count of digits is as likely, as far as there are such numbers; so a model sees
    few large numbers and is asked for large ones only. What is held out does not depend on n_train.

    Raises ValueError unless both counts are positive, and at most 2,000 pairs are for training.
    """
    check_positive(n_train=n_train, n_held_out=n_held_out)
    require(max(n_train, n_held_out) <= MOST, f"there are at most {MOST:,} pairs of each part.")
    random = np.random.default_rng(seed)
    held_out = distinct_numbers(random, n_held_out, fewest_digits=N_DIGITS)
    train = distinct_numbers(random, n_train, fewest_digits=1, without=held_out)
    return ParallelText(
        name="number words, English to German",
        train=tuple(map(pair, train)),
        held_out=tuple(map(pair, held_out)),
        vocabulary=vocabulary(),
    )


def distinct_numbers(
    random: np.random.Generator, count: int, *, fewest_digits: int, without: Iterable[int] = ()
) -> dict[int, None]:
    """Numbers in the order in which they were drawn, first how many digits, then which."""
    numbers, seen = {}, set(without)
    while len(numbers) < count:
        n_digits = random.integers(fewest_digits, N_DIGITS + 1)
        number = int(random.integers(10 ** (n_digits - 1), 10**n_digits))
        if number not in seen:
            numbers[number] = None
    return numbers


def pair(number: int) -> Pair:
    return num2words(number), num2words(number, lang="de")


def vocabulary() -> Pieces:
    """The words that number words are composed of, English ones with the space before them.

    What a tokeniser learns from a large text (BPE, WordPiece) is listed here.
    """
    simple = [*range(21), *range(30, 100, 10)]
    english = [space + num2words(number) for space in ("", " ") for number in simple]
    german = [num2words(number, lang="de") for number in simple]
    joints = ["-", ",", " and", " hundred", " thousand", "ein", "und", "hundert", "tausend"]
    return Pieces(tuple(dict.fromkeys(english + german + joints)))
