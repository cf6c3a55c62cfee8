"""Exercise 02: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import numpy as np
import pytest

from efftx.check import where_the_memory_goes as check
from efftx.memory.ledger import Step, activation_bytes, n_parameters
from efftx.models.layers import Sizes
from efftx.models.parameters import named_parameters
from efftx.models.transformer import transformer
from tests.check.exercise import Exercise

# What learners do: the solution with a line or two changed, and words that the message must hold.

FOUR = "n_layers * 4 * d_model * n_heads * d_head"
SLIPS = [
    ("count_parameters", "vectors of the positions", {"(vocab + max_len)": "vocab"}),
    ("count_parameters", "output projection", {FOUR: FOUR.replace("4", "3")}),
    ("count_parameters", "one head only", {FOUR: FOUR.replace(" * n_heads", "")}),
    ("count_parameters", "biases", {" + d_ff + d_model)": ")"}),
    ("count_parameters", "one layer norm only", {"(2 * n_layers + 1)": "(n_layers + 1)"}),
    ("count_parameters", "before the readout", {"(2 * n_layers + 1)": "2 * n_layers"}),
    ("count_parameters", "one vector only", {"(2 * n_layers + 1) * 2": "(2 * n_layers + 1)"}),
    (
        "count_parameters",
        "a single block",
        {
            FOUR: FOUR.replace("n_layers * ", ""),
            "n_layers * (2": "(2",
            "(2 * n_layers + 1)": "3",
        },
    ),
    ("count_parameters", "once more", {"readout = d_model * vocab": "readout = 0"}),
    (
        "count_kept_bytes",
        "numbers were counted",
        {
            "+ 3 * length) * 4": "+ 3 * length)",
            "length * d_head * 4": "length * d_head",
            "+ 2 * n_heads * length) * 4": "+ 2 * n_heads * length)",
            "(4 + 1)": "2",
        },
    ),
    ("count_kept_bytes", "batch were forgotten", {"batch * np.array": "np.array"}),
    (
        "count_kept_bytes",
        "not with its square",
        {"2 * n_heads * length * length": "2 * n_heads * length"},
    ),
    (
        "count_kept_bytes",
        "half of the pairs",
        {"2 * n_heads * length * length": "n_heads * length * (length + 1)"},
    ),
    (
        "count_kept_bytes",
        "one head only",
        {
            "4 * n_heads * length * d_head": "4 * length * d_head",
            "(2 * n_heads * length * length + 2 * n_heads * length)": "2 * length * (length + 1)",
        },
    ),
    ("count_kept_bytes", "kept once", {"(2 * n_heads * length * length": "(n_heads * length**2"}),
    ("count_kept_bytes", "1 byte", {"(4 + 1)": "8"}),
    ("count_kept_bytes", "signs of the ReLU were", {"(4 + 1)": "4"}),
    (
        "count_kept_bytes",
        "one layer norm only",
        {"2 * (4 * length * d_model": "(4 * length * d_model"},
    ),
    ("count_kept_bytes", "inputs of the two branches", {"2 * (4 * length": "2 * (3 * length"}),
    (
        "count_kept_bytes",
        "heads' results",
        {"4 * n_heads * length * d_head": "3 * n_heads * length * d_head"},
    ),
    ("count_kept_bytes", "maximum and its sum", {" + 2 * n_heads * length) * 4": ") * 4"}),
    ("largest_batches", "cost nothing", {"budget - n_parameters * bytes_per_parameter": "budget"}),
    ("largest_batches", "one byte", {"n_parameters * bytes_per_parameter": "n_parameters"}),
    ("largest_batches", "rounded up", {"left // one_example": "-(-left // one_example)"}),
    (
        "largest_batches",
        "nearest number",
        {"left // one_example": "np.rint(left / one_example).astype(int)"},
    ),
    ("largest_batches", "negative", {"np.maximum(left // one_example, 0)": "left // one_example"}),
    ("largest_batches", "always possible", {"one_example, 0)": "one_example, 1)"}),
    (
        "largest_batches",
        "one of its positions takes",
        {"per_token * lengths + per_pair * lengths**2": "per_token + per_pair * lengths"},
    ),
    ("largest_batches", "length² pairs", {"lengths**2": "lengths"}),
    ("largest_batches", "pairs were forgotten", {" + per_pair * lengths**2": ""}),
]


# Other ways to be right: the package itself, loops.


def by_the_model(n_layers, d_model, d_ff, n_heads, d_head, vocab, max_len):
    """Count the real thing."""
    sizes = Sizes(n_layers, d_model, d_ff, n_heads, d_head, max_len, vocab)
    model = jax.eval_shape(lambda: transformer(jax.random.key(0), sizes))
    parts = {"embedding": 0, "attention.layer": 0, "feed_forward.layer": 0, "norm": 0, ".w": 0}
    for name, leaf in named_parameters(model).items():
        parts[next(part for part in parts if part in name)] += leaf.size
    return np.array(list(parts.values()))


def by_the_ledger(batch, length, d_model, d_ff, n_heads, d_head):
    def of(n_layers):
        sizes = {"d_model": d_model, "d_ff": d_ff, "n_heads": n_heads, "d_head": d_head}
        step = Step(n_layers=n_layers, **sizes, vocab=1, length=length, batch=batch)
        return np.array(list(activation_bytes(step).values()))

    _, norms, vectors, scores, feed_forward, *_ = of(2) - of(1)
    sums = 2 * batch * length * n_heads * 4  # which the ledger has among the vectors
    return np.array([norms, vectors - sums, scores + sums, feed_forward])


def by_trial(lengths, budget, n_parameters, bytes_per_parameter, per_token, per_pair):
    batches = []
    for length in map(int, lengths):
        batch, one = 0, per_token * length + per_pair * length**2
        while n_parameters * bytes_per_parameter + (batch + 1) * one <= budget:
            batch += 1
        batches.append(batch)
    return np.array(batches)


RIGHT = [
    ("count_parameters", by_the_model),
    ("count_kept_bytes", by_the_ledger),
    ("largest_batches", by_trial),
]

PARTS = ("count_parameters", "count_kept_bytes", "largest_batches")
EXERCISE = Exercise(
    stem="02_where_the_memory_goes",
    parts={name: getattr(check, name) for name in PARTS},
    slips=SLIPS,
    right=RIGHT,
)


# Special to this exercise.


def test_the_counts_are_the_ledgers_too():
    sizes = dict(n_layers=3, d_model=8, d_ff=20, n_heads=2, d_head=5, vocab=30, max_len=12)
    counts = EXERCISE.solved["count_parameters"](**sizes)
    assert counts.sum() == n_parameters(Step(**sizes, length=12))


@pytest.mark.parametrize("name", PARTS)
def test_lists_are_met_kindly(name):
    """Numbers in a list are no array; the message says so."""
    right = EXERCISE.solved[name]
    assert "must be an array" in EXERCISE.said(name, lambda *case: right(*case).tolist())
