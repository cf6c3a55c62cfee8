"""How many parameters sparse and dense layers have, and how wide makes them equal.

Sparse QKV has far fewer parameters than dense attention. To compare a sparse model with a dense one
of the same size, its feed-forward layers are made wider.

Source of the balance: Jaszczur et al. 2021, arXiv 2111.12763, section 4; there d_ff + 2·d_model
units, in which controllers are not counted.
"""

from efftx.sparsity.qkv import d_module_of
from efftx.validation import check_positive, require


def n_blocks_of(d_ff: int, n_units: int) -> int:
    """How many blocks of N = n_units the d_ff units make; ValueError if one were not full."""
    check_positive(d_ff=d_ff, n_units=n_units)
    require(
        d_ff % n_units == 0,
        f"d_ff must be a multiple of N = {n_units}, the units of one block; got {d_ff}. "
        f"The next is {-(-d_ff // n_units) * n_units}.",
    )
    return d_ff // n_units


def n_dense_attention(d_model: int, n_projections: int = 3) -> int:
    """q, k and v (or qk and v), and the output projection, each d_model²; heads fill d_model."""
    return (n_projections + 1) * d_model**2


def n_dense_feed_forward(d_model: int, d_ff: int) -> int:
    """W1, b1, W2, b2: 2·d_model·d_ff + d_ff + d_model."""
    return 2 * d_model * d_ff + d_ff + d_model


def n_multiplicative(d_in: int, n_modules: int, d_module: int) -> int:
    """D and E; with M = d_in/S this is S·d_in + d_in²/S."""
    return d_in * (n_modules + d_module)


def n_sparse_qkv(d_model: int, n_modules: int, n_projections: int = 3, kernel_size: int = 3) -> int:
    """D and E, and for each projection a kernel_size² · M² convolution.

    Raises ValueError unless the modules fill d_model.
    """
    d_module = d_module_of(d_model, n_modules)
    convolutions = n_projections * kernel_size**2 * d_module**2
    return n_multiplicative(d_model, n_modules, d_module) + convolutions


def n_sparse_feed_forward(
    d_model: int, d_ff: int, n_units: int, d_lowrank: int | None = None
) -> int:
    """The dense layer's, and the controller's C1 and C2, d_lowrank · (d_model + d_ff).

    Raises ValueError unless the blocks of N = n_units fill d_ff.
    """
    n_blocks_of(d_ff, n_units)
    d_lowrank = default_d_lowrank(d_model, n_units) if d_lowrank is None else d_lowrank
    return n_dense_feed_forward(d_model, d_ff) + d_lowrank * (d_model + d_ff)


def default_d_lowrank(d_model: int, n_units: int) -> int:
    """d_model/N, the paper's: then the controller reads about as much as a layer's chosen rows."""
    return max(d_model // n_units, 1)


def widened_d_ff(
    d_model: int,
    d_ff: int,
    *,
    n_modules: int,
    n_units: int,
    d_lowrank: int | None = None,
    n_projections: int = 3,
) -> int:
    """The d_ff of a sparse block with the parameters of a dense one, controller counted.

    It is the largest multiple of N that does not exceed them. Layer norms are the same in both.

    Raises ValueError if there is none, where dense blocks are so small that modules and controller
    alone have more parameters.
    """
    check_positive(d_model=d_model, d_ff=d_ff, n_units=n_units)
    dense = n_dense_attention(d_model, n_projections) + n_dense_feed_forward(d_model, d_ff)
    one_block, two_blocks = (
        n_sparse_qkv(d_model, n_modules, n_projections)
        + n_sparse_feed_forward(d_model, n_blocks * n_units, n_units, d_lowrank)
        for n_blocks in (1, 2)
    )
    require(
        one_block <= dense,
        f"a dense block of d_model {d_model} and d_ff {d_ff} has {dense:,} parameters, and a "
        f"sparse one with a single block of N = {n_units} units already {one_block:,}.",
    )
    return n_units * (1 + (dense - one_block) // (two_blocks - one_block))
