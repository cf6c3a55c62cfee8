# %% [markdown]
# # Exercise 09 · Reformer
#
# <!-- measured -->
#
# [The chapter](../chapters/09_reformer.ipynb) puts the Reformer together from parts that earlier
# exercises built. Here you write what only appears when the parts meet: positions for a million
# tokens, a reversible block whose attention hashes, and a cache that hashes, too. Afterwards you
# can
#
# * read a table of a million rows that stores two thousand;
# * write the backward pass of a Reformer's block, and say what it must not compute anew;
# * find the cached keys that a new query may attend to;
# * decode one token at a time, and get what the whole text would have given.
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

from efftx.check import reformer as check

# %% [markdown]
# ## Part 1: Axial positions · ★☆☆ · 10 minutes
#
# A model has to know where a token stands. The usual way is a table with a learned vector for each
# position. For a million positions of width 256 these are 268 million numbers, some sixty times as
# many as all the rest of the chapter's Reformer.
#
# The Reformer lays the positions out as the cells of a rectangle, line by line, and learns one
# vector for each line and one for each column. Position $i$ gets the sum of its line's and its
# column's vector. The table `first` holds the $n_1$ lines, `second` the $n_2$ columns.
#
# With $n_1 = 2$ lines and $n_2 = 3$ columns:
#
# | | column 0 | column 1 | column 2 |
# |---|---|---|---|
# | **line 0** | position 0 | position 1 | position 2 |
# | **line 1** | position 3 | position 4 | position 5 |
#
# Which line and which column does position 4 read? By which of the two numbers do you divide, 2 or
# 3?
#
# <details><summary>Answer</summary>
#
# Line 1, column 1: $4 = 1 \cdot 3 + 1$. A line has three positions, as many as there are columns,
# so one divides by $n_2 = 3$, the number of rows of `second`.
#
# </details>
#
# Write `axial_rows(first, second, i)`, which returns the vectors of the positions `i`, an array of
# whole numbers below $n_1 n_2$ in any order. Do not build the whole table.


# %%
def axial_rows(first, second, i):
    """Rows i of the table that first and second stand for.

    first    (n1, d): a vector for each line
    second   (n2, d): a vector for each column
    i        (n,) whole numbers, the positions
    returns  (n, d)
    """
    # SOLUTION
    n2 = len(second)
    return first[i // n2] + second[i % n2]
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# The number of the line is how often a whole line fits into $i$. The number of the column is what
# is left over.
#
# </details>
#
# <details><summary>Hint 2: in Python</summary>
#
# `i // n2` is the quotient without its fraction, `i % n2` the rest. Both work on arrays.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     n2 = number of rows of second
#     return (row i // n2 of first) + (row i % n2 of second)
#
# </details>

# %% tags=["check"]
check.axial_rows(axial_rows)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Division with a rest is unique: every $i$ below $n_1 n_2$ is $a\, n_2 + b$
# for exactly one $a < n_1$ and one $b < n_2$. So no two positions read the same pair of rows. The
# table of sums has $n_1 n_2$ rows and $n_1 + n_2$ are stored.
#
# What is lost? The rows are no longer free. Position 4 is determined by positions 0, 1 and 3:

# %% tags=["solution-only"]
first, second = jax.random.normal(jax.random.key(0), (2, 3, 8))
row = axial_rows(first, second, jnp.arange(9))
assert jnp.allclose(row[4], row[3] + row[1] - row[0], atol=1e-5)

# %% [markdown]
# ## Part 2: The backward pass of a block that hashes · ★★★ · 25 minutes
#
# The Reformer's block has two streams,
#
# $$y_1 = x_1 + \text{Attention}(x_2), \qquad y_2 = x_2 + \text{FeedForward}(y_1),$$
#
# and its backward pass starts from $y_1, y_2$ and the gradients $g_1, g_2$ of the loss with respect
# to them. It has to find the streams $x_1, x_2$ *and* their gradients. In
# [exercise 03](03_reversible_layers.ipynb) you did that for one coupling at a time.
#
# What is new is that this attention **hashes**. Called as `block.attention(x)` it puts every vector
# into a bucket and returns `(y, buckets)`. Called as `block.attention(x, buckets)` it hashes
# nothing and uses the buckets that it is given. You get the `buckets` of the forward pass.
#
# Suppose that on the way up a vector's two best axes had the values 0.70000001 and 0.70000000. The
# rebuilt vector is off in the last digit. What happens to the block's $x_1$ if you hash it again?
#
# <details><summary>Answer</summary>
#
# The argmax may turn round, so the position lands in another bucket and attends to other keys. Then
# something else is subtracted than was added: $x_1$ is not off in its last digit, but altogether
# wrong at this position, and wrong for its former and its new neighbours as well. (The check makes
# that easy to see: its $y_1$ and $y_2$ are rounded to one decimal.)
#
# </details>
#
# Write `block_backward(block, y1, y2, buckets, g1, g2)`, which returns `(x1, x2, g_x1, g_x2)`.
#
# For the gradients remember how they flow: $y_1$ goes on to the loss directly, with gradient $g_1$,
# *and* through the feed-forward layer into $y_2$. And $x_2$ goes into $y_2$ directly, and through
# attention into $y_1$.


# %%
def block_backward(block, y1, y2, buckets, g1, g2):
    """What went into a Reformer's block, and its gradients; the block's weights get none here.

    block    has .attention(x, buckets) -> (y, buckets) and .feed_forward(x) -> y
    y1, y2   (length, d): what the block left;  g1, g2 (length, d): their gradients
    buckets  (length,) of the forward pass
    returns  x1, x2, g_x1, g_x2, each (length, d)
    """
    # SOLUTION
    y, pull_back = jax.vjp(block.feed_forward, y1)
    x2 = y2 - y
    g_y1 = g1 + pull_back(g2)[0]
    y, pull_back = jax.vjp(lambda x: block.attention(x, buckets)[0], x2)
    x1 = y1 - y
    g_x2 = g2 + pull_back(g_y1)[0]
    return x1, x2, g_y1, g_x2
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Leave the gradients aside at first. Of the two equations above you can solve only one at once.
# Which?
#
# </details>
#
# <details><summary>Hint 2: two for one</summary>
#
# `y, pull_back = jax.vjp(f, x)` gives $y = f(x)$, which you have to subtract anyway, and a
# function: `pull_back(g)` is a tuple with one entry, the gradient of $x$ if that of $y$ is $g$.
#
# </details>
#
# <details><summary>Hint 3: attention returns two things</summary>
#
# Only the first is to be differentiated: `lambda x: block.attention(x, buckets)[0]`.
#
# </details>
#
# <details><summary>Hint 4: the gradient of x1</summary>
#
# $x_1$ goes into $y_1$ and nowhere else, with slope 1. So its gradient is *all* of $y_1$'s: $g_1$,
# and what the feed-forward layer pulls back from $g_2$. The same sum is what attention pulls back.
#
# </details>
#
# <details><summary>Hint 5: in pseudocode</summary>
#
#     y, pull_back = vjp of feed_forward at y1
#     x2   = y2 - y
#     g_y1 = g1 + pull_back(g2)
#     y, pull_back = vjp of attention, with the buckets given, at x2
#     x1   = y1 - y
#     g_x2 = g2 + pull_back(g_y1)
#     return x1, x2, g_y1, g_x2
#
# </details>

# %% tags=["check"]
check.block_backward(block_backward)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Each branch is computed once more, at the point at which the forward pass
# computed it: the feed-forward layer at $y_1$, which is there, attention at $x_2$, which was just
# rebuilt. With the buckets given, attention is a smooth function of $x$. A rounding error in $x_2$
# then makes a rounding error in $x_1$, and no more.
#
# Why may the gradient ignore that the buckets depend on $x$, too? An argmax is a step: almost
# everywhere it does not change at all if $x$ moves a little, so its derivative is 0. JAX's own
# gradients of the whole block agree:

# %% tags=["solution-only"]
block = check.Block(jax.random.key(0), d=4)
x1, x2, g1, g2 = jax.random.normal(jax.random.key(1), (4, 12, 4))


def block_forward(x1, x2):
    y, buckets = block.attention(x2)
    y1 = x1 + y
    return (y1, x2 + block.feed_forward(y1)), buckets


(y1, y2), by_jax, buckets = jax.vjp(block_forward, x1, x2, has_aux=True)
ours = block_backward(block, y1, y2, buckets, g1, g2)
for mine, right in zip(ours, (x1, x2, *by_jax((g1, g2))), strict=True):
    assert jnp.allclose(mine, right, atol=1e-5)

# %% [markdown]
# ## Part 3: Candidates from a cache · ★★☆ · 10 minutes
#
# When a model writes, each new token is read alone. What it needs of earlier tokens stands in a
# cache of a fixed number of slots. For LSH attention the cache holds for each position its key, its
# value and its **buckets**, one for each round of hashing. Slots that are not filled yet hold zeros
# everywhere.
#
# Which keys may a new query attend to? In chapter 08 that took sorting and chunks. With one query
# it is simpler: all keys that share its bucket **in at least one round**.
#
# Four slots, two rounds, three of the slots filled. The query's buckets are 0 and 2:
#
# | slot | round 1 | round 2 | |
# |---|---|---|---|
# | 0 | 1 | 2 | reached? |
# | 1 | 2 | 0 | reached? |
# | 2 | 0 | 2 | reached? |
# | 3 | 0 | 0 | reached? (empty) |
#
# <details><summary>Answer</summary>
#
# Slot 0 (in round 2) and slot 2 (in both, which counts once). Slot 1 has a 2 and a 0, but each in
# the other round: rounds have rotations of their own, so their buckets have nothing to do with each
# other. Slot 3 is empty. It looks as if it shared bucket 0 in round 1, and must be left out.
#
# </details>
#
# Write `candidates(cached, buckets, n_read)`.


# %%
def candidates(cached, buckets, n_read):
    """Which slots hold a key that the new query may attend to.

    cached   (n_slots, n_hashes): the buckets of the cached keys, 0 in empty slots
    buckets  (n_hashes,): those of the query
    n_read   how many slots are filled: slots 0 to n_read - 1
    returns  (n_slots,) bool
    """
    # SOLUTION
    shares_a_bucket = (cached == buckets).any(axis=1)
    is_filled = jnp.arange(len(cached)) < n_read
    return shares_a_bucket & is_filled
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `cached == buckets` compares each row with the query, round by round, and is of shape `(n_slots,
# n_hashes)`. What must be true of a row?
#
# </details>
#
# <details><summary>Hint 2: the empty slots</summary>
#
# `jnp.arange(n_slots)` are the numbers of the slots. Which of them are below `n_read`?
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     shares = in any round, the slot's bucket equals the query's
#     filled = the slot's number is below n_read
#     return shares and filled
#
# </details>

# %% tags=["check"]
check.candidates(candidates)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** In chapter 08 the rounds together were the softmax over the *union* of what
# each of them finds, every key counted once. `any` over the rounds is that union. The discount
# $\log N$, or the rule "first come, only served", was needed because the rounds were computed one
# after the other; here nobody counts twice.

# %% [markdown]
# ## Part 4: Look up · ★★☆ · 15 minutes
#
# Now the query attends to its candidates. Keys in the cache have length 1 already, the query keeps
# its own length, and the score is $q \cdot k$:
#
# $$o = \sum_{j\ \text{reached}} p_j\, v_j, \qquad
# p_j = \frac{e^{q \cdot k_j}}{\sum_{l\ \text{reached}} e^{q \cdot k_l}}.$$
#
# There is one special case. A query that reaches nothing attends to itself, as a last resort: its
# output is its own value $v$. When does that happen for certain, in every text?
#
# <details><summary>Answer</summary>
#
# At the very first position: the cache is still empty.
#
# </details>
#
# Write `look_up(q, v, keys, values, reached)`. An `if` on `reached` is fine; the last section says
# what one does under `jax.jit`.


# %%
def look_up(q, v, keys, values, reached):
    """Attention of one query over the slots that it reaches.

    q        (d_head,) the query;  v (d_value,) its own value
    keys     (n_slots, d_head), of length 1;  values (n_slots, d_value)
    reached  (n_slots,) bool
    returns  (d_value,)
    """
    # SOLUTION
    if not reached.any():
        return v
    scores = jnp.where(reached, keys @ q, -jnp.inf)
    return jax.nn.softmax(scores) @ values
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# What score gives a weight of exactly 0?
#
# </details>
#
# <details><summary>Hint 2: nothing reached</summary>
#
# If all scores are −∞, a softmax is 0/0. Answer that case before, with a `return`.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     if nothing is reached: return v
#     scores = keys times q where reached, -infinity elsewhere
#     return softmax(scores) times values
#
# </details>

# %% tags=["check"]
check.look_up(look_up)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** $e^{-\infty} = 0$, so slots that are not reached take part neither in the sum
# nor in its denominator.

# %% [markdown]
# ## All together
#
# A text is read token by token. Each token looks for candidates in the cache, attends to them, and
# is then written into the next slot. There is nothing left to write. The check compares the result
# with `efftx.attention.lsh_attention` on the whole text at once.


# %%
def my_decoding(qk, v, buckets):
    """LSH attention of one head, one position at a time; buckets (n_hashes, length)."""
    keys, values = jnp.zeros_like(qk), jnp.zeros_like(v)
    cached, outputs = jnp.zeros_like(buckets.T), []
    for i in range(len(qk)):
        reached = candidates(cached, buckets[:, i], i)
        outputs.append(look_up(qk[i], v[i], keys, values, reached))
        keys = keys.at[i].set(qk[i] / jnp.linalg.norm(qk[i]))
        values = values.at[i].set(v[i])
        cached = cached.at[i].set(buckets[:, i])
    return jnp.stack(outputs)


# %% tags=["check"]
check.my_decoding(my_decoding)

# %% [markdown]
# ### What separates yours from the fast one
#
# `efftx.models.decoding` does the same for all heads and layers of any model, in one compiled
# function for every position: shapes never change, and the `if` becomes a `jnp.where` between two
# results.
#
# One thing should make you think. Yours scores **all** slots and throws most of the scores away,
# and so does the package's. Reading a cache is quick as long as it is short. To profit from hashing
# with a cache of a million keys one would keep, for each bucket, a list of the slots in it.
#
# And "equal to the whole text" has a condition that the check keeps: no bucket is longer than a
# chunk. Where one is, the whole text's chunks miss keys that the cache finds.
# [The chapter](../chapters/09_reformer.ipynb) measures how much that changes.
