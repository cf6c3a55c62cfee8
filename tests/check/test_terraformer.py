"""Exercise 12: what learners hand in, right and wrong.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import terraformer as check
from efftx.models.sru import SRU
from tests.check.exercise import Exercise

CONTROLLER = "d_model * d_lowrank + d_lowrank * d_ff"
READ, CUT = "read_first = source[mask]", "y[len(read_first) :]"
CARRIED, SHOWN = "f * c + (1 - f) * (x @ w)", "r * jnp.tanh(c_next) + (1 - r) * x"
ALONE, TOGETHER = "whole / (whole - seconds + faster)", "whole / faster.sum()"
SLIPS = [
    ("weights_read", "no row of W2", {"2 * d_model * (d_ff": "d_model * (d_ff"}),
    ("weights_read", "all units were counted", {"(d_ff // n_units)": "d_ff"}),
    ("weights_read", "n_units units were on", {"(d_ff // n_units)": "n_units"}),
    ("weights_read", "C1 only", {CONTROLLER: "d_model * d_lowrank"}),
    ("weights_read", "one matrix of d_model × d_ff", {CONTROLLER: "d_model * d_ff"}),
    ("weights_read", "9 matrices in all", {"3 * 3 * 3 * d_module": "3 * 3 * d_module"}),
    ("weights_read", "S × S", {"3 * 3 * 3 * d_module**2": "27 * n_modules**2"}),
    ("weights_read", "D were forgotten", {"d_model * readout_modules + d_model": "d_model"}),
    ("decode_after_source", "left between", {READ: "read_first = source"}),
    ("decode_after_source", "turned round", {READ: "read_first = source[~mask]"}),
    ("decode_after_source", "expected at the end", {READ: "read_first = source[: mask.sum()]"}),
    (
        "decode_after_source",
        "read behind the target",
        {"[read_first, target]": "[target, read_first]", CUT: "y[: len(target)]"},
    ),
    ("decode_after_source", "first rows", {CUT: "y[: len(target)]"}),
    ("decode_after_source", "one too early", {CUT: "y[len(read_first) - 1 :][: len(target)]"}),
    (
        "decode_after_source",
        "source of full length",
        {"[read_first, target]": "[read_first, target, source[~mask]]", CUT: "y[len(source) :]"},
    ),
    ("sru_step", "f and 1 - f", {CARRIED: "(1 - f) * c + f * (x @ w)"}),
    ("sru_step", "at full strength", {CARRIED: "f * c + x @ w"}),
    (
        "sru_step",
        "weights of the two gates",
        {
            "f = jax.nn.sigmoid(x @ w_f + b_f)": "f = jax.nn.sigmoid(x @ w_r + b_r)",
            "    r = jax.nn.sigmoid(x @ w_r + b_r)": "    r = jax.nn.sigmoid(x @ w_f + b_f)",
        },
    ),
    ("sru_step", "looked at c", {"x @ w_f": "c @ w_f", "x @ w_r": "c @ w_r"}),
    ("sru_step", "the old c", {SHOWN: SHOWN.replace("c_next", "c")}),
    ("sru_step", "way past the unit", {SHOWN: "r * jnp.tanh(c_next)"}),
    ("sru_step", "tanh were taken of x W", {CARRIED: "f * c + (1 - f) * jnp.tanh(x @ w)"}),
    ("sru_step", "results were exchanged", {"return h, c_next": "return c_next, h"}),
    ("speedups", "the product", {TOGETHER: "alone.prod()"}),
    ("speedups", "weighted by the seconds", {TOGETHER: "(seconds * factors).sum() / whole"}),
    ("speedups", "the factors themselves", {ALONE: "factors"}),
    ("speedups", "no time at all", {ALONE: "whole / (whole - seconds)"}),
    ("speedups", "what a part saves", {ALONE: "whole / (whole - faster)"}),
    (
        "speedups",
        "upside down",
        {ALONE: "(whole - seconds + faster) / whole", TOGETHER: "faster.sum() / whole"},
    ),
]


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
    slips=SLIPS,
    right=RIGHT,
    together={"my_sru": check.my_sru},
)


def test_a_decoder_prints_as_what_it_is():
    message = EXERCISE.said("decode_after_source", lambda decoder, source, mask, target: target)
    assert "decoder = a causal decoder" in message
