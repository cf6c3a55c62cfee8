"""A model's parameters by name, for files, counts and tables."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from efftx.validation import describe, require

Tree = TypeVar("Tree")


def named_parameters(tree) -> dict:
    """Every array of a model (or any pytree) by its path, like ``blocks.attention.norm.scale``."""
    return {keystr(path, simple=True, separator="."): leaf for path, leaf in leaves_of(tree)}


def with_parameters(tree: Tree, arrays: dict) -> Tree:
    """The same tree holding these arrays, by name; of its own it needs only shapes and dtypes.

    Raises ValueError if a name is missing or left over, or if a shape differs.
    """
    expected = named_parameters(tree)
    missing, unknown = expected.keys() - arrays.keys(), arrays.keys() - expected.keys()
    require(not missing, f"no array for {', '.join(sorted(missing))}.")
    require(not unknown, f"nothing in the tree is called {', '.join(sorted(unknown))}.")
    for name, leaf in expected.items():
        require(
            arrays[name].shape == leaf.shape,
            f"{name} must have shape {leaf.shape}; got {describe(arrays[name])}.",
        )
    leaves = [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def n_parameters(tree) -> int:
    """How many numbers a model consists of."""
    return sum(leaf.size for _, leaf in leaves_of(tree))


def leaves_of(tree) -> list:
    return tree_flatten_with_path(tree)[0]
