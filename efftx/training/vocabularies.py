"""From text to tokens and back: pieces of words from a list, or bytes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from efftx.validation import require

PAD, START, END = range(3)  # in every vocabulary; its own tokens begin after them
N_SPECIAL = 3


@dataclass(frozen=True)
class Pieces:
    """A list of pieces; a text is cut from left to right, each time the longest that fits."""

    pieces: tuple[str, ...]

    def __post_init__(self):
        require("" not in self.pieces and len(self.pieces) >= 1, "pieces must not be empty.")
        for i, piece in enumerate(self.pieces):
            repeated = piece in self.pieces[:i]
            require(not repeated, f"each piece must be listed once; {piece!r} is listed twice.")

    def __len__(self) -> int:
        return N_SPECIAL + len(self.pieces)

    def split(self, text: str) -> list[str]:
        """The pieces of a text; a character at which none begins stands alone."""
        return self.longest_first.findall(text)

    def spaced(self, text: str) -> str:
        """The text with a space between its pieces."""
        return " ".join(piece.strip() for piece in self.split(text))

    def encode(self, text: str) -> list[int]:
        """The token of each piece. Raises ValueError for a text that is not made of pieces."""
        found = self.split(text)
        for piece in found:
            known = piece in self.numbers
            require(known, f"no piece of the vocabulary begins with {piece!r} in {text!r}.")
        return [self.numbers[piece] for piece in found]

    def decode(self, tokens: Iterable) -> str:
        """The text up to END, without special tokens."""
        return "".join(self.pieces[token - N_SPECIAL] for token in up_to_end(tokens))

    @cached_property
    def longest_first(self) -> re.Pattern:
        longest_first = sorted(self.pieces, key=len, reverse=True)
        return re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {piece: N_SPECIAL + i for i, piece in enumerate(self.pieces)}


@dataclass(frozen=True)
class Bytes:
    """The UTF-8 bytes of a text: any text in any language, in 256 tokens, but many of them."""

    def __len__(self) -> int:
        return N_SPECIAL + 256

    def encode(self, text: str) -> list[int]:
        return [N_SPECIAL + byte for byte in text.encode()]

    def decode(self, tokens: Iterable) -> str:
        """The text up to END; bytes that are no UTF-8 show as the replacement character."""
        return bytes(token - N_SPECIAL for token in up_to_end(tokens)).decode(errors="replace")


def up_to_end(tokens: Iterable) -> Sequence[int]:
    """The tokens before the first END, without PAD and START."""
    tokens = [int(token) for token in tokens]
    end = tokens.index(END) if END in tokens else len(tokens)
    return [token for token in tokens[:end] if token >= N_SPECIAL]
