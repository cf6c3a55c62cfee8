"""The ledger against what jax keeps, what the compiler plans, and what the programs multiply."""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from efftx.attention import lsh_attention
from efftx.memory.bert import bert_large, parameters_by_part
from efftx.memory.flops import forward_flops, step_flops
from efftx.memory.ledger import (
    Step,
    activation_bytes,
    entries,
    example_bytes,
    max_batch,
    n_parameters,
    state_bytes,
    working_bytes,
)
from efftx.models import (
    Blocked,
    Exact,
    Shared,
    Sizes,
    lsh,
    reformer,
    reversible_residual,
    transformer,
)
from efftx.models import n_parameters as count_parameters
from efftx.training.losses import bits_per_byte

N_HASHES, LSH_CHUNK_LEN = 3, 8
SMALL = Sizes(n_layers=5, d_model=16, d_ff=40, n_heads=2, d_head=7, max_len=100, vocab=51)
WIDER = Sizes(n_layers=3, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=256, vocab=256)


@dataclass(frozen=True, kw_only=True)
class HashedAtOnce(Shared):
    """LSH attention in all heads together: the ledger knows nothing of one head at a time."""

    def attend(self, vectors, key, replay, key_mask):
        how = {"n_hashes": N_HASHES, "chunk_len": LSH_CHUNK_LEN}
        return lsh_attention(*vectors, key=jax.random.key(0), **how), None


KINDS = {"full": Exact(), "blocked": Blocked(), "shared": Shared(), "lsh": HashedAtOnce()}


def a_step(sizes, **how) -> Step:
    lsh_sizes = {"n_hashes": N_HASHES, "lsh_chunk_len": LSH_CHUNK_LEN}
    return Step(**vars(sizes), **lsh_sizes, **how)


def a_program(step: Step, sizes, dtype=jnp.float32):
    """The model that the step speaks of, a batch of windows, and the mean loss: as shapes."""

    def make():
        model = transformer(
            jax.random.key(0),
            sizes,
            kind=KINDS[step.attention],
            ff_chunk_len=step.ff_chunk_len,
        )
        if step.reversible:
            model = replace(model, residual=reversible_residual)
        return jax.tree.map(lambda x: x.astype(dtype), model)

    def mean_loss(model, windows):
        loss = partial(bits_per_byte, chunk_len=step.loss_chunk_len)
        return jax.vmap(loss, in_axes=(None, 0))(model, windows).mean()

    windows = jax.ShapeDtypeStruct((step.batch, step.length + 1), jnp.int32)
    return mean_loss, jax.eval_shape(make), windows


def residual_bytes(function, *arguments) -> int:
    """What the backward pass is handed by the forward pass, beyond what both were given."""
    kept = lambda *arguments: jax.tree.leaves(jax.vjp(function, *arguments)[1])  # noqa: E731
    jaxpr = jax.make_jaxpr(kept)(*arguments).jaxpr
    given = set(map(id, jaxpr.invars))
    new = {id(v): v.aval for v in jaxpr.outvars if id(v) not in given}
    return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in new.values())


CHUNKS = [{}, {"ff_chunk_len": 8, "loss_chunk_len": 8}, {"ff_chunk_len": 30}]


@pytest.mark.parametrize("chunks", CHUNKS, ids=["plain", "chunked", "feed_forward_chunked"])
@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize(
    ("sizes", "length", "batch"), [(SMALL, 96, 1), (WIDER, 200, 3)], ids=["small", "wider"]
)
def test_activations_are_the_residuals_of_the_vjp(sizes, length, batch, attention, chunks):
    step = a_step(sizes, length=length, batch=batch, attention=attention, **chunks)
    residuals = residual_bytes(*a_program(step, sizes))
    assert sum(activation_bytes(step).values()) == pytest.approx(residuals, rel=0.01)


@pytest.mark.parametrize("chunks", CHUNKS[:2], ids=["plain", "chunked"])
@pytest.mark.parametrize("attention", ["full", "blocked", "shared"])
def test_activations_of_reversible_blocks_are_residuals_too(attention, chunks):
    step = a_step(WIDER, length=200, batch=3, attention=attention, reversible=True, **chunks)
    residuals = residual_bytes(*a_program(step, WIDER))
    assert sum(activation_bytes(step).values()) == pytest.approx(residuals, rel=0.01)


def test_reversible_blocks_keep_their_buckets_in_the_narrowest_type():
    def buckets(lsh_chunk_len, **how):
        sizes = {**vars(WIDER), "n_hashes": 3, "lsh_chunk_len": lsh_chunk_len}
        step = Step(**sizes, length=4096, attention="lsh", batch=2, **how)
        return activation_bytes(step)["hash buckets"]

    each = 2 * WIDER.n_layers * WIDER.n_heads * 3 * 4096  # how many there are
    assert buckets(64) == 16 * each
    assert buckets(64, reversible=True) == each  # 128 buckets
    assert buckets(8, reversible=True) == 2 * each  # 1,024 buckets


def test_residuals_of_bfloat16():
    """Less exactly: attention keeps some vectors in float32."""
    step = a_step(WIDER, length=200, bytes_per_number=2, ff_chunk_len=8, loss_chunk_len=8)
    for attention in ("full", "blocked"):
        step = replace(step, attention=attention)
        residuals = residual_bytes(*a_program(step, WIDER, jnp.bfloat16))
        ours = sum(activation_bytes(step).values())
        assert residuals / 2 < ours < residuals


@pytest.mark.parametrize("attention", KINDS)
def test_parameters_are_counted(attention):
    step = a_step(SMALL, length=96, attention=attention)
    _, model, _ = a_program(step, SMALL)
    assert n_parameters(step) == count_parameters(model)
    assert state_bytes(step)["parameters"] == 4 * count_parameters(model)


# The compiler's plan: it may do better than the ledger, so slopes are compared, not bytes.

BASE = Sizes(n_layers=4, d_model=64, d_ff=256, n_heads=2, d_head=32, max_len=2048, vocab=256)
WAYS = {
    "full": {"attention": "full"},
    "blocked": {"attention": "blocked"},
    "chunked": {"attention": "blocked", "ff_chunk_len": 64, "loss_chunk_len": 64},
}
REVERSIBLE = {**WAYS["chunked"], "reversible": True}


def planned_bytes(step, sizes) -> int:
    loss, *arguments = a_program(step, sizes)
    compiled = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def slopes(way, **changes) -> tuple[float, float]:
    """How much more the second of two steps takes: planned by the compiler, and in the ledger."""
    (name, values) = next(iter(changes.items()))
    planned, predicted = [], []
    for value in values:
        sizes = replace(BASE, n_layers=value) if name == "n_layers" else BASE
        others = {"length": 512} if name == "n_layers" else {"length": 512, name: value}
        step = a_step(sizes, **{**others, **WAYS[way]})
        planned.append(planned_bytes(step, sizes))
        predicted.append(example_bytes(step) * step.batch)
    return planned[1] - planned[0], predicted[1] - predicted[0]


@pytest.mark.parametrize("way", WAYS)
def test_the_slope_against_depth_is_the_compilers(way):
    planned, predicted = slopes(way, n_layers=(8, 16))
    assert planned == pytest.approx(predicted, rel=0.1)


def test_reversible_blocks_have_no_slope_against_depth():
    shallow, deep = (a_step(replace(BASE, n_layers=n), length=512, **REVERSIBLE) for n in (4, 16))
    assert example_bytes(deep) == example_bytes(shallow)
    vectors = 512 * BASE.d_model * 4
    planned = [
        planned_bytes(step, replace(BASE, n_layers=step.n_layers)) for step in (shallow, deep)
    ]
    assert planned[1] - planned[0] < 0.01 * vectors


@pytest.mark.parametrize("way", WAYS)
def test_the_slope_against_batch_is_the_compilers(way):
    planned, predicted = slopes(way, batch=(1, 3))
    assert planned == pytest.approx(predicted, rel=0.3)


@pytest.mark.parametrize("way", WAYS)
def test_the_slope_against_length_is_the_compilers(way):
    planned, predicted = slopes(way, length=(512, 1024) if way == "full" else (1024, 2048))
    assert planned == pytest.approx(predicted, rel=0.3)


def test_full_attention_is_quadratic_and_blocked_linear():
    def grown(attention):
        step = a_step(BASE, length=2**14, attention=attention)
        return example_bytes(replace(step, length=2**15)) / example_bytes(step)

    assert grown("full") > 3.9
    assert 1.9 < grown("blocked") < 2.1


# Floating-point operations


def products(jaxpr) -> int:
    """Multiplications and additions of a program's matrix products, as often as its loops turn."""
    total = 0
    for equation in needed(jaxpr):
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(left[i] for i in contracted)
        turns = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += turns * sum(map(products, inner_programs(equation)))
    return total


def needed(jaxpr):
    """Without the equations that no result depends on: the compiler leaves them out."""
    wanted = set(map(id, jaxpr.outvars))
    for equation in reversed(jaxpr.eqns):
        if wanted.intersection(map(id, equation.outvars)):
            wanted.update(map(id, equation.invars))
            yield equation


def inner_programs(equation):
    for value in equation.params.values():
        for inner in value if isinstance(value, list | tuple) else [value]:
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield inner


@pytest.mark.parametrize("chunks", CHUNKS[:2], ids=["plain", "chunked"])
@pytest.mark.parametrize("attention", ["full", "blocked", "lsh"])
def test_flops_are_those_of_the_programs_matrix_products(attention, chunks):
    step = a_step(WIDER, length=192, batch=2, attention=attention, **chunks)
    loss, *arguments = a_program(step, WIDER)
    forward = products(jax.make_jaxpr(loss)(*arguments).jaxpr)
    both = products(jax.make_jaxpr(jax.value_and_grad(loss))(*arguments).jaxpr)
    tolerance = 0.03 if attention == "lsh" else 0  # the hash is not counted
    assert forward_flops(step) == pytest.approx(forward, rel=tolerance)
    assert step_flops(step) == pytest.approx(both, rel=tolerance)


def test_flops_of_a_reformer():
    """Reversible, in chunks, head by head: each branch is evaluated once on the way back."""
    chunks = {"ff_chunk_len": 64, "loss_chunk_len": 64, "reversible": True}
    step = a_step(WIDER, length=256, attention="lsh", **chunks)
    attention = lsh(n_hashes=N_HASHES, chunk_len=LSH_CHUNK_LEN)
    how = {"attention": attention, "ff_chunk_len": step.ff_chunk_len}
    model = jax.eval_shape(lambda: reformer(jax.random.key(0), WIDER, **how))
    loss = partial(bits_per_byte, key=jax.random.key(0), chunk_len=step.loss_chunk_len)
    arguments = model, jax.ShapeDtypeStruct((step.length + 1,), jnp.int32)
    both = products(jax.make_jaxpr(jax.value_and_grad(loss))(*arguments).jaxpr)
    assert step_flops(step) == pytest.approx(both, rel=0.03)  # the hash is not counted


# The largest batch


def test_the_ledger_adds_up():
    step = a_step(WIDER, length=200, batch=3)
    parts = [sum(state_bytes(step).values()), sum(activation_bytes(step).values())]
    assert sum(entries(step).values()) == sum(parts) + working_bytes(step)
    assert 0 not in entries(step).values()
    assert sum(parts[1:]) + working_bytes(step) == 3 * example_bytes(step)


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_the_largest_batch_fits_and_no_larger_one(how):
    step, budget = a_step(BASE, length=512, **how), 2**28
    batch = max_batch(step, budget).batch
    assert batch > 1
    assert sum(entries(replace(step, batch=batch)).values()) <= budget
    assert sum(entries(replace(step, batch=batch + 1)).values()) > budget


def test_where_nothing_fits_the_reason_is_given():
    step = a_step(BASE, length=512)
    model = sum(state_bytes(step).values())
    too_small = max_batch(step, model - 1)
    assert too_small.batch == 0
    assert "parameters, gradients and optimiser state alone take" in too_small.reason
    no_example = max_batch(step, model + example_bytes(step) - 1)
    assert no_example.batch == 0
    assert "one example takes" in no_example.reason
    assert max_batch(step, model + example_bytes(step)).batch == 1


def test_bert_large():
    """The count of its parameters, and the formula 24 · (28 H + 3 A S) · 4 bytes for each token."""
    assert sum(parameters_by_part().values()) == 335_141_888
    for length in (64, 512):
        step = bert_large(length)
        blocks = activation_bytes(step)
        del blocks["readout and loss"]
        assert sum(blocks.values()) == 24 * (28 * 1024 + 3 * 16 * length) * 4 * length
        assert sum(state_bytes(step).values()) == 16 * 335_141_888
