"""The largest batch of a model of BERT-Large's sizes on a card of 12 GB, by the compiler.

    python experiments/bert_large.py                       # compiles only; goes on where it stopped
    python experiments/bert_large.py --verify --lengths 512    # each batch found is compiled, too
    python experiments/bert_large.py --step 512            # a real step of batch 1, with its peak

Each cell compiles whole training steps of a batch and asks what they are planned to take:
arguments, results that do not stand in an argument's place, and temporaries. What two batches near
the card's end take gives a line, and the line a batch. With ``--verify`` that batch and the next
are compiled, too, until one fits and one does not. ``bert_large.json`` keeps all of it.

Not BERT in all: it looks back only, norms inside its branches, has no biases in its attention, no
dropout, and a readout of its own over the vocabulary. All
examples of a batch are worked on at once.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from efftx.compiling import for_a_cpu, for_one_run
from efftx.memory import adam_8bit, bert, chunked_cross_entropy, reversible_stack
from efftx.memory.ledger import Step, max_batch
from efftx.models import Sizes, n_parameters, transformer
from efftx.models.adapters import adapted, in_bits, init_adapters
from efftx.models.branch import branches
from efftx.models.kinds import Blocked, Exact
from efftx.training.losses import cross_entropy
from efftx.training.records import peak_rss_gib
from experiments.harness import command_line, head, results_file, write

NAME = "bert_large"
BUDGET = int(11.2 * 2**30)  # what chapter 02 counts as usable of 12 GiB
LENGTHS = (64, 128, 256, 320, 384, 512, 1024, 4096, 16_384, 65_536)
CHUNK_LEN, RANK, MOST_TRIES, MOST_GROWTH = 256, 8, 8, 8


class Way(NamedTuple):
    """How a step is taken; each of `WAYS` adds one thing to the one before."""

    residual: str = "plain"
    blocked: bool = False
    chunks: bool = False
    eight_bits: bool = False
    state_on_host: bool = False
    adapters: bool = False


WAYS = {
    "plain": Way(),
    "checkpoints": Way("checkpoints"),
    "reversible": Way("reversible"),
    "+ attention in blocks": Way("reversible", True),
    "+ chunks": Way("reversible", True, True),
    "+ 8-bit Adam": Way("reversible", True, True, True),
    "+ Adam on the host": Way("reversible", True, True, True, True),
    "adapters on 8 bits": Way("reversible", True, True, adapters=True),
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, choices=LENGTHS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--step", type=int, help="take a real step of each way at this length")
    parser.add_argument("--verify", action="store_true", help="compile beside the batch found, too")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.in_this_process:
        print(json.dumps(real_step(chosen.ways[0], chosen.step)))
        return
    for length in [chosen.step] if chosen.step else chosen.lengths:
        for name in chosen.ways:
            measure(name, length, real=bool(chosen.step), verify=chosen.verify)


def measure(name: str, length: int, *, real: bool, verify: bool) -> None:
    """One cell or one step, unless the file has it."""
    kind = "steps" if real else "cells"
    same = [each for each in recorded().get(kind, []) if (each["way"], each["L"]) == (name, length)]
    if real:
        found = {} if same else in_its_own_process(name, length)
    elif verify and same and not same[0]["verified"]:
        found = checked(name, length, {int(b): n for b, n in same[0]["bytes"].items()})
    else:
        found = {} if same else cell(name, length, {})
    if found:
        record(kind, {"way": name, "L": length, **found})


# The results file -------------------------------------------------------------------------------


def config() -> dict:
    ways = {name: way._asdict() for name, way in WAYS.items()}
    sizes = {k: v for k, v in asdict(sizes_at(512)).items() if k != "max_len"}
    return {"sizes": sizes, "budget": BUDGET, "chunk_len": CHUNK_LEN, "rank": RANK, "ways": ways}


def recorded() -> dict:
    """What the file holds of this configuration and machine."""
    path, now = results_file(NAME), {"config": config(), "machine": head(NAME)["machine"]}
    results = json.loads(path.read_text()) if path.exists() else {}
    return results if {field: results.get(field) for field in now} == now else {}


def record(kind: str, entry: dict) -> None:
    before = recorded()
    lists = {each: before.get(each, []) for each in ("cells", "steps")}
    others = [x for x in lists[kind] if (x["way"], x["L"]) != (entry["way"], entry["L"])]
    lists[kind] = [*others, entry]
    write(results_file(NAME), {**head(NAME), "config": config(), **lists})
    print(json.dumps(entry), flush=True)


# A step -----------------------------------------------------------------------------------------


def sizes_at(length: int) -> Sizes:
    return Sizes(
        n_layers=bert.N_LAYERS,
        d_model=bert.D_MODEL,
        d_ff=bert.D_FF,
        n_heads=bert.N_HEADS,
        d_head=bert.D_MODEL // bert.N_HEADS,
        max_len=max(length, bert.MAX_LEN),
        vocab=bert.VOCAB,
    )


def new_model(way: Way, length: int):
    kind, chunk_len = (Blocked() if way.blocked else Exact()), (CHUNK_LEN if way.chunks else None)
    return transformer(jax.random.key(0), sizes_at(length), kind=kind, ff_chunk_len=chunk_len)


def start(way: Way, length: int) -> tuple:
    """The frozen model or None, what is trained, and the optimiser's state."""
    model = new_model(way, length)
    frozen = in_bits(model, 8) if way.adapters else None
    if way.adapters:
        model = init_adapters(jax.random.key(1), frozen, "blocks.*", rank=RANK)
    return frozen, model, None if way.state_on_host else optimiser_of(way).init(model)


def optimiser_of(way: Way) -> optax.GradientTransformation:
    return adam_8bit(1e-5) if way.eight_bits else optax.adam(1e-5)


def mean_nats(way: Way, trained, frozen, windows):
    """The mean loss of a batch, whose examples are mapped inside each branch.

    A map around the model would make each parameter's gradient once for each example.
    """
    model = adapted(frozen, trained) if way.adapters else trained
    x = jax.vmap(model.embedding)(windows[:, :-1])
    x = through(way.residual, branches(model.blocks), x).reshape(-1, bert.D_MODEL)
    targets = windows[:, 1:].reshape(-1)
    if not way.chunks:
        return cross_entropy(model.readout(x), targets).mean()
    read = {"chunk_len": CHUNK_LEN}
    return chunked_cross_entropy(lambda r, x: r(x), model.readout, x, targets, **read).mean()


def through(residual: str, parts: tuple, x):
    """A batch of streams through all layers."""
    if residual == "reversible":
        y1, y2 = reversible_stack((of_batch,) * len(parts), parts, x, x)
        return (y1 + y2) / 2

    def block(x, layer):
        for branch in layer:
            x = x + of_batch(branch, x)[0]
        return x, None

    kept = (
        partial(jax.checkpoint, prevent_cse=False) if residual == "checkpoints" else (lambda f: f)
    )
    return lax.scan(kept(block), x, parts)[0]


def of_batch(branch, x, key=None, extra=None, replay=None) -> tuple:
    return jax.vmap(lambda x: branch(x, None)[0])(x), None


def step_of(way: Way):
    """``step(trained, state, frozen, windows)``, in the memory of what it is given."""

    def step(trained, state, frozen, windows):
        value, gradient = jax.value_and_grad(partial(mean_nats, way))(trained, frozen, windows)
        if way.state_on_host:  # it is updated afterwards, layer by layer, when no activations exist
            return gradient, trained, value
        updates, state = optimiser_of(way).update(gradient, state, trained)
        return optax.apply_updates(trained, updates), state, value

    return jax.jit(step, donate_argnums=(0, 1))


# What a step is planned to take -----------------------------------------------------------------


def compiled(name: str, length: int, batch: int):
    frozen, trained, state = jax.eval_shape(partial(start, WAYS[name], length))
    windows = jax.ShapeDtypeStruct((batch, length + 1), jnp.int32)
    with for_a_cpu():
        lowered = step_of(WAYS[name]).lower(trained, state, frozen, windows)
        return lowered.compile(compiler_options=for_one_run(level=0))


def step_bytes(name: str, length: int, batch: int) -> dict[str, int]:
    """Arguments, results that do not stand in their place, and temporaries."""
    m = compiled(name, length, batch).memory_analysis()
    new = m.output_size_in_bytes - m.alias_size_in_bytes
    parts = {"arguments": m.argument_size_in_bytes, "results": new}
    return parts | {"temporaries": m.temp_size_in_bytes}


def weigh(name: str, length: int, batch: int) -> int:
    return sum(step_bytes(name, length, batch).values())


def cell(name: str, length: int, weighed: dict[int, int]) -> dict:
    """The largest batch, by the line through the two compiled ones that are nearest to the card."""
    started = time.perf_counter()
    if 1 not in weighed:
        parts = step_bytes(name, length, 1)
        weighed[1] = sum(parts.values())
        if weighed[1] <= BUDGET:
            second = max(2, met(weighed[1], rough_example(name, length, parts)))
            weighed[second] = weigh(name, length, second)
            for _ in range(2):
                near = max(1, by_line(weighed))
                weighed[near] = weighed.get(near) or weigh(name, length, near)
    return {
        "batch": by_line(weighed),
        "verified": verified(weighed),
        "ledger": predicted(name, length),
        "bytes": {str(b): weighed[b] for b in sorted(weighed)},
        "compile_seconds": round(time.perf_counter() - started, 1),
    }


def checked(name: str, length: int, weighed: dict[int, int]) -> dict:
    """The cell anew: its batch and the next are compiled, until one fits and one does not."""
    for _ in range(MOST_TRIES):
        for batch in {by_line(weighed), by_line(weighed) + 1} - weighed.keys() - {0}:
            weighed[batch] = weigh(name, length, batch)
        if verified(weighed):
            break
    return cell(name, length, weighed)


def rough_example(name: str, length: int, parts: dict[str, int]) -> int:
    """What a further example may cost: the temporaries of one, without the gradients."""
    _, trained, _ = jax.eval_shape(partial(start, WAYS[name], length))
    least = 32 * length * bert.D_MODEL
    return max(least, parts["temporaries"] - 4 * n_parameters(trained))


def by_line(weighed: dict[int, int]) -> int:
    """Where the line through the two batches nearest to the budget meets it.

    It is flat where something else than activations needs the most, Adam's update say: hence a
    bound.
    """
    if weighed[1] > BUDGET:
        return 0
    low, high = sorted(sorted(weighed, key=lambda b: abs(weighed[b] - BUDGET))[:2])
    each = (weighed[high] - weighed[low]) / (high - low)
    return min(low - 1 + met(weighed[low], max(1, each)), MOST_GROWTH * max(weighed))


def met(n_bytes: int, each: float) -> int:
    return 1 + int((BUDGET - n_bytes) // each)


def verified(weighed: dict[int, int]) -> bool:
    """Whether a batch that fits and its neighbour that does not were both compiled."""
    batch = by_line(weighed)
    fits = batch == 0 or weighed.get(batch, BUDGET + 1) <= BUDGET
    return fits and weighed.get(batch + 1, 0) > BUDGET


def predicted(name: str, length: int) -> int | None:
    """The ledger's batch; of checkpoints, of the host and of adapters it knows nothing."""
    way = WAYS[name]
    if way.residual == "checkpoints" or way.state_on_host or way.adapters:
        return None
    chunk_len = CHUNK_LEN if way.chunks else None
    step = Step(
        **asdict(sizes_at(length)),
        length=length,
        attention="blocked" if way.blocked else "full",
        reversible=way.residual == "reversible",
        ff_chunk_len=chunk_len,
        loss_chunk_len=chunk_len,
        optimiser_bytes=2 * (1 + 4 / 256) if way.eight_bits else 8,
    )
    return max_batch(step, BUDGET).batch


# A real step ------------------------------------------------------------------------------------


def in_its_own_process(name: str, length: int) -> dict:
    command = [sys.executable, __file__, "--in-this-process", "--step", str(length)]
    command += ["--ways", name]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def real_step(name: str, length: int) -> dict:
    """One step of batch 1 on random tokens from random weights, and the process's peak."""
    planned, step = weigh(name, length, 1), compiled(name, length, 1)
    rng = np.random.default_rng(0)
    frozen, trained, state = jax.eval_shape(partial(start, WAYS[name], length))
    frozen, trained = jax.tree.map(partial(drawn, rng), (frozen, trained))
    state = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), state)
    windows = jnp.asarray(rng.integers(bert.VOCAB, size=(1, length + 1)), jnp.int32)
    n_trained, started = n_parameters(trained), time.perf_counter()
    value = float(step(trained, state, frozen, windows)[2])
    return {
        "nats": round(value, 3),
        "trained": n_trained,
        "seconds": round(time.perf_counter() - started, 1),
        "planned_gib": round(planned / 2**30, 2),
        "peak_rss_gib": round(peak_rss_gib(), 2),
    }


def drawn(rng, shape) -> jax.Array:
    """Leaf after leaf, so that making a model takes no more than the model."""
    if shape.dtype == jnp.int8:
        return jnp.asarray(rng.integers(-127, 128, shape.shape, np.int8))
    small = rng.standard_normal(shape.shape, np.float32)
    small *= 0.02 if len(shape.shape) != 0 else 1
    return jnp.asarray(small, shape.dtype)


if __name__ == "__main__":
    main()
