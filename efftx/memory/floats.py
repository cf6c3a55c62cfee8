"""The part of a pytree that has gradients, taken out and put back."""

import jax
import jax.numpy as jnp


def floats(tree):
    """The tree with None in the place of what has no gradient: integers, masks, keys."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else None, tree)


def with_floats(changed, tree):
    """The tree with these floats in the place of its own."""
    return jax.tree.map(
        lambda x, own: own if x is None else x, changed, tree, is_leaf=lambda x: x is None
    )


def no_gradient(tree):
    """Zeros in the place of the tree's floats."""
    return jax.tree.map(jnp.zeros_like, floats(tree))
