# %% [markdown]
# # Exercise 01 · From RNNs to Transformers
#
# <!-- measured -->
#
# In [the chapter](../chapters/01_from_rnns_to_transformers.ipynb) you saw two ways to read a
# sequence. Here you write both, then the piece that joins two sequences, and then what a
# Transformer is a stack of. Afterwards you can
#
# * carry a state from step to step, and say which product has to wait;
# * write causal attention in five lines, and say what each of them prevents;
# * let one sequence look at another, and hide padding from it;
# * put heads together, and a block from its branches;
# * predict how far back an untrained LSTM remembers.
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

from efftx.check import from_rnns_to_transformers as check

# %% [markdown]
# ## Part 1: One step after another · ★★☆ · 20 minutes
#
# Write `lstm(x, w, u, b)`, which returns the output $h_t$ at every position, `(length, d)`. Cell
# and output begin as zeros. At each position
#
# $$
# (f_t, i_t, g_t, o_t) = x_t W + h_{t-1} U + b, \qquad
# c_t = \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \tanh(g_t), \qquad
# h_t = \sigma(o_t) \odot \tanh(c_t).
# $$
#
# `w` and `u` have shape `(4, d, d)`, `b` has shape `(4, d)`: one matrix and one vector for each of
# $f, i, g, o$, in this order. $\sigma$ is `jax.nn.sigmoid`, and $\odot$ is the product entry by
# entry.
#
# To follow by hand: $d = 1$, all weights of `w` are 1, all of `u` and `b` are 0, and $x = (0, 2)$.
#
# | position | $f = i = g = o$ | $\sigma(f)$ | $\tanh(g)$ | $c$ | $h$ |
# |---|---|---|---|---|---|
# | 0 | 0 | 0.5 | 0 | 0 | 0 |
# | 1 | 2 | 0.881 | 0.964 | ? | 0.608 |
#
# What is the cell at position 1?
#
# <details><summary>Answer</summary>
#
# 0.849. The cell was 0, so there is nothing to forget; it takes in 0.881 · 0.964. And
# 0.881 · tanh(0.849) is 0.608.
#
# </details>


# %%
def lstm(x, w, u, b):
    """The outputs of an LSTM.

    x  (length, d);  w, u  (4, d, d);  b  (4, d): for f, i, g and o
    returns  (length, d)
    """
    # SOLUTION
    cell = output = jnp.zeros(x.shape[1])
    outputs = []
    for x_t in x:
        f, i, g, o = x_t @ w + output @ u + b
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = jax.nn.sigmoid(o) * jnp.tanh(cell)
        outputs.append(output)
    return jnp.stack(outputs)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if nothing were carried from one position to the next: both the cell and the output
# must be, from turn to turn of the loop.
# - f, i, g, o = x_t @ w + output @ u + b
# + cell = output = 0 * x_t
# +         f, i, g, o = x_t @ w + output @ u + b

# It looks as if the cell were zero at each step. What was written into it before must be kept, as
# far as σ(f) lets it.
# -         cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
# +         cell = jax.nn.sigmoid(i) * jnp.tanh(g)

# It looks as if the last output played no part: h @ u is missing, or h is still zero when the
# next position comes.
# -  + output @ u

# It looks as if the cell were fed back in the place of the output: it is h that is multiplied by
# u.
# - output @ u
# + cell @ u

# It looks as if the cells were returned. The outputs are wanted: h = σ(o) tanh(c).
# - outputs.append(output)
# + outputs.append(cell)

# It looks as if f and i were exchanged: f says what stays of the old cell, i what of the new is
# taken in. The order is f, i, g, o.
# - f, i, g, o = x_t @ w + output @ u + b
# + i, f, g, o = x_t @ w + output @ u + b

# It looks as if g and o were exchanged. The order is f, i, g, o.
# - f, i, g, o = x_t @ w + output @ u + b
# + f, i, o, g = x_t @ w + output @ u + b

# It looks as if nothing were ever struck out: multiply the old cell by σ(f).
# - jax.nn.sigmoid(f) * cell
# + cell

# It looks as if the tanh of g were missing: the cell takes in σ(i) tanh(g).
# - jnp.tanh(g)
# + g

# It looks as if the tanh of the cell were missing: the output is σ(o) tanh(c).
# - jnp.tanh(cell)
# + cell

# It looks as if the gates were not squeezed between 0 and 1: σ(f), σ(i) and σ(o), with
# jax.nn.sigmoid.
# - cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
# + cell = f * cell + i * jnp.tanh(g)
# - output = jax.nn.sigmoid(o) * jnp.tanh(cell)
# + output = o * jnp.tanh(cell)

# It looks as if b were forgotten.
# -  @ u + b
# +  @ u

# It looks as if the last output stood at every position. Keep each one as it comes.
# - return jnp.stack(outputs)
# + return jnp.stack([outputs[-1]] * len(outputs))

# It looks as if f and o were exchanged. The order is f, i, g, o.
# - f, i, g, o = x_t @ w + output @ u + b
# + o, i, g, f = x_t @ w + output @ u + b

# It looks as if i and g were exchanged. The order is f, i, g, o.
# - f, i, g, o = x_t @ w + output @ u + b
# + f, g, i, o = x_t @ w + output @ u + b
# or
# - f, i, g, o = x_t @ w + output @ u + b
# + i, g, f, o = x_t @ w + output @ u + b

# It looks as if the matrices of w stood on the left, w @ x. Vectors are rows here: x @ w.
# - x_t @ w + output @ u + b
# + w @ x_t + output @ u + b

# It looks as if the matrices of u stood on the left, u @ h. Vectors are rows here: h @ u.
# - x_t @ w + output @ u + b
# + x_t @ w + u @ output + b

# It looks as if the matrices stood on the left, w @ x and u @ h. Vectors are rows here: x @ w, h @
# u.
# - x_t @ w + output @ u + b
# + w @ x_t + u @ output + b

# It looks as if 1 - σ(f) said what is taken in. That would be a GRU; here i is a gate of its own.
# - jax.nn.sigmoid(i) * jnp.tanh(g)
# + (1 - jax.nn.sigmoid(f)) * jnp.tanh(g)

# It looks as if g went through the sigmoid. It is no gate but what is written: tanh(g).
# - jnp.tanh(g)
# + jax.nn.sigmoid(g)

# It looks as if the cell went through the sigmoid on its way out: h = σ(o) tanh(c).
# - jnp.tanh(cell)
# + jax.nn.sigmoid(cell)

# It looks as if the gates went through tanh. A gate lies between 0 and 1: use the sigmoid.
# - jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) *
# + jnp.tanh(f) * cell + jnp.tanh(i) *
# - jax.nn.sigmoid(o)
# + jnp.tanh(o)

# It looks as if an output were kept before it was made, so that all are one position late.
# -     return jnp.stack(outputs)
# +     return jnp.stack([jnp.zeros(x.shape[1]), *outputs[:-1]])

# It looks as if the output showed the cell as it was before this position. Make the new cell
# first.
# -         cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
# -         output = jax.nn.sigmoid(o) * jnp.tanh(cell)
# +         output = jax.nn.sigmoid(o) * jnp.tanh(cell)
# +         cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)

# It looks as if i did nothing: the cell takes in σ(i) tanh(g).
# - jax.nn.sigmoid(i) * jnp.tanh(g)
# + jnp.tanh(g)

# It looks as if o did nothing: the output is σ(o) tanh(c).
# - jax.nn.sigmoid(o) * jnp.tanh(cell)
# + jnp.tanh(cell)

# It looks as if cell and output began as ones. They begin as zeros.
# - jnp.zeros(x.shape[1])
# + jnp.ones(x.shape[1])

# It looks as if the sequence were read from its end. Position 0 comes first.
# - for x_t in x:
# + for x_t in x[::-1]:

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A plain Python loop over the positions is what is wanted. Two names live longer than one turn of
# the loop: the cell and the output.
#
# </details>
#
# <details><summary>Hint 2: four products at once</summary>
#
# `x_t @ w` of a `(d,)` vector and a `(4, d, d)` array is `(4, d)`: all four at once. Such an array
# can be unpacked like a tuple: `f, i, g, o = …`.
#
# </details>
#
# <details><summary>Hint 3: one turn of the loop</summary>
#
# The turn has four lines. The first makes the four vectors, from `x_t` and from what the turn
# before left. The other three are the equations as they stand above, with the names on the left
# assigned anew. What has to happen at the end of the turn, so that nothing is lost when the next
# one begins?
#
# </details>

# %% tags=["check"]
check.lstm(lstm)

# %% [markdown] tags=["solution-only"]
# **What has to wait.** `output @ u` is the only product that needs the step before. `x @ w` could
# be computed for all positions before the loop begins, and the package does that. So the chain has
# one product for each position, not two.
#
# JAX unrolls a Python loop: at length 1,000 it would compile a program of 1,000 copies.
# `jax.lax.scan` is the same loop as one operation.

# %% tags=["solution-only"]
ones, zeros = jnp.ones((4, 1, 1)), jnp.zeros((4, 1, 1))
h = lstm(jnp.array([[0.0], [2.0]]), ones, zeros, zeros[..., 0])
assert jnp.allclose(h[:, 0], jnp.array([0, 0.608]), atol=0.0005)

# %% [markdown]
# ## Part 2: All at once · ★★☆ · 15 minutes
#
# Write `causal_attention(q, k, v)`. Position $i$ takes the weighted mean of the values of positions
# $0 \dots i$, itself included:
#
# $$
# o_i = \sum_{j \le i} p_{ij}\, v_j, \qquad
# p_{ij} = \frac{e^{s_{ij}}}{\sum_{l \le i} e^{s_{il}}}, \qquad
# s_{ij} = \frac{q_i \cdot k_j}{\sqrt d}
# $$
#
# `q` and `k` have shape `(length, d)`, `v` has `(length, d_value)`, and so has the result.
#
# By hand, with $d = 4$, so that $\sqrt d = 2$:
#
# | | products $q_i \cdot k_j$ | | | value |
# |---|---|---|---|---|
# | **0** | 3 | 1 | 4 | 10 |
# | **1** | 2 | 2 | 9 | 20 |
# | **2** | 0 | 0 | 0 | 60 |
#
# What are the three outputs? You need no calculator.
#
# <details><summary>Answer</summary>
#
# 10, 15 and 30. Position 0 sees only itself. Position 1 sees two equal scores, so the mean of 10
# and 20; the 9 lies in its future. Position 2 sees three equal scores.
#
# </details>


# %%
def causal_attention(q, k, v):
    """Each position's softmax over itself and those before it.

    q, k  (length, d);  v  (length, d_value)
    returns  (length, d_value)
    """
    # SOLUTION
    scores = q @ k.T / jnp.sqrt(q.shape[1])
    allowed = jnp.tri(len(q), dtype=bool)
    weights = jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1)
    return weights @ v
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the mask were missing: position {0} sees what comes after it.
# - jnp.where(allowed, scores, -jnp.inf)
# + scores

# It looks as if the triangle were on the wrong side: a position may see itself and those before
# it, not those after it. Rows are queries, columns are keys.
# - jnp.tri(len(q), dtype=bool)
# + jnp.tri(len(q), dtype=bool).T

# It looks as if a position could not see itself. Then position 0 sees nothing, and 0/0 is nan:
# the diagonal belongs to the triangle.
# - jnp.tri(len(q), dtype=bool)
# + jnp.tri(len(q), k=-1, dtype=bool)

# It looks as if the scores of later positions were set to 0. exp(0) is 1: they still get weight.
# Set them to -inf.
# - jnp.where(allowed, scores, -jnp.inf)
# + jnp.where(allowed, scores, 0.0)
# or
# - jnp.where(allowed, scores, -jnp.inf)
# + scores * allowed

# It looks as if the mask came after the softmax, so that the weights of position {0} do not add
# up to 1. Mask the scores, then take the softmax.
# - jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1)
# + jax.nn.softmax(scores, axis=-1) * allowed

# It looks as if the scores were not divided by √d.
# - scores = q @ k.T / jnp.sqrt(q.shape[1])
# -     allowed
# + scores = q @ k.T
# +     allowed

# It looks as if the scores were divided by d. It is its root.
# - scores = q @ k.T / jnp.sqrt(q.shape[1])
# -     allowed
# + scores = q @ k.T / q.shape[1]
# +     allowed

# It looks as if the scores were multiplied by √d. They are divided by it.
# - scores = q @ k.T / jnp.sqrt(q.shape[1])
# -     allowed
# + scores = q @ k.T * jnp.sqrt(q.shape[1])
# +     allowed

# It looks as if the softmax ran over the queries. It runs along a row, over the keys.
# - jnp.where(allowed, scores, -jnp.inf), axis=-1
# + jnp.where(allowed, scores, -jnp.inf), axis=0

# It looks as if the weights did not add up to 1: divide exp(score) by the sum over the row.
# - jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1)
# + jnp.exp(jnp.where(allowed, scores, -jnp.inf))

# It looks as if q and k were exchanged: row i holds the scores of query i.
# - scores = q @ k.T / jnp.sqrt(q.shape[1])
# -     allowed
# + scores = k @ q.T / jnp.sqrt(q.shape[1])
# +     allowed

# It looks as if later positions got a small score. However small, its exponential is a weight: use
# -inf, of which the exponential is 0.
# - -jnp.inf
# + -1.0
# or
# - -jnp.inf
# + -10.0

# It looks as if the scores were divided by the root of the length. It is the width of q and k that
# counts.
# - jnp.sqrt(q.shape[1])
# + jnp.sqrt(q.shape[0])

# It looks as if the scores were divided by the root of d_value. It is the width of q and k that
# counts.
# - jnp.sqrt(q.shape[1])
# + jnp.sqrt(v.shape[1])

# It looks as if the result were divided by √d, or the weights. It is the scores that are divided,
# before the softmax.
# - return weights @ v
# + return weights @ v / jnp.sqrt(q.shape[1])
# - q @ k.T / jnp.sqrt(q.shape[1])
# + q @ k.T

# It looks as if a position saw the one after it: the triangle ends at the diagonal.
# - jnp.tri(len(q), dtype=bool)
# + jnp.tri(len(q), k=1, dtype=bool)

# It looks as if each position took the plain mean of what it sees. The weights are a softmax of
# its scores.
# - weights @ v
# + allowed / allowed.sum(axis=1, keepdims=True) @ v

# It looks as if the weights were transposed: row i holds those of query i.
# - weights @ v
# + weights.T @ v

# It looks as if each position took the value of its best key alone. It is a mean, with weights.
# - weights @ v
# + v[weights.argmax(axis=1)]

# It looks as if one softmax ran over the whole matrix. Each row has its own.
# - axis=-1)
# + axis=(0, 1))

# It looks as if the keys were compared with each other. The scores are q times k transposed.
# - q @ k.T
# + k @ k.T

# It looks as if the mask were added to the scores as it is: True counts 1. Where it is False the
# score must become -inf.
# - jnp.where(allowed, scores, -jnp.inf)
# + scores + allowed

# It looks as if a large number were taken off the scores that are allowed. Take it off the others.
# - jnp.where(allowed, scores, -jnp.inf)
# + scores - 1e9 * allowed

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First the matrix of all scores, then the mask, then the softmax of each row, then the values.
#
# </details>
#
# <details><summary>Hint 2: where the mask goes</summary>
#
# Before the softmax. If you set weights to 0 after it, the rest of the row no longer adds up to 1.
# And before it, 0 will not do: $e^0$ is 1. Which score has the exponential 0?
#
# </details>
#
# <details><summary>Hint 3: four lines</summary>
#
#     scores  = …                                  (length, length)
#     scores  = jnp.where(…, scores, …)            where may query i look?
#     weights = jax.nn.softmax(scores, axis=…)     along a row
#     return …                                     (length, d_value)
#
# `jnp.tri(n, dtype=bool)` is a triangle that includes its diagonal.
#
# </details>

# %% tags=["check"]
check.causal_attention(causal_attention)

# %% [markdown] tags=["solution-only"]
# **What each line prevents.** Without $\sqrt d$, long vectors make the softmax choose a single key.
# Without the triangle, a model that is trained to predict the next word would simply read it. With
# the triangle but without its diagonal, position 0 would have nothing to look at, and 0/0 is nan.

# %% tags=["solution-only"]
products = jnp.array([[3.0, 1, 4], [2, 2, 9], [0, 0, 0]])
q, k = jnp.eye(3, 4), jnp.concatenate([products.T, jnp.zeros((3, 1))], axis=1)
out = causal_attention(q, k, jnp.array([[10.0], [20.0], [60.0]]))
assert jnp.allclose(out[:, 0], jnp.array([10.0, 15, 30]))

# %% [markdown]
# ## Part 3: One text looks at another · ★★☆ · 20 minutes
#
# A decoder asks, an encoder's output answers. Write
# `cross_attention(x, source, key_mask, w_q, w_k, w_v)` for one head:
#
# * the queries are `x @ w_q`: one for each position of the target;
# * keys and values are `source @ w_k` and `source @ w_v`: one for each position of the source;
# * scores are divided by the root of `d_head`, the width of queries and keys;
# * `key_mask`, shape `(source_length,)`, is True for words and **False for padding**, which no
#   query may look at. At least one entry is True.
#
# `x` has shape `(length, d_model)` and `source` has `(source_length, d_model)`. Should there be a
# causal mask as well?
#
# <details><summary>Answer</summary>
#
# No. The source is there as a whole before the first word of the target is written. Verbs stand at
# the end in German, and the decoder may want one at once.
#
# </details>


# %%
def cross_attention(x, source, key_mask, w_q, w_k, w_v):
    """Each position of x attends to all positions of the source that are no padding.

    x (length, d_model);  source (source_length, d_model);  key_mask (source_length,) bool
    w_q, w_k (d_model, d_head);  w_v (d_model, d_value)
    returns  (length, d_value)
    """
    # SOLUTION
    q, k, v = x @ w_q, source @ w_k, source @ w_v
    scores = q @ k.T / jnp.sqrt(q.shape[1])
    weights = jax.nn.softmax(jnp.where(key_mask, scores, -jnp.inf), axis=-1)
    return weights @ v
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the scores were divided by the square root of the width of x. What counts is the
# width of q and k: √d_head.
# - jnp.sqrt(q.shape[1])
# + jnp.sqrt(x.shape[1])

# It looks as if the mask were ignored: padding gets weight.
# - jnp.where(key_mask, scores, -jnp.inf)
# + scores

# It looks as if the mask were upside down: it is True for words, False for padding.
# - jnp.where(key_mask, scores, -jnp.inf)
# + jnp.where(key_mask, -jnp.inf, scores)

# It looks as if the padding's scores were set to 0. exp(0) is 1: it still gets weight. Set them
# to -inf.
# - jnp.where(key_mask, scores, -jnp.inf)
# + jnp.where(key_mask, scores, 0.0)

# It looks as if the padding's vectors were set to 0 instead of being masked. Their scores are 0
# then, exp(0) is 1, and they still get weight. Set their scores to -inf.
# - jnp.where(key_mask, scores, -jnp.inf)
# + scores
# - q, k, v = x
# + source = jnp.where(key_mask[:, None], source, 0)
# +     q, k, v = x

# It looks as if the mask came after the softmax: the weights of each query must add up to 1 over
# the words.
# - jax.nn.softmax(jnp.where(key_mask, scores, -jnp.inf), axis=-1)
# + jax.nn.softmax(scores, axis=-1) * key_mask

# It looks as if there were a causal mask. The source is there as a whole: every position of x may
# see all of it.
# - jnp.where(key_mask, scores, -jnp.inf)
# + jnp.where(key_mask & jnp.tri(*scores.shape, dtype=bool), scores, -jnp.inf)

# It looks as if the scores were not divided by the root of d_head.
# - source @ w_v
# -     scores = q @ k.T / jnp.sqrt(q.shape[1])
# + source @ w_v
# +     scores = q @ k.T

# It looks as if the softmax ran over the queries. It runs along a row, over the source.
# - jnp.where(key_mask, scores, -jnp.inf), axis=-1
# + jnp.where(key_mask, scores, -jnp.inf), axis=0

# It looks as if the keys were averaged: the values are source @ w_v.
# - w_k, source @ w_v
# + w_k, source @ w_k

# It looks as if keys and queries shared w_q. The keys are source @ w_k.
# - source @ w_k,
# + source @ w_q,

# It looks as if the projections of queries and keys were exchanged: queries are x @ w_q, keys are
# source @ w_k.
# - x @ w_q, source @ w_k,
# + x @ w_k, source @ w_q,

# It looks as if the scores were divided by the root of the source's length. What counts is the
# width of q and k: √d_head.
# - jnp.sqrt(q.shape[1])
# + jnp.sqrt(len(source))

# It looks as if the scores were divided by d_head. It is its root.
# - jnp.sqrt(q.shape[1])
# + q.shape[1]

# It looks as if there were a causal mask in the place of the padding's.
# - jnp.where(key_mask, scores, -jnp.inf)
# + jnp.where(jnp.tri(*scores.shape, dtype=bool), scores, -jnp.inf)

# It looks as if padding got a small score. However small, its exponential is a weight: use -inf.
# - -jnp.inf
# + -1.0
# or
# - -jnp.inf
# + -10.0

# It looks as if the mask were added to the scores as it is: True counts 1. Where it is False the
# score must become -inf.
# - jnp.where(key_mask, scores, -jnp.inf)
# + scores + key_mask

# It looks as if the scores were multiplied by √d_head. They are divided by it.
# - scores = q @ k.T / jnp.sqrt(q.shape[1])
# + scores = q @ k.T * jnp.sqrt(q.shape[1])

# It looks as if the values were made with w_q. They are source @ w_v.
# - source @ w_v
# + source @ w_q

# It looks as if w_k and w_v were exchanged: keys are source @ w_k, values source @ w_v.
# - source @ w_k, source @ w_v
# + source @ w_v, source @ w_k

# It looks as if the words were counted and then taken from the beginning. Padding may stand
# anywhere: the mask says where.
# - jnp.where(key_mask, scores, -jnp.inf)
# + jnp.where(jnp.arange(len(source)) < key_mask.sum(), scores, -jnp.inf)

# It looks as if all queries took the plain mean of the words. The weights are a softmax of scores.
# - weights @ v
# + (key_mask / key_mask.sum() @ v)[None].repeat(len(x), 0)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# It is Part 2 with two differences: where the vectors come from, and what is masked.
#
# </details>
#
# <details><summary>Hint 2: the mask's shape</summary>
#
# Scores have shape `(length, source_length)`. A mask of shape `(source_length,)` is stretched over
# the rows by itself: every query has the same columns hidden.
#
# </details>
#
# <details><summary>Hint 3: an edit of Part 2</summary>
#
# Copy your Part 2. Three vectors take the place of its arguments, and one expression that of the
# triangle. Does the line with the softmax change? And whose width stands below the root?
#
# </details>

# %% tags=["check"]
check.cross_attention(cross_attention)

# %% [markdown] tags=["solution-only"]
# **Padding is not nothing.** It is tempting to set the padded rows of the source to zero and leave
# the mask out. But then their scores are 0, their exponentials 1, and each takes its share of the
# weight. A position that must not be seen needs the score $-\infty$.

# %% tags=["solution-only"]
key = jax.random.key(0)
x, source, w = jax.random.normal(key, (2, 4)), jax.random.normal(key, (5, 4)), jnp.eye(4)
alone = cross_attention(x, source[:3], jnp.ones(3, bool), w, w, w)
padded = cross_attention(x, source, jnp.arange(5) < 3, w, w, w)
assert jnp.allclose(alone, padded, atol=1e-5)

# %% [markdown]
# ## Part 4: Several heads · ★★☆ · 15 minutes
#
# One softmax can look for one thing at a time. So there are several heads, each with matrices of
# its own, and their results are **added up** in the width of the model:
#
# $$\text{out} = \sum_h \text{attention}(x W^q_h,\; x W^k_h,\; x W^v_h)\; W^o_h$$
#
# Write `multi_head(x, w_q, w_k, w_v, w_o)` with your causal attention of Part 2. `w_q`, `w_k` and
# `w_v` have shape `(n_heads, d_model, d_head)`, `w_o` has `(n_heads, d_head, d_model)`.
#
# Two heads of width 2 need as many numbers for their queries as one head of width 4. Think before
# you write: are they not the same thing, cut in two?
#
# <details><summary>Answer</summary>
#
# No. The wide head adds up its four products to *one* score for each pair, and takes one softmax.
# Two heads have two scores and two softmaxes: one may look at the word before, while the other
# looks at the beginning. There are twice as many scores, too: that is the price.
#
# </details>


# %%
def multi_head(x, w_q, w_k, w_v, w_o):
    """Causal attention with several heads.

    x  (length, d_model);  w_q, w_k, w_v  (n_heads, d_model, d_head)
    w_o  (n_heads, d_head, d_model)
    returns  (length, d_model)
    """
    # SOLUTION
    heads = zip(w_q, w_k, w_v, w_o, strict=True)
    return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the mean over the heads were taken. Add them up.
# - return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads) / len(w_q)

# It looks as if only the first head were there. Does the `return` stand inside a loop?
# - zip(w_q, w_k, w_v, w_o, strict=True)
# + [(w_q[0], w_k[0], w_v[0], w_o[0])]

# It looks as if only the last head were there. Are the others written over?
# - zip(w_q, w_k, w_v, w_o, strict=True)
# + [(w_q[-1], w_k[-1], w_v[-1], w_o[-1])]

# It looks as if there were one wide head: the products of all heads were added to one score, and
# one softmax was taken. Each head has a softmax of its own.
# - return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + q, k, v = (jnp.concatenate([x @ w for w in ws], axis=1) for ws in (w_q, w_k, w_v))
# +     return causal_attention(q, k, v) @ jnp.concatenate([*w_o])
# or
# - return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + q, k, v = (jnp.concatenate([x @ w for w in ws], axis=1) for ws in (w_q, w_k, w_v))
# +     return causal_attention(q * len(w_q) ** 0.5, k, v) @ jnp.concatenate([*w_o])

# It looks as if all heads used the first one's w_o. Each has a way back of its own.
# - @ o for
# + @ w_o[0] for

# It looks as if the scores were divided by the root of d_model. What counts is the width of a
# head's queries, √d_head. Your Part 2 takes it from q.
# - causal_attention(x @ q,
# + causal_attention(x @ q * (q.shape[1] / x.shape[1]) ** 0.5,

# It looks as if there were no causal mask: heads see the future.
# - causal_attention(x @ q, x @ k, x @ v) @ o
# + jax.nn.softmax(x @ q @ (x @ k).T / q.shape[1] ** 0.5) @ x @ v @ o

# It looks as if queries and keys were exchanged.
# - (x @ q, x @ k,
# + (x @ k, x @ q,

# It looks as if the keys were averaged. The values are x @ w_v.
# - x @ k, x @ v)
# + x @ k, x @ k)

# It looks as if keys and queries shared w_q. The keys are x @ w_k.
# - (x @ q, x @ k,
# + (x @ q, x @ q,

# It looks as if each head went on with the result of the one before, and the last one's were the
# result. They all read x, and their results are added up.
# - return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + for q, k, v, o in heads:
# +         x = causal_attention(x @ q, x @ k, x @ v) @ o
# +     return x

# It looks as if x had been added. Here the attention alone is asked for; the sum is the block's.
# - return sum(
# + return x + sum(

# It looks as if the heads' results were added up before they went back. Each goes back through its
# own w_o.
# - sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + sum(causal_attention(x @ q, x @ k, x @ v) for q, k, v, _ in heads) @ sum(w_o)
# or
# - sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + sum(causal_attention(x @ q, x @ k, x @ v) for q, k, v, _ in heads) @ w_o.mean(0)

# It looks as if the sum were divided by the root of the number of heads. Add them up as they are.
# - return sum(
# + return len(w_q) ** -0.5 * sum(

# It looks as if the heads' matrices were averaged, or added up, and a single head were left.
# - sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + causal_attention(x @ w_q.mean(0), x @ w_k.mean(0), x @ w_v.mean(0)) @ w_o.mean(0)
# or
# - sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + causal_attention(x @ w_q.sum(0), x @ w_k.sum(0), x @ w_v.sum(0)) @ w_o.sum(0)

# It looks as if the heads' results were concatenated in another order than w_o's rows: all
# features of the first head come first.
# - sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + jnp.stack([causal_attention(x @ q, x @ k, x @ v) for q, k, v, _ in heads], axis=-1).reshape(len(x), -1) @ w_o.reshape(-1, w_o.shape[-1])

# It looks as if all heads had the values of the first. Each has a w_v of its own.
# - x @ v) @ o
# + x @ w_v[0]) @ o

# It looks as if all heads had the queries of the first. Each has a w_q of its own.
# - (x @ q, x
# + (x @ w_q[0], x

# It looks as if the scores were not divided by the root of d_head. Your Part 2 does it.
# - (x @ q, x
# + (x @ q * q.shape[1] ** 0.5, x

# It looks as if the heads' results were multiplied with each other. Add them up.
# - return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + return jnp.prod(jnp.stack([causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads]), 0)

# It looks as if only the largest of the heads' results counted. Add them up.
# - return sum(causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads)
# + return jnp.max(jnp.stack([causal_attention(x @ q, x @ k, x @ v) @ o for q, k, v, o in heads]), 0)

# It looks as if the heads in w_o were taken in reverse order. Head h goes back through w_o[h].
# - w_v, w_o, strict=True)
# + w_v, w_o[::-1], strict=True)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# What does one head contribute? Three products with `x`, one call, one product more.
#
# </details>
#
# <details><summary>Hint 2: heads in step</summary>
#
# `zip(w_q, w_k, w_v, w_o)` goes through the first axes of all four together. A Python loop is fine.
#
# </details>

# %% tags=["check"]
check.multi_head(multi_head)

# %% [markdown] tags=["solution-only"]
# **Add, or concatenate?** Papers write "the heads' results are concatenated and multiplied by one
# matrix $W^o$". That is the same: a concatenated vector times a tall matrix is the sum of each
# piece times its part of the matrix.

# %% [markdown]
# ## Part 5: A block · ★★★ · 20 minutes
#
# Two branches, one after the other: attention, in which positions exchange something, and a
# feed-forward layer, in which each position thinks about it by itself. Each branch reads a *normed*
# stream and **adds** to the stream as it was:
#
# $$y = x + \text{multi\_head}(\text{norm}(x)), \qquad
# z = y + \text{ReLU}(\text{norm}(y)\, W_1)\, W_2.$$
#
# Here is the norm, without parameters. Write `block`, which returns $z$.
#
# Before you do: multiply `x` by 1000. What happens to what the branches add?
#
# <details><summary>Answer</summary>
#
# Next to nothing. A branch sees only the normed stream, and that is the same. So in a deep network,
# whose stream grows from block to block, each block counts for less and less.
#
# </details>


# %%
def norm(x):
    """Each position's vector with mean 0 and variance 1."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)


# %%
def block(x, w_q, w_k, w_v, w_o, w_1, w_2):
    """A block of a Transformer, with its norms before the branches.

    x  (length, d_model);  w_q, w_k, w_v, w_o  as in multi_head
    w_1  (d_model, d_ff);  w_2  (d_ff, d_model)
    returns  (length, d_model)
    """
    # SOLUTION
    y = x + multi_head(norm(x), w_q, w_k, w_v, w_o)
    return y + jax.nn.relu(norm(y) @ w_1) @ w_2
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the norms came after the sums: norm(x + branch(x)), as in the first Transformer.
# Here the stream itself is never normed, only what a branch reads.
# - y = x + multi_head(norm(x), w_q, w_k, w_v, w_o)
# + y = norm(x + multi_head(x, w_q, w_k, w_v, w_o))
# - return y + jax.nn.relu(norm(y) @ w_1) @ w_2
# + return norm(y + jax.nn.relu(y @ w_1) @ w_2)

# It looks as if nothing were normed. Each branch reads norm of the stream.
# - multi_head(norm(x),
# + multi_head(x,
# - norm(y) @ w_1
# + y @ w_1

# It looks as if the feed-forward layer read y as it is. It reads norm(y).
# - norm(y) @ w_1
# + y @ w_1

# It looks as if the attention read x as it is. It reads norm(x).
# - multi_head(norm(x),
# + multi_head(x,

# It looks as if the branches were added to the normed streams. They are added to the streams
# themselves.
# - y = x + multi_head
# + y = norm(x) + multi_head
# - return y + jax
# + return norm(y) + jax

# It looks as if nothing went past the branches: each adds to the stream, y = x + …
# - y = x + multi_head
# + y = multi_head
# - return y + jax
# + return jax

# It looks as if the feed-forward layer's result were returned without y. Add it to the stream.
# - return y + jax
# + return jax

# It looks as if the attention's result went on without x. Add it to the stream.
# - y = x + multi_head
# + y = multi_head

# It looks as if the feed-forward layer read x, as it was before the attention. It reads norm(y).
# - norm(y) @ w_1
# + norm(x) @ w_1

# It looks as if the feed-forward layer's result were added to x, and the attention's were lost.
# - return y + jax
# + return x + jax

# It looks as if the ReLU were missing. Without it, W1 and W2 are one matrix.
# - jax.nn.relu(norm(y) @ w_1)
# + norm(y) @ w_1

# It looks as if the ReLU came last. It stands between W1 and W2.
# - jax.nn.relu(norm(y) @ w_1) @ w_2
# + jax.nn.relu(norm(y) @ w_1 @ w_2)

# It looks as if the feed-forward layer came first. First positions exchange something, then each
# thinks about it.
# - y = x + multi_head(norm(x), w_q, w_k, w_v, w_o)
# -     return y + jax.nn.relu(norm(y) @ w_1) @ w_2
# + y = x + jax.nn.relu(norm(x) @ w_1) @ w_2
# +     return y + multi_head(norm(y), w_q, w_k, w_v, w_o)

# It looks as if the result were normed. The stream itself never is.
# - return y + jax.nn.relu(norm(y) @ w_1) @ w_2
# + return norm(y + jax.nn.relu(norm(y) @ w_1) @ w_2)

# It looks as if the attention's branch were added to norm(x). It is added to x itself.
# - y = x + multi_head
# + y = norm(x) + multi_head

# It looks as if what a branch adds were normed. Normed is what it reads.
# - multi_head(norm(x), w_q, w_k, w_v, w_o)
# + norm(multi_head(x, w_q, w_k, w_v, w_o))
# - jax.nn.relu(norm(y) @ w_1) @ w_2
# + norm(jax.nn.relu(y @ w_1) @ w_2)
# or
# - multi_head(norm(x), w_q, w_k, w_v, w_o)
# + norm(multi_head(x, w_q, w_k, w_v, w_o))

# It looks as if x had been added twice: y contains it already.
# - return y +
# + return x + y +

# It looks as if the feed-forward layer's branch were added to norm(y). It is added to y itself.
# - return y + jax
# + return norm(y) + jax

# It looks as if the feed-forward layer were taken off the stream. Add it.
# - return y + jax
# + return y - jax

# It looks as if there were no feed-forward layer.
# - return y + jax.nn.relu(norm(y) @ w_1) @ w_2
# + return y

# It looks as if there were no attention.
# - y = x + multi_head(norm(x), w_q, w_k, w_v, w_o)
# + y = x

# It looks as if the norm came behind W1. It is y that is normed.
# - norm(y) @ w_1
# + norm(y @ w_1)

# It looks as if another function stood in the place of the ReLU.
# - jax.nn.relu(
# + jax.nn.gelu(
# or
# - jax.nn.relu(
# + jnp.tanh(
# or
# - jax.nn.relu(
# + jax.nn.sigmoid(

# It looks as if w_q and w_k were handed on in the other order.
# - (norm(x), w_q, w_k
# + (norm(x), w_k, w_q

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two lines, one for each equation. What is called $x$ in the first is called $y$ in the second.
#
# </details>
#
# <details><summary>Hint 2: what is normed</summary>
#
# Look where `norm` stands in the equations, and where it does not: what goes past a branch is never
# normed.
#
# </details>

# %% tags=["check"]
check.block(block)

# %% [markdown] tags=["solution-only"]
# **Why it is built like this.** What goes past the branches is a path from the last layer to the
# first on which a gradient meets no matrix at all. And the norm in front of a branch keeps what it
# reads at one size, however much the stream has grown.

# %% [markdown]
# ## Part 6: Break it · ★☆☆ · 10 minutes
#
# Why did recurrence lose? Take an LSTM with random weights and no biases, `d_model` 64, and a
# sequence of random vectors. How much does its last output depend on what it read $n$ positions
# before? The measure is the size of the derivative, and it is 1 for $n = 1$.
#
# **Predict before you run the next cells:** at which $n$ is it less than a thousandth? You are
# right if you are off by a factor of 1.6 at most. Then look at attention, with random weights too.
#
# <details><summary>Hint 1: what happens to a cell</summary>
#
# $c_t = \sigma(f_t) \odot c_{t-1} + \dots$, and what is $\sigma$ of a number around 0?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # positions

# %% tags=["solution-only"]
# σ(0) = 1/2, so each step keeps about half of the cell. 1/2 to the power of 10 is 1/1024. Some
# gates are open by more than a half, and what they keep lasts longest: rather more than 10.
my_guess = 13

# %% tags=["check"]
from efftx.check import from_rnns_to_transformers_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.memory_of_lstm.predicted(my_guess)
distances = (1, 2, 4, 8, 16, 32, 64)
slopes = {
    name: {n: experiment.slopes(name)[n] for n in distances} for name in ("LSTM", "attention")
}
limit = ("a thousandth", experiment.FADED)
show(
    draw_experiment(slopes, "positions before", "derivative", predicted=predicted, limit=limit),
    "How much the last output depends on what was read some positions before, both axes "
    "logarithmic. The LSTM's line falls ever more steeply and crosses a thousandth between 8 and "
    "32; that of attention stays near 1 up to 64 positions.",
)

# %% tags=["check"]
check.memory_of_lstm(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** A gradient is how a network finds out what mattered. After fifteen steps an
# untrained LSTM hears a thousandth of it, and learns slowly from anything that far away; a positive
# bias of the forget gates helps, and trained gates can stay open for long. In attention every
# position is one step away.

# %% [markdown]
# ## Go on
#
# [Where the memory goes](../chapters/02_where_the_memory_goes.ipynb) asks what these functions
# leave behind while a model is trained.
