"""Two small models that were trained for the course, and a text that they never saw.

Chapters look at the vectors, attention maps and buckets of these models, so that what they show is
real. ``experiments/small_text_model.py`` trained them and wrote the file beside this module.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import jax
import numpy as np

from efftx.models.layers import Sizes
from efftx.models.parameters import named_parameters, with_parameters
from efftx.models.transformer import LanguageModel, transformer
from efftx.validation import check_choice

FILE = files(__package__) / "small_text_model.npz"
KINDS = ("shared_qk", "plain")


def small_text_model(kind: str = "shared_qk") -> LanguageModel:
    """A byte-level language model of Python source: with shared-QK attention, or the "plain" one.

    Raises ValueError if there is no such kind.
    """
    check_choice("kind", kind, KINDS)
    sizes, key = small_text_sizes(), jax.random.key(0)
    shapes = jax.eval_shape(lambda: transformer(key, sizes, shared_qk=kind == "shared_qk"))
    arrays = {name: contents()[f"{kind}.{name}"] for name in named_parameters(shapes)}
    return with_parameters(shapes, arrays)


def small_text_sizes() -> Sizes:
    """The sizes of both models."""
    return Sizes(**json.loads(str(contents()["sizes"])))


def example_text() -> np.ndarray:
    """Bytes (uint8) of Python source that was held out in training."""
    return contents()["example_text"].copy()


@cache
def contents() -> Mapping[str, np.ndarray]:
    with FILE.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def write(
    path: Path, models: Mapping[str, LanguageModel], sizes: Sizes, example_text: np.ndarray
) -> None:
    """Write the file that the functions above read; float16 halves it and costs no quality."""
    arrays = {
        f"{kind}.{name}": np.asarray(array, np.float16)
        for kind, model in models.items()
        for name, array in named_parameters(model).items()
    }
    sizes_as_text = json.dumps(vars(sizes))
    np.savez_compressed(path, sizes=sizes_as_text, example_text=example_text, **arrays)
