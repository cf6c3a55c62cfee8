"""Named arrays and a description in one file, which is the old one or the new one, whole.

Models and checkpoints are written with it. A file is an npz, which is a zip of npy files, and in it
stands a text, ``efftx.json``: what the file is, and the dtype of each array. So types that NumPy
does not know, as bfloat16 and random keys, come back as what they were. Nothing is pickled.
"""

import json
import os
import zipfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from efftx.dtypes import holds_keys
from efftx.models.parameters import leaves_of, named_parameters, with_parameters
from efftx.validation import require

FORMAT = 1
DESCRIPTION = "efftx.json"
KEY = "key:"  # a random key's dtype is this and its generator's name
DAMAGE = zipfile.BadZipFile, zlib.error, EOFError, ValueError  # JSON's errors are ValueErrors


# Writing --------------------------------------------------------------------------------------


def write(path: Path | str, tree, description: dict) -> None:
    """Write a file beside its place, force it to the disk, then move it there in one step.

    Raises ValueError if two arrays of the tree have one name, for what JSON cannot hold, and where
    no file can be written.
    """
    check_writable(path)
    path, arrays = Path(path), named_arrays(tree)
    dtypes = {name: dtype_name(array) for name, array in arrays.items()}
    text = as_json({**description, "format": FORMAT, "dtypes": dtypes})
    with open(unfinished(path), "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open(DESCRIPTION, "w") as entry:
                entry.write(text.encode())
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, as_numpy(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished(path), path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the move is already safe
        sync_folder(path.parent)


def unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".unfinished")


def sync_folder(folder: Path) -> None:
    """Make the move itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: Path | str) -> None:
    """That a file can be written there, before the hours that lead to it are spent."""
    path = Path(path)
    require(path.parent.is_dir(), f"there is no folder {path.parent} for {path.name}; make it.")
    require(not path.is_dir(), f"{path} is a folder; the name of a file is needed.")
    try:
        unfinished(path).touch()
        unfinished(path).unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error}.") from error


def named_arrays(tree) -> dict:
    """Every leaf by its path, plain numbers as arrays."""
    arrays = {name: as_array(leaf) for name, leaf in named_parameters(tree).items()}
    n_leaves = len(leaves_of(tree))
    require(
        len(arrays) == n_leaves,
        f"{n_leaves} arrays have only {len(arrays)} different names ({', '.join(arrays)}): a name "
        "with a dot in it is the path of another. Rename it.",
    )
    return arrays


def as_array(leaf):
    return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)


def dtype_name(array) -> str:
    """``float32``, ``bfloat16``, or ``key:threefry2x32``."""
    return f"{KEY}{jax.random.key_impl(array)}" if holds_keys(array) else str(array.dtype)


def as_numpy(array) -> np.ndarray:
    return np.asarray(jax.random.key_data(array) if holds_keys(array) else array)


def as_json(value) -> str:
    """The same text for the same value: sorted, NumPy's numbers as Python's.

    Raises ValueError for what JSON cannot hold, as NaN, a function or a path.
    """
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, default=plain)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"only text, finite numbers, bools, None, lists and dictionaries with text as keys can "
            f"be written: {error}."
        ) from error


def plain(value):
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return value.tolist()
    raise TypeError(f"got {value!r}, a {type(value).__name__}")


# Reading --------------------------------------------------------------------------------------


def read(path: Path | str) -> tuple[dict, dict]:
    """The arrays by name, and the description.

    Raises ValueError, which names the file, if there is none, if it is not one of these or no
    longer whole, or if a later version of the package wrote it.
    """
    path = Path(path)
    require(path.is_file(), f"there is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays, description = contents(archive)
    except DAMAGE as error:
        raise ValueError(
            f"{path} is no file of efftx, or it is cut or damaged ({error}). It is left as it is: "
            "name another file, or move this one away."
        ) from error
    written = description["format"]
    require(
        written <= FORMAT,
        f"{path} is of format {written}, and this version of efftx reads up to {FORMAT}: a later "
        "one wrote it, and can read it.",
    )
    dtypes = description["dtypes"]
    return {name: restored(array, dtypes[name]) for name, array in arrays.items()}, description


def contents(archive: zipfile.ZipFile) -> tuple[dict, dict]:
    arrays = {}
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as entry:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(entry)
    if DESCRIPTION not in archive.namelist():
        return before_descriptions(arrays)
    description = json.loads(archive.read(DESCRIPTION))
    known = isinstance(description, dict) and isinstance(description.get("format"), int)
    require(known, f"its {DESCRIPTION} has no format")
    if description["format"] <= FORMAT:
        require(description["dtypes"].keys() == arrays.keys(), "it has not the arrays it lists")
    return arrays, description


def before_descriptions(arrays: dict) -> tuple[dict, dict]:
    """Of a checkpoint as the first version wrote it: dtypes as npz has them, config as an array."""
    require("config" in arrays, f"there is no {DESCRIPTION} in it")
    config = json.loads(str(arrays.pop("config")))
    require(isinstance(config, dict), "what it calls config is none")
    # Of a type that npz does not know it kept the raw bytes; with two of them that is bfloat16.
    dtypes = {n: "bfloat16" if a.dtype == "V2" else a.dtype.str for n, a in arrays.items()}
    return arrays, {"format": 0, "kind": "checkpoint", "config": config, "dtypes": dtypes}


def restored(array: np.ndarray, dtype: str):
    """What was written, from its bytes."""
    return array.view(dtype) if array.dtype.kind == "V" else as_key(array, dtype)


def as_key(array, dtype: str):
    """The random key of these bits, if it is one; any other array as it is."""
    is_one = dtype.startswith(KEY)
    return jax.random.wrap_key_data(array, impl=dtype.removeprefix(KEY)) if is_one else array


def filled(tree, arrays: dict):
    """The same tree holding these arrays, in the dtypes of its leaves: see `fitted`.

    Raises ValueError as `fitted` does, and as `efftx.models.parameters.with_parameters`.
    """
    arrays = fitted(tree, arrays)
    bits = jax.tree.map(
        lambda x: jax.eval_shape(jax.random.key_data, x) if holds_keys(x) else x, tree
    )
    found = with_parameters(bits, {name: as_numpy(array) for name, array in arrays.items()})
    leaves = [as_key(x, dtype_name(arrays[name])) for name, x in named_parameters(found).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def fitted(tree, arrays: dict) -> dict:
    """The arrays in the dtypes of the tree's leaves of these names; all others as they are.

    Between kinds of floating-point numbers they are converted by value, which rounds where the new
    one is narrower; between kinds of integers too. Raises ValueError, which names both dtypes,
    where a finite number would become infinite, an integer another, or a kind of number another.
    """
    leaves = named_arrays(tree)
    return {n: converted(n, a, leaves[n].dtype) if n in leaves else a for n, a in arrays.items()}


def converted(name: str, array, dtype):
    if array.dtype == dtype:
        return array
    if array.dtype.type is np.void and array.dtype.itemsize == dtype.itemsize:
        return array.view(dtype)  # a file without dtypes
    floats = jnp.issubdtype(dtype, jnp.floating)
    kind = jnp.floating if floats else jnp.integer
    require(
        all(jnp.issubdtype(each, kind) for each in (array.dtype, dtype)),
        f"{name} is {array.dtype} in the file and {dtype} here, another kind of number.",
    )
    with np.errstate(over="ignore", invalid="ignore"):
        new = array.astype(dtype)
    kept = np.isfinite(new) == np.isfinite(array) if floats else new == array
    require(bool(kept.all()), f"{name} is {array.dtype} in the file; {dtype} cannot hold it all.")
    return new
