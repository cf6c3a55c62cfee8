"""Generating: a model reads a prompt once, and then each new token alone.

What later positions need of earlier ones stands in caches of a fixed size, so that a step is
compiled once and costs the same at every position. `prefill` reads the prompt, `step` one token,
`generate` chooses tokens and goes on. Every model there is can be decoded: with either residual,
and with layers that are position-wise or say how they are stepped, see :mod:`efftx.models.layer`.
A batch is ``jax.vmap``.

With the same key a step gives what the whole model gives at this position of a longer text, to
rounding. LSH attention is the exception: there this holds while no bucket has more than chunk_len
members; beyond that a step finds keys that the whole model's window misses.

For speed lay a model out `by_layer` first: a stacked one copies weights before it multiplies.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import register_dataclass
from jaxtyping import Int, Key

from efftx.models.branch import branch_keys, n_stacked
from efftx.models.embedding import check_tokens
from efftx.models.encoder_decoder import EncoderDecoder
from efftx.models.layer import OptionalKey, Source, Tokens
from efftx.models.recurrent import RecurrentModel
from efftx.models.sampling import NextLogits, pick
from efftx.models.transformer import LanguageModel
from efftx.shards import vary_alike
from efftx.validation import check_below, check_not_explicit, check_positive, require

Token = Int[Array, ""] | np.integer | int
Model = LanguageModel | RecurrentModel | EncoderDecoder


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
    check_not_explicit(model=model, source=source)
    parts = model.parts(source)
    x, longest = parts.embedding(tokens), parts.embedding.max_len
    require(
        len(tokens) <= capacity <= longest,
        f"capacity must be from {len(tokens)}, the prompt's length, to {longest}, the model's "
        f"max_len; got {capacity}.",
    )
    keys = branch_keys(key, n_stacked(parts.branches), len(parts.branches))
    n_slots = capacity + len(x) - len(tokens)  # more, where the source is read first

    def read(branch, x, key, _):
        return branch.prefill(x, key, parts.extra, capacity=n_slots)

    nothing = (None,) * len(parts.branches)
    x, caches = parts.residual.one_by_one(parts.branches, read, x, keys, nothing)
    return parts.readout(x[-1:])[0], State(jnp.int32(len(x)), caches, keys, source)


def step(model: Model, state: State, token: Token) -> tuple[NextLogits, State]:
    """Read one more token: the logits of what follows it, and the state to go on from.

    There is no check that the state's caches have a place left: that number is known on the device
    only. `generate` sees to it. A step reads `weights_read` numbers, and the caches.
    """
    check_not_explicit(model=model, state=state, token=token)
    parts = model.parts(state.source)

    def read(branch, x, key, cache):
        return branch.step(x, cache, state.position, key, parts.extra)

    x = parts.embedding.next(jnp.asarray(token), state.position)
    through = partial(parts.residual.one_by_one, parts.branches, read)
    x, caches = through(x, state.keys, state.caches)
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
    the same length: ``jax.vmap(lambda prompt, key: generate(model, prompt, 100, key))``. Each new
    length of the prompt, and each new n_new, is compiled anew, which takes seconds.

    Raises ValueError for tokens outside the vocabulary, a negative temperature, a top_p outside
    (0, 1], n_new < 1, if prompt and new tokens are more than max_len, and for an encoder-decoder
    without its source or a source that the model does not read.
    Source: nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751.
    """
    check_positive(n_new=n_new)
    require(temperature >= 0, f"temperature must be at least 0 (greedy); got {temperature}.")
    require(0 < top_p <= 1, f"top_p must lie in (0, 1]; got {top_p}.")
    check_tokens(prompt, model.vocab)
    if stop is not None:
        check_below("stop", np.asarray(stop), model.vocab, "vocab")
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
    start = jnp.int32(0), *vary_alike((tokens, logits, state))
    return lax.while_loop(more, write, start)[1]
