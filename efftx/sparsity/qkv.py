"""Queries, keys and values from few parameters: a multiplicative layer, then a convolution.

The *multiplicative layer* makes d_model numbers, S modules of M = d_model/S each, from d_model:

    y_{s,m} = Σ_i x_i D_{i,s} E_{i,m}        D: (d_model, S), E: (d_model, M)

It is the dense layer whose weight is W_{i,(s,m)} = D_{i,s} E_{i,m}, with S·d_model + d_model²/S
parameters instead of d_model². It can move every number to any place (`permutation_factors`).

Then comes a *convolution* over (length, module), whose channels are the M numbers of a module. It
lets neighbouring modules and positions see each other, never a later position. Queries, keys and
values share the multiplicative layer; each has its own convolution. There is no output projection.

Source: Jaszczur et al. 2021, arXiv 2111.12763, section 3.2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from efftx.dtypes import sum_dtype
from efftx.precision import exactly
from efftx.validation import check_not_explicit, check_positive, check_vectors, describe, require

Modules = Float[Array, "length n_modules d_module"]
Kernel = Float[Array, "kernel_length kernel_modules d_module d_out"]
History = Float[Array, "kernel_length_minus_1 n_modules d_module"]


# Multiplicative layer -------------------------------------------------------------------------


def multiplicative(
    x: Float[Array, "length d_model"],
    d: Float[Array, "d_model n_modules"],
    e: Float[Array, "d_model d_module"],
) -> Modules:
    """y_{s,m} = Σ_i x_i D_{i,s} E_{i,m} of each position.

    Few positions are multiplied with D, then with E: nothing but D and E is read. For more than M
    of them it is less work to multiply D with E first, once.

    Raises ValueError for shapes that do not fit.
    """
    check_factors(x, d, e)
    if len(x) <= e.shape[1]:
        return jnp.einsum("lis,im->lsm", x[:, :, None] * d, e)
    return jnp.einsum("li,ism->lsm", x, d[:, :, None] * e[:, None, :])


def multiplicative_reference(
    x: Float[Array, "length d_model"],
    d: Float[Array, "d_model n_modules"],
    e: Float[Array, "d_model d_module"],
) -> Modules:
    """The definition of :func:`multiplicative`: a loop over what comes out; nothing is checked."""
    check_not_explicit(x=x, d=d, e=e)
    (_, n_modules), (_, d_module) = d.shape, e.shape
    return jnp.stack(
        [
            jnp.stack([(x * d[:, s] * e[:, m]).sum(-1) for m in range(d_module)], axis=-1)
            for s in range(n_modules)
        ],
        axis=1,
    )


def permutation_factors(
    permutation: Integer[np.ndarray, "d_model"], n_modules: int
) -> tuple[Float[np.ndarray, "d_model n_modules"], Float[np.ndarray, "d_model d_module"]]:
    """D and E with which y, module after module, is x[permutation].

    The number x_i has to arrive at one place, number o with permutation[o] = i, that is in module
    s = o // M at m = o % M. So row i of D has its only 1 at s, and row i of E at m; their product
    is 1 at this place and 0 at all others.

    Raises ValueError for numbers that are no permutation, or that n_modules does not divide.
    """
    permutation = np.asarray(permutation)
    d_module = d_module_of(permutation.size, n_modules)
    place = np.argsort(permutation)
    require(
        np.array_equal(permutation[place], np.arange(permutation.size)),
        f"a permutation has each of 0 … {permutation.size - 1} once; got {permutation}.",
    )
    return np.eye(n_modules)[place // d_module], np.eye(d_module)[place % d_module]


def d_module_of(d_model: int, n_modules: int) -> int:
    """M, the width of one of S = n_modules modules; ValueError if they did not fill d_model."""
    check_positive(d_model=d_model, n_modules=n_modules)
    require(
        d_model % n_modules == 0,
        f"d_model must be a multiple of S = {n_modules}, the number of modules; got {d_model}.",
    )
    return d_model // n_modules


# Convolution ----------------------------------------------------------------------------------


def convolution(y: Modules, kernel: Kernel) -> Float[Array, "length n_modules d_out"]:
    """z_{t,s} = Σ_{i,j} y_{t+1+i−I, s+j−J//2} K_{i,j}, with zeros outside, for an (I, J) kernel.

    Along the length it is causal, its last row looks at t itself; along the modules it looks to
    both sides. Any length, also one below I.

    Raises ValueError for shapes that do not fit and an even number of modules in the kernel.
    """
    check_kernel(y, kernel)
    return _convolve(jnp.pad(y, ((len(kernel) - 1, 0), (0, 0), (0, 0))), kernel)


@jax.checkpoint  # keeps y, not each module with its neighbours
def _convolve(seen, kernel):
    """Of the rows of y and those before: as products of matrices.

    Of XLA's own convolution, mapped over a batch that lies on several devices, jax 0.10 to 0.12
    give wrong gradients of the kernel; and on CPUs this is as fast.
    """
    rows, columns, _, d_out = kernel.shape
    dtype = jnp.result_type(seen, kernel)
    padded = jnp.pad(seen, ((0, 0), (columns // 2, columns // 2), (0, 0)))
    length, n_modules = len(seen) + 1 - rows, seen.shape[1]
    beside = _side_by_side([padded[:, j : j + n_modules] for j in range(columns)])
    # Many positions meet one row of the kernel after the other, in the memory of one. A few meet
    # all at once, so that no part of the kernel is copied, which would take longer than the rest.
    at_once = 1 if length > rows else rows
    z = 0
    for i in range(0, rows, at_once):
        y = _side_by_side([beside[r : r + length] for r in range(i, i + at_once)])
        weights = kernel[i : i + at_once].reshape(-1, d_out)
        z += jnp.matmul(y, weights, preferred_element_type=sum_dtype(dtype))
    return z.astype(dtype)


def _side_by_side(arrays):
    return jnp.concatenate(arrays, axis=-1)


@exactly
def convolution_reference(y: Modules, kernel: Kernel) -> Float[Array, "length n_modules d_out"]:
    """The definition of :func:`convolution`: a loop over the kernel's rows and columns."""
    check_not_explicit(y=y, kernel=kernel)
    (length, n_modules, _), (rows, columns) = y.shape, kernel.shape[:2]
    padded = jnp.pad(y, ((rows - 1, 0), (columns // 2, columns // 2), (0, 0)))
    z = 0
    for i in range(rows):
        for j in range(columns):
            z = z + padded[i : i + length, j : j + n_modules] @ kernel[i, j]
    return z


def no_history(kernel: Kernel, n_modules: int) -> History:
    """What stands before the first position, of :func:`convolution_step`: zeros."""
    shape = kernel.shape[0] - 1, n_modules, kernel.shape[2]
    return jnp.zeros_like(jnp.asarray(kernel), shape=shape)


def convolution_step(
    y: Modules, history: History, kernel: Kernel
) -> tuple[Float[Array, "length n_modules d_out"], History]:
    """:func:`convolution` of the next position, or of the next few, and the history after them.

    The history is what stands before: the last rows of y, as many as the kernel looks back.

    Raises ValueError for shapes that do not fit.
    """
    check_kernel(y, kernel)
    require(
        history.shape == (kernel.shape[0] - 1, *y.shape[1:]),
        f"the history must hold the {kernel.shape[0] - 1} rows before y, each {y.shape[1:]}; "
        f"got {describe(history)}.",
    )
    seen = jnp.concatenate([history.astype(y.dtype), y])
    return _convolve(seen, kernel), seen[len(y) :]


# Queries, keys and values ---------------------------------------------------------------------


def sparse_qkv(
    x: Float[Array, "length d_model"],
    d: Float[Array, "d_model n_modules"],
    e: Float[Array, "d_model d_module"],
    kernels: Float[Array, "kernel_length kernel_modules d_module projections d_module"],
    history: History | None = None,
) -> tuple[Float[Array, "projections length n_modules d_module"], History]:
    """q, k and v of each position from one multiplicative layer and a convolution for each.

    With two kernels it is qk and v, for shared-QK and LSH attention. The history is that of
    :func:`convolution_step`: without one, x begins at the first position.

    Returns the projections, and the history after x. Raises ValueError for shapes that do not fit.
    """
    y = multiplicative(x, d, e)
    check_not_explicit(kernels=kernels, history=history)
    together = kernels.reshape(*kernels.shape[:3], -1)  # one convolution with all their outputs
    history = no_history(together, y.shape[1]) if history is None else history
    z, history = convolution_step(y, history, together)
    z = z.reshape(*y.shape[:2], kernels.shape[3], kernels.shape[4])
    return jnp.moveaxis(z, 2, 0), history


def check_factors(x, d, e) -> None:
    check_vectors(x=x)
    check_not_explicit(d=d, e=e)
    require(
        (d.ndim, e.ndim) == (2, 2) and len(d) == len(e) == x.shape[1],
        f"D must be (d_model, S) and E (d_model, M) for x's d_model = {x.shape[1]}; "
        f"got {describe(d)} and {describe(e)}.",
    )


def check_kernel(y, kernel) -> None:
    check_not_explicit(y=y, kernel=kernel)
    require(
        y.ndim == 3 and kernel.ndim == 4 and kernel.shape[2] == y.shape[2],
        "y must be (length, S, M) and the kernel (I, J, M, d_out); "
        f"got {describe(y)} and {describe(kernel)}.",
    )
    require(
        kernel.shape[1] % 2 == 1,
        "a kernel must look as far to one side as to the other, at an odd number of modules; "
        f"got {kernel.shape[1]}.",
    )
