"""Exercise 11's experiment: too few modules read more than a dense layer, too many more again."""

from functools import cache

import numpy as np

from efftx import sparsity
from efftx.check.promises import numbers_read

D_MODEL = 256
MODULES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DENSE = 3 * D_MODEL**2  # queries, keys and values


@cache
def weights_read(n_modules: int) -> int:
    """How many weights `efftx.sparsity.sparse_qkv` reads for one token."""
    d_module = D_MODEL // n_modules
    shapes = {
        "x": (1, D_MODEL),
        "d": (D_MODEL, n_modules),
        "e": (D_MODEL, d_module),
        "kernel": (3, 3, d_module, 3, d_module),
    }
    case = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    read = (numbers_read(sparsity.sparse_qkv, case, name) for name in ("d", "e", "kernel"))
    return sum(n for n in read if n)


def fewest() -> int:
    """The number of modules with which a token reads the fewest."""
    return min(MODULES, key=weights_read)
