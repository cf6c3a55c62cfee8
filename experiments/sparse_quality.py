"""What does sparsity cost in quality? Dense and sparse models of the same size on the same text.

    python experiments/sparse_quality.py

A byte-level language model of Python source with its parts exchanged for sparse ones: feed-forward
layers of which one unit in N is on, then sparse QKV too, then a Terraformer (reversible, with an
SRU and a sparse readout). Every variant has as many parameters as the dense model, or fewer by at
most one block of N units in each layer, since what sparse parts save is spent on a wider d_ff. All
see the same batches for the same number of steps, each from several seeds, so what is reported is a
mean with its 95 % interval, and the same of the differences from the dense model, seed by seed.

Sparse models are evaluated as they generate, with hard masks and no noise; beside it stands what
they give with the soft masks that most of their training saw.

The models are small and young: 146,000 parameters that have seen 0.3 MB of text. With N = 64
a layer has four units on: d_model · 4/N as in the paper, but few in number. Nothing here says what
would be at the paper's size, or after longer training. The controllers' bottleneck is 8 wide, since
the paper's d_model/N would leave a single number at N = 64.

Some ten minutes on one idle core. Interrupt it whenever you like: the same command goes on where it
stopped. It writes sparse_quality.json into experiments/results after each seed from the second on,
and small_terraformer.npz into efftx/models/pretrained. Its seconds are those of the clock, which
runs on while other work has the processor.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from efftx.models import (
    Exact,
    LanguageModel,
    Sizes,
    attention_layer,
    chosen_units,
    hardened,
    language_model,
    multiplicative,
    n_parameters,
    plain_residual,
    pretrained,
    sparse_feed_forward,
    terraformer,
    transformer,
)
from efftx.models.sparse_feed_forward import with_masks
from efftx.sparsity import load_entropy, share_ever_on, sorted_loads, unit_loads
from efftx.training.batches import consecutive_windows, random_windows
from efftx.training.corpora import Corpus, standard_library
from efftx.training.loop import TrainState, train
from efftx.training.losses import bits_per_byte, mean_bits
from efftx.training.optimisers import adamw
from efftx.training.records import mean_with_interval
from experiments.harness import checkpoints_folder, curve, head, of_seeds, results_file, write

NAME = "sparse_quality"
RESULTS = results_file(NAME)

SIZES = Sizes(n_layers=2, d_model=64, d_ff=276, n_heads=4, d_head=16, max_len=128)  # of the dense
D_LOWRANK = pretrained.TERRAFORMER_PARTS["d_lowrank"]
SEEDS = range(3)
N_STEPS = 300
PEAK_RATE = 3e-3
LENGTH, BATCH = SIZES.max_len, 8
EVALUATED = 14  # every fourteenth batch of the held-out text
CONFIG = {
    "sizes_of_dense": asdict(SIZES),
    "d_lowrank": D_LOWRANK,
    "n_steps": N_STEPS,
    "peak_rate": PEAK_RATE,
    "length": LENGTH,
    "batch": BATCH,
}


# Models ---------------------------------------------------------------------------------------

dense_attention = attention_layer()
sparse_qkv = attention_layer(Exact(), multiplicative())


class Variant(NamedTuple):
    build: Callable  # (key, sizes) -> model
    n_units: int = 1  # N: of so many units one is on


def composed(attention: Callable, feed_forward: Callable) -> Callable:
    def build(key, sizes: Sizes) -> LanguageModel:
        return language_model(key, sizes, attention, feed_forward, plain_residual)

    return build


def sparse(n_units: int, attention: Callable = dense_attention) -> Variant:
    feed_forward = sparse_feed_forward(n_units=n_units, d_lowrank=D_LOWRANK)
    return Variant(composed(attention, feed_forward), n_units)


VARIANTS = {
    # The first is also what the package keeps of all this.
    "terraformer": Variant(
        partial(terraformer, **pretrained.TERRAFORMER_PARTS, attention=sparse_qkv),
        pretrained.TERRAFORMER_PARTS["n_units"],
    ),
    "dense": Variant(transformer),
    "sparse_ff_16": sparse(16),
    "sparse_ff_32": sparse(32),
    "sparse_ff_64": sparse(64),
    "sparse_ff_16_and_qkv": sparse(16, sparse_qkv),
}


def sizes_of(variant: Variant) -> Sizes:
    """The widest that has no more parameters than the dense model."""
    sizes = [replace(SIZES, d_ff=n_blocks * variant.n_units) for n_blocks in (1, 2)]
    one_block, two_blocks = (count(variant, each) for each in sizes)
    room = count(VARIANTS["dense"], SIZES) - one_block
    return replace(SIZES, d_ff=variant.n_units * (1 + room // (two_blocks - one_block)))


def count(variant: Variant, sizes: Sizes) -> int:
    return n_parameters(jax.eval_shape(partial(variant.build, sizes=sizes), jax.random.key(0)))


# Running --------------------------------------------------------------------------------------


def main() -> None:
    folder, corpus = checkpoints_folder(__doc__), standard_library()
    runs = []
    for seed in SEEDS:
        for name in VARIANTS:
            state = train_one(name, seed, corpus, folder / f"{NAME}.{name}.{seed}.npz")
            runs.append(measure(state, name, seed, corpus))
            print(json.dumps(runs[-1]["bits_per_byte"]), flush=True)
            if runs[-1] is runs[0]:
                keep(state.model)
        if seed > SEEDS[0]:
            write(RESULTS, record(corpus, runs))
    print(json.dumps(record(corpus, runs)["variants"], indent=2))


def keep(model: LanguageModel) -> None:
    sizes = sizes_of(VARIANTS["terraformer"])
    pretrained.write(pretrained.TERRAFORMER, {"terraformer": model}, sizes)


def train_one(name: str, seed: int, corpus: Corpus, checkpoint: Path) -> TrainState:
    print(name, "seed", seed, flush=True)
    variant = VARIANTS[name]
    return train(
        variant.build(jax.random.key(seed), sizes_of(variant)),
        loss=bits_per_byte,
        batch_at=partial(batch_at, corpus.train, seed),
        optimiser=optimiser(),
        n_steps=N_STEPS,
        seed=seed,
        checkpoint=checkpoint,
        save_every=50,
        config={**CONFIG, "variant": name, "corpus": corpus.sha256},
    )


@cache  # one object for all seeds, so that a variant's step is compiled once
def optimiser():
    return adamw(N_STEPS, peak=PEAK_RATE)


def batch_at(text: np.ndarray, seed: int, step: int) -> np.ndarray:
    return random_windows(text, seed=seed, step=step, length=LENGTH, batch=BATCH)


# Measuring ------------------------------------------------------------------------------------


def measure(state: TrainState, name: str, seed: int, corpus: Corpus) -> dict:
    windows, losses = held_out_windows(corpus), np.asarray(state.losses)
    n_units = VARIANTS[name].n_units
    soft = with_masks(state.model, hard_probability=0.0)
    return {
        "variant": name,
        "seed": seed,
        "seconds": round(float(state.seconds), 1),
        "bits_per_byte": {
            "held_out": held_out_bits(hardened(state.model), windows),
            "held_out_with_soft_masks": held_out_bits(soft, windows) if n_units > 1 else None,
            "train, last 50 steps": round(float(losses[-50:].mean()), 4),
        },
        "training_curve": curve(losses),
        "load_of_each_layer": loads(state.model, n_units, windows) if n_units > 1 else None,
    }


def held_out_windows(corpus: Corpus) -> np.ndarray:
    """(batches, batch, length + 1) bytes from all over the held-out text."""
    return consecutive_windows(corpus.held_out, length=LENGTH, batch=BATCH)[::EVALUATED]


def held_out_bits(model: LanguageModel, windows: np.ndarray) -> float:
    """Any key gives the same: the coin and the noise that it decides are out of play."""
    key = jax.random.key(0)
    return round(float(np.mean([float(mean_bits(model, batch, key)) for batch in windows])), 4)


def loads(model: LanguageModel, n_units: int, windows: np.ndarray) -> list[dict]:
    """How evenly the controllers of each layer use their units on the held-out text."""
    choose = jax.jit(jax.vmap(chosen_units, (None, 0)))
    units = np.stack([np.asarray(choose(model, batch[:, :-1])) for batch in windows])
    by_layer = np.moveaxis(units, 2, 0).reshape(units.shape[2], -1, units.shape[-1])
    return [summary(unit_loads(layer, n_units)) for layer in by_layer]


def summary(load: np.ndarray) -> dict:
    return {
        "share_of_units_ever_on": round(share_ever_on(load), 4),
        "entropy_bits": round(load_entropy(load), 3),
        "entropy_bits_if_even": round(float(np.log2(load.shape[1])), 3),
        "loads_busiest_first": [round(float(x), 4) for x in sorted_loads(load)],
    }


# Reporting ------------------------------------------------------------------------------------


def record(corpus: Corpus, runs: list[dict]) -> dict:
    return {
        **head(NAME, runs),
        "L": LENGTH,
        "seeds": sorted({run["seed"] for run in runs}),
        "config": CONFIG,
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            "bytes_trained_on": N_STEPS * BATCH * LENGTH,
            "bytes_evaluated": held_out_windows(corpus)[..., 1:].size,
        },
        "variants": {name: compare(name, runs) for name in VARIANTS},
        "runs": runs,
    }


def compare(name: str, runs: list[dict]) -> dict:
    """A variant's size, its bits per byte, and what they are more than the dense model's.

    The ratio of perplexities, 2 to that power, is per byte: on par is 1, above is worse.
    """
    variant, sizes = VARIANTS[name], sizes_of(VARIANTS[name])
    bits, dense = (held_out(kind, runs) for kind in (name, "dense"))
    more = mean_with_interval(bits - dense, digits=4)
    return {
        "n_parameters": count(variant, sizes),
        "d_ff": sizes.d_ff,
        "n_units": variant.n_units,
        "units_on": sizes.d_ff // variant.n_units,
        "bits_per_byte": of_seeds(bits.tolist()),
        "more_than_dense": {"by_seed": (bits - dense).round(4).tolist(), **more},
        "perplexity_ratio": {
            "mean": round(2 ** more["mean"], 4),
            "interval_95": [round(2**end, 4) for end in more["interval_95"]],
        },
    }


def held_out(name: str, runs: list[dict]) -> np.ndarray:
    of_variant = [run for run in runs if run["variant"] == name]
    return np.array([run["bits_per_byte"]["held_out"] for run in of_variant])


if __name__ == "__main__":
    main()
