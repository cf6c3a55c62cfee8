# %% [markdown]
# # Exercise 13 · Fine-tuning for everyone
#
# <!-- measured -->
#
# In [the chapter](../chapters/13_fine_tuning_for_everyone.ipynb) a frozen model learned through a
# small change of its matrices. Here you write that change by hand, and count what it takes.
# Afterwards you can
#
# * start an adapter so that it changes nothing, and yet can learn;
# * compute with the change without ever making its matrix;
# * take one task out of a matrix and put another one in;
# * say byte by byte what a step takes, and why eight bits alone can make it *more*;
# * choose which matrices to adapt when only so many numbers may be trained.
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
import numpy as np

from efftx.check import fine_tuning_for_everyone as check

# %% [markdown]
# ## Part 1: An adapter that changes nothing yet · ★☆☆ · 5 minutes
#
# A matrix $W$ of $d_{in} \times d_{out}$ is frozen. What is trained is a change of it,
#
# $$\Delta W = \frac{\alpha}{r} A B, \qquad A \in \mathbb R^{d_{in} \times r},\;
# B \in \mathbb R^{r \times d_{out}}.$$
#
# Training is to begin at the model that is there: the change is zero at first. Yet one of $A$ and
# $B$ must not be zero, or nothing would ever move. As in LoRA that is $A$: its numbers are drawn,
# each with variance $1 / d_{in}$, so that $x A$ is about as large as $x$.
#
# Write `start(draws, d_out)`. `draws`, of shape $(d_{in}, r)$, has been drawn with variance 1.
# Return $A$ and $B$.
#
# On paper first: a number has variance 1, and you divide it by 2. What is its variance now?
#
# <details><summary>Answer</summary>
#
# 1/4. The variance is a mean of squares, so it is divided by 2². For a variance of $1 / d_{in}$
# divide by the root of $d_{in}$.
#
# </details>


# %%
def start(draws, d_out):
    """A and B before the first step.

    draws    (d_in, rank): numbers of variance 1
    returns  a (d_in, rank), b (rank, d_out)
    """
    # SOLUTION
    d_in, rank = draws.shape
    return draws / d_in**0.5, jnp.zeros((rank, d_out))
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if A were zero, and B too. The gradient of each is a product with the other: neither
# would ever move.
# - draws / d_in**0.5
# + 0 * draws

# It looks as if A had the variance 1. Divide the draws by the root of d_in.
# - draws / d_in**0.5
# + draws

# It looks as if the draws were divided by d_in: that makes the variance 1 / d_in². Divide by the
# root.
# - d_in**0.5
# + d_in

# It looks as if A were scaled by the rank. What comes in is d_in numbers: they are what x A adds
# up.
# - d_in**0.5
# + rank**0.5
# or
# - d_in**0.5
# + rank

# It looks as if A were scaled by d_out. What comes in counts: divide by the root of d_in.
# - d_in**0.5
# + d_out**0.5

# It looks as if A had been multiplied by the root of d_in. Divide by it.
# - draws / d_in**0.5
# + draws * d_in**0.5

# It looks as if d_in and d_out were averaged. That keeps gradients alive in a network of its own;
# here only what comes in counts.
# - d_in**0.5
# + ((d_in + d_out) / 2) ** 0.5

# A is right, but B is not zero: the model would be another one before the first step.
# - jnp.zeros((rank, d_out))
# + jnp.ones((rank, d_out))
# or
# - jnp.zeros((rank, d_out))
# + jnp.eye(rank, d_out)
# or
# - jnp.zeros((rank, d_out))
# + jnp.resize(draws, (rank, d_out))
# or
# - jnp.zeros((rank, d_out))
# + jnp.resize(draws, (rank, d_out)) / d_in**0.5
# or
# - jnp.zeros((rank, d_out))
# + jnp.resize(draws, (rank, d_out)) / rank**0.5

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `draws.shape` has both of the sizes that you are not given.
#
# </details>
#
# <details><summary>Hint 2: which is zero</summary>
#
# $A$ is drawn, $B$ is zeros. `jnp.zeros` takes a shape: B has as many rows as A has columns.
#
# </details>

# %% tags=["check"]
check.start(start)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** $A B$ is zero because $B$ is. The gradient of $B$ is
# $\frac{\alpha}{r} (x A)^\top g$, which is not zero, so $B$ moves in the first step. The gradient
# of $A$ is a product with $B$: zero in the first step, and no longer in the second. jax agrees:

# %% tags=["solution-only"]
shapes = (9, 6), (6, 4), (6, 2)
x, w, draws = (jax.random.normal(jax.random.key(n), shape) for n, shape in enumerate(shapes))


def loss(a, b):
    return jnp.sin(x @ w + x @ a @ b).sum()


a, b = start(draws, 4)
g_a, g_b = jax.grad(loss, (0, 1))(a, b)
assert (g_a == 0).all()
assert (g_b != 0).all()
g_a, _ = jax.grad(loss, (0, 1))(a, b - 0.1 * g_b)
assert (g_a != 0).all()

# %% [markdown]
# ## Part 2: Its product, and no matrix of the change · ★★☆ · 10 minutes
#
# The adapted layer computes $x\,(W + \frac{\alpha}{r} A B)$. But $A B$ has as many numbers as $W$:
# whoever makes it has the weights of the layer twice. It can be done without.
#
# Write `adapted_product(x, w, a, b, alpha)`. **Make no array of $d_{in} \times d_{out}$.** The rank
# $r$ is not given: where does it stand?
#
# On paper first. $x$ is one row of 1,000 numbers, $W$ is 1,000 × 1,000, $r$ is 8. How many
# multiplications does $x (A B)$ take, how many $(x A) B$?
#
# <details><summary>Answer</summary>
#
# $A B$ takes 1,000 · 8 · 1,000 = 8 million, and $x$ times that another million. $x A$ takes 8,000,
# and the 8 numbers times $B$ 8,000 more: 16,000. It is the same product, in other brackets.
#
# </details>


# %%
def adapted_product(x, w, a, b, alpha):
    """What the adapted layer makes of x, nothing of the size of w being made.

    x (length, d_in);  w (d_in, d_out);  a (d_in, rank);  b (rank, d_out);  alpha, a number
    returns  (length, d_out)
    """
    # SOLUTION
    scale = alpha / a.shape[1]
    return x @ w + scale * (x @ a) @ b
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if alpha were the scale. It is α / r, with the number of A's columns for r.
# - alpha / a.shape[1]
# + alpha

# It looks as if the scale were forgotten: the change is α / r times A B.
# - alpha / a.shape[1]
# + 1

# It looks as if alpha were forgotten: the scale is α / r.
# - alpha / a.shape[1]
# + 1 / a.shape[1]

# It looks as if alpha were multiplied by the rank. Divide.
# - alpha / a.shape[1]
# + alpha * a.shape[1]

# It looks as if the scale were upside down: it is α / r.
# - alpha / a.shape[1]
# + a.shape[1] / alpha

# It looks as if alpha were divided by the *root* of the rank. Some do that; LoRA divides by the
# rank itself.
# - alpha / a.shape[1]
# + alpha / a.shape[1] ** 0.5

# It looks as if alpha were divided by another size than the rank. The rank is what A has columns,
# and B has rows.
# - alpha / a.shape[1]
# + alpha / a.shape[0]
# or
# - alpha / a.shape[1]
# + alpha / b.shape[1]
# or
# - alpha / a.shape[1]
# + alpha / x.shape[0]

# It looks as if the frozen part were missing: x W comes first, and the change is added to it.
# - x @ w + scale
# + scale

# It looks as if the change were missing: that is x W alone.
# - return x @ w + scale * (x @ a) @ b
# + return x @ w

# It looks as if the change were taken off. Add it.
# - x @ w + scale
# + x @ w - scale

# It looks as if the frozen part were scaled, too. The scale is the change's alone.
# - x @ w + scale * (x @ a) @ b
# + scale * (x @ w + (x @ a) @ b)

# It looks as if frozen part and change were mixed, as in a mean. The frozen part stays whole.
# - x @ w + scale
# + (1 - scale) * (x @ w) + scale

# It looks as if the scale came in twice, at A and at B.
# - scale * (x @ a) @ b
# + scale * (x @ a) @ (scale * b)

# It looks as if something like a ReLU stood between A and B. Then it would be a small layer beside
# the other, and could not be merged: the change is linear.
# - (x @ a)
# + jax.nn.relu(x @ a)
# or
# - (x @ a)
# + jnp.tanh(x @ a)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# $x (W + s A B) = x W + s\, x A B$. Where do you put the brackets in $x A B$?
#
# </details>
#
# <details><summary>Hint 2: the rank</summary>
#
# $A$ is `(d_in, rank)`, so the rank is `a.shape[1]`.
#
# </details>
#
# <details><summary>Hint 3: brackets in Python</summary>
#
# `x @ a @ b` is `(x @ a) @ b`: from left to right. But `scale * a @ b` in brackets of its own would
# make the matrix.
#
# </details>

# %% tags=["check"]
check.adapted_product(adapted_product)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** A product of matrices may be bracketed in any way. In this one the middle is
# only `rank` wide, and so it is on the way back: the gradients of $A$ and $B$ are made of $x$,
# $x A$ and the gradient that comes in. The package's `memory.low_rank_product` does the same:

# %% tags=["solution-only"]
from efftx import memory

change = memory.LowRank(draws, b + 1, scale=16 / 2)
theirs = memory.low_rank_product(x, w, change)
assert jnp.allclose(adapted_product(x, w, draws, b + 1, 16), theirs, rtol=1e-4, atol=1e-4)

# %% [markdown]
# ## Part 3: Another task in the same matrix · ★★☆ · 10 minutes
#
# When the model is used the product of Part 2 costs time. So the change is **merged**: $W$ is
# replaced by $W + \frac{\alpha}{r} A B$, and the model is as fast as it was. Now another task is
# wanted, with an adapter of its own, and the first $W$ has been given away.
#
# Write `exchange(merged, a, b, alpha, a_new, b_new, alpha_new)`. It gets a matrix into which the
# first change is merged, and returns the one into which only the new change is. The two adapters
# may differ in rank.
#
# In numbers, all matrices 1 × 1 and of rank 1: `merged` is 16, with $A$ = 2, $B$ = 3, $\alpha$ = 1.
# The new one has $A$ = 1, $B$ = 1, $\alpha$ = 4. What is to be returned?
#
# <details><summary>Answer</summary>
#
# 16 − 1 · 2 · 3 = 10 was there before. 10 + 4 · 1 · 1 = 14.
#
# </details>


# %%
def exchange(merged, a, b, alpha, a_new, b_new, alpha_new):
    """The first change taken out of a matrix, and the new one put in.

    merged   (d_in, d_out): the frozen matrix with the first change added
    a, b     (d_in, rank), (rank, d_out);  alpha, a number: the first change
    a_new …  the new one, perhaps of another rank
    returns  (d_in, d_out)
    """
    # SOLUTION
    frozen = merged - alpha / a.shape[1] * a @ b
    return frozen + alpha_new / a_new.shape[1] * a_new @ b_new
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the first change were still in it. Take it off before the new one is added.
# - merged - alpha / a.shape[1] * a @ b
# + merged

# It looks as if the new change were missing: that is the frozen matrix.
# - return frozen + alpha_new / a_new.shape[1] * a_new @ b_new
# + return frozen

# It looks as if the first change were added once more. It is in the matrix already: take it off.
# - merged - alpha
# + merged + alpha

# It looks as if the new change were taken off. Add it.
# - frozen + alpha_new
# + frozen - alpha_new

# It looks as if the signs were exchanged: the first change comes off, the new one is added.
# - merged - alpha
# + merged + alpha
# - frozen + alpha_new
# + frozen - alpha_new

# It looks as if both changes had the scale of the first. Each has its own α and rank.
# - alpha_new / a_new.shape[1]
# + alpha / a.shape[1]

# It looks as if both changes had the scale of the new one. Each has its own α and rank.
# - alpha / a.shape[1]
# + alpha_new / a_new.shape[1]

# It looks as if both changes had the same rank: alpha is right, what it is divided by is not.
# - alpha_new / a_new.shape[1]
# + alpha_new / a.shape[1]
# or
# - alpha / a.shape[1]
# + alpha / a_new.shape[1]

# It looks as if both changes had the same alpha.
# - alpha_new / a_new.shape[1]
# + alpha / a_new.shape[1]
# or
# - alpha / a.shape[1]
# + alpha_new / a.shape[1]

# It looks as if the scales were forgotten, α / r of each.
# - alpha / a.shape[1] * a
# + a
# - alpha_new / a_new.shape[1] * a_new
# + a_new

# It looks as if one of the scales were forgotten: α / r, of the first change and of the new one.
# - alpha / a.shape[1] * a
# + a
# or
# - alpha_new / a_new.shape[1] * a_new
# + a_new

# It looks as if the ranks were forgotten in the scales: they are α / r.
# - alpha / a.shape[1]
# + alpha
# - alpha_new / a_new.shape[1]
# + alpha_new

# It looks as if the matrix were forgotten: that is the difference of the two changes alone.
# - merged - alpha
# + -alpha

# It looks as if the first change were taken off twice.
# - merged - alpha
# + merged - 2 * alpha

# It looks as if nothing had happened: that is the matrix that came in.
# - return frozen + alpha_new / a_new.shape[1] * a_new @ b_new
# + return merged

# It looks as if the new change stood alone. It is added to the frozen matrix.
# - return frozen + alpha_new
# + return alpha_new

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two lines: what was there before the first task; then what is there with the second.
#
# </details>
#
# <details><summary>Hint 2: the scales</summary>
#
# Each change has its own: its $\alpha$, divided by the number of columns of its $A$.
#
# </details>

# %% tags=["check"]
check.exchange(exchange)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** What was added can be taken off. To rounding: a float32 has seven digits, and
# each exchange rounds once more. With an adapter of zeros the same function merges, or takes out:

# %% tags=["solution-only"]
nothing = jnp.zeros((6, 1)), jnp.zeros((1, 4)), 1
merged = exchange(w, *nothing, draws, b + 1, 16)
assert jnp.allclose(x @ merged, adapted_product(x, w, draws, b + 1, 16), rtol=1e-4, atol=1e-4)
assert jnp.allclose(exchange(merged, draws, b + 1, 16, *nothing), w, atol=1e-5)

# %% [markdown]
# In eight bits it cannot be done so: a merged matrix has to be rounded anew, and what is rounded
# away does not come back. There the change stays apart, or the frozen matrix is kept.
#
# ## Part 4: What a step takes, kind by kind · ★★★ · 20 minutes
#
# A model of `n_layers` layers, one after the other. Each has a frozen matrix $W$ of `d` × `d` and
# an adapter of rank `rank`, and computes $x W + s\,(x A) B$ as in Part 2; $x$ has `length` rows of
# `d` numbers. (What else a real layer has is left aside.) It is trained with Adam. Everything is
# float32, 4 bytes, except that $W$ is stored in `bits` bits: 32, 8 or 4. (Scales are left aside,
# too.)
#
# How many bytes are there of each kind?
#
# 1. **Frozen**: the $W$ of all layers, as they are stored.
# 2. **Trained**: the $A$ and $B$ of all layers.
# 3. **Means**: Adam's two running means of everything that is trained.
# 4. **Matrices**: the $W$ that were made anew in float32 and are kept for the way back. In 32 bits
#    $W$ is used as it lies there, and nothing is made. In fewer bits the layer makes it whole; and
#    going back through $x W$ takes $W$, so autodiff *keeps* it.
# 5. **Activations**: what a layer keeps of what went through it: its input $x$, for the gradient of
#    $A$, and $x A$, for the gradient of $B$.
#
# With `checkpoints` a layer keeps its input, and nothing else. On the way back one layer at a time
# computes its inside again, $W$ in float32 and $x A$, and drops it before the next. Count the most
# that is there at once.
#
# Write `step_bytes(n_layers, d, length, rank, bits, checkpoints)`. It returns five counts in this
# order. (Left aside: gradients, which take what *trained* takes.)
#
# Think first: without checkpoints, does a model in eight bits take more than one in 32 bits, or
# less?
#
# <details><summary>Answer</summary>
#
# More! The frozen matrices shrink from 4 bytes a number to 1. But now each of them is there a
# second time, made anew in float32 and kept: 5 bytes in place of 4. With checkpoints only one
# layer's is: that is what makes eight bits worth it.
#
# </details>


# %%
def step_bytes(n_layers, d, length, rank, bits, checkpoints):
    """Five counts of bytes: frozen, trained, means, matrices, activations.

    checkpoints  True or False; all others are whole numbers, and d is even
    """
    # SOLUTION
    frozen = n_layers * d * d * bits // 8
    trained = 4 * n_layers * 2 * d * rank
    means = 2 * trained
    n_inside = 1 if checkpoints else n_layers  # layers whose inside is there at once
    matrices = 4 * n_inside * d * d if bits < 32 else 0
    activations = 4 * (n_layers * length * d + n_inside * length * rank)
    return np.array([frozen, trained, means, matrices, activations])
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the frozen matrices were counted in float32 whatever they are stored in. A number
# takes bits / 8 bytes.
# - n_layers * d * d * bits // 8
# + n_layers * d * d * 4

# It looks as if the frozen matrices were counted in bits. A byte has eight.
# - n_layers * d * d * bits // 8
# + n_layers * d * d * bits

# It looks as if four bits were rounded to a whole byte, or to none. Two numbers share a byte:
# divide by 8 at the end.
# - n_layers * d * d * bits // 8
# + n_layers * d * d * (bits // 8)
# or
# - n_layers * d * d * bits // 8
# + n_layers * d * d * max(1, bits // 8)

# It looks as if one layer's frozen matrix were counted. All of them lie there, checkpoints or not.
# - n_layers * d * d * bits // 8
# + d * d * bits // 8
# or
# - frozen = n_layers * d * d * bits // 8
# + frozen = (1 if checkpoints else n_layers) * d * d * bits // 8

# It looks as if only A were trained, or only B. Both are.
# - 4 * n_layers * 2 * d * rank
# + 4 * n_layers * d * rank

# It looks as if what is trained were counted in the bits of the frozen matrices. It is float32.
# - 4 * n_layers * 2 * d * rank
# + n_layers * 2 * d * rank * bits // 8

# It looks as if the adapters of one layer were counted. Each layer has its own.
# - 4 * n_layers * 2 * d * rank
# + 4 * 2 * d * rank

# It looks as if the matrix A B were counted as trained. A and B are, and no more.
# - 4 * n_layers * 2 * d * rank
# + 4 * n_layers * d * d

# It looks as if Adam had one running mean. It has two: of the gradient, and of its square.
# - means = 2 * trained
# + means = trained

# It looks as if Adam had means of the frozen matrices. It has none of what is not trained: that is
# what freezing saves.
# - means = 2 * trained
# + means = 8 * n_layers * d * d
# or
# - means = 2 * trained
# + means = 2 * trained + 8 * n_layers * d * d

# It looks as if the gradient were counted with the means. Leave it aside.
# - means = 2 * trained
# + means = 3 * trained

# It looks as if nothing were kept of the matrices. In fewer than 32 bits W is made in float32, and
# going back through x W takes it.
# - 4 * n_inside * d * d if bits < 32 else 0
# + 0

# It looks as if matrices were kept in 32 bits, too. There W is an argument: it lies there already.
# - 4 * n_inside * d * d if bits < 32 else 0
# + 4 * n_inside * d * d

# It looks as if the kept matrices were counted as they are stored. What is kept is what the product
# was made with: float32.
# - 4 * n_inside * d * d if bits < 32 else 0
# + n_inside * d * d * bits // 8 if bits < 32 else 0

# It looks as if all matrices were kept even with checkpoints. They are made and dropped one by one:
# one layer's is there at a time.
# - 4 * n_inside * d * d if bits < 32 else 0
# + 4 * n_layers * d * d if bits < 32 else 0

# It looks as if no matrix at all were there with checkpoints. On the way back the layer makes its
# own again: one is there at a time.
# - 4 * n_inside * d * d if bits < 32 else 0
# + 0 if checkpoints or bits == 32 else 4 * n_layers * d * d

# It looks as if one layer's matrix were kept without checkpoints. Autodiff keeps them all.
# - 4 * n_inside * d * d if bits < 32 else 0
# + 4 * d * d if bits < 32 else 0

# It looks as if x A were forgotten among the activations: the gradient of B takes it.
# - (n_layers * length * d + n_inside * length * rank)
# + (n_layers * length * d)

# It looks as if the layers' inputs were forgotten among the activations: the gradient of A takes
# them.
# - (n_layers * length * d + n_inside * length * rank)
# + (n_inside * length * rank)

# It looks as if with checkpoints only one layer's input were there. The inputs are what is kept of
# *every* layer: from them the inside is computed again.
# - n_layers * length * d +
# + n_inside * length * d +

# It looks as if every layer kept its x A even with checkpoints. It is computed again, one layer's
# at a time.
# - n_inside * length * rank
# + n_layers * length * rank

# It looks as if no x A were there with checkpoints. On the way back the layer computes its own
# again.
# - n_inside * length * rank
# + (0 if checkpoints else n_layers) * length * rank

# It looks as if frozen layers kept no activations. The gradient of A in the first layer goes back
# through all layers above, frozen or not.
# - activations = 4 * (n_layers * length * d + n_inside * length * rank)
# + activations = 0

# It looks as if the layers' results were counted beside their inputs. One layer's result is the
# next one's input: it is there once.
# - n_layers * length * d +
# + 2 * n_layers * length * d +

# It looks as if the activations were counted in the bits of the frozen matrices. They are float32.
# - activations = 4 * (n_layers * length * d + n_inside * length * rank)
# + activations = (n_layers * length * d + n_inside * length * rank) * bits // 8

# It looks as if checkpoints were taken for their opposite. With them one layer's inside is there at
# a time, without them all layers'.
# - 1 if checkpoints else n_layers
# + n_layers if checkpoints else 1

# It looks as if numbers were counted. Count bytes: a float32 takes four.
# - 4 * n_layers * 2 * d * rank
# + n_layers * 2 * d * rank
# - n_layers * d * d * bits // 8
# + n_layers * d * d
# - 4 * n_inside * d * d
# + n_inside * d * d
# - 4 * (n_layers
# + (n_layers

# It looks as if the five counts stood in another order. Return frozen, trained, means, matrices,
# activations.
# - [frozen, trained, means, matrices, activations]
# + [trained, frozen, means, matrices, activations]
# or
# - [frozen, trained, means, matrices, activations]
# + [frozen, trained, means, activations, matrices]
# or
# - [frozen, trained, means, matrices, activations]
# + [frozen, means, trained, matrices, activations]

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# One layer first, without checkpoints: how many numbers has each of $W$, $A$, $B$, $x$, $x A$?
# Then: how many of each are there at once?
#
# </details>
#
# <details><summary>Hint 2: four bits</summary>
#
# 4 // 8 is 0 in Python. Multiply by `bits` first, and divide by 8 at the end.
#
# </details>
#
# <details><summary>Hint 3: checkpoints</summary>
#
# A number `n_inside` helps: how many layers have their inside there at once? It is a factor of the
# matrices and of $x A$, and not of the inputs.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     frozen      = layers · d · d numbers of bits / 8 bytes
#     trained     = 4 · (A and B of …)
#     means       = … · trained
#     n_inside    = … with checkpoints, … without
#     matrices    = 4 · n_inside · …, or 0 if …
#     activations = 4 · (inputs of all layers + x A of n_inside layers)
#
# </details>

# %% tags=["check"]
check.step_bytes(step_bytes)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the list, line by line. For 32 matrices with 6.6 billion numbers
# together, 512 tokens and rank 8:

# %% tags=["solution-only"]
kinds = ("frozen", "trained", "means", "matrices", "activations")
for bits in (32, 8, 4):
    for checkpoints in (False, True):
        counts = step_bytes(32, 14_336, 512, 8, bits, checkpoints)
        gb = ", ".join(f"{k} {c / 1e9:.2f}" for k, c in zip(kinds, counts, strict=True))
        how = "checkpoints" if checkpoints else "all kept"
        print(f"{bits:2} bits, {how:11} {counts.sum() / 1e9:5.1f} GB: {gb}")
kept = {bits: step_bytes(32, 14_336, 512, 8, bits, False)[3:].sum() for bits in (32, 8)}
whole = {bits: step_bytes(32, 14_336, 512, 8, bits, False).sum() for bits in (32, 8)}
assert kept[8] > 20 * kept[32]
assert whole[8] > whole[32]

# %% [markdown] tags=["solution-only"]
# **Eight bits without checkpoints take more than 32.** The frozen matrices lie there in a quarter
# of the bytes; but what is kept for the way back grows from the activations alone to a float32 copy
# of every matrix. Quantization makes *arguments* small. Checkpoints keep what it unpacks from
# piling up.

# %% [markdown]
# ## Part 5: Which matrices for a budget? · ★★☆ · 15 minutes
#
# So many numbers may be trained and no more: `budget`. A matrix of $d_{in} \times d_{out}$ costs
# $r\, (d_{in} + d_{out})$ of them. Which matrices do you adapt?
#
# LoRA's authors tried it on GPT-3, always with 18 million trained numbers (table 5 of the paper):
# rank 2 in four kinds of matrices did no worse than rank 4 in two, and better than rank 8 in one.
# So let us take the rank as given, and adapt **as many matrices as the budget allows**: the
# cheapest first, and of equally cheap ones the first in the list.
#
# Write `which_to_adapt(shapes, rank, budget)`. Row $i$ of `shapes` holds $d_{in}$ and $d_{out}$ of
# matrix $i$. Return an array of bools: True for those that are adapted, in the order of the list.
#
# | matrix | shape | cost at rank 2 | adapted with a budget of 40? |
# |---|---|---|---|
# | 0 | 4 × 12 | 32 | ? |
# | 1 | 4 × 4 | 16 | ? |
# | 2 | 6 × 4 | 20 | ? |
#
# <details><summary>Answer</summary>
#
# Matrix 1 for 16 and matrix 2 for 20 make 36; no other two fit into 40. Matrix 0 by itself would
# fit, but it is one: False, True, True.
#
# </details>


# %%
def which_to_adapt(shapes, rank, budget):
    """As many matrices as a budget of trained numbers allows.

    shapes   (n, 2), whole numbers: d_in and d_out of each matrix
    returns  (n,), bool
    """
    # SOLUTION
    cost = rank * shapes.sum(axis=1)
    cheapest_first = jnp.argsort(cost, stable=True)
    fits = jnp.cumsum(cost[cheapest_first]) <= budget
    return jnp.zeros(len(cost), bool).at[cheapest_first].set(fits)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the matrices were taken in the order of the list. The cheapest come first: so more
# of them fit.
# - jnp.argsort(cost, stable=True)
# + jnp.arange(len(cost))

# It looks as if the most expensive matrices were taken first. Then the fewest fit.
# - jnp.argsort(cost, stable=True)
# + jnp.argsort(-cost, stable=True)

# It looks as if the cost were d_in · d_out. That is what the matrix has; A and B have r · d_in and
# r · d_out.
# - rank * shapes.sum(axis=1)
# + shapes.prod(axis=1)
# or
# - rank * shapes.sum(axis=1)
# + rank * shapes.prod(axis=1)

# It looks as if the rank were forgotten in the cost: r · (d_in + d_out).
# - rank * shapes.sum(axis=1)
# + shapes.sum(axis=1)

# It looks as if only A were paid for, or only B. Both are trained: r · (d_in + d_out).
# - rank * shapes.sum(axis=1)
# + rank * shapes[:, 0]
# or
# - rank * shapes.sum(axis=1)
# + rank * shapes[:, 1]

# It looks as if a budget that is met to the number were too small. No more than the budget: as much
# is allowed.
# - <= budget
# + < budget

# It looks as if each matrix were held against the whole budget. They share it: add up what the ones
# before it cost.
# - jnp.cumsum(cost[cheapest_first])
# + cost[cheapest_first]

# It looks as if one matrix too many were taken: the one that goes over the budget does not fit.
# - jnp.cumsum(cost[cheapest_first]) <= budget
# + jnp.cumsum(cost[cheapest_first]) - cost[cheapest_first] < budget

# It looks as if the answer stood in the order of the costs. Put it back into the order of the list.
# - jnp.zeros(len(cost), bool).at[cheapest_first].set(fits)
# + fits

# It looks as if of equally cheap matrices the last were taken. Take the first.
# - jnp.argsort(cost, stable=True)
# + len(cost) - 1 - jnp.argsort(cost[::-1], stable=True)

# It looks as if only the cheapest matrix were taken. Take as many as fit.
# - .set(fits)
# + .set(fits & (jnp.arange(len(cost)) == 0))

# It looks as if True and False were exchanged: True is for those that are adapted.
# - .set(fits)
# + .set(~fits)

# It looks as if all were adapted whatever they cost, or none.
# - .set(fits)
# + .set(True)
# or
# - .set(fits)
# + .set(False)

# It looks as if places in the order of costs were taken for the matrices' numbers. The order says
# which matrix comes n-th, not at which place a matrix comes.
# - jnp.zeros(len(cost), bool).at[cheapest_first].set(fits)
# + fits[cheapest_first]

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Sort by cost, and add up from the left. Up to where is the sum within the budget?
#
# </details>
#
# <details><summary>Hint 2: order</summary>
#
# `jnp.argsort(cost, stable=True)` has the numbers of the matrices from the cheapest on, and leaves
# equal ones in their order. `jnp.cumsum` adds up.
#
# </details>
#
# <details><summary>Hint 3: back to the list</summary>
#
# The n-th cheapest matrix has the number `order[n]`. Begin with False for all, and write what you
# found to the places `order`: `.at[order].set(fits)`.
#
# </details>

# %% tags=["check"]
check.which_to_adapt(which_to_adapt)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Let any choice within the budget have $n$ matrices. The $n$ cheapest cost no
# more than it, so they fit, too: nothing beats taking the cheapest. In a Transformer these are the
# square projections of attention, which are what LoRA's authors adapted. That it is right to want
# *many* matrices is a measurement and no theorem: another task may want a larger rank in fewer.

# %% [markdown]
# ## Part 6: Break it · ★☆☆ · 10 minutes
#
# A small rank is a guess about the change. If it is too small, take a larger one! Why not the
# largest?
#
# Here is a Transformer with `d_model` 64, in which all matrices of the blocks get an adapter of the
# same rank. In each block $W_q$, $W_k$ and $W_v$ lie in one matrix of 64 × 192; the output
# projection is 64 × 64, and the feed-forward layer has 64 × 256 and 256 × 64. We raise the rank
# from 1 to 64 and count what is trained.
#
# **Predict before you run the next cells:** the lowest rank at which the adapters train as many
# numbers as the matrices themselves have. You are right if you are off by 10 percent at most.
#
# <details><summary>Hint 1: one matrix</summary>
#
# An adapter of a square matrix has $2 r d$ numbers, the matrix $d^2$. And one of $d \times 4 d$?
#
# </details>
#
# <details><summary>Hint 2: all of them</summary>
#
# Add up $d_{in} + d_{out}$ over the four matrices of a block, and $d_{in} \cdot d_{out}$ too.
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # the rank: how many columns A has

# %% tags=["solution-only"]
# In units of 64 the sides are 1 + 3, 1 + 1, 1 + 4, 4 + 1: together 16, r · 16 · 64 numbers. The
# matrices have 3 + 1 + 4 + 4 = 12 times 64². Equal at r = 12 · 64 / 16.
my_guess = 12 * 64 / 16

# %% tags=["check"]
from efftx.check import fine_tuning_for_everyone_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.rank_that_saves_nothing.predicted(my_guess)
trained = {rank: experiment.n_trained(rank) for rank in experiment.RANKS}
own = ("what the matrices have", experiment.n_frozen())
figure = draw_experiment({"adapters": trained}, "rank", "numbers", predicted=predicted, limit=own)
show(
    figure,
    "Numbers that are trained in a block against the rank of the adapters, both axes logarithmic: a "
    "straight line from 1,024 at rank 1 to 65,536 at rank 64. It crosses the 49,152 numbers of the "
    "matrices themselves between 32 and 64.",
)

# %% tags=["check"]
check.rank_that_saves_nothing(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** At three quarters of `d_model` the adapters are as large as the model, with 16
# bytes for each number as Adam trains it; and the frozen matrices are still there beside them. A
# matrix of 64 × 64 has rank 64 at most, so there the adapter of rank 48 cannot even express every
# change. Whoever needs such a rank had better train the matrices themselves. Adapters of rank 1, 4
# or 16 train 2, 8 or 33 percent of the numbers; in a large model, with `d_model` 4,096, rank 16 is
# half a percent.
#
# ### What separates yours from the fast one
#
# Nothing in the arithmetic. The package finds the matrices by their names in any model
# (`efftx.models.init_adapters`), keeps $A$ and $B$ of all layers in one array, and takes matrices
# of more than two axes. And its `adapted` adds the change to the matrix in every layer,
# $W + s A B$, so that any layer can be adapted without being rewritten. Your Part 2 makes less.
