"""From text to tokens and back with byte pairs: the vocabulary of GPT-2's kind.

A text is cut into words; each byte of a word is a piece, and then the pair of neighbours that
stands first in the list of merges becomes one piece, again and again. Every text can be written,
since every byte is a piece.

Source: Sennrich et al. 2015, arXiv 1508.07909; bytes as in GPT-2, openai/gpt-2, src/encoder.py; the
digits one by one as SmolLM2's vocabulary has them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

from efftx.validation import require

DIGIT = re.compile(r"(\d)")
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+|\w")


@cache
def letters_of_bytes() -> dict[int, str]:
    """A letter for each byte: itself where it can be seen, else one beyond the 256th."""
    seen = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    hidden = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {b: chr(256 + i) for i, b in enumerate(hidden)}


@dataclass(frozen=True)
class BytePairs:
    """A list of pieces and, in order, which pairs of them become one: "Ġ t" for a space and a t."""

    pieces: tuple[str, ...]
    merges: tuple[str, ...]
    special: frozenset[int] = frozenset()  # tokens that no text becomes, as the end of a text

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises ValueError for a byte that is no piece.
        """
        words = (word for part in DIGIT.split(text) for word in WORD.findall(part) or part)
        return [token for word in words for token in self.of_word(word)]

    def decode(self, tokens: Iterable) -> str:
        """The text of some tokens, without special ones; half a letter becomes �."""
        pieces = [self.pieces[int(token)] for token in tokens if int(token) not in self.special]
        encoded = bytes(self.byte_of[letter] for piece in pieces for letter in piece)
        return encoded.decode("utf-8", errors="replace")

    def of_word(self, word: str) -> tuple[int, ...]:
        if word not in self.known:
            letters = [letters_of_bytes()[byte] for byte in word.encode("utf-8")]
            self.known[word] = tuple(map(self.number_of, self.joined(letters)))
        return self.known[word]

    def joined(self, pieces: list[str]) -> list[str]:
        """The pieces after all merges, always the one that comes first in the list."""
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            best = min(pairs, key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            pieces = with_pair_joined(pieces, best)
        return pieces

    def number_of(self, piece: str) -> int:
        require(piece in self.numbers, f"{piece!r} is no piece of this vocabulary.")
        return self.numbers[piece]

    @cached_property
    def rank(self) -> dict[tuple[str, str], int]:
        return {tuple(merge.split(" ")): n for n, merge in enumerate(self.merges)}

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {piece: n for n, piece in enumerate(self.pieces)}

    @cached_property
    def byte_of(self) -> dict[str, int]:
        return {letter: byte for byte, letter in letters_of_bytes().items()}

    @cached_property
    def known(self) -> dict[str, tuple[int, ...]]:
        return {}


def with_pair_joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    i = 0
    while i < len(pieces):
        together = tuple(pieces[i : i + 2]) == pair
        joined.append("".join(pair) if together else pieces[i])
        i += 1 + together
    return joined
