"""Stacks of Transformer blocks whose gradients keep all, or little: the benchmark's contenders.

A stack is a function of the blocks' parameters and of the vectors that go in; all have the same
parameters and the same blocked attention, and what they compute is the same function of them but
for the reversible ones. A step is the mean of the squares of what comes out, and its gradients.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from efftx.memory import reversible_forward, reversible_inverse, reversible_stack
from efftx.models import Blocked, Sizes, plain_residual, reversible_residual, transformer
from efftx.models.branch import branches, n_stacked

D_MODEL, D_FF, N_HEADS, LENGTH, SEED = 256, 1024, 4, 4096, 0
FF_CHUNK_LEN = 256
NO_KEYS = (None, None)


def plain(blocks, x):
    """A scan over the blocks, of which autodiff keeps everything."""
    return plain_residual(blocks, x, NO_KEYS)


def one_block(x, block):
    for branch in branches(block):
        x = x + branch(x)
    return x


def checkpoint_unrolled(blocks, x):
    """Block after block, each in `jax.checkpoint`: as it is often written."""
    for layer in range(n_stacked(blocks)):
        x = jax.checkpoint(one_block)(x, jax.tree.map(lambda p, i=layer: p[i], blocks))
    return x


def checkpoint_in_scan(blocks, x):
    """`jax.checkpoint` inside a scan keeps one (length, d_model) array for each block."""
    step = jax.checkpoint(one_block, prevent_cse=False)
    return jax.lax.scan(lambda x, block: (step(x, block), None), x, blocks)[0]


def reversible(blocks, x):
    """Keeps two arrays for all blocks together. With blocks in chunks: the same, and less width."""
    return reversible_residual(blocks, x, NO_KEYS)


CONTENDERS: dict[str, tuple[Callable, dict]] = {
    "plain": (plain, {}),
    "checkpoint, unrolled": (checkpoint_unrolled, {}),
    "checkpoint in scan": (checkpoint_in_scan, {}),
    "reversible": (reversible, {}),
    "reversible, chunked": (reversible, {"ff_chunk_len": FF_CHUNK_LEN}),
}


def make_blocks(depth: int, length: int = LENGTH, **options):
    sizes = Sizes(
        n_layers=depth,
        d_model=D_MODEL,
        d_ff=D_FF,
        n_heads=N_HEADS,
        d_head=D_MODEL // N_HEADS,
        max_len=length,
    )
    return transformer(jax.random.key(SEED), sizes, kind=Blocked(), **options).blocks


def make_input(length: int = LENGTH):
    return jax.random.normal(jax.random.key(SEED + 1), (length, D_MODEL))


def gradients(stack: Callable) -> Callable:
    """(blocks, x) -> the loss and both gradients, as an optimiser would take them."""
    return jax.value_and_grad(lambda blocks, x: (stack(blocks, x) ** 2).mean(), argnums=(0, 1))


def lowered(name: str, depth: int):
    """A contender's step, traced for shapes alone and ready to be compiled."""
    stack, options = CONTENDERS[name]
    blocks = jax.eval_shape(partial(make_blocks, depth, **options))
    return jax.jit(gradients(stack)).lower(blocks, jax.eval_shape(make_input))


def step(name: str, depth: int) -> dict:
    """The run of a worker: one step of this contender."""
    stack, options = CONTENDERS[name]
    blocks, x = make_blocks(depth, **options), make_input()
    run = jax.jit(gradients(stack))
    return {"step": lambda: jax.block_until_ready(run(blocks, x))}


# Rebuilt against stored ---------------------------------------------------------------------------


def run_in(dtype) -> Callable:
    """A branch as `reversible_stack` wants it, which sees x in the parameters' dtype."""

    def run(branch, x, key, extra, replay=None):
        return branch(x.astype(dtype), key, replay=replay)

    return run


def two_streams(blocks, x, *, rebuilt: bool, dtype):
    """The reversible function, with streams of this dtype; its activations rebuilt, or stored."""
    run, params, start = run_in(x.dtype), branches(blocks), x.astype(dtype)
    if rebuilt:
        return sum(reversible_stack((run, run), params, start, start))

    def block(streams, layer):
        a, b = streams
        for branch in layer:
            a, b = b, a + run(branch, b, None, None)[0].astype(dtype)
        return (a, b), None

    return sum(jax.lax.scan(block, (start, start), params)[0])


def there_and_back(blocks, x, *, dtype):
    """The input, rebuilt from the results of the whole stack."""
    how = (run_in(x.dtype),) * 2, branches(blocks)
    start = x.astype(dtype)
    results, replay = reversible_forward(*how, start, start)
    return reversible_inverse(*how, *results, replay=replay)


def drift(depth: int = 24, length: int = 1024) -> list[dict]:
    """What rounding does: relative errors of the input and of gradients, stored and rebuilt.

    Gradients are held against float64 with the same parameters, and against each other.
    """
    rows = []
    with jax.enable_x64(True):
        for dtype, streams in (("float32",) * 2, ("bfloat16", "float32"), ("bfloat16",) * 2):
            low = jax.tree.map(
                lambda p, dtype=dtype: p.astype(dtype),
                (make_blocks(depth, length), make_input(length)),
            )
            exact = jax.tree.map(lambda p: p.astype(jnp.float64), low)
            wanted = _gradient(*exact, rebuilt=False, dtype=jnp.float64)
            how = {"dtype": jnp.dtype(streams)}
            stored, rebuilt = (_gradient(*low, rebuilt=r, **how) for r in (False, True))
            back = jax.jit(partial(there_and_back, **how))(*low)
            rows.append(
                {
                    "parameters": dtype,
                    "streams": streams,
                    "depth": depth,
                    "L": length,
                    "input": relative_error(back, (low[1],) * 2),
                    "stored": relative_error(stored, wanted),
                    "rebuilt": relative_error(rebuilt, wanted),
                    "rebuilt, of stored": relative_error(rebuilt, stored),
                }
            )
    return rows


def _gradient(blocks, x, **how):
    return jax.jit(gradients(partial(two_streams, **how)))(blocks, x)[1]


def relative_error(ours, theirs) -> float:
    """Of all arrays together, as one long vector."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    wide = [(a.astype(jnp.float64), b.astype(jnp.float64)) for a, b in pairs]
    error = sum(float(((a - b) ** 2).sum()) for a, b in wide)
    return (error / sum(float((b**2).sum()) for _, b in wide)) ** 0.5
