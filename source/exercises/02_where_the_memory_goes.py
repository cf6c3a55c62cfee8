# %% [markdown]
# # Exercise 02 · Where the memory goes
#
# <!-- measured -->
#
# In [the chapter](../chapters/02_where_the_memory_goes.ipynb) a ledger predicted to one percent
# what a training step keeps. Here you write its three main entries yourself. Afterwards you can
#
# * count the parameters of a Transformer from its sizes;
# * count the bytes that a block keeps for its backward pass, and say which of them grow with the
#   square of the length;
# * predict the largest batch that fits into a given memory.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# You need no JAX here, only arithmetic. Use numpy: its whole numbers have 64 bits, and bytes are
# quickly more than the 32 bits of JAX can count.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import numpy as np

from efftx.check import where_the_memory_goes as check

# %% [markdown]
# ## Part 1: Count the parameters · ★☆☆ · 15 minutes
#
# Our Transformer has these parts:
#
# - **Embedding.** A vector of `d_model` for each token of the vocabulary, and one for each position
#   up to `max_len`.
# - **Blocks**, `n_layers` of them. Each has an attention and a feed-forward layer, and before each
#   of the two a layer norm.
# - **Attention.** Each head has matrices for q, k and v, `d_model` × `d_head`, and one back,
#   `d_head` × `d_model`. No biases.
# - **Feed-forward layer.** Two matrices, to `d_ff` and back, each with a bias.
# - **Layer norm.** A scale and a shift, `d_model` each.
# - **Readout.** One more layer norm, and a matrix `d_model` × `vocab` of its own.
#
# Write `count_parameters(…)`. It returns five counts, in this order: embeddings, attention of all
# blocks, feed-forward layers of all blocks, all layer norms together, matrix of the readout.
#
# Try it on paper first, with one block, `d_model` 2, `d_ff` 3, two heads with `d_head` 1, a
# vocabulary of 5 and `max_len` 4. How many layer norms are there, and how many numbers do they
# hold?
#
# <details><summary>Answer</summary>
#
# Three: two in the block and one in the readout. Each holds a scale and a shift of 2 numbers,
# together 12. The other counts are 18, 16, 12 + 5 = 17 and 10.
#
# </details>


# %%
def count_parameters(n_layers, d_model, d_ff, n_heads, d_head, vocab, max_len):
    """Five counts: embeddings, attention, feed-forward, layer norms, readout's matrix."""
    # SOLUTION
    embeddings = (vocab + max_len) * d_model
    attention = n_layers * 4 * d_model * n_heads * d_head
    feed_forward = n_layers * (2 * d_model * d_ff + d_ff + d_model)
    norms = (2 * n_layers + 1) * 2 * d_model
    readout = d_model * vocab
    return np.array([embeddings, attention, feed_forward, norms, readout])
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# One line for each of the five. A matrix of $m \times n$ has $m\,n$ numbers, a bias as many as its
# layer has outputs.
#
# </details>
#
# <details><summary>Hint 2: the attention</summary>
#
# The three matrices of a head have `d_model` · `d_head` numbers each, and so has the one back. That
# is four, for each head, in each block.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     embeddings   = (vocab + max_len) times d_model
#     attention    = n_layers times 4 times d_model times n_heads times d_head
#     feed_forward = n_layers times (two matrices + bias of d_ff + bias of d_model)
#     norms        = (2 for each block, and 1) times 2 times d_model
#     readout      = d_model times vocab
#     return all five in a numpy array
#
# </details>

# %% tags=["check"]
check.count_parameters(count_parameters)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the list, line by line. For large models one rule of thumb is enough:
# if `n_heads` · `d_head` = `d_model` and `d_ff` = 4 `d_model`, a block has about 12 `d_model`²
# parameters, a third in the attention and two thirds in the feed-forward layer.

# %% tags=["solution-only"]
counts = count_parameters(1, d_model=2, d_ff=3, n_heads=2, d_head=1, vocab=5, max_len=4)
assert counts.tolist() == [18, 16, 17, 12, 10]

# %% [markdown]
# ## Part 2: What a block keeps · ★★☆ · 20 minutes
#
# Between forward and backward pass a block with full attention keeps these arrays, for each example
# of the batch. Everything is in float32, 4 bytes a number; but the signs are bools, 1 byte each.
#
# - **Norms.** Each of the two keeps three arrays of `(length, d_model)` and three of `(length,)` of
#   its own, and its result, `(length, d_model)`, which is the input of the branch.
# - **Vectors.** q, k, v and what the heads return: four arrays of `(n_heads, length, d_head)`.
# - **Scores.** The matrix before the softmax and the one after it, `(n_heads, length, length)`
#   each; and the maximum and the sum of each row, `(n_heads, length)` each.
# - **Feed-forward.** The inside after the ReLU, `(length, d_ff)`; and where it is positive,
#   `(length, d_ff)` bools.
#
# Write `count_kept_bytes(…)`. It returns four numbers of bytes, in this order.
#
# One more question first. The mask of causal attention leaves only half of the pairs. Is only half
# of the score matrix kept?
#
# <details><summary>Answer</summary>
#
# No. The masked scores are −∞ and their weights 0, but they stand in the matrix like all others. To
# save that half one must not compute it, as
# [attention in blocks](../chapters/06_attention_is_sparse.ipynb) does.
#
# </details>


# %%
def count_kept_bytes(batch, length, d_model, d_ff, n_heads, d_head):
    """Four numbers of bytes: norms, vectors, scores, feed-forward."""
    # SOLUTION
    norms = 2 * (4 * length * d_model + 3 * length) * 4
    vectors = 4 * n_heads * length * d_head * 4
    scores = (2 * n_heads * length * length + 2 * n_heads * length) * 4
    feed_forward = length * d_ff * (4 + 1)
    return batch * np.array([norms, vectors, scores, feed_forward])
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Go through the list and multiply out the shapes. Leave the batch for the end: all four are
# proportional to it.
#
# </details>
#
# <details><summary>Hint 2: the norms</summary>
#
# Each of the two has three arrays of its own and one result with `length` · `d_model` numbers, and
# three arrays with `length` numbers.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     norms        = 2 times (4 length d_model + 3 length) numbers
#     vectors      = 4 n_heads length d_head numbers
#     scores       = 2 n_heads length² + 2 n_heads length numbers
#     feed_forward = length d_ff numbers and as many bools
#     return batch times the bytes of each: 4 for a number, 1 for a bool
#
# </details>

# %% tags=["check"]
check.count_kept_bytes(count_kept_bytes)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Here are the four for GPT-like sizes, `d_model` 768, and texts of 1,024 and
# 8,192 tokens. The first, second and fourth grow with the length, by 8. The third grows with its
# square, by 64.

# %% tags=["solution-only"]
for length in (1024, 8192):
    mib = count_kept_bytes(1, length, d_model=768, d_ff=3072, n_heads=12, d_head=64) / 2**20
    print(length, mib.round(1).tolist())

# %% [markdown]
# ## Part 3: The largest batch · ★★☆ · 15 minutes
#
# An example of length $S$ takes
#
# $$\text{per\_token} \cdot S + \text{per\_pair} \cdot S^2$$
#
# bytes, and the parameters take `n_parameters` · `bytes_per_parameter`, whatever the batch. Write
# `largest_batches(…)`: for each of the `lengths`, the largest whole number of examples that fit
# into the budget together with the parameters. Where none fits, or the parameters alone are too
# much, it is 0.
#
# A budget of 1,000 bytes, 10 parameters at 16 bytes, 10 bytes per token and 1 per pair:
#
# | length | one example | left for the batch | largest batch |
# |---|---|---|---|
# | 10 | 200 | 840 | 4 |
# | 20 | ? | 840 | ? |
# | 30 | 1,200 | 840 | ? |
#
# <details><summary>Answer</summary>
#
# Twice the length is three times the bytes here: 600, of which one fits. Of 1,200 none does: 0.
#
# </details>


# %%
def largest_batches(lengths, budget, n_parameters, bytes_per_parameter, per_token, per_pair):
    """How many examples of each length fit.

    lengths  an array of whole numbers; all else are single whole numbers
    returns  an array of whole numbers, as long as lengths
    """
    # SOLUTION
    lengths = np.asarray(lengths, np.int64)
    left = budget - n_parameters * bytes_per_parameter
    one_example = per_token * lengths + per_pair * lengths**2
    return np.maximum(left // one_example, 0)
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# What is left of the budget when the parameters are in? And how often does one example go into
# that?
#
# </details>
#
# <details><summary>Hint 2: whole numbers</summary>
#
# `//` divides and rounds down. It rounds *down* below zero, too: `-1 // 200` is -1. What should it
# be?
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     left        = budget - bytes of the parameters
#     one_example = per_token times length + per_pair times length²     (for all lengths)
#     return left / one_example, rounded down, and never less than 0
#
# </details>

# %% tags=["check"]
check.largest_batches(largest_batches)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** All that is not fixed is proportional to the batch, so the largest batch is a
# division. With BERT-Large's numbers it gives the chapter's prediction:

# %% tags=["solution-only"]
lengths = np.array([64, 128, 256, 320, 384, 512])
per_token, per_pair = 24 * 28 * 1024 * 4, 24 * 3 * 16 * 4
print(largest_batches(lengths, int(11.2 * 2**30), 335_141_888, 28, per_token, per_pair))

# %% [markdown]
# ### And the talk's table?
#
# The talk quotes 12, 6, 2, 1, 0, 0 for these six lengths. Try to come near it: change the bytes per
# parameter, the budget, `per_token`, `per_pair`. You will get four or five of the six. The chapter
# proves that no constants of this model give all of them.
