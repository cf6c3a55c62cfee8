"""The mechanism of the checks, on an exercise of one line, and in a real Jupyter kernel."""

import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from efftx.check import Check, CheckFailed
from tools.build import STUB
from tools.course import ROOT


def cases(rng):
    for length in (2, 5, 100):
        yield {"x": rng.normal(size=length), "times": length}


double = Check(
    name="double",
    returns=("twice",),
    right=lambda x, times: 2 * x,
    cases=cases,
    praise="Twice as much.",
    mistakes={
        "It looks like the square of entry {0}.": lambda x, times: x * x,
        "It looks like {{x, x}}.": lambda x, times: x,
    },
)
split = Check(
    name="split",
    returns=("sign", "size"),
    right=lambda x, times: (x > 0, np.abs(x)),
    cases=cases,
    praise="",
    mistakes={"The sign is turned round.": lambda x, times: (x <= 0, None)},
)


count = Check(
    name="count",
    returns=("n",),
    right=lambda x, times: np.int32(len(x)),
    cases=cases,
    praise="",
)
codes = Check(
    name="codes",
    returns=("codes",),
    right=lambda x, times: np.arange(len(x), dtype=np.int8),
    cases=cases,
    praise="",
    exact=("codes",),
)


def failure(check, answer) -> str:
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    return str(caught.value)


def test_a_right_answer_gets_one_line(capsys):
    double(lambda x, times: x + x)
    assert capsys.readouterr().out == "✓ double is right on 3 random inputs. Twice as much.\n"


@pytest.mark.parametrize("kind", [np.float64, np.float32, jnp.float32])
def test_floats_of_any_width_are_floats(kind):
    double(lambda x, times: (2 * np.asarray(x)).astype(kind))


def test_what_rounds_too_much_is_refused_with_the_reason():
    said = failure(double, lambda x, times: 2 * x.astype(jnp.bfloat16))
    assert "`twice` is bfloat16, which has rounded the numbers to a few digits" in said


def whole_numbers(array):
    return [int(x) for x in array]


SAYS_THE_SAME = {
    "list": (double, lambda x, t: [2 * float(one) for one in x]),
    "list of jax's numbers": (double, lambda x, t: [2 * one for one in x]),
    "tuple": (double, lambda x, t: tuple(2 * float(one) for one in x)),
    "lists for several results": (split, lambda x, t: [list(x > 0), np.abs(x).tolist()]),
    "0 and 1 for bools": (split, lambda x, t: (jnp.int32(x > 0), jnp.abs(x))),
    "1.0 for bools": (split, lambda x, t: (jnp.float32(x > 0), jnp.abs(x))),
    "Python's number": (count, lambda x, t: int(t)),
    "a float that is whole": (count, lambda x, t: float(t)),
    "numpy's number": (count, lambda x, t: np.int64(t)),
}


@pytest.mark.parametrize("form", SAYS_THE_SAME)
def test_whatever_says_the_same_is_taken(form):
    check, answer = SAYS_THE_SAME[form]
    check(answer)


def test_the_named_mistake_is_named_with_its_place():
    said = failure(double, lambda x, times: x**2)
    assert "It looks like the square of entry 0." in said
    assert "{x, x}" in failure(double, lambda x, times: x)


def test_a_mistake_may_leave_a_result_open():
    for size in (jnp.zeros_like, jnp.abs):
        assert "turned round" in failure(split, lambda x, times, size=size: (x <= 0, size(x)))


def test_any_other_wrong_answer_is_shown_its_smallest_input():
    wrong_when_long = lambda x, times: 2 * x + (times > 2) * jnp.arange(times)  # noqa: E731
    lines = failure(double, wrong_when_long).splitlines()
    assert lines[0] == "✗ double is not right yet."
    assert "It was called with the smallest input that fails:" in lines
    assert "    times = 5" in lines
    (place,) = (line for line in lines if "expected" in line and "twice[1]" in line)
    got, expected = (float(part.split()[-1]) for part in place.split(", "))
    assert got == pytest.approx(expected + 1, rel=1e-3)


def test_a_mistake_is_named_only_if_every_input_shows_it():
    """The square on the shortest input, and something else on all others."""
    sometimes = lambda x, times: x**2 if times == 2 else 3 * x  # noqa: E731
    assert "square" not in failure(double, sometimes)


def test_a_single_number_has_no_place():
    total = Check(
        name="total",
        returns=("sum",),
        right=lambda x, times: x.sum(),
        cases=cases,
        praise="",
        mistakes={"Only the first entry was taken.": lambda x, times: x[0]},
    )
    total(lambda x, times: x.sum())
    assert "Only the first entry was taken." in failure(total, lambda x, times: x[0])
    assert "\n    sum: got " in failure(total, lambda x, times: x.sum() + 1)


def test_large_inputs_are_described_not_printed():
    said = failure(double, lambda x, times: 2 * x + (times > 5))
    assert "x     = float32[100]" in said
    assert max(map(len, said.splitlines())) < 100


def test_nan_is_not_right():
    assert "got nan" in failure(double, lambda x, times: x * jnp.nan)


WRONG_FORM = {
    "double returned None. Is there a `return`": (double, lambda x, t: None),
    "must be an array, of jax or of numpy, or numbers; got a str": (double, lambda x, t: "x"),
    "must be an array; its rows differ in length": (double, lambda x, t: [[1.0], [1.0, 2.0]]),
    "`twice` must have shape (2,); got shape (2, 2)": (double, lambda x, t: (x, x)),
    "`twice` must have shape (2,); got shape (2, 1)": (double, lambda x, t: 2 * x[:, None]),
    "must hold floating-point numbers; got complex64": (double, lambda x, t: x + 0j),
    "`sign` must hold bool (True and False); got int32": (
        split,
        lambda x, t: (2 * jnp.int32(x > -9), jnp.abs(x)),
    ),
    "`n` must hold whole numbers; got float32, 1.5 say": (count, lambda x, t: jnp.float32(1.5)),
    "`codes` must be of dtype int8; got int32": (codes, lambda x, t: jnp.arange(t)),
    "must return 2 arrays, (sign, size); got 3": (split, lambda x, t: (x > 0, x, x)),
    "must return 2 arrays, (sign, size); got an array, bool[2]": (split, lambda x, t: x > 0),
}


@pytest.mark.parametrize("says", WRONG_FORM)
def test_a_result_of_the_wrong_form_is_described(says):
    said = failure(*WRONG_FORM[says])
    assert says in " ".join(said.split())
    assert "times = 2" in said or "None" in says


def test_an_error_inside_the_answer_stays_an_error_and_tells_the_input():
    with pytest.raises(TypeError) as caught:
        double(lambda x, times: x["a"])
    (note,) = caught.value.__notes__
    assert "The check had called double with" in note
    assert "times = 2" in note


@pytest.mark.parametrize("later", [lambda x: x["a"], lambda x: x[None]])
def test_what_was_wrong_before_is_said_before_an_error_or_a_wrong_shape(later):
    """The square on the shortest input, as the named mistake; of others it knows nothing."""
    said = failure(double, lambda x, times: x**2 if times == 2 else later(x))
    assert "It looks like the square of entry 0." in said
    assert "times = 2" in said


def test_a_stub_is_not_written_yet():
    names = {}
    exec(f"def double(x, times):\n    {STUB}\ndef other(*case):\n    double(*case)", names)
    assert failure(double, names["double"]).startswith("double is not written yet.")
    assert failure(split, names["double"]).startswith("split calls double, which is not written")


def test_what_jax_has_not_implemented_is_no_stub():
    def answer(x, times):
        raise NotImplementedError("sorting of strings")

    with pytest.raises(NotImplementedError, match="strings"):
        double(answer)


CELLS = [
    """
from efftx.check import lsh_attention as check
def attend(q, v, allowed, discount=0.0):
    raise NotImplementedError("your turn: replace this line")
def join_rounds(q, v, allowed):
    return attend(q, v, allowed)
""",
    "check.attend(attend)",
    "check.join_rounds(join_rounds)",
    "check.join_rounds(lambda q, v, allowed: v)",
]


@pytest.fixture(scope="module")
def shown() -> list[str]:
    """What Jupyter shows below each of the cells that fail."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(ROOT)}},
        extra_arguments=["--log-level=ERROR"],
    ).execute()
    assert not notebook.cells[0].outputs
    errors = [cell.outputs for cell in notebook.cells[1:]]
    assert [[o.output_type for o in outputs] for outputs in errors] == [["error"]] * 3
    return ["\n".join(outputs[0].traceback) for outputs in errors]


def test_jupyter_shows_the_words_and_no_traceback(shown):
    assert shown[0].startswith("attend is not written yet. Replace the line")
    assert shown[1].startswith("join_rounds calls attend, which is not written yet.")
    assert shown[2].startswith("✗ join_rounds is not right yet.")
    for text in shown:
        assert "Traceback" not in text
        assert ".py" not in text
        assert "\x1b" not in text
