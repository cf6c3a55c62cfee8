"""One training step: the mean loss of a batch, its gradient, and what the optimiser makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import register_dataclass
from jaxtyping import Array

from efftx.dtypes import sum_dtype
from efftx.shards import vary_alike
from efftx.validation import check_leaves, check_not_explicit, check_positive, require

MOST_BYTES = 2**25  # for gradients of the same parameters that exist beside each other


@register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a run carries from step to step, and a checkpoint holds.

    Its fields are arrays and pytrees of them; not checked, since jax fills them with shapes too.
    """

    model: Any
    optimiser_state: Any  # what optax keeps: moments and a count
    step: Any  # () int32: how many steps are done
    losses: Any  # (n_steps,) float32; 0 for steps to come
    seconds: Any  # () float32: spent so far, summed over all resumptions


def initial_state(model: Any, optimiser: optax.GradientTransformation, n_steps: int) -> TrainState:
    """The state before the first step; plain numbers in it have become arrays.

    Raises ValueError where a parameter is in float16, see `check_trainable`, and where it is none.
    """
    check_leaves(model=model)
    model = jax.tree.map(jnp.asarray, model)
    check_trainable(model)
    return TrainState(
        model=model,
        optimiser_state=jax.tree.map(jnp.asarray, optimiser.init(model)),
        step=jnp.int32(0),
        losses=jnp.zeros(n_steps, jnp.float32),
        seconds=jnp.float32(0),
    )


def check_trainable(model: Any) -> None:
    """Raises ValueError for float16, which ends at 6e-8: an optimiser's small numbers are 0 there.

    Adam's 1e-8 and squares of gradients are: its first step divides 0 by 0.
    """
    small = [x for x in jax.tree.leaves(model) if x.dtype == jnp.float16]
    require(
        not small,
        f"train in float32 or bfloat16: squares of gradients, and Adam's 1e-8, are 0 in float16, "
        f"which {len(small)} of the model's arrays are",
    )


@partial(jax.jit, static_argnames=("loss", "optimiser", "examples_at_once"))
def train_step(
    state: TrainState,
    batch,
    key,
    *,
    loss,
    optimiser,
    examples_at_once: int | None = None,
    frozen: Any = None,
) -> tuple[TrainState, Array]:
    """One step of the optimiser on one batch; also returns the batch's mean loss, in float32.

    With ``frozen``, a pytree that no step changes, the loss is ``loss(model, frozen, example,
    key)``: it is an argument of the program, not a constant in it. ``examples_at_once`` is that of
    `value_and_gradient`, and so is what is raised.
    """
    if frozen is not None:
        of_both = loss
        loss = lambda model, example, key: of_both(model, frozen, example, key)  # noqa: E731
    value, gradient = value_and_gradient(
        loss, state.model, batch, key, examples_at_once=examples_at_once
    )
    updates, optimiser_state = optimiser.update(gradient, state.optimiser_state, state.model)
    value = value.astype(jnp.float32)
    new_state = replace(
        state,
        model=optax.apply_updates(state.model, updates),
        optimiser_state=optimiser_state,
        step=state.step + 1,
        losses=state.losses.at[state.step].set(value),
    )
    return new_state, value


def value_and_gradient(
    loss: Callable, model, batch, key, *, examples_at_once: int | None = None
) -> tuple:
    """The mean over a batch of ``loss(model, example, key)``, and its gradient.

    Under ``vmap`` the gradient of a parameter exists once for each example, wherever the loss goes
    through a loop or a rule of its own, as in a reversible stack. So the examples are taken in
    groups, one group after the other, and the gradients added up, in at least float32: a batch then
    costs one set of gradients, and what the positions of a group cost. A group has the largest size
    that divides the batch and is at most ``examples_at_once``, by default `most_at_once`. An
    example's key does not depend on its group.

    Raises ValueError for examples_at_once < 1, and for a model or batch that holds functions.
    """
    check_leaves(model=model, batch=batch)
    most = most_at_once(model) if examples_at_once is None else examples_at_once
    check_positive(examples_at_once=most)
    check_not_explicit(model=model, batch=batch)
    n_examples = len(jax.tree.leaves(batch)[0])
    size = max(n for n in range(1, min(most, n_examples) + 1) if n_examples % n == 0)
    examples = batch, jax.random.split(key, n_examples)
    of_group = jax.value_and_grad(partial(mean_loss, loss))
    if size == n_examples:
        return of_group(model, *examples)

    n_groups = n_examples // size
    groups = jax.tree.map(partial(in_groups, n_groups), examples)

    def add(sums, group):
        return jax.tree.map(jnp.add, sums, of_group(model, *group)), None

    value, _ = jax.eval_shape(of_group, model, *jax.tree.map(lambda x: x[0], groups))
    zero, *_ = vary_alike((jnp.zeros((), value.dtype), model, groups))  # as the loss does
    zeros = jax.tree.map(lambda w: jnp.zeros_like(w, dtype=sum_dtype(w.dtype)), model)
    (total, sums), _ = jax.lax.scan(add, (zero, zeros), groups)
    gradient = jax.tree.map(lambda x, w: (x / n_groups).astype(w.dtype), sums, model)
    return total / n_groups, gradient


def mean_loss(loss: Callable, model, batch, keys) -> Array:
    """Over a group of examples, in at least float32."""
    if len(keys) == 1:  # an example without a batch axis needs no second set of gradients
        value = loss(model, jax.tree.map(lambda x: x[0], batch), keys[0])
    else:
        value = jax.vmap(loss, in_axes=(None, 0, 0))(model, batch, keys)
    return jnp.mean(value, dtype=sum_dtype(value.dtype))


def in_groups(n_groups: int, x):
    """(n_groups, size, …): a group takes examples from all over the batch, and so from all devices.

    A batch that is spread over devices is so in blocks of neighbours; each group stays spread.
    """
    return jnp.moveaxis(x.reshape(-1, n_groups, *x.shape[1:]), 1, 0)


def most_at_once(model, batch=None) -> int:
    """As many examples as have gradients of at most 32 MiB beside each other; at least one.

    Of a batch that is spread over several devices, so many on each of them.
    """
    (array, *_) = jax.tree.leaves(batch) or [None]
    spread = isinstance(array, jax.Array)
    n_devices = len(array) // array.sharding.shard_shape(array.shape)[0] if spread else 1
    return n_devices * max(1, MOST_BYTES // max(1, bytes_of(model)))


def bytes_of(model) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(model))
