# %% [markdown]
# # Capstone · LSH attention, the fast way
#
# <!-- measured -->
#
# In [exercise 08](08_lsh_attention.ipynb) you wrote LSH attention with $L \times L$ matrices, and
# threw most of their entries away. Here you write it so that it is worth the trouble: no matrix of
# all pairs anywhere, neither forwards nor backwards. Afterwards you can
#
# * gather sorted positions into chunks, and put results back;
# * tell in chunks, by one subtraction, who may look at whom;
# * run the rounds one after the other, and join them as they come;
# * write a backward pass that keeps one number per query in place of all its weights.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check compares values and gradients with one softmax over the union of the
# rounds, through the whole matrix. Then it counts the numbers that your program makes at two
# lengths, and asks the compiler for its bytes: a function that makes an $L \times L$ matrix returns
# exactly the same numbers.
#
# You need exercise 08, and `jax.custom_vjp` from the
# [memory capstone](capstone_memory.ipynb). As there, queries are also the keys (divided by their
# length), there is one head, and the buckets are given. The length is a multiple of `chunk_len`.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import capstone_time as check

# %% [markdown]
# ## Part 1: The layout · ★☆☆ · 15 minutes
#
# Write `lay_out(buckets, chunk_len)` for all rounds at once; `buckets` is `(n_hashes, length)`. It
# returns three arrays of whole numbers:
#
# * `order`, `(n_hashes, n_chunks, chunk_len)`: the position that stands in each slot, cut into
#   chunks. Each round is sorted by (bucket, position), as in exercise 08;
# * `slot`, `(n_hashes, length)`: the slot in which a position stands;
# * `codes`, `(n_hashes, length)`: for each *position* its chunk + 2 · its bucket.
#
# The codes are what makes the fast way short. Query $i$ reaches key $j$ in a round where both are
# in the same bucket, and $j$'s chunk is $i$'s own or the one before. Instead of asking three
# questions, subtract: $\text{code}_i - \text{code}_j$ is 0 or 1 exactly where $i$ reaches $j$.
#
# Why? And why would chunk + bucket, without the 2, not do?
#
# <details><summary>Answer</summary>
#
# Along the sorted row neither chunks nor buckets ever decrease, so the two differences never have
# opposite signs, and nothing can cancel. The sum of the one and twice the other is 0 only where
# both are 0, and 1 only where the chunks differ by 1 and the buckets do not. Without the 2 it would
# also be 1 within a chunk, between a bucket and the next one.
#
# </details>


# %%
def lay_out(buckets, chunk_len):
    """Who stands where, in every round.

    buckets  (n_hashes, length) integers
    returns  order (n_hashes, n_chunks, chunk_len), slot and codes (n_hashes, length)
    """
    # SOLUTION
    order = jnp.argsort(buckets, axis=1, stable=True)
    slot = jnp.argsort(order, axis=1)
    codes = slot // chunk_len + 2 * buckets
    return order.reshape(len(buckets), -1, chunk_len), slot, codes
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if `slot` were `order` once more. It is the inverse: slot[r, order[r, s]] = s.
# - slot = jnp.argsort(order, axis=1)
# + slot = order

# `order` and `slot` are right. It looks as if `codes` were chunk + bucket. The bucket counts twice,
# so that a step to the next bucket cannot be taken for a step to the chunk before.
# - slot // chunk_len + 2 * buckets
# + slot // chunk_len + buckets

# `order` and `slot` are right. It looks as if `codes` were 2 · chunk + bucket. It is the bucket
# that counts twice.
# - slot // chunk_len + 2 * buckets
# + 2 * (slot // chunk_len) + buckets

# `order` and `slot` are right. It looks as if the chunks in `codes` were cut from the text as it
# stands. A position's chunk is that of its slot.
# - slot // chunk_len + 2 * buckets
# + jnp.arange(buckets.shape[1]) // chunk_len + 2 * buckets

# `order` and `slot` are right. It looks as if `codes` stood in sorted order, slot by slot. They
# belong to positions: codes[r, i] is that of position i.
# - return order.reshape(len(buckets), -1, chunk_len), slot, codes
# + sorted_codes = jnp.take_along_axis(codes, order, axis=1)
# +     return order.reshape(len(buckets), -1, chunk_len), slot, sorted_codes

# `order` and `slot` are right. It looks as if `codes` held slots in the place of chunks: divide by
# chunk_len and round down.
# - slot // chunk_len + 2
# + slot + 2

# `order` and `slot` are right. It looks as if `codes` held a position's place within its chunk:
# divide by chunk_len, and do not take the rest.
# - slot // chunk_len + 2
# + slot % chunk_len + 2

# `order` and `slot` are right. It looks as if the bucket were taken off. It is added, so that both
# rise along the sorted row.
# - slot // chunk_len + 2 * buckets
# + slot // chunk_len - 2 * buckets

# `order` and `slot` are right. It looks as if the chunks in `codes` were those of `order`: a
# position's chunk is slot // chunk_len.
# - slot // chunk_len + 2 * buckets
# + order // chunk_len + 2 * buckets

# It looks as if `order` and `slot` were exchanged.
# - order.reshape(len(buckets), -1, chunk_len), slot
# + slot.reshape(len(buckets), -1, chunk_len), order

# It looks as if the sort ran over the rounds. Each round, a row, is sorted by itself.
# - order = jnp.argsort(buckets, axis=1, stable=True)
# + order = jnp.argsort(buckets, axis=0, stable=True)
# or
# - order = jnp.argsort(buckets, axis=1, stable=True)
# + order = jnp.argsort(buckets, axis=0, stable=True)
# - slot = jnp.argsort(order, axis=1)
# + slot = jnp.argsort(order, axis=0)
# or
# - slot = jnp.argsort(order, axis=1)
# + slot = jnp.argsort(order, axis=0)

# `order` and `slot` are right. It looks as if the buckets in `codes` stood in sorted order. Chunk and
# bucket must be those of the same position.
# - slot // chunk_len + 2 * buckets
# + slot // chunk_len + 2 * jnp.take_along_axis(buckets, order, axis=1)

# It looks as if the largest bucket stood first. Buckets and chunks must rise together, or codes
# cannot tell who reaches whom.
# - axis=1, stable=True)
# + axis=1, stable=True, descending=True)

# It looks as if the rounds' order were that of the first round in all of them.
# - order = jnp.argsort(buckets, axis=1, stable=True)
# + order = jnp.broadcast_to(jnp.argsort(buckets[0], stable=True), buckets.shape)

# It looks as if chunks were dealt out like cards: slots 0, n_chunks, 2 · n_chunks … in the first
# one. A chunk is chunk_len slots that follow each other.
# - return order.reshape(len(buckets), -1, chunk_len), slot, codes
# + dealt = order.reshape(len(buckets), chunk_len, -1).swapaxes(1, 2)
# +     return dealt, slot, codes

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# It is `sort_and_undo` of exercise 08, with an axis more. `jnp.argsort` takes `axis` and `stable`.
#
# </details>
#
# <details><summary>Hint 2: which chunk</summary>
#
# A position's chunk is its slot, divided by `chunk_len` and rounded down.
#
# </details>

# %% tags=["check"]
check.lay_out(lay_out)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Each row is sorted by itself, and `argsort` of an order is its inverse. All
# three arrays have a row for each round and one number for each position.

# %% [markdown]
# ## Part 2: The scores of a round · ★★★ · 25 minutes
#
# Write `round_scores(q, r, order, codes, causal)`, the scores of round `r`, chunk by chunk. In row
# $a$ of chunk $c$ stands the query in slot $a$ of that chunk. Its keys are two chunks: **first the
# chunk before, then its own**. So the result is `(n_chunks, chunk_len, 2 · chunk_len)`:
#
# $$
# \text{score}_{ij} = \begin{cases} q_i \cdot q_j / \lVert q_j \rVert - \log N_{ij} & \text{if round
# } r \text{ lets } i \text{ reach } j \ne i \text{, and } j \text{ is not later if causal} \\ -1000
# & \text{if } j \text{ is } i \text{, in its own chunk} \\ -\infty & \text{otherwise.} \end{cases}
# $$
#
# $N_{ij}$ is the number of rounds in which $i$ reaches $j$, so that a key that is found several
# times counts once in all, as in exercise 08. The second line is the last resort. The first chunk
# has none before it: its first `chunk_len` columns are −∞.
#
# `r` may be a number that jax does not know yet, since Part 3 calls you in a loop. `order[r]` works
# all the same.
#
# A round with two chunks of two: slots hold the positions `[[0, 3], [1, 2]]`, all in one bucket,
# and `causal` is True. Which entries are not −∞?
#
# | query ↓ | key before | key before | own key | own key |
# |---|---|---|---|---|
# | 0 | – | – | ? | ? |
# | 3 | – | – | ? | ? |
# | 1 | ? | ? | ? | ? |
# | 2 | ? | ? | ? | ? |
#
# <details><summary>Answer</summary>
#
# | query ↓ | key before | key before | own key | own key |
# |---|---|---|---|---|
# | 0 | – | – | itself | 3, later |
# | 3 | – | – | **0** | itself |
# | 1 | **0** | 3, later | itself | 2, later |
# | 2 | **0** | 3, later | **1** | itself |
#
# Query 0 has its last resort alone.
#
# </details>


# %%
def round_scores(q, r, order, codes, causal):
    """The scores of one round, for the keys of the chunk before and of the own one.

    q        (length, d_head)
    r        which round
    order    (n_hashes, n_chunks, chunk_len);  codes (n_hashes, length): as from lay_out
    returns  (n_chunks, chunk_len, 2 · chunk_len)
    """
    # SOLUTION
    own = order[r]
    nobody = jnp.full_like(own[:1], -1)
    keys_at = jnp.concatenate([jnp.concatenate([nobody, own[:-1]]), own], axis=1)
    query, key = own[:, :, None], keys_at[:, None, :]

    def reached(code):
        back = code[query] - code[key]
        return (key >= 0) & ((back == 0) | (back == 1))

    allowed = reached(codes[r]) & (key != query)
    if causal:
        allowed &= key < query
    n_rounds = sum(reached(code).astype(int) for code in codes)
    keys = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
    scores = jnp.einsum("cqd,ckd->cqk", q[own], keys[keys_at])
    scores = scores - jnp.log(jnp.maximum(n_rounds, 1))
    scores = jnp.where(allowed, scores, -jnp.inf)
    return jnp.where(key == query, -1000.0, scores)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the causal mask were missing: with causal=True a key that stands later in the text
# gets −inf.
# - if causal:
# + if False:

# It looks as if the first chunk looked back to the last one. It has no chunk before it.
# - nobody = jnp.full_like(own[:1], -1)
# + nobody = own[-1:]

# It looks as if the own chunk stood first. The chunk before it has the first chunk_len columns.
# - jnp.concatenate([jnp.concatenate([nobody, own[:-1]]), own], axis=1)
# + jnp.concatenate([own, jnp.concatenate([nobody, own[:-1]])], axis=1)

# It looks as if queries looked at the chunk after their own, and not at the one before.
# - jnp.concatenate([nobody, own[:-1]]), own]
# + jnp.concatenate([own[1:], nobody]), own]

# It looks as if other buckets were let in: a chunk may hold several. The difference of the codes
# tells.
# - allowed = reached(codes[r]) & (key != query)
# + allowed = (key >= 0) & (key != query)

# It looks as if log N were forgotten: a key that two rounds find would count twice.
# -  - jnp.log(jnp.maximum(n_rounds, 1))

# It looks as if log N were added. It is taken off the scores.
# - scores - jnp.log(
# + scores + jnp.log(

# It looks as if N counted the rounds up to this one. It counts them all, also those to come.
# - for code in codes)
# + for code in codes[: r + 1])

# It looks as if the logarithm of the number of rounds were taken off every pair. N is the number of
# rounds that reach this one.
# - jnp.maximum(n_rounds, 1)
# + len(codes)

# It looks as if log(N + 1) were taken off.
# - jnp.maximum(n_rounds, 1)
# + n_rounds + 1

# It looks as if N were taken off, and not log N.
# - jnp.log(jnp.maximum(n_rounds, 1))
# + jnp.maximum(n_rounds, 1)

# It looks as if the codes of the first round were asked in every round.
# - reached(codes[r])
# + reached(codes[0])

# It looks as if a pair counted wherever any round reaches it. Here only those of round r count; the
# other rounds are for N.
# - allowed = reached(codes[r]) & (key != query)
# + allowed = (n_rounds_any := sum(reached(code).astype(int) for code in codes)) > 0
# +     allowed &= key != query

# It looks as if the keys were not divided by their length.
# - q / jnp.linalg.norm(q, axis=-1, keepdims=True)
# + q

# It looks as if the queries were divided by their length, too. Only keys are.
# - "cqd,ckd->cqk", q[own]
# + "cqd,ckd->cqk", keys[own]

# It looks as if the queries were divided by their length, and not the keys.
# - q[own], keys[keys_at]
# + keys[own], q[keys_at]

# It looks as if the length of a key were taken along the wrong axis: each row of q has one.
# - axis=-1, keepdims=True)
# + axis=0, keepdims=True)

# It looks as if keys came in that are later, and the earlier ones were left out.
# - key < query
# + key > query

# It looks as if a large negative number stood where −∞ belongs. Next to a last resort of −1000 it
# must be nothing at all.
# - jnp.where(allowed, scores, -jnp.inf)
# + jnp.where(allowed, scores, -1e9)
# or
# - jnp.where(allowed, scores, -jnp.inf)
# + jnp.where(allowed, scores, -1e5)

# It looks as if pairs that do not count had the score 0. Their weight must be 0, and e⁰ is 1.
# - jnp.where(allowed, scores, -jnp.inf)
# + jnp.where(allowed, scores, 0.0)

# It looks as if the last resort were −100000, as in the chapter. Here it is −1000, which keeps more
# digits in float32.
# - -1000.0, scores)
# + -1e5, scores)

# It looks as if only the own chunk counted. The one before it counts as well: there the codes differ
# by 1.
# - (back == 0) | (back == 1)
# + back == 0

# It looks as if the scores were divided by √d as well.
# - scores - jnp.log
# + scores / q.shape[1] ** 0.5 - jnp.log

# It looks as if the last resort were missing. A query's score with itself is −1000.
# - return jnp.where(key == query, -1000.0, scores)
# + return scores

# It looks as if a query looked at itself as at any other key. Its score with itself is −1000.
# - return jnp.where(key == query, -1000.0, scores)
# + itself = jnp.einsum("cqd,ckd->cqk", q[own], keys[keys_at])
# +     return jnp.where(key == query, itself, scores)

# It looks as if log N were taken off the last resort, too. It is −1000 and nothing else.
# - -1000.0, scores)
# + -1000.0 - jnp.log(n_rounds), scores)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Begin with positions, not with vectors: one array of the positions that stand as queries,
# `(n_chunks, chunk_len)`, and one of those that stand as keys, `(n_chunks, 2 · chunk_len)`.
# Everything else follows from these two.
#
# </details>
#
# <details><summary>Hint 2: the chunk before</summary>
#
# Moved on by one chunk: `jnp.concatenate([something, own[:-1]])`. What stands before the first
# chunk must be recognised as nobody. No position is −1.
#
# </details>
#
# <details><summary>Hint 3: all pairs of a chunk</summary>
#
# With `query = own[:, :, None]` and `key = both[:, None, :]` any comparison of the two has the
# shape of the scores, and so has `code[query] - code[key]`.
#
# </details>
#
# <details><summary>Hint 4: N</summary>
#
# Ask every round's codes the same question and add up the answers. Of a pair that no round allows
# the count does not matter, but log 0 would.
#
# </details>

# %% tags=["check"]
check.round_scores(round_scores)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The two arrays of positions say who could meet whom: each query $2m$ keys,
# whatever the length. Whether they do meet is asked of positions and codes, which are numbers, and
# only then are vectors gathered. −1 as an index picks the last position; its score is computed and
# then masked, like any other that does not count.

# %% [markdown]
# ## Part 3: All rounds · ★★☆ · 20 minutes
#
# Write `attend(q, v, order, slot, codes, causal)`. It returns `out`, `(length, d_value)`, and
# `lse`, `(length,)`, the log-sum-exp of each query over all rounds, both in the order of the text.
# Three steps for each round:
#
# 1. softmax over a query's $2m$ scores, its output and its log-sum-exp;
# 2. put them back, from slots to positions;
# 3. join them with those of the rounds before. Two pieces with outputs $o_a, o_b$ and log-sum-exps
#    $\ell_a, \ell_b$ together have
#
# $$\ell = \log(e^{\ell_a} + e^{\ell_b}), \qquad o = e^{\ell_a - \ell}\, o_a + e^{\ell_b - \ell}\, o_b.$$
#
# Let `jax.lax.scan` run the rounds, with `out` and `lse` as its carry, so that only one round's
# scores exist at a time. With which `out` and `lse` does it begin?
#
# <details><summary>Answer</summary>
#
# With those of no keys at all: 0, and log 0, which is −∞. The first join gives them the weight
# $e^{-\infty} = 0$. (The join would fail where *both* are −∞. The last resort sees to it that no
# round's ever is.)
#
# </details>


# %%
def attend(q, v, order, slot, codes, causal):
    """One softmax over the union of what the rounds let a query reach.

    q (length, d_head);  v (length, d_value);  order, slot, codes  as from lay_out
    returns  out (length, d_value), lse (length,)
    """

    # SOLUTION
    def add_round(so_far, r):
        scores = round_scores(q, r, order, codes, causal)
        before = jnp.concatenate([order[r][:1], order[r][:-1]])
        values = v[jnp.concatenate([before, order[r]], axis=1)]
        lses = jax.nn.logsumexp(scores, axis=-1)
        outs = jnp.exp(scores - lses[..., None]) @ values
        piece = outs.reshape(v.shape)[slot[r]], lses.reshape(-1)[slot[r]]
        return joined(*so_far, *piece), None

    def joined(out_a, lse_a, out_b, lse_b):
        lse = jnp.logaddexp(lse_a, lse_b)
        share_a, share_b = jnp.exp(lse_a - lse)[:, None], jnp.exp(lse_b - lse)[:, None]
        return share_a * out_a + share_b * out_b, lse

    nothing = jnp.zeros_like(v), jnp.full(len(v), -jnp.inf)
    return jax.lax.scan(add_round, nothing, jnp.arange(len(order)))[0]
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if results were left in sorted order. `slot` puts them back: result[slot[r]].
# - outs.reshape(v.shape)[slot[r]], lses.reshape(-1)[slot[r]]
# + outs.reshape(v.shape), lses.reshape(-1)

# It looks as if results were put back with `order`. Result number slot[i] belongs to position i.
# - outs.reshape(v.shape)[slot[r]], lses.reshape(-1)[slot[r]]
# + outs.reshape(v.shape)[order[r].reshape(-1)], lses.reshape(-1)[order[r].reshape(-1)]

# It looks as if the values stood in the wrong order: the scores' first columns belong to the chunk
# before, the last ones to the own chunk.
# - [before, order[r]]
# + [order[r], before]

# It looks as if the values of the own chunk stood there twice. The first columns belong to the chunk
# before.
# - [before, order[r]]
# + [order[r], order[r]]

# It looks as if every round were put back with the slots of the first.
# - outs.reshape(v.shape)[slot[r]], lses.reshape(-1)[slot[r]]
# + outs.reshape(v.shape)[slot[0]], lses.reshape(-1)[slot[0]]

# It looks as if the log-sum-exps were left in sorted order. They are put back, as the outputs are.
# - lses.reshape(-1)[slot[r]]
# + lses.reshape(-1)

# It looks as if weights did not add up to 1 in a round: exp(score) is divided by its sum, or score −
# lse goes into exp.
# - jnp.exp(scores - lses[..., None]) @ values
# + jnp.exp(scores) @ values

# It looks as if log-sum-exps were added up. The weights are: log(exp(a) + exp(b)).
# - jnp.logaddexp(lse_a, lse_b)
# + jnp.where(jnp.isfinite(lse_a), lse_a + lse_b, lse_b)

# It looks as if the larger of two log-sum-exps were carried on. Both count: log(exp(a) + exp(b)).
# - jnp.logaddexp(lse_a, lse_b)
# + jnp.maximum(lse_a, lse_b)

# It looks as if each round were joined with the log-sum-exp of the round before it. The joined one
# is carried on.
# - share_a * out_a + share_b * out_b, lse
# + share_a * out_a + share_b * out_b, lse_b

# It looks as if the first round were left out.
# - jnp.arange(len(order))
# + jnp.arange(1, len(order))

# It looks as if only the last round counted. The carry holds what was found before it.
# - joined(*so_far, *piece), None
# + piece, None

# It looks as if only the first round counted.
# - scores = round_scores(q, r, order, codes, causal)
# + scores, r = round_scores(q, 0, order, codes, causal), 0

# It looks as if the rounds were added up with their full weight. Each counts with its share,
# exp(its lse − the joined lse).
# - share_a * out_a + share_b * out_b, lse
# + out_a + out_b, lse

# It looks as if the two pieces were averaged, whatever they had found.
# - share_a * out_a + share_b * out_b, lse
# + (out_a + out_b) / (1 + jnp.isfinite(lse_a))[:, None], lse

# It looks as if the shares were exchanged between the pieces.
# - share_a * out_a + share_b * out_b, lse
# + jnp.where(jnp.isfinite(lse_a)[:, None], share_b * out_a + share_a * out_b, out_b), lse

# `out` is right, but `lse` looks like that of the last round. It goes on in the carry, joined.
# - nothing = jnp.zeros_like(v)
# + last = jax.nn.logsumexp(round_scores(q, len(order) - 1, order, codes, causal), axis=-1)
# +     start = jnp.zeros_like(v), jnp.full(len(v), -jnp.inf)
# +     right = jax.lax.scan(add_round, start, jnp.arange(len(order)))[0]
# +     return right[0], last.reshape(-1)[slot[-1]]
# +     nothing = jnp.zeros_like(v)

# `out` is right, but `lse` looks like the largest of the rounds' log-sum-exps. The sum of two
# weights is wanted: log(exp(a) + exp(b)).
# - nothing = jnp.zeros_like(v)
# + most = jnp.full(len(v), -jnp.inf)
# +     for r in range(len(order)):
# +         one = jax.nn.logsumexp(round_scores(q, r, order, codes, causal), axis=-1)
# +         most = jnp.maximum(most, one.reshape(-1)[slot[r]])
# +     start = jnp.zeros_like(v), jnp.full(len(v), -jnp.inf)
# +     return jax.lax.scan(add_round, start, jnp.arange(len(order)))[0][0], most
# +     nothing = jnp.zeros_like(v)

# It looks as if it began with a log-sum-exp of 0: that is the weight of one key with score 0, and
# value 0. Nothing has −inf.
# - jnp.full(len(v), -jnp.inf)
# + jnp.zeros(len(v))

# It looks as if plain exp(score) had been added up: where a query has its last resort alone,
# exp(−1000) is 0, and 0/0 is nan. Use log-sum-exp, which takes the largest off first.
# - lses = jax.nn.logsumexp(scores, axis=-1)
# + lses = jnp.log(jnp.exp(scores).sum(axis=-1))

# It looks as if the softmax ran over the queries of a chunk. It runs over the keys, the last axis.
# - jnp.exp(scores - lses[..., None]) @ values
# + jnp.nan_to_num(jax.nn.softmax(scores, axis=1)) @ values

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write the body for one round first, and try it with `r = 0`. It takes the pair `(out, lse)` and
# `r`, and returns the new pair and `None`.
#
# </details>
#
# <details><summary>Hint 2: values</summary>
#
# Gather `v` for the same keys, in the same columns, as the scores: chunk before, own chunk. Before
# the first chunk anything may stand that is a number, since its weight is 0.
#
# </details>
#
# <details><summary>Hint 3: back to positions</summary>
#
# Join chunks and slots to one axis, `(length, …)`. Now row $s$ belongs to slot $s$, and `[slot[r]]`
# picks for each position the row of its slot.
#
# </details>
#
# <details><summary>Hint 4: joining</summary>
#
# `jnp.logaddexp` is the formula for $\ell$, without overflow.
#
# </details>

# %% tags=["check"]
check.attend(attend)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The joined output is $\sum_r e^{\ell_r} o_r / \sum_r e^{\ell_r}$, as in
# exercise 08, taken one round at a time: the carry is always what it would be if there were no
# further round. Scores, weights and gathered values live in the body of the scan, and the next
# round uses the same memory.

# %% [markdown]
# ## Part 4: Backward · ★★★ · 30 minutes
#
# If jax differentiates `attend`, it keeps the weights of every round. They need not be kept. With
# the final log-sum-exp, any weight can be had again from its score:
#
# $$p_{ij} = e^{\text{score}_{ij} - \ell_i}, \qquad o_i = \sum_j p_{ij} v_j,$$
#
# where the sum runs over the keys of all rounds, and $\ell_i$ is that of all rounds, too. Let $g_i$
# be the gradient of the loss for $o_i$. Then
#
# | for | the gradient is |
# |---|---|
# | $v_j$ | $\sum_i p_{ij}\, g_i$ |
# | $\text{score}_{ij}$ | $p_{ij}\; g_i \cdot (v_j - \;?\;)$ |
#
# What stands in the place of the question mark?
#
# <details><summary>Answer</summary>
#
# $o_i$. If $\text{score}_{ij}$ rises, key $j$ gets more weight at the cost of all others in
# proportion: the output moves from where it is, $o_i$, towards $v_j$. (From the softmax: $\partial
# p_{ik} / \partial \text{score}_{ij} = p_{ik}(\delta_{kj} - p_{ij})$, and so $\partial o_i /
# \partial \text{score}_{ij} = p_{ij} (v_j - o_i)$.)
#
# </details>
#
# $o_i$ and $\ell_i$ know of all rounds, so in the backward pass the rounds need not know of each
# other. Each is rebuilt, gives its part of the two gradients, and is forgotten.
#
# Write `backward(q, v, order, slot, codes, out, lse, g, causal)`; it returns the gradients for `q`
# and `v`. From the scores to `q` you need not differentiate by hand:
#
#     scores, pull_back = jax.vjp(lambda q: round_scores(q, r, order, codes, causal), q)
#     (part_of_g_q,) = pull_back(gradient_of_scores)
#
# It takes care of the queries, of the keys, and of their lengths.


# %%
def backward(q, v, order, slot, codes, out, lse, g, causal):
    """From the gradient of the output to those of q and v.

    q, v, order, slot, codes, causal   as in attend;  out, lse   what attend returned
    g        (length, d_value): the gradient of the loss for out
    returns  the gradients for q and v, of their shapes
    """

    # SOLUTION
    def add_round(so_far, r):
        g_q, g_v = so_far
        own = order[r]
        keys_at = jnp.concatenate([jnp.concatenate([own[:1], own[:-1]]), own], axis=1)
        scores, pull_back = jax.vjp(lambda q: round_scores(q, r, order, codes, causal), q)
        p = jnp.exp(scores - lse[own][:, :, None])
        to_values = jnp.einsum("cqd,ckd->cqk", g[own], v[keys_at])
        g_scores = p * (to_values - (g * out).sum(-1)[own][:, :, None])
        g_v = g_v.at[keys_at].add(jnp.einsum("cqk,cqd->ckd", p, g[own]))
        return (g_q + pull_back(g_scores)[0], g_v), None

    nothing = jnp.zeros_like(q), jnp.zeros_like(v)
    return jax.lax.scan(add_round, nothing, jnp.arange(len(order)))[0]
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if every round had a softmax of its own: the weights are exp(score − lse) with the lse
# of all rounds, which you are given.
# - jnp.exp(scores - lse[own][:, :, None])
# + jax.nn.softmax(scores, axis=-1)

# The gradient of v is right. In that of q the output seems to be missing: a score moves the output
# towards v_j, and away from where it is, o_i.
# - p * (to_values - (g * out).sum(-1)[own][:, :, None])
# + p * to_values

# The gradient of v is right. In that of q the weights seem to be missing: a key of weight 0 moves
# nothing.
# - p * (to_values - (g * out).sum(-1)[own][:, :, None])
# + (p > 0) * (to_values - (g * out).sum(-1)[own][:, :, None])

# The gradient of v is right. It looks as if o_i were added where it must be taken off.
# - p * (to_values - (g
# + p * (to_values + (g

# The gradient of v is right. It looks as if o of the keys were taken off, and not o of the query.
# - (g * out).sum(-1)[own][:, :, None])
# + jnp.einsum("cqd,ckd->cqk", g[own], out[keys_at]))

# The gradient of q is right. It looks as if the gradients for v were written one over the other: a
# position is a key in its own chunk and in the next one, and in every round. Add them up.
# - g_v.at[keys_at].add(
# + g_v.at[keys_at].set(

# The gradient of q is right. In that of v the gradient of the output seems to stand at the keys:
# v_j gets the g of the queries that look at it.
# - jnp.einsum("cqk,cqd->ckd", p, g[own]))
# + p.sum(1)[:, :, None] * g[keys_at])

# It looks as if the sign of the gradient for q were wrong.
# - g_scores = p * (to
# + g_scores = -p * (to

# The gradient of v is right. It looks as if each query's own value were taken off, and not its
# output.
# - (g * out).sum(-1)[own]
# + (g * v).sum(-1)[own]

# It looks as if lse were missing: the weights are exp(score − lse).
# - jnp.exp(scores - lse[own][:, :, None])
# + jnp.exp(scores)

# The gradient of v is right. It looks as if p went back through the scores, and not their gradient.
# - pull_back(g_scores)
# + pull_back(p)

# It looks as if the scores were those of the first round in every round.
# - round_scores(q, r, order
# + round_scores(q, 0, order

# It looks as if the last round were left out.
# - jnp.arange(len(order))
# + jnp.arange(len(order) - 1)

# The gradient of q is right. It looks as if that of the scores went to the values: they get p · g.
# - "cqk,cqd->ckd", p
# + "cqk,cqd->ckd", g_scores

# The gradient of v is right. It looks as if g · o were read at the keys. It belongs to the query.
# - (g * out).sum(-1)[own][:, :, None])
# + (g * out).sum(-1)[keys_at][:, None, :])

# It looks as if only the last round's part were returned. The parts of all rounds are added up.
# - g_q + pull_back(g_scores)[0], g_v), None
# + pull_back(g_scores)[0], g_v), None
# - g_v = g_v.at
# + g_v = (0 * g_v).at

# It looks as if the gradients of q and v were exchanged: return that of q first.
# - jnp.arange(len(order)))[0]
# + jnp.arange(len(order)))[0][::-1]

# It looks as if lse and g were read by slot where they stand by position: lse[order[r]] is what
# belongs to the queries in the slots.
# - jnp.exp(scores - lse[own][:, :, None])
# + jnp.exp(scores - lse.reshape(own.shape)[:, :, None])

# It looks as if all but the own chunk were forgotten in the gradient for v: the first chunk_len
# columns belong to the chunk before, and it gets its part, too.
# - jnp.einsum("cqk,cqd->ckd", p, g[own]))
# + jnp.einsum("cqk,cqd->ckd", p.at[:, :, : own.shape[1]].set(0), g[own]))

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# The loop is that of Part 3 with another body. Its carry is the two gradients, and it begins with
# zeros.
#
# </details>
#
# <details><summary>Hint 2: by chunks</summary>
#
# `lse[order[r]]` has a number for each query, in chunks: `(n_chunks, chunk_len)`. The same goes for
# `g` and for $g_i \cdot o_i$.
#
# </details>
#
# <details><summary>Hint 3: where a key's gradient goes</summary>
#
# Its part stands in column $k$ of a chunk, and belongs to the position that stands there as a key.
# `zeros.at[positions].add(parts)` adds up what meets in one place.
#
# </details>

# %% tags=["check"]
check.backward(backward)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the table, round by round. A key that $N$ rounds find gets $N$ parts,
# each with a weight of $1/N$, since log $N$ is in the scores. A query with its last resort alone
# has weight 1 on itself, spread over the rounds: its $g$ goes to its own value, and nothing to its
# score, which is a constant.
#
# This is the trick of FlashAttention's backward pass, too. There the pieces are blocks of keys,
# here they are rounds.

# %% [markdown]
# ## Part 5: Into jax · ★★☆ · 10 minutes
#
# Write `make_attention(chunk_len, causal)`. It returns a function of `(q, v, buckets)` with the
# output of `attend` and the gradient of `backward`, by `jax.custom_vjp`, as in the [memory
# capstone](capstone_memory.ipynb). Buckets are whole numbers and have no gradient: jax wants `None`
# in their place.
#
# What must be kept from the forward pass? Whole numbers of the layout grow with the rounds, and may
# be kept; arrays of the width of a vector may not be kept once for every round.
#
# Could `jax.checkpoint` around the body of the scan do as much?
#
# <details><summary>Answer</summary>
#
# Not quite. It would throw the weights away and compute them again. But the backward pass of a scan
# needs the carry of every turn, and so `out` and `lse` are kept as they were after each round. You
# need them after the last one only.
#
# </details>


# %%
def make_attention(chunk_len, causal):
    """A function (q, v, buckets) -> out, (length, d_value), with a backward pass of its own."""

    # SOLUTION
    @jax.custom_vjp
    def attention(q, v, buckets):
        return keep(q, v, buckets)[0]

    def keep(q, v, buckets):
        layout = lay_out(buckets, chunk_len)
        out, lse = attend(q, v, *layout, causal)
        return out, (q, v, layout, out, lse)

    def pull_back(kept, g):
        q, v, layout, out, lse = kept
        return *backward(q, v, *layout, out, lse, g, causal), None

    attention.defvjp(keep, pull_back)
    return attention
    # END SOLUTION

# %% tags=["mistakes"]
# The output is right. It looks as if the gradients of q and v were exchanged.
# - return *backward(q, v, *layout, out, lse, g, causal), None
# + return *backward(q, v, *layout, out, lse, g, causal)[::-1], None

# The output is right. It looks as if `backward` were called with causal=True whatever was asked for.
# - lse, g, causal), None
# + lse, g, True), None

# The output is right. It looks as if g were passed on as it is, to q and v.
# - return *backward(q, v, *layout, out, lse, g, causal), None
# + return g, g, None

# The output is right. It looks as if no gradient came to anything.
# - return *backward(q, v, *layout, out, lse, g, causal), None
# + return jnp.zeros_like(q), jnp.zeros_like(v), None

# The output is right. It looks as if no gradient came to the values.
# - return *backward(q, v, *layout, out, lse, g, causal), None
# + g_q, g_v = backward(q, v, *layout, out, lse, g, causal)
# +         return g_q, 0 * g_v, None

# The output is right. It looks as if out and g were exchanged on their way into `backward`.
# - backward(q, v, *layout, out, lse, g, causal)
# + backward(q, v, *layout, g, lse, out, causal)

# It looks as if only the first round were laid out.
# - lay_out(buckets, chunk_len)
# + lay_out(buckets[:1], chunk_len)

# It looks as if queries and values were exchanged.
# - attend(q, v, *layout
# + attend(v, q, *layout

# It looks as if all were one chunk: chunk_len goes to `lay_out`.
# - lay_out(buckets, chunk_len)
# + lay_out(buckets, buckets.shape[1])

# It looks as if causal played no part in the way forward: `attend` gets it, too.
# - *layout, causal)
# + *layout, False)

# The output is right. It looks as if values were kept in the place of queries, or the other way
# round.
# - return out, (q, v, layout, out, lse)
# + return out, (v, q, layout, out, lse)

# The output is right. It looks as if no gradient came to the queries.
# - return *backward(q, v, *layout, out, lse, g, causal), None
# + _, g_v = backward(q, v, *layout, out, lse, g, causal)
# +         return jnp.zeros_like(q), g_v, None

# The output is right. It looks as if g were not used, and a gradient of ones in its place.
# - out, lse, g, causal), None
# + out, lse, jnp.ones_like(g), causal), None

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `chunk_len` and `causal` are known to all three functions, since they are defined inside
# `make_attention`. Only arrays go through custom_vjp.
#
# </details>
#
# <details><summary>Hint 2: what to keep</summary>
#
# Go through the arguments of `backward` one by one. `g` comes from jax.
#
# </details>

# %% tags=["check"]
check.make_attention(make_attention)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Forwards nothing of a round is left but its part in `out` and `lse`;
# backwards nothing but its part in the two gradients. The bytes of a gradient, against those of a
# matrix of all pairs:

# %% tags=["solution-only"]
from efftx.attention import lsh_attention_reference
from efftx.compiling import planned_bytes


def mib_of_gradient(attention, length, n_hashes=2):
    """What a gradient takes beyond its inputs and results, as the compiler plans it."""
    x = jax.ShapeDtypeStruct((length, 32), jnp.float32)
    buckets = jax.ShapeDtypeStruct((n_hashes, length), jnp.int32)

    def gradient(q, v, buckets):
        return jax.grad(lambda q, v: attention(q, v, buckets).sum(), argnums=(0, 1))(q, v)

    return planned_bytes(gradient, x, x, buckets) / 2**20


def dense(q, v, buckets):
    return lsh_attention_reference(q, v, buckets, chunk_len=16)


fast = make_attention(16, True)
for length in (256, 1024, 4096):
    whole, ours = mib_of_gradient(dense, length), mib_of_gradient(fast, length)
    print(f"{length:5,} positions: {whole:6.1f} MiB all pairs, {ours:4.1f} MiB yours")
for n_hashes in (2, 8):
    print(f"{n_hashes} rounds, 1,024 positions: {mib_of_gradient(fast, 1024, n_hashes):4.1f} MiB")
assert mib_of_gradient(fast, 4096) < 5 * mib_of_gradient(fast, 1024)
assert mib_of_gradient(dense, 4096) > 10 * mib_of_gradient(dense, 1024)

# %% [markdown]
# ### What separates yours from the package's
#
# `efftx.attention.lsh_attention` is this function with more around it: lengths that no chunk
# divides, padding, the hashing itself, and groups of chunks, so that even one round's scores need
# not exist at once. In place of log $N$ it counts a pair in the first round that finds it. And its
# scores are differentiated by hand.
