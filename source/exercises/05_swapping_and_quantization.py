# %% [markdown]
# # Exercise 05 · Swapping and quantization
#
# <!-- measured -->
#
# In [the chapter](../chapters/05_swapping_and_quantization.ipynb) you saw a model shrink: written
# in eight bits, or kept in another memory. Here you write the pieces yourself. Afterwards you can
#
# * write the rows of a matrix in eight bits, each with a scale of its own;
# * bring back numbers that were quantized block by block;
# * round so that small steps are not lost;
# * say how many tokens a batch needs for swapping to cost nothing.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import swapping_and_quantization as check

# %% [markdown]
# ## Part 1: Rows in eight bits · ★☆☆ · 10 minutes
#
# Write `quantize_rows(x)` for a matrix `x` of shape `(rows, columns)`. It returns two arrays:
#
# * `absmax`, shape `(rows,)`: the largest magnitude of each row;
# * `codes`, shape `(rows, columns)`, of dtype `int8`: the nearest whole number to
#   $127 \cdot x / \text{absmax}$, with the absmax of the row that the number stands in.
#
# For example, in two rows:
#
# | row | absmax | codes |
# |---|---|---|
# | 1, −4, 2 | 4 | 32, −127, 64 |
# | −0.5, −0.1, −0.25 | ? | ?, −25, −64 |
#
# What belongs in the places of the question marks? Look at the signs.
#
# <details><summary>Answer</summary>
#
# absmax is 0.5, the largest *magnitude*; and −0.5 has the code −127. (The largest *number* of the
# row is −0.1, and with that as a scale everything would go wrong.) −0.25 is half of it: 63.5, which
# rounds to −64.
#
# </details>
#
# A row may consist of zeros. Its codes are zeros.


# %%
def quantize_rows(x):
    """Each row in eight bits.

    x        (rows, columns)
    returns  codes (rows, columns) int8, absmax (rows,)
    """
    # SOLUTION
    absmax = jnp.abs(x).max(axis=1)
    scale = jnp.where(absmax == 0, 1, absmax)[:, None]
    codes = jnp.round(127 * x / scale).astype(jnp.int8)
    return codes, absmax
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three steps: the largest magnitude of each row; divide each row by it; round and convert. Which
# axis runs *along* a row?
#
# </details>
#
# <details><summary>Hint 2: dividing rows</summary>
#
# `absmax` has shape `(rows,)`. To divide each row of `x` by its own, give it a second axis:
# `absmax[:, None]` has shape `(rows, 1)`.
#
# </details>
#
# <details><summary>Hint 3: a row of zeros</summary>
#
# 0/0 is nan. Divide such a row by 1 in place of 0: `jnp.where(absmax == 0, 1, absmax)`.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode</summary>
#
#     absmax = largest |x| of each row
#     scale  = absmax, or 1 where it is 0
#     codes  = round(127 · x / scale of the row), as int8
#     return codes, absmax
#
# </details>

# %% tags=["check"]
check.quantize_rows(quantize_rows)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The largest magnitude of a row becomes exactly ±127, everything else lies
# between, and rounding to the nearest errs by half a code at most: absmax / 254.
#
# *Why round first?* A conversion to int8 cuts the fraction off. Then errors are up to twice as
# large, and all in one direction, towards zero: a matrix comes back a little smaller than it went.
#
# *Why 127, if an int8 goes down to −128?* With the scale 127 a number and its negative have
# opposite codes, and zero stays zero. The 256th code is not worth a skewed range.

# %% tags=["solution-only"]
codes, absmax = quantize_rows(jnp.array([[1.0, -4.0, 2.0], [-0.5, -0.1, -0.25]]))
assert codes.tolist() == [[32, -127, 64], [-127, -25, -64]]
assert absmax.tolist() == [4.0, 0.5]

# %% [markdown]
# ## Part 2: Blocks, and back · ★★☆ · 10 minutes
#
# Another way to group numbers: the flattened array is cut into blocks of `block_len`, and each
# block has one absmax. Write the way back, `dequantize_blocks(codes, absmax, block_len)`. The
# number that a code stands for is
#
# $$\hat x = \frac{q}{127} \cdot \text{absmax of its block}.$$
#
# With seven codes and a `block_len` of 3 there are three blocks, and the last has one number:
#
# | | block 0 | | | block 1 | | | block 2 |
# |---|---|---|---|---|---|---|---|
# | codes | 127 | 0 | −64 | 127 | −127 | 32 | −127 |
# | absmax | 2 | | | 10 | | | 0.5 |
# | numbers | 2 | 0 | −1.008 | ? | −10 | 2.52 | ? |
#
# Fill in the question marks. Which number is nearest to what it was *before* it was quantized: the
# first of each block, or any other?
#
# <details><summary>Answer</summary>
#
# 10 and −0.5. A code of ±127 stands for absmax itself, so these came back without any error. All
# others are off by up to absmax / 254 of their block: 0.04 in block 1, 0.008 in block 0.
#
# </details>


# %%
def dequantize_blocks(codes, absmax, block_len):
    """The numbers that codes stand for.

    codes    (n,) int8;  absmax (n_blocks,);  the last block may be shorter than block_len
    returns  numbers (n,)
    """
    # SOLUTION
    absmax_of_each = jnp.repeat(absmax, block_len)[: len(codes)]
    return codes / 127 * absmax_of_each
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Once you have an array of shape `(n,)` with the absmax *of each number*, one line is left.
#
# </details>
#
# <details><summary>Hint 2: from blocks to numbers</summary>
#
# Number `i` lies in block `i // block_len`. Either index with that, or let `jnp.repeat` write each
# absmax down `block_len` times in a row.
#
# </details>
#
# <details><summary>Hint 3: the last block</summary>
#
# `jnp.repeat` gives whole blocks. Cut off what is too much: `[: len(codes)]`.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode</summary>
#
#     for each i in 0 … n - 1:
#         numbers[i] = codes[i] / 127 · absmax[i // block_len]
#
# </details>

# %% tags=["check"]
check.dequantize_blocks(dequantize_blocks)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It undoes the two steps of quantizing in reverse: first back to −1 … 1, then
# back to the block's own size.
#
# *Repeat or tile?* `jnp.repeat([a, b], 2)` is a, a, b, b: blocks. `jnp.tile([a, b], 2)` is a, b, a,
# b: every number gets a stranger's scale, and nothing complains.

# %% tags=["solution-only"]
numbers = dequantize_blocks(
    jnp.array([127, 0, -64, 127, -127, 32, -127], jnp.int8), jnp.array([2, 10, 0.5]), 3
)
assert jnp.allclose(numbers, jnp.array([2, 0, -1.008, 10, -10, 2.52, -0.5]), atol=0.001)

# %% [markdown]
# ## Part 3: Round with a coin · ★★☆ · 10 minutes
#
# A weight that is kept in whole codes is to move by 0.1. To the nearest, it stays where it is,
# today and for ever. The remedy is to go up with a *probability* of 0.1.
#
# Write `round_by_coin(x, u)`. The coins are given: `u` holds for each number a draw between 0 and 1
# (in real use, `jax.random.uniform(key, x.shape)`). Split each `x` into what is below it, the next
# whole number *down*, and its fraction. Go **up where `u` is less than the fraction**, otherwise
# down.
#
# | `x` | below | fraction | `u` | rounded |
# |---|---|---|---|---|
# | 2.3 | 2 | 0.3 | 0.25 | 3 |
# | 2.3 | 2 | 0.3 | 0.80 | 2 |
# | 5 | 5 | 0 | 0.01 | 5 |
# | −3.7 | ? | ? | 0.40 | ? |
#
# <details><summary>Answer</summary>
#
# Below −3.7 lies −4, and the fraction is 0.3, not 0.7. Since 0.40 is no less than 0.3 it goes down:
# −4.
#
# </details>
#
# Why is the mean right? Let the fraction be $f$. What is $f \cdot (\text{below} + 1) + (1 - f)
# \cdot \text{below}$?


# %%
def round_by_coin(x, u):
    """Stochastic rounding with given draws.

    x, u     (n,); u between 0 and 1
    returns  rounded (n,), whole numbers as floats
    """
    # SOLUTION
    below = jnp.floor(x)
    return below + (u < x - below)
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A comparison gives True and False, and these can be added to numbers: they count as 1 and 0.
#
# </details>
#
# <details><summary>Hint 2: below</summary>
#
# `jnp.floor` goes down, also below zero. A conversion to int goes *towards* zero, which is up for
# negative numbers.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     below    = floor(x)
#     fraction = x - below
#     return below + 1 where u < fraction, else below
#
# </details>

# %% tags=["check"]
check.round_by_coin(round_by_coin)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** $f \cdot (\text{below} + 1) + (1 - f) \cdot \text{below} = \text{below} + f =
# x$. A whole number has the fraction 0, and no `u` is less than that: it stays.
#
# $\lfloor x + u \rfloor$ has the same mean and is one operation shorter. But in float32 $x + u$ is
# rounded itself, and for a whole $x$ with $u$ just below 1 that may carry it up. Near 127 this
# happens now and then, and 128 is no code.

# %% tags=["solution-only"]
rounded = round_by_coin(jnp.array([2.3, 2.3, 5, -3.7]), jnp.array([0.25, 0.8, 0.01, 0.4]))
assert rounded.tolist() == [3, 2, 5, -4]
u = jax.random.uniform(jax.random.key(0), (10_000,))
assert abs(float(round_by_coin(jnp.full(10_000, 0.1), u).mean()) - 0.1) < 0.01
assert float(jnp.round(jnp.full(10_000, 0.1)).mean()) == 0  # to the nearest: a tenth lost

# %% [markdown]
# ## Part 4: When does swapping pay? · ★★☆ · 15 minutes
#
# The parameters of the next layer are on their way from the host while this one computes. If they
# arrive in time, swapping costs nothing. Let both layers have $P$ parameters. How many tokens
# (batch × length) must go through a layer in the **forward pass** for its computing to take *just
# as long* as the transfer?
#
# * The device does `flops` operations per second. Each parameter takes part in one multiplication
# and one addition for each token.
# * The link moves `bandwidth` bytes per second; a parameter has `n_bytes` bytes.
#
# Write `tokens_to_hide(flops, bandwidth, n_bytes)`. All three are arrays of shape `(n,)`, one entry
# for each of some machines, with `flops` and `bandwidth` both in units of 10⁹. The result has shape
# `(n,)` too.
#
# Before you reckon: a layer of twice the size takes twice as long to fetch. Does it need twice as
# many tokens?
#
# <details><summary>Answer</summary>
#
# No: it takes twice as long to compute as well. $P$ cancels, and is not among the arguments.
#
# </details>


# %%
def tokens_to_hide(flops, bandwidth, n_bytes):
    """Tokens for which computing a layer takes as long as fetching one.

    flops, bandwidth, n_bytes  (n,): operations/s, bytes/s (both in 10⁹), bytes of a parameter
    returns                    tokens (n,)
    """
    # SOLUTION
    seconds_to_fetch = n_bytes / bandwidth  # for each parameter
    seconds_for_a_token = 2 / flops  # for each parameter
    return seconds_to_fetch / seconds_for_a_token
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two times, in seconds, both for one parameter. What divided by what is a number of tokens?
#
# </details>
#
# <details><summary>Hint 2: the two times</summary>
#
# To fetch a parameter takes `n_bytes / bandwidth` seconds. To use it for one token takes two
# operations, `2 / flops` seconds.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     T · 2 / flops = n_bytes / bandwidth
#     solve for T
#
# </details>

# %% tags=["check"]
check.tokens_to_hide(tokens_to_hide)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** $T = \frac{b F}{2 W}$. The backward pass is more patient: it fetches the
# parameters again and sends a gradient back, twice the traffic; but it does three times the work,
# for it computes the layer anew and then two products in the place of each. So the forward pass
# sets the limit.
#
# Two things make swapping cheap: more tokens per fetch, and fewer bytes per parameter. The second
# is where this chapter's two halves meet.

# %% tags=["solution-only"]
answer = tokens_to_hide(jnp.array([100e3, 100e3]), jnp.array([25.0, 25.0]), jnp.array([4.0, 1.0]))
assert jnp.allclose(answer, jnp.array([8000, 2000]))

# %% [markdown]
# ## All together
#
# A row, quantized by your Part 1, is one block of your Part 2. So they must undo each other, up to
# half a code. `efftx.memory.quantize` and `quantize_blockwise` do the same with any axis, any shape
# and an optional key for your Part 3.


# %%
def there_and_back(x):
    """Each row of x through eight bits."""
    codes, absmax = quantize_rows(x)
    return dequantize_blocks(codes.ravel(), absmax, x.shape[1]).reshape(x.shape)


# %% tags=["check"]
check.there_and_back(there_and_back)
