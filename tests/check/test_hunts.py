"""Bug hunts: a learner's test is tested on implementations, sound ones and broken ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import CheckFailed, hunt_memory, hunt_sparsity, hunt_time
from efftx.check.hunts import Hunt
from tests.check import test_hunt_memory, test_hunt_sparsity
from tests.check.sources import functions_of, run
from tools.course import load

STEMS = [page.stem for page in load().written("exercises") if page.kind == "Bug hunt"]
MODULES = {"hunt_memory": hunt_memory, "hunt_sparsity": hunt_sparsity, "hunt_time": hunt_time}
HUNTS = [
    pytest.param(stem, hunt, id=f"{stem}-{hunt.name}")
    for stem in STEMS
    for hunt in vars(MODULES[stem]).values()
    if isinstance(hunt, Hunt)
]
EXAMPLES = {hunt_memory: test_hunt_memory, hunt_sparsity: test_hunt_sparsity}
EACH = pytest.mark.parametrize(("stem", "hunt"), HUNTS)


def of_learners(kind: str) -> list:
    """(hunt, test) for every test that a module of examples holds as GOOD or as WEAK."""
    return [
        pytest.param(getattr(hunts, name), test, id=f"{name}-{n}")
        for hunts, examples in EXAMPLES.items()
        for name, tests in getattr(examples, kind).items()
        for n, test in enumerate(tests)
    ]


def said(hunt: Hunt, test) -> str:
    with pytest.raises(CheckFailed) as caught:
        hunt(test)
    assert "Traceback" not in str(caught.value)
    return " ".join(str(caught.value).split())


@EACH
def test_the_solution_exposes_all_broken_ones_and_spares_the_sound(stem, hunt, capsys):
    hunt(run(functions_of("solutions", stem))[hunt.name])
    printed = capsys.readouterr().out
    assert printed.startswith(f"✓ {hunt.name} is right on ")
    assert f"all {len(hunt.broken)} broken ones" in printed


@EACH
def test_the_stub_is_met_kindly(stem, hunt):
    untouched = run(functions_of("exercises", stem))[hunt.name]
    assert said(hunt, untouched).startswith(f"{hunt.name} is not written yet. Replace the line")


@EACH
def test_a_test_that_accuses_nobody_is_told_who_got_away(stem, hunt):
    first = next(iter(hunt.broken))
    message = said(hunt, lambda implementation: None)
    assert f"This one got away: {first}. It exposes 0 of {len(hunt.broken)} broken ones" in message


@EACH
def test_a_test_that_accuses_everybody_is_told_so(stem, hunt):
    def accuse(implementation):
        raise AssertionError("I do not trust it")

    assert "Your test accuses the sound one: I do not trust it" in said(hunt, accuse)


@pytest.mark.parametrize(("hunt", "test"), of_learners("GOOD"))
def test_other_styles_pass(hunt, test, capsys):
    hunt(test)
    assert "it exposes all" in capsys.readouterr().out


@pytest.mark.parametrize(("hunt", "test"), of_learners("WEAK"))
def test_a_weak_one_is_told_who_got_away(hunt, test):
    with pytest.raises(CheckFailed, match="This one got away"):
        hunt(test)


@EACH
def test_there_are_enough_to_tell_a_test_from_an_anecdote(stem, hunt):
    assert len(hunt.broken) >= 6
    assert len(hunt.sound) >= 1


def test_one_example_is_not_enough():
    def the_example(sort_by_bucket):
        assert sort_by_bucket(jnp.array([1, 0, 1, 0])).tolist() == [1, 3, 0, 2]

    message = said(hunt_time.test_order, the_example)
    assert "it sorts by bucket · 64 + position" in message
    assert "exposes 5 of 7" in message


def test_a_test_of_the_way_and_not_of_the_promise_accuses_a_sound_one():
    """Bits are not promised: another order of the same sums gives other last digits."""

    def to_the_bit(attend):
        rng = np.random.default_rng(0)
        q, v = jnp.asarray(rng.normal(size=(2, 12, 3)))
        buckets = jnp.asarray(rng.integers(4, size=(3, 12)))
        ours = hunt_time.sound.attend(q, v, buckets, 3, True)
        assert (attend(q, v, buckets, 3, True) == ours).all(), "not the same bits"

    assert "Your test accuses a sound one, which " in said(hunt_time.test_causal, to_the_bit)


def test_a_test_returns_nothing():
    assert "It returned a bool. A test says nothing" in said(hunt_time.test_order, lambda f: True)


def test_a_crash_stays_a_crash_and_says_with_which():
    with pytest.raises(TypeError) as caught:
        hunt_time.test_order(lambda f: f())
    assert "the sound implementation of sort_by_bucket" in caught.value.__notes__[0]
