# %% [markdown]
# # Exercise 06 · Attention is sparse
#
# <!-- measured -->
#
# In [the chapter](../chapters/06_attention_is_sparse.ipynb) you measured how much of a query's
# weight its top keys carry, and computed exact attention without its matrix. Here you write both
# yourself. Afterwards you can
#
# * measure how sparse a head is;
# * add keys to a softmax one block at a time, without an overflow;
# * count the scores that a causal loop over blocks computes;
# * write that loop, so that it skips what it need not compute;
# * say what is sparse about attention, and what is not.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax.numpy as jnp

from efftx.check import attention_is_sparse as check

# %% [markdown]
# ## Part 1: What the top keys carry · ★☆☆ · 10 minutes
#
# `weights` is a map of shape `(length, length)`: row = query, column = key, each row adds up to 1.
# Write `top_mass(weights, k)`. It returns an array of shape `(length,)`: for each query the sum of
# its `k` largest weights. `k` lies between 1 and the length.
#
# For example, with `k = 2`:
#
# | query | weights | top 2 | `mass` |
# |---|---|---|---|
# | 0 | 1.0, 0, 0, 0 | 1.0 and 0 | 1.0 |
# | 1 | 0.5, 0.5, 0, 0 | 0.5 and 0.5 | 1.0 |
# | 2 | 0.2, 0.2, 0.6, 0 | 0.6 and 0.2 | 0.8 |
# | 3 | 0.1, 0.4, 0.1, 0.4 | ? | ? |
#
# Query 2 has the weight 0.2 twice, and only one of the two is among its top 2. What is the last
# row?
#
# <details><summary>Answer</summary>
#
# 0.4 and 0.4, so 0.8.
#
# </details>


# %%
def top_mass(weights, k):
    """What the k largest weights of each query add up to.

    weights  (length, length), row = query, column = key
    returns  mass (length,)
    """
    # SOLUTION
    return jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the first k keys were taken, not the k largest. Sort each row first.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + weights[:, :k].sum(axis=-1)

# It looks as if the k smallest weights were added up: `jnp.sort` puts those first.
# - [:, -k:]
# + [:, :k]

# It looks as if the columns were sorted. A query's weights are a row: sort along the last axis.
# - weights, axis=-1
# + weights, axis=0

# It looks as if the largest k of each column were added up. A query's weights are a row, and its
# share is one number for each row.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + jnp.sort(weights, axis=0)[-k:].sum(axis=0)

# It looks as if the result were the k-th largest weight alone. Add up all k.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + jnp.sort(weights, axis=-1)[:, -k]

# It looks as if k + 1 weights were added up. Counting from 0, entry k is one too many.
# - [:, -k:]
# + [:, -k - 1:]

# It looks as if k - 1 weights were added up: one is missing.
# - [:, -k:]
# + [:, len(weights) - k + 1:]

# It looks as if the mean of the k largest weights were taken. The share is their sum.
# - [:, -k:].sum
# + [:, -k:].mean

# It looks as if all weights were taken that reach the k-th largest. In row {0} several are equal
# to it, and then these are more than k.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + (weights * (weights >= jnp.sort(weights)[:, -k, None])).sum(axis=-1)

# It looks as if the k most recent keys were taken. The largest may be anywhere: see query {0}.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + (weights * (1 - jnp.tri(len(weights), k=-k))).sum(axis=-1)

# It looks as if the largest weight alone were returned, whatever k.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + weights.max(axis=-1)

# It looks as if everything were added up, whatever k: a row adds up to 1.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + weights.sum(axis=-1)

# It looks as if the weights were counted that are above some bound, or the places, and not added
# up.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + (weights > 0).sum(axis=-1) / len(weights)

# It looks as if the smallest of the k largest were taken k times. Add up all k.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + k * jnp.sort(weights, axis=-1)[:, -k]

# It looks as if the largest were taken k times. Add up the k largest.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + k * weights.max(axis=-1)

# It looks as if what is *not* among the top k were added up.
# - [:, -k:].sum(axis=-1)
# + [:, :-k].sum(axis=-1)

# It looks as if the sum were divided by the length. The share is the sum itself.
# - [:, -k:].sum(axis=-1)
# + [:, -k:].sum(axis=-1) / len(weights)

# It looks as if equal weights were counted once. Query {0} has several that are equal, and each is
# a key of its own.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + jnp.array([sum(sorted({round(float(x), 6) for x in row})[-k:]) for row in weights])

# It looks as if the last k keys were taken, not the k largest. Sort each row first.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + weights[:, -k:].sum(axis=-1)

# It looks as if the sorted rows were taken for columns: the k largest stand in the last k columns.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + jnp.sort(weights, axis=-1)[-k:].sum(axis=0)

# It looks as if the places of the k largest were added up, and not their weights: `argsort` gives
# places.
# - jnp.sort(weights, axis=-1)[:, -k:].sum(axis=-1)
# + jnp.argsort(weights, axis=-1)[:, -k:].sum(axis=-1) * 1.0

# It looks as if the weights had been squared.
# - jnp.sort(weights, axis=-1)
# + jnp.sort(weights**2, axis=-1)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# If the weights of each row stood in order, the `k` largest would stand side by side.
#
# </details>
#
# <details><summary>Hint 2: which axis, which end</summary>
#
# `jnp.sort(x, axis=-1)` sorts each row by itself and puts the smallest first. So the largest are
# the last `k`: `[:, -k:]`. (`jax.lax.top_k` would do as well.)
#
# </details>
#
# <details><summary>Hint 3: after the sort</summary>
#
# Sort the map of the example on paper. Where in the sorted array do the numbers stand that are to
# be added up, for `k = 2`? Which slice of the columns is that, and along which axis do you add?
#
# </details>

# %% tags=["check"]
check.top_mass(top_mass)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** After the sort, the last `k` of a row are its `k` largest, ties included,
# and each is one key. A threshold (`weights >= the k-th largest`) is tempting, but where several
# weights equal the threshold it takes all of them.

# %% tags=["solution-only"]
weights = jnp.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.2, 0.6, 0], [0.1, 0.4, 0.1, 0.4]])
assert jnp.allclose(top_mass(weights, 2), jnp.array([1.0, 1.0, 0.8, 0.8]))

# %% [markdown]
# ## Part 2: A softmax in pieces · ★★☆ · 20 minutes
#
# A query's output is $\sum_j e^{s_j} v_j \,/\, \sum_j e^{s_j}$. The keys arrive in blocks, and a
# block is gone when the next one comes. What has to be kept? Three things for each query:
#
# * `maximum` $m$, the largest score so far;
# * `total` $= \sum_j e^{s_j - m}$;
# * `weighted` $= \sum_j e^{s_j - m}\, v_j$.
#
# Write `add_keys(maximum, total, weighted, scores, v)`, which takes them and one more block of
# keys, and returns all three again, for all keys so far. At the end the output is `weighted /
# total`; that is not your task here.
#
# The two sums are taken *relative to the maximum*, since $e^{s}$ overflows in float32 from $s = 89$
# on. If a new score is larger than the old maximum, everything summed so far is relative to the
# wrong number, and has to be brought to the new one.
#
# Follow one query, whose values are single numbers. The first block has the scores 0 and 0 with
# values 10 and 20:
#
# | after | `maximum` | `total` | `weighted` | `weighted / total` |
# |---|---|---|---|---|
# | no key | -∞ | 0 | 0 | |
# | first block | 0 | 1 + 1 = 2 | 10 + 20 = 30 | 15 |
# | one more key: score log 2, value 60 | log 2 | ? | ? | ? |
#
# Fill in the last row. Hint: $e^{0 - \log 2} = \tfrac12$.
#
# <details><summary>Answer</summary>
#
# The old sums shrink by ½, to 1 and 15. The new key adds 1 and 60. So `total` is 2, `weighted` 75,
# and the output 37.5. Check: the weights are as 1 to 1 to 2, and (10 + 20 + 2 · 60) / 4 = 37.5.
#
# </details>


# %%
def add_keys(maximum, total, weighted, scores, v):
    """Carry an online softmax over one more block of keys.

    maximum  (rows,), -inf before the first key;  total  (rows,);  weighted  (rows, d_value)
    scores   (rows, n_keys), -inf where a key is masked;  v  (n_keys, d_value)
    returns  maximum, total, weighted  over the keys so far and these
    """
    # SOLUTION
    new_maximum = jnp.maximum(maximum, scores.max(axis=-1))
    shrink = jnp.exp(maximum - new_maximum)
    p = jnp.exp(scores - new_maximum[:, None])
    return new_maximum, shrink * total + p.sum(axis=-1), shrink[:, None] * weighted + p @ v
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the old sums were added as they are. They are relative to the old maximum:
# multiply both by exp(old maximum - new maximum).
# - jnp.exp(maximum - new_maximum)
# + jnp.ones_like(maximum)

# `total` is right, but it looks as if the old `weighted` were added as it is. Both sums shrink by
# the same factor.
# - shrink[:, None] * weighted
# + weighted

# It looks as if the old `total` were added as it is. It is relative to the old maximum, just like
# `weighted`.
# - shrink * total
# + total

# It looks as if the old sums were multiplied by exp(new maximum - old maximum). The sign is the
# other way round: old terms shrink.
# - jnp.exp(maximum - new_maximum)
# + jnp.exp(new_maximum - maximum)

# It looks as if `maximum` were that of the new scores alone. It is the largest of all scores so
# far: see row {0}.
# - jnp.maximum(maximum, scores.max(axis=-1))
# + scores.max(axis=-1)

# It looks as if the old maximum stayed. Where a new score is larger, it has to grow: see row {0}.
# - jnp.maximum(maximum, scores.max(axis=-1))
# + maximum

# It looks as if all rows shared one maximum. Each query has its own: take it along the row.
# - jnp.maximum(maximum, scores.max(axis=-1))
# + jnp.maximum(maximum, scores.max())

# `maximum` is right, but it looks as if the new scores were taken relative to their own largest.
# Take the common maximum off, the one that you return.
# - jnp.exp(scores - new_maximum[:, None])
# + jnp.exp(scores - scores.max(axis=-1)[:, None])

# `maximum` is right, but it looks as if the new scores went into exp as they are. Take the new
# maximum off first, else exp overflows: e^89 is no float32.
# - jnp.exp(scores - new_maximum[:, None])
# + jnp.exp(scores)

# It looks as if `maximum` played no part in the sums. They are sums of exp(score - maximum):
# without it exp overflows, e^89 is no float32.
# - jnp.exp(scores - new_maximum[:, None])
# + jnp.exp(scores)
# - jnp.exp(maximum - new_maximum)
# + jnp.ones_like(maximum)

# It looks as if the old sums were forgotten: only the new keys are in the result.
# - shrink * total + p.sum(axis=-1), shrink[:, None] * weighted + p @ v
# + p.sum(axis=-1), p @ v

# `maximum` and `total` are right, but `weighted` looks as if it were divided already. Divide
# once, when all keys are in.
# - shrink * total + p.sum(axis=-1), shrink[:, None] * weighted + p @ v
# + shrink * total + p.sum(axis=-1), (shrink[:, None] * weighted + p @ v) / (shrink * total + p.sum(-1))[:, None]

# `maximum` is right, but it looks as if the new terms were multiplied by the factor, too. It
# brings the *old* sums to the new maximum; new terms are relative to it already.
# - shrink * total + p.sum(axis=-1), shrink[:, None] * weighted + p @ v
# + shrink * (total + p.sum(axis=-1)), shrink[:, None] * (weighted + p @ v)

# `maximum` is right, but it looks as if the factor were squared, or used twice.
# - jnp.exp(maximum - new_maximum)
# + jnp.exp(2 * (maximum - new_maximum))

# `maximum` is right, but it looks as if the factor were a difference and not its exponential.
# - jnp.exp(maximum - new_maximum)
# + jnp.where(maximum == -jnp.inf, 0, maximum - new_maximum)

# `total` looks as if the new keys had been counted, and not their exponentials added up.
# - p.sum(axis=-1), shrink[:, None]
# + p.shape[1], shrink[:, None]

# `total` looks as if it were the mean of the new exponentials, and not their sum.
# - p.sum(axis=-1), shrink[:, None]
# + p.mean(axis=-1), shrink[:, None]

# `total` looks as if the largest of the new exponentials stood for all of them. Add them up.
# - p.sum(axis=-1), shrink[:, None]
# + p.max(axis=-1), shrink[:, None]

# `total` is right, but `weighted` looks as if the new values were added without their weights.
# - p @ v
# + jnp.ones_like(p) @ v

# `total` is right, but `weighted` looks as if the new keys were not in it.
# - shrink[:, None] * weighted + p @ v
# + shrink[:, None] * weighted

# `total` looks as if the new keys were not in it.
# - shrink * total + p.sum(axis=-1),
# + shrink * total,

# `total` is right, but `weighted` looks as if the old values were not in it.
# - shrink[:, None] * weighted + p @ v
# + p @ v

# `total` looks as if the old keys were not in it.
# - shrink * total + p.sum(axis=-1),
# + p.sum(axis=-1),

# `maximum` looks as if it were a sum of the old maximum and the new. It is the larger of the two.
# - jnp.maximum(maximum, scores.max(axis=-1))
# + jnp.where(maximum == -jnp.inf, scores.max(axis=-1), maximum + scores.max(axis=-1))

# `maximum` looks as if it were the smaller of the old maximum and the new.
# - jnp.maximum(maximum, scores.max(axis=-1))
# + jnp.where(maximum == -jnp.inf, scores.max(axis=-1), jnp.minimum(maximum, scores.max(axis=-1)))

# `maximum` looks as if magnitudes were compared. It is the largest score, and may be negative.
# - scores.max(axis=-1))
# + jnp.where(scores == -jnp.inf, -jnp.inf, abs(scores)).max(axis=-1))

# `maximum` is right, but it looks as if the exponents' sign were turned round: e to the power of
# score - maximum.
# - jnp.exp(scores - new_maximum[:, None])
# + jnp.where(scores == -jnp.inf, 0, jnp.exp(new_maximum[:, None] - scores))

# `maximum` is right, but it looks as if new scores were taken relative to the old maximum, which
# the return value no longer is.
# - jnp.exp(scores - new_maximum[:, None])
# + jnp.exp(scores - jnp.where(maximum == -jnp.inf, new_maximum, maximum)[:, None])

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First the new maximum. Everything else is relative to it: the new keys, and what was there.
#
# </details>
#
# <details><summary>Hint 2: from one maximum to another</summary>
#
# $e^{s - m_\text{new}} = e^{s - m_\text{old}} \cdot e^{m_\text{old} - m_\text{new}}$. The second
# factor is the same for all old keys of a query, so one multiplication corrects the whole sum.
#
# </details>
#
# <details><summary>Hint 3: before the first key</summary>
#
# There `maximum` is -∞, and $e^{-\infty - m} = 0$. The empty sums are multiplied by 0: no special
# case is needed.
#
# </details>
#
# <details><summary>Hint 4: in which order</summary>
#
# First `new_maximum`, from the old maximum and the largest score of each row. Then the factor for
# the old sums, and the exponentials of the new scores: each is one line, and both are relative to
# `new_maximum`. Each of the two sums is the old one times the factor, and what the new keys add to
# it.
#
# </details>

# %% tags=["check"]
check.add_keys(add_keys)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Both sums are multiplied by the same factor, and new terms are relative to
# the new maximum, so each sum is again $\sum_j e^{s_j - m} \dots$ over all keys so far. Numerator
# and denominator share $m$, and in their quotient it cancels. No exponent is ever above 0, so
# nothing overflows, and at least one is 0, so `total` is at least 1.
#
# Two states of *different* keys can be joined the same way: take the larger maximum and shrink
# both. So the pieces may be of any size, and may lie on several machines.

# %% tags=["solution-only"]
state = jnp.array([-jnp.inf]), jnp.zeros(1), jnp.zeros((1, 1))
state = add_keys(*state, jnp.zeros((1, 2)), jnp.array([[10.0], [20.0]]))
maximum, total, weighted = add_keys(*state, jnp.log(jnp.array([[2.0]])), jnp.array([[60.0]]))
assert jnp.allclose(jnp.array([total[0], weighted[0, 0]]), jnp.array([2, 75]))

# %% [markdown]
# ## Part 3: Count the scores · ★★☆ · 10 minutes
#
# Queries and keys are cut into blocks of `block_len`; the last may be shorter. A causal loop takes
# one block of queries after the other, and for each the blocks of keys **from the first up to its
# own**. Later ones are skipped, for all of their keys come later. Every block that is not skipped
# is computed as a whole, though in the last one, on the diagonal, some pairs are masked.
#
# Write `keys_compared(length, block_len)`. It returns an integer array of shape `(length,)`: with
# how many keys each query is compared, masked ones included.
#
# Here are a length of 5 and blocks of 2. ■ is a score that counts, □ one that is computed and
# masked, · one that is skipped.
#
# | query ↓ key → | 0 | 1 | 2 | 3 | 4 | `n_keys` |
# |---|---|---|---|---|---|---|
# | **0** | ■ | □ | · | · | · | 2 |
# | **1** | ■ | ■ | · | · | · | 2 |
# | **2** | ■ | ■ | ■ | □ | · | 4 |
# | **3** | ■ | ■ | ■ | ■ | · | 4 |
# | **4** | ■ | ■ | ■ | ■ | ■ | ? |
#
# <details><summary>Answer</summary>
#
# 5: its block would reach to 6, but there are only 5 keys.
#
# </details>


# %%
def keys_compared(length, block_len):
    """With how many keys causal attention in blocks compares each query.

    returns  n_keys (length,) integers
    """
    # SOLUTION
    block = jnp.arange(length) // block_len
    return jnp.minimum((block + 1) * block_len, length)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if only the allowed keys were counted, 0 to i. Whole blocks are computed: the
# query's own block to its end, though part of it is masked. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.arange(length) + 1

# It looks as if every query were compared with all keys. Blocks above the diagonal are skipped.
# See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.full(length, length)

# It looks as if the query's own block were left out. The block on the diagonal is computed as
# well. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + block * block_len

# It looks as if blocks were counted. Count keys: a block has block_len of them.
# - jnp.minimum((block + 1) * block_len, length)
# + block + 1

# It looks as if the last block were always full. Beyond the end of the sequence there are no
# keys. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + (block + 1) * block_len

# It looks as if a query in the first place of its block missed that block: rounding i up to a
# multiple of block_len leaves it where it is. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum(-(-jnp.arange(length) // block_len) * block_len, length)

# It looks as if the allowed keys were rounded down to whole blocks. Blocks are computed as soon
# as one of their keys is needed: round up. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + (jnp.arange(length) + 1) // block_len * block_len

# It looks as if a query's own block were counted twice.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum((block + 2) * block_len, length)

# It looks as if only the query's own block were counted. The blocks before it are computed as
# well. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum(block_len, length - block * block_len)

# It looks as if later keys were counted, from the query's block to the end. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + length - block * block_len

# It looks as if the keys before the query were counted, and the query itself left out. See query
# {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.arange(length)

# It looks as if the masked scores were counted alone: those of the block behind the query. See
# query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum((block + 1) * block_len, length) - jnp.arange(length) - 1

# It looks as if the count were the same for all queries: the mean, or half of the keys. See query
# {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.full(length, (length + 1) // 2)

# It looks as if scores of all queries so far were added up. One query's keys are asked for. See
# query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.cumsum(jnp.minimum((block + 1) * block_len, length))

# It looks as if the remainder were taken, and not the quotient: query i is in block i //
# block_len.
# - // block_len
# + % block_len

# It looks as if the last, shorter block were left out. It is computed like all others. See query
# {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum((block + 1) * block_len, length // block_len * block_len)

# It looks as if one key were missing, or the last place of a block counted instead of its length.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum((block + 1) * block_len, length) - 1

# It looks as if one key too many were counted.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.minimum((block + 1) * block_len, length) + 1

# It looks as if length and block_len had changed places.
# - block = jnp.arange(length) // block_len
# -     return jnp.minimum((block + 1) * block_len, length)
# + block = jnp.arange(length) // length
# +     return jnp.minimum((block + 1) * length, block_len)

# It looks as if as many keys were counted as a whole number of blocks holds, the query's own
# excluded: add its own block. See query {0}.
# - jnp.minimum((block + 1) * block_len, length)
# + jnp.maximum(block * block_len, 1)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# All queries of a block are compared with the same keys. Which block is query `i` in?
#
# </details>
#
# <details><summary>Hint 2: where its block ends</summary>
#
# Query `i` is in block `i // block_len`, and that block ends where the next one starts.
#
# </details>
#
# <details><summary>Hint 3: where the next block starts</summary>
#
# Block 0 ends where block 1 starts, at `block_len`. Where does block $b$ end? And what if there
# are fewer keys than that?
#
# </details>

# %% tags=["check"]
check.keys_compared(keys_compared)

# %% [markdown] tags=["solution-only"]
# **What it says.** The sum over all queries is the work. With $n = L / B$ full blocks it is
# $B^2 (1 + 2 + \dots + n) = \tfrac12 L^2 (1 + 1/n)$: half of the matrix and a little more. Half is
# worth having, and still quadratic: twice the length, four times the scores.

# %% tags=["solution-only"]
assert keys_compared(5, 2).tolist() == [2, 2, 4, 4, 5]
scores = {length: int(keys_compared(length, 64).sum()) for length in (1024, 2048)}
assert scores[1024] == 1024**2 * (1 + 1 / 16) / 2
assert 3.8 < scores[2048] / scores[1024] < 4
print(scores)

# %% [markdown]
# ## Part 4: Causal attention in blocks · ★★★ · 30 minutes
#
# Put it together. Write `blocked_causal_attention(q, k, v, block_len)`, which returns `out` of
# shape `(length, d_value)`,
#
# $$o_i = \sum_{j \le i} \frac{e^{s_{ij}}}{\sum_{l \le i} e^{s_{il}}}\, v_j, \qquad
# s_{ij} = \frac{q_i \cdot k_j}{\sqrt d},$$
#
# and never holds more than `block_len × block_len` scores. The length is a multiple of
# `block_len`. For each block of queries:
#
# 1. start with no keys: `maximum` -∞, `total` 0, `weighted` 0;
# 2. for each block of keys **up to the queries' own**, compute the scores, set those to -∞ whose
#    key comes later than the query, and call your `add_keys`;
# 3. divide.
#
# Then put the blocks of outputs together. Plain Python loops are fine here. The check looks for
# arrays of pairs, of queries and keys: none may be larger than a block, a mask as little as scores.
#
# The blocks of keys after the queries' own must be **skipped, not masked**. The check looks: in
# some of its inputs the last block of `v` is full of nan, like memory that nobody has written to
# yet. A query before that block has no business there. If the block is computed and masked, what
# does such a query get?
#
# <details><summary>Answer</summary>
#
# nan. Its weight for a masked key is 0, but 0 · nan is nan.
#
# </details>


# %%
def blocked_causal_attention(q, k, v, block_len):
    """Exact causal attention of one head, block by block.

    q, k     (length, d_head);  v  (length, d_value);  length is a multiple of block_len
    returns  out (length, d_value)
    """
    # SOLUTION
    length, d_head = q.shape
    outs = []
    for start in range(0, length, block_len):
        maximum = jnp.full(block_len, -jnp.inf)
        total = jnp.zeros(block_len)
        weighted = jnp.zeros((block_len, v.shape[1]))
        query = jnp.arange(start, start + block_len)
        for first in range(0, start + block_len, block_len):
            key = jnp.arange(first, first + block_len)
            scores = q[query] @ k[key].T / jnp.sqrt(d_head)
            scores = jnp.where(key[None, :] <= query[:, None], scores, -jnp.inf)
            maximum, total, weighted = add_keys(maximum, total, weighted, scores, v[key])
        outs.append(weighted / total[:, None])
    return jnp.concatenate(outs)
    # END SOLUTION

# %% tags=["mistakes"]
# All is right but one thing: it looks as if blocks above the diagonal were computed and then
# masked. Skip them. Here the last block's values are nan, as if nobody had written them yet.
# Query {0} comes before that block and still met it: 0 times nan is nan.
# - range(0, start + block_len, block_len)
# + range(0, length, block_len)

# It looks as if the causal mask were missing altogether: see query {0}.
# - range(0, start + block_len, block_len)
# + range(0, length, block_len)
# - key[None, :] <= query[:, None]
# + True

# It looks as if the block on the diagonal were not masked. Inside it some keys come later than
# some queries: see query {0}.
# - key[None, :] <= query[:, None]
# + True

# It looks as if the block on the diagonal were skipped. Every query needs at least its own key:
# see query {0}.
# - range(0, start + block_len, block_len)
# + range(0, start, block_len)

# It looks as if a query might not look at itself. With keys of its own it may: see query {0}.
# - key[None, :] <= query[:, None]
# + key[None, :] < query[:, None]

# It looks as if places inside the blocks were compared by the mask. Compare positions in the
# sequence: block number · block_len + place. See query {0}.
# - key[None, :] <= query[:, None]
# + key[None, :] - first <= query[:, None] - start

# It looks as if the scores were not divided by √d.
# -  / jnp.sqrt(d_head)

# It looks as if only the query's own block counted. Keep what `add_keys` returns, and go on with
# it. See query {0}.
# - = add_keys(maximum, total
# + = add_keys(maximum - jnp.inf, 0 * total

# It looks as if the weighted sums were not divided by `total` at the end.
# - weighted / total[:, None]
# + weighted

# It looks as if the scores were divided by d. It is its root.
# - jnp.sqrt(d_head)
# + d_head

# It looks as if the scores were multiplied by √d. They are divided by it.
# - / jnp.sqrt(d_head)
# + * jnp.sqrt(d_head)

# It looks as if the scores were divided by the root of the block's length. It is d_head that
# counts.
# - jnp.sqrt(d_head)
# + jnp.sqrt(block_len)

# It looks as if the mask were on the wrong side: a key may be at most as late as the query.
# - key[None, :] <= query[:, None]
# + key[None, :] >= query[:, None]

# It looks as if masked scores were set to 0. exp(0) is 1: set them to -inf.
# - scores, -jnp.inf)
# + scores, 0)

# It looks as if the first block of keys were left out. See query {0}.
# - range(0, start + block_len, block_len)
# + range(min(block_len, start), start + block_len, block_len)

# It looks as if every block of queries had used the same values, those of the first block. See
# query {0}.
# - scores, v[key])
# + scores, v[: len(key)])

# It looks as if the values of the queries' own block were used every time. See query {0}.
# - scores, v[key])
# + scores, v[query])

# It looks as if the keys of the queries' own block were used every time. See query {0}.
# - k[key].T
# + k[query].T

# It looks as if queries and keys were exchanged. See query {0}.
# - q[query] @ k[key].T
# + k[query] @ q[key].T

# It looks as if the blocks of outputs were joined in the wrong order.
# - jnp.concatenate(outs)
# + jnp.concatenate(outs[::-1])

# It looks as if `maximum` began at 0 and not at -∞. Here all scores are far below 0, each of their
# exponentials is 0 in float32, and 0/0 is nan.
# - jnp.full(block_len, -jnp.inf)
# + jnp.zeros(block_len)

# It looks as if the block before the queries' own were left out. See query {0}.
# - range(0, start + block_len, block_len)
# + [first for first in range(0, start + block_len, block_len) if first != start - block_len]

# It looks as if only the queries' own block and the one before it were compared. See query {0}.
# - range(0, start + block_len, block_len)
# + range(max(0, start - block_len), start + block_len, block_len)

# It looks as if the sum of the weights were returned in every column, or the division went the
# wrong way.
# - weighted / total[:, None]
# + total[:, None] / weighted

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two loops, one inside the other. The outer one goes over blocks of queries and ends with a
# division. How far does the inner one go?
#
# </details>
#
# <details><summary>Hint 2: the positions of a block</summary>
#
# `range(0, length, block_len)` gives where each block starts. `query = jnp.arange(start, start +
# block_len)` are the positions of its queries, and `q[query]` their vectors. The same for the keys.
#
# </details>
#
# <details><summary>Hint 3: the mask</summary>
#
# Compare *positions*, everything with everything: `key[None, :] <= query[:, None]` has the shape
# of the scores. It is the same line for all blocks. Below the diagonal it allows everything.
#
# </details>
#
# <details><summary>Hint 4: what is inside which loop</summary>
#
# Three arrays begin anew for each block of queries, so they are made in the outer loop, before the
# inner one. The scores of one pair of blocks and the call of `add_keys` are in the inner loop.
# Where does the division belong? And which `range` makes the inner loop stop behind the queries'
# own block?
#
# </details>

# %% tags=["check"]
check.blocked_causal_attention(blocked_causal_attention)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** `add_keys` carries the softmax over all keys so far, and every key that a
# query may see is in one of the blocks up to its own. A block is started with no keys because other
# queries have other sums.
#
# *Why is -∞ safe here?* If all scores of a query so far were -∞, the maximum would be too, and
# $-\infty - (-\infty)$ is nan. It cannot happen: the first block of keys holds key 0, and every
# query may look at that. Where there may be queries without any key (a mask for padding), the
# package starts from the least finite number instead.

# %% tags=["solution-only"]
import jax

from efftx import attention

q, k, v = jax.random.normal(jax.random.key(0), (3, 192, 16))
ours = blocked_causal_attention(q, k, v, block_len=64)
assert jnp.allclose(ours, attention.full_attention(q, k, v, causal=True), atol=1e-5)
assert jnp.allclose(ours, attention.blocked_attention(q, k, v, causal=True), atol=1e-5)

# %% [markdown]
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# "A few keys carry nearly all of the weight." If that were so at any length, one could look for,
# say, 256 keys per query and be done. Here is a head that has learned nothing: its scores are
# normal numbers with a standard deviation of 2. Of 1,024 keys, the 252 largest weights of a query
# add up to nine tenths.
#
# **Predict before you run the next cells:** how many keys does it take of 16,384? You are right if
# you are off by a factor of 1.3 at most.
#
# <details><summary>Hint 1: sixteen texts</summary>
#
# Put sixteen texts of 1,024 keys one behind the other. Which keys are the top keys now?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # keys

# %% tags=["solution-only"]
# Each of the sixteen texts has some 252 keys above a certain score, and together they are the top
# keys of all.
my_guess = 16 * 252

# %% tags=["check"]
from efftx.check import attention_is_sparse_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.top_keys_of_many.predicted(my_guess)
needed = {n_keys: experiment.keys_needed(n_keys) for n_keys in experiment.LENGTHS}
limit = ("you predicted", predicted)
show(
    draw_experiment({"": needed}, "keys", "top keys for 90%", limit=limit),
    "How many top keys carry nine tenths of a query's weight, against the number of keys, both "
    "axes logarithmic: a straight line from 67 of 256 to 3,872 of 16,384. The share of the keys "
    "stays the same.",
)

# %% tags=["check"]
check.top_keys_of_many(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** A fixed number of keys is enough only if a head has *learned* to look at a few
# places, whatever the length. That is a property of trained heads, to be measured, and not of
# softmax.

# %% [markdown]
# ### What separates yours from the package's
#
# Yours is `efftx.attention.blocked_attention`, with three things left out: it takes any length, by
# filling the last block with masked keys; its loops are `jax.lax.map` and `jax.lax.fori_loop`, so
# that they are compiled once however many blocks there are; and its gradient is written by hand.
# A gradient needs the weights again, and to keep them would bring the matrix back. Instead
# each row's log-sum-exp, $m + \log(\text{total})$, is kept, and a block's weights are rebuilt as
# $e^{s_{ij} - \text{lse}_i}$ when they are needed.
#
# You will meet the idea again: [exercise 08](08_lsh_attention.ipynb) joins rounds of hashing by it.
