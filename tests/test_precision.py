"""What a TPU's and a newer GPU's products leave right, simulated on a CPU (tools/arithmetic.py).

The techniques are tested as everywhere, against their references, and here once more with products
as these devices make them: what is asked for at the highest precision, or by nature of a choice,
must not depend on the device.
"""

import os
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import efftx
from efftx import attention, sparsity
from efftx.memory import map_heads, reversible_stack
from efftx.models import Sizes, lsh, prefill, reformer, step
from tests.public import columns
from tests.public.table import ARRAYS
from tools import arithmetic

pytestmark = pytest.mark.skipif("EFFTX_ARITHMETIC" in os.environ, reason="simulates by itself")
PACKAGE = Path(efftx.__file__).parent
KEY = jax.random.key(0)
PRODUCTS = {
    "dot": lambda x: x @ x,
    "einsum": lambda x: jnp.einsum("ij,kj->ik", x, x),
    "batched": lambda x: jnp.einsum("bij,bkj->bik", x[None], x[None]),
    "convolution": lambda x: jax.lax.conv(x[None, None], x[None, None, :3, :3], (1, 1), "SAME"),
    "ragged": lambda x: jax.lax.ragged_dot(x, jnp.stack([x, -x]), jnp.array([20, 44])),
    "gradient": jax.grad(lambda x: ((x @ x) ** 2).sum()),
}
ERROR = {"bf16": (1e-3, 1e-2), "tf32": (1e-4, 1e-3)}  # from, to; 2⁻⁹ and 2⁻¹² of each factor


@pytest.fixture(params=list(arithmetic.DEVICES))
def device(request):
    """A device that multiplies so where nobody asks for more: here, nobody does."""
    with arithmetic.simulated(request.param), jax.default_matmul_precision("default"):
        yield request.param


def vectors(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def distance(a, b) -> float:
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


def highest(f, *inputs):
    with jax.default_matmul_precision("highest"):
        return f(*inputs)


# The simulation bites -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_rounded_by_default_and_not_at_the_highest_precision(device, name):
    x, product = vectors(64, 64), jax.jit(PRODUCTS[name])
    least, most = ERROR[device]
    exact = highest(product, x)
    assert least < distance(product(x), exact) < most
    whole = jax.random.randint(KEY, (64, 64), -3, 4).astype(jnp.float32)  # has no more digits
    np.testing.assert_array_equal(product(whole), highest(product, whole))


def test_other_dtypes_are_left_alone(device):
    x = vectors(64, 64).astype(jnp.bfloat16)
    np.testing.assert_array_equal(x @ x, highest(jnp.matmul, x, x))


def test_afterwards_products_are_whole_again():
    x = vectors(64, 64)
    before = x @ x
    with arithmetic.simulated("bf16"):
        assert not (x @ x == before).all()
    np.testing.assert_array_equal(x @ x, before)


# What holds there -----------------------------------------------------------------------------

TECHNIQUES = "efftx.attention.", "efftx.memory.", "efftx.sparsity."
TWINS = [name for name, row in ARRAYS.items() if name.startswith(TECHNIQUES) and row.twin]


@pytest.mark.parametrize("name", TWINS)
def test_each_technique_equals_its_reference_at_the_highest_precision(device, name):
    row, order = ARRAYS[name], columns.first_order
    ways = [(row.call, row.twin)]
    ways += [(order(row, row.call), order(row, row.twin))] if row.gradients else []
    for ours, twin in ways:
        run = jax.jit if row.compiles else lambda f: f
        columns.close(*(highest(run(f), *columns.arrays(row)) for f in (ours, twin)))


def test_references_are_right_whatever_the_default_is(device):
    q, k, v = vectors(3, 48, 16)
    buckets = jnp.arange(96).reshape(2, 48) % 4
    for reference, inputs in (
        (attention.shared_qk_attention_reference, (q, v)),
        (attention.local_attention_reference, (q, k, v)),
        (attention.lsh_attention_reference, (q, v, buckets)),
    ):
        how = {"causal": True} if "shared" in reference.__name__ else {"chunk_len": 8}
        run = partial(reference, **how)
        np.testing.assert_array_equal(run(*inputs), highest(run, *inputs))


def test_a_vector_and_its_direction_share_a_bucket(device):
    x = vectors(4096, 64)
    rotations = attention.random_rotations(KEY, 64, 256, 4)
    hashed = attention.hash_vectors(x, rotations)
    same = hashed == attention.hash_vectors(attention.unit_keys(x), rotations)
    assert same.mean() > 0.9999  # ties but for rounding
    np.testing.assert_array_equal(hashed, highest(attention.hash_vectors, x, rotations))


def test_padding_changes_no_bucket(device):
    qk, v = vectors(2, 96, 16)
    mask = jnp.arange(96) < 70
    how = {"key": KEY, "n_hashes": 2, "chunk_len": 8, "return_buckets": True}
    _, padded = attention.lsh_attention(qk, v, key_mask=mask, **how)
    _, alone = attention.lsh_attention(qk[:70], v[:70], **how)
    np.testing.assert_array_equal(padded[:, :70], alone)


def test_units_are_chosen_alike(device):
    x, c1, c2 = vectors(512, 64), vectors(64, 8), vectors(8, 16, 16)
    scores = sparsity.controller_scores(x, c1, c2)
    np.testing.assert_array_equal(scores, highest(sparsity.controller_scores, x, c1, c2))


def attended(qk, v):
    how = {"key": KEY, "n_hashes": 2, "chunk_len": 8}
    lsh_heads = map_heads(lambda qk, v: attention.lsh_attention(qk, v, **how), qk[None], v[None])
    blocked = attention.shared_qk_attention(qk, v, causal=True, block_len=16)
    return lsh_heads[0] + blocked


def reversible(x, w):
    branch = lambda w, x, key, extra, replay=None: (jnp.tanh(x @ w), None)  # noqa: E731
    return sum(reversible_stack((branch, branch), (w, w), x, x))


@pytest.mark.parametrize(
    ("f", "shapes"), [(attended, ((48, 16), (48, 16))), (reversible, ((48, 16), (4, 16, 16)))]
)
def test_the_way_back_multiplies_as_the_way_there(device, f, shapes):
    """Its weights are rebuilt from log-sum-exps, its streams from results."""
    inputs = [vectors(*shape, seed=n) / 4 for n, shape in enumerate(shapes)]
    out, pull_back = highest(partial(jax.vjp, f), *inputs)
    exact = highest(pull_back, out)
    for mine, right in zip(pull_back(out), exact, strict=True):
        np.testing.assert_array_equal(mine, right)


def test_every_backward_pass_that_is_written_does_so():
    """Of the package; a learner's task in the checks is his own."""
    written = re.compile(r"\.defvjp\((.*)\)$", re.MULTILINE)
    files = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "check"]
    halves = [half for path in files for half in written.findall(path.read_text(encoding="utf-8"))]
    assert len(halves) >= 5
    assert all(half.startswith("*as_forward(") for half in halves)


def test_a_step_gives_what_the_whole_model_gives(device):
    """Its buckets are those of the whole text: with other ones it would be far off."""
    sizes = Sizes(n_layers=2, d_model=32, d_ff=64, n_heads=2, d_head=16, max_len=64)
    model = reformer(KEY, sizes, attention=lsh(n_hashes=2, chunk_len=32))
    tokens = jax.random.randint(KEY, (40,), 0, sizes.vocab)
    whole = highest(jax.jit(type(model).__call__), model, tokens, KEY)

    @jax.jit
    def last(model, tokens):
        _, state = prefill(model, tokens[:39], capacity=40, key=KEY)
        return step(model, state, tokens[39])[0]

    assert distance(highest(last, model, tokens), whole[39]) < 1e-4
    assert distance(last(model, tokens), whole[39]) < {"bf16": 3e-2, "tf32": 3e-3}[device]
