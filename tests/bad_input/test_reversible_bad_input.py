"""What a reversible stack refuses, and that it says what came and what would be right."""

import jax
import jax.numpy as jnp
import pytest

from efftx.memory import reversible_forward, reversible_inverse, reversible_stack

X = jnp.ones((10, 4))
W = jnp.ones((3, 4, 4))  # of three layers
ENTRANCES = [reversible_stack, reversible_forward, reversible_inverse]


def linear(w, x, key, extra, replay=None):
    return x @ w, None


def refuses(message, *arguments, **more):
    for entrance in ENTRANCES:
        with pytest.raises(ValueError, match=message):
            entrance(*arguments, **more)


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (X, X[:9], r"same shape and dtype; got float32\[10, 4\] and float32\[9, 4\]"),
        (X, X.astype(jnp.bfloat16), r"got float32\[10, 4\] and bfloat16\[10, 4\]"),
        (X[0], X[0], r"x1 must be a \(length, width\) array, or .* got float32\[4\]"),
        (X, X[:0], r"x2 is empty: got float32\[0, 4\]"),
        (X, jnp.ones((10, 4), int), "x2 must hold floating-point vectors"),
        ([1.0], X, "got a list"),
    ],
)
def test_streams(x1, x2, message):
    refuses(message, (linear,), (W,), x1, x2)


@pytest.mark.parametrize(
    ("branches", "params", "keys", "message"),
    [
        ((), (), None, "branches must hold at least one function"),
        (
            (linear, linear),
            (W,),
            None,
            "params must have an entry for each of the 2 branches; got 1",
        ),
        ((linear,), W, None, r"params must have an entry .* got float32\[3, 4, 4\]"),
        (
            (linear,),
            (W,),
            (None, None),
            "keys must have an entry for each of the 1 branches; got 2",
        ),
        (
            (linear, linear),
            (W, W[:2]),
            None,
            r"n_layers ≥ 1; got float32\[3, .* float32\[2, 4, 4\]",
        ),
        ((linear,), (W,), (jax.random.split(jax.random.key(0), 2),), r"got .*key<fry>\[2\]"),
        ((linear,), (W[:0],), None, r"n_layers ≥ 1; got float32\[0, 4, 4\]"),
        ((linear,), (jnp.float32(1),), None, r"n_layers ≥ 1; got float32\[\]"),
        ((linear,), (None,), None, "n_layers ≥ 1; got none"),
    ],
)
def test_what_is_stacked(branches, params, keys, message):
    refuses(message, branches, params, X, X, keys)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: (x[:5], None), r"of its input's shape \(10, 4\), .* got float32\[5, 4\]"),
        (lambda x: (x.sum(), None), r"got float32\[\]"),
        (lambda x: (x > 0, None), r"floating-point y .* got bool\[10, 4\]"),
        (lambda x: x, r"must return \(y, replay\); got float32\[10, 4\]"),
        (lambda x: (x, None, None), r"must return \(y, replay\); got a tuple"),
        (lambda x: (x, x[0]), r"whole numbers or bool, .* got float32\[4\]"),
    ],
)
def test_what_a_branch_returns(result, message):
    """Also where jit hides the values."""

    def branch(w, x, key, extra, replay=None):
        return result(x)

    refuses(message, (branch,), (W,), X, X)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x: reversible_stack((branch,), (W,), x, x))(X)


def test_extra():
    refuses(
        "extra must hold arrays and numbers; got a str", (linear,), (W,), X, X, None, {"a": "b"}
    )


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_no_message_advises_to_map_around_the_stack(entrance):
    """It is the way that costs most; and the streams of a batch are fine."""
    with pytest.raises(ValueError, match="with leading axes, as a batch") as error:
        entrance((linear,), (W,), X[0], X[0])
    assert "vmap" not in str(error.value)
    assert "head" not in str(error.value)
    entrance((linear,), (W,), X[None], X[None])
