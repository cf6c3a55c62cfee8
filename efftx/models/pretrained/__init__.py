"""Small models that were trained for the course, and a text that they never saw.

Chapters look at the vectors, attention maps, buckets and units of these models, so that what they
show is real. ``experiments/small_text_model.py`` trained two of them and
``experiments/sparse_quality.py`` a Terraformer; they wrote the files beside this module.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import jax
import numpy as np

from efftx.models.kinds import Exact, Shared
from efftx.models.layer import Sizes
from efftx.models.parameters import Tree, named_parameters, with_parameters
from efftx.models.terraformer import terraformer
from efftx.models.transformer import LanguageModel, transformer
from efftx.validation import check_choice

FILE = files(__package__) / "small_text_model.npz"
KINDS = ("shared_qk", "plain")
TERRAFORMER = files(__package__) / "small_terraformer.npz"
TERRAFORMER_PARTS = {"n_units": 16, "d_lowrank": 8, "sru": 16, "readout_modules": 4}


def small_text_model(kind: str = "shared_qk") -> LanguageModel:
    """A byte-level language model of Python source: with shared-QK attention, or the "plain" one.

    Raises ValueError if there is no such kind.
    """
    check_choice("kind", kind, KINDS)
    key, sizes = jax.random.key(0), small_text_sizes()
    attention = Shared() if kind == "shared_qk" else Exact()
    shapes = jax.eval_shape(lambda: transformer(key, sizes, kind=attention))
    return loaded(shapes, FILE, kind)


def small_terraformer() -> LanguageModel:
    """A byte-level Terraformer of Python source: one in 16 of its units is on.

    For texts of at most `small_terraformer_sizes`'s max_len bytes, generated ones included.
    """
    key, sizes = jax.random.key(0), small_terraformer_sizes()
    shapes = jax.eval_shape(lambda: terraformer(key, sizes, **TERRAFORMER_PARTS))
    return loaded(shapes, TERRAFORMER, "terraformer")


def small_text_sizes() -> Sizes:
    """The sizes of both kinds of `small_text_model`."""
    return sizes_in(FILE)


def small_terraformer_sizes() -> Sizes:
    return sizes_in(TERRAFORMER)


def example_text() -> np.ndarray:
    """Bytes (uint8) of Python source that was held out in training."""
    return contents(FILE)["example_text"].copy()


def loaded(shapes: Tree, file: Path, kind: str) -> Tree:
    arrays = {name: contents(file)[f"{kind}.{name}"] for name in named_parameters(shapes)}
    return with_parameters(shapes, arrays)


def sizes_in(file: Path) -> Sizes:
    return Sizes(**json.loads(str(contents(file)["sizes"])))


@cache
def contents(file: Path) -> Mapping[str, np.ndarray]:
    with file.open("rb") as opened, np.load(opened) as arrays:
        return dict(arrays)


def write(
    path: Path, models: Mapping[str, LanguageModel], sizes: Sizes, **texts: np.ndarray
) -> None:
    """Write a file that the functions above read; float16 halves it and costs no quality."""
    arrays = {
        f"{kind}.{name}": np.asarray(array, np.float16)
        for kind, model in models.items()
        for name, array in named_parameters(model).items()
    }
    np.savez_compressed(path, sizes=json.dumps(vars(sizes)), **texts, **arrays)
