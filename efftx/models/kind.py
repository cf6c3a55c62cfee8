"""What a kind of attention is: which keys a query looks at, and what a decoder remembers.

A kind is a small frozen configuration, and a function of one head:

    kind(vectors, key, replay, key_mask) -> (out, chosen)

``vectors`` are q, k and v, or qk and v where queries are keys too; each is (length, d_head). A new
kind is one class: `attend` says what it computes. If that is a softmax over some of the keys up to
the query's own, `remembered` and `reaches` say what a step needs to know of earlier positions.

Random numbers come from the key that the model is called with. With ``rotary`` queries and keys are
turned by their positions, before they are hashed: the hash sees what the scores compare.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jax import Array

from efftx.dtypes import at_least_float32
from efftx.models.caches import attend_one, filled, positions_in, with_next
from efftx.models.positions import rotate
from efftx.validation import require


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The base of all kinds. One of your own has to define `attend`, and no more to be trained."""

    causal: bool = True  # else both ways, as in an encoder
    rotary: bool = False
    longest: float = 10_000.0  # of the wavelengths of rotary positions, in 2π

    n_projections: ClassVar[int] = 3  # q, k and v; 2 are qk and v
    n_of_source: ClassVar[int] = 0  # how many of them, from the last, read the source and not x
    one_by_one: ClassVar[bool] = False  # heads one after the other, in the memory of one
    n_hashes: ClassVar[int] = 0  # rounds of hashing; a kind that hashes has a field for them

    def __call__(self, vectors, key=None, replay: Any = None, key_mask=None) -> tuple:
        """The output of one head, and what it chose."""
        return self.attend(self.turned(vectors), key, replay, key_mask)

    def attend(self, vectors: tuple, key, replay, key_mask) -> tuple:
        raise NotImplementedError

    def turned(self, vectors, start: int | Array = 0) -> tuple:
        *compared, v = vectors
        if self.rotary:
            compared = [rotate(x, start, longest=self.longest) for x in compared]
        return *compared, v

    def prefill(self, vectors, key, key_mask, capacity: int) -> tuple:
        """The output on a prompt, and a cache for ``capacity`` positions.

        Raises ValueError for a kind that does not say what its steps remember.
        """
        raise ValueError(
            f"{type(self).__name__} attention cannot generate: it has no methods prefill and step "
            "that say what a cache remembers. Derive it from Softmax, if that is what it computes."
        )

    def step(self, vectors, cache: tuple, position: Array, key) -> tuple:
        """The output at one more position, whose vectors are (1, d_head), and the cache with it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Softmax(Kind):
    """Kinds that are a softmax over keys up to the query's own; they differ in which of them."""

    def prefill(self, vectors, key, key_mask, capacity: int) -> tuple:
        kind = self.for_length(capacity)
        require(kind.causal, f"{kind} looks to both sides, and so it cannot generate.")
        vectors = kind.turned(vectors)
        out, chosen = kind.attend(vectors, key, None, key_mask)
        return out, filled(kind.remembered(vectors, chosen), kind.n_slots(capacity))

    def step(self, vectors, cache: tuple, position: Array, key) -> tuple:
        kind = self.for_length(len(cache[0]))
        vectors = kind.turned(vectors, position)
        new = kind.remembered(vectors, kind.choice(vectors, key))
        cache = with_next(cache, position, new)
        at = positions_in(len(cache[0]), position)
        reached = (at >= 0) & kind.reaches(new, cache, at, position)
        return kind.look_up(vectors, cache, reached), cache

    def for_length(self, length: int) -> "Softmax":
        """The kind as it is for a text of this length."""
        return self

    def n_slots(self, capacity: int) -> int:
        return capacity

    def choice(self, vectors, key) -> Any:
        """What `attend` would choose for these vectors."""
        return None

    def remembered(self, vectors: tuple, chosen: Any) -> tuple:
        """Of each position its key, its value, and what else later queries compare with."""
        _, k, v = vectors
        return k, v

    def reaches(self, new: tuple, cache: tuple, at: Array, position: Array) -> Array:
        """(n_slots,): which slots the newest query looks at; ``at`` are their positions."""
        return at <= position

    def look_up(self, vectors: tuple, cache: tuple, reached: Array) -> Array:
        """softmax(q·k/√d) v over what is reached."""
        return look_up(vectors[0], cache[0], cache[1], reached)


def look_up(q: Array, k: Array, v: Array, reached: Array) -> Array:
    (q,) = at_least_float32(q)
    return attend_one(q * q.shape[-1] ** -0.5, k, v, reached)
