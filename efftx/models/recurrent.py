"""A recurrent language model: one position after the other, all that was read in one small state.

The interface is that of `LanguageModel`, so that both train and are measured in the same loops. An
LSTM carries two vectors from position to position: the cell, to which each step adds and from which
it erases, and the output, what it shows of the cell. Whatever a position is to know of an earlier
one has to pass through all the steps between.

Source: Hochreiter & Schmidhuber 1997; with the forget gate of Gers, Schmidhuber & Cummins 2000.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Key

from efftx.memory.loops import zeros_after
from efftx.models.branch import Branch
from efftx.models.embedding import Embedding, check_tokens
from efftx.models.layer import (
    NOTHING,
    Extra,
    KeyMask,
    Layer,
    Logits,
    OptionalKey,
    Parameter,
    Sizes,
    Source,
    Stream,
    Tokens,
    normal,
)
from efftx.models.norm import UNNORMED
from efftx.models.parts import Parts
from efftx.models.readouts import Readout, init_readout
from efftx.models.residuals import plain_residual
from efftx.validation import check_not_explicit, check_padding_last, require


@register_dataclass
@dataclass(frozen=True)
class LSTM(Layer):
    """One layer: four gates, each a matrix for what comes in and one for its own last output."""

    w_in: Parameter  # (d_model, 4, d_model)
    w_state: Parameter  # (d_model, 4, d_model)
    b: Parameter  # (4, d_model)

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, None]:
        """The output at each position."""
        return self.go_on(self.start(x), x)[1], None

    def start(self, x: Stream) -> tuple:
        """The state before the first position: nothing."""
        nothing = zeros_after(x[:1], x[0])
        return nothing, nothing

    def go_on(self, state: tuple, x: Stream) -> tuple:
        """From the state before to the state after, and the outputs.

        Inputs are projected all at once, the rest is a loop.
        """
        projected = jnp.einsum("lm,mgn->lgn", x, self.w_in) + self.b
        return jax.lax.scan(self.one_position, state, projected)

    def one_position(self, state, projected: Float[Array, "gates d_model"]):
        """One position: f and i say what the cell forgets and takes in, o what of it is shown.

        c ← σ(f) c + σ(i) tanh(g),  h ← σ(o) tanh(c)
        """
        cell, output = state
        f, i, g, o = projected + jnp.einsum("m,mgn->gn", output, self.w_state)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (cell, output), output

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        """The outputs on a prompt; the cache is the state after it, whatever the capacity."""
        return self.step(x, self.start(x), None)

    def step(self, x: Stream, cache: tuple, position, key=None, extra=NOTHING) -> tuple:
        state, y = self.go_on(cache, x)
        return y, state


@register_dataclass
@dataclass(frozen=True)
class RecurrentModel:
    """Scores every next token: ``model(tokens) -> logits``."""

    embedding: Parameter  # (vocab, d_model); the order of steps says where a token stands
    layers: Layer  # an LSTM, or one that is adapted: each array has a leading axis of size n_layers
    readout: Readout

    def __call__(
        self, tokens: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Logits:
        """The logits of the token that follows each position.

        ``key`` is not used. Nor does padding, which comes last, matter to what stands before it.

        Any number of tokens; raises ValueError unless they are a vector of integers, and where
        their values are known (not under a trace) unless they lie in the vocabulary.
        """
        return self.readout(self.last_vectors(tokens, key, key_mask=key_mask))

    def last_vectors(
        self, tokens: Tokens, key: OptionalKey = None, *, key_mask: KeyMask = None
    ) -> Stream:
        """What the readout reads. Each layer adds to what comes in, as in a Transformer."""
        check_not_explicit(model=self)
        check_tokens(tokens, self.vocab)
        check_padding_last(key_mask, len(tokens))
        x = self.embedding[tokens]
        return jax.lax.scan(lambda x, layer: (x + layer(x)[0], None), x, self.layers)[0]

    @property
    def vocab(self) -> int:
        return len(self.embedding)

    def parts(self, source: Source | None = None) -> Parts:
        """See :mod:`efftx.models.parts`. Raises ValueError for a source: this model reads none."""
        require(source is None, "a recurrent model reads no source; pass what to go on from.")
        embedding, layers = Embedding(self.embedding, None), (Branch(UNNORMED, self.layers),)
        return Parts(embedding, layers, plain_residual, Extra(), self.readout)

    def laid_out(self, change: Callable) -> "RecurrentModel":
        raise ValueError("a recurrent model is a loop over positions; it has no layout by layer.")


def recurrent(key: Key[Array, ""], sizes: Sizes) -> RecurrentModel:
    """An LSTM model with n_layers layers; of the sizes d_ff, n_heads, d_head play no part."""
    embedding_key, layers_key, readout_key = jax.random.split(key, 3)
    return RecurrentModel(
        embedding=normal(embedding_key, (sizes.vocab, sizes.d_model), 1.0),
        layers=jax.vmap(partial(init_lstm, sizes=sizes))(
            jax.random.split(layers_key, sizes.n_layers)
        ),
        readout=init_readout(readout_key, sizes),
    )


def init_lstm(key, sizes: Sizes) -> LSTM:
    """Forget gates begin open, so that gradients reach far back from the first step on."""
    in_key, state_key = jax.random.split(key)
    shape = (sizes.d_model, 4, sizes.d_model)
    return LSTM(
        w_in=normal(in_key, shape, sizes.d_model**-0.5),
        w_state=normal(state_key, shape, sizes.d_model**-0.5),
        b=jnp.zeros(shape[1:]).at[0].set(1.0),
    )
