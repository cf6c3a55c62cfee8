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
# * say how many tokens a batch needs for swapping to cost nothing;
# * predict when eight bits are too few.
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
# A row may consist of zeros. Its codes are zeros, and nothing divides 0 by 0 on the way: what int8
# nan becomes is not the same on every processor.


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

# %% tags=["mistakes"]
# It looks as if absmax were taken over the wrong axis: one for each column. Each row must have
# its own, so the maximum runs along axis 1.
# - jnp.abs(x).max(axis=1)
# + jnp.abs(x).max(axis=0)
# - absmax)[:, None]
# + absmax)[None, :]

# It looks as if all rows shared the absmax of the whole matrix. Each row must have its own.
# - jnp.abs(x).max(axis=1)
# + jnp.full(len(x), jnp.abs(x).max())

# It looks as if absmax were the largest number and not the largest magnitude. A row of negative
# numbers has one too: take the absolute value first.
# - jnp.abs(x).max(axis=1)
# + x.max(axis=1)

# It looks as if the codes were truncated: a conversion to int8 cuts the fraction off, towards
# zero. Round to the nearest whole number before you convert.
# - jnp.round(127 * x / scale).astype(jnp.int8)
# + (127 * x / scale).astype(jnp.int8)

# It looks as if the codes were always rounded down. Round to the nearest.
# - jnp.round(
# + jnp.floor(

# It looks as if 128 stood where 127 should. An int8 ends at 127, so the largest number of a row
# is cut to it, and all others do not fit to it.
# - jnp.round(127 *
# + jnp.round(128 *

# It looks as if 128 stood where 127 should: the largest number of a row gets the code 128, which
# an int8 does not have, and comes out as -128.
# - jnp.round(127 * x / scale).astype(jnp.int8)
# + np.round(128 * np.asarray(x / scale)).astype(np.int64).astype(np.int8)

# It looks as if the codes went up to 255. An int8 ends at 127; what is larger is cut to it.
# - jnp.round(127 *
# + jnp.round(255 *

# The codes are right, but it looks as if `absmax` were already divided by 127. Return the largest
# magnitude itself: it then comes back without any rounding.
# - return codes, absmax
# + return codes, absmax / 127

# It looks as if the numbers were not divided by their absmax: the codes must fill the range from
# -127 to 127.
# - 127 * x / scale
# + 127 * x

# It looks as if absmax were a mean magnitude. The largest must fit into 127 codes.
# - jnp.abs(x).max(axis=1)
# + jnp.abs(x).mean(axis=1)

# It looks as if absmax were the root of the mean square. The largest must fit into 127 codes.
# - jnp.abs(x).max(axis=1)
# + jnp.sqrt((x**2).mean(axis=1))

# It looks as if the range from the smallest to the largest number were cut into codes. Here the
# largest magnitude is 127, and 0 stays 0.
# - jnp.abs(x).max(axis=1)
# + x.max(axis=1) - x.min(axis=1)

# It looks as if absmax were the magnitude of the smallest number. First all magnitudes, then the
# largest.
# - jnp.abs(x).max(axis=1)
# + jnp.abs(x.min(axis=1))

# It looks as if the codes were those of the magnitudes: the signs are lost.
# - 127 * x / scale
# + 127 * jnp.abs(x) / scale

# It looks as if the codes were always rounded up. Round to the nearest.
# - jnp.round(
# + jnp.ceil(

# It looks as if the codes were rounded away from 0. Round to the nearest.
# - jnp.round(127 * x / scale)
# + (jnp.sign(x) * jnp.ceil(127 * jnp.abs(x) / scale))

# It looks as if x / absmax were rounded before it was multiplied by 127: nothing between is left.
# - jnp.round(127 * x / scale)
# + (127 * jnp.round(x / scale))

# It looks as if the codes ended at 126, or at 63: the largest magnitude of a row has the code
# ±127.
# - jnp.round(127 *
# + jnp.round(126 *
# or
# - jnp.round(127 *
# + jnp.round(63 *
# or
# - jnp.round(127 *
# + jnp.round(7 *

# The codes are right, but it looks as if `absmax` of a row of zeros were 1. It is 0; only the
# division needs another number.
# - return codes, absmax
# + return codes, scale[:, 0]

# The codes are right, but it looks as if `absmax` were the scale turned round, 127 / absmax or 1 /
# absmax.
# - return codes, absmax
# + return codes, 127 / scale[:, 0]
# or
# - return codes, absmax
# + return codes, 1 / scale[:, 0]

# It looks as if half a code had been added before rounding to the nearest.
# - jnp.round(127 * x / scale)
# + jnp.round(127 * x / scale + 0.5)

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
# <details><summary>Hint 4: round, then convert</summary>
#
# `jnp.round` gives floats that are whole; `.astype(jnp.int8)` makes codes of them. In the other
# order there is nothing left to round. Which of the two arrays that you return knows nothing of
# the 127?
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

# %% tags=["mistakes"]
# It looks as if the codes were not rescaled: they were divided by 127, but not multiplied by the
# absmax of their block.
# - codes / 127 * absmax_of_each
# + codes / 127

# It looks as if the division by 127 were missing: code 127 stands for absmax, not for 127 times
# absmax.
# - codes / 127 * absmax_of_each
# + codes * absmax_of_each

# It looks as if the codes were divided by 128. The largest code is 127, so that it comes back as
# absmax itself.
# - codes / 127 * absmax_of_each
# + codes / 128 * absmax_of_each

# It looks as if the absmax were dealt out like cards, one number to each block in turn. A block
# is block_len numbers in a row: jnp.repeat, not jnp.tile.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + jnp.tile(absmax, block_len)[: len(codes)]

# It looks as if every block used the absmax of the first.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + absmax[0]

# It looks as if every block used the largest absmax of all. Each has its own.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + absmax.max()

# It looks as if the codes were divided by absmax. To quantize, we divided by it; to come back,
# multiply.
# - codes / 127 * absmax_of_each
# + codes / 127 / absmax_of_each

# It looks as if every number used the absmax of the next block, or of the one before.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + jnp.repeat(jnp.roll(absmax, 1), block_len)[: len(codes)]
# or
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + jnp.repeat(jnp.roll(absmax, -1), block_len)[: len(codes)]

# It looks as if every block used the absmax of the last.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + absmax[-1]

# It looks as if every block used the mean of all absmax. Each has its own.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + absmax.mean()

# It looks as if the codes were divided by 255. The largest code is 127.
# - codes / 127 * absmax_of_each
# + codes / 255 * absmax_of_each

# It looks as if the codes were divided by 256. The largest code is 127.
# - codes / 127 * absmax_of_each
# + codes / 256 * absmax_of_each

# It looks as if absmax were divided by the code, or the code by 127 twice.
# - codes / 127 * absmax_of_each
# + codes / 127 / 127 * absmax_of_each

# It looks as if whole numbers were divided with a remainder: a code below 127 became 0 or -1.
# - codes / 127 * absmax_of_each
# + codes // 127 * absmax_of_each

# It looks as if the product were rounded. The numbers that come back are no whole numbers.
# - codes / 127 * absmax_of_each
# + jnp.round(codes / 127 * absmax_of_each)

# It looks as if the codes were multiplied with 127.
# - codes / 127 * absmax_of_each
# + codes * 127 * absmax_of_each

# It looks as if the blocks were counted from the end: the short one comes last.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + jnp.repeat(absmax, block_len)[-len(codes):]

# It looks as if the blocks' absmax were taken in reverse order.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + jnp.repeat(absmax[::-1], block_len)[: len(codes)]

# It looks as if the signs were lost.
# - codes / 127 * absmax_of_each
# + abs(codes / 127) * absmax_of_each

# It looks as if there were as many blocks as a block is long: number i lies in block i //
# block_len.
# - jnp.repeat(absmax, block_len)[: len(codes)]
# + absmax[jnp.minimum(jnp.arange(len(codes)) // len(absmax), len(absmax) - 1)]

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
# <details><summary>Hint 4: two factors</summary>
#
# A code of 127 stands for absmax itself and a code of 0 for 0. What does the code −64 stand for,
# in a block with absmax 2? Do for all numbers at once what you have just done for one.
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

# %% tags=["mistakes"]
# It looks as if up and down were exchanged, and whole numbers went up too. Up where u is less
# than the fraction.
# - u < x
# + u > x

# It looks as if up and down were exchanged: a number just above a whole one must rarely go up. Up
# where u is less than the fraction.
# - below + (u < x - below)
# + below + ((u > x - below) & (x > below))

# It looks as if a number went up where u *equals* its fraction. Less is asked for: a draw may be 0,
# and a whole number, whose fraction is 0, must stay.
# - u < x
# + u <= x

# It looks as if every number went to the nearest whole one, whatever u says. That is biased: 0.1
# becomes 0 every time, and its tenth is lost.
# - below + (u < x - below)
# + jnp.round(x)

# It looks as if every number were rounded down, whatever u says. On average half a step is lost.
# - below + (u < x - below)
# + below

# It looks as if u were added and the sum rounded to the nearest. On average that is half a step
# too much: u has the mean 1/2, so you would have to subtract it, or round down.
# - below + (u < x - below)
# + jnp.round(x + u)

# It is unbiased, and yet not what is asked: floor(x + u) goes up where u is *large*, at least 1
# minus the fraction. So that all answers agree, go up where u is less than the fraction.
# - below + (u < x - below)
# + jnp.floor(x + u)

# It looks as if negative numbers were cut towards zero: of -3.7, what is below is -4, and the
# fraction is 0.3. Use floor, not a conversion to int.
# - jnp.floor(x)
# + jnp.trunc(x)

# It looks as if the coin were always fair: half of the numbers go up, whatever their fraction.
# 0.1 must go up once in ten times.
# - below + (u < x - below)
# + below + ((u < 0.5) & (x > below))

# It looks as if one coin decided for all numbers. Each has its own: u[i] for x[i].
# - (u < x
# + (u[0] < x

# It looks as if noise were added, but nothing rounded: the result must be whole numbers.
# - below + (u < x - below)
# + x + u - 0.5

# It looks as if every number were rounded up, whatever u says.
# - below + (u < x - below)
# + jnp.ceil(x)

# It looks as if u were compared with x itself, and not with its fraction.
# - u < x - below
# + u < x

# It looks as if u were compared with the magnitude's fraction. Below -3.7 lies -4, and the
# fraction is 0.3.
# - u < x - below
# + u < jnp.abs(x) % 1

# It looks as if numbers that go up went to 1, or those that go down to 0: what is below was not
# added.
# - return below + (u
# + return 0.0 + (u

# It looks as if what goes up went up by 2: the next whole number is below + 1.
# - below + (u < x - below)
# + below + 2 * (u < x - below)

# It looks as if those that go up kept their fraction: x + 1 is not whole.
# - below + (u < x - below)
# + jnp.where(u < x - below, x + 1, below)

# It looks as if the same were done twice: once rounded to the nearest, and then by the coin.
# - jnp.floor(x)
# + jnp.round(x)

# It looks as if u were taken off and the rest rounded down. Where u is less than the fraction it
# goes up.
# - below + (u < x - below)
# + jnp.floor(x - u)

# It looks as if up and down were turned round for negative numbers: up is towards larger numbers.
# - below + (u < x - below)
# + jnp.sign(x) * (jnp.floor(jnp.abs(x)) + (u < jnp.abs(x) % 1))

# It looks as if the fraction were taken from the number above: it is the distance from what is
# below.
# - u < x - below
# + u < jnp.ceil(x) - x

# It looks as if 1 were taken off where it should be added.
# - below + (u < x - below)
# + below - (u < x - below)

# It looks as if the fraction were returned, or added, and not rounded.
# - below + (u < x - below)
# + x - below

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
# <details><summary>Hint 3: what is added</summary>
#
# The result is what is below, and something that is either 0 or 1. Which comparison is True in the
# first row of the table and False in the other three?
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

# %% tags=["mistakes"]
# It looks as if a parameter did one operation for each token. It does two, a multiplication and
# an addition.
# - 2 / flops
# + 1 / flops

# It looks as if the backward pass were counted too, with six operations. Asked is the forward
# pass alone: two.
# - 2 / flops
# + 6 / flops

# It looks as if the ratio were upside down: a faster processor needs *more* tokens to be busy
# while it waits.
# - seconds_to_fetch / seconds_for_a_token
# + seconds_for_a_token / seconds_to_fetch

# It looks as if the bytes of a parameter played no part. In half the bytes it travels in half the
# time.
# - n_bytes / bandwidth
# + 1 / bandwidth

# It looks as if n_bytes stood on the wrong side: larger parameters take longer to arrive, so more
# tokens are needed.
# - n_bytes / bandwidth
# + 1 / n_bytes / bandwidth

# It looks as if the transfer were multiplied by the bandwidth. Seconds are bytes divided by bytes
# per second.
# - n_bytes / bandwidth
# + n_bytes * bandwidth

# It looks as if bytes were turned into bits. The bandwidth is in bytes per second too.
# - n_bytes / bandwidth
# + 8 * n_bytes / bandwidth

# It looks as if a parameter did four operations for each token. It does two.
# - 2 / flops
# + 4 / flops

# It looks as if a parameter did three operations for each token. It does two.
# - 2 / flops
# + 3 / flops

# It looks as if the two factors 2 met, and the one in the denominator went up: more operations for
# each token mean fewer tokens.
# - 2 / flops
# + 0.5 / flops

# It looks as if flops and bandwidth were exchanged.
# - n_bytes / bandwidth
# + n_bytes / flops
# - 2 / flops
# + 2 / bandwidth

# It looks as if both times were added. Their quotient is a number of tokens.
# - seconds_to_fetch / seconds_for_a_token
# + seconds_to_fetch + seconds_for_a_token

# It looks as if the two times were multiplied with each other. Divide one by the other.
# - seconds_to_fetch / seconds_for_a_token
# + seconds_to_fetch * seconds_for_a_token

# It looks as if the time for one token were taken off. Asked is how many of them fit.
# - seconds_to_fetch / seconds_for_a_token
# + seconds_to_fetch / seconds_for_a_token - 1

# It looks as if units were converted. Both flops and bandwidth are in 10⁹, and these cancel.
# - seconds_to_fetch / seconds_for_a_token
# + 1e9 * seconds_to_fetch / seconds_for_a_token
# or
# - seconds_to_fetch / seconds_for_a_token
# + seconds_to_fetch / seconds_for_a_token / 1e9

# It looks as if the time to fetch alone were returned, in seconds. How many tokens fit into it?
# - return seconds_to_fetch / seconds_for_a_token
# + return seconds_to_fetch

# It looks as if the tokens were rounded. They need not be whole: the times are to be equal.
# - return seconds_to_fetch / seconds_for_a_token
# + return jnp.ceil(seconds_to_fetch / seconds_for_a_token)
# or
# - return seconds_to_fetch / seconds_for_a_token
# + return jnp.floor(seconds_to_fetch / seconds_for_a_token)

# It looks as if the parameters' bytes were squared.
# - n_bytes / bandwidth
# + n_bytes**2 / bandwidth

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
# <details><summary>Hint 3: solve for T</summary>
#
# Let $T$ tokens go through. Then using the parameter takes $T$ times as long as for one token, and
# that is to equal the time to fetch it.
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

# %% [markdown]
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# One number can spoil a row. Take 4,096 numbers from a normal distribution with standard deviation
# 1, and let one of them grow: 4, 8, 16, … That number is the absmax, so it sets the size of every
# other number's code. Sooner or later the others are so small beside it that their code is 0.
#
# **Predict before you run the next cells:** how large is that one number when *half* of all come
# back as 0? You are right if you are off by a factor of 1.5 at most. Half of all normal numbers lie
# between -0.67 and 0.67.
#
# <details><summary>Hint 1: which numbers become 0?</summary>
#
# Those that are nearer to code 0 than to code 1. How large a number does code 1 stand for?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # standard deviations

# %% tags=["solution-only"]
# Code 1 stands for absmax / 127. Whatever is below half of that becomes 0, and half of all numbers
# are below 0.67: absmax / 254 = 0.67.
my_guess = 0.67 * 254

# %% tags=["check"]
from efftx.check import swapping_and_quantization_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.one_outlier.predicted(my_guess)
lost = {
    way: {size: experiment.lost(way, size) for size in experiment.SIZES} for way in experiment.WAYS
}
show(
    draw_experiment(lost, "one number", "share", predicted=predicted, limit=("half", 0.5), log="x"),
    "The share of 4,096 normal numbers that come back as 0, against the size of one that grows, on "
    "a logarithmic axis. With one absmax it rises from 1% at size 4 to 37% at 128, 68% at 256, and "
    "nearly all. In blocks of 64 it stays near 2%: only one block is lost.",
)

# %% tags=["check"]
check.one_outlier(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** Trained networks do have such numbers, a few features a hundred times as large
# as all others. Blocks keep the damage among neighbours: 63 of 4,096 pay for the one.
