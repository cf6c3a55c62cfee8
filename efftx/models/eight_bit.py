"""A model whose large matrices are stored in eight bits a number, for generating.

In eight bits a model takes a quarter of the room, and what does not fit into memory cannot be
generated with at all. Codes become float32 as they are multiplied, never a whole matrix at once.
Vectors, caches and all that is small stay as they are.

Numbers that share a scale, see :func:`efftx.memory.quantize`, are those that are multiplied and
added up together: a dense matrix's weights of one number that comes out, a sparse feed-forward
layer's of one unit.
"""

import jax

from efftx.models.layer import Layer
from efftx.models.parameters import Tree
from efftx.models.readouts import Readout


def in_eight_bits(model: Tree) -> Tree:
    """The same model, nearly, with the large matrices of its layers and its readout in eight bits.

    Each layer says how, see `Layer.in_eight_bits`: of attention the projections (not those to a
    source), of feed-forward layers, dense or sparse, the two matrices. Controllers, modules,
    convolutions, SRUs and embeddings stay. It generates; it does not train.

    Raises ValueError for a layer that has no such form, and for a model that is in eight bits.
    """

    def is_part(part) -> bool:
        return isinstance(part, Layer | Readout)

    return jax.tree.map(
        lambda part: part.in_eight_bits() if is_part(part) else part, model, is_leaf=is_part
    )
