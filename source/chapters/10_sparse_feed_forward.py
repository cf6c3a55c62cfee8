# %% [markdown]
# # 10 · Sparse feed-forward
#
# *Pillar three: sparsity.* To say one more word, a language model reads all of its weights. Most of
# them stand in the feed-forward layers. This chapter gives such a layer a **controller**: a small
# network that says beforehand which units are worth computing, so that all others stay unread.
#
# After this chapter you can
#
# - measure how few units of a feed-forward layer are at work at any one moment;
# - write a controller that turns on one unit in each block of N, and train it through a choice that
#   has no slope;
# - compute the layer from the chosen units alone, prove that nothing else is read, and count bytes;
# - say when this is faster, when it is not, and what it costs in quality.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from efftx import memory, plots, sparsity
from efftx.numbers import sparse_feed_forward as numbers
from efftx.plots import sparse_feed_forward as pictures

# %% [markdown]
# ## The question
#
# Every block of a Transformer ends with a feed-forward layer, the same at every position:
#
# $$\text{FFN}(x) = \text{ReLU}(x W_1 + b_1)\, W_2 + b_2.$$
#
# It has $d_\text{ff}$ *units*. Unit $i$ owns column $i$ of $W_1$, with which it looks at $x$, and
# row $i$ of $W_2$, which it adds to the output as strongly as it liked what it saw.
#
# When a text is written word by word, there is one vector $x$ at a time. For it the layer fetches
# both matrices from memory, uses each weight *once*, and does the same again for the next word. A
# processor can multiply much faster than it can fetch, so **the time is the fetching**. How much is
# it, in a model of 24 layers with the sizes of the talk's medium one?

# %% tags=["nbval-check-output"]
d_model, d_ff, n_layers = 1024, 4096, 24
per_layer = sparsity.n_dense_feed_forward(d_model, d_ff)
print(f"{per_layer:,} weights in a feed-forward layer, {4 * per_layer // 2**20} MiB in float32")
print(f"{4 * n_layers * per_layer // 2**20} MiB to read for each word, in all layers")
attention = sparsity.n_dense_attention(d_model)
print(f"{per_layer / (per_layer + attention):.0%} of a block's weights (the rest is attention)")

# %% [markdown]
# Now look at the ReLU. A unit that saw something it does not like, a negative number, is cut to 0.
# And then its row of $W_2$ is multiplied by 0. It was read for nothing.
#
# **Guess: in a trained model, at one position of a text, what share of the units is above 0?** In
# an untrained one it is half.

# %%
my_guess = plots.ask("the share of units above 0, from 0 to 1", along="x", panel=1)

# %% [markdown]
# ## Who fires?
#
# The small language model of [chapter 06](06_attention_is_sparse.ipynb) has two layers with 384
# units each. It was trained on Python source, in the ordinary way; nobody asked it to be sparse. We
# let it read 2,048 bytes that it has never seen, and write down what comes out of every ReLU.

# %%
from efftx.models import pretrained

model = pretrained.small_text_model("plain")
text = pretrained.example_text()
windows = jnp.asarray(text[:2048].reshape(8, 256), jnp.int32)


@jax.jit
def seen_by_layers(model, tokens):
    """(n_layers, length, d_model): what goes into every feed-forward layer."""

    def step(x, block):
        x = x + block.attention(x)[0]
        return x + block.feed_forward(x)[0], block.feed_forward.norm(x)

    return lax.scan(step, model.embedding(tokens), model.blocks)[1]


seen = jnp.concatenate([seen_by_layers(model, window) for window in windows], axis=1)
layers = model.blocks.feed_forward.layer  # both layers' weights, one behind the other
hidden = jax.nn.relu(jnp.einsum("kld,kdf->klf", seen, layers.w1) + layers.b1[:, None])
fires = np.asarray(hidden > 0)
for layer, share in enumerate(fires.mean(axis=(1, 2))):
    print(f"layer {layer}: {share:.0%} of the units fire at a position, on average")
assert (fires.mean(axis=(1, 2)) < 0.25).all()

# %%
from efftx.training.corpora import as_text

shown = 72
my_guess.show(
    pictures.draw_firing(fires, as_text(windows[0, :shown])),
    "Left: 96 of the 384 units of each layer at the first 72 characters, a dot where a unit fires. "
    "The dots are few and scattered, in no fixed pattern. Right: most units fire at a tenth to a "
    "quarter of all positions, hardly any at more than a third.",
)

# %% [markdown]
# ▸ About one in six. Different ones at each character, and nearly all of them at some. So the
# layer is sparse already. How far can we push it? Cut the units into blocks of $N$ neighbours and
# keep only the strongest of each block, in a model that knows nothing of it. The parts of our
# models can be exchanged, so this takes a layer with another `__call__`.


# %%
from dataclasses import dataclass, field, replace

from jax.tree_util import register_dataclass

from efftx.models import FeedForward
from efftx.training.losses import evaluate


@register_dataclass
@dataclass(frozen=True)
class OnlyTheStrongest(FeedForward):
    """Of each block of n_units neighbours only the one that gives most."""

    n_units: int = field(metadata={"static": True})

    def __call__(self, x, *others):
        blocks = jax.nn.relu(x @ self.w1 + self.b1).reshape(len(x), -1, self.n_units)
        strongest = jax.nn.one_hot(jnp.argmax(blocks, axis=-1), self.n_units)
        return (blocks * strongest).reshape(len(x), -1) @ self.w2 + self.b2, None


def with_layers(model, layers):
    """The same model with other feed-forward layers."""
    branch = replace(model.blocks.feed_forward, layer=layers)
    return replace(model, blocks=replace(model.blocks, feed_forward=branch))


bits = {}
for n in (1, 4, 8, 16):
    pruned = with_layers(model, OnlyTheStrongest(**vars(layers), n_units=n))
    bits[n] = evaluate(pruned, text, length=256, progress=False)
for n, value in bits.items():
    print(f"the strongest of {n:2}: {384 // n:3} units on, {value:.2f} bits per byte")
assert bits[4] < bits[1] + 0.2

# %% [markdown]
# With three of four units gone it is a few per cent worse. There is something to be had here.
#
# But we have not got it yet, for two reasons. **To find the strongest unit of a block we computed
# all of them**: $W_1$ was read as a whole, and only $W_2$ could have been spared. And from some $N$
# on the loss rises, because this model was trained to have its other units. Both have the same
# remedy: something that *chooses before it computes*, and a layer that is trained with it.
#
# ## The controller
#
# The units stand in blocks of $N$. For every unit the controller gives a score, and in each block
# the unit with the highest score is on, the others are off:
#
# $$\text{score} = x\, C_1 C_2, \qquad
# \text{Controller}(x) = \text{onehot}\big(\text{argmax over each block of } N\big),$$
#
# $$Y = \text{ReLU}(x W_1 + b_1) \odot \text{Controller}(x), \qquad \text{out} = Y\, W_2 + b_2.$$
#
# Each position chooses for itself, and of $d_\text{ff}$ units $d_\text{ff}/N$ are on. In each block
# it is exactly one, so everybody knows beforehand how many there will be, and where to look.

# %%
from efftx.plots import architectures

plots.show(
    architectures.draw_sparse_feed_forward(),
    "The layer in use. Below, x goes through the chosen rows of the first matrix, a ReLU and the "
    "chosen rows of the second to y. Above, x goes through the controller's two small matrices to a "
    "score for each unit; the strongest of each N says which rows are read of both.",
)

# %% [markdown]
# From here on weights lie in blocks, and **a unit's weights are a row**, in $W_1$, too:
#
# | | shape |
# |---|---|
# | `c1`, `c2` | `(d_model, d_lowrank)`, `(d_lowrank, n_blocks, N)` |
# | `w1`, `b1` | `(n_blocks, N, d_model)`, `(n_blocks, N)` |
# | `w2`, `b2` | `(n_blocks, N, d_model)`, `(d_model,)` |


# %%
def scores_of(x, c1, c2):
    """(length, d_model) -> (length, n_blocks, N)."""
    return jnp.einsum("lr,rbn->lbn", x @ c1, c2)


def strongest(scores):
    """In each block the unit with the highest score, 0 … N − 1: (length, n_blocks)."""
    return jnp.argmax(scores, axis=-1)


def unit_by_unit(x, units, w1, b1, w2, b2):
    """The definition of the layer: a loop over positions and blocks."""
    outputs = []
    for position, chosen in zip(x, units, strict=True):
        y = b2
        for block, unit in enumerate(chosen):
            y = y + jax.nn.relu(w1[block, unit] @ position + b1[block, unit]) * w2[block, unit]
        outputs.append(y)
    return jnp.stack(outputs)


# %% [markdown]
# Two positions, three blocks of four. The scores are made up. **Which units are on?**

# %% tags=["nbval-check-output"]
made_up = np.array(
    [
        [[3, 1, 0, 2], [-5, -2, -9, -4], [0, 0, 1, 0]],
        [[0, 1, 7, 2], [1, 2, 3, 4], [8, 6, 0, 7]],
    ]
)
print(strongest(made_up))

# %% [markdown]
# ▸ At the first position units 0, 1 and 2 of the three blocks, at the second 2, 3 and 0. Of the
# second block of the first position it is unit 1, with −2: not high, but the highest. There
# are no ties to speak of in floating-point numbers, and no block is ever empty.
#
# Now a layer with random weights. What we have defined is what the package computes:


# %%
random = np.random.default_rng(0)


def draw(*shape):
    """Random numbers whose squares sum to about 1 in each row."""
    return jnp.asarray(random.standard_normal(shape, np.float32)) / shape[-1] ** 0.5


def random_layer(d_model, n_blocks, n_units, d_lowrank):
    """Controller (c1, c2) and weights (w1, b1, w2, b2)."""
    units = (n_blocks, n_units)
    controller = draw(d_model, d_lowrank), draw(d_lowrank, *units)
    return controller, (draw(*units, d_model), draw(*units), draw(*units, d_model), draw(d_model))


controller, weights = random_layer(16, n_blocks=4, n_units=4, d_lowrank=3)
x = draw(5, 16)
scores = scores_of(x, *controller)
units = strongest(scores)
y = unit_by_unit(x, units, *weights)


def close(ours, theirs, tolerance=1e-4):
    return jnp.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


assert close(scores, sparsity.controller_scores(x, *controller))
assert (units == sparsity.strongest_units(scores)).all()
assert close(y, sparsity.sparse_feed_forward_reference(x, units, *weights))

# %% [markdown]
# ### Why two matrices?
#
# A single matrix from $d_\text{model}$ to $d_\text{ff}$ could give the scores just as well. **What
# would be wrong with it?**

# %% tags=["nbval-check-output"]
n_units = 64
of_units = 2 * d_model * d_ff // n_units
d_lowrank = sparsity.default_d_lowrank(d_model, n_units)
of_controller = d_lowrank * (d_model + d_ff)
print(f"weights that a position reads, with N = {n_units}")
print(f"of all units            {2 * d_model * d_ff:9,}")
print(f"of the chosen units     {of_units:9,}")
print(f"one matrix for scores   {d_model * d_ff:9,}")
print(f"two, {d_lowrank} numbers between {of_controller:9,}")
fewer = 2 * d_model * d_ff / (of_units + of_controller)
print(f"chosen units and two matrices: {fewer:.1f} times fewer weights than all units")
extra = sparsity.n_sparse_feed_forward(d_model, d_ff, n_units) - per_layer
assert extra == of_controller

# %% [markdown]
# ▸ It would be as large as $W_1$, and half of the saving would be lost. Scores need not be exact,
# they only have to put the right unit first. So they go through a bottleneck of $d_\text{lowrank} =
# d_\text{model}/N$ numbers. Even so the controller reads more than half as much as the units that
# it chooses: not 64 but 39 times fewer weights are read in all.
#
# **Is the bottleneck free?** What a block sees of $x$ is $r = d_\text{lowrank}$ numbers. The unit
# with the row $c_u$ of $C_2$ gets the score $z \cdot c_u$, and is on if no other row reaches as far
# in the direction of $z$. A row in the middle of the others never does, whatever $x$ is. With $r =
# 1$ there are two directions, so two units can win, however many there are. Draw 64 random rows and
# ask in 20,000 random directions who wins:

# %% tags=["nbval-check-output"]
draws = np.random.default_rng(1)
can_win = {}
for r in (1, 2, 4, 8, 16):
    rows, directions = draws.standard_normal((r, 64)), draws.standard_normal((20_000, r))
    can_win[r] = len(np.unique((directions @ rows).argmax(axis=1)))
    print(f"a bottleneck of {r:2}: {can_win[r]:2} of 64 units can be on")
assert can_win[1] == 2
assert can_win[2] < 16 < can_win[8] < can_win[16] == 64

# %% [markdown]
# ▸ No: $r$ must not be small. The medium model with $N = 64$ has $r = 16$, and with that each of
# the 64 rows above could win. In a small one $d_\text{model} / N$ would be 1, and two units of each
# block would do all the work. The experiment at the end of this chapter takes 8 for that reason.
#
# ## All units, and a mask
#
# In training there are thousands of positions at once. Each wants other units, together they want
# all. So training computes every unit, and multiplies with a mask of zeros and ones:


# %%
def all_units(x, mask, w1, b1, w2, b2):
    """mask (length, n_blocks, N): 1 for each unit that is on, 0 for the others."""
    hidden = jax.nn.relu(jnp.einsum("ld,bnd->lbn", x, w1) + b1)
    return jnp.einsum("lbn,bnd->ld", hidden * mask, w2) + b2


hard = jax.nn.one_hot(units, 4)
assert close(all_units(x, hard, *weights), y)
assert close(all_units(x, hard, *weights), sparsity.masked_feed_forward(x, hard, *weights))

# %% [markdown]
# This layer is the dense layer's work and the controller's on top. **Sparsity as it is here makes
# training no faster.** It is for later, when the model is used.
#
# The mask is also the place where the controller meets the loss. Through it the gradient has to
# come. How does the loss change if $C_2$ is changed a little?


# %%
def loss_of(c2, mask_of):
    """Of a layer whose output should be 1 everywhere; mask_of makes a mask from scores."""
    y = all_units(x, mask_of(scores_of(x, controller[0], c2)), *weights)
    return ((y - 1) ** 2).mean()


def hard_mask(scores):
    return jax.nn.one_hot(strongest(scores), scores.shape[-1])


g_c2 = jax.grad(loss_of)(controller[1], hard_mask)
print("largest entry of the gradient:", float(jnp.abs(g_c2).max()))
assert (g_c2 == 0).all()

# %% [markdown]
# Not at all. Move a score a little, and the same unit is the highest. The mask is a staircase, flat
# wherever it is not vertical. **The controller would never learn anything.**
#
# ## Learning to choose
#
# Three ideas make it learn. The paper uses all of them.
#
# **First: a soft mask.** Take the softmax of a block's scores. Every unit is on a little, the
# highest most:
#
# $$p_u = \frac{e^{s_u}}{\sum_v e^{s_v}}.$$
#
# It has a slope. But a model that is trained with soft masks is another model than the one with
# hard masks that we want to use. Its units have learned to work in chorus.
#
# **Second: straight through.** On the way up, the mask is hard. On the way down, the gradient goes
# through it *as if it had been the soft one*. With $g$ the gradient of the loss for the mask, and
# the softmax's derivative $\partial p_v / \partial s_u = p_v(\delta_{uv} - p_u)$:
#
# $$g_{s_u} = \sum_v g_v\, p_v (\delta_{uv} - p_u) = p_u \Big( g_u - \sum_v p_v\, g_v \Big).$$
#
# Read it: the bracket compares unit $u$ with the mean of its block. If the loss would fall more by
# turning on $u$ than by turning on an average unit of the block, its score goes up. **Also if $u$
# is off**: $g_u$ tells how it would have been. That is what all units are computed for.
#
# By hand, and in JAX, where it is a single line. The bracket adds exactly 0 to the value:


# %%
def straight_through(scores):
    soft = jax.nn.softmax(scores)
    return hard_mask(scores) + (soft - lax.stop_gradient(soft))


def gradient_by_hand(scores, g):
    soft = jax.nn.softmax(scores)
    return soft * (g - (soft * g).sum(axis=-1, keepdims=True))


def packages_mask(scores):
    return sparsity.sparsity_mask(scores)[0]


assert (straight_through(scores) == hard).all()
assert (packages_mask(scores) == hard).all()

g = draw(*scores.shape)
for mask_of in (straight_through, packages_mask):
    (by_jax,) = jax.vjp(mask_of, scores)[1](g)
    assert close(by_jax, gradient_by_hand(scores, g), tolerance=1e-6)

g_c2 = jax.grad(loss_of)(controller[1], straight_through)
print(f"largest entry of the gradient: {float(jnp.abs(g_c2).max()):.2f}")
assert (jnp.abs(g_c2) > 0).mean() > 0.9

# %% [markdown]
# This gradient is a useful lie. The true one is 0, as we saw; and how the loss would change if
# another unit came on in the place of this one, no derivative can tell exactly. **Is it at least
# right on average?** Where units are drawn with their probabilities $p$, the *expected* loss has a
# true slope. A block of two units, which would contribute 1 and −3 to the output $y$; the loss is
# $y^2$, and $p = (0.9, 0.1)$. Once the block stands alone, and once beside others that add 20:

# %%
contributions, two_scores = jnp.array([1.0, -3.0]), jnp.log(jnp.array([0.9, 0.1]))
p = jax.nn.softmax(two_scores)


def slopes(beside):
    """For the first score: what straight through passes on, on average, and the true one."""
    outputs = beside + contributions  # of y, whichever unit is on
    passed_on = jnp.stack([gradient_by_hand(two_scores, 2 * y * contributions) for y in outputs])
    expected_loss = lambda scores: jax.nn.softmax(scores) @ outputs**2  # noqa: E731
    return float((p @ passed_on)[0]), float(jax.grad(expected_loss)(two_scores)[0])


slope_of = {beside: slopes(beside) for beside in (0, 20)}
for beside in slope_of:
    passed_on, true = slope_of[beside]
    print(f"beside {beside:2}: straight through {passed_on:+6.2f}, true {true:+6.2f}")
assert np.allclose(slope_of[0], (0.432, -0.72), atol=1e-4)
assert 1 < np.divide(*slope_of[20]) < 1.1

# %% [markdown]
# ▸ It is not: alone it even has the wrong sign. The first unit's score ought to rise, since the
# second makes a loss of 9 whenever it is on; straight through pushes it down. The reason is in
# $g_u$: the slope at the present output says little about an output that lies four steps away.
# Where one unit more or less changes little beside all the rest, the two nearly agree. So this is a
# rule of thumb, with which such models are trained all the same, and nobody should call it the
# gradient.
#
# **Third: noise.** A unit that is off gets a gradient, but its own weights get none: it adds
# nothing to the output. A unit that never comes on never becomes any better. So the choice is
# disturbed a little:
#
# $$\text{on} = \text{argmax}\,(\log p + 0.1 \cdot \text{Gumbel noise}).$$
#
# Why noise of this kind? Because with a factor of 1 in the place of 0.1 the unit $u$ would be on
# with a probability of exactly $p_u$ (the *Gumbel-max trick*). With a factor of $T$ it is the
# softmax of $s/T$. Take two units whose scores are 0.1 apart. **How often does the lower one win at
# $T = 0.1$? And if they are 1 apart?**

# %%
keys = jax.random.split(jax.random.key(3), 20_000)


def share_of_second(distance, temperature):
    log_p = jax.nn.log_softmax(jnp.array([distance, 0.0]))
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (2,)))(keys)
    return float((jnp.argmax(log_p + temperature * noise, axis=-1) == 1).mean())


for distance in (0.1, 1.0):
    for temperature in (0.1, 1.0):
        drawn = share_of_second(distance, temperature)
        expected = 1 / (1 + np.exp(distance / temperature))
        print(f"{distance} apart, T = {temperature}: {drawn:7.3%} drawn, {expected:7.3%} expected")
        assert abs(drawn - expected) < 0.015

# %% [markdown]
# ▸ With scores 0.1 apart in about 27 % of the draws; with scores 1 apart in none of 20,000. Units
# that are nearly tied take turns, a clear winner practically always wins.
#
# And the soft mask has its use after all. It lets gradients through to *all* units' weights. So
# each call of the layer tosses a coin, and uses the hard mask with probability 0.3 and the soft one
# otherwise. All in one:


# %%
def training_mask(scores, key):
    log_soft = jax.nn.log_softmax(scores)
    noise = jax.random.gumbel(jax.random.fold_in(key, 0), scores.shape)
    soft, hard = jnp.exp(log_soft), hard_mask(log_soft + 0.1 * noise)
    hard = hard + (soft - lax.stop_gradient(soft))  # straight through
    coin = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.3)
    return jnp.where(coin, hard, soft)


masks = jax.vmap(partial(training_mask, scores))(keys[:500])
theirs = jax.vmap(lambda key: sparsity.sparsity_mask(scores, key)[0])(keys[:500])
assert close(masks, theirs, tolerance=1e-6)
is_hard = (masks == masks.round()).all(axis=(1, 2, 3))
print(f"hard in {int(is_hard.sum())} of 500 calls")
assert 110 < is_hard.sum() < 190

# %% [markdown]
# Without a key the package's mask is hard and has no noise: that is how the model is used, and how
# it is evaluated.
#
# ## Does it learn?
#
# Time to train. Three models read the Python documentation, byte by byte, as in
# [chapter 06](06_attention_is_sparse.ipynb). They differ in their feed-forward layers only:
#
# - **sparse**: blocks of 8, so that of 512 units 64 are on;
# - **dense**: as many *parameters* as the sparse one, controller included;
# - **narrow**: a dense layer with 64 units, as many as the sparse one has *on*.
#
# Dense is what we would like to equal, narrow what we must beat: if the sparse model were no better
# than narrow, then choosing would be of no use. **Where between the two will it end?**

# %%
from efftx.models import (
    Sizes,
    attention_layer,
    init_feed_forward,
    language_model,
    n_parameters,
    plain_residual,
    sparse_feed_forward,
)


N, WINDOW, BATCH, N_STEPS = 8, 64, 8, 300
sizes = Sizes(n_layers=2, d_model=64, d_ff=512, n_heads=4, d_head=16, max_len=WINDOW)
attention = attention_layer()
sparse_layer = sparse_feed_forward(n_units=N)
wide_d_ff = sparsity.n_sparse_feed_forward(64, 512, N) // (2 * 64 + 1)  # a unit has 129 parameters


def untrained(feed_forward, d_ff):
    wide = replace(sizes, d_ff=d_ff)
    return language_model(jax.random.key(0), wide, attention, feed_forward, plain_residual)


before = {
    "dense": untrained(init_feed_forward, wide_d_ff),
    "sparse": untrained(sparse_layer, 512),
    "narrow": untrained(init_feed_forward, 512 // N),
}
for name, model in before.items():
    print(f"{name:7} {n_parameters(model):9,} parameters")
counts = [n_parameters(before[name]) for name in ("dense", "sparse")]
assert abs(counts[0] / counts[1] - 1) < 0.002

# %%
from tqdm.auto import tqdm

from efftx.training.batches import random_windows
from efftx.training.corpora import python_documentation
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.optimisers import adamw

corpus = python_documentation()
bar = tqdm(total=len(before) * N_STEPS, desc="train")
optimiser = adamw(N_STEPS, peak=4e-3)


def batch_at(step):
    bar.update()
    return random_windows(corpus.train, seed=0, step=step, length=WINDOW, batch=BATCH)


def trained(model):
    return train(
        model,
        loss=bits_per_byte,
        batch_at=batch_at,
        optimiser=optimiser,
        n_steps=N_STEPS,
        progress=False,  # the bar above does it
    )


states = {name: trained(model) for name, model in before.items()}
bar.close()
after = {name: state.model for name, state in states.items()}

# %%
held_out = corpus.held_out
bits = {
    name: evaluate(model, held_out, length=WINDOW, batch=32, progress=False)
    for name, model in after.items()
}
for name, value in bits.items():
    print(f"{name:7} {value:.3f} bits per byte on held-out text")
plots.show(
    pictures.draw_training({name: np.asarray(state.losses) for name, state in states.items()}),
    "The training losses of the three models against the step, in bits per byte: quickly down at "
    "first, then slowly. The lines end close together.",
)
assert max(bits.values()) < 4.2
assert bits["sparse"] < bits["narrow"] + 0.15

# %% [markdown]
# ▸ In our run right behind the dense one, and the narrow one came last. The sparse model computes
# with as many units as narrow, and choosing them is worth something. But look at the size of the
# differences. They are a few hundredths of a bit, and another seed or another learning rate can
# make as much. (In a trial with a higher rate the sparse model ended no better than narrow.) A run
# as short as this shows that the layer learns. How it compares is a question for several seeds; it
# comes below, under the limits.
#
# ### What has the controller learned?
#
# First: are its choices any good? We disturb them, and leave all else as it is. `roll` gives each
# unit of a block the score of its neighbour. The choices are as even and as regular as before, but
# they turn on the wrong units. And does the model miss its soft masks?

# %%
from efftx.models import hardened

sparse = after["sparse"]
layers = sparse.blocks.feed_forward.layer
rolled = replace(layers, c2=jnp.roll(layers.c2, 1, axis=-1))
choosers = {
    "hard masks, as it is used": hardened(sparse),
    "soft masks": with_layers(sparse, replace(layers, hard_probability=0.0)),
    "hard masks of the neighbours": hardened(with_layers(sparse, rolled)),
}
by_chooser = {
    name: evaluate(model, held_out, length=WINDOW, batch=32, key=jax.random.key(0), progress=False)
    for name, model in choosers.items()
}
for name, value in by_chooser.items():
    print(f"{name:29} {value:.3f} bits per byte")
hard_bits, soft_bits, wrong_bits = by_chooser.values()


def scores_in(model, window):
    """(n_layers, length, n_blocks, N)."""
    layers = model.blocks.feed_forward.layer
    return jax.vmap(scores_of)(seen_by_layers(model, window), layers.c1, layers.c2)


def sureness(model, window):
    """The highest p of a block, the mean over all blocks and positions, of each layer."""
    return jax.nn.softmax(scores_in(model, window)).max(axis=-1).mean(axis=(1, 2))


for when, model in (("before", before["sparse"]), ("after", sparse)):
    first, second = sureness(model, held_out[:WINDOW])
    print(
        f"highest p of a block, {when:6} training: {first:.2f} in layer 0, {second:.2f} in layer 1"
    )
assert abs(hard_bits - bits["sparse"]) < 0.001
assert abs(hard_bits - soft_bits) < 0.1
assert wrong_bits > hard_bits + 0.2

# %% [markdown]
# The choices matter: with the neighbours' units on, the model is almost half a bit worse. Hard
# masks are about as good as the soft ones, though of eight units seven are off. And the controller
# has become surer of its choices than it was.
#
# **Before you look at the next picture: will the same letter always turn on the same units?** Here
# are 64 characters of held-out text. Each row is a block, and the colour says which of its eight
# units is on.

# %%
passage = jnp.asarray(held_out[59 : 59 + 6 * WINDOW].reshape(6, WINDOW), jnp.int32)


@jax.jit
def choose(model, windows):
    return lax.map(lambda window: strongest(scores_in(model, window)), windows)


def choices(model, windows):
    """(n_layers, length, n_blocks): of all windows, one behind the other."""
    return np.concatenate(list(np.asarray(choose(model, windows))), axis=1)


units = choices(sparse, passage)
plots.show(
    pictures.draw_map(units[:, :WINDOW, :24], as_text(passage[0]), N),
    "The chosen units of 24 of the 64 blocks of each layer, as colours, at 64 characters of a "
    "text. Where a letter comes again, many colours of its column come again, but not all of them.",
)

# %% [markdown]
# Look for a letter that occurs several times, and compare its columns. ▸ Not always: they are
# alike, but not equal: the controller sees a vector that attention has already mixed with what
# stands before. In layer 1 some rows hardly change their colour; we come back to them. Look through
# the blocks, with more of the text.

# %%
import ipywidgets as widgets

which_layer = widgets.Dropdown(options=[0, 1], description="layer")
which_block = widgets.IntSlider(
    value=0, min=0, max=512 // N - 1, description="block", continuous_update=False
)
show_block = partial(pictures.show_block, units=units, text=as_text(passage.ravel()), n_units=N)
display(
    widgets.HBox([which_layer, which_block]),
    widgets.interactive_output(show_block, {"layer": which_layer, "block": which_block}),
)

# %% [markdown]
# How much of a choice does the character alone decide? In bits: a block's choice has an entropy, at
# most $\log_2 8 = 3$. Once we know the character, less is left. What is gone, as a share of the
# whole, is what the character decides.


# %%
def bits_of(counts):
    """Entropy of each row of counts."""
    p = counts / counts.sum(axis=-1, keepdims=True)
    return -(p * np.log2(np.where(p == 0, 1, p))).sum(axis=-1)


def before_and_after(characters, chosen):
    """Bits in a block's choice, and those that are left once the character is known."""
    counts = np.zeros((256, N))
    np.add.at(counts, (characters, chosen), 1)
    counts = counts[counts.sum(axis=1) > 0]
    return bits_of(counts.sum(axis=0)), np.average(bits_of(counts), weights=counts.sum(axis=1))


n_windows = len(held_out) // WINDOW
many = held_out[: n_windows * WINDOW].reshape(n_windows, WINDOW).astype(np.int32)
all_units_chosen = choices(sparse, many)
told = []
for layer in all_units_chosen:
    blocks = [before_and_after(many.ravel(), block) for block in layer.T]
    whole, left = np.sum(blocks, axis=0)
    told.append(1 - left / whole)
print(f"the character decides {told[0]:.0%} of the choices in layer 0, {told[1]:.0%} in layer 1")
assert min(told) > 0.3

# %% [markdown]
# Much of it, but not all. The rest is what attention has brought from the characters before.
#
# ### How even is the load?
#
# Nothing in the loss asks that all units be used. A controller may *collapse*: a unit that is on
# more often is trained more, becomes better, and is on more often still. What is the share of
# positions at which each unit is on, its *load*? **Do you expect units that are never on?**


# %%
def loads_of(chosen):
    """(length, n_blocks) -> (n_blocks, N): the share of positions at which each unit is on."""
    return np.stack([np.bincount(block, minlength=N) for block in chosen.T]) / len(chosen)


loads = np.stack([loads_of(layer) for layer in all_units_chosen])
assert np.allclose(loads.sum(axis=-1), 1)
plots.show(
    pictures.draw_load(loads),
    "The load of the eight units of each block, the busiest first: thin lines are blocks, the "
    "thick line is their mean. The busiest unit is on much more often than at the one in eight "
    "positions of an even load (dashed), the idlest hardly ever. Layer 1 is much more uneven.",
)
effective = 2 ** bits_of(loads)
for layer in range(2):
    never = (loads[layer] == 0).mean()
    print(
        f"layer {layer}: as even as {effective[layer].mean():.1f} of {N} units, "
        f"in the worst block {effective[layer].min():.1f}; {never:.1%} are never on"
    )
assert N > effective[0].mean() > 1.3 * effective[1].mean() > 1.3

# %% [markdown]
# ▸ In layer 0 every unit is on somewhere in the held-out text; in layer 1 a few in a hundred never
# are. The other number that is printed is the *effective number* of units, $2^H$ with the entropy
# $H$ of the loads: so many units in equal use would be as even. Layer 0 uses most of what it has.
# Layer 1 has gone a good part of the way to a collapse: in some of its blocks one unit is on at
# nearly all positions, and such a block hardly chooses any more. So the controller's training,
# noise and all, does not prevent it in a run like this.
#
# An idle unit costs no time, since it is not read; it is a parameter wasted. (In a mixture of
# experts, where units are whole networks on different machines, uneven load costs time. There one
# adds a term to the loss that punishes it.)
#
# ## Reading only what is on
#
# Now the layer as it is used: one position, and its units known. Take their rows, compute with
# those, and that is all.


# %%
@jax.jit
def only_the_chosen(x, units, w1, b1, w2, b2):
    """One position: x (d_model,), units (n_blocks,) -> (d_model,)."""
    block = jnp.arange(len(units))
    hidden = jax.nn.relu(w1[block, units] @ x + b1[block, units])
    return hidden @ w2[block, units] + b2


layer = jax.tree.map(lambda both: both[1], layers)  # layer 1
seen = jnp.concatenate([seen_by_layers(sparse, window)[1] for window in passage])
units = strongest(layer.scores(seen))
masked = all_units(seen, jax.nn.one_hot(units, N), *layer.weights)
gathered = lax.map(lambda one: only_the_chosen(*one, *layer.weights), (seen, units))
error = jnp.abs(gathered - masked).max() / jnp.abs(masked).max()
print(f"largest difference, {len(seen)} positions of the trained layer: {float(error):.0e}")
assert error < 1e-5
assert close(gathered, sparsity.gathered_feed_forward(seen, units, *layer.weights), 1e-5)

# %% [markdown]
# **What is computed in training with all units and a mask, inference computes from one unit in
# eight.** And are the others really not read? Put nan into everything that belongs to a unit that
# is off. With a mask nan spreads, for $0 \cdot \text{nan}$ is nan.

# %%
position, chosen = seen[0], units[0]
off = jax.nn.one_hot(chosen, N) == 0
w1, b1, w2, b2 = layer.weights
poisoned = (
    jnp.where(off[..., None], jnp.nan, w1),
    jnp.where(off, jnp.nan, b1),
    jnp.where(off[..., None], jnp.nan, w2),
    b2,
)
with_mask = all_units(position[None], 1.0 * ~off[None], *poisoned)
assert jnp.isnan(with_mask).all()
assert close(only_the_chosen(position, chosen, *poisoned), gathered[0], 1e-5)
readable = sum(int((~jnp.isnan(w)).sum()) for w in (poisoned[0], poisoned[2]))
assert readable == 2 * 64 * 512 // N
print(f"{readable:,} of {w1.size + w2.size:,} weights of W1 and W2 are left, and they are enough")

# %% [markdown]
# ### Bytes
#
# How many bytes is that, with the medium model's sizes and blocks of 64? We do not trust our
# formula, and count in the program itself: `jax.make_jaxpr` lists the operations of a function, and
# those that fetch rows are called `gather`. The shapes are enough for that; nothing is run. The
# controller's two matrices are read as a whole. And the compiler says how much memory it sets
# aside: if it copied more than the chosen rows, we would see it there.

# %%
from efftx.compiling import planned_bytes

D_MODEL, D_FF = 1024, 4096


def shapes_of(n_units):
    """Of x, the units, the weights, and of the controller."""
    blocks = (D_FF // n_units, n_units)
    bottleneck = sparsity.default_d_lowrank(D_MODEL, n_units)
    shapes = [(D_MODEL,), blocks[:1], (*blocks, D_MODEL), blocks, (*blocks, D_MODEL), (D_MODEL,)]
    kinds = [jnp.float32, jnp.int32] + 4 * [jnp.float32]
    weights = [jax.ShapeDtypeStruct(*each) for each in zip(shapes, kinds, strict=True)]
    return weights, [(D_MODEL, bottleneck), (bottleneck, *blocks)]


def numbers_gathered(f, arguments):
    """How many numbers f takes out of its arrays."""
    program = jax.make_jaxpr(f)(*arguments)
    fetched = [e for e in program.eqns if e.primitive.name == "gather"]
    return sum(result.aval.size for e in fetched for result in e.outvars)


arguments, of_controller = shapes_of(64)
n_gathered = numbers_gathered(only_the_chosen.__wrapped__, arguments)
n_controller = sum(map(np.prod, of_controller))
assert n_gathered == 2 * D_MODEL * D_FF // 64 + D_FF // 64  # rows of W1 and W2, entries of b1
assert n_controller == D_MODEL // 64 * (D_MODEL + D_FF)
scratch = planned_bytes(only_the_chosen.__wrapped__, *arguments)
assert scratch < 1.05 * 4 * n_gathered

dense_bytes = 4 * 2 * D_MODEL * D_FF
print(f"dense                    {dense_bytes / 2**20:6.2f} MiB")
print(f"chosen units, N = 64     {4 * n_gathered / 2**20:6.2f} MiB")
print(f"controller               {4 * n_controller / 2**20:6.2f} MiB")
fewer = dense_bytes / (4 * (n_gathered + n_controller))
print(f"{fewer:.1f} times less;   set aside by the compiler {scratch / 2**20:.2f} MiB")
assert 38 < fewer < 40

# %% [markdown]
# ### Time
#
# Now the clock. Four layers of 32 MiB stand behind one another, more than most caches hold; one
# vector goes through them. Dense and sparse layers have the same weights and take turns. (The dense
# layer reads the numbers of $W_2$ as a matrix of the other shape, as a matrix times a vector likes
# it: it shall be as fast as it can, and the clock does not mind what random numbers mean.) **Which
# N will be fastest? And will 39 times fewer bytes be 39 times faster?**

# %%
import time


N_LAYERS, NS = 4, (4, 16, 64, 256)

stack = [(draw(D_FF, D_MODEL), draw(D_FF, D_MODEL)) for _ in range(N_LAYERS)]
controllers = {
    n: [(draw(D_MODEL, D_MODEL // n), draw(D_MODEL // n, D_FF)) for _ in range(N_LAYERS)]
    for n in NS
}
no_bias = jnp.zeros(D_FF), jnp.zeros(D_MODEL)


def unit_length(x):
    return x / jnp.sqrt((x**2).sum(axis=-1, keepdims=True))


def dense_layer(x, weights):
    w1, w2 = weights
    return w2.reshape(D_MODEL, D_FF) @ jax.nn.relu(w1 @ x)


def sparse_layer_of(n_units, x, weights):
    """x (length, d_model); weights are w1, w2 and the controller's c1, c2."""
    w1, w2, c1, c2 = weights
    blocks = (D_FF // n_units, n_units)
    w1, w2 = w1.reshape(*blocks, D_MODEL), w2.reshape(*blocks, D_MODEL)
    units = sparsity.strongest_units(sparsity.controller_scores(x, c1, c2.reshape(-1, *blocks)))
    return sparsity.gathered_feed_forward(x, units, w1, no_bias[0].reshape(blocks), w2, no_bias[1])


def through_all(layer):
    """The layers one after the other, each behind a norm."""

    @jax.jit
    def run(x, stack):
        for weights in stack:
            x = x + layer(unit_length(x), weights)
        return x

    return run


def seconds_of(contenders, turns):
    """The median time of a layer; contenders (run, *arguments) take turns, the first compiles."""
    took = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, (run, *arguments) in contenders.items():
            start = time.perf_counter()
            run(*arguments).block_until_ready()
            took[name] += [time.perf_counter() - start] if turn else []
    return {name: float(np.median(values)) / N_LAYERS for name, values in took.items()}


def sparse_contender(n_units, x):
    run = through_all(partial(sparse_layer_of, n_units))
    layers = [w + c for w, c in zip(stack, controllers[n_units], strict=True)]
    return run, x, layers


one = draw(D_MODEL)
contenders = {1: (through_all(dense_layer), one, stack)}
contenders |= {n: sparse_contender(n, one[None]) for n in NS}
seconds = seconds_of(contenders, turns=9)
for n, took in seconds.items():
    read = 2**20 * sum(numbers.mib_read(n, D_MODEL, D_FF))
    print(
        f"{'dense' if n == 1 else f'N = {n}':8}{1000 * took:8.3f} ms a layer, "
        f"{read / took / 1e9:5.1f} GB/s, {seconds[1] / took:5.1f} × dense"
    )

# %%
plots.show(
    pictures.draw_cost(64, d_model=D_MODEL, d_ff=D_FF, seconds=seconds),
    "Left: in each block of 64 units one is on. Middle: the bytes that a position reads, 32 MiB in "
    "the dense layer and 0.8 MiB here, of which the controller has more than a third. Right: how "
    "many times fewer bytes are read, a straight line against N, and how many times faster the "
    "layer is; the measured curve lies below the line.",
)

# %% [markdown]
# ▸ The largest; and no, not nearly 39 times. Set $N$ yourself. From where on does a larger one
# hardly pay?

# %%
chosen_n = widgets.SelectionSlider(
    options=[1, *NS], value=16, description="N", continuous_update=False
)
show_cost = partial(pictures.show_cost, d_model=D_MODEL, d_ff=D_FF, seconds=seconds)
display(chosen_n, widgets.interactive_output(show_cost, {"n_units": chosen_n}))

# %% [markdown]
# The time falls with the bytes, but not as far, and with a small $N$ it may not fall at all: look
# at the GB/s. Rows of 4 KiB from all over the memory are fetched more slowly than one long stream.
# And some things do not get smaller: finding the highest scores, starting operations, waiting for
# one to end before the next begins. With little to read they are what is left. The paper has the
# same experience: its model of 800 million parameters takes 0.160 seconds per token when dense, and
# 0.093 with sparse feed-forward layers (Jaszczur et al., Table 1), since all that is not
# feed-forward takes as long as before. Chapters [11](11_sparse_qkv.ipynb) and
# [12](12_terraformer.ipynb) go on there.
#
# ## For one position, or a few
#
# So why not train like this? Because two positions choose different units, and the layer must read
# what *either* of them needs. With even and independent choices a unit is left in peace by $B$
# positions with probability $(1 - 1/N)^B$. **In a batch of 64 positions, with N = 64: what share of
# the units will be needed?**

# %%
TOGETHER = (1, 8, 64, 256)


def needed(n_units, n_positions):
    """The share of units that at least one position needs, if choices were even."""
    return 1 - (1 - 1 / n_units) ** n_positions


def needed_by(chosen, n_positions):
    """The same, counted: chosen (length, n_blocks), by neighbours in the text."""
    groups = chosen[: len(chosen) // n_positions * n_positions]
    groups = groups.reshape(-1, n_positions, chosen.shape[1])
    on = np.zeros((len(groups), chosen.shape[1], N), bool)
    for place in range(n_positions):
        np.put_along_axis(on, groups[:, place, :, None].astype(int), True, axis=-1)
    return on.mean()


assert needed(64, 1) == 1 / 64
assert needed_by(all_units_chosen[1], 1) == 1 / N
many_x = {n: unit_length(draw(n, D_MODEL)) for n in TOGETHER}


def dense_layers(x, weights):
    w1, w2 = weights
    return jax.nn.relu(x @ w1.T) @ w2


contenders = {("dense", n): (through_all(dense_layers), x, stack) for n, x in many_x.items()}
contenders |= {("N = 64", n): sparse_contender(64, x) for n, x in many_x.items()}
together = seconds_of(contenders, turns=3)
plots.show(
    pictures.draw_together(
        {
            "N = 8, even": (TOGETHER, [needed(8, n) for n in TOGETHER]),
            "N = 8, your model": (TOGETHER, [needed_by(all_units_chosen[1], n) for n in TOGETHER]),
            "N = 64, even": (TOGETHER, [needed(64, n) for n in TOGETHER]),
        },
        {
            name: (TOGETHER, [together[name, n] / n for n in TOGETHER])
            for name in ("dense", "N = 64")
        },
    ),
    "Left: the share of units that at least one of some positions needs. With N = 64 it is 63.5 % "
    "for 64 positions, and nearly all for 256; your model's choices overlap more than even ones "
    "would. Right: the time of a layer for each position. That of the dense layer falls steeply, so "
    "that the lines come nearer to each other.",
)
print(f"64 positions, N = 64: {needed(64, 64):.1%} of the units are needed, if choices are even")
assert needed_by(all_units_chosen[1], 8) < needed(N, 8)
for n in TOGETHER:
    ahead = together["dense", n] / together["N = 64", n]
    print(f"{n:4} positions at once: gathering is {ahead:.1f} times faster than the dense layer")

# %% [markdown]
# ▸ 63.5 %, if choices are even and independent. (Those of your model are not, and overlap more.)
#
# The dense layer reads its weights once for all positions, and one position more is only more
# multiplications, which are cheap. That is the bargain of a batch, and gathering gets little of it:
# together its positions read most units anyway, and some of them many times. So the head start
# shrinks as the positions become more. How much is left of it depends on the machine: the faster it
# multiplies compared with how fast it reads, the less. This layer is for where one text is written:
# on your machine, for you. A server that writes for a thousand people at once had better use the
# mask.
#
# ## In a reversible stack
#
# A [reversible layer](03_reversible_layers.ipynb) is computed a second time, from inputs that were
# rebuilt and are off by a rounding. Scores that were nearly tied may then change places. **What is
# worse: the small error in $x$, or the other unit?** We take the inputs of the trained layer and
# disturb them.

# %%
noise = draw(*seen.shape)


def relative_error(ours, theirs):
    return float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs))


def layer_at(x, units):
    return all_units(x, jax.nn.one_hot(units, N), *layer.weights)


right, errors = layer_at(seen, units), {}
print("error of x   choices that change   error of y: chosen anew   replayed")
for size in (1e-6, 1e-4, 1e-2):
    x = seen + size * noise * jnp.linalg.norm(seen) / jnp.linalg.norm(noise)
    anew = strongest(layer.scores(x))
    errors[size] = [relative_error(layer_at(x, u), right) for u in (anew, units)]
    changed = float((anew != units).mean())
    print(f"{size:10.0e}{changed:22.3%}{errors[size][0]:26.1e}{errors[size][1]:11.1e}")
assert errors[1e-2][0] > 2 * errors[1e-2][1]
assert errors[1e-2][1] < 0.05

# %% [markdown]
# ▸ The other unit. In the second line hardly any choice changes, and already $y$ is off more than a
# hundred times as far as with the units kept. A change of unit is no small error, whatever caused
# it. So the layer returns the chosen units, a byte for each block, and in the backward pass they
# are *replayed*; the coin and the noise come from the same key. Then the gradients are those of an
# ordinary stack that stores everything:


# %%
from efftx.models import reversible_residual
from efftx.models.branch import branches

del stack, controllers, contenders


def stored_residual(blocks, x, keys, extra=None):
    """What reversible_residual computes, with every activation stored."""

    def run(branch, x, key, extra, replay=None):
        return branch(x, key)[0], None

    stack = branches(blocks)
    y1, y2 = memory.reversible_stack_reference((run,) * len(stack), stack, x, x, keys)
    return (y1 + y2) / 2


@jax.jit
def gradients_of(model, key):
    return jax.grad(bits_per_byte)(model, corpus.held_out[: WINDOW + 1], key)


for key in jax.random.split(jax.random.key(6), 3):
    rebuilt, stored = (
        gradients_of(replace(sparse, residual=residual), key)
        for residual in (reversible_residual, stored_residual)
    )
    pairs = zip(jax.tree.leaves(rebuilt), jax.tree.leaves(stored), strict=True)
    assert max(relative_error(*pair) for pair in pairs) < 1e-3

_, replay = layer(seen)
print(f"to be kept for a position: {replay[0].nbytes} bytes, where x has {seen[0].nbytes}")
assert replay.dtype == jnp.uint8

# %% [markdown]
# ## Its limits, honestly
#
# ### Training gets no cheaper
#
# It computes all units, and the controller as well. Whoever trains pays for all parameters; whoever
# uses the model reads a few. Ours is trained this way from the beginning. That is not the only way:
# Deja Vu fits small predictors to a model that was trained without any, OPT with 175 billion
# parameters, and reports that it decodes more than twice as fast.
#
# ### Is it as good as a dense model?
#
# The paper's abstract says: the same perplexity as a dense Transformer with as many parameters. In
# detail, $N = 64$ came out slightly better and $N = 128$ slightly worse. Our three models above
# were one seed each. `experiments/sparse_quality.py` trained small ones on Python source from
# several seeds: a dense model, and sparse ones with as many parameters, all on the same batches,
# and evaluated as they are used, with hard masks. *Perplexity* is 2 to the power of the bits, here
# of a byte. Its ratio to the dense model's is 1 if both are on par, and above 1 if the sparse model
# is worse. **What do you expect when N becomes larger?**

# %%
from efftx.results import recorded

quality = recorded("sparse_quality")
machine, config = quality["machine"], quality["config"]
n_seeds, n_bytes = len(quality["seeds"]), quality["corpus"]["bytes_trained_on"]
print(f"measured on: {machine['processor']}, cores: {machine['cores']}, {machine['device']}")
print(f"{n_seeds} seeds, {n_bytes:,} bytes to learn from; means and 95 % intervals")
print(f"{'':9}parameters  units on    bits per byte          perplexity / dense   worse in")
more = {}
for name in ("dense", "sparse_ff_16", "sparse_ff_32", "sparse_ff_64"):
    row = quality["variants"][name]
    kind = "dense" if row["n_units"] == 1 else f"N = {row['n_units']}"
    mean, (low, high) = row["bits_per_byte"]["mean"], row["bits_per_byte"]["interval_95"]
    line = f"{kind:9}{row['n_parameters']:10,}{row['units_on']:5} of {row['d_ff']}"
    line += f"    {mean:.3f} ({low:.3f}, {high:.3f})"
    if row["n_units"] > 1:
        more[row["n_units"]] = np.array(row["more_than_dense"]["by_seed"])
        (low, high), mean = (row["perplexity_ratio"][key] for key in ("interval_95", "mean"))
        line += f"   {mean:.3f} ({low:.3f}, {high:.3f})"
        line += f"   {(more[row['n_units']] > 0).sum()} of {n_seeds}"
    print(line)
assert more[16].mean() < more[32].mean() < more[64].mean()
assert (np.stack(list(more.values())) > 0).all()
ever_on = {
    n: [
        layer["share_of_units_ever_on"]
        for run in quality["runs"]
        if run["variant"] == f"sparse_ff_{n}"
        for layer in run["load_of_each_layer"]
    ]
    for n in more
}
for n, shares in ever_on.items():
    print(f"N = {n}: {min(shares):.0%} to {max(shares):.0%} of a layer's units are ever on")
assert max(ever_on[64]) < 0.85 < 0.9 < min(ever_on[16])

# %% [markdown]
# ▸ It becomes worse. At this size it is **not quite on par**: each sparse model is a little worse
# than the dense one, in every seed, and the larger $N$, the more: by about two per cent of
# perplexity with $N = 16$, four with 32 and five with 64. For 16 and 32 the intervals contain 1, so
# three seeds do not exclude that on average nothing is lost; for $N = 64$ they do. (And it is
# counted by bytes. A token of several bytes would multiply the ratio as often.)
#
# That does not contradict the paper, for it asks about another model. With $N = 64$ four units of
# ours are on, in the paper's medium model it is 64. Ours have seen 0.3 megabytes of text and
# are beginners. And with $N = 64$ a fifth to a half of its units are *never* on in the held-out
# text: so many parameters are wasted, with a bottleneck of 8 and without a loss that asks for an
# even load. Whether size, more training or a wider one would close the gap, we have not measured.
# What one may take from here is the direction: a larger $N$ reads less, and it costs something.
# [Chapter 12](12_terraformer.ipynb) asks the same of a whole Terraformer.
#
# ### Only the feed-forward layer
#
# Make it free, and the rest of the model is what is left: attention's four matrices, and the
# readout with its row for every token. By Amdahl's law that is a third of the weights of a block,
# so no more than a factor of three can be had with this chapter alone. The talk's claim of a
# decoding more than five times faster (28 for a big model) is for models in which the other parts
# are sparse, too.
#
# ## Then and now
#
# > Sparsity won, in another form. A *mixture of experts* has few large blocks where this layer has
# > many small ones, and a controller that picks some of them: of DeepSeek-V3's parameters 5.5 % are
# > active for a token ([arXiv 2412.19437](https://arxiv.org/abs/2412.19437)), of gpt-oss-120b's 4.4
# > % ([arXiv 2508.10925](https://arxiv.org/abs/2508.10925)), of Kimi K2's 3.2 % ([arXiv
# > 2507.20534](https://arxiv.org/abs/2507.20534)). For single units *Deja Vu* (2023) fitted
# > controllers to finished models, and *Sparser, Faster, Lighter* (2026) trains models of whose
# > inner activations over 99 % are zero ([arXiv 2603.23198](https://arxiv.org/abs/2603.23198)).
#
# ## Exercises
#
# [Four parts](../exercises/10_sparse_feed_forward.ipynb): which units are on, the straight-through
# gradient, the layer from its chosen units alone, the load, and an experiment to predict. The
# solutions are [here](../solutions/10_sparse_feed_forward.ipynb).
#
# ## Sources
#
# - S. Jaszczur, A. Chowdhery, A. Mohiuddin, Ł. Kaiser, W. Gajewski, H. Michalewski, J. Kanerva:
#   *Sparse is Enough in Scaling Transformers*, NeurIPS 2021,
#   [arXiv 2111.12763](https://arxiv.org/abs/2111.12763), section 3.1 and Table 1; details of the
#   training (temperature 0.1, the coin) from its code in
#   [trax](https://github.com/google/trax).
# - E. Jang, S. Gu, B. Poole: *Categorical Reparameterization with Gumbel-Softmax*, ICLR 2017,
#   [arXiv 1611.01144](https://arxiv.org/abs/1611.01144).
# - Y. Bengio, N. Léonard, A. Courville: *Estimating or Propagating Gradients Through Stochastic
#   Neurons for Conditional Computation*, 2013, [arXiv 1308.3432](https://arxiv.org/abs/1308.3432):
#   the straight-through estimator.
# - Z. Liu et al.: *Deja Vu: Contextual Sparsity for Efficient LLMs at Inference Time*, ICML 2023,
#   [arXiv 2310.17157](https://arxiv.org/abs/2310.17157).
# - The talk "Efficient Transformers" by Kaiser, Kitaev, Levskaya and colleagues: standard and
#   sparse feed-forward layers, the controller.
