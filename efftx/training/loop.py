"""The training loop: resumable, with a progress bar, the same numbers however often interrupted.

What a step does depends only on the state before it, the seed and the step's number: the batch is a
function of the step, and so is the random key. So a run that is killed and resumed ends with
bit-identical parameters.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm.auto import tqdm

from efftx.models import named_parameters, npz
from efftx.training import checkpoints, devices
from efftx.training.losses import check_vocabulary, vocab_of
from efftx.training.steps import TrainState, initial_state, most_at_once, train_step
from efftx.validation import check_leaves, check_positive, describe, require


def train(
    model: Any,
    *,
    loss: Callable,
    batch_at: Callable,
    optimiser: optax.GradientTransformation,
    n_steps: Integral,
    seed: Integral = 0,
    checkpoint: Path | str | None = None,
    save_every: Integral = 100,
    config: dict | None = None,
    examples_at_once: Integral | None = None,
    vocab: float | int | None = None,
    mesh: Mesh | None = None,
    frozen: Any = None,
    on_step: Callable | None = None,
    progress: bool = True,
    precision: str | None = "default",
) -> TrainState:
    """Minimise the mean of ``loss(model, example, key)`` over the examples of ``batch_at(step)``.

    A batch is an array whose leading axis are its examples, or a tuple of such arrays. What it
    takes in memory is what the positions of ``examples_at_once`` examples take, and one set of
    gradients; by default these are all with a small model and few with a large one, see
    `efftx.training.steps.most_at_once`. The mean is the same but for rounding.

    With a ``checkpoint`` file, the state is saved every ``save_every`` steps and at the end, and a
    later call with the same arguments goes on where that file stops. A call with more ``n_steps``
    goes on from a finished run, one with as many returns what is there. The optimiser is no part of
    the file, only its state: one whose schedule depends on ``n_steps``, as `adamw`'s, is another
    one with other n_steps, and its rate leaps where the run goes on.

    Every integer of a batch is a token below ``vocab``, by default the model's own ``vocab`` if it
    has one; pass ``math.inf`` if some are not.

    With a ``mesh`` the batch, the parameters and the optimiser's state are shared out over its
    devices, see :mod:`efftx.training.devices`; the losses are the same but for rounding, and a
    checkpoint goes on with any number of devices, or with none. A process that loses another raises
    RuntimeError.

    ``frozen`` is what the loss sees beside the model and no step changes, as the weights that
    adapters adapt: then the loss is ``loss(model, frozen, example, key)``. It is no part of the
    checkpoint.

    ``on_step(step, loss, state)`` is called after each step, with its number from 0 on, its loss as
    a float and the state after it: to evaluate, to log, to stop by raising. Steps that a killed run
    had not saved are done again, and so are their calls.

    Products are as fast as the device makes them, whatever ``jax_default_matmul_precision`` says: a
    TPU then rounds the factors of float32 products to bfloat16, a newer GPU to TF32, which training
    bears. ``precision`` asks for more ("high", "highest"); None leaves it to jax's setting.

    Raises ValueError before the first step for a model with anything but floating-point arrays, a
    checkpoint that cannot be written, is none, belongs to another model, seed or ``config`` or has
    done more than n_steps already; and before the step that would read it for a batch without
    examples, of arrays with different numbers of them, that the mesh's devices do not divide, or
    with a token outside the vocabulary.
    """
    seed, n_steps, save_every = map(as_int, (seed, n_steps, save_every))
    check_positive(n_steps=n_steps, save_every=save_every)
    require(type(seed) is int, f"seed must be a whole number; got {seed!r}.")
    if examples_at_once is not None:
        examples_at_once = as_int(examples_at_once)
        check_positive(examples_at_once=examples_at_once)
    check_trainable(model)
    config = {"seed": seed, **(config or {})}
    vocab = vocab_of(model) if vocab is None else vocab
    state = initial_state(model, optimiser, n_steps)
    if checkpoint:
        state = resumed(state, checkpoint, config)
    done = int(state.step)
    place = partial(devices.placed, mesh)
    state = place(state)
    run_step = step_function(state, mesh)
    started = time.perf_counter() - float(state.seconds)
    shown = progress and devices.writes()
    bar = tqdm(range(done, n_steps), "train", initial=done, total=n_steps, disable=not shown)
    for step in bar:
        batch = batch_at(step)
        check_batch(batch, step, vocab)
        batch = devices.spread(mesh, batch)
        key = jax.random.fold_in(jax.random.key(seed), step)
        at_once = examples_at_once or most_at_once(model, batch)
        how = {"loss": loss, "optimiser": optimiser, "examples_at_once": at_once, "frozen": frozen}
        with multiplying(precision), devices.together(step):
            state, value = run_step(state, batch, key, **how)
            value = float(value)
        bar.set_postfix(loss=f"{value:.3f}", refresh=False)
        state = replace(state, seconds=place(jnp.float32(time.perf_counter() - started)))
        if on_step is not None:
            on_step(step, value, state)
        if checkpoint and ((step + 1) % save_every == 0 or step + 1 == n_steps):
            save(checkpoint, state, config)
    return state


def multiplying(precision: str | None) -> AbstractContextManager:
    """The precision of products in a ``with``; None: as it is."""
    return nullcontext() if precision is None else jax.default_matmul_precision(precision)


def step_function(state: TrainState, mesh: Mesh | None) -> Callable:
    """`train_step`; on a mesh, the state that it returns lies where it lay."""
    if mesh is None:
        return train_step
    return jax.jit(
        train_step,
        static_argnames=("loss", "optimiser", "examples_at_once"),
        out_shardings=(devices.shardings_of(state), NamedSharding(mesh, PartitionSpec())),
    )


def save(checkpoint: Path | str, state: TrainState, config: dict) -> None:
    """The file is written once, by the first process, of what all of them have."""
    whole = devices.gathered(state)
    if devices.writes():
        checkpoints.save(checkpoint, whole, config, model=whole.model)


def resumed(state: TrainState, checkpoint: Path | str, config: dict) -> TrainState:
    """The state of the file if there is one, for as many steps as this one's.

    Raises ValueError unless the file can be read, belongs to this run, and can be written.
    """
    if devices.writes():
        checkpoints.check_savable(checkpoint, state, config)
    if not Path(checkpoint).exists():
        return state
    # The first version recorded n_steps. Where the caller does so himself, they must agree.
    ignored = () if "n_steps" in config else ("n_steps",)
    arrays = checkpoints.arrays_of(checkpoint, config, ignored=ignored)
    require(
        {"step", "losses"} <= arrays.keys() and arrays["losses"].ndim == 1,
        f"{checkpoint} is the checkpoint of something else: it has no step and losses.",
    )
    done, n_steps = int(arrays["step"]), len(state.losses)
    require(
        done <= n_steps,
        f"{Path(checkpoint).name} has done {done} steps already, more than n_steps = {n_steps}. "
        f"Pass n_steps of at least {done}, or give this run another file.",
    )
    arrays["losses"] = np.pad(arrays["losses"][:done], (0, n_steps - done))
    return checkpoints.fill(checkpoint, state, arrays)


def as_int(number):
    """NumPy's whole numbers as Python's; anything else as it is."""
    return int(number) if isinstance(number, np.integer) else number


def check_trainable(model) -> None:
    """Every leaf has a gradient."""
    check_leaves(model=model)
    for name, leaf in named_parameters(model).items():
        require(
            jnp.issubdtype(npz.as_array(leaf).dtype, jnp.inexact),
            f"train changes every array of a model, and {name or 'it'} is {describe(leaf)}, which "
            "has no gradient. Let the loss close over what is not to be trained.",
        )


def check_batch(batch, step: int, vocab: float | int) -> None:
    arrays = jax.tree.leaves(batch)
    lengths = {len(array) if np.ndim(array) else 0 for array in arrays}
    require(
        len(lengths) == 1 and 0 not in lengths,
        f"every array of a batch must have as many examples, at least one; batch_at({step}) gave "
        f"{', '.join(map(describe, arrays)) or 'no array'}.",
    )
    check_vocabulary(f"tokens of batch_at({step})", batch, vocab)
