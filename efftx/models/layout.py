"""A model with arrays for each layer, which a step reads where they lie.

Models are *stacked*: a parameter of all layers is one array, and going through the depth is a loop
that is compiled once. In each turn the loop copies its layer's share of the arrays before a matrix
is multiplied with. Beside products with thousands of vectors that is nothing. A step multiplies
with one vector, and to read the weights is all its work: there the copy costs more than the rest.

*By layer* there is no loop and no copy. The price is a program that grows with the depth.
"""

import jax

from efftx.models.branch import n_stacked
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.transformer import LanguageModel


def by_layer(model: LanguageModel | EncoderDecoder) -> LanguageModel | EncoderDecoder:
    """The same model for generating: ``generate(by_layer(model), prompt, n_new, key)``.

    Its blocks are a pattern that has as many slots as there are layers, each with a stack of one.
    So everything that takes a model takes it. The arrays are copied here, once.

    Only where layers hash it is not quite the same: from the same key they draw other hashes.
    """
    return model.laid_out(one_slot_each)


def one_slot_each(blocks) -> tuple:
    """A block, or a pattern of blocks, as a pattern that is gone through once."""
    slots = blocks if isinstance(blocks, tuple) else (blocks,)
    return tuple(
        jax.tree.map(lambda stack, i=i: stack[i : i + 1], slot)
        for i in range(n_stacked(blocks))
        for slot in slots
    )
