"""The sparse feed-forward layer, and the same in eight bits.

    language_model(key, sizes, attention_layer(), sparse_feed_forward(n_units=64), plain_residual)

In training pass a key: the controllers draw from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Integer

from efftx.memory import quantize
from efftx.memory.quantization import LARGEST
from efftx.models.layer import (
    NOTHING,
    Extra,
    Layer,
    OptionalKey,
    Parameter,
    Sizes,
    Stream,
    branch_scale,
    normal,
)
from efftx.models.parameters import Tree
from efftx.sparsity import (
    controller_scores,
    default_d_lowrank,
    gathered_feed_forward,
    masked_feed_forward,
    n_blocks_of,
    sparsity_mask,
    strongest_units,
)
from efftx.sparsity.feed_forward import chosen
from efftx.validation import check_positive, require


@register_dataclass
@dataclass(frozen=True)
class SparseFeedForward(Layer):
    """A feed-forward layer whose controller turns on one unit in each block of N.

    Called with a key it is in training, see `sparsity_mask`: masks are soft now and hard then, and
    hard ones noisy. Without a key, and when it generates, it is what it will be: hard, no noise.
    Where other layers need the key, as for their hashes, `hardened` makes a model to evaluate. The
    chosen units are its replay.
    """

    c1: Parameter  # (d_model, d_lowrank)
    c2: Parameter  # (d_lowrank, n_blocks, N)
    w1: Parameter  # (n_blocks, N, d_model)
    b1: Parameter  # (n_blocks, N)
    w2: Parameter  # (n_blocks, N, d_model)
    b2: Parameter  # (d_model,)
    temperature: float = field(default=0.1, kw_only=True, metadata={"static": True})
    hard_probability: float = field(default=0.3, kw_only=True, metadata={"static": True})

    positionwise: ClassVar[bool] = True

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Integer[Array, "length n_blocks"]]:
        """y and the chosen units; all units are computed, then masked."""
        how = {"temperature": self.temperature, "hard_probability": self.hard_probability}
        mask, units = sparsity_mask(self.scores(x), key, replay, **how)
        return masked_feed_forward(x, mask, *self.weights), units

    def gathered(self, x: Stream) -> Stream:
        """y without a key, from the chosen units' weights alone: for one position or a few."""
        return gathered_feed_forward(x, strongest_units(self.scores(x)), *self.weights)

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        """Generating is no training, whatever the key."""
        return self(x)[0], ()

    def step(self, x: Stream, cache: Any, position: Array, key=None, extra=NOTHING) -> tuple:
        """y of one position, for which no other unit's weights are read."""
        return self.gathered(x), cache

    def scores(self, x: Stream) -> Float[Array, "length n_blocks n_units"]:
        return controller_scores(x, self.c1, self.c2)

    @property
    def weights(self) -> tuple:
        return self.w1, self.b1, self.w2, self.b2

    def in_eight_bits(self) -> "EightBitSparseFeedForward":
        rows = {"w1": as_rows(self.w1), "w2": as_rows(self.w2)}
        return EightBitSparseFeedForward(**(vars(self) | rows))

    def read(self, of: Callable) -> int:
        """The controller, and of each block one unit in N."""
        units = of((self.w1, self.b1, self.w2))
        return of(self) - units + units // self.b1.shape[-1]


def sparse_feed_forward(*, n_units: int = 64, d_lowrank: int | None = None) -> Callable:
    """An ``init(key, sizes)``: one unit in each block of N = n_units is on.

    d_lowrank is d_model/N if it is not given. Raises ValueError for n_units < 1 and, when it is
    called, unless N divides d_ff.
    """
    check_positive(n_units=n_units)
    return partial(init_sparse_feed_forward, n_units=n_units, d_lowrank=d_lowrank)


def init_sparse_feed_forward(
    key, sizes: Sizes, *, n_units: int = 64, d_lowrank: int | None = None
) -> SparseFeedForward:
    """Scores start with variance 1. W2 starts √N times as large as a dense layer's, since of its
    rows only one in N adds to the sum.
    """
    n_blocks, d_model = n_blocks_of(sizes.d_ff, n_units), sizes.d_model
    d_lowrank = default_d_lowrank(d_model, n_units) if d_lowrank is None else d_lowrank
    check_positive(d_lowrank=d_lowrank)
    c1_key, c2_key, w1_key, w2_key = jax.random.split(key, 4)
    per_unit = (n_blocks, n_units)
    return SparseFeedForward(
        c1=normal(c1_key, (d_model, d_lowrank), d_model**-0.5),
        c2=normal(c2_key, (d_lowrank, *per_unit), d_lowrank**-0.5),
        w1=normal(w1_key, (*per_unit, d_model), d_model**-0.5),
        b1=jnp.zeros(per_unit),
        w2=normal(w2_key, (*per_unit, d_model), branch_scale(sizes, n_blocks)),
        b2=jnp.zeros(d_model),
    )


def hardened(model: Tree) -> Tree:
    """The same parameters, with hard masks and no noise whatever the key."""
    return with_masks(model, temperature=0.0, hard_probability=1.0)


def with_masks(model: Tree, **how: float) -> Tree:
    """The same parameters in layers with another ``temperature`` or ``hard_probability``."""

    def change(part):
        return replace(part, **how) if isinstance(part, SparseFeedForward) else part

    return jax.tree.map(change, model, is_leaf=lambda part: isinstance(part, SparseFeedForward))


# In eight bits --------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class EightBitRows:
    """(n_blocks, N, d_model) in the place of an array of which rows are gathered.

    Numbers of one unit share a scale. Four codes stand in one number of 32 bits: rows are gathered
    number by number.
    """

    words: Parameter  # (n_blocks, N, d_model / 4) int32
    scale: Parameter  # (n_blocks, N)

    def chosen(self, units: Integer[Array, "n_blocks"]) -> tuple[Float[Array, "n d_model"], Array]:
        """The codes of one unit of each block, as float32, and their scales."""
        words = chosen(self.words, units)
        # Without a barrier each word would be gathered four times, once for each of its codes.
        codes = lax.bitcast_convert_type(lax.optimization_barrier(words), jnp.int8)
        return codes.reshape(len(units), -1).astype(jnp.float32), chosen(self.scale, units)


def as_rows(w: Array) -> EightBitRows:
    """Raises ValueError unless d_model is a multiple of 4."""
    require(w.shape[-1] % 4 == 0, f"d_model must be a multiple of 4; got {w.shape[-1]}.")
    units = quantize(w)
    words = lax.bitcast_convert_type(units.values.reshape(*w.shape[:-1], -1, 4), jnp.int32)
    return EightBitRows(words, units.absmax[..., 0] / LARGEST)


@register_dataclass
@dataclass(frozen=True)
class EightBitSparseFeedForward(SparseFeedForward):
    """A `SparseFeedForward` whose w1 and w2 are `EightBitRows`; it chooses by the highest score."""

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Integer[Array, "length n_blocks"]]:
        units = strongest_units(self.scores(x)) if replay is None else replay
        return lax.map(lambda position: self.of_one(*position), (x, units)), units

    def gathered(self, x: Stream) -> Stream:
        return self(x)[0]

    def of_one(self, x: Float[Array, "d_model"], units: Integer[Array, "n_blocks"]):
        (w1, scale1), (w2, scale2) = self.w1.chosen(units), self.w2.chosen(units)
        hidden = jax.nn.relu(w1 @ x * scale1 + chosen(self.b1, units))
        return (hidden * scale2) @ w2 + self.b2

    def in_eight_bits(self) -> "EightBitSparseFeedForward":
        raise ValueError("the model's feed-forward layers are in eight bits already.")
