"""Bad input to efftx.attention: a ValueError that says what came and what would be right.

It comes before anything is compiled: a user's mistake should not cost the minutes that a large
model compiles, nor come out as an error about shapes inside of it.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import memory, sparsity
from efftx.attention import (
    blocked_attention,
    collision_probability,
    default_n_buckets,
    factor_buckets,
    full_attention,
    hash_vectors,
    local_attention_reference,
    lsh_attention,
    lsh_attention_reference,
    random_rotations,
    reach_count,
    shared_qk_attention,
    shared_qk_attention_reference,
)
from efftx.memory import map_heads

compilations = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compilations.append(event) if "compile" in event else None
)


def floats(*shape):
    return jax.device_put(np.ones(shape, np.float32))  # which compiles nothing, unlike jnp.ones


def ints(*shape):
    return jax.device_put(np.zeros(shape, np.int32))


def bools(*shape):
    return jax.device_put(np.ones(shape, bool))


KEY = jax.random.key(0)
BUCKETS = ints(2, 9)


def lsh(qk=None, v=None, **how):
    """Good but for what is given; 9 positions, so that no other test has compiled it."""
    how = {"buckets": BUCKETS, "n_hashes": 2, "n_buckets": 8, "chunk_len": 4, **how}
    return lsh_attention(
        floats(9, 5) if qk is None else qk, floats(9, 3) if v is None else v, **how
    )


def separate(attend):
    """full or blocked attention, good but for what is given."""

    def call(q=None, k=None, v=None, **how):
        given = [x if x is not None else floats(9, d) for x, d in ((q, 5), (k, 5), (v, 3))]
        return attend(*given, **{"causal": True, **how})

    return call


def shared(attend):
    """Attention with shared queries and keys, good but for what is given."""

    def call(qk=None, v=None, **how):
        given = [x if x is not None else floats(9, d) for x, d in ((qk, 5), (v, 3))]
        return attend(*given, **{"causal": True, **how})

    return call


def union(qk, v, **how):
    return lsh_attention_reference(qk, v, BUCKETS, chunk_len=4, **how)


SEPARATE = {"full": separate(full_attention), "blocked": separate(blocked_attention)}
SHARED = {
    "shared": shared(shared_qk_attention),
    "shared_reference": shared(shared_qk_attention_reference),
    "lsh": lsh,
    "lsh_reference": shared(union),
}

# What is given; what the message must name: what came, and what would be right.
OF_SEPARATE = [
    ({"q": floats(2, 9, 5)}, ["q must be a (length, width)", "float32[2, 9, 5]", "map_heads"]),
    ({"k": floats(9)}, ["k must be a (length, width)", "float32[9]"]),
    ({"v": [[1.0]]}, ["v must be a (length, width)", "got a list"]),
    ({"k": floats(9, 4)}, ["q and k", "same width", "float32[9, 5]", "float32[9, 4]"]),
    ({"v": floats(8, 3)}, ["k and v", "same length", "float32[9, 5]", "float32[8, 3]"]),
    ({"q": floats(8, 5)}, ["q and k", "same length", "float32[8, 5]", "float32[9, 5]"]),  # causal
    ({"q": floats(0, 5)}, ["q is empty", "float32[0, 5]", "at least 1"]),
    ({"v": floats(9, 0)}, ["v is empty", "float32[9, 0]", "at least 1"]),
    ({"q": ints(9, 5)}, ["q must hold floating-point", "int32[9, 5]", "astype(jnp.float32)"]),
    ({"causal": 2}, ["causal must be True or False", "got 2"]),
    ({"key_mask": floats(9)}, ["key_mask must be bool", "float32[9]"]),
    ({"key_mask": [True] * 9}, ["key_mask must be bool", "got a list"]),
    ({"key_mask": bools(8)}, ["key_mask must have shape (9,)", "bool[8]"]),
    ({"key_mask": bools(1, 9)}, ["key_mask must have shape (9,)", "bool[1, 9]"]),
]
OF_SHARED = [
    ({"qk": floats(2, 9, 5)}, ["qk must be a (length, width)", "float32[2, 9, 5]", "map_heads"]),
    ({"v": floats(9)}, ["v must be a (length, width)", "float32[9]"]),
    ({"v": floats(8, 3)}, ["qk and v", "same length", "float32[9, 5]", "float32[8, 3]"]),
    ({"qk": floats(0, 5), "v": floats(0, 3)}, ["qk is empty", "float32[0, 5]", "at least 1"]),
    ({"v": floats(9, 0)}, ["v is empty", "float32[9, 0]", "at least 1"]),
    ({"qk": ints(9, 5)}, ["qk must hold floating-point", "int32[9, 5]", "astype(jnp.float32)"]),
    ({"v": ints(9, 3)}, ["v must hold floating-point", "int32[9, 3]"]),
    ({"causal": "no"}, ["causal must be True or False", "got 'no'"]),
    ({"key_mask": ints(9)}, ["key_mask must be bool", "int32[9]"]),
    ({"key_mask": bools(9, 9)}, ["key_mask must have shape (9,)", "bool[9, 9]"]),
]
NOT_POSITIVE = [0, -1, 2.0, True, "4"]
OF_LSH = [
    *[
        ({name: number}, [f"{name} must be a whole number of at least 1", f"got {number!r}"])
        for name in ("chunk_len", "n_hashes", "n_buckets")
        for number in NOT_POSITIVE
    ],
    ({"n_buckets": 7}, ["n_buckets must be even", "got 7"]),
    ({"n_buckets": 7, "buckets": None, "key": KEY}, ["n_buckets must be even", "got 7"]),
    ({"n_buckets": 2**30}, ["n_buckets must be at most 2**29", str(2**30)]),
    ({"n_hashes": 0, "buckets": None, "key": KEY}, ["n_hashes", "at least 1", "got 0"]),
    ({"buckets": None}, ["key=jax.random.key(seed)", "buckets to replay"]),
    ({"buckets": None, "key": 0}, ["key=jax.random.key(seed)", "got key=0"]),
    ({"semantics": "lucidrains"}, ["'paper' or 'trax'", "'lucidrains'"]),
    ({"buckets": floats(2, 9)}, ["buckets must be integers", "float32[2, 9]"]),
    ({"buckets": [[0] * 9] * 2}, ["buckets must be integers", "got a list"]),
    ({"buckets": ints(9)}, ["(n_hashes, length) = (2, 9)", "int32[9]"]),
    ({"buckets": ints(1, 9)}, ["(n_hashes, length) = (2, 9)", "int32[1, 9]"]),
    ({"buckets": ints(2, 8)}, ["(n_hashes, length) = (2, 9)", "int32[2, 8]"]),
    ({"buckets": ints(2, 9), "n_hashes": 3}, ["(n_hashes, length) = (3, 9)", "int32[2, 9]"]),
    ({"buckets": np.full((2, 9), 8)}, ["[0, n_buckets) = [0, 8)", "from 8 to 8"]),
    (
        {"buckets": jax.device_put(np.arange(-3, 15, dtype=np.int32).reshape(2, 9))},
        ["[0, n_buckets) = [0, 8)", "from -3 to 14"],
    ),
]
OF_OTHERS = {
    "block_len": (
        lambda: SEPARATE["blocked"](block_len=0),
        ["block_len must be a whole number of at least 1", "got 0"],
    ),
    "block_len_of_shared": (
        lambda: SHARED["shared"](block_len=-2),
        ["block_len must be a whole number of at least 1", "got -2"],
    ),
    "rotations_odd": (lambda: random_rotations(KEY, 5, 7, 1), ["even", "got 7"]),
    "rotations_no_bucket": (lambda: random_rotations(KEY, 5, 0, 1), ["n_buckets", "got 0"]),
    "rotations_no_round": (lambda: random_rotations(KEY, 5, 8, 0), ["n_hashes", "got 0"]),
    "rotations_no_width": (lambda: random_rotations(KEY, 0, 8, 1), ["d_head", "got 0"]),
    "hash_rank": (
        lambda: hash_vectors(floats(9), (floats(1, 5, 4),)),
        ["x must be a (length, width)", "float32[9]"],
    ),
    "hash_integers": (
        lambda: hash_vectors(ints(9, 5), (floats(1, 5, 4),)),
        ["x must hold floating-point", "int32[9, 5]"],
    ),
    "hash_width": (
        lambda: hash_vectors(floats(9, 5), (floats(1, 6, 4),)),
        ["(n_hashes, 5, n_buckets/2)", "x of width 5", "(1, 6, 4)"],
    ),
    "hash_rotation_rank": (
        lambda: hash_vectors(floats(9, 5), (floats(5, 4),)),
        ["(n_hashes, 5, n_buckets/2)", "(5, 4)"],
    ),
    "default_length": (lambda: default_n_buckets(0, 4), ["length", "at least 1", "got 0"]),
    "default_chunk_len": (lambda: default_n_buckets(9, 0), ["chunk_len", "at least 1", "got 0"]),
    "factors_odd": (lambda: factor_buckets(9), ["n_buckets must be even", "got 9"]),
    "no_rotations": (lambda: hash_vectors(floats(9, 5), ()), ["random_rotations", "got []"]),
    "angle": (lambda: collision_probability(3.5, 8), ["[0, π]", "got 3.5"]),
    "angle_nan": (lambda: collision_probability(float("nan"), 8), ["[0, π]", "nan"]),
    "collision_odd": (lambda: collision_probability(1.0, 9), ["even", "got 9"]),
    "collision_rounds": (lambda: collision_probability(1.0, 8, 0), ["n_hashes", "got 0"]),
    "heads_at_once": (
        lambda: map_heads(full_attention, floats(2, 9, 5), at_once=0),
        ["at_once", "at least 1", "got 0"],
    ),
    "heads_nothing": (lambda: map_heads(full_attention), ["at least one array"]),
    "heads_rank": (lambda: map_heads(full_attention, floats(9)), ["(…, length, d)"]),
    "heads_leading": (
        lambda: map_heads(full_attention, floats(2, 3, 9, 5), floats(2, 4, 9, 5)),
        ["must be (2, 3)", "float32[2, 4, 9, 5]"],
    ),
    "heads_too_few_axes": (
        lambda: map_heads(full_attention, floats(2, 3, 9, 5), floats(2)),
        ["must be (2, 3)", "float32[2]"],
    ),
}


def cases():
    for functions, table in ((SEPARATE, OF_SEPARATE), (SHARED, OF_SHARED), ({"lsh": lsh}, OF_LSH)):
        for name, function in functions.items():
            for given, says in table:
                label = f"{name}-{says[0][:24]}-{says[-1]}"
                yield pytest.param(lambda f=function, g=given: f(**g), says, id=label)
    for name, (call, says) in OF_OTHERS.items():
        yield pytest.param(call, says, id=name)


@pytest.mark.parametrize(("call", "says"), list(cases()))
def test_says_what_came_and_what_would_be_right(call, says):
    compilations.clear()
    with pytest.raises(ValueError, match=re.escape(says[0])) as error:
        call()
    for words in says:
        assert words in str(error.value)
    assert not compilations


@pytest.mark.parametrize("name", [*SEPARATE, *SHARED])
def test_good_input_compiles_and_gives_a_result(name):
    """So that the cases above are bad for what they give, and compilations are seen."""
    compilations.clear()
    out = {**SEPARATE, **SHARED}[name]()
    assert out.shape == (9, 3)
    assert compilations


def test_without_causal_there_may_be_more_or_fewer_queries_than_keys():
    for attend in SEPARATE.values():
        assert attend(q=floats(4, 5), causal=False).shape == (4, 3)


@pytest.mark.parametrize(
    "bad", [{"buckets": ints(1, 9)}, {"qk": ints(9, 5)}, {"key_mask": bools(8)}]
)
def test_shapes_and_dtypes_are_checked_under_a_trace_too(bad):
    given = {"qk": floats(9, 5), "v": floats(9, 3), "buckets": BUCKETS, **bad}
    with pytest.raises(ValueError, match="must"):
        jax.eval_shape(lambda given: lsh(**given), given)


def test_values_of_buckets_are_checked_only_where_they_are_known():
    """As the docstring says: under a trace there is no value to look at."""
    out_of_range = jnp.full((2, 9), 8)
    assert jax.eval_shape(lambda b: lsh(buckets=b), out_of_range).shape == (9, 3)


OLD_KEY = jax.random.key_data(KEY)  # as jax once made them


@pytest.mark.parametrize(
    "call",
    [
        lambda key: lsh(buckets=None, key=key),
        lambda key: random_rotations(key, 4, 8, 1),
        lambda key: sparsity.sparsity_mask(floats(5, 2, 4), key),
        lambda key: memory.quantize(floats(5, 2), key=key),
        lambda key: memory.quantize_blockwise(floats(5, 2), key=key),
        lambda key: memory.round_stochastically(floats(5, 2), key),
    ],
    ids=["lsh", "rotations", "sparsity_mask", "quantize", "blockwise", "round"],
)
def test_keys_of_the_old_kind_and_many_keys_get_a_hint(call):
    with pytest.raises(ValueError, match=re.escape("jax.random.wrap_key_data(key)")):
        call(OLD_KEY)
    with pytest.raises(ValueError, match="one of these keys"):
        call(jax.random.split(KEY, 3))
    call(KEY)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lsh_attention_reference(floats(9, 5), floats(9, 3), ints(1, 1)), "same length"),
        (lambda: reach_count(ints(9), chunk_len=4), "(n_hashes, length); got int32[9]"),
        (lambda: reach_count(ints(1, 9), chunk_len=0), "chunk_len"),
        (lambda: reach_count(ints(1, 9), chunk_len=4, semantics="trx"), "'paper' or 'trax'"),
        (lambda: local_attention_reference(*[floats(9, 5)] * 3, chunk_len=0), "chunk_len"),
        (lambda: jax.jit(lambda a: collision_probability(a, 8))(1.0), "outside of jit"),
    ],
)
def test_references_check_what_they_get_too(call, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        call()


def test_only_attention_speaks_of_heads():
    with pytest.raises(ValueError, match=r"of one example.*jax\.vmap") as error:
        sparsity.multiplicative(floats(2, 9, 4), floats(4, 2), floats(4, 2))
    assert "head" not in str(error.value)
