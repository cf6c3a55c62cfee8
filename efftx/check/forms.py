"""What an answer may look like: any form that says the same thing is taken, and any other refused.

Lists and numbers of Python become arrays, whole numbers may be floats, and 0 and 1 bools. Nothing
is converted that would lose something: a bfloat16 has three digits, and its other ones are gone.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check.words import form, wrap

KINDS = {
    jnp.bool_: "bool (True and False)",
    jnp.integer: "whole numbers",
    jnp.floating: "floating-point numbers",
}


class WrongForm(Exception):  # noqa: N818  (a learner reads it as a sentence)
    """The type, number, shape or dtype of a result does not fit; the message says how."""


def converted(
    name: str, returns: tuple, result, wanted: tuple, exact: tuple[str, ...] = ()
) -> tuple[np.ndarray, ...]:
    """The results as numpy arrays of the wanted kind and shape; of ``exact`` dtype where named.

    Raises WrongForm with what came and what would be right.
    """
    if result is None:
        raise WrongForm(f"{name} returned None. Is there a `return` at its end?")
    results = (result,) if len(returns) == 1 else result
    if len(returns) > 1 and (not isinstance(result, tuple | list) or len(result) != len(returns)):
        listed = ", ".join(returns)
        raise WrongForm(
            wrap(f"{name} must return {len(returns)} arrays, ({listed}); {_came(result)}.")
        )
    triples = zip(returns, results, wanted, strict=True)
    try:
        return tuple(_as_wanted(one, x, right, one in exact) for one, x, right in triples)
    except WrongForm as problem:
        raise WrongForm(wrap(f"{name}: {problem}")) from None


def _as_wanted(name: str, result, wanted: np.ndarray, exact: bool) -> np.ndarray:
    array = _as_array(name, result)
    if array.shape != wanted.shape:
        raise WrongForm(f"`{name}` must have shape {wanted.shape}; got shape {array.shape}.")
    if exact and array.dtype != wanted.dtype:
        raise WrongForm(f"`{name}` must be of dtype {wanted.dtype}; got {array.dtype}.")
    if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize < 4:
        raise WrongForm(
            f"`{name}` is {array.dtype}, which has rounded the numbers to a few digits. Compute in "
            "float32."
        )
    kind = next(kind for kind in KINDS if jnp.issubdtype(wanted.dtype, kind))
    if not jnp.issubdtype(array.dtype, kind) and not _says_the_same(array, kind):
        raise WrongForm(f"`{name}` must hold {KINDS[kind]}; got {_values(array)}.")
    return array if jnp.issubdtype(array.dtype, kind) else array.astype(wanted.dtype)


def _as_array(name: str, result) -> np.ndarray:
    if hasattr(result, "shape"):
        return np.asarray(result)
    numbers = jax.tree.leaves(result)
    if isinstance(result, str | dict | set) or not all(map(_is_number, numbers)):
        raise WrongForm(
            f"`{name}` must be an array, of jax or of numpy, or numbers; got {form(result)}."
        )
    try:
        return np.asarray(jax.tree.map(np.asarray, result))
    except ValueError:  # numpy's word for rows of unequal length
        raise WrongForm(f"`{name}` must be an array; its rows differ in length.") from None


def _is_number(x) -> bool:
    return isinstance(x, bool | int | float) or hasattr(x, "shape")


def _says_the_same(array: np.ndarray, kind) -> bool:
    """Whether nothing is lost when the array becomes one of this kind."""
    if not any(jnp.issubdtype(array.dtype, known) for known in KINDS):
        return False
    if kind is jnp.bool_:
        return bool(np.isin(array, (0, 1)).all())
    if kind is jnp.integer:
        return bool((array == np.round(array)).all())
    return True


def _values(array: np.ndarray) -> str:
    whole = jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool
    rare = "" if whole or not array.size else f", {array.reshape(-1)[_first_odd(array)]:.5g} say"
    return f"{array.dtype}{rare}"


def _first_odd(array: np.ndarray) -> int:
    return int(np.argmax(array.reshape(-1) != np.round(array.reshape(-1))))


def _came(result) -> str:
    if isinstance(result, tuple | list):
        return f"got {len(result)}"
    return f"got {form(result)}"
