"""Sparse parts in the places of a Transformer's: the feed-forward layer and the readout.

    language_model(
        key, sizes,
        partial(init_sparse_attention, n_projections=3, attend=full),
        partial(init_sparse_feed_forward, n_units=64),
        residual,
    )

They are called as the parts of `layers` are. In training pass a key: the controllers draw from it.
The third sparse part has a module of its own, `sparse_attention`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float

from efftx.models.layers import (
    Logits,
    OptionalKey,
    Parameter,
    Readout,
    Sizes,
    Stream,
    branch_scale,
    init_norm,
    normal,
)
from efftx.models.parameters import Tree
from efftx.sparsity import (
    controller_scores,
    default_d_lowrank,
    gathered_feed_forward,
    masked_feed_forward,
    multiplicative_logits,
    n_blocks_of,
    sparsity_mask,
    strongest_units,
)
from efftx.validation import check_positive

# Feed-forward ---------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class SparseFeedForward:
    """A feed-forward layer whose controller turns on one unit in each block of N.

    Called with a key it is in training, see `sparsity_mask`: masks are soft now and hard then, and
    hard ones noisy. Without a key, and when it generates, it is what it will be: hard, no noise.
    Where other layers need the key, as for their hashes, `hardened` makes a model to evaluate.
    """

    c1: Parameter  # (d_model, d_lowrank)
    c2: Parameter  # (d_lowrank, n_blocks, N)
    w1: Parameter  # (n_blocks, N, d_model)
    b1: Parameter  # (n_blocks, N)
    w2: Parameter  # (n_blocks, N, d_model)
    b2: Parameter  # (d_model,)
    temperature: float = field(default=0.1, kw_only=True, metadata={"static": True})
    hard_probability: float = field(default=0.3, kw_only=True, metadata={"static": True})

    def __call__(self, x: Stream, key: OptionalKey = None, extra: Any = None) -> Stream:
        return self.with_replay(x, key, extra)[0]

    def with_replay(self, x: Stream, key=None, extra: Any = None, replay: Any = None) -> tuple:
        """y and the chosen units; all units are computed, then masked."""
        how = {"temperature": self.temperature, "hard_probability": self.hard_probability}
        mask, units = sparsity_mask(self.scores(x), key, replay, **how)
        return masked_feed_forward(x, mask, *self.weights), units

    def gathered(self, x: Stream) -> Stream:
        """y without a key, from the chosen units' weights alone: for one position or a few."""
        return gathered_feed_forward(x, strongest_units(self.scores(x)), *self.weights)

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        """y of a prompt; there is nothing to remember."""
        return self(x), ()

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra: Any = None) -> tuple:
        """y of one position, for which no other unit's weights are read."""
        return self.gathered(x), cache

    def scores(self, x: Stream) -> Float[Array, "length n_blocks n_units"]:
        return controller_scores(x, self.c1, self.c2)

    @property
    def weights(self) -> tuple:
        return self.w1, self.b1, self.w2, self.b2


def init_sparse_feed_forward(
    key, sizes: Sizes, *, n_units: int = 64, d_lowrank: int | None = None
) -> SparseFeedForward:
    """One unit in each block of N = n_units is on; d_lowrank is d_model/N if it is not given.

    Scores start with variance 1. W2 starts √N times as large as a dense layer's, since of its rows
    only one in N adds to the sum.
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


# Readout --------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class MultiplicativeReadout(Readout):
    """A readout whose w are the factors of a matrix: D (d_model, S) and E (d_model, ⌈vocab/S⌉)."""

    vocab: int = field(metadata={"static": True})

    def __call__(self, x: Stream) -> Logits:
        return multiplicative_logits(self.norm(x), *self.w, self.vocab)


def init_multiplicative_readout(key, sizes: Sizes, *, n_modules: int = 4) -> MultiplicativeReadout:
    """Scores start as small as those of a dense readout."""
    check_positive(n_modules=n_modules)
    d_key, e_key = jax.random.split(key)
    d = normal(d_key, (sizes.d_model, n_modules), 1.0)
    e = normal(e_key, (sizes.d_model, -(-sizes.vocab // n_modules)), 0.02)
    return MultiplicativeReadout(init_norm(sizes), (d, e), vocab=sizes.vocab)
