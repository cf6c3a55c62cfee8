"""Checkpoints that survive a kill at any moment: the file is the old one or the new one, whole.

A checkpoint is an npz with one array for each leaf of a pytree, named by its path, and beside them
what the run *is* (its configuration), so that no run goes on from another's state.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from efftx.models.parameters import Tree, named_parameters, with_parameters
from efftx.validation import require

CONFIG = "config"


def folder_from_command_line(description: str, default: Path) -> Path:
    """What a script's ``--checkpoints`` names, made if it is not there; its help is line one."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, default=default)
    folder = parser.parse_args().checkpoints
    folder.mkdir(exist_ok=True)
    return folder


def save(path: Path | str, tree, config: dict | None = None) -> None:
    """Write a checkpoint beside its place, force it to the disk, then move it there in one step."""
    path = Path(path)
    arrays = {name: np.asarray(leaf) for name, leaf in named_parameters(tree).items()}
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        np.savez(file, **arrays, **{CONFIG: as_json(config)})
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the move is already safe
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the move itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: Path | str, like: Tree, config: dict | None = None) -> Tree:
    """The tree that was saved; `like` gives its structure, shapes and dtypes.

    Raises ValueError if the file's arrays are not those of `like`, or its configuration is another.
    """
    with np.load(path) as file:
        arrays = dict(file)
    check_config(path, saved=json.loads(str(arrays.pop(CONFIG))), ours=json.loads(as_json(config)))
    dtypes = {name: leaf.dtype for name, leaf in named_parameters(like).items()}
    for name, array in arrays.items():
        if array.dtype.kind == "V":  # npz knows no bfloat16 and hands back two raw bytes
            arrays[name] = array.view(dtypes[name])
    return with_parameters(like, arrays)


def as_json(config: dict | None) -> str:
    return json.dumps(config or {}, sort_keys=True)


def check_config(path: Path | str, saved: dict, ours: dict) -> None:
    differences = [
        f"{name}: {saved.get(name)!r} there, {ours.get(name)!r} here"
        for name in sorted(saved.keys() | ours.keys())
        if saved.get(name) != ours.get(name)
    ]
    require(
        not differences,
        f"{Path(path).name} is the checkpoint of another run ({'; '.join(differences)}). "
        "Remove it to start anew, or give the run another file.",
    )
