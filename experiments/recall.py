"""How far back does each kind of attention find what it is asked for, and at what cost?

    python experiments/recall.py

Associative recall: a text of filler holds pairs of a key and a value, and asks for each key once
more at a distance (`efftx.training.recall`). Small models, all with as many parameters as the one
with full attention or a few less, learn it on texts of 64 symbols, then of 512 and 4,096. They have
one layer, or two where LSH stands on a window. Then they read 32,768 symbols and are asked at
distances of 64 … 16,384.

There are no positions: "the same key" is none. That a value stands *behind* its key is seen by the
short convolution of sparse QKV, which gives every place its two neighbours before. (With dense
projections, two layers and rotary positions in the lower one, as a first version had it, 3,000
steps learned which values a text holds, 2.3 nats, and not which one belongs to a key.) A window
reaches 31 symbols back, its keys two more: what it answers beyond is luck, one time in 64.

The more a softmax looks at, the less is left for the one key that matters. So a model that reads
more than it ever saw has its queries stretched by ln length / ln 4,096, as Chiang and Cholak 2022
do (arXiv 2202.12172). What it answers without is kept, too: `as_trained`.

Interrupt it whenever you like: the same command goes on where it stopped. It writes recall.json
into experiments/results after each run. What reading costs is measured apart from that, once all
models are trained and the machine has nothing else to do: all of them in turn,

    python experiments/recall.py --seconds
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from efftx.models import (
    Blocked,
    Hashed,
    LanguageModel,
    Local,
    Shared,
    Sizes,
    attention_layer,
    init_feed_forward,
    language_model,
    n_parameters,
    plain_residual,
    with_rounds,
)
from efftx.models.embedding import init_embedding
from efftx.models.kind import Kind
from efftx.models.projections import Multiplicative, multiplicative
from efftx.training.loop import TrainState, train
from efftx.training.optimisers import adamw
from efftx.training.recall import (
    N_KEYS,
    VOCAB,
    Texts,
    accuracy_by_distance,
    is_right,
    log_uniform,
    loss,
    texts_at,
)
from efftx.training.records import environment
from experiments.harness import (
    at_step,
    command_line,
    curve,
    equal_width,
    head,
    kept,
    made,
    of_seeds,
    results_file,
    write,
)

NAME = "recall"
RESULTS = results_file(NAME)

SIZES = Sizes(n_layers=1, d_model=64, d_ff=512, n_heads=2, d_head=32, vocab=VOCAB)  # of "full"
N_MODULES = 2  # of sparse QKV, one for each head
WINDOW_CHUNK, HASH_CHUNK, BLOCK_LEN = 16, 32, 512
SEEDS = range(3)
N_STEPS = 1100
PEAK_RATE = 3e-3
TEXTS = {0: (16, 64), 500: (4, 512), 750: (1, 4096)}  # from this step on, (batch, length)
LONGEST = max(length for _, length in TEXTS.values())
SYMBOLS_PER_PAIR = 8
READ_AT = {  # length: distances
    1024: (64, 256),
    4096: (64, 256, 1024),
    32768: (64, 256, 1024, 4096, 16384),
}
N_TEXTS, N_PAIRS = 4, 100  # read at each length
N_TIMES = 5
ROUNDS = (1, 2, 4, 8)
READ_WITH = {**{str(n): n for n in ROUNDS}, "exact": None}
CONFIG = {
    "sizes_of_full": asdict(SIZES),
    "n_modules": N_MODULES,
    "window_chunk": WINDOW_CHUNK,
    "hash_chunk": HASH_CHUNK,
    "n_steps": N_STEPS,
    "peak_rate": PEAK_RATE,
    "texts": {str(step): list(shape) for step, shape in TEXTS.items()},
    "symbols_per_pair": SYMBOLS_PER_PAIR,
}


# Models ---------------------------------------------------------------------------------------


EXACT, SHARED = Blocked(block_len=BLOCK_LEN), Shared()
WINDOW = Local(chunk_len=WINDOW_CHUNK)
HASHED = {n: Hashed(n_hashes=n, chunk_len=HASH_CHUNK) for n in ROUNDS}
ATTENTION = {  # of each layer
    "full": (EXACT,),
    "window": (WINDOW,),
    "shared_qk": (SHARED,),
    **{f"lsh_{n}": (kind,) for n, kind in HASHED.items()},
    "window_then_lsh_4": (WINDOW, HASHED[4]),
}


def build(key, name: str, d_ff: int) -> LanguageModel:
    pattern = tuple(attention_layer(kind, multiplicative(N_MODULES)) for kind in ATTENTION[name])
    embedding = partial(init_embedding, positions="none")
    sizes = replace(SIZES, n_layers=len(pattern), d_ff=d_ff)
    return language_model(key, sizes, pattern, init_feed_forward, plain_residual, embedding)


@cache
def count(name: str, d_ff: int) -> int:
    return n_parameters(jax.eval_shape(partial(build, name=name, d_ff=d_ff), jax.random.key(0)))


def width(name: str) -> int:
    return equal_width(count, name, "full", SIZES.d_ff)


def scores(name: str, length: int) -> int:
    """Products of a query and a key for one head and a text, added up over the layers."""
    return sum(scores_of(kind, length) for kind in ATTENTION[name])


def scores_of(kind: Kind, length: int) -> int:
    """A query meets its own chunk and the one before, in each round; exactly, the blocks so far."""
    if isinstance(kind, Hashed):
        return kind.n_hashes * 2 * kind.chunk_len * length
    if isinstance(kind, Local):
        return 2 * kind.chunk_len * length
    return length * (length + BLOCK_LEN) // 2


# Running --------------------------------------------------------------------------------------


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seconds", action="store_true", help="only time the models, in turn")
    chosen = parser.parse_args()
    folder = made(chosen.checkpoints)
    if chosen.seconds:
        write(RESULTS, {**json.loads(RESULTS.read_text()), "seconds_to_read": in_turn(folder)})
        return
    runs = []
    for seed in SEEDS:
        for name in ATTENTION:
            runs.append(run(name, seed, folder))
            write(RESULTS, record(runs))


def run(name: str, seed: int, folder: Path) -> dict:
    """Train and read one model, or what the folder keeps of that."""
    print(name, "seed", seed, flush=True)
    checkpoint = file_of(folder, name, seed)
    state = train_one(name, seed, checkpoint)
    result = kept(checkpoint, partial(measure, state, name, seed))
    print(json.dumps(result["right"]), flush=True)
    return result


def file_of(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{NAME}.{name}.{seed}.npz"


def train_one(name: str, seed: int, checkpoint: Path) -> TrainState:
    return train(
        build(jax.random.key(seed), name, width(name)),
        loss=loss,
        batch_at=partial(batch_at, seed),
        optimiser=optimiser(),
        n_steps=N_STEPS,
        seed=seed,
        checkpoint=checkpoint,
        config={**CONFIG, "attention": name},
        vocab=math.inf,  # places are no tokens
    )


@cache  # one object for all seeds, so that a kind's step is compiled once
def optimiser():
    return adamw(N_STEPS, peak=PEAK_RATE)


def batch_at(seed: int, step: int) -> Texts:
    """Distances of all sizes, up to three quarters of the text, so that all find room."""
    batch, length = at_step(TEXTS, step)
    n_pairs = min(length // SYMBOLS_PER_PAIR, N_KEYS)
    distances = log_uniform(step, seed=seed, n=n_pairs, longest=length * 3 // 4)
    return texts_at(step, seed=seed, length=length, batch=batch, distances=distances)


# Measuring ------------------------------------------------------------------------------------


def measure(state: TrainState, name: str, seed: int) -> dict:
    return {
        "attention": name,
        "seed": seed,
        "seconds": round(float(state.seconds), 1),
        "right": right_at(state.model, seed),
        "as_trained": right_in(state.model, max(READ_AT), seed),
        "read_with": read_with(state.model, name, seed),
        "training_curve": curve(state.losses),
    }


def right_at(model: LanguageModel, seed: int) -> dict:
    """The share of right answers by length and distance."""
    return {str(length): right_in(stretched(model, length), length, seed) for length in READ_AT}


def right_in(model: LanguageModel, length: int, seed: int) -> dict:
    distances = np.resize(READ_AT[length], N_PAIRS)
    texts = texts_at(
        N_STEPS, seed=max(SEEDS) + 1, length=length, batch=N_TEXTS, distances=distances
    )
    key = jax.random.key(seed)
    right = accuracy_by_distance(model, texts, distances, key)
    return {str(distance): round(share, 4) for distance, share in right.items()}


def read_with(model: LanguageModel, name: str, seed: int) -> dict | None:
    """The same parameters with each number of rounds and exactly, at the longest length."""
    if "lsh" not in name:
        return None
    model = stretched(model, max(READ_AT))
    return {
        rounds: right_in(with_rounds(model, n, chunk_len=HASH_CHUNK), max(READ_AT), seed)
        for rounds, n in READ_WITH.items()
    }


def stretched(model: LanguageModel, length: int) -> LanguageModel:
    """With queries longer by ln length / ln 4,096, where a text is longer than that.

    Hashes and keys have no length, so of a vector that is query and key it stretches the query.
    """
    factor = max(1.0, math.log(length) / math.log(LONGEST))

    def is_projection(part) -> bool:
        return isinstance(part, Multiplicative)

    def longer(part):
        if not is_projection(part):
            return part
        return replace(part, kernels=part.kernels.at[..., 0, :].multiply(factor))

    return jax.tree.map(longer, model, is_leaf=is_projection)


def in_turn(folder: Path) -> dict:
    """Seconds of each kind to read a text, by length: seed 0's models one after the other, again
    and again, so that whatever else the machine does falls on all of them."""
    models = {name: train_one(name, 0, file_of(folder, name, 0)).model for name in ATTENTION}
    seconds: dict = {name: {} for name in models}
    for length in READ_AT:
        reads = {name: compiled(model, length) for name, model in models.items()}
        taken = [{name: timed(read) for name, read in reads.items()} for _ in range(N_TIMES)]
        for name in models:
            by_turn = [turn[name] for turn in taken]
            median = round(float(np.median(by_turn)), 4)
            seconds[name][str(length)] = {"median": median, "by_turn": by_turn}
    return {**environment(), "by_kind": seconds}


def compiled(model: LanguageModel, length: int) -> Callable:
    """Reads one text of this length, and has done so once."""
    symbols, asked = texts_at(0, seed=0, length=length, batch=1, distances=(64,))
    arguments = (model, (symbols[0], asked[0]), jax.random.key(0))
    read = partial(jax.jit(is_right).lower(*arguments).compile(), *arguments)
    jax.block_until_ready(read())
    return read


def timed(read: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(read())
    return round(time.perf_counter() - start, 4)


# Reporting ------------------------------------------------------------------------------------


def seconds_so_far() -> dict:
    """What `--seconds` has measured of this configuration; runs that follow do not lose it."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    same = results.get("config") == CONFIG and "seconds_to_read" in results
    return {"seconds_to_read": results["seconds_to_read"]} if same else {}


def record(runs: list[dict]) -> dict:
    return {
        **head(NAME, runs),
        "seeds": sorted({run["seed"] for run in runs}),
        "config": CONFIG,
        "read_at": {str(length): list(distances) for length, distances in READ_AT.items()},
        "answers_at_each_distance": N_TEXTS * N_PAIRS // len(READ_AT[max(READ_AT)]),
        "variants": {
            name: report(name, [run for run in runs if run["attention"] == name])
            for name in ATTENTION
            if any(run["attention"] == name for run in runs)
        },
        "runs": runs,
        **seconds_so_far(),
    }


def report(name: str, runs: list[dict]) -> dict:
    return {
        "n_parameters": count(name, width(name)),
        "d_ff": width(name),
        "scores": {str(length): scores(name, length) for length in READ_AT},
        "right": {
            str(length): {
                str(d): of_seeds([run["right"][str(length)][str(d)] for run in runs])
                for d in distances
            }
            for length, distances in READ_AT.items()
        },
        "as_trained": {
            str(d): of_seeds([run["as_trained"][str(d)] for run in runs])
            for d in READ_AT[max(READ_AT)]
        },
    }


if __name__ == "__main__":
    main()
