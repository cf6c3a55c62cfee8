"""Memory: what a training step keeps, and ways to keep less of it.

Everything is a function of arrays and of other functions; models compose them.
"""

from efftx.memory.chunking import (
    chunked_cross_entropy,
    cross_entropy_reference,
    map_chunks,
    map_chunks_reference,
)
from efftx.memory.reversible import (
    reversible_forward,
    reversible_inverse,
    reversible_stack,
    reversible_stack_reference,
)

__all__ = [
    "chunked_cross_entropy",
    "cross_entropy_reference",
    "map_chunks",
    "map_chunks_reference",
    "reversible_forward",
    "reversible_inverse",
    "reversible_stack",
    "reversible_stack_reference",
]
