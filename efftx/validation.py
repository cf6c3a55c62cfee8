"""Checks of what a caller passes in: each says what came and what would be right.

They look at shapes, dtypes and plain numbers, so they run before anything is compiled.
"""

from collections.abc import Hashable
from numbers import Integral, Number

import jax
import jax.numpy as jnp
import numpy as np

from efftx.dtypes import holds_keys

NEEDS_AUTO = (
    "efftx needs Auto: jax.make_mesh(…, axis_types=(jax.sharding.AxisType.Auto,) * n_axes)."
)


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
            getattr(array, "ndim", 0) == 2,
            f"{name} must be a (length, width) array of one example; got {describe(array)}. "
            "Map over a batch with jax.vmap.",
        )
        check_stream(**{name: array})


def check_vectors_of_head(**arrays) -> None:
    """Each array is a non-empty floating (length, width) matrix, of one attention head."""
    for name, array in arrays.items():
        require(
            getattr(array, "ndim", 0) == 2,
            f"{name} must be a (length, width) array of one head; got {describe(array)}. "
            "Map over heads and batch with map_heads or jax.vmap.",
        )
        check_stream(**{name: array})


def check_stream(**arrays) -> None:
    """Each array holds floating vectors, (…, length, width) with any leading axes or none."""
    for name, array in arrays.items():
        require(
            getattr(array, "ndim", 0) >= 2,
            f"{name} must be a (length, width) array, or (…, length, width) with leading axes, as "
            f"a batch; got {describe(array)}.",
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
        check_not_explicit(**{name: array})


def check_not_explicit(**trees) -> None:
    """No array is spread over an Explicit axis, where each operation would ask where to."""
    for name, tree in trees.items():
        for array in filter(_is_spread, jax.tree.leaves(tree)):
            raise ValueError(
                f"{name} is spread over an Explicit axis of its mesh ({jax.typeof(array)}), as "
                f"jax.make_mesh makes it unless told otherwise. {NEEDS_AUTO}"
            )


def _is_spread(array) -> bool:
    """Over an Explicit axis: of no other one does an array's type speak."""
    known = isinstance(array, jax.Array) and not holds_keys(array)
    return known and any(jax.typeof(array).sharding.spec)


def check_leaves(**trees) -> None:
    """Trees of arrays and numbers, not of functions or names beside them."""
    for name, tree in trees.items():
        for leaf in jax.tree.leaves(tree):
            require(
                hasattr(leaf, "shape") or isinstance(leaf, Number),
                f"{name} must hold arrays and numbers; got {describe(leaf)}. Keep apart what is "
                "none, as equinox.partition(module, equinox.is_array) does, and put them together "
                "inside.",
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
    check_not_explicit(key_mask=key_mask)


def check_key(**keys) -> None:
    """Each is one typed key."""
    for name, key in keys.items():
        require(
            is_key(key),
            f"{name} must be one key from jax.random.key(seed); got {describe(key)}."
            f"{hint_for_key(key)}",
        )


def is_key(key) -> bool:
    """Whether this is one typed key."""
    return holds_keys(key) and key.shape == ()


def hint_for_key(key) -> str:
    """What helps where something else came: a key as jax once made them, or many keys."""
    dtype, shape = (getattr(key, name, None) for name in ("dtype", "shape"))
    if holds_keys(key):
        return " Pass one of these keys, key[0] say, or map over them with jax.vmap."
    if dtype == jnp.uint32 and shape and shape[-1] in (2, 4):
        return (
            " It looks like a key of the old kind: make it with jax.random.key(seed), or wrap it "
            "with jax.random.wrap_key_data(key)."
        )
    return ""


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
    """False under a trace (jit, vmap, grad), where an array has only a shape and a dtype.

    False, too, for an array of which other processes hold a part.
    """
    try:
        return getattr(array, "is_fully_addressable", True)
    except jax.errors.ConcretizationTypeError:
        return False


def check_padding_last(key_mask, length: int) -> None:
    """A key mask whose padding comes last, where its values are known (not under a trace)."""
    check_key_mask(key_mask, length)
    if key_mask is None or not values_are_known(key_mask):
        return
    mask = np.asarray(key_mask)
    n_tokens = int(mask.sum())
    require(
        n_tokens >= 1 and bool(mask[:n_tokens].all()),
        "key_mask must be True for at least one token and then False for the padding, which comes "
        f"last; got {n_tokens} True among {length}, not all of them in front.",
    )
