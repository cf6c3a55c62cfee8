"""A model with arrays for each layer, which a step reads where they lie.

Models are *stacked*: a parameter of all layers is one array, and going through the depth is a loop
that is compiled once. In each turn the loop copies its layer's share of the arrays before a matrix
is multiplied with. Beside products with thousands of vectors that is nothing. A step multiplies
with one vector, and to read the weights is all its work: there the copy costs more than the rest.

*By layer* there is no loop and no copy. The price is a program that grows with the depth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
from jax import lax
from jax.tree_util import register_dataclass

from efftx.models.cross_attention import CrossAttention
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.layers import Logits, Stream
from efftx.models.residuals import n_stacked
from efftx.models.sparse_layers import MultiplicativeReadout, SparseFeedForward
from efftx.models.transformer import LanguageModel

Model = LanguageModel | EncoderDecoder


def by_layer(model: Model) -> Model:
    """The same model for generating: ``generate(by_layer(model), prompt, n_new, key)``.

    Its blocks are a pattern that has as many slots as there are layers, each with a stack of one.
    So everything that takes a model takes it. The arrays are copied here, once.

    Only where layers hash it is not quite the same: from the same key they draw other hashes.
    """
    readout, blocks = model.readout, one_slot_each(_blocks(model))
    sparse = type(readout) is MultiplicativeReadout
    changed = {_field(model): blocks, "readout": by_rows(readout) if sparse else readout}
    return replace(model, **changed)


def one_slot_each(blocks) -> tuple:
    """A block, or a pattern of blocks, as a pattern that is gone through once."""
    slots = blocks if isinstance(blocks, tuple) else (blocks,)
    return tuple(
        jax.tree.map(lambda stack, i=i: stack[i : i + 1], slot)
        for i in range(n_stacked(blocks))
        for slot in slots
    )


@register_dataclass
@dataclass(frozen=True)
class ReadoutByRows(MultiplicativeReadout):
    """A readout whose w is D (d_model, S) and E's transpose (⌈vocab/S⌉, d_model).

    Of a matrix and few vectors a product is fastest in this order, with a row for each number that
    comes out: twice as fast here as the other.
    """

    def __call__(self, x: Stream) -> Logits:
        d, rows = self.w

        def of_one(x):
            # Without a barrier XLA turns the product around, to save turning its result.
            by_token = lax.optimization_barrier(rows @ (x[:, None] * d))
            return by_token.T.reshape(-1)[: self.vocab]

        return lax.map(of_one, self.norm(x))


def by_rows(readout: MultiplicativeReadout) -> ReadoutByRows:
    d, e = readout.w
    return ReadoutByRows(readout.norm, (d, e.T), vocab=readout.vocab)


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

    tables = jax.tree.leaves(model.embedding)
    rows = sum(of(table) * table.shape[-1] // table.size for table in tables)
    layers = jax.tree.leaves(_blocks(model), is_leaf=_is_read_in_part)
    return rows + of(model.readout) + sum(of(layer) - _left_unread(layer, of) for layer in layers)


def _is_read_in_part(part) -> bool:
    return isinstance(part, SparseFeedForward | CrossAttention)


def _left_unread(part, of: Callable) -> int:
    if isinstance(part, SparseFeedForward):
        units = of((part.w1, part.b1, part.w2))
        return units - units // part.b1.shape[-1]
    return of(part.w_in) * 2 // 3 if isinstance(part, CrossAttention) else 0


def _field(model: Model) -> str:
    return "decoder" if isinstance(model, EncoderDecoder) else "blocks"


def _blocks(model: Model):
    return getattr(model, _field(model))
