"""Fine-tune a pretrained model of 135 million parameters on Python's documentation, four ways.

    make pretrained
    python experiments/fine_tuning.py

In full and through adapters of rank 8, on weights in 32, 8 and 4 bits: the same text, steps and
seed. Interrupt it whenever you like: the same command goes on where it stopped. It writes
fine_tuning.json into experiments/results: what a step takes by the compiler, the loss on topics
that were held out, as it falls, and what the model writes before and after. Every tenth topic of
``pydoc_data.topics``, in the order of their names, is held out.

``--only lora int8 4bits`` trains some, ``--only`` none: then bytes are measured, and what runs that
did not end have found on their way is recorded.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax

from efftx.models import by_layer, generate, n_parameters
from efftx.models.adapters import adapted, init_adapters, merged
from efftx.models.gguf import pretrained_file, read_byte_pairs, read_gguf
from efftx.models.residuals import checkpointed_residual, plain_residual
from efftx.training.batches import random_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte, mean_bits
from efftx.training.records import peak_rss_gib
from efftx.training.steps import initial_state, train_step
from experiments.harness import command_line, head, kept, made, results_file, write

NAME = "fine_tuning"
RESULTS = results_file(NAME)

LENGTH, LOSS_CHUNK_LEN = 512, 64
RANK, ALPHA, MATRICES = 8, 16, ("blocks.*",)
N_HELD_OUT = 4  # windows of LENGTH, spread over the held-out text
SAMPLE = {"prompt": "The with statement is used to", "n_new": 40}
SEED = 0


class Method(NamedTuple):
    """What is trained, and in how many bits the weights wait."""

    bits: int
    full: bool = False
    peak_rate: float = 1e-3
    checkpoints: bool = True
    chunked_loss: bool = True


METHODS = {
    "lora": Method(32),
    "int8": Method(8),
    "4bits": Method(4),
    "full": Method(32, full=True, peak_rate=3e-5),
}
# Of these the compiler alone is asked.
WEIGHED = METHODS | {
    "full, all kept": Method(32, True, checkpoints=False, chunked_loss=False),
    "lora, all kept": Method(32, checkpoints=False, chunked_loss=False),
    "int8, all kept": Method(8, checkpoints=False, chunked_loss=False),
    "int8, no checkpoints": Method(8, checkpoints=False),
}


def main() -> None:
    options = options_of_command_line()
    checkpoints, text = made(options.checkpoints), Text(pretrained_file())
    runs = {}
    for name in options.only:
        runs[name] = run(text, name, options.steps, checkpoints)
        print(json.dumps(runs[name], indent=2), flush=True)
    for name in METHODS.keys() - runs.keys():
        if curve := curve_so_far(name, options.steps, checkpoints):
            runs[name] = {"held_out_nats": curve}
    weighed = {name: weigh(text, name, checkpoints) for name in WEIGHED}
    print(json.dumps(weighed, indent=2))
    write(RESULTS, record(text, options.steps, weighed, runs))


def options_of_command_line():
    parser = command_line(__doc__)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, default=60)
    return parser.parse_args()


# The text ---------------------------------------------------------------------------------------


class Text:
    """The topics as tokens: those to train on, and windows of those that are held out."""

    def __init__(self, file: Path | None):
        if file is None:
            sys.exit("There is no pretrained model here; `make pretrained` installs it.")
        self.file, self.pieces = file, read_byte_pairs(file)
        names = sorted(topics)
        self.held_out_topics = names[::10]
        self.train = self.tokens(name for name in names if name not in self.held_out_topics)
        held_out = self.tokens(self.held_out_topics)
        starts = np.linspace(0, len(held_out) - LENGTH - 1, N_HELD_OUT).astype(int)
        self.held_out = np.stack([held_out[i : i + LENGTH + 1] for i in starts])

    def tokens(self, names) -> np.ndarray:
        return np.array(self.pieces.encode("\n\n".join(topics[n] for n in names)), np.int32)

    def batch_at(self, step: int) -> np.ndarray:
        return random_windows(self.train, seed=SEED, step=step, length=LENGTH, batch=1)


# What is trained --------------------------------------------------------------------------------


def start(text: Text, method: Method):
    """The frozen model, and what is trained: adapters, or (with nothing frozen) the model."""
    model = read_gguf(text.file, bits=method.bits)
    residual = checkpointed_residual if method.checkpoints else plain_residual
    model = replace(model, residual=residual)
    if method.full:
        return None, model
    key = jax.random.key(SEED)
    return model, init_adapters(key, model, MATRICES, rank=RANK, alpha=ALPHA)


def loss_of(method: Method):
    chunk_len = LOSS_CHUNK_LEN if method.chunked_loss else None
    if method.full:
        return partial(bits_per_byte, chunk_len=chunk_len)
    return partial(loss_of_adapters, chunk_len=chunk_len)


def loss_of_adapters(adapters, frozen, window, key, *, chunk_len):
    """Bits per token of the adapted model."""
    return bits_per_byte(adapted(frozen, adapters), window, key, chunk_len=chunk_len)


def optimiser_of(method: Method, n_steps: int) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(0, method.peak_rate, max(1, n_steps // 10), n_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def weigh(text: Text, name: str, checkpoints: Path) -> dict:
    """What `bytes_of_step` says; a file keeps it, since a program takes long to compile."""
    file = checkpoints / f"{NAME}.bytes.{name.replace(', ', '.').replace(' ', '_')}.json"
    if not file.exists():
        file.write_text(json.dumps(bytes_of_step(text, WEIGHED[name])))
    return with_results(json.loads(file.read_text()))


def with_results(weighed: dict) -> dict:
    """And the new state, which stands beside the old: what is trained, and Adam's two means of it.

    While its place is free the gradients of a full model stand there, and are no temporaries.
    """
    mib = weighed["mib"] | {"results": round(12 * weighed["trained"] / 2**20, 1)}
    together = mib["arguments"] + mib["temporaries"] + mib["results"]
    return weighed | {"mib": mib | {"together": round(together, 1)}}


def bytes_of_step(text: Text, method: Method) -> dict:
    """Arguments and temporaries of a training step by the compiler; nothing is run."""
    frozen, trained = jax.tree.map(shape_of, start(text, method))
    optimiser = optimiser_of(method, 100)
    state = jax.eval_shape(lambda tree: initial_state(tree, optimiser, 100), trained)
    how = {"loss": loss_of(method), "optimiser": optimiser, "frozen": frozen}
    window = jax.ShapeDtypeStruct((1, LENGTH + 1), jnp.int32)
    lowered = train_step.lower(state, window, jax.random.key(0), **how)
    memory = lowered.compile().memory_analysis()
    mib = {
        "arguments": memory.argument_size_in_bytes / 2**20,
        "temporaries": memory.temp_size_in_bytes / 2**20,
    }
    n_bytes = {name: round(n, 1) for name, n in mib.items()}
    return {"mib": n_bytes | {"together": round(sum(mib.values()), 1)}} | {
        "trained": n_parameters(trained),
        "bits": method.bits,
    }


def shape_of(array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


# Runs -------------------------------------------------------------------------------------------


def run(text: Text, name: str, n_steps: int, checkpoints: Path) -> dict:
    """Train, and measure the loss on what was held out: before, on the way and after."""
    method = METHODS[name]
    frozen, trained = start(text, method)
    checkpoint = checkpoints / f"{NAME}.{name}.{n_steps}.npz"
    curve_file, curve = (
        checkpoint.with_suffix(".curve.json"),
        curve_so_far(name, n_steps, checkpoints),
    )
    if "0" not in curve:
        curve["0"] = held_out_nats(text, model_of(frozen, trained))

    def on_step(step: int, loss: float, state) -> None:
        if (step + 1) % max(2, n_steps // 4) == 0:
            curve[str(step + 1)] = held_out_nats(text, model_of(frozen, state.model))
            curve_file.write_text(json.dumps(curve))
            print(name, step + 1, curve[str(step + 1)], flush=True)

    state = train(
        trained,
        loss=loss_of(method),
        batch_at=text.batch_at,
        optimiser=optimiser_of(method, n_steps),
        n_steps=n_steps,
        seed=SEED,
        checkpoint=checkpoint,
        save_every=5,
        config={"method": name, "n_steps": n_steps, "length": LENGTH},
        frozen=frozen,
        on_step=on_step,
    )

    def measure() -> dict:
        return {
            "seconds": round(float(state.seconds), 1),
            "peak_rss_gib": round(peak_rss_gib(), 2),  # of the process: run each in its own
            "trained": n_parameters(state.model),
            "training_nats": [round(float(x) * np.log(2), 4) for x in state.losses],
            "held_out_nats": curve,
            "sample": sample(text, frozen, state.model),
        }

    return kept(checkpoint, measure)


def curve_so_far(name: str, n_steps: int, checkpoints: Path) -> dict:
    """The held-out loss by steps, of a run that has ended or not."""
    file = checkpoints / f"{NAME}.{name}.{n_steps}.curve.json"
    return json.loads(file.read_text()) if file.exists() else {}


def model_of(frozen, trained):
    return trained if frozen is None else adapted(frozen, trained)


def held_out_nats(text: Text, model) -> float:
    """Of a token, the mean over the held-out windows, one after the other."""
    bits = [mean_bits(model, window[None], None) for window in text.held_out]
    return round(float(np.mean(bits) * np.log(2)), 4)


def sample(text: Text, frozen, trained) -> str:
    """What the model goes on with, always with the likeliest token."""
    model = trained if frozen is None else merged(frozen, trained)
    prompt = np.array(text.pieces.encode(SAMPLE["prompt"]), np.int32)
    key = jax.random.key(SEED)
    tokens = generate(by_layer(model), prompt, SAMPLE["n_new"], key, temperature=0)
    return text.pieces.decode(np.asarray(tokens))


def record(text: Text, n_steps: int, weighed: dict, runs: dict) -> dict:
    return {
        **head(NAME, packages=("gguf",)),
        "model": text.file.name,
        "L": LENGTH,
        "config": {
            "seed": SEED,
            "n_steps": n_steps,
            "rank": RANK,
            "alpha": ALPHA,
            "matrices": MATRICES,
            "methods": {name: method._asdict() for name, method in METHODS.items()},
            "loss_chunk_len": LOSS_CHUNK_LEN,
        },
        "text": {
            "name": "pydoc_data.topics",
            "training_tokens": len(text.train),
            "held_out_windows": N_HELD_OUT,
            "held_out_topics": text.held_out_topics,
        },
        "step": weighed,
        "sample": SAMPLE,
        "runs": runs,
    }


if __name__ == "__main__":
    main()
