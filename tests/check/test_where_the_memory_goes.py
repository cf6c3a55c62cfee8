"""Exercise 02: what learners hand in, right and wrong; and what is special to it.

What every exercise is held to stands in ``test_every_exercise.py``.
"""

import jax
import numpy as np
import pytest

from efftx.check import where_the_memory_goes as check
from efftx.check.where_the_memory_goes_experiment import kept_by
from efftx.memory.ledger import Step, activation_bytes, n_parameters
from efftx.models import Sizes, named_parameters, transformer
from tests.check.exercise import Exercise

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


def by_looking_at_each(f, *arguments):
    kept = jax.tree.leaves(jax.vjp(f, *arguments)[1])
    return sum(a.size * a.dtype.itemsize for a in kept if not any(a is x for x in arguments))


RIGHT = [
    ("count_parameters", by_the_model),
    ("count_kept_bytes", by_the_ledger),
    ("largest_batches", by_trial),
    ("kept_bytes", kept_by),
    ("kept_bytes", by_looking_at_each),
]

COUNTS = ("count_parameters", "count_kept_bytes", "largest_batches")
PARTS = (*COUNTS, "kept_bytes")
EXERCISE = Exercise(
    stem="02_where_the_memory_goes",
    parts={name: getattr(check, name) for name in PARTS},
    right=RIGHT,
)


# Special to this exercise.


def test_the_counts_are_the_ledgers_too():
    sizes = dict(n_layers=3, d_model=8, d_ff=20, n_heads=2, d_head=5, vocab=30, max_len=12)
    counts = EXERCISE.solved["count_parameters"](**sizes)
    assert counts.sum() == n_parameters(Step(**sizes, length=12))


@pytest.mark.parametrize("name", COUNTS)
def test_lists_and_tuples_say_the_same(name):
    right = EXERCISE.solved[name]
    EXERCISE.checks[name](lambda *case: right(*case).tolist())
    EXERCISE.checks[name](lambda *case: tuple(float(n) for n in right(*case)))
