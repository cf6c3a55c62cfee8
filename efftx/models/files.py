"""A model in a file, and back: its parameters and what they are the parameters of.

    save_model("reader.npz", model)
    model = load_model("reader.npz")

Beside the arrays the file holds a description of the structure in JSON: the dataclasses of this
package by name, with their fields, down to the names of the arrays. So a file can name classes of
efftx and nothing else, and reading it runs no code but theirs.
"""

import importlib
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from efftx.models import npz
from efftx.validation import require

KIND = "model"
OURS = re.compile(r"efftx(\.\w+)*:\w+(\.\w+)*")
KEPT = "numbers, text, dtypes, None, tuples, lists, dictionaries, and the dataclasses of efftx"


def save_model(path: Path | str, model) -> None:
    """Write a model so that `load_model` finds it as it is, to the bit.

    A model is a registered dataclass of this package, or a tuple, list or dictionary of models and
    arrays. A file that is there already is replaced at once, by the whole new one.

    Raises ValueError where a static field holds a function or anything else that no file can keep,
    for classes from elsewhere, and where nothing can be written.
    """
    arrays: dict = {}
    description = checked_description(model, arrays, "")
    npz.write(path, arrays, {"kind": KIND, KIND: description})


def load_model(path: Path | str):
    """The model of a file that `save_model` wrote, or of a training run's checkpoint.

    Of a checkpoint neither the optimiser nor the configuration is needed.

    Raises ValueError, which names the file, if it is not there, cut or from elsewhere, if a later
    version of the package wrote it, or if it names a class or field that is no longer there.
    """
    arrays, description = npz.read(path)
    described = description.get(KIND)
    require(
        described is not None,
        f"{path} does not say how its model is built ({description.get('unsaid', 'it is old')}). "
        "efftx.training.checkpoints.model_of(path, like) reads it into a model that you build.",
    )
    try:
        return built(described, arrays)
    except (ValueError, KeyError) as error:
        raise ValueError(f"the model in {path} cannot be built: {error}") from error


def described_if_possible(model, name: str) -> dict:
    """For the file of something larger, in which the model's arrays begin with this name."""
    try:
        return {KIND: checked_description(model, {}, name)}
    except ValueError as error:
        return {KIND: None, "unsaid": str(error)}


# Describing -----------------------------------------------------------------------------------


def checked_description(model, arrays: dict, name: str):
    """The structure as JSON has it; puts the arrays into ``arrays`` by their path."""
    description = described(model, name, arrays)
    again = jax.tree.structure(built(description, arrays))
    require(
        again == jax.tree.structure(model),
        f"a {type(model).__name__} that is built from its fields is not the same: {again}.",
    )
    return description


def described(value, path: str, arrays: dict | None) -> Any:
    """A value in JSON; without ``arrays`` it belongs to a static field, and may hold none."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return described_array(value, path, arrays)
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) in (tuple, list):
        named = [described(x, f"{path}.{i}".lstrip("."), arrays) for i, x in enumerate(value)]
        return {type(value).__name__: named}
    if type(value) is dict and all(isinstance(name, str) for name in value):
        return {
            "dict": {n: described(x, f"{path}.{n}".lstrip("."), arrays) for n, x in value.items()}
        }
    if isinstance(value, np.dtype):
        return {"dtype": str(value)}
    require(is_dataclass(value) and not isinstance(value, type), refusal(value, path))
    return described_dataclass(value, path, arrays)


def described_array(value, path: str, arrays: dict | None):
    if arrays is None:
        require(
            value.ndim == 0, f"{path} is static, and holds an array; static fields hold {KEPT}."
        )
        return value.item()
    require(path not in arrays, f"two arrays are called {path}; a name must not hold a dot.")
    arrays[path] = value
    return {"array": path}


def described_dataclass(value, path: str, arrays: dict | None) -> dict:
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    require(bool(OURS.fullmatch(name)), refusal(value, path))
    leaf = jax.tree_util.all_leaves([value])  # not registered: all that it holds is static
    return {
        "class": name,
        "fields": {
            field.name: described(
                getattr(value, field.name),
                f"{path}.{field.name}".lstrip("."),
                None if leaf or field.metadata.get("static") else arrays,
            )
            for field in fields(value)
            if field.init
        },
    }


def refusal(value, path: str) -> str:
    what = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{path or 'the model'} is {what}, of {type(value).__module__}; a file keeps {KEPT}."


# Building -------------------------------------------------------------------------------------


def built(description, arrays: dict):
    """The value that was described."""
    if not isinstance(description, dict):
        return description
    if "class" in description:
        return built_dataclass(description["class"], description["fields"], arrays)
    ((what, content),) = description.items()
    return BUILDERS[what](content, arrays)


BUILDERS: dict[str, Callable] = {
    "array": lambda name, arrays: as_saved(name, arrays[name]),
    "float": lambda text, arrays: float(text),
    "dtype": lambda name, arrays: jnp.dtype(name),
    "tuple": lambda values, arrays: tuple(built(value, arrays) for value in values),
    "list": lambda values, arrays: [built(value, arrays) for value in values],
    "dict": lambda values, arrays: {name: built(value, arrays) for name, value in values.items()},
}


def as_saved(name: str, array) -> jax.Array:
    """The array as jax's, if jax keeps its dtype."""
    ours = jnp.asarray(array)
    require(
        ours.dtype == array.dtype,
        f"{name} is {array.dtype}, which jax makes {ours.dtype} unless jax_enable_x64 is set.",
    )
    return ours


def built_dataclass(name: str, values: dict, arrays: dict):
    known = {field.name: field for field in fields(class_called(name)) if field.init}
    unknown = ", ".join(values.keys() - known.keys())
    require(not unknown, f"{name} no longer has {unknown}.")
    for field in known.values():
        default = field.default is not MISSING or field.default_factory is not MISSING
        require(field.name in values or default, f"{name} has a new field, {field.name}.")
    return class_called(name)(**{n: built(value, arrays) for n, value in values.items()})


def class_called(name: str) -> type:
    """One of this package's dataclasses, by module and name."""
    require(bool(OURS.fullmatch(name)), f"{name} is no class of efftx.")
    module, _, qualname = name.partition(":")
    try:
        found = attrgetter(qualname)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"this version of efftx has no {name}.") from error
    require(isinstance(found, type) and is_dataclass(found), f"{name} is no dataclass of efftx.")
    return found
