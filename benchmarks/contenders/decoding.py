"""One token at a time through large models: the contenders of the decoding benchmark.

All models of a size lie in the same memory. It is filled with random numbers, and each model takes
its weights from it, one array after the other: a dense model's output projections are another's
feed-forward units. What the numbers are changes no time, since no step depends on them but for
which units are chosen, and so models of gigabytes can take turns in one process.
"""

import mmap
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.harness.alternate import PEERS_PYTHON, Worker, summary
from efftx.models import (
    Exact,
    Sizes,
    attention_layer,
    by_layer,
    bytes_read,
    in_eight_bits,
    init_feed_forward,
    language_model,
    multiplicative,
    n_parameters,
    plain_residual,
    prefill,
    scaling_transformer,
    sparse_feed_forward,
    step,
    terraformer,
    weights_read,
)
from efftx.models.decoding import State
from efftx.sparsity import n_sparse_qkv
from efftx.training.records import peak_rss_gib

SEED = 0
CONTEXT = 64  # positions in the caches, of which half are read when a run begins
N_TOKENS = 32  # of a run: until the caches are full
N_TURNS = 7
DEPTHS, N_TOKENS_BIG = (1, 2, 3), 8  # of the big size
N_LAYERS_WHOLE, N_TURNS_WHOLE = 29, 5
IN_EIGHT_BITS = {"dense": 2, "both, sparse readout": N_TOKENS}  # tokens of a run
TIMED_BY_SLOPE = "dense", "sparse feed-forward", "sparse QKV", "both", "both, sparse readout"
PRODUCT = "matrix times vector"
PAUSE = 0.3  # seconds: threads of the contender before may wait for work a while before they rest

# A size is what the dense model has; the sparse attention's d_ff repays what it saves.
MEDIUM = {
    "sizes": {"n_layers": 24, "d_model": 1024, "d_ff": 4096, "n_heads": 16, "vocab": 32_000},
    "d_ff_widened": 6144,
    "n_units": 64,
    "d_lowrank": 16,
    "n_modules": 16,
    "readout_modules": 4,
}
BIG = {
    "sizes": {"n_layers": 3, "d_model": 4096, "d_ff": 32_768, "n_heads": 32, "vocab": 32_000},
    "d_ff_widened": 40_960,
    "n_units": 128,
    "d_lowrank": 32,
    "n_modules": 32,
    "readout_modules": 4,
}


def contenders(size: dict) -> dict[str, Callable]:
    """Name → what makes the model from a key."""
    dense, wide = sizes_of(size, widened=False), sizes_of(size, widened=True)
    units = {"n_units": size["n_units"], "d_lowrank": size["d_lowrank"]}
    attention = attention_layer()
    sparse_attention = attention_layer(Exact(), multiplicative(size["n_modules"]))
    sparse_ff = sparse_feed_forward(**units)
    make = lambda *how: lambda key: language_model(key, *how, plain_residual)  # noqa: E731
    all_sparse = {
        **units,
        "attention": sparse_attention,
        "readout_modules": size["readout_modules"],
    }
    return {
        "dense": make(dense, attention, init_feed_forward),
        "sparse feed-forward": make(dense, attention, sparse_ff),
        "sparse QKV": make(wide, sparse_attention, init_feed_forward),
        "both": make(wide, sparse_attention, sparse_ff),
        "both, sparse readout": lambda key: scaling_transformer(key, wide, **all_sparse),
        "Terraformer": lambda key: terraformer(key, wide, **all_sparse),
    }


def sizes_of(size: dict, *, widened: bool) -> Sizes:
    numbers = size["sizes"] | ({"d_ff": size["d_ff_widened"]} if widened else {})
    d_head = numbers["d_model"] // numbers["n_heads"]
    return Sizes(**numbers, d_head=d_head, max_len=2 * CONTEXT)


# Memory ---------------------------------------------------------------------------------------


def random_memory(n: int, dtype=np.float32) -> np.ndarray:
    """n random numbers of standard deviation 0.02, or n random codes of eight bits.

    They repeat after four million, each time turned further: enough for no two layers to be alike,
    and quick to make.
    """
    rng, period = np.random.default_rng(SEED), 1 << 22
    pages = mmap.mmap(-1, n * np.dtype(dtype).itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # on Linux, where numpy does it for its large arrays
        pages.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(pages, dtype)
    once = 0.02 * rng.standard_normal(period, np.float32)
    if dtype == np.int8:
        once = rng.integers(-127, 128, period, np.int8)
    for i, start in enumerate(range(0, n, period)):
        part = memory[start : start + period]
        part[:] = np.roll(once, 4099 * i)[: len(part)]
    return memory


ALIGNED = 64  # bytes: where jax uses numpy's memory instead of copying it


def taken_from(memory: np.ndarray) -> Callable:
    """``take(shape) -> array``: one piece of the memory after the other, not copied."""
    at = 0

    def take(shape: tuple[int, ...]) -> jax.Array:
        nonlocal at
        piece = memory[at : at + int(np.prod(shape))].reshape(shape)
        at += -(-piece.nbytes // ALIGNED) * ALIGNED // memory.itemsize
        array = jax.dlpack.from_dlpack(piece)
        assert array.unsafe_buffer_pointer() == piece.ctypes.data
        return array

    return take


def filled(shapes, *memories: np.ndarray):
    """A pytree of shapes as a pytree of arrays that lie in the memory of their dtype."""
    takes = {memory.dtype: taken_from(memory) for memory in memories}
    return jax.tree.map(lambda leaf: takes[leaf.dtype](leaf.shape), shapes)


def numbers_in(shapes, dtype=np.float32) -> int:
    """How many numbers of memory it takes, the gaps between arrays counted."""
    leaves = [leaf for leaf in jax.tree.leaves(shapes) if leaf.dtype == dtype]
    return sum(leaf.size + ALIGNED for leaf in leaves)


def memories_of_eight_bits(stored: dict) -> tuple[np.ndarray, ...]:
    """Floats, codes, and the same codes in fours: each of these models fits into them."""
    floats = random_memory(max(map(numbers_in, stored.values())))
    n_codes = [numbers_in(s, np.int8) + 4 * numbers_in(s, np.int32) for s in stored.values()]
    codes = random_memory(-(-max(n_codes) // 4) * 4, np.int8)
    return floats, codes, codes.view(np.int32)


# Runs -----------------------------------------------------------------------------------------


def empty_state(model) -> State:
    """As if half of the context had been read, and nothing been worth remembering."""
    prompt = jax.ShapeDtypeStruct((CONTEXT // 2,), jnp.int32)
    read = lambda model, prompt: prefill(model, prompt, capacity=CONTEXT)[1]  # noqa: E731
    shapes = jax.eval_shape(read, model, prompt)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


@partial(jax.jit, static_argnames="n_tokens", donate_argnames="state")
def likeliest(model, state: State, *, n_tokens: int):
    """So many tokens, each the likeliest after those before it, and the state after them."""

    def write(_, token_and_state):
        token, state = token_and_state
        logits, state = step(model, state, token)
        return jnp.argmax(logits).astype(jnp.int32), state

    return lax.fori_loop(0, n_tokens, write, (jnp.int32(0), state))


def tokens_of(model, n_tokens: int = N_TOKENS) -> Callable:
    """A run: so many tokens, one after the other; returns seconds for one."""
    state = empty_state(model)

    def run() -> float:
        nonlocal state
        state = replace(state, position=jnp.int32(CONTEXT // 2))
        started = time.perf_counter()
        token, state = likeliest(model, state, n_tokens=n_tokens)
        token.block_until_ready()
        return (time.perf_counter() - started) / n_tokens

    return run


def product_of(memory: np.ndarray) -> Callable:
    """A run: one product of all the memory, a matrix of 4096 columns, with a vector."""
    matrix = taken_from(memory)((len(memory) // 4096, 4096))
    vector, product = jnp.ones(4096), jax.jit(jnp.matmul)

    def run() -> float:
        started = time.perf_counter()
        product(matrix, vector).block_until_ready()
        return time.perf_counter() - started

    return run


def tokens_of_torch(size: dict) -> Callable:
    arguments = {"sizes": size["sizes"], "context": CONTEXT, "n_tokens": N_TOKENS}
    worker = Worker("benchmarks.contenders.torch_decoding", "dense", arguments, peer=True)
    return lambda: worker.run("tokens")["seconds"] / N_TOKENS


def seconds_by_turn(runs: dict[Hashable, Callable], n_turns: int) -> dict[Hashable, list[float]]:
    """Seconds of each run at every turn, after a first one that compiles."""
    for run in runs.values():
        run()
    times = {who: [] for who in runs}
    for _ in range(n_turns):
        for who, run in runs.items():
            time.sleep(PAUSE)
            times[who].append(run())
    return times


def take_turns(runs: dict[Hashable, Callable], n_turns: int = N_TURNS) -> dict[Hashable, dict]:
    """Median seconds of each, with what they vary by."""
    times = seconds_by_turn(runs, n_turns)
    return {who: summary(seconds) for who, seconds in times.items()}


# Parts of the benchmark -----------------------------------------------------------------------


def shapes_of(size: dict) -> dict:
    """Name → the model's shapes, by layer; nothing is computed."""
    key = jax.random.key(SEED)
    return {
        name: jax.eval_shape(lambda key, make=make: by_layer(make(key)), key)
        for name, make in contenders(size).items()
    }


def row_of(shapes, taken: dict, stored=None) -> dict:
    """What stands in the table of a model, and of the bytes that it is stored in."""
    read = bytes_read(shapes if stored is None else stored)
    return {
        "parameters": n_parameters(shapes),
        "weights_read": weights_read(shapes),
        "bytes_read": read,
        **taken,
        "gb_per_second": read / taken["seconds"] / 1e9,
    }


def medium() -> dict:
    """All contenders with all their layers, and torch's dense model."""
    models = shapes_of(MEDIUM)
    memory = random_memory(max(map(numbers_in, models.values())))
    runs = {name: tokens_of(filled(shapes, memory)) for name, shapes in models.items()}
    runs[PRODUCT] = product_of(memory)
    if PEERS_PYTHON.exists():
        runs["torch, dense"] = tokens_of_torch(MEDIUM)
    taken = take_turns(runs)
    models["torch, dense"] = models["dense"]
    return {
        "rows": [{"who": n} | row_of(models[n], taken[n]) for n in taken if n != PRODUCT],
        "product": product_row(memory, taken[PRODUCT]),
        "with_cross_attention": read_with_cross_attention(),
    }


def product_row(memory: np.ndarray, taken: dict) -> dict:
    return taken | {"gb_per_second": memory.nbytes / taken["seconds"] / 1e9}


def read_with_cross_attention() -> dict[str, int]:
    """Weights read if each decoder block also looked at a source: query and output projection.

    In the sparse model that is D, E and the convolution of the query.
    """
    depth, d_model = MEDIUM["sizes"]["n_layers"], MEDIUM["sizes"]["d_model"]
    more = {"dense": 2 * d_model**2, "both": n_sparse_qkv(d_model, MEDIUM["n_modules"], 1)}
    models = shapes_of(MEDIUM)
    return {name: weights_read(models[name]) + depth * n for name, n in more.items()}


def big() -> dict:
    """Models of one to three layers; what a layer more costs gives the time of them all."""
    models = {name: shapes for name, shapes in shapes_of(BIG).items() if name in TIMED_BY_SLOPE}
    memory = random_memory(max(map(numbers_in, models.values())))
    whole = {name: filled(shapes, memory) for name, shapes in models.items()}
    runs = {
        (name, depth): tokens_of(replace(model, blocks=model.blocks[:depth]), N_TOKENS_BIG)
        for name, model in whole.items()
        for depth in DEPTHS
    }
    runs[PRODUCT, 0] = product_of(memory)
    taken = take_turns(runs)
    return {
        "rows": [
            {"who": name} | extrapolated(shapes, [taken[name, depth] for depth in DEPTHS])
            for name, shapes in models.items()
        ],
        "product": product_row(memory, taken[PRODUCT, 0]),
    }


def extrapolated(shapes, taken: list[dict]) -> dict:
    """The model with as many layers as make 10 billion parameters, each as slow as the slope."""
    seconds = [t["seconds"] for t in taken]
    slope = (seconds[-1] - seconds[0]) / (DEPTHS[-1] - DEPTHS[0])
    n_layers = layers_for_ten_billion(shapes)
    deep = replace(shapes, blocks=shapes.blocks[:1] * n_layers)
    total = {"seconds": seconds[0] + (n_layers - DEPTHS[0]) * slope}
    timed = {str(depth): t for depth, t in zip(DEPTHS, taken, strict=True)}
    return {
        "n_layers": n_layers,
        **row_of(deep, total),
        "seconds_for_a_layer": slope,
        "seconds_for_the_rest": seconds[0] - DEPTHS[0] * slope,
        "timed": timed,
    }


def whole() -> dict:
    """All layers in eight bits, dense and sparse in the same memory."""
    sizes = {**BIG, "sizes": BIG["sizes"] | {"n_layers": N_LAYERS_WHOLE}}
    models = {name: shapes for name, shapes in shapes_of(sizes).items() if name in IN_EIGHT_BITS}
    stored = {name: jax.eval_shape(in_eight_bits, shapes) for name, shapes in models.items()}
    memories = memories_of_eight_bits(stored)
    runs = {
        name: tokens_of(filled(shapes, *memories), IN_EIGHT_BITS[name])
        for name, shapes in stored.items()
    }
    runs[PRODUCT] = product_of(memories[0])
    taken = take_turns(runs, N_TURNS_WHOLE)
    return {
        "rows": [
            {"who": name, "n_layers": N_LAYERS_WHOLE} | row_of(shapes, taken[name], stored[name])
            for name, shapes in models.items()
        ],
        "product": product_row(memories[0], taken[PRODUCT]),
        "peak_rss_gib": peak_rss_gib(),
    }


def layers_for_ten_billion(shapes) -> int:
    layer = n_parameters(shapes.blocks[0])
    rest = n_parameters(shapes) - layer * len(shapes.blocks)
    return round((10e9 - rest) / layer)
