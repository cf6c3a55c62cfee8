"""What a row of the table of public functions is: see tests/test_every_public_function.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Row:
    """``call`` of floating arrays of these shapes, "L" being the length, gives a tree of arrays."""

    call: Callable
    shapes: tuple
    twin: Callable | None = None  # computes the same in another way
    gradients: bool = True  # False: whole numbers come out, or nobody trains through it
    compiles: bool = True  # False: its numbers must be known
    second: bool = True  # False: the gradient of the gradient is tried on its parts only
    refuses: Mapping = field(default_factory=dict)  # by column, a pattern of the sentence


@dataclass(frozen=True, eq=False)
class Numbers:
    """A function of Python numbers, or of what else is no array: its value is all."""

    call: Callable
    right: object


@dataclass(frozen=True)
class Elsewhere:
    """What another row goes through; or what is no function of arrays, and has a file of tests."""

    where: str
