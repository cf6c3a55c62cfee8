"""How surprised a model is, in bits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Integer, Key
from tqdm.auto import tqdm

from efftx.memory import chunked_cross_entropy
from efftx.training.batches import consecutive_windows
from efftx.validation import describe, require

Window = Integer[Array | np.ndarray, "length_plus_1"]


def bits_per_byte(
    model: Callable,
    window: Window,
    key: Key[Array, ""] | None = None,
    *,
    chunk_len: int | None = None,
) -> Float[Array, ""]:
    """The mean of −log2 p(next byte) over one text window; 8 is what knowing nothing costs.

    A window of length + 1 bytes makes ``length`` predictions: of every byte but the first. With
    ``chunk_len`` only that many positions' logits exist at a time (the model needs ``last_vectors``
    and ``readout`` for that); ``partial(bits_per_byte, chunk_len=256)`` is a loss to train with.

    Raises ValueError unless the window is a vector of at least two integers, and for chunk_len < 1.
    """
    require(
        window.ndim == 1 and len(window) >= 2 and jnp.issubdtype(window.dtype, jnp.integer),
        f"a window must be a vector of at least 2 integers; got {describe(window)}.",
    )
    inputs, targets = window[:-1], window[1:].astype(jnp.int32)
    if chunk_len is None:
        nats = optax.softmax_cross_entropy_with_integer_labels(model(inputs, key), targets)
    else:
        vectors = model.last_vectors(inputs, key)
        nats = chunked_cross_entropy(
            lambda readout, x: readout(x), model.readout, vectors, targets, chunk_len=chunk_len
        )
    return nats.mean() / jnp.log(2)


def evaluate(
    model: Callable,
    text: Integer[np.ndarray, "n_bytes"],
    *,
    length: int,
    batch: int = 8,
    key: Key[Array, ""] | None = None,
    progress: bool = True,
) -> float:
    """The mean of `bits_per_byte` over a text cut into windows, every byte predicted once.

    The rest that does not fill a batch of windows is left out. Predictions at the start of a window
    have little context, so a longer ``length`` gives a better value.
    """
    batches = consecutive_windows(text, length=length, batch=batch)
    bar = tqdm(batches, "evaluate", disable=not progress)
    return float(np.mean([float(mean_bits(model, windows, key)) for windows in bar]))


@jax.jit
def mean_bits(model, windows, key):
    return jax.vmap(bits_per_byte, in_axes=(None, 0, None))(model, windows, key).mean()
