# %% [markdown]
# # Bug hunt · The rebuilt stream that was not
#
# <!-- measured -->
#
# What saves memory must change nothing else: chunks, eight bits and rebuilt streams are promises to
# return the numbers of the plain way, or numbers that are near them in a way that can be said. When
# such a promise is broken nothing crashes. The loss is a little higher, and training goes on. Here
# you write the **tests** that tell a sound technique from a broken one. Afterwards you can
#
# * choose lengths that do not fit, because those that fit hide the mistakes;
# * test a number that is *meant* to be wrong, by how wrong it may be;
# * test something random, by what stays the same and by its mean;
# * hold a gradient that was written by hand against one that jax found.
#
# **How it works.** In each part you write a function that takes an implementation. It says nothing
# if all is well, and raises `AssertionError` if not, as `assert` does. The check hands it sound
# implementations, which it must spare, and broken ones, which it must expose, and tells you which
# one got away. It never shows you their code: a test that knows its bug finds no other.
#
# You need chapters [03](../chapters/03_reversible_layers.ipynb),
# [04](../chapters/04_chunking.ipynb) and [05](../chapters/05_swapping_and_quantization.ipynb).

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import hunt_memory as check
from efftx.check.hunt_memory_sound import rebuilt, stored

# %% [markdown]
# ## The symptom
#
# A reversible stack with dropout, and two gradients of it: one from a stack that is sound, one from
# another. Both keep nothing, and rebuild their streams on the way back. Guess which of three numbers
# gives the second one away: the loss, the length of the gradient, or its direction.

# %%
shapes = (4, 8, 8), (4, 8, 8), (16, 8), (16, 8), (8,)
inputs = [0.5 * jax.random.normal(jax.random.key(n), shape) for n, shape in enumerate(shapes)]


def loss_and_gradient(stack):
    """Of a stack of 4 blocks, its weights' gradient as one long vector."""

    def loss(w_f, w_g, *rest):
        y1, y2 = stack(w_f, w_g, *rest, jax.random.key(9))
        return (y1**2 + y2**2).mean()

    value, (g_w_f, g_w_g) = jax.value_and_grad(loss, argnums=(0, 1))(*inputs)
    return value, jnp.concatenate([g_w_f.ravel(), g_w_g.ravel()])


(loss, ours), (other_loss, other) = map(loss_and_gradient, (rebuilt, check.test_rebuilt.suspect))
length, other_length = jnp.linalg.norm(ours), jnp.linalg.norm(other)
print(f"loss       {loss:.4f} and {other_loss:.4f}")
print(f"length     {length:.4f} and {other_length:.4f}")
cosine = jnp.vdot(ours, other) / length / other_length
print(f"direction  {cosine:.2f}: the cosine of the angle between them")
assert loss == other_loss
assert abs(other_length / length - 1) < 0.15
assert 0 < cosine < 0.6

# %% [markdown]
# The loss is the same to the last digit: the way there is sound. The two gradients are about as
# long. Only the direction tells, and it takes the right one beside it. The angle is less than a right
# angle, so that a step along the second goes down, too, and the model learns, only worse. It is the
# gradient of a network that was never run.
#
# It will come to its test in Part 4. First three smaller things.
#
# ## Part 1: Chunks · ★☆☆ · 10 minutes
#
# `in_chunks(f, x, chunk_len)` computes `f(x)` with `chunk_len` rows at a time. `f` treats each row by
# itself. The last chunk is shorter where the length does not fit.
#
# Nothing could be easier to test: it must equal `f(x)`. With which lengths?
#
# <details><summary>Answer</summary>
#
# With one that does not fit, one that does, and one that is shorter than a chunk. And with many
# chunks, since somebody may have had a number in mind.
#
# </details>


# %%
def test_chunks(in_chunks):
    """Raises AssertionError if the rows in chunks are not those of f(x).

    in_chunks  a function (f, x, chunk_len) -> f(x), for x (length, d)
    """
    # SOLUTION
    def f(rows):
        return np.sin(rows) + 1

    for length, chunk_len in ((7, 3), (6, 3), (2, 5), (20, 1)):
        x = np.random.default_rng(length).normal(size=(length, 2))
        got = in_chunks(f, x, chunk_len)
        assert np.allclose(got, f(x), atol=1e-5), f"{length} rows in chunks of {chunk_len}"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: which f?</summary>
#
# One that makes something else of zeros than zeros. With $f(0) = 0$, rows that were never computed
# look like rows of zeros that were.
#
# </details>
#
# <details><summary>Hint 2: how near is equal?</summary>
#
# `f` of a row is the same computation, whatever chunk it stands in: six digits are alike. A
# tolerance of 1e-2 would let through what was rounded to three.
#
# </details>

# %% tags=["check"]
check.test_chunks(test_chunks)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** There is no cleverness in it but the choice of lengths. All four are
# needed.

# %% [markdown]
# ## Part 2: Eight bits · ★★☆ · 15 minutes
#
# `quantize(x)` returns codes, `(n, d)` in `int8`, and scales, `(n, 1)`. A row of $x$ is about its
# codes times its scale. The scale is the largest magnitude of the row, divided by 127, so that the
# codes reach from −127 to 127; each number is rounded to the nearest code. A row of zeros comes back
# as zeros.
#
# So `codes * scales` is *not* $x$. How wrong may it be, exactly? And which rows should be in your test?
#
# <details><summary>Answer</summary>
#
# Half a step, and a step is the scale: the row's largest magnitude, divided by 127. Rows of very
# different size, one with a negative number that is the largest in magnitude, and one of zeros.
#
# </details>


# %%
def test_eight_bits(quantize):
    """Raises AssertionError if a number comes back with an error of more than half a step.

    quantize  a function, x (n, d) -> codes (n, d), scales (n, 1)
    """
    # SOLUTION
    rows = np.random.default_rng(0).normal(size=(5, 8))
    x = np.array([[1], [100], [1e-5], [0], [3]]) * rows
    x[0] = -abs(x[0])
    codes, scales = map(np.asarray, quantize(jnp.asarray(x)))
    assert codes.dtype == np.int8, f"codes are {codes.dtype}"
    step = abs(x).max(axis=1, keepdims=True) / 127
    assert (abs(codes * scales - x) <= 0.51 * step).all(), "an error of more than half a step"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# You need not know the right codes. Multiply what comes back, and look at the error.
#
# </details>
#
# <details><summary>Hint 2: a bound for each row</summary>
#
# The step is known from $x$ alone. Give it a little room, 0.51 instead of ½, since the sound ones
# round too.
#
# </details>
#
# <details><summary>Hint 3: nan</summary>
#
# Comparisons with `nan` are False. `assert (error <= bound).all()` notices it, and `assert not (error
# > bound).any()` does not.
#
# </details>

# %% tags=["check"]
check.test_eight_bits(test_eight_bits)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It tests the promise, an error of at most half a step. Which of two codes
# a number gets that lies between them is nobody's business.

# %% [markdown]
# ## Part 3: Up or down · ★★☆ · 15 minutes
#
# `round_stochastically(x, key)` returns for each number one of the two whole numbers beside it,
# drawn so that the *mean* is the number itself: 0.9 becomes 1 nine times in ten. A whole number stays
# as it is. Each number has a draw of its own, and another key gives other draws.
#
# No single result is right or wrong. What must hold for every result, and what for many?
#
# <details><summary>Answer</summary>
#
# Every result is a whole number, less than 1 away. The mean of many is near the number: of $n$ draws
# it is off by about $½ / \sqrt n$ at most, so that 10,000 draws leave 0.005, and 0.03 is a bound that
# a sound one will not break.
#
# </details>


# %%
def test_rounding(round_stochastically):
    """Raises AssertionError if results are not beside x, not x in the mean, or not random.

    round_stochastically  a function (x, key) -> whole numbers of x's shape
    """
    # SOLUTION
    numbers = np.array([-1.7, -0.2, 0, 0.1, 0.5, 0.9, 2, 3.3])
    x = jnp.asarray(np.tile(numbers, (10_000, 1)))
    first, second = (np.asarray(round_stochastically(x, jax.random.key(n))) for n in (1, 2))
    assert (first == np.round(first)).all(), "not whole"
    assert (abs(first - x) < 1).all(), "not beside x"
    assert (abs(first.mean(axis=0) - numbers) < 0.03).all(), "not x in the mean"
    assert (first != second).any(), "another key makes no difference"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: many draws at once</summary>
#
# Each number has its own draw. So an array in which a number stands 10,000 times is 10,000 draws.
#
# </details>
#
# <details><summary>Hint 2: which numbers?</summary>
#
# Below zero and above, near a whole number and half-way, and whole ones. A half alone would not tell
# a coin from a fair draw.
#
# </details>

# %% tags=["check"]
check.test_rounding(test_rounding)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** The bound on the mean is six times what chance does, and a tenth of what
# the smallest bug does. Where draws are shared between numbers the mean over the array is far off,
# which is why the array is the better place for many draws than a loop over keys.

# %% [markdown]
# ## Part 4: The way back · ★★★ · 20 minutes
#
# `rebuilt(w_f, w_g, x1, x2, extra, key)` is a reversible stack with a backward pass of its own, as in
# the [memory capstone](capstone_memory.ipynb). Both branches of all blocks look at `extra`, a vector,
# beside their stream, and drop some numbers, drawn from `key`. It returns `y1` and `y2`. Its gradient
# must be that of `stored`, imported above, which computes the same and lets jax differentiate.
#
# Which inputs have a gradient to be compared, and which loss shows all of them?
#
# <details><summary>Answer</summary>
#
# Five: `w_f`, `w_g`, `x1`, `x2`, `extra`. A loss that weighs every number of both streams differently.
# With `jax.vjp` that is a random gradient for each of the two.
#
# </details>


# %%
def test_rebuilt(rebuilt):
    """Raises AssertionError if results or gradients differ from those of the stack that stores.

    rebuilt  a function (w_f, w_g, x1, x2, extra, key) -> y1, y2
             w_f, w_g (n_blocks, d, d);  x1, x2, y1, y2 (length, d);  extra (d,);  key of jax
    """
    # SOLUTION
    rng = np.random.default_rng(0)
    shapes = (2, 5, 5), (2, 5, 5), (4, 5), (4, 5), (5,)
    inputs = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
    g = tuple(jnp.asarray(rng.normal(size=(2, 4, 5))))

    def everything_of(stack):
        results, pull_back = jax.vjp(lambda *inputs: stack(*inputs, jax.random.key(1)), *inputs)
        return *results, *pull_back(g)

    both = everything_of(rebuilt), everything_of(stored)
    for name, got, wanted in zip("y1 y2 w_f w_g x1 x2 extra".split(), *both, strict=True):
        assert np.allclose(got, wanted, rtol=1e-4, atol=1e-4), f"{name} differs"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `jax.vjp(run, *inputs)` returns the results of `run` and a function that pulls gradients back. The
# key is no number to differentiate by: let `run` know it already.
#
# </details>
#
# <details><summary>Hint 2: how large</summary>
#
# With one block there is no wrong order of blocks. With `extra` zero it does not matter who looks at
# it, but its gradient is not zero.
#
# </details>
#
# <details><summary>Hint 3: how near is equal?</summary>
#
# Rebuilding in float32 costs a few of the last digits, 1e-5 perhaps. What was rounded to bfloat16 on
# the way is off by 1e-3 to 1e-2.
#
# </details>

# %% tags=["check"]
check.test_rebuilt(test_rebuilt)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** Two ways to the same numbers, one of them jax's own. It compares *all*
# gradients: a gradient that nobody looks at, as that of `extra`, is where mistakes live longest. And
# its tolerance is a decision: wide enough for what rebuilding must cost, and too narrow for anything
# else.
