"""How much of a model a step reads: what decoding on one device is limited by."""

from collections.abc import Callable

import jax

from efftx.models.branch import branches
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.transformer import LanguageModel

Model = LanguageModel | EncoderDecoder


def weights_read(model: Model) -> int:
    """How many of the model's numbers a step reads to get from one token to the next.

    Of an embedding that is one row of each table, of a sparse feed-forward layer the controller and
    the chosen units, of cross-attention not the projections of keys and values, for what they make
    of the source is remembered. Everything else of the decoder is read whole.
    """
    return _read(model, lambda array: array.size)


def bytes_read(model: Model) -> int:
    """The same in bytes, whatever the numbers are stored in."""
    return _read(model, lambda array: array.size * array.dtype.itemsize)


def _read(model: Model, of_array: Callable) -> int:
    def of(tree) -> int:
        return sum(map(of_array, jax.tree.leaves(tree)))

    rows = sum(
        of(table) * table.shape[-1] // table.size for table in jax.tree.leaves(model.embedding)
    )
    of_branches = sum(branch.read(of) for branch in branches(model.decoding_blocks))
    return rows + of_branches + of(model.readout)
