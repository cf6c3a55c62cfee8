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
# * predict the largest batch that fits into a given memory;
# * ask JAX what a function really keeps, and hold a ledger to it.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# The first three parts need no JAX, only arithmetic. Use numpy there: its whole numbers have 64
# bits, and bytes are quickly more than the 32 bits of JAX can count.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
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

# %% tags=["mistakes"]
# It looks as if the vectors of the positions were forgotten: the embedding has one for each token
# of the vocabulary and one for each position up to max_len.
# - (vocab + max_len)
# + vocab

# It looks as if the output projection of the attention were forgotten. There are four matrices:
# for q, k and v, and one back to d_model.
# - n_layers * 4 * d_model * n_heads * d_head
# + n_layers * 3 * d_model * n_heads * d_head

# It looks as if the attention had one head only. Each head has matrices of its own: d_model ×
# d_head, n_heads times.
# - n_layers * 4 * d_model * n_heads * d_head
# + n_layers * 4 * d_model * d_head

# It looks as if the biases of the feed-forward layer were forgotten: b1 has d_ff numbers, b2 has
# d_model.
# -  + d_ff + d_model)
# + )

# It looks as if each block had one layer norm only. It has two, one before each branch.
# - (2 * n_layers + 1)
# + (n_layers + 1)

# It looks as if the last layer norm, before the readout, were forgotten.
# - (2 * n_layers + 1)
# + 2 * n_layers

# It looks as if a layer norm had one vector only. It has two, a scale and a shift.
# - (2 * n_layers + 1) * 2
# + (2 * n_layers + 1)

# It looks as if there were a single block. Attention, feed-forward layer and two norms occur
# n_layers times.
# - n_layers * 4 * d_model * n_heads * d_head
# + 4 * d_model * n_heads * d_head
# - n_layers * (2
# + (2
# - (2 * n_layers + 1)
# + 3

# It looks as if the readout used the embedding's matrix once more. In this model it has one of
# its own, d_model × vocab.
# - readout = d_model * vocab
# + readout = 0

# It looks as if max_len and vocab were multiplied. The embedding has two tables, and their rows
# add up.
# - (vocab + max_len) * d_model
# + vocab * max_len * d_model

# It looks as if the readout's matrix had a bias. Here it has none.
# - readout = d_model * vocab
# + readout = d_model * vocab + vocab

# It looks as if the attention's matrices had biases. Here they have none.
# - n_layers * 4 * d_model * n_heads * d_head
# + n_layers * (4 * d_model * n_heads * d_head + 3 * n_heads * d_head + d_model)

# It looks as if the feed-forward layer had one matrix. It has two, to d_ff and back.
# - 2 * d_model * d_ff
# + d_model * d_ff

# It looks as if the two biases of the feed-forward layer were both d_ff long, or both d_model. The
# first is added in the width d_ff, the second in d_model.
# - + d_ff + d_model)
# + + 2 * d_ff)
# or
# - + d_ff + d_model)
# + + 2 * d_model)

# It looks as if the second bias of the feed-forward layer were forgotten. Both matrices have one.
# - + d_ff + d_model)
# + + d_ff)

# It looks as if the first bias of the feed-forward layer were forgotten. Both matrices have one.
# - + d_ff + d_model)
# + + d_model)

# It looks as if the attention's matrices were d_model × d_model, whatever the heads. A head's are
# d_model × d_head, and n_heads · d_head need not be d_model.
# - n_layers * 4 * d_model * n_heads * d_head
# + n_layers * 4 * d_model * d_model

# It looks as if each block had embeddings of its own. There is one table of tokens and one of
# positions.
# - embeddings = (
# + embeddings = n_layers * (

# It looks as if each block had a readout. There is one, at the end.
# - readout = d_model
# + readout = n_layers * d_model

# It looks as if the last layer norm were counted with each block. It is there once.
# - (2 * n_layers + 1)
# + (3 * n_layers)

# It looks as if the norms were counted with the readout, too: the last of the five counts is the
# matrix alone.
# - readout = d_model * vocab
# + readout = d_model * vocab + 2 * d_model

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
# <details><summary>Hint 3: where the layers are</summary>
#
# Which of the five counts contain `n_layers`, and which do not? One contains it in a part only:
# there are two norms in each block, and one more that belongs to none.
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

# %% tags=["mistakes"]
# It looks as if numbers were counted instead of bytes. A float32 number has 4 bytes, a bool 1.
# - + 3 * length) * 4
# + + 3 * length)
# - length * d_head * 4
# + length * d_head
# - + 2 * n_heads * length) * 4
# + + 2 * n_heads * length)
# - (4 + 1)
# + 2

# It looks as if the batch were forgotten: every example keeps its own activations.
# - batch * np.array
# + np.array

# It looks as if the scores grew with the length and not with its square. There is one for each
# pair of a query and a key, in each head.
# - 2 * n_heads * length * length
# + 2 * n_heads * length

# It looks as if the scores were counted for half of the pairs. The causal mask sets the others to
# -inf, but full attention computes and keeps the whole matrix.
# - 2 * n_heads * length * length
# + n_heads * length * (length + 1)

# It looks as if there were one head only. The vectors have n_heads · d_head numbers, and every
# head has scores of its own.
# - 4 * n_heads * length * d_head
# + 4 * length * d_head
# - (2 * n_heads * length * length + 2 * n_heads * length)
# + 2 * length * (length + 1)

# It looks as if the scores were kept once. They are there twice, before the softmax and after it.
# - (2 * n_heads * length * length
# + (n_heads * length**2

# It looks as if the signs were float32 numbers. A bool takes 1 byte.
# - (4 + 1)
# + 8

# It looks as if the signs of the ReLU were forgotten: one bool for each number of the inside.
# - (4 + 1)
# + 4

# It looks as if a block had one layer norm only. It has two.
# - 2 * (4 * length * d_model
# + (4 * length * d_model

# It looks as if the inputs of the two branches were forgotten, what the norms return: one array
# of d_model each.
# - 2 * (4 * length
# + 2 * (3 * length

# It looks as if the heads' results were forgotten, which the output projection needs: q, k, v and
# these make four.
# - 4 * n_heads * length * d_head
# + 3 * n_heads * length * d_head

# It looks as if the two numbers of each row of the softmax were forgotten, its maximum and its
# sum.
# -  + 2 * n_heads * length) * 4
# + ) * 4

# It looks as if one norm's result were forgotten, or counted for both together: each of the two
# has three arrays and a result.
# - 2 * (4 * length * d_model + 3 * length)
# + (7 * length * d_model + 6 * length)

# It looks as if the three numbers for each position of a norm were forgotten.
# - + 3 * length) * 4
# + ) * 4

# It looks as if the norms' single numbers were counted for each feature. They are one for a
# position.
# - + 3 * length) * 4
# + + 3 * length * d_model) * 4

# It looks as if the vectors were counted in the width of the model. A head's are d_head wide, and
# there are n_heads.
# - 4 * n_heads * length * d_head * 4
# + 4 * length * d_model * 4

# It looks as if the batch were squared in the scores. No example looks at another.
# - (2 * n_heads * length * length + 2 * n_heads * length) * 4
# + (2 * n_heads * length * length + 2 * n_heads * length) * 4 * batch

# It looks as if the inside of the feed-forward layer were counted in the width of the model. It is
# d_ff wide.
# - length * d_ff * (4 + 1)
# + length * d_model * (4 + 1)

# It looks as if the inside of the feed-forward layer were forgotten, and only its signs were
# counted.
# - (4 + 1)
# + 1

# It looks as if the inside were kept twice, before the ReLU and after it. Before it only the signs
# count.
# - (4 + 1)
# + (4 + 4 + 1)

# It looks as if the maximum and the sum of each row were counted once for all heads. Each head has
# rows of its own.
# - + 2 * n_heads * length) * 4
# + + 2 * length) * 4

# It looks as if of each row of the softmax one number were kept. There are two, the maximum and
# the sum.
# - + 2 * n_heads * length) * 4
# + + n_heads * length) * 4

# It looks as if numbers had 2 bytes. Everything is in float32 here, which has 4.
# - + 3 * length) * 4
# + + 3 * length) * 2
# - length * d_head * 4
# + length * d_head * 2
# - + 2 * n_heads * length) * 4
# + + 2 * n_heads * length) * 2
# - (4 + 1)
# + (2 + 1)

# It looks as if numbers had 8 bytes. Everything is in float32 here, which has 4.
# - + 3 * length) * 4
# + + 3 * length) * 8
# - length * d_head * 4
# + length * d_head * 8
# - + 2 * n_heads * length) * 4
# + + 2 * n_heads * length) * 8
# - (4 + 1)
# + (8 + 1)

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
# <details><summary>Hint 3: the scores</summary>
#
# For one head, the matrix before the softmax has `length` · `length` numbers, the one after it as
# many, and each of its rows has two numbers more. How often is all this there, and how many bytes
# is it? The feed-forward layer is the only row of the list in which not all numbers have the same
# size.
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

# %% tags=["mistakes"]
# It looks as if something had to be left over: where the examples fit to the byte, one fewer was
# counted. An exact fit fits.
# - np.maximum(left // one_example, 0)
# + np.maximum((left - 1) // one_example, 0)

# It looks as if the parameters cost nothing. Take off their bytes first; what is left is for the
# examples.
# - budget - n_parameters * bytes_per_parameter
# + budget

# It looks as if a parameter took one byte. With its gradient and the optimiser's moments it takes
# bytes_per_parameter.
# - n_parameters * bytes_per_parameter
# + n_parameters

# It looks as if the result were rounded up: the last example would not fit.
# - left // one_example
# + -(-left // one_example)

# It looks as if the result were rounded to the nearest number. Part of an example is no example:
# round down.
# - left // one_example
# + np.rint(left / one_example).astype(int)

# It looks as if a batch could be negative. Where the parameters alone are too large, nothing
# fits, and that is a batch of 0.
# - np.maximum(left // one_example, 0)
# + left // one_example

# It looks as if one example were always possible. Sometimes none fits, and the batch is 0.
# - one_example, 0)
# + one_example, 1)

# It looks as if per_token + per_pair · length were the bytes of an example. That is what one of
# its positions takes: multiply by the length.
# - per_token * lengths + per_pair * lengths**2
# + per_token + per_pair * lengths

# It looks as if per_pair were multiplied with the length once. There are length² pairs.
# - lengths**2
# + lengths

# It looks as if the pairs were forgotten: an example takes per_token · length + per_pair ·
# length² bytes.
# -  + per_pair * lengths**2

# It looks as if the whole budget were divided first and the parameters taken off afterwards. They
# are bytes, not examples: take them off the budget.
# - np.maximum(left // one_example, 0)
# + np.maximum(budget // one_example - n_parameters * bytes_per_parameter, 0)

# It looks as if per_pair were multiplied with half of the pairs. It is bytes for each of length².
# - lengths**2
# + lengths * (lengths + 1) // 2

# It looks as if the parameters were added to every example. They are there once, whatever the
# batch.
# - left // one_example
# + budget // (one_example + n_parameters * bytes_per_parameter)

# It looks as if a negative rest were taken as a positive one. Where the parameters alone are too
# large, nothing fits.
# - np.maximum(left // one_example, 0)
# + abs(left) // one_example

# It looks as if per_token and per_pair were exchanged.
# - per_token * lengths + per_pair * lengths**2
# + per_pair * lengths + per_token * lengths**2

# It looks as if the bytes of a token were counted once, and not for each of them.
# - per_token * lengths +
# + per_token +

# It looks as if the bytes that each token takes were forgotten.
# - per_token * lengths + per_pair
# + per_pair

# It looks as if the square were taken of per_pair as well: only the length is squared.
# - per_pair * lengths**2
# + (per_pair * lengths) ** 2

# It looks as if all lengths had the batch of the first.
# - np.maximum(left // one_example, 0)
# + np.maximum(left // one_example, 0)[:1].repeat(len(lengths))

# It looks as if one were added to what fits.
# - np.maximum(left // one_example, 0)
# + np.maximum(left // one_example, 0) + 1

# It looks as if the bytes that are left over were returned, and not how many examples fit.
# - left // one_example
# + left % one_example

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
# <details><summary>Hint 3: check yourself with the table</summary>
#
# Budget 1,000, parameters 160, length 20: 600 bytes an example, of which one fits into 840. Your
# three lines are: what is left; what one example takes (an array); how many fit (an array). Then
# put in a budget of 100. What does your last line say now, and what should it?
#
# </details>

# %% tags=["check"]
check.largest_batches(largest_batches)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** All that is not fixed is proportional to the batch, so the largest batch is a
# division.

# %% [markdown]
# ### And the talk's table?
#
# The talk quotes 12, 6, 2, 1, 0, 0 for BERT-Large, a card of 12 GB and the six lengths below. Here
# are the model's numbers: 24 blocks, which keep 28 arrays of `d_model` 1,024 for a token and 3
# numbers for a pair in each of 16 heads; and 28 bytes a parameter. Try to come near the quotation
# with your function: change the bytes per parameter, the budget, the 28, the 3. You will get four
# or five of the six. The chapter proves that no constants of this model give all of them.

# %% tags=["check"]
six_lengths = np.array([64, 128, 256, 320, 384, 512])
quoted = [12, 6, 2, 1, 0, 0]
numbers = dict(budget=int(11.2 * 2**30), n_parameters=335_141_888, bytes_per_parameter=28)
per_example = dict(per_token=24 * 28 * 1024 * 4, per_pair=24 * 3 * 16 * 4)
print(largest_batches(six_lengths, **numbers, **per_example), quoted)

# %% [markdown]
# ## Part 4: Weigh the real thing · ★★☆ · 15 minutes
#
# So far it was bookkeeping. Is it true? JAX can be asked:
#
#     y, pull_back = jax.vjp(f, *arguments)
#
# `pull_back` has to remember whatever the backward pass will want. It is a pytree like any other,
# so `jax.tree.leaves(pull_back)` lists the arrays that it holds. Some of these are the arguments
# themselves, the very same arrays, and these are there anyway.
#
# Write `kept_bytes(f, *arguments)`: the bytes of all arrays that are held and were not given. An
# array `x` has `x.nbytes`.
#
# Predict three cases on paper, with $x$ of shape (5, 3) in float32, 60 bytes. What is kept beyond
# $x$ by $x \cdot x$, by $\sin(x) \cdot x$, and by $x W_1 W_2$ with two matrices of (3, 3)?
#
# <details><summary>Answer</summary>
#
# Nothing: the derivative is $2x$, and $x$ was given. Then 120: $\sin(x)$, which the product's rule
# wants, and $\cos(x)$, which the sine's wants. Then 60: $x W_1$, for the gradient of $W_2$; $W_1$,
# $W_2$ and $x$ are wanted as well, and were given.
#
# </details>


# %%
def kept_bytes(f, *arguments):
    """What the forward pass of f hands to its backward pass, beyond the arguments.

    f          a function of the arguments, which are arrays
    returns    (), the number of bytes
    """
    # SOLUTION
    _, pull_back = jax.vjp(f, *arguments)
    given = set(map(id, arguments))
    kept = {id(array): array.nbytes for array in jax.tree.leaves(pull_back)}
    return sum(n_bytes for name, n_bytes in kept.items() if name not in given)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the arguments were counted too. They are there whether or not anything is kept:
# leave out those arrays that are arguments.
# -  if name not in given
# +

# It looks as if numbers were counted instead of bytes. A float32 has 4, a bfloat16 2, a bool 1.
# - array.nbytes for
# + array.size for

# It looks as if every number were counted with 4 bytes. A bool takes 1, a bfloat16 takes 2.
# - array.nbytes for
# + 4 * array.size for

# It looks as if arrays were left out because they have the shape of an argument. sin(x) has the
# shape of x and is another array: compare the arrays themselves, with `is` or `id`.
# - given = set(map(id, arguments))
# + given = {id(array) for array in jax.tree.leaves(pull_back) if array.shape in [x.shape for x in arguments]}

# It looks as if the result of f were weighed. Asked is what `pull_back` holds.
# - _, pull_back = jax.vjp(f, *arguments)
# + pull_back = f(*arguments)

# It looks as if arrays were counted. Asked are their bytes.
# - array.nbytes for
# + 1 for

# It looks as if only the largest array were counted. Add up all.
# - return sum(n_bytes for name, n_bytes in kept.items() if name not in given)
# + return max([n_bytes for name, n_bytes in kept.items() if name not in given], default=0)

# It looks as if the arguments' bytes were taken off. Not every function keeps all of its arguments,
# so leave out those that are held, one by one.
# - return sum(n_bytes for name, n_bytes in kept.items() if name not in given)
# + return sum(kept.values()) - sum(x.nbytes for x in arguments)

# It looks as if only the first array that is new were counted. Add up all.
# - return sum(n_bytes for name, n_bytes in kept.items() if name not in given)
# + return next((n_bytes for name, n_bytes in kept.items() if name not in given), 0)

# It looks as if the result of f were counted as well. Asked is what `pull_back` holds.
# - _, pull_back = jax.vjp(f, *arguments)
# + y, pull_back = jax.vjp(f, *arguments)
# - return sum(n
# + return y.nbytes + sum(n

# It looks as if the arguments alone were counted. They were given; all else is asked for.
# - if name not in given
# + if name in given

# It looks as if the arguments were weighed, whether or not they are held.
# - return sum(n_bytes for name, n_bytes in kept.items() if name not in given)
# + return sum(x.nbytes for x in arguments)

# It looks as if the bytes of each number were counted, and not how many numbers there are.
# - array.nbytes for
# + array.dtype.itemsize for

# It looks as if bits were counted. A byte has eight of them.
# - array.nbytes for
# + 8 * array.nbytes for

# It looks as if only the first argument were left out. All of them were given.
# - map(id, arguments)
# + map(id, arguments[:1])

# It looks as if only the last argument were left out. All of them were given.
# - map(id, arguments)
# + map(id, arguments[-1:])

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# List the leaves first and print their shapes: which of them do you know?
#
# </details>
#
# <details><summary>Hint 2: the very same array</summary>
#
# Two arrays may look alike and be two. `a is b` says whether they are one. `any(a is x for x in
# arguments)` says whether `a` is an argument.
#
# </details>

# %% tags=["check"]
check.kept_bytes(kept_bytes)

# %% [markdown] tags=["solution-only"]
# **Hold Part 2 to it.** Here is the attention of one head, as small as it gets. Your ledger says:
# q, k and v, given here; two matrices of scores; and two numbers for each row of the softmax.

# %% tags=["solution-only"]
def attention(q, k, v):
    return jax.nn.softmax(q @ k.T) @ v


length, d_head = 100, 8
q, k, v = jax.random.normal(jax.random.key(0), (3, length, d_head))
really = kept_bytes(attention, q, k, v)
scores = count_kept_bytes(1, length, d_model=8, d_ff=1, n_heads=1, d_head=d_head)[2]
print(f"ledger {scores:,} bytes, jax {really:,}")
assert abs(really / scores - 1) < 0.1

# %% [markdown]
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# "Memory depends on the number of tokens in a batch." It is a good rule for feed-forward layers. A
# block has `d_model` 64, `d_ff` 256 and two heads of 32. It gets 4,096 tokens, at first as 16 texts
# of 256. Then the same tokens come in fewer and longer texts.
#
# **Predict before you run the next cells:** at which length does the block keep *twice* as much as
# at 256? You are right if you are off by a factor of 1.2 at most. The experiment asks `jax.vjp` of
# the package's model; your Part 2 can tell beforehand.
#
# <details><summary>Hint 1: for one token</summary>
#
# All arrays of a block have a row for each token, whatever the length, and of one kind only the
# rows grow longer. How many numbers are in one token's rows, of either kind?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # tokens in a text

# %% tags=["solution-only"]
# For a token: norms 2 · 4 · 64, vectors 4 · 64, feed-forward 1.25 · 256, together 1,088 numbers;
# and scores 2 · 2 · length. At 256 these are 1,024, so all is 2,112. Twice that leaves 3,136 for
# scores.
my_guess = 3136 / 4

# %% tags=["check"]
from efftx.check import where_the_memory_goes_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.twice_the_bytes.predicted(my_guess)
mib = {length: experiment.kept_bytes(length) / 2**20 for length in experiment.LENGTHS}
limit = ("twice as much", 2 * mib[256])
show(
    draw_experiment({"a block": mib}, "length", "MiB", predicted=predicted, limit=limit, log="x"),
    "What a block keeps of 4,096 tokens against the length of the texts that they come in. The "
    "axis of lengths is logarithmic, so a straight line looks bent: from 25 MiB at 128 tokens over "
    "33 at 256 to 145 at 2,048.",
)

# %% tags=["check"]
check.twice_the_bytes(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** With full attention a token in a long text costs more than one in a short text,
# without any bound. "Tokens per batch" is the right measure only where attention has no matrix, as
# in chapters 06 and 08.
