"""A feed-forward layer of which a position uses one unit in each block of N.

    Y = ReLU(x W1 + b1) ⊙ Controller(x),        out = Y W2 + b2

The d_ff units stand in blocks of N. The controller gives each unit a score, x C1 C2, through a
bottleneck of d_lowrank numbers; in each block the unit with the highest score is on. Of a unit that
is off nothing is needed, neither its column of W1 nor its row of W2.

Training computes all units and multiplies with a mask, through which the controller learns. Then
*gathering* reads d_ff/N columns and rows only.

Weights lie as they are gathered: a unit's column of W1 is one row of ``w1`` here, its row of W2 one
of ``w2``, each contiguous in memory. The axes say N, so that nobody has to pass it:

    c1 (d_model, d_lowrank)    c2 (d_lowrank, n_blocks, N)
    w1 (n_blocks, N, d_model)    b1 (n_blocks, N)    w2 (n_blocks, N, d_model)    b2 (d_model,)

Source: Jaszczur et al. 2021, arXiv 2111.12763, section 3.1; training as in trax's SparseFF.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer, Key

from efftx.dtypes import DRAWN, sum_dtype
from efftx.precision import OF_CHOICES, exactly
from efftx.validation import (
    check_below,
    check_key,
    check_not_explicit,
    check_vectors,
    describe,
    require,
)

Stream = Float[Array, "length d_model"]
Scores = Float[Array, "length n_blocks n_units"]
Units = Integer[Array, "length n_blocks"]
PerUnit = Float[Array, "n_blocks n_units"]
RowPerUnit = Float[Array, "n_blocks n_units d_model"]


# Choosing -------------------------------------------------------------------------------------


def controller_scores(
    x: Stream,
    c1: Float[Array, "d_model d_lowrank"],
    c2: Float[Array, "d_lowrank n_blocks n_units"],
) -> Scores:
    """x C1 C2: a score for every unit, block by block, in at least float32.

    Raises ValueError for shapes that do not fit.
    """
    check_vectors(x=x)
    check_not_explicit(c1=c1, c2=c2)
    require(
        c1.ndim == 2 and c2.ndim == 3 and c1.shape == (x.shape[1], c2.shape[0]),
        "c1 must be (d_model, d_lowrank) and c2 (d_lowrank, n_blocks, N) for x's d_model = "
        f"{x.shape[1]}; got {describe(c1)} and {describe(c2)}.",
    )
    narrow = jnp.matmul(x, c1, precision=OF_CHOICES)
    scores = jnp.einsum("lr,rbn->lbn", narrow, c2, precision=OF_CHOICES)
    return scores.astype(sum_dtype(scores.dtype))


def strongest_units(scores: Scores) -> Units:
    """In each block the unit with the highest score, 0 … N − 1, in the narrowest integer type."""
    # An argmax that is twice as fast on a CPU: XLA compares numbers many at once, pairs with their
    # places one by one.
    highest, last = scores.max(axis=-1, keepdims=True), scores.shape[-1] - 1
    units = jnp.where(scores == highest, jnp.arange(last + 1), last).min(axis=-1)
    return units.astype(np.min_scalar_type(last))


def units_to_mask(units: Units, n_units: int) -> Scores:
    """1 for each unit that is on, 0 for the others of its block."""
    return jax.nn.one_hot(units, n_units, dtype=jnp.float32)


def sparsity_mask(
    scores: Scores,
    key: Key[Array, ""] | None = None,
    units: Units | None = None,
    *,
    temperature: int | float = 0.1,
    hard_probability: int | float = 0.3,
) -> tuple[Scores, Units]:
    r"""The mask for all units, and which units are on: how the controller is trained.

    The *soft* mask is the softmax of a block's scores. The *hard* mask has a 1 where log soft +
    temperature · Gumbel noise is highest, and 0 elsewhere; its gradient is that of the soft mask
    (straight-through). With a ``key`` a coin decides for the whole call: hard with probability
    hard_probability, else soft. Without a key there is no noise and the mask is hard, as it is when
    the chosen units are gathered.

    The units are those of the hard mask, on whichever side the coin falls. Pass them as ``units``
    to have them again, as a reversible layer must: from a rebuilt x the highest score might be
    another's. The coin follows the key. Under jit the values of ``units`` cannot be checked; they
    must lie in 0 … N − 1.

    Raises ValueError for a key that is none, a probability outside [0, 1], a negative temperature,
    and units that do not fit.
    """
    require(
        0 <= hard_probability <= 1, f"hard_probability must lie in 0 … 1; got {hard_probability}."
    )
    require(temperature >= 0, f"temperature must not be negative; got {temperature}.")
    if key is not None:
        check_key(key=key)
    log_soft = jax.nn.log_softmax(scores, axis=-1)
    if units is None:
        units = strongest_units(log_soft + _noise(key, temperature, scores))
    check_units(units, scores.shape)
    soft, hard = jnp.exp(log_soft), units_to_mask(units, scores.shape[-1])
    # What is added is exactly 0; added in another order, 1 would come out as 1 ± rounding.
    hard = hard + (soft - lax.stop_gradient(soft))
    if key is None:
        return hard, units
    coin = jax.random.bernoulli(jax.random.fold_in(key, 1), jnp.float32(hard_probability))
    return jnp.where(coin, hard, soft), units


def _noise(key, temperature, scores):
    if key is None or temperature == 0:
        return 0
    noise = jax.random.gumbel(jax.random.fold_in(key, 0), scores.shape, DRAWN)
    return temperature * noise.astype(scores.dtype)


# Computing ------------------------------------------------------------------------------------


def masked_feed_forward(
    x: Stream,
    mask: Scores,
    w1: RowPerUnit,
    b1: PerUnit,
    w2: RowPerUnit,
    b2: Float[Array, "d_model"],
) -> Stream:
    """All units, then the mask: what is trained, and what is fastest for many positions at once.

    Raises ValueError for shapes that do not fit.
    """
    check_weights(x, w1, b1, w2, b2)
    check_mask(mask, (len(x), *b1.shape))
    hidden = jax.nn.relu(jnp.einsum("ld,bnd->lbn", x, w1) + b1)
    return jnp.einsum("lbn,bnd->ld", hidden * mask.astype(hidden.dtype), w2) + b2


def gathered_feed_forward(
    x: Stream,
    units: Units,
    w1: RowPerUnit,
    b1: PerUnit,
    w2: RowPerUnit,
    b2: Float[Array, "d_model"],
) -> Stream:
    """Only the chosen units: of 2·d_model·d_ff weights a position reads 2·d_model·d_ff/N.

    Equal to :func:`masked_feed_forward` with the hard mask of these units. One position after the
    other, each with the memory of its own rows; so it is for one position or a few.

    Raises ValueError for shapes that do not fit and, where their values are known (not under a
    trace), for units outside 0 … N − 1.
    """
    check_weights(x, w1, b1, w2, b2)
    check_units(units, (len(x), *b1.shape))

    def of_position(position):
        x, units = position
        hidden = jax.nn.relu(chosen(w1, units) @ x + chosen(b1, units))
        return hidden @ chosen(w2, units) + b2

    return lax.map(of_position, (x, units))


def chosen(per_unit, units: Integer[Array, "n_blocks"]):
    """What belongs to one unit of each block."""
    of_units = jnp.asarray(per_unit).at[jnp.arange(len(units)), units]
    return of_units.get(mode="promise_in_bounds", unique_indices=True)


@exactly
def sparse_feed_forward_reference(
    x: Stream,
    units: Units,
    w1: RowPerUnit,
    b1: PerUnit,
    w2: RowPerUnit,
    b2: Float[Array, "d_model"],
) -> Stream:
    """The definition of :func:`gathered_feed_forward`: a loop over positions and blocks."""
    check_not_explicit(x=x, units=units, w1=w1, b1=b1, w2=w2, b2=b2)
    results = []
    for position, chosen in zip(x, units, strict=True):
        y = b2
        for block, unit in enumerate(chosen):
            hidden = jax.nn.relu(w1[block, unit] @ position + b1[block, unit])
            y = y + hidden * w2[block, unit]
        results.append(y)
    return jnp.stack(results)


# Checks ---------------------------------------------------------------------------------------


def check_weights(x, w1, b1, w2, b2) -> None:
    check_vectors(x=x)
    check_not_explicit(w1=w1, b1=b1, w2=w2, b2=b2)
    d_model = x.shape[1]
    require(
        w1.ndim == 3 and w1.shape[2] == d_model,
        f"w1 must be (n_blocks, N, d_model = {d_model}), a row for each unit; got {describe(w1)}.",
    )
    require(
        (w2.shape, b1.shape, b2.shape) == (w1.shape, w1.shape[:2], (d_model,)),
        f"w2 must have w1's shape {w1.shape}, b1 {w1.shape[:2]} and b2 ({d_model},); "
        f"got {describe(w2)}, {describe(b1)} and {describe(b2)}.",
    )


def check_mask(mask, shape: tuple[int, ...]) -> None:
    require(
        mask.shape == shape,
        f"the mask must have shape (length, n_blocks, N) = {shape}; got {describe(mask)}.",
    )


def check_units(units, shape: tuple[int, ...]) -> None:
    """One unit for each of (length, n_blocks, N)'s blocks; values are checked where known."""
    length, n_blocks, n_units = shape
    require(
        jnp.issubdtype(getattr(units, "dtype", None), jnp.integer)
        and units.shape == (length, n_blocks),
        f"units must be integers of shape (length, n_blocks) = ({length}, {n_blocks}); "
        f"got {describe(units)}.",
    )
    check_below("units", units, n_units, "N =")
