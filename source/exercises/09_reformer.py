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

# %% tags=["mistakes"]
# It looks as if the two factors were exchanged: the table is read row by row, so i // n2 says
# which row of `first`, and i % n2 which of `second`. See entry {0}.
# - n2 = len(second)
# + n1 = len(first)
# - return first[i // n2] + second[i % n2]
# + return first[i % n1] + second[i // n1]

# It looks as if i were divided by the number of rows of `first`. Divide by n2, the number of rows
# of `second`: that is how many positions share a row of `first`. See entry {0}.
# - return first[i // n2] + second[i % n2]
# + return first[i // len(first)] + second[i % n2]

# It looks as if n1 were used twice where n2 belongs. Both the quotient and the rest are those of
# a division by n2 = len(second). See entry {0}.
# - n2 = len(second)
# + n1, n2 = len(first), len(second)
# - return first[i // n2] + second[i % n2]
# + return first[i // n1] + second[i % n1]

# It looks as if both factors were read with a rest, i % n1 and i % n2. Then some rows come twice
# and others never. `first` is read with the quotient, i // n2.
# - return first[i // n2] + second[i % n2]
# + return first[i % len(first)] + second[i % n2]

# It looks as if positions were counted from 1. They count from 0.
# - n2 = len(second)
# + n2, i = len(second), i + 1
# or
# - n2 = len(second)
# + n2, i = len(second), i - 1

# It looks as if only `first` were read: then all positions of one line are equal.
# - return first[i // n2] + second[i % n2]
# + return first[i // n2]

# It looks as if only `second` were read: then position 0 and position n2 are equal.
# - return first[i // n2] + second[i % n2]
# + return second[i % n2]

# It looks as if the two rows were multiplied. They are added.
# - return first[i // n2] + second[i % n2]
# + return first[i // n2] * second[i % n2]

# It looks as if the two tables were exchanged: `first` holds the lines and is read with the
# quotient i // n2, `second` with the rest. See entry {0}.
# - first[i // n2] + second[i % n2]
# + second[i // n2] + first[i % n2]

# It looks as if the column were i % n1. It is what a line of n2 positions leaves over, i % n2. See
# entry {0}.
# - i % n2
# + i % len(first)

# It looks as if both tables were read with a quotient. `second` is read with the rest, i % n2. See
# entry {0}.
# - i % n2
# + i // len(first)

# It looks as if i were divided by d, the width of the rows. Divide by their number, n2 =
# len(second). See entry {0}.
# - len(second)
# + second.shape[1]

# It looks as if `i` were not looked at, or sorted: entry {0} belongs to position i[{0}], in
# whatever order they come.
# - n2 = len(second)
# + n2, i = len(second), jnp.arange(len(i)) % (len(first) * len(second))
# or
# - n2 = len(second)
# + n2, i = len(second), jnp.sort(i)

# It looks as if the two rows were subtracted or averaged. They are added.
# - + second
# + - second
# or
# - first[i // n2] + second[i % n2]
# + (first[i // n2] + second[i % n2]) / 2

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
# `a // b` is the quotient without its fraction, `a % b` the rest. Both work on arrays, and a table
# is read at an array of places: `first[places]`.
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

# %% tags=["mistakes"]
# It looks as if the buckets were chosen anew on the way down: attention was called without the
# `buckets` of the forward pass. From a rebuilt x a hash may choose others, and then something
# else is subtracted than was added.
# - block.attention(x, buckets)[0], x2)
# + block.attention(x)[0], x2)

# The streams are right, but it looks as if their gradients were taken with buckets chosen anew.
# Give attention the `buckets` inside jax.vjp, too.
# -     y, pull_back = jax.vjp(lambda x: block.attention(x, buckets)[0], x2)
# +     y = block.attention(x2, buckets)[0]
# +     pull_back = jax.vjp(lambda x: block.attention(x)[0], x2)[1]

# It looks as if the branches were added. The way up added them: take them away.
# - y2 - y
# + y2 + y
# - y1 - y
# + y1 + y

# It looks as if attention were given y2. It worked on x2, which has to be rebuilt first: x2 = y2
# − FeedForward(y1).
# - block.attention(x, buckets)[0], x2)
# + block.attention(x, buckets)[0], y2)

# It looks as if g2 were forgotten in `g_x2`. x2 goes into y2 directly, too, with slope 1.
# - g2 + pull_back(g_y1)
# + pull_back(g_y1)

# It looks as if the feed-forward layer's share were missing in the gradient of y1: y2 depends on
# y1, too. Add what FeedForward pulls back from g2 to g1.
# - g1 + pull_back(g2)[0]
# + g1

# `g_x1` is right, but it looks as if attention pulled back g1 alone. It stands in y1, so it pulls
# back all of the gradient of y1, with the feed-forward layer's share.
# - g2 + pull_back(g_y1)
# + g2 + pull_back(g1)

# It looks as if the gradients had the minus sign that belongs to rebuilding. Streams are taken
# apart, gradients add up.
# - g1 + pull_back(g2)
# + g1 - pull_back(g2)
# - g2 + pull_back(g_y1)
# + g2 - pull_back(g_y1)

# The streams are right, but it looks as if the feed-forward layer pulled back at x2. It worked on
# y1, and is differentiated there.
# - pull_back(g2)[0]
# + jax.vjp(block.feed_forward, x2)[1](g2)[0]

# It looks as if attention were given y1. It worked on x2, which has to be rebuilt first: x2 = y2 −
# FeedForward(y1).
# - block.attention(x, buckets)[0], x2)
# + block.attention(x, buckets)[0], y1)

# It looks as if the feed-forward layer were given y2. It worked on y1.
# - jax.vjp(block.feed_forward, y1)
# + jax.vjp(block.feed_forward, y2)

# It looks as if the results stood in another order. Return x1, x2, g_x1, g_x2.
# - return x1, x2, g_y1, g_x2
# + return x2, x1, g_x2, g_y1
# or
# - return x1, x2, g_y1, g_x2
# + return g_y1, g_x2, x1, x2
# or
# - return x1, x2, g_y1, g_x2
# + return x1, x2, g_x2, g_y1
# or
# - return x1, x2, g_y1, g_x2
# + return x1, g_y1, x2, g_x2

# The streams are right, but it looks as if g1 and g2 were exchanged. g1 is the gradient of y1, g2
# that of y2.
# - g1 + pull_back(g2)[0]
# + g2 + pull_back(g1)[0]
# - g2 + pull_back(g_y1)
# + g1 + pull_back(g_y1)

# `g_x1` is right, but it looks as if attention pulled back g2. It stands in y1, and pulls back the
# gradient of that.
# - pull_back(g_y1)
# + pull_back(g2)

# The streams are right, but it looks as if the feed-forward layer pulled back g1. It stands in y2,
# and pulls back g2.
# - pull_back(g2)
# + pull_back(g1)

# `g_x2` is right, but `g_x1` looks like g1 alone. x1 goes into y1, which goes into y2, too: its
# gradient is all of y1's.
# - return x1, x2, g_y1
# + return x1, x2, g1

# `g_x1` is right, but `g_x2` looks like g2 alone. x2 goes into y1, too, through attention.
# - g2 + pull_back(g_y1)[0]
# + g2

# It looks as if the feed-forward layer were not taken away: x2 = y2 − FeedForward(y1).
# - y2 - y
# + y2

# It looks as if attention were not taken away: x1 = y1 − Attention(x2).
# - y1 - y
# + y1

# It looks as if y1 and y2 were returned as they came. Wanted are the streams that went into the
# block.
# - return x1, x2
# + return y1, y2

# The streams are right, but it looks as if a branch were pushed forward (jax.jvp) where it must be
# pulled back (jax.vjp): the Jacobian is not transposed.
# - pull_back(g_y1)[0]
# + jax.jvp(lambda x: block.attention(x, buckets)[0], (x2,), (g_y1,))[1]

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
# <details><summary>Hint 5: in pseudocode, with gaps</summary>
#
#     y, pull_back = vjp of feed_forward at …
#     x2   = …
#     g_y1 = …
#     y, pull_back = vjp of attention, with the buckets given, at …
#     x1   = …
#     g_x2 = …
#     return x1, x2, …, g_x2
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

# %% tags=["mistakes"]
# It looks as if a key had to share the query's bucket in every round, see slot {0}. One round is
# enough: the candidates are the union.
# - .any(axis=1)
# + .all(axis=1)

# It looks as if empty slots were let in, see slot {0}. Only the first n_read slots hold a key;
# what stands in the others looks like bucket 0.
# - shares_a_bucket & is_filled
# + shares_a_bucket

# It looks as if one slot too many were let in: slot {0}. Slots count from 0, so the last one that
# is filled is n_read − 1.
# - jnp.arange(len(cached)) < n_read
# + jnp.arange(len(cached)) <= n_read

# It looks as if the newest key were left out: slot {0}. The slots 0 … n_read − 1 are all filled.
# - jnp.arange(len(cached)) < n_read
# + jnp.arange(len(cached)) < n_read - 1

# It looks as if only the first round were asked, see slot {0}.
# - .any(axis=1)
# + [:, 0]

# It looks as if only the last round were asked, see slot {0}.
# - .any(axis=1)
# + [:, -1]

# It looks as if buckets of different rounds were compared, see slot {0}. Each round has a
# rotation of its own: bucket 2 of one has nothing to do with bucket 2 of another.
# - (cached == buckets).any(axis=1)
# + jnp.isin(cached, buckets).any(axis=1)

# It looks as if a key found in two rounds cancelled itself out, see slot {0}. Found twice is
# found: take `any`, not a sum or an exclusive or.
# - .any(axis=1)
# + .sum(axis=1) % 2 == 1

# It looks as if the filled slots were those at the end. They are the first n_read. See slot {0}.
# - < n_read
# + >= len(cached) - n_read

# It looks as if a slot were taken for empty because of a bucket 0. Bucket 0 is a bucket as any
# other; n_read says which slots are filled. See slot {0}.
# - jnp.arange(len(cached)) < n_read
# + (cached != 0).any(axis=1)
# or
# - jnp.arange(len(cached)) < n_read
# + (cached != 0).all(axis=1)

# It looks as if every filled slot were a candidate, and every match in an empty one. Both must be
# true of a slot: see {0}.
# - shares_a_bucket & is_filled
# + shares_a_bucket | is_filled

# It looks as if the buckets played no part: all filled slots were returned. See slot {0}.
# - shares_a_bucket & is_filled
# + is_filled

# It looks as if one round were not enough, see slot {0}: a key that shares the bucket in any of
# the rounds is a candidate.
# - .any(axis=1)
# + .sum(axis=1) >= 2
# or
# - .any(axis=1)
# + .mean(axis=1) > 0.5

# It looks as if only the first two rounds were asked. There may be any number of them: see slot
# {0}.
# - .any(axis=1)
# + [:, :2].any(axis=1)

# It looks as if keys were sought that do *not* share a bucket, or slots that are not filled: see
# slot {0}.
# - return shares_a_bucket & is_filled
# + return ~(shares_a_bucket & is_filled)
# or
# - return shares_a_bucket & is_filled
# + return ~shares_a_bucket & is_filled
# or
# - return shares_a_bucket & is_filled
# + return shares_a_bucket & ~is_filled

# It looks as if neighbouring buckets were let in, see slot {0}. Only the same bucket counts:
# numbers near to each other mean nothing.
# - cached == buckets
# + abs(cached - buckets) <= 1

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

# %% tags=["mistakes"]
# It looks as if keys out of reach got a score that is merely low. Where the only candidate points
# away from the query its own score is lower still, and they win. Their score must be −∞.
# - -jnp.inf
# + -10.0
# or
# - -jnp.inf
# + -100.0
# or
# - -jnp.inf
# + -1000.0
# or
# - -jnp.inf
# + -1e5

# It looks as if a query without candidates got nan: that is 0/0. Then it attends to itself as a
# last resort, and the output is its own value v.
# -     if not reached.any():
# -         return v
# +

# It looks as if a query without candidates got zeros. Then it attends to itself as a last resort,
# and the output is its own value v.
# - return v
# + return jnp.zeros_like(v)

# It looks as if a query without candidates got the mean of all values, as when all scores are the
# same large negative number. Then its output is its own value v.
# -     if not reached.any():
# -         return v
# +
# - jnp.where(reached, keys @ q, -jnp.inf)
# + jnp.where(reached, keys @ q, -1e9)

# It looks as if `reached` were ignored: the softmax runs over all slots.
# - jnp.where(reached, keys @ q, -jnp.inf)
# + keys @ q

# It looks as if keys out of reach got the score 0, which is a weight of e⁰ = 1. Their score must
# be −∞.
# - -jnp.inf
# + 0

# It looks as if the query always attended to itself, too. It does so only where nothing else is
# reached.
# - keys @ q, -jnp.inf)
# + keys @ q, -jnp.inf)
# +     scores = jnp.append(scores, jnp.linalg.norm(q))
# +     values = jnp.concatenate([values, v[None]])

# It looks as if the query were normalised. Only keys have length 1, and those of the cache have
# it already.
# - keys @ q
# + keys @ q / jnp.linalg.norm(q)

# It looks as if the scores were divided by √d. With keys of length 1 the score is q·k.
# - keys @ q
# + keys @ q / len(q) ** 0.5

# It looks as if the weights did not add up to 1: divide by the sum of exp(score).
# - jax.nn.softmax(scores)
# + jnp.exp(scores)

# It looks as if `reached` were applied after the softmax, and the weights divided by what is left
# of them. Where the other slots have much higher scores nothing is left, and 0/0 is nan: put the
# mask into the scores.
# - jax.nn.softmax(scores)
# + jax.nn.softmax(keys @ q) * reached / (jax.nn.softmax(keys @ q) * reached).sum()

# It looks as if `reached` were applied after the softmax. Then the weights of those that are left
# do not add up to 1: put the mask into the scores.
# - jax.nn.softmax(scores)
# + jax.nn.softmax(keys @ q) * reached

# It looks as if exp were taken of scores as they are. In float32 exp(-104) is 0 and exp(89)
# infinite, and 0/0 is nan: take the largest score off first, as jax.nn.softmax does.
# - jax.nn.softmax(scores)
# + jnp.exp(scores) / jnp.exp(scores).sum()
# or
# - jax.nn.softmax(scores)
# + jnp.exp(scores) / (jnp.exp(scores).sum() + 1e-9)

# It looks as if the query itself stood among the keys with a score that is merely low. Where the
# only candidate has a lower one the query wins. It attends to itself only where *nothing* is
# reached.
# -     if not reached.any():
# -         return v
# +
# - return jax.nn.softmax(scores) @ values
# + return jax.nn.softmax(jnp.append(scores, -1000.0)) @ jnp.concatenate([values, v[None]])
# or
# -     if not reached.any():
# -         return v
# +
# - return jax.nn.softmax(scores) @ values
# + return jax.nn.softmax(jnp.append(scores, -1e5)) @ jnp.concatenate([values, v[None]])
# or
# -     if not reached.any():
# -         return v
# +
# - return jax.nn.softmax(scores) @ values
# + return jax.nn.softmax(jnp.append(scores, -10.0)) @ jnp.concatenate([values, v[None]])

# It looks as if only the best candidate counted. All of them do, weighted by a softmax.
# - jax.nn.softmax(scores)
# + jax.nn.one_hot(jnp.argmax(scores), len(scores))

# It looks like the plain mean of the values that are reached. They are weighted by a softmax of
# the scores.
# - jax.nn.softmax(scores)
# + reached / reached.sum()

# It looks as if `reached` were turned round: True is where the query attends.
# - jnp.where(reached, keys @ q, -jnp.inf)
# + jnp.where(reached, -jnp.inf, keys @ q)

# It looks as if the last resort were taken too early: the output is the query's own value only
# where *no* slot is reached.
# - not reached.any()
# + not reached.all()
# or
# - not reached.any()
# + reached.sum() < 2

# It looks as if the query's own value were added. Where something is reached it plays no part.
# - @ values
# + @ values + v

# It looks as if the scores were the weights. The weights are their softmax.
# - jax.nn.softmax(scores)
# + jnp.where(reached, scores, 0)

# It looks as if only the newest candidate counted, or the first. All of them do, weighted by a
# softmax.
# - jax.nn.softmax(scores)
# + jax.nn.one_hot(jnp.flatnonzero(reached)[-1], len(reached))
# or
# - jax.nn.softmax(scores)
# + jax.nn.one_hot(jnp.argmax(reached), len(reached))

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
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# The Reformer was made for long texts. What does it cost on short ones? Here is the gradient of one
# head's attention, with vectors of 32 numbers: once over all pairs, with the whole matrix, and once
# with 8 rounds of hashing in chunks of 32. For each length the compiler says how many bytes it
# needs beyond inputs and results.
#
# **Predict before you run the next cells:** which of the lengths 64, 128, 256 and 512 is the first
# on which hashing takes less memory?
#
# <details><summary>Hint 1: all pairs</summary>
#
# How many numbers of the matrix belong to one position? There are several matrices of that size:
# scores, weights, and on the way back their gradients.
#
# </details>
#
# <details><summary>Hint 2: eight rounds</summary>
#
# In a round a query sees two chunks. Must the scores of all rounds be there at the same time?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # positions

# %% tags=["solution-only"]
# A query's row has 64 scores in a round, and the rounds come one after the other. Besides it keeps
# sorted copies of query, value and their gradients, 32 numbers each: 128 more. A row of the matrix
# is longer than 64 + 128 numbers on a text of 256.
my_guess = 256

# %% tags=["check"]
from efftx.check import reformer_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.shortest_that_pays.predicted(my_guess)
kib = {
    kind: {n: experiment.working_bytes(kind, n) / 2**10 for n in experiment.LENGTHS}
    for kind in experiment.KINDS
}
show(
    draw_experiment(kib, "length", "KiB", predicted=predicted),
    "Working memory of one head's gradient against the length of the text, both axes logarithmic: "
    "two straight lines. That of all pairs is twice as steep, and crosses the other between 128 "
    "and 256.",
)

# %% tags=["check"]
check.shortest_that_pays(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** In memory hashing pays early, because rounds take turns. In work it does not:
# 8 rounds compute $8 \cdot 64 = 512$ scores for each query, so that on texts up to 512 positions it
# computes more of them than there are pairs, and sorts besides. That is why `lsh_attention` has an
# argument `full_below`.

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
