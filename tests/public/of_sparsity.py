"""A small case of every public function of efftx.sparsity."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from efftx import sparsity
from tests.public.rows import Numbers, Row

N_BLOCKS, N, S, M = 3, 2, 2, 2
D_MODEL = S * M
CONTROLLER = (("L", D_MODEL), (D_MODEL, 2), (2, N_BLOCKS, N))
WEIGHTS = ((N_BLOCKS, N, D_MODEL), (N_BLOCKS, N), (N_BLOCKS, N, D_MODEL), (D_MODEL,))
SCORES, OF_UNITS = (("L", N_BLOCKS, N),), (("L", D_MODEL), *WEIGHTS)
FACTORS, MODULES = (("L", D_MODEL), (D_MODEL, S), (D_MODEL, M)), (("L", S, M), (3, 3, M, 2))
QKV = (*FACTORS, (3, 3, M, 3, M))


def units_of(x):
    """Any; the same whatever x's numbers are."""
    return jnp.arange(len(x) * N_BLOCKS).reshape(len(x), N_BLOCKS) * 5 // 3 % N


def by_mask(x, w1, b1, w2, b2):
    mask = sparsity.units_to_mask(units_of(x), N)
    return sparsity.masked_feed_forward(x, mask, w1, b1, w2, b2)


def by_units(f):
    return lambda x, *weights: f(x, units_of(x), *weights)


def in_two_steps(y, kernel):
    y = jnp.asarray(y)
    history, out = sparsity.no_history(jnp.asarray(kernel), S), []
    half = len(y) // 2
    for start, end in ((0, half), (half, len(y))) if half else ((0, 1),):
        piece = lax.slice_in_dim(y, start, end)
        z, history = sparsity.convolution_step(piece, history, kernel)
        out.append(z)
    return jnp.concatenate(out)


def qkv_by_loops(x, d, e, kernels):
    y = sparsity.multiplicative_reference(*map(jnp.asarray, (x, d, e)))
    each = jnp.moveaxis(jnp.asarray(kernels), 3, 0)
    z = jnp.stack([sparsity.convolution_reference(y, kernel) for kernel in each])
    return z, jnp.pad(y, ((2, 0), (0, 0), (0, 0)))[-2:]


def logits(f):
    return lambda x, d, e: f(x, d, e, 3)


gathered = by_units(sparsity.gathered_feed_forward)
by_loops = by_units(sparsity.sparse_feed_forward_reference)
LOADS = sparsity.unit_loads(np.array([[0], [0], [1], [2]]), 4)
ROWS = {
    "controller_scores": Row(
        sparsity.controller_scores, CONTROLLER, lambda x, c1, c2: jnp.tensordot(x @ c1, c2, 1)
    ),
    "convolution": Row(sparsity.convolution, MODULES, sparsity.convolution_reference),
    "convolution_reference": Row(sparsity.convolution_reference, MODULES),
    "convolution_step": Row(in_two_steps, MODULES, sparsity.convolution_reference),
    "default_d_lowrank": Numbers(lambda: sparsity.default_d_lowrank(64, 16), 4),
    "gathered_feed_forward": Row(gathered, OF_UNITS, by_loops),
    "load_entropy": Numbers(lambda: sparsity.load_entropy(LOADS), 1.5),
    "masked_feed_forward": Row(by_mask, OF_UNITS, by_loops),
    "multiplicative": Row(sparsity.multiplicative, FACTORS, sparsity.multiplicative_reference),
    "multiplicative_logits": Row(
        logits(sparsity.multiplicative_logits),
        FACTORS,
        logits(sparsity.multiplicative_logits_reference),
    ),
    "multiplicative_logits_reference": Row(
        logits(sparsity.multiplicative_logits_reference), FACTORS
    ),
    "multiplicative_reference": Row(sparsity.multiplicative_reference, FACTORS),
    "n_blocks_of": Numbers(lambda: sparsity.n_blocks_of(64, 16), 4),
    "n_dense_attention": Numbers(lambda: sparsity.n_dense_attention(8), 256),
    "n_dense_feed_forward": Numbers(lambda: sparsity.n_dense_feed_forward(8, 16), 280),
    "n_multiplicative": Numbers(lambda: sparsity.n_multiplicative(8, 2, 4), 48),
    "n_sparse_feed_forward": Numbers(lambda: sparsity.n_sparse_feed_forward(8, 16, 4), 328),
    "n_sparse_qkv": Numbers(lambda: sparsity.n_sparse_qkv(8, 2), 480),
    "no_history": Numbers(lambda: sparsity.no_history(jnp.ones((3, 3, 2, 5)), 4).shape, (2, 4, 2)),
    "permutation_factors": Numbers(
        lambda: [f.tolist() for f in sparsity.permutation_factors(np.array([1, 0]), 2)],
        [[[0, 1], [1, 0]], [[1], [1]]],
    ),
    "share_ever_on": Numbers(lambda: sparsity.share_ever_on(LOADS), 0.75),
    "sorted_loads": Numbers(lambda: sparsity.sorted_loads(LOADS).tolist(), [0.5, 0.25, 0.25, 0]),
    "sparse_feed_forward_reference": Row(by_loops, OF_UNITS),
    "sparse_qkv": Row(sparsity.sparse_qkv, QKV, qkv_by_loops),
    "sparsity_mask": Row(lambda scores: sparsity.sparsity_mask(scores)[0], SCORES),
    "strongest_units": Row(
        sparsity.strongest_units, SCORES, lambda scores: scores.argmax(-1), gradients=False
    ),
    "unit_loads": Numbers(lambda: LOADS.tolist(), [[0.5, 0.25, 0.25, 0]]),
    "units_to_mask": Row(
        lambda x: sparsity.units_to_mask(units_of(x), N), (("L", 1),), gradients=False
    ),
    "widened_d_ff": Numbers(lambda: sparsity.widened_d_ff(64, 128, n_modules=8, n_units=8), 216),
}
