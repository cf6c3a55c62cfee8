# %% [markdown]
# # Exercise 10 · Sparse feed-forward
#
# <!-- measured -->
#
# In [the chapter](../chapters/10_sparse_feed_forward.ipynb) a controller chose which units of a
# feed-forward layer are computed. Here you write it: the choice, the gradient through the choice,
# the layer that reads nothing else, and a number for how evenly the units are used. Afterwards you
# can
#
# * turn scores into one unit for each block, whatever the number of blocks;
# * write the straight-through gradient by hand, and say what it assumes;
# * compute a layer from its chosen units alone, and prove that no other weight was read;
# * measure the load of a controller, and recognise one that has collapsed.
#
# At the end your functions together are a sparse layer, and a last cell holds it against
# `efftx.sparsity`.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# Throughout, $d_\text{ff}$ units stand in blocks of $N$ neighbours: units 0 to $N - 1$ are block 0,
# units $N$ to $2N - 1$ are block 1, and so on.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import sparse_feed_forward as check

# %% [markdown]
# ## Part 1: Which units are on · ★☆☆ · 10 minutes
#
# The controller gives each unit a score, $x C_1 C_2$. In each block the unit with the highest score
# is on. Write `units_that_are_on(x, c1, c2, n_units)`; it returns a mask of `True` and `False`, a
# row for each position and a column for each unit.
#
# For one position, with 6 units in blocks of 3:
#
# | unit | 0 | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|---|
# | score | 0.5 | 2.0 | −1.0 | −4.0 | −0.2 | −3.0 |
# | on | no | yes | no | ? | ? | ? |
#
# Which unit of the second block is on?
#
# <details><summary>Answer</summary>
#
# Unit 4. Its score is negative, but the highest of its block. Every block has exactly one unit that
# is on, even where all scores are low.
#
# </details>


# %%
def units_that_are_on(x, c1, c2, n_units):
    """In each block of n_units the unit with the highest score.

    x        (length, d_model)
    c1, c2   (d_model, d_lowrank), (d_lowrank, d_ff): the controller
    returns  (length, d_ff), bool
    """
    # SOLUTION
    scores = (x @ c1 @ c2).reshape(len(x), -1, n_units)
    highest = jnp.argmax(scores, axis=-1)
    return jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Give the blocks an axis of their own. `scores.reshape(length, -1, n_units)` cuts each row into
# pieces of `n_units` neighbours; the −1 says "as many as it takes".
#
# </details>
#
# <details><summary>Hint 2: from a number to a mask</summary>
#
# `jnp.argmax(scores, axis=-1)` is the place of the highest entry along the last axis.
# `jax.nn.one_hot(place, n_units, dtype=bool)` turns it into a row with one `True`.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     scores = x times c1 times c2, cut into (length, n_blocks, N)
#     place  = where the last axis is highest         (length, n_blocks)
#     mask   = True at that place, False elsewhere    (length, n_blocks, N)
#     return mask, with the blocks joined again       (length, d_ff)
#
# </details>

# %% tags=["check"]
check.units_that_are_on(units_that_are_on)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** After the reshape, entry $(i, b, u)$ is the score that position $i$ gives to
# unit $u$ of block $b$, which is unit $bN + u$. An argmax over the last axis compares the units of
# one block and of one position, and nothing else. Reshaping back undoes the first reshape.
#
# A softmax would not change the order of scores, nor would a constant added to all of a block. So
# neither is needed to choose.

# %% tags=["solution-only"]
scores = jnp.array([[0.5, 2.0, -1.0, -4.0, -0.2, -3.0]])
on = units_that_are_on(scores, jnp.eye(6), jnp.eye(6), 3)
assert on[0].tolist() == [False, True, False, False, True, False]

# %% [markdown]
# ## Part 2: Straight through · ★★★ · 20 minutes
#
# A mask of zeros and ones has no slope: change a score a little, and the mask stays as it is. So on
# the way up the layer uses the hard mask, and on the way down it acts as if the mask had been the
# *soft* one,
#
# $$p_u = \frac{e^{s_u}}{\sum_v e^{s_v}} \quad\text{(sums over the units of one block)}.$$
#
# To explore, noise is added to the scores before the highest is taken. It plays no part in the soft
# mask.
#
# Write `straight_through(scores, noise, g)` for one position. `g` is the gradient of the loss with
# respect to the mask: what the loss would rise by if the mask's entry rose by 1. Return the hard
# mask, and the gradient with respect to the scores. With the derivative of the softmax,
# $\partial p_v / \partial s_u = p_v (\delta_{uv} - p_u)$, where $\delta_{uv}$ is 1 for $u = v$ and
# 0 otherwise, that is
#
# $$g_{s_u} = \sum_v g_v\, p_v (\delta_{uv} - p_u) = \;?$$
#
# One block of two units, with probabilities ½ and ½, the first is on. The loss would rise by 3 if
# the first unit were more on, and by 1 if the second were: $g = (3, 1)$. Which way must the scores
# go, and does the second unit, which is off, get a gradient at all?
#
# <details><summary>Answer</summary>
#
# Descent takes the first score down and the second up. The gradients are $g_{s} = (½, -½)$: the sum
# over the block is $½ \cdot 3 + ½ \cdot 1 = 2$, and $½ (3 - 2) = ½$, $½ (1 - 2) = -½$. The unit
# that is off does get a gradient. That is why training must compute *all* units: $g$ asks of each
# how good it would have been.
#
# </details>


# %%
def straight_through(scores, noise, g):
    """The hard mask, and the gradient that goes through it as through the soft one.

    scores   (n_blocks, N)
    noise    (n_blocks, N): added to the scores to choose
    g        (n_blocks, N): the gradient of the loss with respect to the mask
    returns  mask (n_blocks, N), zeros and ones;  g_scores (n_blocks, N)
    """
    # SOLUTION
    n_units = scores.shape[-1]
    mask = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), n_units)
    soft = jax.nn.softmax(scores, axis=-1)
    g_scores = soft * (g - (soft * g).sum(axis=-1, keepdims=True))
    return mask, g_scores
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# The two results have nothing to do with each other. The mask needs scores and noise, the gradient
# needs scores and `g`.
#
# </details>
#
# <details><summary>Hint 2: the sum</summary>
#
# Split it where the bracket is: $\sum_v g_v p_v \delta_{uv} - \sum_v g_v p_v\, p_u$. In the first
# sum only $v = u$ is left. In the second $p_u$ can be taken out.
#
# </details>
#
# <details><summary>Hint 3: shapes</summary>
#
# A sum over a block with `axis=-1, keepdims=True` has shape `(n_blocks, 1)`, which can be taken
# from `g`, of shape `(n_blocks, N)`.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode</summary>
#
#     mask     = 1 where scores + noise is highest in the block, 0 elsewhere
#     p        = softmax of the scores, block by block
#     mean     = sum over the block of p times g
#     g_scores = p times (g - mean)
#
# </details>

# %% tags=["check"]
check.straight_through(straight_through)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** $\sum_v g_v p_v (\delta_{uv} - p_u) = p_u (g_u - \sum_v p_v g_v)$. The sum is
# the mean of $g$ over the block, weighted with $p$. A unit whose $g$ is lower than that mean gets a
# negative gradient: descent raises its score, whether it was on or off.
#
# What it assumes is that the loss is about linear in the mask between the hard mask and the soft
# one. It is not, so this is not the true gradient, which is 0. It is a useful one, because $g$ of a
# unit that is off tells at least in which direction to go.
#
# In JAX nobody writes this by hand. `hard + soft - stop_gradient(soft)` has the value of `hard`,
# and the gradient of `soft`:

# %% tags=["solution-only"]
scores, noise, g = jax.random.normal(jax.random.key(0), (3, 5, 4))


def masked_loss(scores):
    hard = straight_through(scores, noise, g)[0]
    soft = jax.nn.softmax(scores)
    return ((hard + (soft - jax.lax.stop_gradient(soft))) * g).sum()


ours = straight_through(scores, noise, g)[1]
assert jnp.allclose(ours, jax.grad(masked_loss)(scores), atol=1e-6)
assert jnp.allclose(ours.sum(-1), 0, atol=1e-6)  # a block's probabilities always sum to 1

# %% [markdown]
# ## Part 3: Only the chosen · ★★☆ · 15 minutes
#
# Now one position, when the model is used. The choice is made; the layer is
#
# $$y = \sum_{i \text{ on}} \text{ReLU}(x \cdot W_1[:, i] + b_1[i])\; W_2[i, :] + b_2.$$
#
# Write `only_the_chosen(x, units, w1, b1, w2, b2)`. Entry $b$ of `units` says which unit of block
# $b$ is on, as a number from 0 to $N - 1$. $N$ is not passed. You can find it: the $d_\text{ff}$
# units make as many blocks as `units` has entries.
#
# Compute with the chosen units' weights and with no others. The check makes sure: in some of its
# inputs everything that belongs to a unit that is off is `nan`, and `nan` spreads to whatever it
# touches, even by way of $0 \cdot \text{nan}$.
#
# Twelve units in blocks of 4, and `units` is `[3, 0, 2]`. Which columns of $W_1$ are wanted?
#
# <details><summary>Answer</summary>
#
# Columns 3, 4 and 10. Block 0 begins at unit 0, block 1 at unit 4, block 2 at unit 8.
#
# </details>


# %%
def only_the_chosen(x, units, w1, b1, w2, b2):
    """A feed-forward layer at one position, from the weights of the units that are on.

    x        (d_model,)
    units    (n_blocks,) integers: the unit that is on in each block, 0 … N - 1
    w1, b1   (d_model, d_ff), (d_ff,)
    w2, b2   (d_ff, d_model), (d_model,)
    returns  (d_model,)
    """
    # SOLUTION
    n_blocks = len(units)
    n_units = len(b1) // n_blocks
    at = n_units * jnp.arange(n_blocks) + units
    hidden = jax.nn.relu(x @ w1[:, at] + b1[at])
    return hidden @ w2[at] + b2
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First turn `units` into the units' numbers among all $d_\text{ff}$. Everything else is the dense
# layer, on smaller matrices.
#
# </details>
#
# <details><summary>Hint 2: numbers</summary>
#
# Block $b$ begins at unit $bN$. `jnp.arange(n_blocks)` has the numbers of the blocks.
#
# </details>
#
# <details><summary>Hint 3: gathering</summary>
#
# `w1[:, at]` takes columns, `w2[at]` takes rows, `b1[at]` takes entries. `b2` has none to take: it
# belongs to no unit.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode</summary>
#
#     N      = d_ff / number of blocks
#     at     = N * block + unit, for every block
#     hidden = ReLU(x times columns `at` of w1, plus entries `at` of b1)
#     return hidden times rows `at` of w2, plus b2
#
# </details>

# %% tags=["check"]
check.only_the_chosen(only_the_chosen)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** In the masked layer a unit that is off has 0 in the hidden vector. Then its
# row of $W_2$ is multiplied by 0 and adds nothing, and its own value, for which its column of $W_1$
# is needed, makes no difference. Leaving both out changes nothing but what is read:
# $2\, d_\text{model}\, d_\text{ff} / N$ weights instead of $2\, d_\text{model}\, d_\text{ff}$.
#
# Here columns of $W_1$ are gathered, since the paper writes it so. In memory the numbers of a
# column lie far apart, and fetching them is slow. So `efftx.sparsity` keeps $W_1$ the other way
# round, a row for each unit.

# %% [markdown]
# ## Part 4: The load · ★★☆ · 15 minutes
#
# Nothing in the training asks the controller to use all units. How evenly does it? Write
# `load(units, n_units)`. It returns two arrays:
#
# * `shares[b, u]`, the share of the positions at which unit $u$ of block $b$ is on;
# * `effective[b]`, the **effective number** of units in block $b$: how many units, all in equal
#   use, would be as even as these. It is $e^H$, with the entropy
#   $H = -\sum_u p_u \ln p_u$ of the block's shares $p_u$, where a share of 0 adds 0.
#
# Four units with the shares ½, ½, 0, 0. What is their effective number? And of 0.97, 0.01, 0.01,
# 0.01: nearer to 1 or to 4?
#
# <details><summary>Answer</summary>
#
# 2: the entropy is $2 \cdot ½ \ln 2 = \ln 2$. And 1.18: three units that are hardly ever on hardly
# count.
#
# </details>


# %%
def load(units, n_units):
    """How often each unit is on, and how many units in equal use that is worth.

    units    (length, n_blocks) integers: the unit that is on, 0 … n_units - 1
    returns  shares (n_blocks, n_units);  effective (n_blocks,), from 1 to n_units
    """
    # SOLUTION
    shares = jax.nn.one_hot(units, n_units).mean(axis=0)
    logs = jnp.log(jnp.where(shares == 0, 1, shares))
    return shares, jnp.exp(-(shares * logs).sum(axis=-1))
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A share is a mean: of ones where the unit is on and zeros where it is not. `jax.nn.one_hot` makes
# these ones and zeros.
#
# </details>
#
# <details><summary>Hint 2: axes</summary>
#
# `one_hot(units, n_units)` has shape `(length, n_blocks, n_units)`. The mean is over positions, the
# entropy's sum over the units of a block.
#
# </details>
#
# <details><summary>Hint 3: a share of 0</summary>
#
# The logarithm of 0 is −∞, and $0 \cdot (-\infty)$ is `nan`. Take the logarithm of
# `jnp.where(shares == 0, 1, shares)`: it is 0 there, and so is the product.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode</summary>
#
#     shares    = mean over the positions of one_hot(units)
#     logs      = ln of the shares, with 1 in the place of a 0
#     entropy   = -(sum over a block's units of shares times logs)
#     return shares, exp(entropy)
#
# </details>

# %% tags=["check"]
check.load(load)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** If $k$ of the units have the share $1/k$ each and the others 0, then $H = -k
# \cdot \frac1k \ln \frac1k = \ln k$, and the effective number is $k$. For all other shares it lies
# between 1 and $N$, without jumps: a unit that is on once in a thousand positions adds little.

# %% [markdown]
# ## All together
#
# Score, choose, compute: here are your functions in a row. There is nothing left to write. The
# check compares them with `efftx.sparsity`.


# %%
def my_sparse_layer(x, c1, c2, w1, b1, w2, b2, n_units):
    """The whole layer; every position reads the weights of its own units."""
    on = units_that_are_on(x, c1, c2, n_units).reshape(len(x), -1, n_units)
    units = jnp.argmax(on, axis=-1)
    positions = zip(x, units, strict=True)
    return jnp.stack([only_the_chosen(*position, w1, b1, w2, b2) for position in positions])


# %% tags=["check"]
check.my_sparse_layer(my_sparse_layer)

# %% [markdown]
# ### What separates yours from the fast one
#
# Little. `efftx.sparsity.gathered_feed_forward` keeps $W_1$ with a row for each unit, so that what
# is gathered is contiguous in memory; it tells the compiler that the numbers are in bounds, which
# saves a comparison each; and it takes several positions one after the other. And your Part 2 is
# two lines there: autodiff does the rest.
