"""Solutions pass, stubs are met kindly, each mistake is called by its name: in every exercise."""

from dataclasses import dataclass, field, fields, replace
from functools import cache

import jax
import numpy as np
import pytest

from efftx.check.core import SEED, Check
from tests.check.test_attention_is_sparse import EXERCISE as ATTENTION_IS_SPARSE
from tests.check.test_capstone_memory import EXERCISE as CAPSTONE_MEMORY
from tests.check.test_capstone_sparsity import EXERCISE as CAPSTONE_SPARSITY
from tests.check.test_capstone_time import EXERCISE as CAPSTONE_TIME
from tests.check.test_chunking import EXERCISE as CHUNKING
from tests.check.test_fine_tuning_for_everyone import EXERCISE as FINE_TUNING_FOR_EVERYONE
from tests.check.test_from_rnns_to_transformers import EXERCISE as FROM_RNNS_TO_TRANSFORMERS
from tests.check.test_hashing import EXERCISE as HASHING
from tests.check.test_lsh_attention import EXERCISE as LSH_ATTENTION
from tests.check.test_reformer import EXERCISE as REFORMER
from tests.check.test_reversible_layers import EXERCISE as REVERSIBLE_LAYERS
from tests.check.test_sparse_feed_forward import EXERCISE as SPARSE_FEED_FORWARD
from tests.check.test_sparse_qkv import EXERCISE as SPARSE_QKV
from tests.check.test_swapping_and_quantization import EXERCISE as SWAPPING_AND_QUANTIZATION
from tests.check.test_terraformer import EXERCISE as TERRAFORMER
from tests.check.test_where_the_memory_goes import EXERCISE as WHERE_THE_MEMORY_GOES
from tests.check.test_your_own_experiments import EXERCISE as YOUR_OWN_EXPERIMENTS
from tools.course import load

EXERCISES = (
    FROM_RNNS_TO_TRANSFORMERS,
    WHERE_THE_MEMORY_GOES,
    REVERSIBLE_LAYERS,
    CHUNKING,
    SWAPPING_AND_QUANTIZATION,
    ATTENTION_IS_SPARSE,
    HASHING,
    LSH_ATTENTION,
    REFORMER,
    SPARSE_FEED_FORWARD,
    SPARSE_QKV,
    TERRAFORMER,
    FINE_TUNING_FOR_EVERYONE,
    YOUR_OWN_EXPERIMENTS,
    CAPSTONE_MEMORY,
    CAPSTONE_TIME,
    CAPSTONE_SPARSITY,
)


def label(exercise):
    """The number of an exercise; the whole name of what has none."""
    number = exercise.stem.split("_")[0]
    return number if number.isdigit() else exercise.stem


def cases(list_of):
    """The values of ``list_of(exercise)`` for every exercise, each after the exercise itself."""
    return [
        pytest.param(exercise, *values, id="-".join([label(exercise), *labels]))
        for exercise in EXERCISES
        for values in list_of(exercise)
        for labels in [[value[:40] for value in values if isinstance(value, str)]]
    ]


def mistakes(exercise):
    """Every way to make each of the mistakes."""
    return [
        (name, says, way)
        for name, check in exercise.parts.items()
        for says, ways in check.mistakes.items()
        for way in (ways if isinstance(ways, list) else [ways])
    ]


def test_no_exercise_is_left_out():
    pages = [page for page in load().written("exercises") if page.kind != "Bug hunt"]
    assert [e.stem for e in EXERCISES] == [page.stem for page in pages]


@pytest.mark.parametrize(("exercise", "name"), cases(lambda e: [(n,) for n in e.checks]))
def test_the_solution_passes(exercise, name, capsys):
    exercise.checks[name](exercise.solved[name])
    line, *slow = capsys.readouterr().out.splitlines()
    assert not slow or slow[0].startswith("It took ")  # on a busy machine
    assert line.startswith(f"✓ {name} is right on ")
    assert len(line) <= 100


@pytest.mark.parametrize(("exercise", "name"), cases(lambda e: [(n,) for n in e.checks]))
def test_the_stub_is_met_kindly(exercise, name):
    message = exercise.said(name, exercise.untouched[name])
    together = [f"{name} calls {part}, which" for part in exercise.parts]
    subjects = [name] if name in exercise.parts else together
    assert message.startswith(
        tuple(f"{subject} is not written yet. Replace the line" for subject in subjects)
    )


@pytest.mark.parametrize(("exercise", "name"), cases(lambda e: [(n,) for n in e.parts]))
def test_four_mistakes_have_a_name(exercise, name):
    assert len(exercise.parts[name].mistakes) >= 4


@pytest.mark.parametrize(("exercise", "name", "says", "way"), cases(mistakes))
def test_a_mistake_is_called_by_its_name(exercise, name, says, way):
    """Every mistake is one, and is recognised as itself."""
    one = remembered(exercise.stem, name)
    answer = way if one.seen else as_learners(one, way)
    message = replace(exercise, parts={name: one}).said(name, answer)
    assert message.startswith(f"✗ {name} is not right yet. {says.split('{')[0]}")
    assert "{" not in message
    assert "called with the smallest input that shows it:" in message


@dataclass(frozen=True)
class Remembering(Check):
    """A check that makes each of its mistakes once per case, not anew for every answer."""

    made: dict = field(default_factory=dict)

    def of_mistake(self, mistake, case):
        key = id(mistake), id(case)
        if key not in self.made:
            self.made[key] = super().of_mistake(mistake, case)
        return self.made[key]


@cache
def remembered(stem, name):
    """A part's check with its cases made once; what a mistake wrote into one would be seen."""
    exercise = next(exercise for exercise in EXERCISES if exercise.stem == stem)
    one = exercise.parts[name]
    drawn = list(one.cases(np.random.default_rng(SEED)))
    for array in (x for case in drawn for x in case.values() if isinstance(x, np.ndarray)):
        array.setflags(write=False)
    values = {f.name: getattr(one, f.name) for f in fields(Check)}
    return Remembering(**values | {"cases": lambda rng: drawn})


def as_learners(one, way):
    """A mistake may return None for an array that it says nothing about; an answer may not."""

    def answer(*case):
        case = [np.asarray(x) if isinstance(x, jax.Array) else x for x in case]
        with np.errstate(all="ignore"):
            result = way(*case)
        if len(one.returns) == 1:
            return result
        pairs = zip(result, one.right(*case), strict=True)
        return tuple(right if mine is None else mine for mine, right in pairs)

    return answer


@pytest.mark.parametrize(("exercise", "name", "answer"), cases(lambda e: e.right))
def test_other_ways_to_be_right_pass(exercise, name, answer, capsys):
    exercise.checks[name](answer)
    assert "is right" in capsys.readouterr().out
