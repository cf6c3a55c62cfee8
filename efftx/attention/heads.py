"""From one head to all heads of a batch, with the memory of a few."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from efftx.validation import check_positive, describe, require


def map_heads(attend: Callable, *arrays, at_once: int = 1):
    """attend(*arrays) for every leading index, as in (batch, n_heads, length, d).

    The leading axes are all but the last two of the first array. Every other array starts with the
    same axes, or with 1 where it is shared, and keeps whatever follows them: buckets
    (batch, n_heads, n_hashes, length), a mask (batch, 1, length), keys (batch, n_heads). Only
    ``at_once`` heads are worked on at a time, forward and backward, so the working memory stays
    that of ``at_once`` heads. What ``attend`` *keeps* for its backward pass is kept for all of
    them: O(length) for blocked, shared-QK and LSH attention; wrap others in ``jax.checkpoint``.

    Raises ValueError for leading axes that do not fit and at_once < 1.
    """
    check_positive(at_once=at_once)
    require(
        len(arrays) >= 1 and arrays[0].ndim >= 2,
        "map_heads needs at least one array, the first of shape (…, length, d).",
    )
    leading = arrays[0].shape[:-2]
    for array in arrays[1:]:
        start = array.shape[: len(leading)]
        fits = len(start) == len(leading) and all(
            n in (1, n_first) for n, n_first in zip(start, leading, strict=True)
        )
        require(
            fits,
            f"the leading axes of each array must be {leading}, those of the first, or 1; "
            f"got {describe(array)}.",
        )
    flat = [_flatten_leading(array, leading) for array in arrays]
    # A batch of one would be a leading axis of 1, for which XLA finds slower loops on a CPU.
    batch_size = at_once if at_once > 1 else None
    results = lax.map(lambda one_head: attend(*one_head), flat, batch_size=batch_size)
    return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), results)


def _flatten_leading(array, leading):
    rest = array.shape[len(leading) :]
    return jnp.broadcast_to(array, (*leading, *rest)).reshape(-1, *rest)
