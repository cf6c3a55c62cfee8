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
# * write that loop, so that it skips what it need not compute.
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     ordered = each row of weights, sorted
#     return the sum of the last k entries of each row
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     new_maximum = the larger of maximum and the largest score of each row
#     shrink      = exp(maximum - new_maximum)
#     p           = exp(scores - new_maximum of the row)
#     total       = shrink · total    + sum of each row of p
#     weighted    = shrink · weighted + p times v
#     return new_maximum, total, weighted
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     block[i]  = i // block_len
#     n_keys[i] = (block[i] + 1) · block_len, but at most length
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
# Then put the blocks of outputs together. Plain Python loops are fine here.
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     for each block of queries, from start:
#         maximum, total, weighted = -inf, 0, 0
#         for each block of keys, from first = 0 up to start:
#             scores = queries times keys transposed, divided by √d
#             scores = -inf where the key comes later than the query
#             maximum, total, weighted = add_keys(maximum, total, weighted, scores, values)
#         append weighted / total
#     return all blocks of outputs, one after the other
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
