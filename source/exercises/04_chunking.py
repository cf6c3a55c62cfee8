# %% [markdown]
# # Exercise 04 · Chunking
#
# <!-- measured -->
#
# In [the chapter](../chapters/04_chunking.ipynb) a feed-forward layer and a loss took their
# positions chunk by chunk, and JAX found the backward pass. Here you write both passes yourself.
# Afterwards you can
#
# * run any position-wise layer in the memory of a few positions, whatever the length;
# * write its backward pass in chunks by hand, and say what has to be added up in it;
# * take the loss of a language model without ever having all its scores.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# Plain Python loops are fine here. The last section says what separates them from the fast version.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import chunking as check

# %% [markdown]
# ## Part 1: A layer in chunks · ★☆☆ · 10 minutes
#
# Write `in_chunks(layer, x, chunk_len)`. `layer` is a function of some positions, `(n, d_in)` to
# `(n, d_out)`, that treats each of them by itself. It has room for `chunk_len` positions at a time;
# give it more, and it raises an error. Return what it would make of all rows of `x`, in their
# order.
#
# The length need not be a multiple of `chunk_len`. For a length of 5 and chunks of 2:
#
# | call | rows of `x` |
# |---|---|
# | first | 0, 1 |
# | second | 2, 3 |
# | third | ? |
#
# What belongs in the place of the question mark: one row, two, or two of which one is made up?
#
# <details><summary>Answer</summary>
#
# One, row 4. Nothing has to be made up: the layer takes any number of positions, as long as they
# are not too many.
#
# </details>


# %%
def in_chunks(layer, x, chunk_len):
    """What the layer makes of all positions, chunk_len of them at a time.

    layer    a function, (n, d_in) -> (n, d_out) for n up to chunk_len
    x        (length, d_in)
    returns  (length, d_out)
    """
    # SOLUTION
    chunks = [layer(x[start : start + chunk_len]) for start in range(0, len(x), chunk_len)]
    return jnp.concatenate(chunks)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if every chunk were the first one: see row {0}. Does the start of the slice move on?
# - layer(x[start : start + chunk_len])
# + layer(x[: min(chunk_len, len(x) - start)])

# It looks as if the chunks were joined in the wrong order, the last one first.
# - jnp.concatenate(chunks)
# + jnp.concatenate(chunks[::-1])

# It looks as if the rest were filled with rows of zeros, or replaced by them: row {0} is what the
# layer makes of zeros. Give it the rows that are there, however few.
# - layer(x[start
# + layer(jnp.pad(x[:len(x) // chunk_len * chunk_len], [(0, -len(x) // chunk_len * -chunk_len), (0, 0)])[:len(x)][start

# It looks as if the rows inside each chunk were turned round: see row {0}.
# - jnp.concatenate(chunks)
# + jnp.concatenate([chunk[::-1] for chunk in chunks])

# It looks as if the layer had been applied to x's rows in reverse order: see row {0}.
# - layer(x[start : start + chunk_len])
# + layer(x[::-1][start : start + chunk_len])

# It looks as if the outputs of the chunks were averaged or added up. Each position has its own:
# see row {0}.
# - jnp.concatenate(chunks)
# + jnp.concatenate([jnp.broadcast_to(chunk.mean(0), chunk.shape) for chunk in chunks])
# or
# - jnp.concatenate(chunks)
# + jnp.concatenate([jnp.broadcast_to(chunk.sum(0), chunk.shape) for chunk in chunks])

# It looks as if the chunks began one row too late, and the first row came last: see row {0}.
# - layer(x[start : start + chunk_len])
# + layer(jnp.roll(x, -1, axis=0)[start : start + chunk_len])

# It looks as if only the first chunk were there, and all behind it were 0.
# - jnp.concatenate(chunks)
# + jnp.concatenate([chunks[0], *(0 * chunk for chunk in chunks[1:])])

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# At which rows do the chunks start? `range` can count in steps.
#
# </details>
#
# <details><summary>Hint 2: the last chunk</summary>
#
# A slice may reach over the end: `x[4:6]` of five rows is the one row that is there.
#
# </details>
#
# <details><summary>Hint 3: step by step</summary>
#
# `for start in range(0, len(x), chunk_len)` gives 0, 2, 4 for five rows and chunks of 2. Which
# slice of `x` belongs to a start? `jnp.concatenate` puts a list of arrays one below the other.
#
# </details>

# %% tags=["check"]
check.in_chunks(in_chunks)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The layer treats each position by itself, so row $i$ of its output is the
# same in whatever company row $i$ of $x$ comes. The slices hold every row once, in order, and
# joining them one below the other keeps the order.

# %% [markdown]
# ## Part 2: Its gradients in chunks · ★★★ · 25 minutes
#
# Now the backward pass of a feed-forward layer,
#
# $$a = x W_1 + b_1, \qquad y = \text{ReLU}(a)\, W_2.$$
#
# Let $g$ be the gradient of the loss with respect to $y$. Going backwards, the chain rule gives,
# for any set of positions,
#
# | gradient with respect to | |
# |---|---|
# | $W_2$ | $\text{ReLU}(a)^\top g$ |
# | $a$ | $g\, W_2^\top$ where $a > 0$, and 0 elsewhere; call it $g_a$ |
# | $b_1$ | the sum of $g_a$ over the positions |
# | $W_1$ | $x^\top g_a$ |
# | $x$ | $g_a W_1^\top$ |
#
# You get $x$ and $g$ but not $a$: it was not kept. So compute it anew, for one chunk at a time, and
# let no array of yours with $d_\text{ff}$ columns have more than `chunk_len` rows.
#
# Two kinds of results come out of a chunk. Before you write anything: which of the four have one
# row for each position, and which have no positions? What must happen to each kind at the end?
#
# <details><summary>Answer</summary>
#
# The gradient of $x$ has a row for each position: the chunks' results are put one below the other.
# The gradients of $W_1$, $b_1$ and $W_2$ have none. Every position had a part in the loss through
# the same weights, so the parts are added up.
#
# </details>


# %%
def gradients_in_chunks(w1, b1, w2, x, g, chunk_len):
    """The backward pass of y = ReLU(x w1 + b1) w2.

    w1 (d_model, d_ff);  b1 (d_ff,);  w2 (d_ff, d_model)
    x  (length, d_model): the input;  g (length, d_model): the gradient with respect to y
    returns  the gradients of w1, b1, w2 and x, in this order
    """
    # SOLUTION
    g_w1, g_b1, g_w2, g_x = jnp.zeros_like(w1), jnp.zeros_like(b1), jnp.zeros_like(w2), []
    for start in range(0, len(x), chunk_len):
        x_i, g_i = x[start : start + chunk_len], g[start : start + chunk_len]
        a = x_i @ w1 + b1
        g_a = jnp.where(a > 0, g_i @ w2.T, 0)
        g_w1 += x_i.T @ g_a
        g_b1 += g_a.sum(axis=0)
        g_w2 += jax.nn.relu(a).T @ g_i
        g_x.append(g_a @ w1.T)
    return g_w1, g_b1, g_w2, jnp.concatenate(g_x)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if only the last chunk counted in the gradients of the weights: they were
# overwritten. Each chunk has a part in them; add the parts up.
# - += x_i.T
# + = x_i.T
# - += g_a.sum
# + = g_a.sum
# - += jax.nn
# + = jax.nn

# It looks as if the chunks were averaged. The gradient of the weights is the sum of the chunks'
# parts, not their mean.
# - return g_w1, g_b1, g_w2, jnp
# + n = len(g_x)
# +     return g_w1 / n, g_b1 / n, g_w2 / n, jnp

# It looks as if the slope of the ReLU were forgotten. The gradient of the inside is g W2ᵀ only
# where the inside is positive, and 0 elsewhere.
# - jnp.where(a > 0, g_i @ w2.T, 0)
# + g_i @ w2.T

# It looks as if the slope of the ReLU were taken from the gradient. What counts is the sign of
# the inside, x W1 + b1, which you have to compute anew.
# - jnp.where(a > 0, g_i @ w2.T, 0)
# + jax.nn.relu(g_i @ w2.T)

# It looks as if the gradient of W2 were made from x W1 + b1 before the ReLU. W2 is multiplied
# with what comes after it.
# - jax.nn.relu(a).T
# + a.T

# It looks as if b1 were forgotten when the inside was computed anew.
# - x_i @ w1 + b1
# + x_i @ w1

# It looks as if the gradient of W1 were made with the x of the first chunk every time. Take the
# chunk's own.
# - x_i.T @ g_a
# + x[: len(x_i)].T @ g_a

# It looks as if only the first chunk counted in the gradients of the weights.
# - return g_w1, g_b1, g_w2, jnp
# + g_w1, g_b1, g_w2, _ = gradients_in_chunks(w1, b1, w2, x[:chunk_len], g[:chunk_len], chunk_len) if len(x) > chunk_len else (g_w1, g_b1, g_w2, x)
# +     return g_w1, g_b1, g_w2, jnp

# It looks as if the gradient of W1 were made with g in the place of x. It is xᵀ g_a.
# - x_i.T @ g_a
# + g_i.T @ g_a

# It looks as if the gradient of W2 were made with g_a. It is ReLU(a)ᵀ g, with the g that came in.
# - jax.nn.relu(a).T @ g_i
# + jax.nn.relu(a).T @ (g_a @ w2)

# It looks as if the gradient of b1 were a mean over the positions. It is a sum.
# - g_b1 += g_a.sum(axis=0)
# + g_b1 += g_a.mean(axis=0)

# It looks as if the gradient of b1 were the sum of a. It is the sum of g_a.
# - g_b1 += g_a.sum(axis=0)
# + g_b1 += a.sum(axis=0)

# It looks as if the gradient of b1 were the sum of the slopes. It is the sum of g_a.
# - g_b1 += g_a.sum(axis=0)
# + g_b1 += (a > 0).sum(axis=0)

# The gradients of the weights are right. It looks as if the gradient of x had no slope of the ReLU
# in it: it is g_a W1ᵀ.
# - g_x.append(g_a @ w1.T)
# + g_x.append(g_i @ w2.T @ w1.T)

# It looks as if the gradient of x were made from a. It is g_a W1ᵀ.
# - g_x.append(g_a @ w1.T)
# + g_x.append(a @ w1.T)

# The gradients of the weights are right, but it looks as if those of x stood in the wrong order.
# - jnp.concatenate(g_x)
# + jnp.concatenate(g_x[::-1])

# It looks as if the gradients of the weights were divided by the number of positions. They are
# sums; a mean would have been in the loss.
# - return g_w1, g_b1, g_w2, jnp
# + return g_w1 / len(x), g_b1 / len(x), g_w2 / len(x), jnp

# It looks as if the signs were turned round: the gradient is 0 where the inside is *not* positive.
# - a > 0
# + a < 0

# It looks as if the slope of the ReLU were 1 at 0, too. It is 1 where the inside is positive, 0
# elsewhere.
# - a > 0
# + a >= 0

# It looks as if the slope of the ReLU were taken where the inside is larger than 1. It is 1 from 0
# on.
# - a > 0
# + a > 1

# It looks as if the gradient of W2 had the slope of the ReLU in it and not its value.
# - jax.nn.relu(a).T
# + (a > 0).astype(a.dtype).T

# It looks as if the g of the first chunk were used every time. Cut x and g in the same place.
# - g[start : start + chunk_len]
# + g[: len(x[start : start + chunk_len])]

# It looks as if the gradient of x were multiplied by the ReLU's value instead of masked by its
# slope.
# - jnp.where(a > 0, g_i @ w2.T, 0)
# + g_i @ w2.T * jax.nn.relu(a)

# It looks as if b1 were taken off instead of added when the inside was computed anew.
# - x_i @ w1 + b1
# + x_i @ w1 - b1

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write it for one chunk first, that is for all of $x$. The table has it line by line. Then put a
# loop around it.
#
# </details>
#
# <details><summary>Hint 2: the ReLU</summary>
#
# `jnp.where(a > 0, something, 0)` is `something` where $a$ is positive. The $a$ of the chunk, not
# that of the gradient.
#
# </details>
#
# <details><summary>Hint 3: adding up</summary>
#
# Start with three arrays of zeros, `jnp.zeros_like(w1)` and so on, and an empty list. In every turn
# of the loop add to the arrays, and append to the list.
#
# </details>
#
# <details><summary>Hint 4: order</summary>
#
# Go down the table for one chunk: which of its rows need $g_a$? Compute that first. Then the four
# results are one line each, three with `+=` and one with `append`. And what has to be computed
# before $g_a$, since nobody has kept it?
#
# </details>

# %% tags=["check"]
check.gradients_in_chunks(gradients_in_chunks)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Look at $W_2$. Entry $(k, j)$ of its gradient is
# $\sum_i \text{ReLU}(a_{ik})\, g_{ij}$, a sum over all positions $i$. A sum may be taken in pieces,
# and a matrix product over a chunk is one piece. It is the same with $W_1$ and $b_1$.
#
# The price is the line `a = …`: the forward pass had computed it already. The matrix product with
# $W_2$ need not be repeated, since nobody asks for $y$ again. So the layer takes seven products in
# place of six.

# %% tags=["solution-only"]
keys = jax.random.split(jax.random.key(0), 5)
shapes = {"w1": (8, 32), "b1": (32,), "w2": (32, 8), "x": (45, 8), "g": (45, 8)}
arrays = {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}
*inputs, g = arrays.values()
_, pull_back = jax.vjp(lambda w1, b1, w2, x: jax.nn.relu(x @ w1 + b1) @ w2, *inputs)
ours = gradients_in_chunks(*inputs, g, chunk_len=16)
for mine, by_jax in zip(ours, pull_back(g), strict=True):
    assert jnp.allclose(mine, by_jax, rtol=1e-4, atol=1e-4)

# %% [markdown]
# ## Part 3: A loss in chunks · ★★☆ · 15 minutes
#
# The loss of a language model is the mean, over all positions, of
#
# $$-\log p(t) = \log \sum_v e^{z_v} - z_t, \qquad z = x W.$$
#
# Here $z$ holds a score for every token of the vocabulary, and $t$ is the token that really came.
# Write `loss_in_chunks(w, x, targets, chunk_len)`. It returns one number. No array of yours with
# `vocab` columns may have more than `chunk_len` rows.
#
# Be careful with the mean. Five positions have the losses 1, 1, 1, 1 and 6, and the chunks hold 2:
#
# | | chunk 1 | chunk 2 | chunk 3 | together |
# |---|---|---|---|---|
# | losses | 1, 1 | 1, 1 | 6 | mean 2 |
# | mean of each chunk | 1 | 1 | 6 | mean ? |
#
# <details><summary>Answer</summary>
#
# 8/3 = 2.67. The lonely position of the last chunk has got as much weight as two others.
#
# </details>


# %%
def loss_in_chunks(w, x, targets, chunk_len):
    """The mean of −log p(target).

    w        (d_model, vocab): the scores of a position are x @ w
    x        (length, d_model);  targets (length,), whole numbers from 0 to vocab - 1
    returns  (), one number
    """
    # SOLUTION
    total = 0.0
    for start in range(0, len(x), chunk_len):
        scores = x[start : start + chunk_len] @ w
        t = targets[start : start + chunk_len]
        chosen = jnp.take_along_axis(scores, t[:, None], axis=1)[:, 0]
        total += (jax.nn.logsumexp(scores, axis=1) - chosen).sum()
    return total / len(x)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if you took the mean of the chunks' means. That is the mean over positions only if
# all chunks are equally long. Add up first, and divide by the length at the end.
# - (jax.nn.logsumexp(scores, axis=1) - chosen).sum()
# + (jax.nn.logsumexp(scores, axis=1) - chosen).mean() * len(x) / -(-len(x) // chunk_len)

# It looks as if the chunks' means were added up. Add up the losses of all positions, and divide
# by the length at the end.
# - (jax.nn.logsumexp(scores, axis=1) - chosen).sum()
# + (jax.nn.logsumexp(scores, axis=1) - chosen).mean()
# - total / len(x)
# + total

# It looks as if the sum were divided by the number of chunks. Divide by the number of positions.
# - total / len(x)
# + total / -(-len(x) // chunk_len)

# It looks as if the losses were added up and never divided by the length.
# - total / len(x)
# + total

# It looks as if the targets were not cut: every chunk had the first ones. Cut x and targets in
# the same place.
# - targets[start : start + chunk_len]
# + targets[: len(scores)]

# It looks as if the sign were wrong: the loss is −log p, which is never negative.
# - total / len(x)
# + -total / len(x)

# It looks as if the loss were in bits. Here it is in nats, with the natural logarithm.
# - total / len(x)
# + total / len(x) / jnp.log(2)

# It looks as if log Σ exp(z) were computed as it stands. Scores in the thousands make exp
# infinite. jax.nn.logsumexp takes the largest off first.
# - jax.nn.logsumexp(scores, axis=1)
# + jnp.log(jnp.exp(scores).sum(1))

# It looks as if the denominator were missing: −log p is log Σ exp(z) minus the target's score.
# - jax.nn.logsumexp(scores, axis=1) - chosen
# + -chosen

# It looks as if only the last chunk counted. Does the loop write over the total? Add up.
# - total += (
# + total = (

# It looks as if only the first chunk counted.
# - for start in range(0, len(x), chunk_len):
# + for start in [0]:

# It looks as if the sum were divided by chunk_len. Divide by the number of positions.
# - total / len(x)
# + total / chunk_len

# It looks as if the sum were divided by the size of the vocabulary. Divide by the number of
# positions.
# - total / len(x)
# + total / w.shape[1]

# It looks as if the loss were averaged over the vocabulary: all scores were taken off, and not the
# target's alone.
# - - chosen).sum()
# + - scores.mean(1)).sum()

# It looks as if the largest score stood in the place of log Σ exp(z).
# - jax.nn.logsumexp(scores, axis=1)
# + scores.max(axis=1)

# It looks as if the loss of the best token were taken, and not that of the target.
# - jnp.take_along_axis(scores, t[:, None], axis=1)[:, 0]
# + scores.max(axis=1)

# It looks as if the sum over the scores ran over the positions of the chunk. It runs over the
# vocabulary.
# - jax.nn.logsumexp(scores, axis=1) - chosen
# + jax.nn.logsumexp(scores, axis=0).sum() / len(scores) - chosen

# It looks as if the probability were averaged, and not minus its logarithm.
# - (jax.nn.logsumexp(scores, axis=1) - chosen).sum()
# + jnp.exp(chosen - jax.nn.logsumexp(scores, axis=1)).sum()

# It looks as if the logarithm were taken of the mean probability. Take it of each, then the mean.
# - return total / len(x)
# + return -jnp.log(total / len(x))
# - (jax.nn.logsumexp(scores, axis=1) - chosen).sum()
# + jnp.exp(chosen - jax.nn.logsumexp(scores, axis=1)).sum()

# It looks as if the chosen score were that of token 0. It is that of the target.
# - t[:, None], axis
# + 0 * t[:, None], axis

# It looks as if position i had the target of i + 1. They are in step here: targets[i] came at
# position i.
# - targets[start : start + chunk_len]
# + jnp.roll(targets, -1)[start : start + chunk_len]

# It looks as if position i had the target of i - 1. They are in step here: targets[i] came at
# position i.
# - targets[start : start + chunk_len]
# + jnp.roll(targets, 1)[start : start + chunk_len]

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Keep one running number: the sum of the losses so far. The division comes last.
#
# </details>
#
# <details><summary>Hint 2: the target's score</summary>
#
# `scores[jnp.arange(n), t]` takes one entry of each of the n rows, the one in column `t` of that
# row.
#
# </details>
#
# <details><summary>Hint 3: large scores</summary>
#
# $e^{1000}$ is infinite in float32. `jax.nn.logsumexp(scores, axis=1)` takes the largest score off
# first and adds it again afterwards.
#
# </details>
#
# <details><summary>Hint 4: the loop</summary>
#
# A turn needs the scores of a chunk, the targets of *the same* positions, and adds one number to
# the total. Nothing is divided within the loop.
#
# </details>

# %% tags=["check"]
check.loss_in_chunks(loss_in_chunks)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The mean is a sum over positions, divided once by their number. The sum may
# be taken in pieces of any size; a mean of means may not, unless the pieces are equally long.

# %% [markdown]
# ### What separates yours from the fast one
#
# A Python loop under `jax.jit` is unrolled: the program gets as long as there are chunks, and the
# compiler is free to compute several chunks at once, each in memory of its own.
# `efftx.memory.map_chunks` uses `lax.map`, a loop of the program itself, in which one chunk must be
# done before the next begins. And it leaves your Part 2 to autodiff: `jax.checkpoint` around a
# chunk says that its inside is to be computed anew.

# %% [markdown]
# ## Part 4: Break it · ★☆☆ · 10 minutes
#
# Half the chunk is half the memory. So why not chunks of one position? Here is a feed-forward
# layer of 16,384 positions, `d_model` 64 and `d_ff` 1,024, in float32. Its gradient is computed
# with `efftx.memory.map_chunks`, in chunks of 16,384, 8,192, 4,096 … positions. For each the
# compiler says how many bytes it needs beyond inputs and results.
#
# **Predict before you run the next cells:** the longest of these chunks at which half of it saves
# next to nothing (less than a tenth). From there on downwards shorter chunks are in vain. You are
# right if you are off by a factor of 2 at most.
#
# <details><summary>Hint 1: what a chunk cannot cut</summary>
#
# Some arrays of the layer have no `d_ff` columns. Which are they, and how many numbers has one?
#
# </details>
#
# <details><summary>Hint 2: when are two things equal?</summary>
#
# The inside of a chunk has `chunk_len` × 1,024 numbers; and how often is it there, on the way back?
# When is that as much as an array of 16,384 × 64?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # positions

# %% tags=["solution-only"]
# An array of all positions has 16,384 · 64 numbers, however long a chunk is. The inside of a chunk
# has chunk_len · 1,024, and on the way back it is there twice: itself, and its gradient.
my_guess = 16384 * 64 // (2 * 1024)

# %% tags=["check"]
from efftx.check import chunking_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.shortest_chunk.predicted(my_guess)
mib = {m: experiment.working_bytes(m) / 2**20 for m in experiment.CHUNK_LENS}
show(
    draw_experiment({"gradient": mib}, "chunk_len", "MiB", predicted=predicted),
    "Working memory of the layer's gradient against the length of its chunks, both axes "
    "logarithmic. Long chunks: half the chunk, half the memory. Short ones: a floor of 8 MiB.",
)

# %% tags=["check"]
check.shortest_chunk(my_guess)

# %% [markdown] tags=["solution-only"]
# **What the floor is made of.** Two arrays of 16,384 × 64 numbers, 4 MiB each: the layer's result,
# which the loss looks at, and its gradient. To get below the floor one must not have the whole
# result either: that is what Part 3 does with the scores, and a reversible layer with its streams.
