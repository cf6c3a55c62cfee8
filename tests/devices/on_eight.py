"""What tests/devices holds on eight simulated devices: run in a process of its own.

    python -m tests.devices.on_eight

Each function whose name begins with ``check`` is a test, and passes if it raises nothing.
"""

import json
import re
import sys
import traceback
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from efftx import training
from efftx.attention import (
    blocked_attention,
    full_attention,
    local_attention,
    lsh_attention,
    ring_attention,
    sharded_lsh_attention,
)
from efftx.memory import map_chunks, map_heads
from efftx.models import Blocked, Sizes, transformer
from efftx.sparsity import convolution
from efftx.training import devices
from efftx.training.loop import step_function
from tests.check.sources import functions_of, run

COLLECTIVES = "all-to-all|all-gather|all-reduce|collective-permute|reduce-scatter"


def mesh_of(n: int, name: str = "sequence"):
    return jax.make_mesh((n,), (name,), axis_types=(AxisType.Auto,))


def vectors(*shapes, seed=0):
    """Neighbours are alike, so that buckets are uneven from device to device."""
    random = np.random.default_rng(seed)
    trend = [np.sin(np.arange(s[-2]) / 30)[:, None] for s in shapes]
    return [jnp.float32(random.normal(size=s) + t) for s, t in zip(shapes, trend, strict=True)]


def close(ours, theirs, tolerance=1e-5):
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def both_ways(f, *arrays):
    """The output, and the gradients of a loss that is not linear in it."""
    which = tuple(range(len(arrays)))

    def loss(*arrays):
        out = f(*arrays)
        return jnp.sin(out).sum(), out

    return jax.jit(jax.grad(loss, which, has_aux=True))(*arrays)


def mask_for(length: int, masked: bool):
    return jnp.arange(length) % 7 != 3 if masked else None


def lsh_is_the_same(n: int, length: int, n_hashes: int, causal: bool, masked: bool, shared_out):
    qk, v = vectors((length, 8), (length, 5))
    how = {"key": jax.random.key(1), "n_hashes": n_hashes, "chunk_len": 8, "causal": causal}
    how["key_mask"] = mask_for(length, masked)
    over = {"mesh": mesh_of(n), "axis": "sequence", "shared_out": shared_out}
    close(
        both_ways(partial(sharded_lsh_attention, **how, **over), qk, v),
        both_ways(partial(lsh_attention, **how), qk, v),
    )


def check_lsh_of_a_sequence_shared_out():
    for case in ((1, 37, 2, True, False), (4, 1001, 2, True, True), (8, 300, 3, False, True)):
        lsh_is_the_same(*case, "sequence")


def check_lsh_of_a_sequence_with_fewer_positions_than_devices():
    lsh_is_the_same(8, 3, 2, True, False, "sequence")


def check_lsh_with_rounds_apart():
    for case in ((2, 301, 4, False, True), (4, 101, 4, True, False)):
        lsh_is_the_same(*case, "rounds")


def check_lsh_where_all_rows_change_places():
    """All that one device has goes to another: the buffer is sent more often, and all arrives."""
    qk, v = vectors((64, 8), (64, 5))
    how = {"buckets": jnp.arange(64)[None, ::-1] // 2, "n_buckets": 32, "chunk_len": 4}
    over = {"mesh": mesh_of(8), "axis": "sequence"}
    close(
        both_ways(partial(sharded_lsh_attention, **how, **over), qk, v),
        both_ways(partial(lsh_attention, **how), qk, v),
    )


def check_ring_attention():
    for n, length, causal, masked in ((4, 101, True, True), (8, 300, False, True), (8, 5, True, 0)):
        qkv = vectors((length, 8), (length, 8), (length, 5))
        how = {"causal": causal, "key_mask": mask_for(length, masked)}
        over = {"mesh": mesh_of(n), "axis": "sequence", "block_len": 16}
        close(
            both_ways(partial(ring_attention, **how, **over), *qkv),
            both_ways(partial(full_attention, **how), *qkv),
        )


def check_batch_and_sequence_on_two_axes():
    """Two devices for the batch, four for the sequence."""
    mesh = jax.make_mesh((2, 4), ("batch", "sequence"), axis_types=(AxisType.Auto,) * 2)
    spread = NamedSharding(mesh, P("batch", "sequence"))
    qk, v = (jax.device_put(x, spread) for x in vectors((2, 64, 8), (2, 64, 5)))
    how = {"key": jax.random.key(1), "n_hashes": 2, "chunk_len": 8}
    over = {"mesh": mesh, "axis": "sequence"}
    for ours, theirs in (
        (partial(sharded_lsh_attention, **how, **over), partial(lsh_attention, **how)),
        (
            lambda qk, v: ring_attention(qk, qk, v, causal=True, **over),
            lambda qk, v: full_attention(qk, qk, v, causal=True),
        ),
    ):
        on_all, on_one = (both_ways(jax.vmap(f), qk, v) for f in (ours, theirs))
        close(on_all, on_one)


def check_a_batch_stays_where_it_lies():
    """Mapped over examples that lie on eight devices, nothing is sent, and all is as on one.

    With `map_heads`, a loop over them, it is not so.
    """
    mesh, shapes = mesh_of(8, "batch"), ((8, 64, 8), (8, 64, 8))
    spread = NamedSharding(mesh, P("batch"))
    kernel = jnp.sin(jnp.arange(36.0)).reshape(3, 3, 2, 2)
    product = lambda _, x, y: jnp.tanh(x) * y  # noqa: E731
    hashed = partial(lsh_attention, key=jax.random.key(1), n_hashes=2, chunk_len=8)
    for f in (
        hashed,
        lambda qk, v: blocked_attention(qk, qk, v, causal=True, block_len=16),
        lambda qk, v: local_attention(qk, qk, v, chunk_len=8),
        lambda qk, v: map_chunks(product, None, qk, v, chunk_len=16),
        lambda qk, v: convolution((qk * v).reshape(64, 4, 2), kernel),
    ):
        assert kinds(compiled_gradient(jax.vmap(f), mesh, P("batch"), *shapes)) == set()
        one = vectors(*shapes)
        close(*(both_ways(jax.vmap(f), *x) for x in (jax.device_put(one, spread), one)))
    in_turn = compiled_gradient(partial(map_heads, hashed), mesh, P("batch"), *shapes)
    assert kinds(in_turn) != set()


def check_heads_one_by_one_over_a_sequence_shared_out():
    qk, v = vectors((3, 64, 8), (3, 64, 5))
    how = {"key": jax.random.key(1), "n_hashes": 2, "chunk_len": 8}
    ours = partial(sharded_lsh_attention, mesh=mesh_of(4), axis="sequence", **how)
    theirs = partial(lsh_attention, **how)
    close(*(both_ways(partial(map_heads, f), qk, v) for f in (ours, theirs)))


# What is sent, and what a device holds ----------------------------------------------------------


def compiled_gradient(f, mesh, spec, *shapes):
    """The program of the gradient of f(*arrays), whose arrays lie spread."""
    spread = NamedSharding(mesh, spec)
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=spread) for shape in shapes]
    which = tuple(range(len(shapes)))
    loss = lambda *arrays: jnp.sin(f(*arrays)).sum()  # noqa: E731
    return jax.jit(jax.grad(loss, which), out_shardings=spread).lower(*arrays).compile()


def sent(program) -> Counter:
    """How many collectives of each kind a program has, and over which type of number."""
    found = re.findall(rf"= \(?(\w+)\[.* ({COLLECTIVES})(?:-start)?\(", program.as_text())
    return Counter((what, dtype) for dtype, what in found)


def kinds(program) -> set:
    return {what for what, _ in sent(program)}


def temporary(program) -> int:
    return program.memory_analysis().temp_size_in_bytes


def check_memory_of_lsh_falls_with_the_devices():
    length = 2**15
    how = {"key": jax.random.key(1), "n_hashes": 2, "axis": "sequence"}
    programs = [
        compiled_gradient(
            partial(sharded_lsh_attention, mesh=mesh_of(n), **how),
            mesh_of(n),
            P("sequence"),
            *[(length, 64)] * 2,
        )
        for n in (1, 8)
    ]
    one, eight = map(temporary, programs)
    assert eight < one / 6, (one, eight)
    assert kinds(programs[1]) == {"all-to-all", "collective-permute", "all-gather", "all-reduce"}
    whole = [n for (what, dtype), n in sent(programs[1]).items() if what == "all-gather"]
    assert sum(whole) == sent(programs[1])["all-gather", "s32"] == 1  # how many rows, no vector


def check_rounds_apart_send_codes_and_add_up():
    how = {"key": jax.random.key(1), "n_hashes": 8, "axis": "sequence", "shared_out": "rounds"}
    attend = partial(sharded_lsh_attention, mesh=mesh_of(8), **how)
    program = compiled_gradient(attend, mesh_of(8), P(), (512, 16), (512, 16))
    assert kinds(program) == {"all-gather", "all-reduce"}
    assert sent(program)["all-gather", "s32"] == 1


def check_a_ring_sends_to_the_next_only():
    attend = partial(ring_attention, axis="sequence", causal=True, block_len=64)
    programs = [
        compiled_gradient(
            partial(attend, mesh=mesh_of(n)), mesh_of(n), P("sequence"), *[(2**14, 64)] * 3
        )
        for n in (1, 8)
    ]
    assert kinds(programs[1]) == {"collective-permute"}
    one, eight = map(temporary, programs)
    assert eight < one / 4, (one, eight)


def check_heads_shared_out_send_nothing():
    """A head for each device: inside jax.shard_map each maps over its own."""
    mesh = mesh_of(8, "heads")
    attend = partial(lsh_attention, key=jax.random.key(1), n_hashes=2)
    heads = jax.shard_map(
        partial(map_heads, attend), mesh=mesh, in_specs=P("heads"), out_specs=P("heads")
    )
    program = compiled_gradient(heads, mesh, P("heads"), (8, 512, 16), (8, 512, 16))
    assert kinds(program) == set()
    qk, v = vectors((8, 65, 16), (8, 65, 16))
    close(both_ways(heads, qk, v), both_ways(partial(map_heads, attend), qk, v))


def check_a_training_step_shares_out_its_state():
    """Parameters and moments lie in eighths on the devices, and come out as they went in."""
    sizes = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=64)
    optimiser = training.adamw(2, peak=1e-3)
    model = transformer(jax.random.key(0), sizes, kind=Blocked())
    batch = np.zeros((8, 65), np.uint8)

    def program(n: int):
        mesh = mesh_of(n, "data")
        state = devices.placed(mesh, training.initial_state(model, optimiser, 2))
        step = step_function(state, mesh)
        how = {"loss": training.bits_per_byte, "optimiser": optimiser, "examples_at_once": 8}
        return step.lower(state, devices.spread(mesh, batch), jax.random.key(1), **how).compile()

    one, eight = program(1), program(8)
    inputs = [p.memory_analysis().argument_size_in_bytes for p in (one, eight)]
    assert inputs[1] < inputs[0] / 6, inputs
    assert temporary(eight) < temporary(one) / 2, (temporary(one), temporary(eight))
    assert kinds(one) == set()
    assert {"all-gather", "all-reduce"} <= kinds(eight)


# What is refused --------------------------------------------------------------------------------


def refused(says: str, f, *arrays):
    with pytest.raises(ValueError, match=says):
        f(*arrays)


def check_explicit_axes_are_refused_in_words():
    explicit = jax.make_mesh((8,), ("sequence",))
    (x,) = vectors((64, 8))
    spread = jax.device_put(x, NamedSharding(explicit, P("sequence")))
    attend = partial(lsh_attention, key=jax.random.key(1))
    refused("qk is spread over an Explicit axis", attend, spread, spread)
    refused("qk is spread over an Explicit axis", jax.jit(attend), spread, spread)
    refused("arrays is spread over an Explicit axis", map_heads, attend, spread[None])
    over = {"mesh": explicit, "axis": "sequence", "key": jax.random.key(1)}
    refused("AxisType.Auto", partial(sharded_lsh_attention, **over), x, x)
    ring = partial(ring_attention, mesh=mesh_of(8), axis="sequence", causal=True)
    with jax.set_mesh(explicit):
        refused("set_mesh has set a mesh with Explicit axes.*AxisType.Auto", ring, x, x, x)
    whole = jax.device_put(x, NamedSharding(explicit, P()))  # as much on each: nothing to ask
    close(attend(whole, whole), attend(x, x))


def check_what_does_not_go_is_said():
    (x,) = vectors((64, 8))
    refused("multiple of the 8 devices", devices.spread, mesh_of(8), np.zeros((6, 3), np.uint8))
    attend = partial(sharded_lsh_attention, key=jax.random.key(1), mesh=mesh_of(8))
    refused(
        "multiple of the axis's 8 devices",
        partial(attend, axis="sequence", shared_out="rounds", n_hashes=3),
        x,
        x,
    )
    refused("axis must be one of the mesh's", partial(attend, axis="heads"), x, x)
    refused("shared_out must be", partial(attend, axis="sequence", shared_out="keys"), x, x)
    ring = partial(ring_attention, axis="sequence", causal=True)
    refused("jax.sharding.Mesh", partial(ring, mesh=8), x, x, x)


def outcome(check) -> str:
    try:
        check()
    except Exception:  # whatever it is, the test shows it
        return traceback.format_exc()
    return ""


def check_the_solution_of_exercise_14():
    """What learners write for devices that `jax.vmap` plays runs unchanged on eight."""
    solved, mesh = run(functions_of("solutions", "14_your_own_experiments")), mesh_of(8, "devices")
    arrays = vectors(*[(32, 4)] * 3)
    share = {"mesh": mesh, "in_specs": P("devices"), "out_specs": P("devices")}
    ring = jax.shard_map(solved["ring_attention"], **share)
    close(ring(*arrays), full_attention(*arrays, causal=True))

    specs = P(), P("devices"), P("devices"), P("devices"), P()
    step = jax.shard_map(solved["one_step"], mesh=mesh, in_specs=specs, out_specs=P())
    x, y = vectors((32, 4), (32, 1))
    counts = jnp.arange(32) % 5 > 1
    error = jnp.where(counts, x @ jnp.ones(4) - y[:, 0], 0)
    after = jnp.ones(4) - 0.1 * error @ x / counts.sum()
    close(step(jnp.ones(4), x, y[:, 0], counts, 0.1), after)


CHECKS = {name: f for name, f in list(globals().items()) if name.startswith("check")}

if __name__ == "__main__":
    assert len(jax.devices()) == 8
    json.dump({name: outcome(check) for name, check in CHECKS.items()}, sys.stdout)
