"""A small training run that can be told to die: run by test_loop.py in a process of its own.

    python -m tests.training.killable_run CHECKPOINT [hang N | in_write N | before_move N]

Its loss draws random numbers, so a resumption that gets the keys wrong shows in the parameters.
"""

import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from efftx.models import Sizes, transformer
from efftx.training.batches import random_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.optimisers import adamw

N_STEPS = 7
TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 9, np.uint8)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def noisy_loss(model, window, key):
    mistyped = jax.random.bernoulli(key, 0.2, window.shape)
    return bits_per_byte(model, jnp.where(mistyped, 0, window))


def small_model():
    """With NumPy's random numbers: compiling JAX's would take most of the run."""
    sizes = Sizes(n_layers=1, d_model=8, d_ff=16, n_heads=2, d_head=4, max_len=16)
    shapes = jax.eval_shape(lambda: transformer(jax.random.key(0), sizes))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.array(random.normal(size=x.shape), x.dtype), shapes)


def main(checkpoint: str, moment: str = "never", at: str = "0") -> None:
    step_now = 0

    def batch_at(step):
        nonlocal step_now
        step_now = step
        print("step", step, flush=True)
        if moment == "hang" and step == int(at):
            signal.pause()  # until the test kills this process
        return random_windows(TEXT, seed=3, step=step, length=16, batch=2)

    def die_if(this_moment, function):
        def wrapped(*args):
            if moment == this_moment and step_now >= int(at):
                die()
            return function(*args)

        return wrapped

    os.fsync = die_if("in_write", os.fsync)  # the bytes are with the system, not yet on the disk
    os.replace = die_if("before_move", os.replace)
    train(
        small_model(),
        loss=noisy_loss,
        batch_at=batch_at,
        optimiser=adamw(N_STEPS, peak=1e-2),
        n_steps=N_STEPS,
        checkpoint=checkpoint,
        save_every=2,
        progress=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
