# %% [markdown]
# # 07 · Hashing
#
# *Pillar two: time.* [Attention is sparse](06_attention_is_sparse.ipynb): of all the keys, a query
# needs the few that point its way. This chapter finds vectors that point the same way **without
# comparing all pairs**, by random rotations, and works out how often that succeeds.
#
# After this chapter you can
#
# - hash vectors by a random rotation, and say why near ones tend to share a bucket;
# - predict how likely two vectors meet, from the angle between them, and measure it;
# - choose the number of buckets and rounds, and say what each costs;
# - make a hash with many buckets out of two small ones;
# - name what such a hash cannot do.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention, plots
from efftx.numbers import hashing as numbers
from efftx.plots import hashing as pictures

# %% [markdown]
# ## The question
#
# Here are $L$ vectors. For each of them, which others point in nearly the same direction?
#
# The obvious way is to compare all pairs. It is correct, it is a few lines, and everything below
# is measured against it.


# %% tags=["nbval-check-output"]
import math


def all_angles(x):
    """(length, d_head) -> (length, length): the angle between each two vectors, in degrees."""
    unit = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    return jnp.degrees(jnp.arccos(jnp.clip(unit @ unit.T, -1, 1)))


for length in (512, 65_536, 2**20):
    print(f"{length:9,} vectors have {math.comb(length, 2):15,} pairs")
assert math.comb(65_536, 2) == 2_147_450_880

# %% [markdown]
# Twice as many vectors, four times as many pairs. Nearly all of this work finds that two vectors
# have nothing to do with each other.
#
# Libraries know the problem: to find a book about whales nobody compares it with every book. It
# has a *shelf*, computed from the book alone, and what is alike stands on the same shelf. We want
# shelves for vectors: a function $h(x)$ of **one** vector, so that
#
# $$x \text{ near } y \;\Rightarrow\; h(x) = h(y) \text{ probably}, \qquad
#   x \text{ far from } y \;\Rightarrow\; h(x) \neq h(y) \text{ probably}.$$
#
# Such a function is a **locality-sensitive hash**. To hash $L$ vectors takes $L$ steps, not $L^2$.
#
# ## On the circle
#
# Take vectors of two numbers and of length one, so that they are points on a circle. Cut the
# circle into four equal arcs, the **buckets**. Points near each other mostly lie in the same arc.
# Mostly: however near they are, a border may run between them.
#
# So the position of the borders is left to chance: the circle is *rotated at random* before it is
# cut. And it is done several times. Below are two points far from each other, $x$ and $y$ at 100
# degrees, in three random rotations; and under them two that are near, at 30 degrees. **How many
# rotations will bring the first pair into one bucket? How many the second?**

# %%
far, near = (numbers.directions(np.radians([90 + a / 2, 90 - a / 2])) for a in (100, 30))
rotations = np.stack([numbers.fan(turn, 4) for turn in numbers.TURNS[:3]])
plots.show(
    pictures.draw_circles(np.stack([far, near]), rotations),
    "Six circles, cut into four coloured arcs by three random rotations. Above, x and y are 100 "
    "degrees apart and are in different buckets every time. Below, they are 30 degrees apart: in "
    "one rotation a border runs between them (orange dots), in two they share a bucket (dark "
    "dots).",
)

# %% [markdown]
# ▸ None brings the first pair together, and none ever will: points that are 100 degrees apart never
# share an arc of 90 degrees. The second pair meets in two of the three. For points at an angle
# $\theta < 90°$, think of the arc between them: they are separated exactly if one of the four
# borders falls into it. The borders are 90 degrees apart, so for a random rotation that has the
# probability $\theta / 90°$, and
#
# $$P(\text{same bucket}) = \max\left(0,\; 1 - \frac{\theta}{90°}\right).$$
#
# A thousand random rotations say the same:

# %%
turns = np.random.default_rng(1).uniform(0, 2 * np.pi, 1000)
rotations = np.stack([numbers.fan(turn, 4) for turn in turns])
for theta in (10, 30, 60, 100):
    pair = numbers.directions(np.radians([0, theta]))
    first, second = numbers.buckets_of(pair, rotations).T
    met, predicted = int((first == second).sum()), 1000 * max(0, 1 - theta / 90)
    print(f"{theta:4} degrees: {met:4} of 1000 rotations, predicted {predicted:.0f}")
    assert abs(met - predicted) <= 4 * math.sqrt(predicted * (1 - predicted / 1000))

# %% [markdown]
# The bound in the `assert` is four standard deviations of such a count: chance stays inside it in
# all but one of many thousand cases. Most measurements of this chapter are checked like that.
#
# Now turn the circle yourself. What do more buckets change, for near points and for far ones?

# %%
import ipywidgets as widgets

turn = widgets.IntSlider(value=1, min=1, max=12, description="turn", continuous_update=False)
apart = widgets.IntSlider(
    value=30, min=0, max=180, step=10, description="angle", continuous_update=False
)
n_arcs = widgets.IntSlider(
    value=4, min=2, max=8, step=2, description="buckets", continuous_update=False
)
controls = {"turn": turn, "apart": apart, "n_buckets": n_arcs}
display(
    widgets.HBox([turn, apart, n_arcs]),
    widgets.interactive_output(pictures.turn_the_circle, controls),
)

# %% [markdown]
# More buckets separate far points more surely. But they separate near ones more often, too. Keep
# that in mind; it returns at the end of the chapter.
#
# ## The formula
#
# How does a computer find the arc? In each arc's middle there is a direction, and the arc consists
# of the points nearest to *that* direction. With four buckets they are two axes at a right angle,
# each with its positive and its negative end. Put the two axes into the columns of a matrix $R$.
# Then $xR$ holds the inner products of $x$ with the axes, $-xR$ those with their opposites, and
# the nearest is the largest:
#
# $$h(x) = \operatorname{argmax}\,[\,xR;\; -xR\,]$$
#
# Here $[\,\cdot\,;\,\cdot\,]$ puts two rows of numbers behind each other. With $b/2$ columns there
# are $b$ buckets. This is the whole hash, in any dimension (Andoni et al. 2015). First as the
# sentence says it:


# %%
def hash_reference(x, R):
    """For each vector, the number of the end of an axis that it is nearest to; by loops."""
    ends = [*R.T, *-R.T]  # the columns of R, then their opposites
    buckets = []
    for vector in x:
        products = [float(vector @ end) for end in ends]
        buckets.append(products.index(max(products)))
    return np.array(buckets)


# %% [markdown]
# And as one matrix product and one argmax:


# %%
from collections import Counter


def hash_once(x, R):
    """(length, d_head), (d_head, n_buckets / 2) -> (length,) bucket of each vector."""
    rotated = x @ R
    return jnp.argmax(jnp.concatenate([rotated, -rotated], axis=-1), axis=-1)


points = numbers.directions(np.radians(np.arange(0.5, 360)))
quarter = numbers.fan(0, 4)
assert np.allclose(quarter, np.eye(2))  # the columns are the axes (1, 0) and (0, 1)
assert (hash_reference(points, quarter) == hash_once(points, quarter)).all()
assert Counter(hash_once(points, quarter).tolist()) == {0: 90, 1: 90, 2: 90, 3: 90}

# %% [markdown]
# Two things follow from the formula alone, whatever $R$ is. A vector twice as long has the same
# bucket, since all its products double: **only the direction counts**. And a vector and its
# opposite never share one, since $-x$ exchanges the two halves.

# %%
assert (hash_once(2 * points, quarter) == hash_once(points, quarter)).all()
assert (hash_once(-points, quarter) != hash_once(points, quarter)).all()

# %% [markdown]
# ## Real vectors
#
# Now to the vectors that a model really uses: the `qk` of a small Transformer with shared QK,
# trained on the source code of Python's standard library, byte by byte, for 512 characters of a
# file that it never saw. Queries and keys come from one projection there, so one hash serves both
# ([LSH attention](08_lsh_attention.ipynb) says more about that).

# %%
from efftx.models import attention_maps, attention_vectors, pretrained

LAYER, HEAD, LENGTH = 1, 3, 512
model = pretrained.small_text_model("shared_qk")
tokens = pretrained.example_text()[:LENGTH]
text = bytes(tokens).decode("ascii")
heads_qk, heads_v = attention_vectors(model, tokens)[LAYER]
heads_weights = attention_maps(model, tokens)[LAYER]
n_heads, _, d_head = heads_qk.shape
qk = heads_qk[HEAD]
print(f"{n_heads} heads; in each {LENGTH} vectors of {d_head} numbers")

# %% [markdown]
# How near are they to each other? For comparison, take as many random vectors, each number drawn
# from a Gaussian. **At which angle do you expect most pairs of random vectors? And of real ones?**

# %%
my_guess = plots.ask("the commonest angle of real vectors, in degrees", along="x")

# %%
random_vectors = jax.random.normal(jax.random.key(0), qk.shape)
each_pair = np.triu_indices(LENGTH, 1)
angles = {
    name: np.asarray(all_angles(x))[each_pair]
    for name, x in [("real vectors", qk), ("random vectors", random_vectors)]
}
my_guess.show(
    pictures.draw_angles(angles),
    "How the angles between all pairs are spread. Random vectors: a narrow peak at 90 degrees, "
    "almost nothing below 60. Real vectors: a broader hill, with a long tail towards small "
    "angles.",
)
near_share = {name: (values < 45).mean() for name, values in angles.items()}
print({name: f"{share:.2%} of pairs within 45 degrees" for name, share in near_share.items()})
assert near_share["real vectors"] > 50 * near_share["random vectors"]
assert abs(angles["random vectors"].mean() - 90) < 1

# %% [markdown]
# ▸ Most random pairs are near 90 degrees: in many dimensions, random directions are nearly
# perpendicular, there is a lot of room. Of the real ones most are a little nearer, at about 80
# degrees, but what matters is how broad their hill is. They crowd, and the near pairs among them
# are what we are after.
#
# ### A matrix that is almost a rotation
#
# In two dimensions we laid out the axes with care, at equal angles. In $d$ dimensions nobody does:
# **R is filled with Gaussian random numbers**, $d \times b/2$ of them. Is that a rotation? Its
# columns would have to be perpendicular and of equal length. They are so, roughly, for the reason
# that you just saw; and the more dimensions, the better.

# %%
n_buckets = 16
(R,) = attention.random_rotations(jax.random.key(0), d_head, n_buckets, n_hashes=1)
R = R[0]  # the only round
between_axes = np.asarray(all_angles(R.T))[np.triu_indices(n_buckets // 2, 1)]
lengths = np.linalg.norm(R, axis=0) / math.sqrt(d_head)
print(f"R has shape {R.shape}")
print(f"angles between its axes: {between_axes.min():.0f} to {between_axes.max():.0f} degrees")
print(f"lengths, over √d_head:   {lengths.min():.2f} to {lengths.max():.2f}")
assert abs(between_axes - 90).max() < 45

# %% [markdown]
# One bucket may get a little more room than another. But no column is preferred *before* the
# numbers are drawn, so on average over rotations all are equal. That is enough, and it has
# advantages: $R$ takes no work, and it may have more columns than dimensions.
#
# This is what the package does, for any number of rounds:

# %%
rotations = attention.random_rotations(jax.random.key(0), d_head, n_buckets, n_hashes=3)
rounds = attention.hash_vectors(qk, rotations)
assert rounds.shape == (3, LENGTH)
for buckets, R in zip(rounds, rotations[0], strict=True):
    assert (hash_once(qk, R) == buckets).all()
    assert (hash_reference(np.asarray(qk), np.asarray(R)) == buckets).mean() > 0.99  # rounding

# %% [markdown]
# ## What shares a bucket?
#
# A vector is made from its character and from what stands before it. Here are the first 256
# characters, coloured by bucket, with 8 buckets. **Which positions do you expect to share a
# bucket: equal letters, equal words, neighbours?**

# %%
rotations = attention.random_rotations(jax.random.key(0), d_head, 8, n_hashes=64)
rounds = np.asarray(attention.hash_vectors(qk, rotations))
plots.show(
    pictures.draw_text(text[:256], rounds[0, :256]),
    "The beginning of a Python file, every character in the colour of its bucket. Runs of "
    "neighbours have the same colour, often a few characters long; equal letters have many "
    "different ones.",
)

# %% [markdown]
# One picture of one rotation can deceive. So count over all pairs and 64 rounds.

# %%
earlier, later = each_pair
characters = np.array(list(text))
same_character = characters[earlier] == characters[later]
same_before = (characters[earlier - 1] == characters[later - 1]) & (earlier > 0)
kinds = {
    "any two positions": np.full(len(earlier), True),
    "the same character": same_character,
    "the same two characters": same_character & same_before,
    "next to each other": later == earlier + 1,
}
met = np.mean([buckets[earlier] == buckets[later] for buckets in rounds], axis=0)
often = {name: met[kind].mean() for name, kind in kinds.items()}
for name, kind in kinds.items():
    print(f"{name:24} {kind.sum():7,} pairs, together in {often[name]:.0%} of the rounds")
assert list(often.values()) == sorted(often.values())
assert often["next to each other"] > 2 * often["any two positions"]

# %% [markdown]
# ▸ Perhaps you expected the letters. The strongest rule is another: **neighbours in the text share
# a bucket**, in 55% of the rounds, about three times as often as any two positions. Equal letters
# come second, and then rather in equal surroundings. The hash knows nothing of letters or places.
# It shows what the *model* made alike.
#
# What makes neighbours alike, then? **What is written there, or only where it stands?** A position
# has a vector of its own, which is added to that of its letter, and neighbouring positions have
# similar ones. To tell the two apart, take eight *different* texts, and ask how often the same
# place in two of them shares a bucket.

# %%
eight = jnp.asarray(pretrained.example_text()[: 8 * 256].reshape(8, 256), jnp.int32)
of_eight = jax.vmap(lambda text: attention_vectors(model, text)[LAYER][0][HEAD])(eight)
buckets = np.stack([attention.hash_vectors(x, rotations) for x in of_eight])  # (text, round, place)
one, other = (buckets[index] for index in np.triu_indices(8, 1))
apart = {
    "any two places": np.mean(
        [(a[:, :, None] == b[:, None]).mean() for a, b in zip(one, other, strict=True)]
    ),
    "the same place": (one == other).mean(),
    "places next to each other": (one[..., 1:] == other[..., :-1]).mean(),
}
print("in two different texts")
for name, share in apart.items():
    print(f"  {name:26} together in {share:.0%} of the rounds")
within = (buckets[..., 1:] == buckets[..., :-1]).mean()
print(f"in one text\n  {'places next to each other':26} together in {within:.0%} of the rounds")
assert apart["the same place"] > 2 * apart["any two places"]
assert within > apart["places next to each other"] > 2 * apart["any two places"]

# %% [markdown]
# ▸ Mostly where it stands. The same place shares a bucket across texts that have nothing in common,
# more than twice as often as any two places. What is written adds to that: within one text
# neighbours meet more often still.
#
# ### Buckets are not equally full
#
# 512 vectors in 16 buckets are 32 in each, if they spread evenly. **Do real vectors?**

# %%
rotations = attention.random_rotations(jax.random.key(0), d_head, 16, n_hashes=1)
sizes = {
    name: np.bincount(attention.hash_vectors(x, rotations)[0], minlength=16)
    for name, x in [
        ("random vectors", random_vectors),
        ("this head", qk),
        ("the head before it", heads_qk[HEAD - 1]),
    ]
}
plots.show(
    pictures.draw_sizes(sizes),
    "Sizes of 16 buckets, in falling order. Random vectors fill all of them, none beyond twice "
    "the mean. The vectors of a head do not: a few buckets hold most of them, and some are empty "
    "or nearly so.",
)
assert all(counts.sum() == LENGTH for counts in sizes.values())
assert sizes["random vectors"].max() < 2 * LENGTH / 16 < sizes["this head"].max()

# %% [markdown]
# ▸ They do not: a few buckets hold most of a head's vectors. Where many vectors point the same way,
# they share a bucket; that is what the hash is *for*. But full buckets cost. A bucket with $n$
# members holds $n^2$ pairs to compare, each vector with itself included, and the sum of squares is
# smallest when all are equal:
#
# $$\sum_k n_k^2 \;\ge\; \frac{L^2}{b}$$
#
# The share of pairs that have to be compared is therefore at least $1/b$, and how much more it is
# says how uneven the buckets are.

# %%
share_compared = {name: (counts**2).sum() / LENGTH**2 for name, counts in sizes.items()}
for name, share in share_compared.items():
    print(f"{name:20} {share:.1%} of the pairs are in a common bucket")
    assert share >= 1 / 16

# %% [markdown]
# ## How often do two vectors meet?
#
# On the circle the answer was a straight line. In a head's dimensions, with Gaussian $R$, it is a
# curve, and it can be worked out. Let $x$ and $y$ have length one and the angle $\theta$ between
# them. An axis $r$, one column of $R$, sees of them just two numbers, $u = x \cdot r$ and
# $w = y \cdot r$: Gaussian, with correlation $\rho = \cos\theta$. So $xR$ and $yR$ are $b/2$
# independent pairs $(u, w)$. The vectors meet if the same pair is the largest in both, with the
# same sign. By symmetry each of the $b$ buckets is as likely as bucket 0, so
#
# $$p_b(\theta) = b \int_0^\infty\!\!\int_0^\infty \varphi_\rho(u, w)\;
#   P\big(|U| < u,\; |W| < w\big)^{b/2 - 1}\, du\, dw.$$
#
# Here $\varphi_\rho$ is the density of such a pair, two standard Gaussians with correlation $\rho$,
# and $(U, W)$ is another such pair. Read it from right to left: all the other $b/2 - 1$ pairs are
# smaller in magnitude, while this one is $(u, w)$, both positive; summed over all $(u, w)$, times
# $b$ buckets. Only $\theta$ and $b$ occur. **The dimension does not, nor do the vectors.**
# `attention.collision_probability` does the integral numerically.
#
# One case can be checked by hand. With $b = 2$ there is a single axis, and the bucket is the side
# of a plane. Two vectors are on different sides if the plane runs between them:
# $p_2 = 1 - \theta/180°$.

# %%
DEGREES = np.arange(0, 181, 10)
two = attention.collision_probability(np.radians(DEGREES), 2)
assert np.allclose(two, 1 - DEGREES / 180, atol=1e-4)

# %% [markdown]
# And one more: at 90 degrees $u$ and $w$ are independent, so one vector's bucket says nothing of
# the other's, and they meet by pure chance, in one of $b$ cases.

# %%
for b in (2, 4, 16, 64):
    assert np.isclose(attention.collision_probability(np.pi / 2, b), 1 / b, atol=1e-4)

# %% [markdown]
# Now measure. For each angle take two vectors in the head's dimensions and hash them 4,000 times,
# each time with a new $R$. **Sketch the curves before you look: where do they start, where do they
# end, and which is steeper, that of 4 buckets or that of 64?**


# %%
def pairs_at(degrees, d_head):
    """One vector, then one vector at each angle from it: (1 + n_angles, d_head)."""
    plane = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (d_head, 2)))[0]  # a random plane
    return numbers.directions(np.radians([0, *degrees])) @ plane.T


N_TRIALS = 4000


def measured_collisions(n_buckets, degrees):
    """(n_angles,): how often the two vectors at each angle share a bucket."""
    rotations = attention.random_rotations(jax.random.key(1), d_head, n_buckets, N_TRIALS)
    buckets = attention.hash_vectors(pairs_at(degrees, d_head), rotations)
    return np.asarray((buckets[:, 1:] == buckets[:, :1]).mean(axis=0))


def deviation(p, n_trials):
    """Standard deviation of a frequency over independent trials, each with the chance p."""
    return np.sqrt(np.clip(p * (1 - p), 0, None) / n_trials)


curves = {}
for b in (4, 16, 64):
    p = np.asarray(attention.collision_probability(np.radians(DEGREES), b))
    measured = measured_collisions(b, DEGREES)
    assert (abs(measured - p) < 4 * deviation(p, N_TRIALS) + 3e-4).all()
    curves[f"{b} buckets"] = p, measured, deviation(p, N_TRIALS)
at_20 = DEGREES == 20
assert 0.3 < 1 - curves["16 buckets"][0][at_20] < 0.35
plots.show(
    pictures.draw_curves(DEGREES, curves),
    "Chance that two vectors share a bucket against the angle between them, for 4, 16 and 64 "
    "buckets: lines by theory, points measured. All start at 1 for the angle 0 and fall to 0. "
    "More buckets fall more steeply.",
)

# %% [markdown]
# ▸ All start at 1 and end at 0, where the two are opposite; that of 64 buckets is the steepest. And
# the points lie on the lines. But no curve falls like a cliff, and that is the trouble with a
# single hash: with 16 buckets two vectors at only 20 degrees miss each other about every third
# time.
#
# Does it hold for *real* vectors, which no one laid out at chosen angles? Take all pairs of the
# head, sorted by angle into bins of ten degrees, and hash them in 400 rounds.

# %%
N_ROUNDS = 400
rotations = attention.random_rotations(jax.random.key(2), d_head, 16, N_ROUNDS)
many_rounds = np.asarray(attention.hash_vectors(qk, rotations))
met = np.zeros((LENGTH, LENGTH))
for buckets in many_rounds:
    met += buckets[:, None] == buckets
met = met[each_pair] / N_ROUNDS
fine = np.arange(181)
predicted = np.interp(
    angles["real vectors"], fine, attention.collision_probability(np.radians(fine), 16)
)
bin_of_pair = np.digitize(angles["real vectors"], DEGREES)
for k in range(1, len(DEGREES)):
    inside = bin_of_pair == k
    if inside.sum() >= 200:
        frequency, theory = met[inside].mean(), predicted[inside].mean()
        print(
            f"{DEGREES[k - 1]:3} to {DEGREES[k]:3} degrees: {inside.sum():6,} pairs "
            f"meet in {frequency:.3f}, predicted {theory:.3f}"
        )
        assert abs(frequency - theory) < 0.01

# %% [markdown]
# The theory knows nothing of text or of the model, and agrees to within a hundredth in every one of
# these bins. The angle is all that matters.
#
# ## What rounds buy
#
# A near pair is missed by bad luck, and bad luck does not strike every time. So hash again with
# another $R$. A pair is *found* if at least one round brings it together. It is lost only if all
# of them miss it:
#
# $$p^{(r)} = 1 - (1 - p)^r$$
#
# **With 16 buckets, what do 8 rounds do to pairs at 20 degrees? And to pairs at 90 degrees?**

# %%
by_rounds = {}
p = np.asarray(attention.collision_probability(np.radians(DEGREES), 16))
rotations = attention.random_rotations(jax.random.key(3), d_head, 16, 8 * 1000)
buckets = attention.hash_vectors(pairs_at(DEGREES, d_head), rotations)
together = np.asarray(buckets[:, 1:] == buckets[:, :1]).reshape(1000, 8, -1)
for r in (1, 2, 4, 8):
    chance = 1 - (1 - p) ** r
    frequency = together[:, :r].any(axis=1).mean(axis=0)
    assert (abs(frequency - chance) < 4 * deviation(chance, 1000) + 1e-3).all()
    by_rounds[f"{r} round{'s' if r > 1 else ''}"] = chance, frequency, deviation(chance, 1000)
assert chance[at_20] > 0.999  # 8 rounds
assert chance[DEGREES == 90] > 0.4
plots.show(
    pictures.draw_curves(DEGREES, by_rounds, ylabel="chance to be found"),
    "Chance that at least one round finds a pair, against its angle, for 1, 2, 4 and 8 rounds "
    "with 16 buckets. With more rounds the curve bulges to the right: pairs at small angles are "
    "found almost surely, but pairs at 60 to 90 degrees are found more often as well.",
)

# %% [markdown]
# ▸ At 20 degrees eight rounds miss less than one pair in a thousand, where one round missed every
# third. The price is on the same picture: perpendicular pairs are found more often too, 40 of a
# hundred, and there are very many of them. Rounds push the curve up and to the right, and it gets a
# shoulder.
#
# ### From pairs to attention
#
# Not every pair is worth finding. What counts is the attention that it carries: the weight
# $w_{ij}$ that query $i$ gives to key $j$ (softmax of the scores, earlier keys only). Call the sum
# of the weights of all found keys the **mass** found.
#
# Why is this the right thing to count? Because of what happens to the output if query $i$ makes do
# with the keys that it found, with weights renormalised. Its output is then off by at most
#
# $$(1 - \text{mass}_i) \cdot \max_{j,l} \lVert v_j - v_l \rVert.$$
#
# Proof: the exact output $o$ is a mean of what the found keys give and what the missed ones would,
#
# $$o = \text{mass} \cdot o_\text{found} + (1 - \text{mass}) \cdot o_\text{missed}.$$
#
# So $o - o_\text{found} = (1 - \text{mass})\,(o_\text{missed} - o_\text{found})$, and two means of
# the $v$ are no further apart than the two $v$ that are furthest apart.


# %%
def found_by(rounds):
    """(n_hashes, length) buckets -> (length, length): earlier keys that share one in some round."""
    rounds = np.asarray(rounds)
    return np.tril((rounds[:, :, None] == rounds[:, None, :]).any(axis=0), -1)


weights, v = np.asarray(heads_weights[HEAD]), np.asarray(heads_v[HEAD])
rotations = attention.random_rotations(jax.random.key(4), d_head, 16, n_hashes=2)
rounds = attention.hash_vectors(qk, rotations)
found = found_by(rounds)
assert (found == numbers.found_by(np.asarray(rounds))).all()
kept = np.where(found, weights, 0)
mass = kept.sum(axis=1)
some = mass > 0  # a query that finds nothing has no output to compare
off_by = np.linalg.norm((weights @ v)[some] - kept[some] @ v / mass[some, None], axis=1)
widest = max(np.linalg.norm(v - one, axis=1).max() for one in v)
assert (off_by <= (1 - mass[some]) * widest + 1e-4).all()
print(f"mass found by 2 rounds with 16 buckets: {mass[1:].mean():.0%} of the attention")

# %% [markdown]
# And now a prediction that joins everything: *from the angles alone*, how much mass will $r$
# rounds find? Each pair is found with $1 - (1 - p(\theta_{ij}))^r$, so the expected mass of query
# $i$ is
#
# $$\sum_{j<i} w_{ij} \left(1 - (1 - p(\theta_{ij}))^r\right).$$
#
# We compute it for all heads, and measure it with 16 independent sets of rotations.

# %%
ROUNDS = (1, 2, 4, 8)
N_SETS = 16
N_QUERIES = n_heads * (LENGTH - 1)  # the first position has no earlier key
FINE = np.arange(0, 181, 2)
heads_angles = np.stack([all_angles(x) for x in heads_qk])
earlier_weights = np.tril(heads_weights, -1)


def expected_mass(n_buckets, n_hashes):
    """(n_heads, length): the share of each query's attention that the rounds should find."""
    p = attention.collision_probability(np.radians(FINE), n_buckets)
    p = np.interp(heads_angles, FINE, p)  # of every pair
    return (earlier_weights * (1 - (1 - p) ** n_hashes)).sum(axis=-1)


def measured_found(n_buckets):
    """(rounds,) scores computed, for each pair that there is, and the share of attention found."""
    scores, mass = np.zeros(len(ROUNDS)), np.zeros(len(ROUNDS))
    for seed in range(N_SETS):
        rotations = attention.random_rotations(jax.random.key(seed), d_head, n_buckets, max(ROUNDS))
        for x, weights in zip(heads_qk, np.asarray(heads_weights), strict=True):
            buckets = attention.hash_vectors(x, rotations)
            of_rounds = [found_by(one[None]).sum() for one in buckets]
            for n, r in enumerate(ROUNDS):
                scores[n] += sum(of_rounds[:r])  # a pair that meets twice is computed twice
                mass[n] += weights[found_by(buckets[:r])].sum()
    return scores / (N_SETS * n_heads * math.comb(LENGTH, 2)), mass / (N_SETS * N_QUERIES)


scores, mass = measured_found(16)
for r, measured, computed in zip(ROUNDS, mass, scores, strict=True):
    expected = expected_mass(16, r).sum() / N_QUERIES
    print(
        f"rounds: {r}   found: {measured:.1%} of the attention, {expected:.1%} expected   "
        f"computed: {computed:.0%} of the full matrix"
    )
    assert abs(measured - expected) < 0.02
per_round = np.diff(mass) / np.diff(ROUNDS)
assert (np.diff(per_round) < 0).all()

# %% [markdown]
# Theory and measurement agree, on the attention of a trained model. And look at the gains: each
# further round costs as much as the one before and finds less. **Rounds cost linearly, and return
# less and less.**
#
# Here is one head's attention map. Move the sliders: which weights does a round miss (orange), and
# how many rounds does it take until little is orange? What do more buckets do?

# %%
SHOWN = 128
map_rounds = {
    b: np.asarray(
        attention.hash_vectors(
            qk[:SHOWN], attention.random_rotations(jax.random.key(5), d_head, b, 8)
        )
    )
    for b in (4, 8, 16, 32)
}
callback = partial(pictures.show_found, weights=weights[:SHOWN, :SHOWN], rounds=map_rounds)
callback(2, 8)

# %%
n_rounds = widgets.IntSlider(value=2, min=1, max=8, description="rounds", continuous_update=False)
b = widgets.SelectionSlider(
    value=8, options=[4, 8, 16, 32], description="buckets", continuous_update=False
)
display(
    widgets.HBox([n_rounds, b]),
    widgets.interactive_output(callback, {"n_hashes": n_rounds, "n_buckets": b}),
)

# %% [markdown]
# ## Few large buckets or many small ones?
#
# Two numbers are ours to choose, and both can buy more attention: more rounds, or fewer and larger
# buckets. Both cost scores to be computed: every round computes those of its own buckets, also of
# pairs that another round has had already. For a fair choice put them on one picture: what is
# found, against what is computed. **Predict: for as many scores, is one round with few buckets
# better, or many rounds with many buckets?**

# %%
found = {f"{b} buckets": measured_found(b) for b in (4, 16, 64)}
plots.show(
    pictures.draw_found(found, ROUNDS),
    "Share of the attention found against the scores computed, as a share of the full matrix, for "
    "4, 16 and 64 buckets and 1, 2, 4 and 8 rounds. Where they compute as many scores, the line of "
    "64 buckets is on top. Four buckets and eight rounds compute more than the full matrix holds.",
)
(few_scores, few_mass), _, (many_scores, many_mass) = found.values()
for name, (scores, mass) in found.items():
    for r, computed, share in zip(ROUNDS, scores, mass, strict=True):
        print(
            f"{name:>10}, {r} rounds: {computed:4.0%} of the scores, {share:.0%} of the attention"
        )
assert few_scores[-1] > 2 > 1 > many_scores[-1]
assert np.interp(few_scores[0], many_scores, many_mass) > few_mass[0] + 0.1

# %% [markdown]
# ▸ **Many rounds with many buckets.** For as many scores as one round with 4 buckets computes, a
# few rounds with 64 find a good deal more. The reason is in the shape of the curves: a small bucket
# is choosy, and the rounds give a near pair several chances to get through. A distant pair has as
# many chances, but of almost nothing. And there is an end to it: with large buckets eight rounds
# compute more scores than there are pairs, and exact attention would have been cheaper.
#
# Then why not a thousand buckets and a hundred rounds? Because a round costs something of its own,
# whatever its buckets hold: all $L$ vectors are hashed, sorted and gathered again. The Reformer
# fixes the size of a bucket, about half a chunk, so that a query is compared with as many keys at
# any length; 1 to 8 rounds are left to choose. As a *share* of all pairs that becomes less and
# less when $L$ grows. Our 512 characters are a short text.

# %% [markdown]
# ## Many buckets, cheaply
#
# Long sequences want many buckets. With $L = 16{,}384$ and chunks of 64, the Reformer takes
# $2L/64 = 512$ of them. One rotation then has 256 columns: each vector needs $256 \cdot d$
# multiplications, and an argmax over 512 numbers.
#
# It can be had for less. Hash each vector twice, by a small hash with $b_1 = 32$ buckets and by
# another with $b_2 = 16$. Together the two results tell $32 \cdot 16 = 512$ buckets apart. Write
# them as the two digits of one number:
#
# $$h(x) = h_1(x) \cdot b_2 + h_2(x)$$


# %%
def hash_factorised(x, R1, R2):
    """(length, d_head) -> (length,) bucket out of b1 · b2, from two small rotations."""
    b2 = 2 * R2.shape[1]
    return hash_once(x, R1) * b2 + hash_once(x, R2)


factors = attention.random_rotations(jax.random.key(0), d_head, 512, n_hashes=1)
print("512 buckets by rotations of shapes", *(R.shape for R in factors))
by_package = attention.hash_vectors(qk, factors)[0]
assert (hash_factorised(qk, *(R[0] for R in factors)) == by_package).all()
assert math.prod(attention.factor_buckets(512)) == 512

# %% [markdown]
# What does it save? A product with $b/2$ columns takes $2 \cdot d \cdot b/2 = d \cdot b$
# operations for each vector. **How many times cheaper are 32 and 16 than 512 at once?**
#
# To measure it we need a hash in one piece. The package makes one where it must: 514 is
# $2 \cdot 257$, and 257 is a prime, so there are no small even factors, and a single rotation has
# to do.


# %%
import time


def operations(n_buckets):
    """Multiplications and additions of one vector's rotations in one round."""
    return d_head * sum(attention.factor_buckets(n_buckets))


def milliseconds(n_buckets, x, repeats=9):
    rotations = attention.random_rotations(jax.random.key(0), d_head, n_buckets, n_hashes=1)
    attention.hash_vectors(x, rotations).block_until_ready()  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        attention.hash_vectors(x, rotations).block_until_ready()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


IN_ONE_PIECE, FACTORISED = 514, 512
many_vectors = jax.random.normal(jax.random.key(1), (8192, d_head))
for b in (IN_ONE_PIECE, FACTORISED):
    print(
        f"{b} buckets as {attention.factor_buckets(b)!s:9} {operations(b):6,} operations a vector, "
        f"{milliseconds(b, many_vectors):6.1f} ms for 8,192 vectors on this machine"
    )
assert attention.factor_buckets(IN_ONE_PIECE) == (514,)
assert operations(IN_ONE_PIECE) > 10.7 * operations(FACTORISED)

# %% [markdown]
# ▸ More than ten times, in operations. The time depends on the machine; here it falls by even more,
# since an argmax over many numbers is slow next to a matrix product.
#
# Is it still a good hash? Two questions. **First: are all 512 buckets equally likely?** Each small
# hash uses its buckets equally, and the two are independent, so all pairs of digits should be.
# Take one vector and 12,800 random rotations, 25 for each bucket.

# %%
N_DRAWS = 12_800
rotations = attention.random_rotations(jax.random.key(6), d_head, FACTORISED, N_DRAWS)
hits = np.bincount(attention.hash_vectors(qk[:1], rotations)[:, 0], minlength=FACTORISED)
chi_squared = float(((hits - 25) ** 2 / 25).sum())
print(f"{len(hits)} buckets, with {hits.min()} to {hits.max()} hits")
assert abs(chi_squared - 511) < 4 * math.sqrt(2 * 511)

# %% [markdown]
# ▸ As far as so many throws can tell, they are: the hits scatter like those of a fair die with 512
# faces (that is what the $\chi^2$ in the `assert` says).
#
# **Second: do near vectors meet as often as before?** They must now agree in *both* digits, and
# the digits are independent, so their chances multiply: $p_{32} \cdot p_{16}$ takes the place of
# $p_{512}$. Larger or smaller?

# %%
SMALL = np.arange(0, 91, 5)
N_PIECES = 1000
two_ways = {}
for name, b in [("514 in one piece", IN_ONE_PIECE), ("512 as 32 · 16", FACTORISED)]:
    p = np.asarray(attention.collision_probability(np.radians(SMALL), b))
    rotations = attention.random_rotations(jax.random.key(7), d_head, b, N_PIECES)
    buckets = attention.hash_vectors(pairs_at(SMALL, d_head), rotations)
    frequency = np.asarray((buckets[:, 1:] == buckets[:, :1]).mean(axis=0))
    assert (abs(frequency - p) < 4 * deviation(p, N_PIECES) + 1e-3).all()
    two_ways[name] = p, frequency, deviation(p, N_PIECES)
plots.show(
    pictures.draw_curves(SMALL, two_ways),
    "Chance to share one of 512 buckets against the angle: the factorised hash lies a little "
    "below the hash in one piece at small angles, and meets it at 0 and at 90 degrees.",
)
one_piece, factorised = (p for p, _, _ in two_ways.values())
p_32, p_16 = (attention.collision_probability(np.radians(SMALL), b) for b in (32, 16))
assert np.allclose(factorised, np.asarray(p_32) * np.asarray(p_16), atol=1e-5)
assert (factorised[1:-1] < one_piece[1:-1]).all()
at_30 = SMALL == 30
assert np.round(100 * one_piece[at_30]) == 33
assert np.round(100 * factorised[at_30]) == 27
assert np.allclose([factorised[-1], one_piece[-1]], [1 / 512, 1 / 514], atol=1e-4)

# %% [markdown]
# ▸ Less often: that is the price. At 30 degrees the factorised hash finds 27 of a hundred pairs
# where the one in one piece finds 33. But it costs a tenth, and a second round brings far more than
# the six that are missing. At 90 degrees both meet by chance alone, and chance does not care how a
# bucket came about.
#
# So avoid numbers of buckets that do not factorise. The package's default does: it takes
# $2\lceil L/m \rceil$ for chunks of $m$, and goes up from there to the next number with small even
# factors.

# %%
for length in (1000, 16_384, 16_448, 2**20):
    b = attention.default_n_buckets(length, 64)
    wanted = 2 * -(-length // 64)
    print(f"{length:9,} positions: {wanted:,} wanted, {b:,} = {attention.factor_buckets(b)}")
    assert wanted <= b <= 1.1 * wanted
    assert max(attention.factor_buckets(b)) <= 32

# %% [markdown]
# ## Its limits, honestly
#
# ### Far pairs meet too
#
# A pair at 80 degrees rarely meets. But of such pairs there are very many, so among those that
# share a bucket they are not rare at all. (A hash is a first selection. The softmax afterwards
# gives them the small weights that they deserve; what they cost is time.)

# %%
far = angles["real vectors"] > 60
met = np.mean([buckets[earlier] == buckets[later] for buckets in many_rounds], axis=0)
far_share = met[far].sum() / met.sum()
print(f"{far_share:.0%} of the pairs in a common bucket are more than 60 degrees apart")
assert far_share > 0.5

# %% [markdown]
# ### The nearest past is a strong rival
#
# You saw that this model looks at its neighbours. So hold the hash against the plainest rule there
# is: compare each query with the most recent keys, and take as many of them as the hash would
# compare. No rotations, no sorting. **Which finds more?**


# %%
def recent(n_keys):
    """(length, length): the n_keys keys before each query."""
    position = np.arange(LENGTH)
    back = position[:, None] - position
    return (back > 0) & (back <= n_keys)


windows = [round(share * (LENGTH - 1) / 2) for share in many_scores]  # keys per query, on average
recent_pairs = np.array([recent(n).sum() for n in windows]) / math.comb(LENGTH, 2)
recent_mass = np.array([earlier_weights[:, recent(n)].sum() for n in windows]) / N_QUERIES
rivals = {
    "64 buckets": (many_scores, many_mass),
    f"the last {', '.join(map(str, windows))} keys": (recent_pairs, recent_mass),
}
plots.show(
    pictures.draw_found(rivals, ROUNDS),
    "Share of the attention found against the scores computed: 64 buckets in 1, 2, 4 and 8 rounds, "
    "and as many of the most recent keys. The recent keys find more everywhere, and far more where "
    "few scores are computed.",
)
assert (recent_mass > many_mass).all()

# %% [markdown]
# ▸ The recent keys do, against 1 round as against 8. For this small model on this short text a
# window is hard to beat. What, then, does hashing bring? A window has an end, and it finds
# *nothing* beyond it. The hash does not care how far back a key is.

# %%
beyond = earlier_weights * ~recent(windows[-1])
rotations = attention.random_rotations(jax.random.key(0), d_head, 64, max(ROUNDS))
reached = sum(
    weights[found_by(attention.hash_vectors(x, rotations))].sum()
    for x, weights in zip(heads_qk, beyond, strict=True)
)
print(f"{beyond.sum() / N_QUERIES:.0%} of the attention goes further back than {windows[-1]} keys")
print(f"8 rounds with 64 buckets find {reached / beyond.sum():.0%} of that, the window 0%")
assert reached > 0.5 * beyond.sum()

# %% [markdown]
# So the two complement each other, and models often have layers of both kinds: Hugging Face's
# Reformer by default takes local attention and LSH attention in turns
# ([`attn_layers`](https://github.com/huggingface/transformers/blob/v4.35.2/src/transformers/models/reformer/configuration_reformer.py)).
#
# ### Only directions count, but lengths matter
#
# The score of a query is its length times the cosine, $q_i \cdot k_j = \lVert q_i \rVert
# \cos\theta_{ij}$. (Keys have length one here, so nothing is divided by $\sqrt d$: how large scores
# are is up to the queries.) A long query attends to the very nearest keys. A short one spreads its
# attention over many, at all angles. Their hashes are the same.
# **Which of them is served better?** From the angles alone, with 4 rounds and 16 buckets:

# %%
lengths = np.linalg.norm(heads_qk, axis=-1)[:, 1:]
mass = expected_mass(16, 4)[:, 1:]
quarters = np.quantile(lengths, [0.25, 0.75], axis=1)[:, :, None]
shortest, longest = mass[lengths < quarters[0]].mean(), mass[lengths > quarters[1]].mean()
print(f"expected share found, for the shortest quarter of the queries {shortest:.0%}")
print(f"                       for the longest quarter                {longest:.0%}")
assert longest > shortest + 0.1

# %% [markdown]
# ▸ The longest: of their attention 93% should be found, of that of the shortest 74%. No hash finds
# "the few best keys" of a query that has no few best keys.
#
# ### A border is a border
#
# However near they are, two vectors may lie on different sides of one. Even a vector and *itself*,
# rounded to bfloat16:

# %%
rotations = attention.random_rotations(jax.random.key(2), d_head, 16, N_ROUNDS)
rounded = np.asarray(attention.hash_vectors(qk.astype(jnp.bfloat16), rotations))
flipped = (rounded != many_rounds).mean()
print(f"{flipped:.2%} of the buckets change when the vectors are rounded to bfloat16")
assert 0 < flipped < 0.02

# %% [markdown]
# That is one vector in several hundred, and it is enough to matter where a layer is computed
# twice, as in a [reversible network](03_reversible_layers.ipynb): the second time, the buckets
# have to be *handed over*, not hashed again. That is what `buckets=` in `attention.lsh_attention`
# is for.
#
# ### It is not learned
#
# $R$ does not know the data. Crowded directions get crowded buckets, empty ones get buckets all
# the same. Nor does training know $R$: it is drawn anew, or kept, but never fitted. In return
# there is nothing to train, nothing to store but a key, and a theory that holds for any vectors.
#
# ## Then and now
#
# > Where keys are searched for today, the search is often fitted to the data, which a random
# > rotation is not. *HashAttention* (2024) learns codes of 32 bits for queries and keys
# > ([arXiv 2412.14468](https://arxiv.org/abs/2412.14468)). Random hashes live on, too: *MagicPIG*
# > (ICLR 2025) draws keys by LSH, and not to find the nearest but to take a fair sample
# > ([arXiv 2410.16179](https://arxiv.org/abs/2410.16179)).
#
# ## Exercises
#
# [Four parts](../exercises/07_hashing.ipynb): hash by one rotation, combine digits, count rounds,
# measure collisions on your own, and predict an experiment. The solutions are
# [here](../solutions/07_hashing.ipynb). What is done with the buckets is the next chapter, [LSH
# attention](08_lsh_attention.ipynb).
#
# ## Sources
#
# - A. Andoni, P. Indyk, T. Laarhoven, I. Razenshteyn, L. Schmidt: *Practical and Optimal LSH for
#   Angular Distance*, NeurIPS 2015, [arXiv 1509.02897](https://arxiv.org/abs/1509.02897): the
#   hash, and its collision probability in the limit.
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), section 2: the hash, the circles, several
#   rounds. The hash from several small ones is that of the authors' code, in trax.
# - The talk "Efficient Transformers" by Kaiser, Kitaev, Levskaya and colleagues.
