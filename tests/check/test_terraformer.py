"""Exercise 12: what learners hand in, right and wrong.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import terraformer as check
from efftx.models.sru import SRU
from tests.check.exercise import Exercise

# Other ways to be right: numpy, the package, under jit.


def counted_by_shapes(d_model, d_ff, n_units, d_lowrank, n_modules, vocab, readout_modules):
    d_module, rows = d_model // n_modules, vocab // readout_modules
    shapes = (
        [(d_model, d_lowrank), (d_lowrank, d_ff)],
        [(2, d_model, d_ff // n_units)],
        [(d_model, n_modules), (d_model, d_module), (3, 3, 3, d_module, d_module)],
        [(d_model, readout_modules), (d_model, rows)],
    )
    return jnp.array([sum(int(np.prod(shape)) for shape in part) for part in shapes])


def row_by_row(decoder, source, mask, target):
    kept = [row for row, keep in zip(source, mask, strict=True) if keep]
    return np.asarray(decoder(np.stack([*kept, *target])))[-len(target) :]


def sru_of_the_package(x, c, w, w_f, w_r, b_f, b_r):
    unit = SRU(jnp.stack([w, w_f, w_r], axis=1), jnp.stack([b_f, b_r]))
    h, c_next = unit(x[None], c)
    return h[0], c_next


def text_of_the_package(x, w, w_f, w_r, b_f, b_r):
    return SRU(jnp.stack([w, w_f, w_r], axis=1), jnp.stack([b_f, b_r]))(x)[0]


def by_shares(seconds, factors):
    shares = seconds / seconds.sum()
    return 1 / (1 - shares + shares / factors), 1 / (shares / factors).sum()


RIGHT = [
    ("weights_read", counted_by_shapes),
    ("decode_after_source", row_by_row),
    ("sru_step", sru_of_the_package),
    ("sru_step", jax.jit(sru_of_the_package)),
    ("speedups", by_shares),
    ("my_sru", text_of_the_package),
]

PARTS = ("weights_read", "decode_after_source", "sru_step", "speedups")
EXERCISE = Exercise(
    stem="12_terraformer",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
    together={"my_sru": check.my_sru},
)


def test_a_decoder_prints_as_what_it_is():
    message = EXERCISE.said("decode_after_source", lambda decoder, source, mask, target: target)
    assert "decoder = a causal decoder" in message
