"""A small case of every public function of efftx.memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from efftx import memory
from efftx.attention import blocked_attention, full_attention
from tests.public.rows import Elsewhere, Numbers, Row


def readout(w, x):
    return jnp.tanh(x @ w)


def losses(f):
    return lambda w, x: f(readout, w, x, jnp.arange(len(x)) % 5)


def choosing(w, x, key, extra, replay=None):
    """A branch with a replay and an extra."""
    chosen = (x > 0).astype(jnp.uint8) if replay is None else replay
    return jnp.where(chosen == 1, jnp.tanh(x @ w), jnp.sin(x) * extra), chosen


def stack(f):
    return lambda w, x: f((choosing, choosing), (w, 2 * w), x, x + 1, None, 0.5)


def there_and_back(w, x):
    results, replay = stack(memory.reversible_forward)(w, x)
    arguments = (choosing, choosing), (w, 2 * w), *results, None, 0.5
    return memory.reversible_inverse(*arguments, replay=replay)


def undone(w, x):
    return memory.undo_by_autodiff(choosing, w, x, (None, jnp.asarray(0.5), None), (x, x, x))[0]


def layer(w, x):
    return jnp.tanh(x @ w)


def host(w, x):
    return memory.layers_from_host(layer, w, x)


def sgd(update, start):
    def run(w, g):
        optimiser = optax.sgd(0.1, momentum=0.9)
        return update(optimiser, g, start(optimiser, w), w)[0]

    return run


def first_step(optimiser):
    def step(g):
        g = jnp.asarray(g)
        return optimiser.update(g, optimiser.init(g))[0]

    return step


def heads(q, v):
    """Of two heads of blocked attention."""
    two = (jnp.stack([jnp.asarray(x), 2 * jnp.asarray(x)]) for x in (q, v))
    attend = lambda q, v: blocked_attention(q, q, v, causal=True, block_len=3)  # noqa: E731
    return memory.map_heads(attend, *two)


def two_heads(q, v):
    both = (q, q, v), (2 * q, 2 * q, 2 * v)
    return jnp.stack([full_attention(*one, causal=True) for one in both])


def there_and_again(pack, unpack):
    return lambda x: unpack(pack(x))


def thin(f):
    """f of x, a fixed W and a change s · A B."""
    w = jnp.sin(jnp.arange(20.0)).reshape(4, 5)
    return lambda a, b, x: f(jnp.asarray(x), w, memory.LowRank(jnp.asarray(a), jnp.asarray(b), 0.5))


def by_merged(x, w, change):
    return x @ memory.merged(w, change)


THIN = ((4, 2), (2, 5), ("L", 4))
WX, X = ((4, 5), ("L", 4)), (("L", 4),)
LAYERS = SQUARE = ((2, 4, 4), ("L", 4))  # two layers' matrices
both_ways = sgd(memory.update_layer_by_layer, memory.init_layer_by_layer)
on_device = sgd(memory.update_layers_reference, lambda optimiser, w: optimiser.init(w))

ROWS = {
    "map_heads": Row(heads, ((("L", 4), ("L", 3))), two_heads),
    "Quantized": Numbers(
        lambda: (
            memory.Quantized(np.zeros((2, 3), np.int8), np.ones((2, 1), np.float32), None).nbytes
        ),
        14,
    ),
    "adam_8bit": Row(first_step(memory.adam_8bit(0.1)), X, first_step(optax.adam(0.1)), False),
    "bytes_by_memory": Numbers(lambda: memory.bytes_by_memory(jnp.ones(3)), {"device": 12}),
    "chunked_cross_entropy": Row(
        lambda w, x: memory.chunked_cross_entropy(
            readout, w, x, jnp.arange(len(x)) % 5, chunk_len=2
        ),
        WX,
        losses(memory.cross_entropy_reference),
    ),
    "cross_entropy_reference": Row(losses(memory.cross_entropy_reference), WX),
    "FourBits": Elsewhere("dequantize_four_bits"),
    "LowRank": Elsewhere("merged"),
    "dense": Row(lambda x: memory.dense(x), X, lambda x: x),
    "dequantize_four_bits": Row(
        there_and_again(
            lambda x: memory.quantize_four_bits(x, block_len=2), memory.dequantize_four_bits
        ),
        X,
        gradients=False,
    ),
    "init_low_rank": Elsewhere("tests/memory/test_low_rank.py"),
    "low_rank_product": Row(thin(memory.low_rank_product), THIN, thin(by_merged)),
    "merged": Row(thin(by_merged), THIN),
    "quantize_four_bits": Elsewhere("dequantize_four_bits"),
    "quantize_four_bits_reference": Elsewhere("tests/memory/test_low_rank.py"),
    "stored": Elsewhere("tests/memory/test_low_rank.py"),
    "unmerged": Elsewhere("tests/memory/test_low_rank.py"),
    "dequantize": Row(
        there_and_again(lambda x: memory.quantize_blockwise(x, block_len=2), memory.dequantize),
        X,
        gradients=False,
    ),
    "dequantize_reference": Numbers(
        lambda: memory.dequantize_reference(memory.quantize(np.eye(2, dtype=np.float32))).tolist(),
        [[1, 0], [0, 1]],
    ),
    "init_layer_by_layer": Row(both_ways, (LAYERS[0],) * 2, on_device, False),
    "layers_from_host": Row(host, LAYERS, lambda w, x: memory.layers_reference(layer, w, x)),
    "layers_reference": Row(lambda w, x: memory.layers_reference(layer, w, x), LAYERS),
    "map_chunks": Row(lambda w, x: memory.map_chunks(readout, w, x, chunk_len=2), WX, readout),
    "map_chunks_reference": Row(
        lambda w, x: memory.map_chunks_reference(readout, w, x, chunk_len=2), WX, readout
    ),
    "offload_policy": Row(
        jax.checkpoint(layer, policy=memory.offload_policy("nothing")), ((4, 4), ("L", 4)), layer
    ),
    "quantize": Row(lambda x: memory.quantize(x), X, gradients=False),
    "quantize_blockwise": Row(lambda x: memory.quantize_blockwise(x), X, gradients=False),
    "quantize_blockwise_reference": Numbers(
        lambda: memory.quantize_blockwise_reference(np.ones(3), block_len=2).absmax.tolist(), [1, 1]
    ),
    "quantize_reference": Numbers(
        lambda: memory.quantize_reference(np.eye(2)).values.tolist(), [[127, 0], [0, 127]]
    ),
    "reversible_forward": Row(stack(memory.reversible_forward), SQUARE),
    "reversible_inverse": Row(there_and_back, SQUARE, lambda w, x: (x, x + 1)),
    "reversible_stack": Row(
        stack(memory.reversible_stack), SQUARE, stack(memory.reversible_stack_reference)
    ),
    "reversible_stack_reference": Row(stack(memory.reversible_stack_reference), SQUARE),
    "round_stochastically": Row(
        lambda x: memory.round_stochastically(jnp.round(x), jax.random.key(0)),
        X,
        lambda x: jnp.round(x),
        False,
    ),
    "scale_by_adam_8bit": Row(
        first_step(memory.scale_by_adam_8bit()), X, first_step(optax.scale_by_adam()), False
    ),
    "to_device": Row(memory.to_device, X, lambda x: x),
    "to_host": Row(memory.to_host, X, lambda x: x, gradients=False),
    "undo_by_autodiff": Row(undone, ((4, 4), ("L", 4))),
    "update_layer_by_layer": Row(both_ways, (LAYERS[0],) * 2, on_device, False),
    "update_layers_reference": Row(on_device, (LAYERS[0],) * 2, gradients=False),
}
