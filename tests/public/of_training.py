"""A small case of every public function of efftx.training: losses, their gradients, and a step."""

import jax
import jax.numpy as jnp

from efftx import training
from tests.public.of_models import KEY, TOKENS, TRANSFORMER, W, like, tokens
from tests.public.rows import Elsewhere, Row


def window(x):
    """One token more than there are numbers, so that a single number makes one prediction."""
    read = tokens(x)
    if jax.typeof(read).sharding.mesh.explicit_axes:
        return read  # one more could not be spread, and it will be refused
    return jnp.append(read, read[0])


def loss(model, example, key):
    return training.bits_per_byte(model, example, key)


def bits(w, x):
    return training.bits_per_byte(like(TRANSFORMER, w), window(x))


def bits_in_chunks(w, x):
    return training.bits_per_byte(like(TRANSFORMER, w), window(x), chunk_len=2)


def counted_bits(w, x):
    return training.mean_bits(like(TRANSFORMER, w), window(x)[None], KEY)


def batch(x):
    return jnp.stack([window(x), window(-jnp.asarray(x))])


def gradient(examples_at_once):
    def run(w, x):
        # Where x is another on each device the model is, too: else its gradients would be added up.
        model = like(TRANSFORMER, w + 0 * jnp.sum(x))
        how = {"examples_at_once": examples_at_once}
        return training.value_and_gradient(loss, model, batch(x), KEY, **how)

    return run


def a_step(w, x):
    optimiser = training.adamw(4, peak=0.1)
    state = training.initial_state(like(TRANSFORMER, w), optimiser, 4)
    for _ in range(2):  # the first has rate 0
        state, value = training.train_step(state, batch(x), KEY, loss=loss, optimiser=optimiser)
    return value


ROWS = {
    "bits_per_byte": Row(bits, (W, TOKENS), bits_in_chunks, second=False),
    "mean_bits": Row(counted_bits, (W, TOKENS), bits, second=False),
    "value_and_gradient": Row(gradient(1), (W, TOKENS), gradient(2), gradients=False),
    "train_step": Row(
        a_step, (W, TOKENS), gradients=False, refuses={"float16": "float32 or bfloat16"}
    ),
}
ROWS |= {
    name: Elsewhere(row)
    for row, names in {
        "train_step": "TrainState adamw initial_state",
        "tests/training/test_batches.py": "consecutive_windows packed_windows padded_windows "
        "random_windows",
        "tests/training/test_corpora.py": "Corpus as_text as_tokens enwik8 python_documentation "
        "standard_library",
        "tests/training/test_checkpoints.py": "load_checkpoint save_checkpoint",
        "tests/training/test_runs.py": "model_of",
        "tests/training/test_losses.py": "evaluate",
        "tests/training/test_loop.py": "train",
        "tests/training/test_own_text.py": "TextRun Trained train_on_text",
        "tests/devices/run.py": "all_devices",
    }.items()
    for name in names.split()
}
