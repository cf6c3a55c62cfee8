# %% [markdown]
# # Exercise 08 · LSH attention
#
# <!-- measured -->
#
# In [the chapter](../chapters/08_lsh_attention.ipynb) you saw the five steps: bucket, sort, chunk,
# attend, combine. Here you write them yourself, from the sort to the last softmax. Afterwards you
# can
#
# * sort positions by bucket, and undo it;
# * say for any two positions whether one may look at the other, and why;
# * attend within such a set of pairs, also where the set is empty;
# * join several rounds of hashing so that no key counts twice.
#
# At the end your four functions together are LSH attention, and a last check holds them against
# `efftx.attention.lsh_attention`.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# To keep the mind on the ideas, we work with whole $L \times L$ matrices, for one head, with the
# buckets already given (they come from [Hashing](../chapters/07_hashing.ipynb)). The last section
# says what separates this from the fast version.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import lsh_attention as check

# %% [markdown]
# ### The running example
#
# Eight tokens, `a a b a a b a b`. Equal letters point the same way, so the hash put every `a` into
# bucket 0 and every `b` into bucket 1. A chunk holds two.

# %%
buckets = jnp.array([0, 0, 1, 0, 0, 1, 0, 1])
chunk_len = 2

# %% [markdown]
# ## Part 1: Sort, and undo · ★☆☆ · 10 minutes
#
# Write `sort_and_undo(buckets)`. It returns two integer arrays of shape `(length,)`:
#
# * `order[s]` is the **position that stands in slot** `s` once the sequence is sorted by (bucket,
#   position): smaller buckets first, and inside a bucket the earlier position first;
# * `slot[i]` is the **slot in which position** `i` **stands**. With it, what was computed in
#   sorted order is put back: `x[order][slot]` is `x` again.
#
# For the running example:
#
# | position `i` | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
# |---|---|---|---|---|---|---|---|---|
# | token | a | a | b | a | a | b | a | b |
# | bucket | 0 | 0 | 1 | 0 | 0 | 1 | 0 | 1 |
# | **`slot[i]`** | 0 | 1 | 5 | 2 | 3 | ? | 4 | 7 |
#
# | slot `s` | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
# |---|---|---|---|---|---|---|---|---|
# | token | a | a | a | a | a | b | b | b |
# | **`order[s]`** | 0 | 1 | 3 | 4 | 6 | 2 | 5 | 7 |
#
# Before you write anything: which number belongs in the place of the question mark?
#
# <details><summary>Answer</summary>
#
# 6. Position 5 is the second `b`. Five `a`s come first and take the slots 0 to 4, the first `b`
#    takes slot 5. In the lower table you can read it off: `order[6]` is 5, so `slot[5]` is 6.
#
# </details>


# %%
def sort_and_undo(buckets):
    """Sort the positions of one round by (bucket, position).

    buckets  (length,) integers
    returns  order (length,): the position in each slot; slot (length,): the slot of each position
    """
    # SOLUTION
    order = jnp.argsort(buckets, stable=True)
    slot = jnp.zeros_like(order).at[order].set(jnp.arange(len(order)))
    return order, slot
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the order were descending: the largest bucket comes first. The smallest must.
# - stable=True
# + stable=True, descending=True

# It looks as if `slot` were `order` once more. To undo an order takes its inverse: slot[order[s]]
# = s for every slot s.
# - return order, slot
# + return order, order

# It looks as if the two results were exchanged: return (order, slot).
# - return order, slot
# + return slot, order

# It looks as if `slot` were counted from 1. Slots count from 0, like positions.
# - jnp.arange(len(order))
# + jnp.arange(1, len(order) + 1)

# The buckets are in order, but inside a bucket the positions are not. It looks as if the position
# were forgotten: numpy's default sort may exchange equal buckets, and kind="stable" does not.
# - jnp.argsort(buckets, stable=True)
# + jnp.asarray(np.argsort(np.asarray(buckets)))

# It looks as if sorted slots were turned round at the end: the largest bucket comes first, and in
# it the latest position.
# - jnp.argsort(buckets, stable=True)
# + jnp.argsort(buckets, stable=True)[::-1]

# `order` is right, but positions of one bucket share a `slot`: it looks like the first slot of the
# bucket. Each position has a slot of its own.
# - return order, slot
# + return order, jnp.searchsorted(buckets[order], buckets)

# `order` is right, but `slot` looks as if it were counted anew in each bucket. Slots count through
# the whole row.
# - return order, slot
# + return order, slot - jnp.searchsorted(buckets[order], buckets)

# `order` is right, but `slot` is not its inverse: order[order] is what stands two steps on. It
# takes slot[order[s]] = s.
# - return order, slot
# + return order, order[order]

# `order` is right, but `slot` looks like 0, 1, 2, … as it is. These numbers belong to the places
# that `order` names: slot[order[s]] = s.
# - return order, slot
# + return order, jnp.arange(len(order))

# `order` is right, but `slot` is all zeros. `x.at[places].set(values)` returns a changed copy, and
# x stays as it was: keep what it returns.
# - jnp.zeros_like(order).at[order].set(jnp.arange(len(order)))
# + jnp.zeros_like(order)

# `order` is right, but `slot` holds buckets. It must hold slots, 0 … length - 1, each once.
# - return order, slot
# + return order, buckets[order]
# or
# - return order, slot
# + return order, buckets

# `order` is right, but `slot` looks like the number that is sorted, bucket · length + position. A
# slot is its rank among all of these.
# - return order, slot
# + return order, buckets * len(buckets) + jnp.arange(len(buckets))

# `order` is right, but `slot` counts from the end.
# - return order, slot
# + return order, len(order) - 1 - slot

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# You do not want the sorted buckets but where they came from. There is a function for that, in
# `jax.numpy` as in numpy, whose name starts with `arg`.
#
# </details>
#
# <details><summary>Hint 2: equal buckets</summary>
#
# A sort that leaves equal entries in the order in which they stood is called *stable*. Then the
# position takes care of itself. Look at the arguments of `jnp.argsort`.
#
# </details>
#
# <details><summary>Hint 3: to undo</summary>
#
# `slot` is the inverse permutation: `slot[order[s]] = s` for every `s`. Start from zeros and write
# the numbers 0, 1, 2, … to the places that `order` names. jax arrays do not change in place;
# `x.at[places].set(values)` returns a changed copy.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     order = …
#     slot  = an array of zeros
#     slot[…] = 0, 1, … length - 1, all at once
#     return order, slot
#
# </details>

# %% tags=["check"]
check.sort_and_undo(sort_and_undo)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** `argsort` returns where each sorted entry came from, which is `order`. A
# stable sort keeps equal buckets in the order of their positions; jax sorts like that by default,
# numpy only with `kind="stable"`. `slot` turns the question round. `jnp.argsort(order)` would
# answer it as well, but it sorts again: to write each number to its place is one pass over the
# data.
#
# The package sorts one number for each position, bucket · length + position. No two are equal
# then, and no stable sort is needed.

# %% tags=["solution-only"]
order, slot = sort_and_undo(buckets)
assert order.tolist() == [0, 1, 3, 4, 6, 2, 5, 7]
assert slot.tolist() == [0, 1, 5, 2, 3, 6, 4, 7]
assert jnp.array_equal(buckets[order][slot], buckets)

# %% [markdown]
# ## Part 2: Who may look at whom · ★★☆ · 20 minutes
#
# The sorted row is cut into chunks of `chunk_len` slots; the last chunk may be shorter. Write
# `allowed_pairs(buckets, slot, chunk_len, causal)`. It returns a `bool` matrix of shape `(length,
# length)`, row = query, column = key, both counted by *position*. An entry is True where all of
# these hold:
#
# 1. the key's chunk is the query's own, or the one **before** it (the first chunk has none before
#    it);
# 2. both lie in the **same bucket**;
# 3. if `causal` is True, the key's position is not **later** than the query's;
# 4. the key is not the query **itself**.
#
# The running example, with `causal=True`. In sorted order the chunks are
#
# | chunk | 0 | 0 | 1 | 1 | 2 | 2 | 3 | 3 |
# |---|---|---|---|---|---|---|---|---|
# | position | 0 | 1 | 3 | 4 | 6 | 2 | 5 | 7 |
# | token | a | a | a | a | a | b | b | b |
#
# and `allowed` is (■ = True)
#
# | query ↓ key → | 0 a | 1 a | 2 b | 3 a | 4 a | 5 b | 6 a | 7 b |
# |---|---|---|---|---|---|---|---|---|
# | **0 a** | · | · | · | · | · | · | · | · |
# | **1 a** | ■ | · | · | · | · | · | · | · |
# | **2 b** | · | · | · | · | · | · | · | · |
# | **3 a** | ■ | ■ | · | · | · | · | · | · |
# | **4 a** | ■ | ■ | · | ■ | · | · | · | · |
# | **5 b** | · | · | ■ | · | · | · | · | · |
# | **6 a** | ? | ? | ? | ? | ? | ? | ? | ? |
# | **7 b** | · | · | ■ | · | · | ■ | · | · |
#
# Which entries of row 6 are True?
#
# <details><summary>Answer</summary>
#
# Keys 3 and 4. Position 6 stands in chunk 2. In its own chunk there is only a `b`, which is in
# another bucket. The chunk before holds 3 and 4. The keys 0 and 1 are `a`s as well, but two chunks
# back: a bucket may be longer than what a query can see of it.
#
# </details>


# %%
def allowed_pairs(buckets, slot, chunk_len, causal):
    """Which key each query may look at in one round.

    buckets  (length,) integers;  slot  (length,) integers, as in Part 1
    returns  (length, length) bool, row = query, column = key
    """
    # SOLUTION
    position = jnp.arange(len(buckets))
    chunk = slot // chunk_len
    chunks_back = chunk[:, None] - chunk[None, :]
    allowed = (chunks_back == 0) | (chunks_back == 1)
    allowed &= buckets[:, None] == buckets[None, :]
    allowed &= position[:, None] != position[None, :]
    if causal:
        allowed &= position[None, :] <= position[:, None]
    return allowed
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the causal mask were missing: query {0} may look at key {1}, which comes later.
# With causal=True only earlier positions count.
# - if causal:
# + if False:

# It looks as if the wrap-around were left in: query {0}, in the first chunk, may look at key {1},
# in the last. The first chunk has no chunk before it.
# - (chunks_back == 1)
# + (chunks_back % (chunk.max() + 1) == 1)

# It looks as if other buckets were let in: query {0} may look at key {1}, which lies in another
# bucket and is only a neighbour in the sorted row.
# - buckets[:, None] == buckets[None, :]
# + True

# It looks as if queries looked at the chunk after their own instead of the one before: see query
# {0} and key {1}.
# - (chunks_back == 1)
# + (chunks_back == -1)

# It looks as if only the own chunk counted: query {0} may not look at key {1}, which is in its
# bucket and in the chunk before.
# -  | (chunks_back == 1)

# It looks as if a query might look at itself: query {0} at key {1}. Leave the diagonal out.
# - position[:, None] != position[None, :]
# + True

# It looks as if the chunks were cut from the unsorted sequence. Position i stands in slot[i] of
# the sorted row, so its chunk is slot[i] // chunk_len. See query {0}, key {1}.
# - slot // chunk_len
# + position // chunk_len

# It looks as if rows and columns were exchanged: rows are queries, columns are keys.
# - return allowed
# + return allowed.T

# It looks as if more than one chunk before counted, see query {0} and key {1}. Only the last one
# before does.
# - (chunks_back == 1)
# + (chunks_back == 1) | (chunks_back == 2)
# or
# - (chunks_back == 0) | (chunks_back == 1)
# + chunks_back >= 0

# It looks as if the chunk after counted, too, see query {0} and key {1}. Only the own one does and
# the one before.
# - (chunks_back == 1)
# + (abs(chunks_back) == 1)

# It looks as if the own chunk were left out, see query {0} and key {1}.
# - (chunks_back == 0) | (chunks_back == 1)
# + chunks_back == 1

# It looks as if a query saw the chunk_len slots around it or before it, as in a sliding window.
# Chunks have fixed borders: slots 0 to chunk_len - 1 are the first. See query {0}, key {1}.
# - (chunks_back == 0) | (chunks_back == 1)
# + (slot[:, None] - slot >= 0) & (slot[:, None] - slot <= chunk_len)
# or
# - (chunks_back == 0) | (chunks_back == 1)
# + abs(slot[:, None] - slot) <= chunk_len

# It looks as if the chunk were slot % chunk_len. That is the place in the chunk; its number is
# slot // chunk_len.
# - slot // chunk_len
# + slot % chunk_len

# It looks as if chunk_len were the number of chunks. It is the number of slots in each.
# - slot // chunk_len
# + slot * chunk_len // len(slot)

# It looks as if keys had to be *later* than the query, see query {0} and key {1}. With causal=True
# they must not be.
# - position[None, :] <= position[:, None]
# + position[None, :] >= position[:, None]

# It looks as if pairs were always causal. With causal=False a query may look at later keys, too:
# see query {0}, key {1}.
# - if causal:
# + if True:

# It looks as if `causal` were turned round.
# - if causal:
# + if not causal:

# It looks as if buckets were read in the wrong order. buckets[i] is that of position i, as it is.
# - buckets[:, None] == buckets[None, :]
# + buckets[slot][:, None] == buckets[slot][None, :]

# It looks as if rows and columns were slots. They are positions.
# - return allowed
# + order = jnp.argsort(slot)
# +     return allowed[order][:, order]

# It looks as if the last chunk, which is shorter, were left out, or joined with the one before. It
# is a chunk as any other.
# - return allowed
# + full = chunk < len(slot) // chunk_len
# +     return allowed & full & full[:, None]
# or
# - slot // chunk_len
# + jnp.minimum(slot // chunk_len, len(slot) // chunk_len - 1)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write each rule as a matrix of its own and join them with `&`. To compare everything with
# everything, give the queries a second axis: `x[:, None]` has shape `(length, 1)`, `x[None, :]`
# has shape `(1, length)`, and any comparison of the two has shape `(length, length)`.
#
# </details>
#
# <details><summary>Hint 2: the chunks</summary>
#
# Slot `s` lies in chunk `s // chunk_len`. Position `i` stands in slot `slot[i]`, so its chunk is
# `slot[i] // chunk_len`. No reshape is needed, nor any gather.
#
# </details>
#
# <details><summary>Hint 3: one chunk back</summary>
#
# Subtract: the query's chunk less the key's chunk. 0 means the same chunk, 1 means the one before.
# What does the difference become for a query in the first chunk? Never 1, so there is nothing to
# wrap around.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     chunk[i]     = …
#     back[i, j]   = chunk[i] - chunk[j]
#     window[i, j] = back[i, j] is …
#     bucket[i, j] = …
#     other[i, j]  = …
#     past[i, j]   = j <= i, or not causal
#     return where all of them are true
#
# </details>

# %% tags=["check"]
check.allowed_pairs(allowed_pairs)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the four rules, one line each. Two remarks.
#
# *The wrap-around.* A common way to reach the chunk before is to move all chunks on by one, for
# example with `jnp.roll`. Then the first chunk gets the last one as its predecessor. A difference
# of chunk numbers has no such corner: for a query in the first chunk it is 0 or negative, never 1.
#
# *Rules that follow from others.* Inside a bucket the sorted row runs by position. So in a causal
# sequence a key of the same bucket in a later chunk also has a later position, and rule 3 forbids
# it: with rules 2 and 3 in force, neither a wrap-around nor a look at the chunk after can do any
# harm. That is why the check asks for `causal=False` too. Leave out rule 2, as trax and Hugging
# Face do, and the corner is back.

# %% tags=["solution-only"]
allowed = allowed_pairs(buckets, slot, chunk_len, causal=True)
reached = {query: jnp.flatnonzero(row).tolist() for query, row in enumerate(allowed)}
assert reached == {0: [], 1: [0], 2: [], 3: [0, 1], 4: [0, 1, 3], 5: [2], 6: [3, 4], 7: [2, 5]}

# %% [markdown]
# ## Part 3: One round · ★★☆ · 20 minutes
#
# Now the attention itself, over any set of allowed pairs. Write `attend(q, v, allowed, discount)`,
# which returns two arrays:
#
# * `out`, shape `(length, d_value)`: for each query the mean of the values, weighted by the
#   softmax of its scores;
# * `lse`, shape `(length,)`: the log of the sum of exp(score) over the same scores, the
#   *log-sum-exp*. It is the query's total weight in this round, and Part 4 lives on it.
#
# Queries and keys share one projection, so there is no `k` among the inputs. The score of query
# $i$ with key $j$ is
#
# $$
# s_{ij} = \begin{cases}
# q_i \cdot k_j - \text{discount}_{ij} \quad \text{with } k_j = q_j / \lVert q_j \rVert
# & \text{where allowed} \\
# -1000 & \text{where } i = j\text{, the last resort} \\
# -\infty & \text{elsewhere.}
# \end{cases}
# $$
#
# The key has length 1, the query keeps its own, and there is no further $1/\sqrt d$. `discount` is
# a matrix of shape `(length, length)` or simply 0; Part 4 will tell what it is for.
# (The chapter's last resort is $-10^5$. Here $-1000$ does the same and keeps more digits.)
#
# A small case to follow by hand, with `discount = 0`. Three queries
# $q_0 = (3, 4)$, $q_1 = (0, 2)$, $q_2 = (1, 0)$ have the keys
# $k_0 = (0.6, 0.8)$, $k_1 = (0, 1)$, $k_2 = (1, 0)$, and the values are 10, 20, 30. Each query may
# look at all earlier ones.
#
# | query | may look at | scores | weights | `out` | `lse` |
# |---|---|---|---|---|---|
# | 0 | nobody, so at itself | -1000 | 1 | ? | ? |
# | 1 | 0 | 1.6 | 1 | 10 | 1.6 |
# | 2 | 0 and 1 | 0.6 and 0 | 0.646 and 0.354 | 13.54 | log(e^0.6 + e^0) = 1.037 |
#
# What are `out` and `lse` of query 0, and what would they be without the last resort?
#
# <details><summary>Answer</summary>
#
# `out` is 10, its own value, since a softmax over one score gives it weight 1 whatever the score
# is. `lse` is -1000: next to any key really found, that weighs e^-1000, which is 0. Without the
# last resort all scores would be -∞, and the softmax 0/0, which is nan.
#
# </details>


# %%
def attend(q, v, allowed, discount=0.0):
    """One round of attention over the allowed pairs.

    q        (length, d_head);  v  (length, d_value)
    allowed  (length, length) bool, row = query, column = key; its diagonal is False
    discount (length, length), or 0: subtracted from the scores
    returns  out (length, d_value), lse (length,)
    """
    # SOLUTION
    keys = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
    scores = jnp.where(allowed, q @ keys.T - discount, -jnp.inf)
    itself = jnp.eye(len(q), dtype=bool)
    scores = jnp.where(itself, -1000.0, scores)
    lse = jax.nn.logsumexp(scores, axis=-1)
    return jnp.exp(scores - lse[:, None]) @ v, lse
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the keys were not normalised. The score is q·k with k = q/‖q‖: divide each key by
# its length.
# - q / jnp.linalg.norm(q, axis=-1, keepdims=True)
# + q

# It looks as if the scores were divided by √d as well. With keys of length 1 the score is q·k and
# nothing else.
# - q @ keys.T - discount
# + q @ keys.T / q.shape[1] ** 0.5 - discount

# It looks as if the queries were normalised too. Only the keys have length 1.
# - q @ keys.T - discount
# + keys @ keys.T - discount

# It looks as if the discount were ignored: subtract it from the scores.
# - q @ keys.T - discount
# + q @ keys.T

# It looks as if the discount were added. It has to be subtracted from the scores.
# - q @ keys.T - discount
# + q @ keys.T + discount

# It looks as if a query always looked at itself, see query {0}. It may as a last resort only: on
# the diagonal the score is -1000.
# - jnp.where(itself, -1000.0, scores)
# + jnp.where(itself, q @ keys.T, scores)

# Query {0} may look at no other key, and 0/0 is nan. It needs itself as a last resort: on the
# diagonal the score is -1000, not -inf.
# - jnp.where(itself, -1000.0, scores)
# + scores

# Query {0} may look at no other key, and got the mean of all values: where all scores are the
# same large negative number, all keys weigh the same. It needs itself as a last resort: -1000 on
# the diagonal, -inf elsewhere.
# - jnp.where(itself, -1000.0, scores)
# + scores
# - -jnp.inf
# + -1e30
# - jnp.exp(scores - lse[:, None]) @ v, lse
# + jax.nn.softmax(scores) @ v, lse

# Query {0} has only its last resort, and its `lse` looks like -100000, as in the chapter. Here
# the score on the diagonal is -1000, which keeps more digits in float32.
# - -1000.0
# + -1e5

# Query {0} has only its last resort, and its `lse` looks like q·k - 1000. The score on the
# diagonal is -1000 and nothing else.
# - jnp.where(itself, -1000.0, scores)
# + jnp.where(itself, q @ keys.T - 1000, scores)

# `out` is right, but `lse` looks like the largest score of each row. It is the log of the sum of
# exp(score) over the keys.
# - @ v, lse
# + @ v, scores.max(axis=-1)

# `out` is right, but `lse` looks like the sum of exp(score): its log is missing.
# - @ v, lse
# + @ v, jnp.exp(lse)

# `out` is right, but `lse` looks as if it were taken over all keys. Take it over the masked
# scores, those that went into the softmax.
# - @ v, lse
# + @ v, jax.nn.logsumexp(q @ keys.T - discount, axis=-1)

# It looks as if the weights did not add up to 1: divide by the sum of exp(score), or take
# exp(score - lse).
# - jnp.exp(scores - lse[:, None]) @ v, lse
# + jnp.exp(scores) @ v, lse

# It looks as if the softmax ran over the queries. It runs along a row, over the keys.
# - jnp.exp(scores - lse[:, None]) @ v, lse
# + jax.nn.softmax(scores, axis=0) @ v, lse

# It looks as if the keys did not have length 1: divide each row of q by its own norm, the root of
# the sum of its squares.
# - jnp.linalg.norm(q, axis=-1, keepdims=True)
# + (q**2).sum(axis=-1, keepdims=True)
# or
# - jnp.linalg.norm(q, axis=-1, keepdims=True)
# + jnp.linalg.norm(q)
# or
# - jnp.linalg.norm(q, axis=-1, keepdims=True)
# + jnp.linalg.norm(q, axis=0)

# It looks as if queries and keys were exchanged: the query keeps its length, and the key has
# length 1.
# - q @ keys.T
# + keys @ q.T

# It looks as if the discount were taken from the last resort, too. On the diagonal the score is
# -1000 and nothing else.
# - jnp.where(itself, -1000.0, scores)
# + jnp.where(itself, -1000.0 - discount, scores)

# It looks as if the logarithm were taken of the discount. It is one already: subtract it as it is.
# - - discount
# + - jnp.log(jnp.maximum(discount, 1))

# It looks as if scores were multiplied by something made of the discount. It is subtracted from
# them.
# - q @ keys.T - discount
# + q @ keys.T * jnp.exp(-discount)

# `out` is right, but `lse` looks as if it were taken of the scores without the discount.
# - @ v, lse
# + @ v, jax.nn.logsumexp(scores + jnp.where(itself, 0, discount), axis=-1)

# `out` is right, but `lse` looks like a log of the *mean* of exp(score). It is that of the sum.
# - @ v, lse
# + @ v, lse - jnp.log(len(q))

# `out` is right, but `lse` looks as if it ran over the queries. It runs along a row, over the
# keys.
# - @ v, lse
# + @ v, jax.nn.logsumexp(scores, axis=0)

# It looks as if the mask were transposed: rows are queries, columns are keys.
# - jnp.where(allowed
# + jnp.where(allowed.T

# It looks as if the mask were turned round: True is where a query may look.
# - jnp.where(allowed
# + jnp.where(~allowed

# It looks as if the last resort were not low enough, see query {0}: it is -1000.
# - -1000.0
# + 0.0
# or
# - -1000.0
# + -10.0
# or
# - -1000.0
# + -100.0

# It looks as if scores that are not allowed were low or 0, where they must be -inf. See query {0}:
# with its last resort they share the weight.
# - -jnp.inf
# + -1000.0
# or
# - -jnp.inf
# + -10.0
# or
# - -jnp.inf
# + 0.0

# Query {0} may look at no other key, and got zeros. As a last resort it attends to itself, with
# the score -1000: the mean is its own value.
# - return jnp.exp(scores - lse[:, None]) @ v, lse
# + return jnp.exp(scores - lse[:, None]) @ v * (lse > -999)[:, None], lse

# It looks as if exp were taken of scores as they are. In float32 exp(89) is infinite and
# exp(-1000) is 0, and either ends in nan: take the row's largest score off first, as
# jax.nn.softmax and logsumexp do.
# - return jnp.exp(scores - lse[:, None]) @ v, lse
# + weights = jnp.exp(scores)
# +     z = weights.sum(axis=-1)
# +     return weights @ v / z[:, None], jnp.log(z)
# or
# - return jnp.exp(scores - lse[:, None]) @ v, lse
# + weights = jnp.exp(scores)
# +     z = weights.sum(axis=-1)
# +     lse = jnp.where(z > 0, jnp.log(z), -1000.0)
# +     return weights @ v / jnp.maximum(z, 1e-30)[:, None], lse
# or
# - return jnp.exp(scores - lse[:, None]) @ v, lse
# + weights = jnp.exp(scores)
# +     z = weights.sum(axis=-1)
# +     out = jnp.where(z[:, None] > 0, weights @ v / z[:, None], v)
# +     return out, jnp.where(z > 0, jnp.log(z), -1000.0)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First one matrix `scores` that holds everything the formula says, masks included. After that only
# the softmax of its rows is left, and the log of what the softmax divides by.
#
# </details>
#
# <details><summary>Hint 2: three cases in two steps</summary>
#
# `jnp.where(condition, x, y)` chooses entry by entry. Use it twice: once with `allowed`, to put -∞
# where a pair is not allowed; once with the diagonal, `jnp.eye(length, dtype=bool)`, to put -1000
# there.
#
# </details>
#
# <details><summary>Hint 3: softmax and log-sum-exp</summary>
#
# `jax.nn.softmax` and `jax.nn.logsumexp` both take an `axis`: which one runs over the keys? You
# can also do with one of the two, because exp(score - lse) *is* the softmax.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     keys    = …
#     scores  = … where allowed, … elsewhere
#     scores  = … on the diagonal
#     lse     = logsumexp of each row
#     weights = exp(…)
#     return weights times v, lse
#
# </details>

# %% tags=["check"]
check.attend(attend)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** With -∞ a pair gets weight exactly 0. The last resort must be different:
# finite, so that a row is never empty, and so low that it vanishes beside any real score. e^-1000
# is 0 in float32 and in float64.
#
# *Why 1000?* The paper takes 10⁵, and so does the chapter. Near 10⁵, float32 numbers come in steps
# of 0.008, so a log-sum-exp down there knows only two decimals. Near 1000 the steps are 0.00006,
# and 1000 is low enough.
#
# *Why keys of length 1?* Otherwise a long vector would be everybody's favourite key. Now only its
# direction counts, which is also all that the hash looks at.

# %% tags=["solution-only"]
q, v = jnp.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]), jnp.array([[10.0], [20.0], [30.0]])
out, lse = attend(q, v, jnp.tri(3, k=-1, dtype=bool))
assert jnp.allclose(out[:, 0], jnp.array([10, 10, 13.54]), atol=0.005)
assert jnp.allclose(lse, jnp.array([-1000, 1.6, 1.037]), atol=0.0005)

# %% [markdown]
# ## Part 4: Several rounds, one softmax · ★★★ · 25 minutes
#
# One round of hashing misses some good keys, so LSH attention hashes several times. What a query
# ought to get is **one softmax over the union** of all the keys that its rounds found, each key
# counted once. But the rounds run one after the other, and each knows only its own keys.
#
# Write `join_rounds(q, v, allowed)` for `allowed` of shape `(n_hashes, length, length)`. It
# returns `out`, shape `(length, d_value)`. Go in three steps:
#
# 1. count for each pair the rounds that allow it, $N_{ij}$, and give each round the discount
#    $\log N_{ij}$, so that $N_{ij}$ copies of a key weigh as much as one;
# 2. call your `attend` for each round;
# 3. join the rounds' outputs, weighted by the softmax of their log-sum-exps. A round counts for as
#    much weight as it found.
#
# Here is why the discount is needed. A query finds key A (value 10) and key B (value 20) in the
# first round, and A once more in the second. Let both scores be 0, so that the right answer is
# plain: (10 + 20) / 2 = **15**.
#
# | | first round: A, B | second round: A | weights of the rounds | joined |
# |---|---|---|---|---|
# | without discount | `out` 15, `lse` log 2 | `out` 10, `lse` log 1 | 2/3, 1/3 | 13.33 |
# | with log N | `out` (½·10 + 20) / 1½ = 16.67, `lse` log 1½ | `out` 10, `lse` log ½ | ? | ? |
#
# Fill in the question marks before you go on.
#
# <details><summary>Answer</summary>
#
# The weights are as 1½ to ½, which is 3/4 and 1/4. Joined: ¾ · 16.67 + ¼ · 10 = 15, the right
# answer. Without the discount A counts twice and pulls the mean towards 10.
#
# </details>


# %%
def join_rounds(q, v, allowed):
    """Attention over the union of what several rounds allow.

    q        (length, d_head);  v  (length, d_value)
    allowed  (n_hashes, length, length) bool
    returns  out (length, d_value)
    """
    # SOLUTION
    n_rounds = allowed.sum(axis=0)
    discount = jnp.log(jnp.maximum(n_rounds, 1))
    rounds = [attend(q, v, one_round, discount) for one_round in allowed]
    outs = jnp.stack([out for out, _ in rounds])
    lses = jnp.stack([lse for _, lse in rounds])
    weights = jax.nn.softmax(lses, axis=0)
    return (weights[:, :, None] * outs).sum(axis=0)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if log N were forgotten: a key that two rounds find counts twice. Subtract log N
# from the scores of every round before its softmax. See query {0}.
# - jnp.log(jnp.maximum(n_rounds, 1))
# + 0.0
# or
# - one_round, discount)
# + one_round)

# It looks as if N were subtracted instead of log N. N copies of weight 1/N make one: exp(score -
# log N) is exp(score)/N.
# - jnp.log(jnp.maximum(n_rounds, 1))
# + n_rounds

# It looks as if log N were added. It has to be subtracted: a key that is found twice must weigh
# half in each round.
# - = jnp.log(
# + = -jnp.log(

# It looks as if the rounds were averaged. A round that found much must count for more: its weight
# is exp(lse), divided by the sum over the rounds. See query {0}.
# - jax.nn.softmax(lses, axis=0)
# + jnp.full_like(lses, 1 / len(lses))

# It looks as if the rounds were added up. Their weights must add up to 1: take a softmax of their
# lse.
# - jax.nn.softmax(lses, axis=0)
# + jnp.ones_like(lses)

# It looks as if the rounds were weighted by exp(-lse): the sign is wrong, so the round that found
# the least counts the most. See query {0}.
# - jax.nn.softmax(lses, axis=0)
# + jax.nn.softmax(-lses, axis=0)

# It looks as if the softmax of lse ran over the positions. It runs over the rounds: for each
# position their weights add up to 1.
# - jax.nn.softmax(lses, axis=0)
# + jax.nn.softmax(lses, axis=1)

# Query {0} finds no key in any round: its lse are near -1000, exp(lse) is 0 in all of them, and
# 0/0 is nan. jax.nn.softmax takes the largest off first.
# - jax.nn.softmax(lses, axis=0)
# + jnp.exp(lses) / jnp.exp(lses).sum(axis=0)

# It looks as if only the first round counted. Does each call of `attend` get a round of its own?
# See query {0}.
# - v, one_round, discount
# + v, allowed[0], discount

# It looks as if only the last round counted. Does the loop write over what it found? See query
# {0}.
# - in allowed]
# + in allowed[-1:]]

# It looks as if the first round were there several times. In real life this happens when every
# round hashes with the same key. See query {0}.
# -     n_rounds = allowed.sum(axis=0)
# +     allowed = jnp.stack([allowed[0]] * len(allowed))
# +     n_rounds = allowed.sum(axis=0)

# It looks as if a key had to be found by all rounds. One is enough: the keys are the union. See
# query {0}.
# -     n_rounds = allowed.sum(axis=0)
# +     return attend(q, v, allowed.all(axis=0))[0]
# +     n = allowed.sum(axis=0)

# It looks as if a round were weighted by the number of keys that it found. Its weight is exp(lse),
# which also counts how well they fit.
# - jax.nn.softmax(lses, axis=0)
# + allowed.sum(-1) / jnp.maximum(allowed.sum((0, -1)), 1)

# It looks as if the weights were lse / sum of lse. They are exp(lse) / sum of exp(lse), a softmax.
# - jax.nn.softmax(lses, axis=0)
# + lses / lses.sum(axis=0)

# It looks as if rounds were weighted by exp(lse) and not divided by the sum: see query {0}.
# - jax.nn.softmax(lses, axis=0)
# + jnp.exp(lses)

# It looks as if only the round with the largest lse counted. All do, weighted by exp(lse): see
# query {0}.
# - jax.nn.softmax(lses, axis=0)
# + 1.0 * (lses == lses.max(axis=0))

# It looks as if N were transposed: N[i, j] counts the rounds in which query i may look at key j.
# - = allowed.sum(axis=0)
# + = allowed.sum(axis=0).T

# It looks like log(N + 1). Only where N is 0 something else is needed: log(max(N, 1)).
# - jnp.maximum(n_rounds, 1)
# + n_rounds + 1

# It looks like log2 of N. Scores are exponents of e: take the natural logarithm.
# - jnp.log(
# + jnp.log2(

# It looks as if something else than log N were taken off the scores where N is 2 or more.
# - jnp.log(jnp.maximum(n_rounds, 1))
# + 1.0 * (n_rounds > 1)
# or
# - jnp.log(jnp.maximum(n_rounds, 1))
# + 1 - 1 / jnp.maximum(n_rounds, 1)

# It looks as if some rounds had the discount and others not. A key that N rounds find needs log N
# in each of them.
# - one_round, discount) for one_round in allowed]
# + one_round, discount * (r == 0)) for r, one_round in enumerate(allowed)]
# or
# - one_round, discount) for one_round in allowed]
# + one_round, discount * (r > 0)) for r, one_round in enumerate(allowed)]

# It looks as if each round were averaged with the mean of those before. Then the last one counts
# half, whatever it found.
# - jax.nn.softmax(lses, axis=0)
# + 0.5 ** jnp.array([len(lses) - 1, *range(len(lses) - 1, 0, -1)])[:, None]

# It looks as if some rounds were left out. All of them count: see query {0}.
# - in allowed]
# + in allowed[:2]]
# or
# - in allowed]
# + in allowed[:3]]
# or
# - in allowed]
# + in allowed[:: len(allowed) - 1]]

# It looks as if a key had to be found twice. Once is enough: the keys are the union.
# - return (weights[:, :, None] * outs).sum(axis=0)
# + return attend(q, v, n_rounds >= 2)[0]

# It looks as if the softmax of lse were taken twice.
# - jax.nn.softmax(lses, axis=0)
# + jax.nn.softmax(jax.nn.softmax(lses, axis=0), axis=0)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `allowed` is full of True and False, which count as 1 and 0. Along which axis must you add to
# count rounds?
#
# </details>
#
# <details><summary>Hint 2: pairs that no round allows</summary>
#
# Their count is 0, and log 0 is -∞. What you subtract from a score that does not matter does not
# matter either, so make it harmless: `jnp.maximum(n, 1)`.
#
# </details>
#
# <details><summary>Hint 3: the weights of the rounds</summary>
#
# Stack the log-sum-exps to shape `(n_hashes, length)`. For each query the weights of the rounds
# add up to 1, so the softmax runs along the first axis. To multiply outputs of shape `(n_hashes,
# length, d_value)` with them, give them a last axis: `weights[:, :, None]`.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     n        = number of rounds that allow each pair
#     discount = …
#     for each round r:
#         out[r], lse[r] = attend(…)
#     weight   = …, for each query
#     return the sum over r of …
#
# </details>

# %% tags=["check"]
check.join_rounds(join_rounds)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Write $Z_r = e^{\text{lse}_r}$ for the total weight that round $r$ found.
# Its output is $\frac{1}{Z_r} \sum_j \frac{1}{N_j} e^{s_j} v_j$ over the keys $j$ of the round.
# The softmax of the log-sum-exps weighs round $r$ by $Z_r / \sum_{r'} Z_{r'}$, so $Z_r$ cancels,
# and the joined output is
#
# $$
# \frac{\sum_r \sum_{j \in r} e^{s_j} v_j / N_j}{\sum_r \sum_{j \in r} e^{s_j} / N_j}
# = \frac{\sum_{j \in \text{union}} e^{s_j} v_j}{\sum_{j \in \text{union}} e^{s_j}},
# $$
#
# since a key that $N_j$ rounds found occurs $N_j$ times, with a weight of $1/N_j$ each time. That
# is the softmax over the union, exactly.
#
# A round in which a query found nothing has the log-sum-exp -1000 and drops out by itself. Where
# no round found anything, all of them return the query's own value, and any mean of that is the
# same.
#
# Nothing here is special to hashing. The same two lines join attention over *any* pieces: blocks
# of keys (the online softmax of exact attention in blocks), or keys on several machines.

# %% tags=["solution-only"]
# A (value 10), B (value 20) and the query, at right angles to each other: all scores are 0.
q, v = jnp.eye(3), jnp.array([[10.0], [20.0], [30.0]])
rounds = jnp.zeros((2, 3, 3), bool).at[0, 2, :2].set(True).at[1, 2, 0].set(True)
assert jnp.allclose(join_rounds(q, v, rounds)[2], 15)
outs = [attend(q, v, one_round)[0][2, 0] for one_round in rounds]
assert jnp.allclose(2 / 3 * outs[0] + 1 / 3 * outs[1], 13.33, atol=0.005)

# %% [markdown]
# ## All together
#
# Sort, chunk, attend, combine: here are your four functions in a row. There is nothing left to
# write. The check compares them with `efftx.attention.lsh_attention`, which never builds a matrix
# of all pairs.


# %%
def my_lsh_attention(q, v, buckets, chunk_len, causal):
    """LSH attention of one head; buckets (n_hashes, length)."""
    rounds = []
    for one_round in buckets:
        _, slot = sort_and_undo(one_round)
        rounds.append(allowed_pairs(one_round, slot, chunk_len, causal))
    return join_rounds(q, v, jnp.stack(rounds))


# %% tags=["check"]
check.my_lsh_attention(my_lsh_attention)

# %% [markdown]
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# With one round of hashing, LSH attention is no approximation at all. Here is a head of the small
# shared-QK Transformer on 512 positions of a text, with 32 buckets and chunks of 32. The error is
# the norm of what is wrong, divided by the norm of the exact output; whoever returns zeros has an
# error of 1.
#
# | rounds | 1 | 2 | 4 |
# |---|---|---|---|
# | error | 1.01 | 0.64 | 0.30 |
#
# **Predict before you run the next cells:** how many rounds does it take until the error is below
# 0.02? You are right if you are off by a factor of 1.5 at most.
#
# <details><summary>Hint 1: what a round does</summary>
#
# If a key is found with the chance $p$ in every round, what is the chance that it is still missing
# after $n$ rounds?
#
# </details>
#
# <details><summary>Hint 2: not all keys are alike</summary>
#
# From the table you can read a factor per round. Is it the same for the keys that are found first
# and for those that are found last?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # rounds

# %% tags=["solution-only"]
# From 1 to 4 rounds the error falls to two thirds each time. At that rate it takes 10 rounds to get
# to 0.02. But these were the easy keys; say that those left take twice as long.
my_guess = 20

# %% tags=["check"]
from efftx.check import lsh_attention_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.rounds_for_a_small_error.predicted(my_guess)
errors = {n: experiment.error(n) for n in experiment.ROUNDS}
goal = ("0.02", experiment.SMALL)
show(
    draw_experiment({"LSH": errors}, "rounds", "error", predicted=predicted, limit=goal),
    "The error of LSH attention against the number of rounds, both axes logarithmic. It is 1 with "
    "one round, falls ever more steeply, and passes 0.02 at 22 rounds.",
)

# %% tags=["check"]
check.rounds_for_a_small_error(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** For four rounds the error is a third, and the chapter's models work well with
# four or eight: what matters to them is the key with the largest weight, and that is the one that
# is found first. To come near the exact output everywhere takes many more, and each round computes
# $2 \cdot 32$ scores for each query: 22 of them are 1,408, more than the 512 there are. At this
# length one would take exact attention.

# %% [markdown]
# ### What separates yours from the fast one
#
# Your function computes all $L^2$ scores and throws most of them away. How many are needed? In one
# round a query sees two chunks: at $L$ = 65,536 with chunks of 64 that is 128 scores for each query
# in place of 65,536, a factor of 512. The fast version gathers queries and values in sorted order
# (your `order`), cuts them into chunks, multiplies each chunk with itself and with the one before,
# and puts the results back (your `slot`). Who may look at whom stays as you wrote it. In place of
# the discount the package counts a pair in the first round that finds it and in no other, which
# comes to the same: one copy of weight 1. [The chapter](../chapters/08_lsh_attention.ipynb) builds
# it.
#
# The package's `hash_vectors` makes the buckets. If you like, take `n_hashes` from 1 to 8 and look
# how your `my_lsh_attention` nears `efftx.attention.shared_qk_attention`.
