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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     outputs = an empty list
#     for start = 0, m, 2m, … while it is below the length:
#         append layer(rows start to start + m of x)
#     return the outputs, one below the other
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     g_w1, g_b1, g_w2 = zeros
#     for each chunk x_i of x, and the same rows g_i of g:
#         a    = x_i w1 + b1
#         g_a  = g_i times w2 transposed, where a > 0; 0 elsewhere
#         g_w1 = g_w1 + x_i transposed times g_a
#         g_b1 = g_b1 + sum of g_a over its rows
#         g_w2 = g_w2 + ReLU(a) transposed times g_i
#         append g_a times w1 transposed
#     return g_w1, g_b1, g_w2, what was appended, one below the other
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     total = 0
#     for each chunk x_i of x, and the same entries t of targets:
#         scores = x_i times w
#         total  = total + sum of (logsumexp of each row - the row's entry t)
#     return total / length
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
