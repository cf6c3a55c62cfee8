# %% [markdown]
# # Exercise 01 · From RNNs to Transformers
#
# <!-- measured -->
#
# In [the chapter](../chapters/01_from_rnns_to_transformers.ipynb) you saw two ways to read a
# sequence. Here you write both, and then the piece that joins two sequences. Afterwards you can
#
# * carry a state from step to step, and say which product has to wait;
# * write causal attention in five lines, and say what each of them prevents;
# * let one sequence look at another, and hide padding from it.
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     cell, output = zeros
#     for each x_t:
#         f, i, g, o = x_t times w, plus output times u, plus b
#         cell       = sigmoid(f) * cell + sigmoid(i) * tanh(g)
#         output     = sigmoid(o) * tanh(cell)
#         keep output
#     return all outputs, stacked
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     scores  = q times k transposed, divided by the root of d
#     scores  = -inf where the column is greater than the row   (jnp.tri, jnp.where)
#     weights = softmax of each row
#     return weights times v
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     q = x times w_q;  k = source times w_k;  v = source times w_v
#     scores  = q times k transposed, divided by the root of d_head
#     scores  = -inf in the columns of padding
#     weights = softmax of each row
#     return weights times v
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
# ## Go on
#
# [Where the memory goes](../chapters/02_where_the_memory_goes.ipynb) asks what these functions
# leave behind while a model is trained.
