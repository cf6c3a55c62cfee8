"""Checkpoints that survive a kill at any moment: the file is the old one or the new one, whole.

A checkpoint is a file of `efftx.models.npz`: an array for each leaf of a pytree, named by its path,
and beside them what the run *is* (its configuration), so that no run goes on from another's state.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from efftx.models import npz
from efftx.models.files import described_if_possible
from efftx.models.parameters import Tree
from efftx.validation import require

KIND = "checkpoint"
MODEL = "model"  # the field of a training state that holds it


def save(path: Path | str, tree, config: dict | None = None, *, model: Any = None) -> None:
    """Write a tree beside its place, force it to the disk, then move it there in one step.

    The leaves may have any dtype of jax, random keys included. With ``model``, the part of the tree
    that is called so, `efftx.models.files.load_model` finds it in the file.

    Raises ValueError for a configuration that is no JSON, for two leaves of one name, and where no
    file can be written.
    """
    description = {"kind": KIND, "config": config or {}}
    if model is not None:
        description |= described_if_possible(model, MODEL)
    npz.write(path, tree, description)


def load(path: Path | str, like: Tree, config: dict | None = None) -> Tree:
    """The tree that was saved; `like` gives its structure, shapes and dtypes.

    What was saved in another floating-point dtype is converted by value; so are integers, if they
    stay what they are.

    Raises ValueError if the file is not there, cut, or no checkpoint, if its arrays are not those
    of `like`, a dtype cannot hold them, or its configuration is another.
    """
    return fill(path, like, arrays_of(path, config))


def model_of(path: Path | str, like: Tree) -> Tree:
    """The model of a training run's checkpoint, without its optimiser; `like` as in `load`.

    `efftx.models.files.load_model` needs no `like`, but a file that says how the model is built:
    those of the first version do not, nor those of models with classes or functions of your own.
    """
    arrays, _ = read(path)
    start = f"{MODEL}."
    of_model = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
    return fill(path, like, of_model)


def check_savable(path: Path | str, tree, config: dict | None = None) -> None:
    """That `save` will succeed with arrays like these, before anything was computed.

    Raises ValueError for a missing folder, a file that cannot be written, a configuration that is
    no JSON, and for two leaves of one name.
    """
    npz.as_json(config or {})
    npz.named_arrays(tree)
    npz.check_writable(path)


def arrays_of(path: Path | str, config: dict | None, *, ignored: tuple[str, ...] = ()) -> dict:
    """The arrays by name, if the configuration is the same but for what is ignored."""
    arrays, saved = read(path)
    ours = json.loads(npz.as_json(config or {}))
    for name in ignored:
        saved.pop(name, None)
    check_config(path, saved, ours)
    return arrays


def read(path: Path | str) -> tuple[dict, dict]:
    """Arrays and configuration."""
    arrays, description = npz.read(path)
    kind = description["kind"]
    require(kind == KIND, f"{path} is no checkpoint but a {kind}; load_model reads that.")
    return arrays, description["config"]


def fill(path: Path | str, like: Tree, arrays: dict) -> Tree:
    like = jax.tree.map(as_jax, like)
    try:
        return npz.filled(like, arrays)
    except ValueError as error:
        raise ValueError(f"{Path(path).name} is the checkpoint of another tree: {error}") from error


def as_jax(leaf):
    """With the dtype that jax gives it."""
    return leaf if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) else jnp.asarray(leaf)


def check_config(path: Path | str, saved: dict, ours: dict) -> None:
    differences = [
        f"{name}: {saved.get(name)!r} there, {ours.get(name)!r} here"
        for name in sorted(saved.keys() | ours.keys())
        if saved.get(name) != ours.get(name)
    ]
    require(
        not differences,
        f"{Path(path).name} is the checkpoint of another run ({'; '.join(differences)}). "
        "To go on with it, pass what it was trained with; else give this run another file.",
    )
