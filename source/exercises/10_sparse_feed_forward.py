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

# %% tags=["mistakes"]
# It looks as if the highest score were sought over the wrong axis: over the blocks instead of
# over a block's N units. Cut the scores into (length, n_blocks, N) and look along the last axis.
# - highest = jnp.argmax(scores, axis=-1)
# + highest = jnp.argmax(scores, axis=1)
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + jax.nn.one_hot(highest, scores.shape[1], axis=1, dtype=bool).reshape(len(x), -1)

# It looks as if a block were every n_blocks-th unit. A block is N neighbours: units 0 to N - 1,
# then N to 2N - 1, and so on.
# - (x @ c1 @ c2).reshape(len(x), -1, n_units)
# + (x @ c1 @ c2).reshape(len(x), n_units, -1)
# - highest = jnp.argmax(scores, axis=-1)
# + highest = jnp.argmax(scores, axis=1)
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + jax.nn.one_hot(highest, n_units, axis=1, dtype=bool).reshape(len(x), -1)

# It looks as if only one of all units were on. Every block has one.
# - highest = jnp.argmax(scores, axis=-1)
# + highest = jnp.argmax(scores.reshape(len(x), -1), axis=-1)
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + jax.nn.one_hot(highest, c2.shape[1], dtype=bool)

# It looks as if every unit with a score above 0 were on. Scores are compared with each other: the
# highest of its block is on, whatever its sign.
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + (scores > 0).reshape(len(x), -1)

# It looks as if the lowest score had won. It is the highest that does.
# - jnp.argmax(scores, axis
# + jnp.argmin(scores, axis

# It looks as if a ReLU stood before the comparison: in a block without a positive score the first
# unit has won. There is no ReLU in the controller.
# - (x @ c1 @ c2).reshape(len(x), -1, n_units)
# + jax.nn.relu(x @ c1 @ c2).reshape(len(x), -1, n_units)

# It looks as if the sign of the scores were lost: the largest magnitude has won. The highest
# score wins, and -3 is lower than 1.
# - (x @ c1 @ c2).reshape(len(x), -1, n_units)
# + jnp.abs(x @ c1 @ c2).reshape(len(x), -1, n_units)

# It looks as if scores were compared with a threshold, so that a block may have several units on
# or none. In each block exactly the highest is on.
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + (scores > scores.mean(axis=-1, keepdims=True)).reshape(len(x), -1)
# or
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + (jax.nn.softmax(scores, axis=-1) > 0.5).reshape(len(x), -1)

# It looks as if two units of a block were on. It is one, that with the highest score.
# - jax.nn.one_hot(highest, n_units, dtype=bool).reshape(len(x), -1)
# + (scores >= jnp.sort(scores, axis=-1)[..., -2:-1]).reshape(len(x), -1)

# It looks as if something stood between C1 and C2, a ReLU say. The scores are x C1 C2, two
# products and nothing else.
# - (x @ c1 @ c2)
# + (jax.nn.relu(x @ c1) @ c2)
# or
# - (x @ c1 @ c2)
# + (jax.nn.softmax(x @ c1) @ c2)
# or
# - (x @ c1 @ c2)
# + (jnp.tanh(x @ c1) @ c2)

# It looks as if all positions had the same units on. Each position has scores of its own and
# chooses for itself.
# - jnp.argmax(scores, axis=-1)
# + jnp.argmax(scores[:1], axis=-1).repeat(len(x), axis=0)
# or
# - jnp.argmax(scores, axis=-1)
# + jnp.argmax(scores.mean(axis=0, keepdims=True), axis=-1).repeat(len(x), axis=0)

# It looks as if n_units were taken for the number of blocks. It is the number of units in each.
# - (x @ c1 @ c2).reshape(len(x), -1, n_units)
# + (x @ c1 @ c2).reshape(len(x), n_units, -1)
# - one_hot(highest, n_units, dtype
# + one_hot(highest, scores.shape[-1], dtype

# It looks as if the mask were turned round: True is for the unit that is on.
# - return jax
# + return ~jax

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
# <details><summary>Hint 3: in pseudocode, with gaps</summary>
#
#     scores = x times c1 times c2, cut into           (length, n_blocks, N)
#     place  = …                                       (length, n_blocks)
#     mask   = …                                       (length, n_blocks, N)
#     return mask, cut back into                       (length, d_ff)
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

# %% tags=["mistakes"]
# It looks as if the noise played no part: the unit with the highest score is on. On is where
# score + noise is highest.
# - scores + noise
# + scores

# It looks as if the noise were added to the probabilities. Gumbel noise belongs to their
# logarithms, that is to the scores.
# - scores + noise
# + jax.nn.softmax(scores, axis=-1) + noise

# It looks as if the mask were the soft one. On the way up it is hard: 1 for one unit of each
# block, 0 for the others.
# - mask = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), n_units)
# + mask = jax.nn.softmax(scores)

# It looks as if the mask were the softmax of score + noise. On the way up it is hard: 1 for one
# unit of each block, 0 for the others.
# - mask = jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), n_units)
# + mask = jax.nn.softmax(scores + noise)

# The gradient is 0 everywhere: it looks as if it had been taken through the hard mask, without
# the straight-through step. Let it go through the softmax.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + mask * (g - (mask * g).sum(axis=-1, keepdims=True))

# It looks as if g were passed on unchanged, as if the mask were the scores themselves. Between
# the two stands a softmax, and its derivative is wanted.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + g

# It looks as if the softmax were taken over all units of all blocks. Each block has a softmax of
# its own, along the last axis.
# - jax.nn.softmax(scores, axis=-1)
# + jax.nn.softmax(scores, axis=(0, 1))
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + soft * (g - (soft * g).sum())

# It looks as if the noise had got into the soft mask. It is only there to explore: the gradient
# is that of the softmax of the scores alone.
# - jax.nn.softmax(scores, axis=-1)
# + jax.nn.softmax(scores + noise, axis=-1)

# It looks as if the sum were missing: soft · g alone. A score that rises takes probability from
# the other units of its block.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + soft * g

# It looks as if each probability depended on its own score alone, soft · (1 - soft) · g. A score
# that rises takes probability from the other units of its block, too.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + soft * (1 - soft) * g

# It looks as if the sum over a block were taken of g and not of soft · g.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + soft * (g - g.sum(axis=-1, keepdims=True))

# It looks as if the noise were subtracted, or multiplied. On is where score + noise is highest.
# - scores + noise
# + scores - noise
# or
# - scores + noise
# + scores * noise

# It looks as if the noise alone had chosen. On is where score + noise is highest.
# - scores + noise
# + noise

# It looks as if only one unit of all were on. Every block has one.
# - jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), n_units)
# + 1.0 * (scores + noise == (scores + noise).max())

# It looks as if blocks competed for a unit. The highest is sought among the units of a block,
# along the last axis.
# - jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), n_units)
# + 1.0 * (scores + noise == (scores + noise).max(axis=0))

# It looks as if the softmax ran over the blocks. It runs over the units of a block, along the last
# axis.
# - jax.nn.softmax(scores, axis=-1)
# + jax.nn.softmax(scores, axis=0)

# The mask is right, but it looks as if p · g were summed over the blocks, or over everything. Each
# block has a sum of its own, over its units.
# - (soft * g).sum(axis=-1, keepdims=True)
# + (soft * g).sum(axis=0, keepdims=True)
# or
# - (soft * g).sum(axis=-1, keepdims=True)
# + (soft * g).sum()

# The mask is right, but it looks as if the plain mean of the block were taken. Its weights are the
# p: the sum of p · g, not divided by N.
# - (soft * g).sum(axis=-1, keepdims=True)
# + (soft * g).mean(axis=-1, keepdims=True)
# or
# - (soft * g).sum(axis=-1, keepdims=True)
# + g.mean(axis=-1, keepdims=True)

# The mask is right, but the gradient has the wrong sign: a score whose g is above the block's mean
# has a positive one.
# - = soft * (g -
# + = -soft * (g -

# The mask is right, but it looks as if the p in front of the bracket were missing: p · (g - mean).
# - = soft * (g -
# + = (g -

# The mask is right, but it looks as if only the unit that is on got a gradient, or only its g
# counted. The gradient is that of the *soft* mask, in which every unit takes part.
# - = soft * (g -
# + = mask * soft * (g -
# or
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + soft * (mask * g - (soft * mask * g).sum(axis=-1, keepdims=True))
# or
# - (soft * g).sum
# + (mask * g).sum
# or
# - = soft * (g -
# + = mask * (g -

# The mask is right, but it looks as if `g` were left out: soft · (1 - soft) is the slope of a
# unit's own p alone.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + soft * (1 - soft)

# It looks as if the soft mask were a sigmoid. Its p are a softmax: those of a block add up to 1.
# - jax.nn.softmax(scores, axis=-1)
# + jax.nn.sigmoid(scores)

# The mask is right, but the gradient looks like that of the *log* of the softmax.
# - soft * (g - (soft * g).sum(axis=-1, keepdims=True))
# + g - soft * g.sum(axis=-1, keepdims=True)

# It looks as if the two results were exchanged: return mask, g_scores.
# - return mask, g_scores
# + return g_scores, mask

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
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     mask     = 1 where … is highest in the block, 0 elsewhere
#     p        = …
#     mean     = sum over the block of …
#     g_scores = p times …
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
# Compute with the chosen units' weights, and read no others. The check makes sure of both. In some
# of its inputs everything that belongs to a unit that is off is `nan`, and `nan` spreads to
# whatever it touches, even by way of $0 \cdot \text{nan}$. A `jnp.where` would hide that; so it
# also counts how many numbers of $W_1$, $b_1$ and $W_2$ are read.
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

# %% tags=["mistakes"]
# It looks as if all units were computed and those that are off multiplied by 0. Here their
# weights are nan, and 0 · nan is nan. Take the chosen columns and rows out first, and compute
# with nothing else.
# - hidden = jax.nn.relu(x @ w1[:, at] + b1[at])
# + on = jnp.zeros_like(b1, bool).at[at].set(True)
# +     hidden = jnp.where(on, jax.nn.relu(x @ w1 + b1), 0)
# - hidden @ w2[at]
# + hidden @ w2

# It looks as if rows of W1 were gathered. A unit's weights in W1 (d_model, d_ff) are a column,
# w1[:, i].
# - x @ w1[:, at]
# + w1[at] @ x

# It looks as if columns of W2 were gathered. A unit's weights in W2 (d_ff, d_model) are a row,
# w2[i].
# - hidden @ w2[at]
# + w2[:, at] @ hidden

# It looks as if the numbers within the blocks were taken for numbers of units. Unit u of block b
# is number b · N + u.
# - at = n_units * jnp.arange(n_blocks) + units
# + at = units

# It looks as if the units were counted in the wrong order, as u · n_blocks + b. Unit u of block b
# is number b · N + u, since the units of a block are neighbours.
# - n_units * jnp.arange(n_blocks) + units
# + jnp.arange(n_blocks) + n_blocks * units

# It looks as if b1 were forgotten.
# -  + b1[at]

# It looks as if b1 were taken at the numbers within the blocks. Gather it at the same places as
# the columns of W1.
# - b1[at]
# + b1[units]

# It looks as if the ReLU were forgotten. A chosen unit may still come out negative, and then
# gives 0.
# - hidden = jax.nn.relu(x @ w1[:, at] + b1[at])
# + hidden = x @ w1[:, at] + b1[at]

# It looks as if b2 were forgotten. It belongs to no unit and is always added, whole.
# - @ w2[at] + b2
# + @ w2[at]

# It looks as if N were the number of blocks. It is the number of units in each: d_ff divided by
# the number of blocks.
# - len(b1) // n_blocks
# + n_blocks

# It looks as if N were taken from d_model. The d_ff units make the blocks: N is len(b1) divided by
# their number.
# - len(b1) // n_blocks
# + len(x) // n_blocks

# It looks as if W1 or W2 were taken at the numbers within the blocks. Gather all three at the same
# places, b · N + u.
# - w2[at]
# + w2[units]
# or
# - w1[:, at]
# + w1[:, units]

# It looks as if the ReLU stood at the very end. It acts on the hidden units alone; y may be
# negative.
# - return hidden @ w2[at] + b2
# + return jax.nn.relu(hidden @ w2[at] + b2)

# It looks as if b2 were added once for every block. It is added once.
# - + b2
# + + n_blocks * b2

# It looks as if b1 were added behind the ReLU. It is added before.
# - jax.nn.relu(x @ w1[:, at] + b1[at])
# + jax.nn.relu(x @ w1[:, at]) + b1[at]

# It looks as if one block alone had been computed: is the sum overwritten at each turn of a loop?
# - jnp.arange(n_blocks) + units
# + jnp.arange(n_blocks) + units; at = at[-1:]
# or
# - jnp.arange(n_blocks) + units
# + jnp.arange(n_blocks) + units; at = at[:1]

# It looks as if units were counted from 1. They count from 0.
# - jnp.arange(n_blocks) + units
# + jnp.arange(n_blocks) + units - 1

# It looks as if b1 were cut off after as many entries as there are blocks. Gather it at the same
# places as the columns of W1.
# - b1[at]
# + b1[:n_blocks]


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
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     N      = …
#     at     = …, a number for every block
#     hidden = ReLU(x times … of w1, plus … of b1)
#     return hidden times … of w2, plus b2
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

# %% tags=["mistakes"]
# It looks as if the units were counted and the counts not divided by the number of positions.
# - jax.nn.one_hot(units, n_units).mean(axis=0)
# + jax.nn.one_hot(units, n_units).sum(axis=0)

# It looks as if the counts were divided by all choices of all blocks. Each position chooses once
# in each block: divide by the number of positions.
# - jax.nn.one_hot(units, n_units).mean(axis=0)
# + jax.nn.one_hot(units, n_units).mean(axis=0) / units.shape[1]

# It looks as if the blocks were thrown together. Unit 0 of one block has nothing to do with unit
# 0 of another; count each block by itself.
# - jax.nn.one_hot(units, n_units).mean(axis=0)
# + jnp.ones((units.shape[1], 1)) * jax.nn.one_hot(units, n_units).mean(axis=0).mean(axis=0)

# It looks as if 0 · log 0 had been computed, which is nan, where a unit is never on. Such a unit
# counts as 0 in the sum.
# - jnp.log(jnp.where(shares == 0, 1, shares))
# + jnp.log(shares)

# It looks as if the entropy were returned. Its exponential is the effective number: of N units in
# equal use the entropy is ln N, and exp of it N.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + -(shares * logs).sum(axis=-1)

# It looks as if the sign of the entropy were lost: what you return is below 1. Entropy is minus
# the sum of p · ln p.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + jnp.exp((shares * logs).sum(axis=-1))

# It looks as if the entropy were in bits, and exp taken of it. With log2 it is 2 to the power of
# the entropy.
# - jnp.log(jnp.where(shares == 0, 1, shares))
# + jnp.log2(jnp.where(shares == 0, 1, shares))

# It looks as if you counted the units that are ever on. A unit that is on once in a thousand
# positions should hardly count.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + (shares > 0).sum(axis=-1) * 1.0

# It looks as if you took 1 / Σ p². That measures evenness, too, but here exp of the entropy is
# asked for.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + 1 / (shares**2).sum(axis=-1)

# It looks as if one number were made for all blocks. Each block has its own.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + jnp.full(len(shares), jnp.exp(-(shares * logs).sum(axis=-1).mean()))

# It looks as if all blocks had the shares of the last one. Count each by itself.
# - jax.nn.one_hot(units, n_units).mean(axis=0)
# + jax.nn.one_hot(units[:, -1:], n_units).mean(axis=0).repeat(units.shape[1], axis=0)

# It looks as if the shares of a unit were made to add up to 1 over the blocks. Those of a block
# do, over its units.
# - jax.nn.one_hot(units, n_units).mean(axis=0)
# + jax.nn.one_hot(units, n_units).sum(axis=0); shares = shares / shares.sum(axis=0)

# It looks as if the counts were divided by the number of units. Divide by the number of positions.
# - jax.nn.one_hot(units, n_units).mean(axis=0)
# + jax.nn.one_hot(units, n_units).sum(axis=0) / n_units

# `shares` are right, but it looks as if 1 were added to every share before the log. Only a share
# of 0 needs care.
# - jnp.where(shares == 0, 1, shares)
# + 1 + shares

# `shares` are right, but it looks as if the entropy were in one unit and its power in another.
# With ln it is e to the power of the entropy, with log2 it is 2.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + 2 ** (-(shares * logs).sum(axis=-1))
# or
# - jnp.log(jnp.where
# + jnp.log10(jnp.where

# `shares` are right, but it looks as if the entropies of all blocks were added. Each block has a
# number of its own.
# - (shares * logs).sum(axis=-1))
# + (shares * logs).sum() + 0 * shares[:, 0])

# `shares` are right, but it looks as if the entropy were a mean over the units. It is a sum: p is
# the weight already.
# - (shares * logs).sum(axis=-1)
# + (shares * logs).mean(axis=-1)

# `shares` are right, but it looks as if p were left out in front of the log. The entropy is minus
# the sum of p · ln p.
# - (shares * logs).sum(axis=-1)
# + logs.sum(axis=-1)
# or
# - (shares * logs).sum(axis=-1)
# + logs.mean(axis=-1)

# `shares` are right, but the effective number was made relative: divided by N, or as H / ln N. It
# goes from 1 to N.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + jnp.exp(-(shares * logs).sum(axis=-1)) / n_units
# or
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + -(shares * logs).sum(axis=-1) / jnp.log(n_units)

# `shares` are right, but it looks as if only the largest share counted, 1 / max p. Here exp of the
# entropy is asked for.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + 1 / shares.max(axis=-1)

# `shares` are right, but the effective number looks like Σ p². Here exp of the entropy is asked
# for.
# - jnp.exp(-(shares * logs).sum(axis=-1))
# + (shares**2).sum(axis=-1)

# It looks as if units were counted from 1. They count from 0.
# - one_hot(units, n_units)
# + one_hot(units - 1, n_units)

# It looks as if a position were left out. Every row of `units` counts.
# - one_hot(units, n_units)
# + one_hot(units[1:], n_units)
# or
# - one_hot(units, n_units)
# + one_hot(units[:-1], n_units)

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
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     shares    = mean over the positions of …
#     logs      = ln of the shares, with … in the place of a 0
#     entropy   = -(sum over … of …)
#     return shares, …
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
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# The controller's bottleneck makes it cheap. How narrow may it be? Here are controllers with random
# weights, blocks of 64 units, and 16,384 random vectors $x$. A unit that is never on for any of
# them might as well not be there.
#
# With `d_lowrank` 1 the scores of a block are one number times 64 weights: only the unit with the
# largest weight or the one with the smallest can win. **Predict before you run the next cells:**
# how many of the 64 units of a block are ever on if `d_lowrank` is 2? You are right if you are off
# by a factor of 1.5 at most.
#
# <details><summary>Hint 1: draw it</summary>
#
# $x C_1$ is now a direction in a plane, and every unit is a point in it, its column of $C_2$. The
# score is how far out the point lies in that direction.
#
# </details>
#
# <details><summary>Hint 2: a rubber band</summary>
#
# Draw 64 points at random, most of them in the middle, and lay a rubber band around them. How many
# points does it touch?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # units

# %% tags=["solution-only"]
# A rubber band around 64 points that crowd in the middle touches some eight or nine of them.
my_guess = 8

# %% tags=["check"]
from efftx.check import sparse_feed_forward_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.units_that_can_win.predicted(my_guess)
ever_on = {
    f"blocks of {n}": {r: experiment.ever_on(r, n) for r in experiment.D_LOWRANK}
    for n in experiment.N_UNITS
}
mine = ("predicted", predicted)
show(
    draw_experiment(ever_on, "d_lowrank", "units ever on", limit=mine, log="x"),
    "How many units of a block are ever on against d_lowrank, on a logarithmic axis. Blocks of 64 "
    "units: 2, 9, 32, 56, 63 and 64 for a d_lowrank of 1, 2, 4, 8, 16 and 32. Blocks of 16: 2, 6, "
    "13, and then all 16.",
)

# %% tags=["check"]
check.units_that_can_win(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** The paper's bottleneck has $d_\text{model} / N$ numbers: the larger the blocks,
# the narrower it gets. At $d_\text{model}$ 128 and $N$ = 64 it has two, and seven of eight units
# are dead when training begins. Your `load` shows it at once.

# %% [markdown]
# ### What separates yours from the fast one
#
# Little. `efftx.sparsity.gathered_feed_forward` keeps $W_1$ with a row for each unit, so that what
# is gathered is contiguous in memory; it tells the compiler that the numbers are in bounds, which
# saves a comparison each; and it takes several positions one after the other. And your Part 2 is
# two lines there: autodiff does the rest.
