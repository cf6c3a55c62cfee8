"""A recurrent language model: one position after the other, all that was read in one small state.

The interface is that of `LanguageModel`, so that both train and are measured in the same loops. An
LSTM carries two vectors from position to position: the cell, to which each step adds and from which
it erases, and the output, what it shows of the cell. Whatever a position is to know of an earlier
one has to pass through all the steps between.

Source: Hochreiter & Schmidhuber 1997; with the forget gate of Gers, Schmidhuber & Cummins 2000.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Key

from efftx.models.embedding import check_tokens
from efftx.models.layers import (
    Logits,
    OptionalKey,
    Parameter,
    Readout,
    Sizes,
    Stream,
    Tokens,
    init_readout,
    normal,
)


@register_dataclass
@dataclass(frozen=True)
class LSTM:
    """One layer: four gates, each a matrix for what comes in and one for its own last output."""

    w_in: Parameter  # (d_model, 4, d_model)
    w_state: Parameter  # (d_model, 4, d_model)
    b: Parameter  # (4, d_model)

    def __call__(self, x: Stream) -> Stream:
        """The output at each position."""
        nothing = jnp.zeros(x.shape[1], x.dtype)
        return self.go_on((nothing, nothing), x)[1]

    def go_on(self, state: tuple, x: Stream) -> tuple:
        """From the state before to the state after, and the outputs.

        Inputs are projected all at once, the rest is a loop.
        """
        projected = jnp.einsum("lm,mgn->lgn", x, self.w_in) + self.b
        return jax.lax.scan(self.step, state, projected)

    def step(self, state, projected: Float[Array, "gates d_model"]):
        """One position: f and i say what the cell forgets and takes in, o what of it is shown.

        c ← σ(f) c + σ(i) tanh(g),  h ← σ(o) tanh(c)
        """
        cell, output = state
        f, i, g, o = projected + jnp.einsum("m,mgn->gn", output, self.w_state)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (cell, output), output


@register_dataclass
@dataclass(frozen=True)
class RecurrentModel:
    """Scores every next token: ``model(tokens) -> logits``."""

    embedding: Parameter  # (vocab, d_model); the order of steps says where a token stands
    layers: LSTM  # all of them: each array has a leading axis of size n_layers
    readout: Readout

    def __call__(self, tokens: Tokens, key: OptionalKey = None) -> Logits:
        """The logits of the token that follows each position; ``key`` is not used.

        Any number of tokens; raises ValueError unless they are a vector of integers, and where
        their values are known (not under a trace) unless they lie in the vocabulary.
        """
        return self.readout(self.last_vectors(tokens))

    def last_vectors(self, tokens: Tokens, key: OptionalKey = None) -> Stream:
        """What the readout reads. Each layer adds to what comes in, as in a Transformer."""
        check_tokens(tokens, len(self.embedding))
        x = self.embedding[tokens]
        return jax.lax.scan(lambda x, layer: (x + layer(x), None), x, self.layers)[0]


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
