"""Generating: a model reads a prompt once, and then each new token alone.

What later positions need of earlier ones stands in caches of a fixed size, so that a step is
compiled once and costs the same at every position. `prefill` reads the prompt, `step` one token,
`generate` chooses tokens and goes on. Every model there is can be decoded: with any residual, and
with layers that are position-wise or have methods ``prefill`` and ``step``, see
:mod:`efftx.models.layers`. A batch is ``jax.vmap``.

With the same key a step gives what the whole model gives at this position of a longer text, to
rounding. LSH attention is the exception: there this holds while no bucket has more than chunk_len
members; beyond that a step finds keys that the whole model's window misses.

For speed lay a model out `by_layer` first: a stacked one copies weights before it multiplies.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import register_dataclass
from jaxtyping import Int, Key

from efftx.attention.full import at_least_float32
from efftx.models.cross_attention import Source
from efftx.models.embedding import Embedding
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.layers import UNNORMED, OptionalKey, Readout, Stream, Tokens
from efftx.models.recurrent import LSTM, RecurrentModel
from efftx.models.residuals import (
    Branch,
    branch_keys,
    branches,
    n_stacked,
    plain_residual,
    reversible_residual,
)
from efftx.models.sampling import NextLogits, pick
from efftx.models.source_first import EmbeddingAfterSource, SourceFirst, embedding_after
from efftx.models.transformer import LanguageModel
from efftx.validation import check_positive, require

Model = LanguageModel | RecurrentModel | EncoderDecoder
STREAMS = {plain_residual: 1, reversible_residual: 2}


@register_dataclass
@dataclass(frozen=True)
class State:
    """All that a model remembers between two tokens."""

    position: Any  # () int32: how many positions were read, the source's included if it was one
    caches: tuple  # for each branch, those of all layers, stacked if there are several
    keys: tuple  # for each branch, those of all layers: hashes must be the same at every step
    source: Any = None  # of an encoder-decoder


def prefill(
    model: Model,
    tokens: Tokens,
    *,
    capacity: int,
    key: OptionalKey = None,
    source: Source | None = None,
) -> tuple[NextLogits, State]:
    """Read a prompt: the logits of what follows it, and the state to go on from.

    ``capacity`` is how many positions there will be at most, the prompt's included. ``key`` is the
    model's, as for the hashes of LSH attention; ``source`` is what an encoder-decoder's ``encode``
    returned, without padding where the decoder reads it as a text (`SourceFirst`).

    Raises ValueError for a capacity below the prompt's length or above max_len, and for layers that
    no step is known of.
    """
    check_positive(capacity=capacity)
    parts = parts_of(model, source)
    x = parts.embedding(tokens)
    positions = parts.embedding.positions
    longest = capacity if positions is None else len(positions)
    require(
        len(tokens) <= capacity <= longest,
        f"capacity must be from {len(tokens)}, the prompt's length, to {longest}, the model's "
        f"max_len; got {capacity}.",
    )
    keys = branch_keys(key, n_stacked(parts.branches), len(parts.branches))
    n_slots = capacity + len(x) - len(tokens)  # more, where the source is read first

    def read(branch, x, key, cache):
        if hasattr(branch.layer, "prefill"):
            return branch.layer.prefill(branch.norm(x), key, source, capacity=n_slots)
        return branch(x, key, source), None

    nothing = (None,) * len(parts.branches)
    x, caches = through_layers(parts, read, x, keys, nothing)
    return parts.readout(x[-1:])[0], State(jnp.int32(len(x)), caches, keys, source)


def step(model: Model, state: State, token: Int[Array, ""]) -> tuple[NextLogits, State]:
    """Read one more token: the logits of what follows it, and the state to go on from.

    There is no check that the state's caches have a place left: that number is known on the device
    only. `generate` sees to it.
    """
    parts = parts_of(model, state.source)

    def read(branch, x, key, cache):
        if hasattr(branch.layer, "step") and cache is not None:
            return branch.layer.step(branch.norm(x), cache, state.position, key, state.source)
        return branch(x, key, state.source), None

    x = parts.embedding.next(token, state.position)
    x, caches = through_layers(parts, read, x, state.keys, state.caches)
    return parts.readout(x)[0], State(state.position + 1, caches, state.keys, state.source)


def generate(
    model: Model,
    prompt: Tokens,
    n_new: int,
    key: Key[Array, ""],
    *,
    temperature: float | int = 1.0,
    top_p: float | int = 1.0,
    stop: int | None = None,
    source: Source | None = None,
) -> Int[Array, "n_new"]:
    """n_new tokens that go on from the prompt.

    Each is drawn from softmax(logits / temperature), cut down to its *nucleus*: the fewest tokens
    that have probability top_p together. Temperature 0 is greedy: always the likeliest token. After
    the token ``stop`` all that follow are ``stop``, too.

    The key is split in two, for the model (its hashes) and for the drawing. A batch of prompts of
    the same length: ``jax.vmap(lambda prompt, key: generate(model, prompt, 100, key))``.

    Raises ValueError for a negative temperature, a top_p outside (0, 1], n_new < 1, and if prompt
    and new tokens are more than max_len.
    Source: nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751.
    """
    check_positive(n_new=n_new)
    require(temperature >= 0, f"temperature must be at least 0 (greedy); got {temperature}.")
    require(0 < top_p <= 1, f"top_p must lie in (0, 1]; got {top_p}.")
    return _generate(
        model,
        jnp.asarray(prompt),
        key,
        source,
        n_new=n_new,
        stop=stop,
        temperature=float(temperature),
        top_p=float(top_p),
    )


@partial(jax.jit, static_argnames=("n_new", "stop", "temperature", "top_p"))
def _generate(model, prompt, key, source, *, n_new, stop, temperature, top_p):
    model_key, draw_key = jax.random.split(key)
    capacity = len(prompt) + n_new
    logits, state = prefill(model, prompt, capacity=capacity, key=model_key, source=source)

    def more(carry):
        i, tokens, _, _ = carry
        stopped = (i > 0) & (tokens[i - 1] == stop) if stop is not None else False
        return (i < n_new) & jnp.logical_not(stopped)

    def write(carry):
        i, tokens, logits, state = carry
        draw = jax.random.fold_in(draw_key, i)
        token = pick(logits, draw, temperature=temperature, top_p=top_p)
        return i + 1, tokens.at[i].set(token), *step(model, state, token)

    tokens = jnp.full(n_new, 0 if stop is None else stop, jnp.int32)
    return lax.while_loop(more, write, (jnp.int32(0), tokens, logits, state))[1]


# What decoding has to know of a model ---------------------------------------------------------


class Parts(NamedTuple):
    """The same of every model: what comes in, what is gone through, what is read out."""

    embedding: Embedding | EmbeddingAfterSource
    branches: tuple[Branch, ...]  # each holds those of all layers
    n_streams: int
    readout: Readout


def parts_of(model: Model, source: Source | None = None) -> Parts:
    if isinstance(model, RecurrentModel):
        layers = Branch(UNNORMED, Recurrent(model.layers))
        return Parts(Embedding(model.embedding, None), (layers,), 1, model.readout)
    require(
        model.residual in STREAMS,
        "decoding follows the streams of plain_residual and reversible_residual; "
        f"this model's residual is {getattr(model.residual, '__name__', model.residual)}.",
    )
    blocks = model.decoder if isinstance(model, EncoderDecoder) else model.blocks
    reads_source = isinstance(model, SourceFirst)
    embedding = embedding_after(model, source) if reads_source else model.embedding
    return Parts(embedding, branches(blocks), STREAMS[model.residual], model.readout)


def through_layers(parts: Parts, read, x: Stream, keys: tuple, caches: tuple) -> tuple:
    """x after all layers, and their caches; ``read(branch, x, key, cache) -> (y, cache)``.

    A branch reads the last stream and adds to the first, which then becomes the last: with one
    stream that is the plain residual, with two the reversible one.
    """
    dtype = x.dtype
    (stream,) = (x,) if parts.n_streams == 1 else at_least_float32(x)

    def layer(streams, stacked):
        written = []
        for branch, key, cache in zip(*stacked, strict=True):
            y, cache = read(branch, streams[-1].astype(dtype), key, cache)
            streams = (*streams[1:], streams[0] + y.astype(streams[0].dtype))
            written.append(cache)
        return streams, tuple(written)

    start = (stream,) * parts.n_streams
    if n_stacked(parts.branches) == 1:  # no loop, and caches that are written where they lie
        only, keys = jax.tree.map(lambda stack: stack[0], (parts.branches, keys))
        streams, caches = layer(start, (only, keys, caches))
    else:
        streams, caches = lax.scan(layer, start, (parts.branches, keys, caches))
    return (sum(streams) / parts.n_streams).astype(dtype), caches


@register_dataclass
@dataclass(frozen=True)
class Recurrent:
    """An LSTM layer in a branch: its cache is its state."""

    lstm: LSTM

    def __call__(self, x: Stream, key=None, extra: Any = None) -> Stream:
        return self.lstm(x)

    def prefill(self, x: Stream, key=None, extra: Any = None, *, capacity: int) -> tuple:
        nothing = jnp.zeros(x.shape[1], x.dtype)
        return self.step(x, (nothing, nothing), None)

    def step(self, x: Stream, cache: tuple, position, key=None, extra: Any = None) -> tuple:
        cache, y = self.lstm.go_on(cache, x)
        return y, cache
