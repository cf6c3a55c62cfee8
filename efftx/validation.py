"""Checks of what a caller passes in: each says what came and what would be right.

They look at shapes, dtypes and plain numbers, so they run before anything is compiled.
"""

from collections.abc import Hashable
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def describe(array) -> str:
    """Dtype and shape of an array in jaxtyping's short form, or the type of anything else."""
    if not hasattr(array, "shape"):
        return f"a {type(array).__name__}"
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def check_vectors(**arrays) -> None:
    """Each array is a non-empty floating (length, width) matrix."""
    for name, array in arrays.items():
        require(
            hasattr(array, "shape") and array.ndim == 2,
            f"{name} must be a (length, width) array of one head; got {describe(array)}. "
            "Map over heads and batch with map_heads or jax.vmap.",
        )
        require(
            min(array.shape) >= 1,
            f"{name} is empty: got {describe(array)}; length and width must be at least 1.",
        )
        require(
            jnp.issubdtype(array.dtype, jnp.floating),
            f"{name} must hold floating-point vectors; got {describe(array)}. "
            "Convert with .astype(jnp.float32).",
        )


def check_same_length(**arrays) -> None:
    """All arrays have as many rows as the first."""
    _check_same("length", 0, arrays)


def check_same_width(**arrays) -> None:
    """All arrays have as many columns as the first."""
    _check_same("width", 1, arrays)


def _check_same(what: str, axis: int, arrays: dict) -> None:
    (first, reference), *others = arrays.items()
    for name, array in others:
        require(
            array.shape[axis] == reference.shape[axis],
            f"{first} and {name} must have the same {what}; "
            f"got {describe(reference)} and {describe(array)}.",
        )


def check_key_mask(key_mask, length: int) -> None:
    """The mask is None or a bool for each key, True where the key may be attended to."""
    if key_mask is None:
        return
    require(
        hasattr(key_mask, "shape") and key_mask.dtype == jnp.bool_,
        f"key_mask must be bool, True for keys that may be attended to; got {describe(key_mask)}.",
    )
    require(
        key_mask.shape == (length,),
        f"key_mask must have shape ({length},), one entry for each key; got {describe(key_mask)}.",
    )


def check_positive(**numbers) -> None:
    """Each number is a whole number of at least 1."""
    for name, number in numbers.items():
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        require(
            whole and number >= 1, f"{name} must be a whole number of at least 1; got {number!r}."
        )


def check_choice(name: str, value, choices: tuple) -> None:
    """The value is one of the choices."""
    listed = " or ".join(map(repr, choices))
    plain = isinstance(value, Hashable)  # an array is not, and cannot be a static choice
    require(plain and value in choices, f"{name} must be {listed}; got {value!r}.")


def check_below(name: str, values, end: int, end_is: str) -> None:
    """Whole numbers lie in 0 … end − 1, where their values are known (not under a trace)."""
    if not values_are_known(values):
        return
    values = np.asarray(values)  # numpy's, since under jit even a known array's min() is traced
    low, high = int(values.min()), int(values.max())
    require(
        low >= 0 and high < end,
        f"{name} must lie in 0 … {end - 1} ({end_is} {end}); got {low} … {high}.",
    )


def values_are_known(array) -> bool:
    """False under a trace (jit, vmap, grad), where an array has only a shape and a dtype."""
    try:
        np.asarray(array)
    except jax.errors.TracerArrayConversionError:
        return False
    return True
