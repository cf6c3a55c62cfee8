"""The training loop: resumable, with a progress bar, the same numbers however often interrupted.

What a step does depends only on the state before it, the seed and the step's number: the batch is a
function of the step, and so is the random key. So a run that is killed and resumed ends with
bit-identical parameters.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import register_dataclass
from jaxtyping import Array
from tqdm.auto import tqdm

from efftx.training import checkpoints
from efftx.validation import check_positive


@register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a run carries from step to step, and a checkpoint holds."""

    model: Callable
    optimiser_state: Any  # what optax keeps: moments and a count
    step: Array  # () int32: how many steps are done
    losses: Array  # (n_steps,) float32, NaN for steps to come
    seconds: Array  # () float32: spent so far, summed over all resumptions


def train(
    model: Callable,
    *,
    loss: Callable,
    batch_at: Callable,
    optimiser: optax.GradientTransformation,
    n_steps: int,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    save_every: int = 100,
    config: dict | None = None,
    progress: bool = True,
) -> TrainState:
    """Minimise the mean of ``loss(model, example, key)`` over the examples of ``batch_at(step)``.

    A batch is an array whose leading axis are its examples, or a tuple of such arrays.

    With a ``checkpoint`` file, the state is saved every ``save_every`` steps and at the end, and a
    later call with the same arguments goes on where that file stops.

    Raises ValueError if the checkpoint belongs to another model, ``n_steps``, seed or ``config``.
    """
    check_positive(n_steps=n_steps, save_every=save_every)
    config = {"seed": seed, "n_steps": n_steps, **(config or {})}
    state = initial_state(model, optimiser, n_steps)
    if checkpoint and Path(checkpoint).exists():
        state = checkpoints.load(checkpoint, like=state, config=config)
    done = int(state.step)
    started = time.perf_counter() - float(state.seconds)
    bar = tqdm(range(done, n_steps), "train", initial=done, total=n_steps, disable=not progress)
    for step in bar:
        key = jax.random.fold_in(jax.random.key(seed), step)
        state, value = train_step(state, batch_at(step), key, loss=loss, optimiser=optimiser)
        bar.set_postfix(loss=f"{float(value):.3f}")
        state = replace(state, seconds=jnp.float32(time.perf_counter() - started))
        if checkpoint and ((step + 1) % save_every == 0 or step + 1 == n_steps):
            checkpoints.save(checkpoint, state, config)
    return state


def initial_state(
    model: Callable, optimiser: optax.GradientTransformation, n_steps: int
) -> TrainState:
    return TrainState(
        model=model,
        optimiser_state=optimiser.init(model),
        step=jnp.int32(0),
        losses=jnp.full(n_steps, jnp.nan, jnp.float32),
        seconds=jnp.float32(0),
    )


@partial(jax.jit, static_argnames=("loss", "optimiser"))
def train_step(state: TrainState, batch, key, *, loss, optimiser) -> tuple[TrainState, Array]:
    """One step of the optimiser on one batch; also returns the batch's mean loss."""

    def mean_loss(model):
        n_examples = len(jax.tree.leaves(batch)[0])
        keys = jax.random.split(key, n_examples)
        return jax.vmap(loss, in_axes=(None, 0, 0))(model, batch, keys).mean()

    value, gradient = jax.value_and_grad(mean_loss)(state.model)
    updates, optimiser_state = optimiser.update(gradient, state.optimiser_state, state.model)
    new_state = replace(
        state,
        model=optax.apply_updates(state.model, updates),
        optimiser_state=optimiser_state,
        step=state.step + 1,
        losses=state.losses.at[state.step].set(value),
    )
    return new_state, value
