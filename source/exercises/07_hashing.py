# %% [markdown]
# # Exercise 07 · Hashing
#
# <!-- measured -->
#
# In [the chapter](../chapters/07_hashing.ipynb) random rotations sorted vectors into buckets. Here
# you build that hash yourself, and the tools to judge it. Afterwards you can
#
# * hash vectors by one random rotation;
# * combine small hashes to a large one;
# * say how likely several rounds find a pair, and how many rounds it takes;
# * measure how often pairs at some angle share a bucket.
#
# At the end your functions together are `efftx.attention.hash_vectors`, and they measure its
# collisions on the vectors of a trained model.
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

from efftx import attention, plots
from efftx.check import hashing as check
from efftx.models import pretrained
from efftx.models.inspection import attention_vectors
from efftx.plots.hashing import draw_curves

# %% [markdown]
# ## Part 1: One rotation · ★☆☆ · 10 minutes
#
# Write `hash_once(x, R)`. The rows of `x` are vectors, and the columns of `R` are axes. The bucket
# of a vector is the axis that it points along the most, in the positive or the negative direction:
#
# $$h(x) = \operatorname{argmax}\,[\,xR;\; -xR\,]$$
#
# With $b/2$ columns there are $b$ buckets: $0, \dots, b/2 - 1$ for the axes, in order, and
# $b/2, \dots, b - 1$ for their opposites, in the same order. Return integers of shape `(length,)`.
#
# A small case, with the axes $(1, 0)$ and $(0, 1)$, so that `x @ R` is `x` itself:
#
# | vector | $[\,xR;\; -xR\,]$ | bucket |
# |---|---|---|
# | (3, 1) | 3, 1, -3, -1 | 0 |
# | (1, 2) | 1, 2, -1, -2 | 1 |
# | (-3, 1) | -3, 1, 3, -1 | 2 |
# | (-1, -2) | ? | ? |
# | (0.3, 0.1) | ? | ? |
#
# Fill in the question marks before you write anything.
#
# <details><summary>Answer</summary>
#
# (-1, -2) gives -1, -2, 1, 2, and the largest is the last: bucket 3. It is the opposite of (1, 2),
# and their buckets are 2 = b/2 apart. (0.3, 0.1) is (3, 1), ten times shorter; its largest entry
# stands in the same place: bucket 0.
#
# </details>


# %%
def hash_once(x, R):
    """The bucket of each vector under one rotation.

    x        (length, d_head);  R  (d_head, n_buckets / 2)
    returns  (length,) integers from 0 to n_buckets - 1
    """
    # SOLUTION
    rotated = x @ R
    return jnp.argmax(jnp.concatenate([rotated, -rotated], axis=-1), axis=-1)
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# One matrix product gives the inner products of all vectors with all axes. Which shape has it?
#
# </details>
#
# <details><summary>Hint 2: the semicolon</summary>
#
# $[\,xR;\; -xR\,]$ stands for the two rows of numbers behind each other:
# `jnp.concatenate([…, …], axis=…)`. A vector's row becomes twice as long; the number of rows
# stays.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     rotated = x times R                        (length, b / 2)
#     both    = rotated, then minus rotated      (length, b)
#     return for each row of both: the place of its largest entry
#
# </details>

# %% tags=["check"]
check.hash_once(hash_once)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the formula. Two things to see in it. A longer `x` makes all entries
# of its row larger by the same factor, so their order stays: only the direction counts. And `-x`
# exchanges the two halves of the row, so a vector and its opposite never meet.
#
# The negative half costs no second product, yet it doubles the number of buckets.

# %% tags=["solution-only"]
x = jnp.array([[3.0, 1.0], [1.0, 2.0], [-3.0, 1.0], [-1.0, -2.0], [0.3, 0.1]])
assert hash_once(x, jnp.eye(2)).tolist() == [0, 1, 2, 3, 0]

# %% [markdown]
# ## Part 2: Digits · ★★☆ · 15 minutes
#
# 512 buckets from one rotation take 256 axes. The chapter's way is cheaper: two small hashes, one
# with 16 buckets and one with 32, and the pair of results is the bucket, since 16 · 32 = 512. To
# make a single number of the pair, read it like the digits of a number. In everyday numbers all
# digits have the base ten. Here each digit has its own, its **radix**:
#
# $$h = h_1\, b_2 + h_2, \qquad h = h_1\, b_2 b_3 + h_2\, b_3 + h_3, \qquad \dots$$
#
# Hours, minutes and seconds are such a number: 1 h 2 min 5 s is
# $1 \cdot 60 \cdot 60 + 2 \cdot 60 + 5$ seconds. Write `combine_digits(digits, radices)`, for any
# number of digits, at least one. Row $k$ of `digits` holds the digits $h_k$ of all vectors, each
# from 0 to $b_k - 1$.
#
# For the radices 4 and 6:
#
# | $h_1$ | $h_2$ | bucket |
# |---|---|---|
# | 0 | 5 | 5 |
# | 1 | 0 | 6 |
# | 2 | 3 | ? |
# | 3 | 5 | ? |
#
# <details><summary>Answer</summary>
#
# 2 · 6 + 3 = 15, and 3 · 6 + 5 = 23, the largest there is: with 4 · 6 = 24 buckets they go from 0
# to
# 23. Note that $b_1 = 4$ does not occur in the formula. Why not?
#
# </details>


# %%
def combine_digits(digits, radices):
    """One bucket from the digits of several small hashes.

    digits   (n_factors, length) integers;  radices  (n_factors,) integers
    returns  (length,) integers from 0 to the product of the radices - 1
    """
    # SOLUTION
    buckets = jnp.zeros_like(digits[0])
    for digit, radix in zip(digits, radices, strict=True):
        buckets = buckets * radix + digit
    return buckets
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Go through the digits from the first to the last and keep one number for each vector. What must
# happen to it before the next digit fits in?
#
# </details>
#
# <details><summary>Hint 2: room for a digit</summary>
#
# To append a digit to an everyday number, you multiply it by ten and add the digit. The digit that
# you append here has the radix $b_k$.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     number = 0
#     for each digit and its radix, from first to last:
#         number = number · radix + digit
#     return number
#
# </details>

# %% tags=["check"]
check.combine_digits(combine_digits)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** After the first digit the number is $h_1$; after the second $h_1 b_2 + h_2$;
# after the third $(h_1 b_2 + h_2)\, b_3 + h_3$, and so on. Different digits give different
# numbers, and none is left out: that is what makes it a hash with $b_1 b_2 \cdots$ buckets. The
# first radix is multiplied with 0 and plays no part; nothing stands before the first digit.
#
# With sums in place of digits, 1 + 2 and 2 + 1 would be the same bucket, and there would be only
# $b_1 + b_2 - 1$ of them.

# %% tags=["solution-only"]
assert combine_digits(jnp.array([[0, 1, 2, 3], [5, 0, 3, 5]]), jnp.array([4, 6])).tolist() == [
    5,
    6,
    15,
    23,
]
assert combine_digits(jnp.array([[1], [2], [5]]), jnp.array([24, 60, 60])).tolist() == [3725]

# %% [markdown]
# ## Part 3: Several rounds · ★★☆ · 15 minutes
#
# Two vectors meet in one round with probability $p$. Rounds are independent, and one meeting is
# enough.
#
# Write `found_in_rounds(p, n_hashes)`: the chance that at least one of `n_hashes` rounds brings
# them together. `p` is an array of chances; return as many.
#
# Before that, by hand: $p = \tfrac12$ and two rounds. There are four cases, all equally likely:
# both rounds find the pair, only the first, only the second, none. How large is the chance? And
# why is it not $\tfrac12 + \tfrac12$?
#
# <details><summary>Answer</summary>
#
# Three of the four cases are good: ¾. The sum ½ + ½ = 1 counts the case in which both find it
# twice.
#
# </details>


# %%
def found_in_rounds(p, n_hashes):
    """The chance to be found in at least one of n_hashes rounds, each with the chance p.

    p  (n,) floats from 0 to 1;  returns  (n,) floats
    """
    # SOLUTION
    return 1 - (1 - p) ** n_hashes
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# "At least one" has many cases. Its opposite has one. Which?
#
# </details>
#
# <details><summary>Hint 2: the opposite</summary>
#
# That *all* rounds miss. One of them misses with $1 - p$. Chances of independent events multiply.
#
# </details>

# %% tags=["check"]
check.found_in_rounds(found_in_rounds)

# %% [markdown]
# Now turn it round. Write `rounds_needed(p, target)`: the fewest rounds that find the pair with a
# chance of at least `target`. Return whole numbers.
#
# For $p = \tfrac12$ and a target of 0.8: two rounds reach ¾, three reach ⅞, so the answer is 3.


# %%
def rounds_needed(p, target):
    """The fewest rounds that find a pair with a chance of at least target.

    p        (n,) chances of one round, strictly between 0 and 1;  target  (n,) likewise
    returns  (n,) integers
    """
    # SOLUTION
    rounds = jnp.log(1 - target) / jnp.log(1 - p)
    return jnp.ceil(rounds).astype(int)
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First forget that rounds are whole. For which $r$ is $1 - (1-p)^r$ exactly the target?
#
# </details>
#
# <details><summary>Hint 2: solve for r</summary>
#
# $(1-p)^r = 1 - \text{target}$. Take the logarithm of both sides; $r$ comes down as a factor.
#
# </details>
#
# <details><summary>Hint 3: whole numbers</summary>
#
# 2.3 rounds do not exist. Two are too few, three are enough. `jnp.ceil` returns a float, and
# `.astype(int)` makes an integer of it.
#
# </details>

# %% tags=["check"]
check.rounds_needed(rounds_needed)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The pair is lost only if every round misses it, with the chance
# $(1-p)\cdots(1-p) = (1-p)^r$. All else is found. Set that equal to the target and take
# logarithms: $r = \log(1 - \text{target}) / \log(1-p)$. Both logarithms are negative, so $r$ is
# positive; and since more rounds only help, rounding *up* gives the fewest that suffice.
#
# For small $p$, $\log(1-p) \approx -p$: to lose no more than one pair in twenty takes about $3/p$
# rounds. A pair that meets in one round of a hundred would need three hundred of them. Rounds are
# for pairs that are near already.

# %% tags=["solution-only"]
assert found_in_rounds(jnp.array([0.5]), 2) == 0.75
assert rounds_needed(jnp.array([0.5, 0.01]), jnp.array([0.8, 0.95])).tolist() == [3, 299]

# %% [markdown]
# ## Part 4: Measure the collisions · ★★★ · 25 minutes
#
# Theory says how often two vectors at a given angle share a bucket. Write the measurement that
# could prove it wrong.
#
# You get vectors `x`, their buckets in several rounds, and the edges of bins for angles, in
# radians and ascending. Take every pair of vectors once ($i < j$; a vector is not paired with
# itself). A pair belongs to bin $k$ if its angle is at least `edges[k]` and less than
# `edges[k + 1]`. Write `collisions_by_angle(x, buckets, edges)`, which returns two arrays with an
# entry for each bin:
#
# * `n_pairs`, integers: how many pairs belong to it;
# * `frequency`, floats: how often these pairs share a bucket, as the mean over its pairs and over
#   all rounds.
#
# The angle between two vectors is $\arccos \dfrac{x_i \cdot x_j}{\lVert x_i \rVert\, \lVert x_j
# \rVert}$.
#
# A small case: three vectors at 0, 30 and 90 degrees, two rounds, and two bins, 0 to 45 and 45 to
# 180 degrees.
#
# | vector | angle | bucket in round 1 | bucket in round 2 |
# |---|---|---|---|
# | 0 | 0° | 0 | 1 |
# | 1 | 30° | 0 | 0 |
# | 2 | 90° | 1 | 0 |
#
# What are `n_pairs` and `frequency`?
#
# <details><summary>Answer</summary>
#
# The pair (0, 1) is 30° apart and alone in the first bin. It meets in one of two rounds: frequency
# ½. The pairs (1, 2) at 60° and (0, 2) at 90° are in the second. (1, 2) meets in one of two
# rounds, (0, 2) in none: frequency ¼. So `n_pairs` is 1, 2 and `frequency` ½, ¼.
#
# </details>


# %%
def collisions_by_angle(x, buckets, edges):
    """How often pairs of vectors share a bucket, by their angle.

    x        (length, d_head);  buckets  (n_hashes, length) integers
    edges    (n_bins + 1,) radians, ascending; no bin is empty
    returns  n_pairs (n_bins,) integers, frequency (n_bins,) floats
    """
    # SOLUTION
    unit = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    first, second = np.triu_indices(len(x), 1)
    angle = jnp.arccos(jnp.clip((unit[first] * unit[second]).sum(-1), -1, 1))
    met = (buckets[:, first] == buckets[:, second]).mean(axis=0)
    inside = (edges[:-1, None] <= angle) & (angle < edges[1:, None])
    n_pairs = inside.sum(axis=1)
    return n_pairs, (inside * met).sum(axis=1) / n_pairs
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three things first, each for all pairs: their angles, how often they met, and which of them
# count. Bins come last.
#
# </details>
#
# <details><summary>Hint 2: every pair once</summary>
#
# `first, second = np.triu_indices(len(x), 1)` lists all pairs with `first < second`. Then
# `x[first]` and `x[second]` are the vectors of all pairs, and `buckets[:, first]` their buckets in
# all rounds.
#
# </details>
#
# <details><summary>Hint 3: the angles</summary>
#
# Divide each vector by its length first. The cosine of a pair is then the sum of the products of
# the two vectors' entries. Rounding may take a cosine to 1.0000001, whose arccos is nan:
# `jnp.clip(cosine, -1, 1)`.
#
# </details>
#
# <details><summary>Hint 4: the bins</summary>
#
# A matrix of bins and pairs: `edges[:-1, None] <= angle` has shape `(n_bins, n_pairs)`. Together
# with the other edge it says which pair lies in which bin. Summed along the pairs it is `n_pairs`.
#
# </details>
#
# <details><summary>Hint 5: in pseudocode</summary>
#
#     first, second = all pairs with first < second
#     angle[pair]   = arccos of the cosine of the pair
#     met[pair]     = mean over the rounds of (bucket of first equals bucket of second)
#     inside[bin, pair] = edge of bin <= angle[pair] < next edge
#     n_pairs[bin]  = number of pairs inside
#     return n_pairs, (sum of met over the pairs inside) / n_pairs
#
# </details>

# %% tags=["check"]
check.collisions_by_angle(collisions_by_angle)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It follows the statement line by line. The mean over the rounds is taken
# first, since it is the same for all bins; the mean over the pairs of a bin is a sum divided by
# their number.
#
# *A mean over rounds, not "in at least one round":* the frequency estimates $p$, the chance of one
# round. What several rounds find, Part 3 can compute from it.
#
# *How exact is it?* Rounds are independent, so the estimate of one pair has a standard deviation
# of $\sqrt{p(1-p)/\text{rounds}}$. Pairs are not: they share the rotation. A thousand pairs in one
# round tell much less than one pair in a thousand rounds. Therefore the last section takes many
# rounds.

# %% tags=["solution-only"]
angles = jnp.radians(jnp.array([0.0, 30.0, 90.0]))
x = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
buckets = jnp.array([[0, 0, 1], [1, 0, 0]])
edges = jnp.radians(jnp.array([0.0, 45.0, 180.0]))
n_pairs, frequency = collisions_by_angle(x, buckets, edges)
assert n_pairs.tolist() == [1, 2]
assert frequency.tolist() == [0.5, 0.25]

# %% [markdown]
# ## All together
#
# There is nothing left to write. From your first two functions comes the hash of the package, with
# all its rounds and factors:


# %%
def my_hash_vectors(x, rotations):
    """(length, d_head), a (n_hashes, d_head, radix / 2) for each factor -> (n_hashes, length)."""
    radices = jnp.array([2 * R.shape[-1] for R in rotations])
    rounds = []
    for n in range(len(rotations[0])):
        digits = jnp.stack([hash_once(x, R[n]) for R in rotations])
        rounds.append(combine_digits(digits, radices))
    return jnp.stack(rounds)


# %% tags=["check"]
check.my_hash_vectors(my_hash_vectors)

# %% [markdown]
# And here is your measurement on vectors that a model really uses: the `qk` of one head of the
# small shared-QK Transformer, at 256 positions of a text, in 200 rounds with 16 buckets. The line
# is what `efftx.attention.collision_probability` says of the angle in the middle of each bin. What
# the model wants with its vectors, the theory does not know. Will your points lie on it?

# %%
tokens = pretrained.example_text()[:256]
qk = attention_vectors(pretrained.small_text_model("shared_qk"), tokens)[1][0][3]
edges = np.radians(np.arange(35, 126, 5))
middle = (edges[1:] + edges[:-1]) / 2
predicted = np.asarray(attention.collision_probability(middle, 16))

# %% tags=["check"]
check.collisions_by_angle(collisions_by_angle)
rotations = attention.random_rotations(jax.random.key(0), qk.shape[1], 16, n_hashes=200)
n_pairs, frequency = collisions_by_angle(qk, my_hash_vectors(qk, rotations), edges)
plots.show(
    draw_curves(np.degrees(middle), {"16 buckets": (predicted, frequency, 0 * predicted)}),
    f"How often {n_pairs.sum():,} pairs of a model's vectors share a bucket, by their angle: "
    "the points are measured, and they lie on the line that theory draws.",
)
assert (abs(frequency - predicted) < 0.02).all()
