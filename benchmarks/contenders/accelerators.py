"""The programs that are compiled for accelerators: each is a jitted function and its arguments'
shapes."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import jax
import jax.numpy as jnp
import optax

from benchmarks.contenders import memory as stacks
from efftx.attention import blocked_attention, lsh_attention
from efftx.memory import (
    adam_8bit,
    init_layer_by_layer,
    layers_from_host,
    map_heads,
    to_host,
    update_layer_by_layer,
)
from efftx.models import by_layer, in_eight_bits, lsh, prefill, reformer, step, terraformer
from efftx.models.layer import Sizes
from efftx.models.reformer import MILLION_TOKENS, SIXTEEN_GB
from efftx.training.losses import bits_per_byte

Program = tuple[Callable, tuple]

KEY = 0
N_HEADS, LENGTH, D_HEAD = 8, 2**16, 64  # of attention alone
DEPTHS = (2, 32)
CONTEXT, N_READ = 2048, 64
TERRAFORMER = Sizes(
    n_layers=12, d_model=1024, d_ff=4096, n_heads=16, d_head=64, max_len=CONTEXT, vocab=32_000
)
N_UNITS, BATCH_LENGTH = 64, 2048
OFFLOADED = {"n_layers": 24, "d_model": 1024, "d_ff": 4096, "rows": 512}


def built(name: str) -> Program:
    return PROGRAMS[name]()


def shapes(make: Callable):
    return jax.eval_shape(make)


# Attention alone ------------------------------------------------------------------------------


def attention_gradient(attend: Callable, n_arrays: int) -> Program:
    heads = jax.ShapeDtypeStruct((N_HEADS, LENGTH, D_HEAD), jnp.float32)

    def loss(*arrays):
        return (map_heads(attend, *arrays) ** 2).mean()

    return jax.jit(jax.grad(loss, argnums=tuple(range(n_arrays)))), (heads,) * n_arrays


def lsh_gradient() -> Program:
    def attend(qk, v):
        return lsh_attention(qk, v, key=jax.random.key(KEY), n_hashes=4)

    return attention_gradient(attend, 2)


def blocked_gradient() -> Program:
    return attention_gradient(partial(blocked_attention, causal=True), 3)


# Models in training ---------------------------------------------------------------------------


def reversible_stack(depth: int) -> Program:
    _, options = stacks.CONTENDERS["reversible"]
    blocks = shapes(partial(stacks.make_blocks, depth, **options))
    return jax.jit(stacks.gradients(stacks.reversible)), (blocks, shapes(stacks.make_input))


def training_step(make: Callable, length: int, optimiser, chunk_len: int = 4096) -> Program:
    """Model and optimiser's state come in and go out in the same memory."""

    def state():
        model = make(jax.random.key(KEY))
        return model, optimiser.init(model)

    def update(state, window, key):
        model, moments = state
        loss = partial(bits_per_byte, chunk_len=chunk_len)
        value, gradients = jax.value_and_grad(loss)(model, window, key)
        updates, moments = optimiser.update(gradients, moments, model)
        return (optax.apply_updates(model, updates), moments), value

    window = jax.ShapeDtypeStruct((length + 1,), jnp.int32)
    arguments = shapes(state), window, shapes(lambda: jax.random.key(KEY))
    return jax.jit(update, donate_argnums=0), arguments


def reformer_step(sizes: Sizes, ff_chunk_len: int = 4096) -> Program:
    make = partial(reformer, sizes=sizes, attention=lsh(), ff_chunk_len=ff_chunk_len)
    return training_step(make, sizes.max_len, optax.adam(1e-3))


def terraformer_step(optimiser) -> Program:
    make = partial(terraformer, sizes=TERRAFORMER, n_units=N_UNITS)
    return training_step(make, BATCH_LENGTH, optimiser)


# Models that generate -------------------------------------------------------------------------


def decoding_step(change: Callable = lambda model: model) -> Program:
    """One token through a Terraformer, laid out by layer; the caches stay where they are."""
    model = shapes(lambda: by_layer(change(terraformer(key(), TERRAFORMER, n_units=N_UNITS))))
    prompt = jax.ShapeDtypeStruct((N_READ,), jnp.int32)
    _, state = jax.eval_shape(partial(prefill, capacity=CONTEXT), model, prompt)
    token = jax.ShapeDtypeStruct((), jnp.int32)
    return jax.jit(step, donate_argnums=1), (model, state, token)


def key():
    return jax.random.key(KEY)


# Parameters on the host -----------------------------------------------------------------------


def feed_forward(params, x):
    return x + jax.nn.relu(x @ params["in"]) @ params["out"]


def layers_on_host() -> dict:
    n_layers, d_model, d_ff = (OFFLOADED[name] for name in ("n_layers", "d_model", "d_ff"))
    widths = {"in": (d_model, d_ff), "out": (d_ff, d_model)}
    return {name: on_host((n_layers, *width)) for name, width in widths.items()}


def on_host(shape, dtype=jnp.float32):
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")
    return jax.ShapeDtypeStruct(shape, dtype, sharding=here)


def offloaded_gradient() -> Program:
    x = jax.ShapeDtypeStruct((OFFLOADED["rows"], OFFLOADED["d_model"]), jnp.float32)

    def loss(params, x):
        return (layers_from_host(feed_forward, params, x) ** 2).mean()

    return jax.jit(lambda params, x: to_host(jax.grad(loss)(params, x))), (layers_on_host(), x)


def offloaded_update() -> Program:
    optimiser, params = optax.adam(1e-3), layers_on_host()
    state = jax.eval_shape(partial(init_layer_by_layer, optimiser), params)
    state = jax.tree.map(lambda x: on_host(x.shape, x.dtype), state)
    run = partial(update_layer_by_layer, optimiser)
    return jax.jit(run, donate_argnums=(1, 2)), (params, state, params)


def config() -> dict:
    """What the programs' sizes are; results of other sizes are not theirs."""
    return {
        "dtype": "float32",
        "attention": {"n_heads": N_HEADS, "L": LENGTH, "d_head": D_HEAD, "n_hashes": 4},
        "stack": {"d_model": stacks.D_MODEL, "d_ff": stacks.D_FF, "L": stacks.LENGTH},
        "MILLION_TOKENS": asdict(MILLION_TOKENS),
        "SIXTEEN_GB": asdict(SIXTEEN_GB),
        "Terraformer": asdict(TERRAFORMER) | {"n_units": N_UNITS, "L": BATCH_LENGTH},
        "offloaded": OFFLOADED,
    }


PROGRAMS: dict[str, Callable[[], Program]] = {
    "LSH attention, gradient, 8 heads × 65,536": lsh_gradient,
    "blocked attention, gradient, 8 heads × 65,536": blocked_gradient,
    **{f"reversible stack, {n} layers": partial(reversible_stack, n) for n in DEPTHS},
    "MILLION_TOKENS, 1 round, Adam": partial(reformer_step, MILLION_TOKENS),
    "SIXTEEN_GB, 1 round, Adam": partial(reformer_step, SIXTEEN_GB),
    "Terraformer, a training step, Adam": lambda: terraformer_step(optax.adam(1e-3)),
    "Terraformer, a training step, 8-bit Adam": lambda: terraformer_step(adam_8bit(1e-3)),
    "Terraformer, a decoding step": decoding_step,
    "Terraformer, a decoding step, int8": partial(decoding_step, in_eight_bits),
    "layers from the host, gradient": offloaded_gradient,
    "update layer by layer, Adam": offloaded_update,
}
