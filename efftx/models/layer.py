"""What a layer is: called in one way, and saying itself what can be done with it.

A layer is a frozen dataclass of arrays that derives from `Layer` and is called with one example:

    layer(x, key, extra, replay) -> (y, replay)

x and y are (length, d_model) vectors. ``key`` is for layers that draw random numbers, ``extra`` is
what a layer may look at beside x. A ``replay`` holds choices, as of buckets or units, in integers:
where it is None the layer chooses, elsewhere it does again what it did before; one that makes no
choices returns None.

What else is done with layers has a method each, and each default is right for any layer or says why
it is not: a norm before (`behind`), the way back through a reversible residual (`undo`), generating
(`prefill` and `step`), eight bits (`in_eight_bits`), counting (`read`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from jax import Array
from jax.tree_util import register_dataclass
from jaxtyping import Bool, Float, Integer, Key

from efftx.memory import undo_by_autodiff
from efftx.validation import check_positive, require

Tokens = Integer[Array | np.ndarray, "length"]
Stream = Float[Array, "length d_model"]
Logits = Float[Array, "length vocab"]
KeyMask = Bool[Array | np.ndarray, "length"] | None
OptionalKey = Key[Array, ""] | None
Parameter = Any  # an Array; not checked, since jax also fills these classes with shapes and tracers


@dataclass(frozen=True)
class Sizes:
    """The numbers that fix a model's shape; the names are the glossary's (``help(efftx)``).

    Raises ValueError for a number below 1.
    """

    n_layers: int = 2
    d_model: int = 128
    d_ff: int = 512
    n_heads: int = 4
    d_head: int = 32
    max_len: int = 1024
    vocab: int = 256

    def __post_init__(self):
        check_positive(**vars(self))


def normal(key, shape: tuple[int, ...], scale: float) -> Array:
    return scale * jax.random.normal(key, shape)


def branch_scale(sizes: Sizes, fan_in: int) -> float:
    """For the last matrix of a branch: the 2·n_layers branches together add variance 1."""
    return (fan_in * 2 * sizes.n_layers) ** -0.5


@register_dataclass
@dataclass(frozen=True)
class Source:
    """An encoder's output: what a decoder's cross-attention reads."""

    vectors: Parameter  # (source_length, d_model)
    key_mask: Parameter = None  # (source_length,) bool, False for padding; None: there is none


@register_dataclass
@dataclass(frozen=True)
class Extra:
    """What a layer may look at beside its x."""

    key_mask: Parameter = None  # (length,) bool, False where x is padding; None: there is none
    source: Source | None = None


NOTHING = Extra()


class Layer:
    """The base of all layers. A layer of your own has to define ``__call__``, and no more.

    ``positionwise`` says that the layer treats every position alike and by itself. Then positions
    may be taken in chunks, or one at a time; any other layer needs methods of its own to generate.
    """

    positionwise: ClassVar[bool] = False

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Any]:
        """The output at every position, and what the layer chose."""
        raise NotImplementedError

    def behind(self, norm: Callable, x: Stream, key=None, extra=NOTHING, replay=None) -> tuple:
        """The layer's output on norm(x); one that works piece by piece norms each piece itself."""
        return self(norm(x), key, extra, replay)

    def undo(self, norm: Callable, x: Stream, given: tuple, streams: tuple) -> tuple:
        """:func:`efftx.memory.undo_by_autodiff` of `behind`: gradients of (norm, self), of extra.

        A layer that can do it with one evaluation has its own.
        """
        return undo_by_autodiff(_behind, (norm, self), x, given, streams)

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        """The output on a prompt, and a cache: what later steps need of it.

        Raises ValueError for a layer that looks at several positions and does not say how.
        """
        require(
            self.positionwise,
            f"{type(self).__name__} cannot generate: it looks at several positions, and has no "
            "methods prefill and step that remember them.",
        )
        return self(x, key, extra)[0], ()

    def step(self, x: Stream, cache: Any, position: Array, key=None, extra=NOTHING) -> tuple:
        """The output at one more position, x a stream of length 1, and the cache that holds it."""
        return self(x, key, extra)[0], cache

    def in_eight_bits(self) -> "Layer":
        """The same layer, nearly, with its large matrices in eight bits; for generating."""
        raise ValueError(f"{type(self).__name__} has no form in eight bits.")

    def read(self, of: Callable) -> int:
        """How much of the layer a step reads; ``of(tree)`` counts numbers or bytes."""
        return of(self)


def _behind(norm_and_layer, x, key, extra, replay=None):
    norm, layer = norm_and_layer
    return layer.behind(norm, x, key, extra, replay)


def behind_in_chunks(norm_layer_key_extra, x, positions, replay):
    """`Layer.behind` on some rows, as :func:`efftx.memory.map_chunks` calls it."""
    norm, layer, key, extra = norm_layer_key_extra
    key = None if key is None else jax.random.fold_in(key, positions[0])
    return layer.behind(norm, x, key, extra, replay)
