# %% [markdown]
# # 03 · Reversible layers
#
# *Pillar one: memory.* Training a network of 24 layers keeps what went into every one of them, for
# the backward pass. This chapter builds networks that keep nothing: **they run backwards and find
# their activations again**.
#
# After this chapter you can
#
# - undo a reversible block by hand, and a deep stack in a loop;
# - write its backward pass, and prove that its gradients are those of ordinary backpropagation;
# - say what may be rebuilt and what must be replayed;
# - say how far float32 and bfloat16 drift, what the saving costs in time, and when
#   `jax.checkpoint` is the better choice.
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

from efftx import memory, plots
from efftx.numbers import reversible_layers as numbers
from efftx.plots import reversible_layers as pictures

# %% [markdown]
# ## The question
#
# [Where the memory goes](02_where_the_memory_goes.ipynb) counted what a training step holds.
# Weights and their optimiser are one part. The other grows with the length of the text *and* with
# the depth of the network: the **activations**, everything that the backward pass will ask for.
#
# Why does it ask? Take one layer, $y = x + F(x)$. Its gradient is
#
# $$g_x = g_y + J_F(x)^\top g_y,$$
#
# and the Jacobian $J_F(x)$ depends on the point $x$ at which $F$ was computed. By the time the
# gradient comes down, the forward pass is long past this point. So everyone stores it.
#
# But the layers are a chain. The output of one is the input of the next, and the last output is
# there when the backward pass begins. **Could we compute the input of a layer from its output, and
# so walk down without having stored anything?**
#
# For $y = x + F(x)$ that means solving $x = y - F(x)$, with the unknown on both sides. In general
# there is no formula for it. Before you read on: how would you change the layer, so that there is?

# %% [markdown]
# ## Two streams
#
# ▸ We could, if a layer keeps **two** streams (Gomez et al. 2017, the RevNet), and changes one of
# them by something that is computed from *the other alone*:
#
# $$(a, b) \;\to\; (b, c) \quad\text{with}\quad c = a + F(b).$$
#
# After this step $b$ is still there. So $F(b)$ can be computed once more, and taken away:
#
# $$(b, c) \;\to\; (a, b) \quad\text{with}\quad a = c - F(b).$$
#
# That is all. We call it a *coupling*. The two streams are exchanged in every step, so that the
# next coupling changes the one that was left alone. Note what is *not* asked of $F$: it need not be
# invertible. Here it squares.


# %%
def couple(F, a, b):
    return b, a + F(b)


def uncouple(F, b, c):
    return c - F(b), b


# %% tags=["nbval-check-output"]
def square(x):
    return x * x


streams = (1, -3)
print("start ", streams)
for step in (1, 2, 3):
    streams = couple(square, *streams)
    print("step", step, streams)
for step in (3, 2, 1):
    streams = uncouple(square, *streams)
    print("undo", step, streams)

# %% [markdown]
# From 9 nobody can tell whether it was the square of 3 or of −3. Nobody has to.
#
# The Reformer's block is two of these steps, one with attention and one with the feed-forward
# layer:
#
# $$y_1 = x_1 + \text{Attention}(x_2), \qquad y_2 = x_2 + \text{FeedForward}(y_1)$$
#
# and backwards
#
# $$x_2 = y_2 - \text{FeedForward}(y_1), \qquad x_1 = y_1 - \text{Attention}(x_2).$$
#
# Each branch begins with its own layer norm. Both streams are as wide as the Transformer's one, so
# the block has exactly the Transformer's parameters. At the start both streams are the embedded
# text, at the end we take their mean.

# %%
from efftx.plots import architectures

plots.show(
    architectures.draw_reversible_block(),
    "Two diagrams of a block, F its attention and G its feed-forward layer. Forward: F of the second "
    "stream is added to the first, then G of the first to the second. Backward, from right to left: G "
    "of the first stream is taken away from the second, then F of the second from the first.",
)

# %% [markdown]
# ## Eight blocks up, eight blocks down
#
# A model with eight blocks and a piece of text. (Nothing is trained here: going down again is a
# matter of arithmetic, not of learning.)

# %%
from efftx.models import Sizes, n_parameters, pretrained, reversible_residual, transformer

SIZES = Sizes(n_layers=8, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=128)
model = transformer(jax.random.key(0), SIZES, residual=reversible_residual)
tokens = pretrained.example_text()[:96]
x = model.embedding(tokens)  # (length, d_model)

plain = transformer(jax.random.key(0), SIZES)  # the same parameters, strung together as usual
assert n_parameters(model) == n_parameters(plain)


@jax.jit
def block_of(blocks, layer):
    """One block, from the parameters of all."""
    return jax.tree.map(lambda stacked: stacked[layer], blocks)


@jax.jit
def up_one(block, x1, x2):
    y1 = x1 + block.attention(x2)[0]
    y2 = x2 + block.feed_forward(y1)[0]
    return y1, y2


@jax.jit
def down_one(block, y1, y2):
    x2 = y2 - block.feed_forward(y1)[0]
    x1 = y1 - block.attention(x2)[0]
    return x1, x2


def up(blocks, x1, x2):
    """All levels of the network: the input, and what each block leaves."""
    levels = [(x1, x2)]
    for layer in range(SIZES.n_layers):
        levels.append(up_one(block_of(blocks, layer), *levels[-1]))
    return jnp.stack([jnp.stack(level) for level in levels])


def down(blocks, y1, y2):
    """The same levels, from the last one alone."""
    levels = [(y1, y2)]
    for layer in reversed(range(SIZES.n_layers)):
        levels.insert(0, down_one(block_of(blocks, layer), *levels[0]))
    return jnp.stack([jnp.stack(level) for level in levels])


stored = up(model.blocks, x, x)
rebuilt = down(model.blocks, *stored[-1])
error = numbers.errors_by_level(np.asarray(stored), np.asarray(rebuilt))
assert error.max() < 1e-5

# %% [markdown]
# `down` was given two arrays, and found the other sixteen, to five digits at least. What is missing
# are roundings of float32 numbers: what is added and taken away again is rounded twice.
#
# **Predict: will the error stay the same from block to block, grow steadily, or explode?**

# %%
window = (slice(None), slice(None), slice(0, 24), slice(0, 16))
plots.show(
    pictures.draw_inversion(np.asarray(stored)[window], np.asarray(rebuilt)[window]),
    "Top: the first stream at 24 positions, 16 of its 64 dimensions, as the forward pass makes it "
    "from left to right. Middle: the same rebuilt from the last block alone, from right to left; "
    "the eye sees no difference. Bottom: the relative error, 0 at the last block, some 10⁻⁷ "
    "further down, and slowly growing.",
)
print("relative error, from the last level down:", [f"{e:.0e}" for e in error[::-1]])
assert error[-1] == 0
assert error[-2] < error[0] < 30 * error[-2]

# %% [markdown]
# ▸ It grows, but slowly: each block adds a few roundings, and none is blown up. Undo the blocks one
# by one:

# %%
import ipywidgets as widgets

n_undone = widgets.IntSlider(
    value=3, min=0, max=SIZES.n_layers, description="undone", continuous_update=False
)
callback = partial(
    pictures.undo_blocks, stored=np.asarray(stored)[window], rebuilt=np.asarray(rebuilt)[window]
)
display(n_undone, widgets.interactive_output(callback, {"n_undone": n_undone}))

# %% [markdown]
# ## The backward pass
#
# So much for the activations. Now the gradients, one coupling at a time. It leaves $(b, c)$ with
# $c = a + F(b)$, and backpropagation hands us $g_b$ and $g_c$, the gradients of the loss for these
# two. What are the gradients for $a$ and for the $b$ that went in?
#
# - $a$ goes into $c$ and nowhere else, with slope 1: $\;g_a = g_c$.
# - $b$ goes on unchanged, and also through $F$ into $c$: $\;g_b + J_F(b)^\top g_c$.
#
# And the point at which $F$ must be differentiated is $b$. **We have it.** It need not even be
# rebuilt. `jax.vjp(F, b)` gives $F(b)$, which we must subtract anyway, and the function that
# multiplies by $J_F(b)^\top$: one evaluation for both.


# %%
@jax.jit
def backward_coupling(branch, streams, gradients):
    """From what a coupling left, and its gradients, to what went in; and the branch's gradient."""
    (b, c), (g_b, g_c) = streams, gradients
    y, pull_back = jax.vjp(lambda branch, b: branch(b)[0], branch, b)
    g_branch, g_through = pull_back(g_c)
    return (c - y, b), (g_c, g_b + g_through), g_branch


# %% [markdown]
# (A branch of our models holds its parameters, so "the gradient of the branch" is a branch full of
# gradients.) All the way down is a loop:


# %%
from efftx.models.branch import branches


def backward(blocks, streams, gradients):
    """The gradients of the two inputs and of all blocks; no activation was stored."""
    g_blocks = []
    for layer in reversed(range(SIZES.n_layers)):
        g_block = []
        for branch in reversed(branches(block_of(blocks, layer))):
            streams, gradients, g_branch = backward_coupling(branch, streams, gradients)
            g_block.insert(0, g_branch)
        g_blocks.insert(0, tuple(g_block))
    return gradients, jax.tree.map(lambda *layers: jnp.stack(layers), *g_blocks)


# %% [markdown]
# Is that right? JAX can tell. For a loss that is a weighted sum of the results, its gradients are
# the weights; ordinary backpropagation through `up` stores everything and gives the answer to
# compare with.


# %%
def relative_error(ours, theirs):
    """Of all arrays together."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    errors, sizes = zip(*[(jnp.sum((a - b) ** 2), jnp.sum(b**2)) for a, b in pairs], strict=True)
    return float(jnp.sqrt(sum(errors) / sum(sizes)))


weights = jax.random.normal(jax.random.key(1), (2, *x.shape))


def loss(blocks, x1, x2):
    return (weights * up(blocks, x1, x2)[-1]).sum()


by_autodiff = jax.grad(loss, argnums=(1, 2, 0))(model.blocks, x, x)
(g_x1, g_x2), g_blocks = backward(model.blocks, tuple(stored[-1]), tuple(weights))
ours, theirs = (g_x1, g_x2, g_blocks), (*by_autodiff[:2], branches(by_autodiff[2]))
print(f"relative error of all gradients: {relative_error(ours, theirs):.1e}")
assert relative_error(ours, theirs) < 1e-5

# %% [markdown]
# Equal, up to rounding. **Three mistakes that this check would find**, and that the
# [exercise](../exercises/03_reversible_layers.ipynb) will let you make: to differentiate $F$ at the
# rebuilt $a$ in place of $b$; to forget the $g_b$ that comes in directly; to give the gradients the
# minus sign that belongs to rebuilding.
#
# ### Into JAX
#
# `jax.custom_vjp` gives a function its own backward pass: the forward says what is kept, the
# backward gets that and the gradients. Here both go through the depth with `lax.scan`, one block
# after another in the same memory; the loops above would be unrolled, and the compiler then keeps
# pieces of many blocks at once.


# %%
@jax.custom_vjp
def stack(blocks, x1, x2):
    def block(streams, block):
        for branch in branches(block):
            streams = couple(lambda x, branch=branch: branch(x)[0], *streams)
        return streams, None

    return lax.scan(block, (x1, x2), blocks)[0]


def stack_forward(blocks, x1, x2):
    results = stack(blocks, x1, x2)
    return results, (blocks, results)  # kept: the parameters and the two results


def stack_backward(kept, gradients):
    def undo_block(state, block):
        streams, gradients = state
        g_block = []
        for branch in reversed(branches(block)):
            streams, gradients, g_branch = backward_coupling(branch, streams, gradients)
            g_block.insert(0, g_branch)
        return (streams, gradients), type(block)(*g_block)

    blocks, results = kept
    (_, g_streams), g_blocks = lax.scan(undo_block, (results, gradients), blocks, reverse=True)
    return g_blocks, *g_streams


stack.defvjp(stack_forward, stack_backward)


def loss_of(run, blocks, x):
    y1, y2 = run(blocks, x, x)
    return (weights[0] * y1 + weights[1] * y2).sum()


ours = jax.jit(jax.grad(partial(loss_of, stack), argnums=(0, 1)))(model.blocks, x)
assert relative_error(ours, (by_autodiff[2], by_autodiff[0] + by_autodiff[1])) < 1e-5

# %% [markdown]
# The package's version is `efftx.memory.reversible_stack`. Its branches are any functions
# `F(params, x, key, extra, replay=None) -> (y, replay)`; what `key`, `extra` and `replay` are for
# comes below. It computes the same:


# %%
def run_branch(branch, x, key, extra, replay=None):
    return branch(x, key, replay=replay)


def packages_stack(blocks, x1, x2):
    return memory.reversible_stack((run_branch, run_branch), branches(blocks), x1, x2)


theirs = jax.jit(jax.grad(partial(loss_of, packages_stack), argnums=(0, 1)))(model.blocks, x)
assert relative_error(ours, theirs) < 1e-6

# %% [markdown]
# ## Memory against depth
#
# Now the measurement that all this was for. A training step (loss and gradients, no optimiser) of a
# stack with `d_model` 256, 4,096 positions and attention in blocks, at 2 and at 32 blocks. The
# compiler tells how much temporary memory it sets aside beside the parameters and their gradients.
# Three contenders:
#
# - **plain**: the Transformer, every activation stored;
# - **checkpoint**: the same function with `jax.checkpoint` around each block, inside `lax.scan`. It
#   stores one activation for each block, and computes the rest again;
# - **reversible**.
#
# One activation here is 4,096 · 256 · 4 bytes, 4 MiB. **Predict the three curves: by how much does
# each grow from block to block, and what does the reversible one take at 32?**

# %%
my_guess = plots.ask("MiB of 32 reversible blocks")

# %%
from efftx.compiling import planned_bytes
from efftx.models import Blocked, plain_residual


LENGTH = 4096
ACTIVATION = LENGTH * 256 * 4
DEPTHS = (2, 32)


def checkpointed_residual(blocks, x, keys, extra=None):
    """What plain_residual computes, keeping only what goes into each block."""

    @partial(jax.checkpoint, prevent_cse=False)  # as its documentation says for loops
    def step(x, block):
        for branch in branches(block):
            x = x + branch(x)[0]
        return x, None

    return lax.scan(step, x, blocks)[0]


def deep_blocks(n_layers):
    """The shapes of so many blocks; nothing is computed."""
    sizes = Sizes(n_layers, d_model=256, d_ff=1024, n_heads=4, d_head=64)
    make = partial(transformer, sizes=sizes, kind=Blocked())
    return jax.eval_shape(make, jax.random.key(0)).blocks


def temporary_bytes(residual, n_layers):
    def loss(blocks, x):
        return (residual(blocks, x, (None, None)) ** 2).mean()

    x = jax.ShapeDtypeStruct((LENGTH, 256), jnp.float32)
    step = jax.value_and_grad(loss, argnums=(0, 1))
    return planned_bytes(step, deep_blocks(n_layers), x)


WAYS = {
    "plain": plain_residual,
    "checkpoint": checkpointed_residual,
    "reversible": reversible_residual,
}
n_bytes = {
    name: np.array([temporary_bytes(residual, n) for n in DEPTHS])
    for name, residual in WAYS.items()
}
my_guess.show(
    pictures.draw_memory(DEPTHS, n_bytes),
    "Temporary memory of a training step with 2 and with 32 blocks. Plain grows steeply, checkpoint "
    "by one activation for each block, reversible not at all.",
)
for name, values in n_bytes.items():
    growth = (values[-1] - values[0]) / 30 / ACTIVATION
    print(f"{name:10} {(values / 2**20).round()} MiB; {growth:5.2f} activations for each block")
growth = {name: (v[-1] - v[0]) / 30 / ACTIVATION for name, v in n_bytes.items()}
assert growth["plain"] > 10
assert 0.9 < growth["checkpoint"] < 1.1
assert growth["reversible"] < 0.02
assert n_bytes["reversible"][-1] < n_bytes["checkpoint"][-1] < n_bytes["plain"][-1] / 5

# %% [markdown]
# ▸ Plain grows by 17 activations for each block, checkpoint by one, and reversible by none: it
# takes 106 MiB at 2 blocks and at 32. That is what *one* block needs while it computes: its
# attention and its `d_ff` activations. [Chunking](04_chunking.ipynb) goes on there.
#
# ### The honest rival
#
# Look at the middle curve, though. `jax.checkpoint` inside a scan is one line of code, changes
# nothing in the network, loses no digits, and has taken most of the memory away already: with it,
# 32 blocks cost 32 activations, which for many models is little. Both ways compute every branch a
# second time, so both should take about a third more time than plain. What they take here:

# %%
import time


time_sizes = Sizes(n_layers=4, d_model=128, d_ff=512, n_heads=4, d_head=32)
time_x = jax.random.normal(jax.random.key(2), (512, 128))
time_blocks = transformer(jax.random.key(0), time_sizes, kind=Blocked()).blocks


def timed_step(residual):
    def loss(blocks, x):
        return (residual(blocks, x, (None, None)) ** 2).mean()

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


steps = {name: timed_step(residual) for name, residual in WAYS.items()}
seconds = {name: [] for name in steps}
for trial in range(3):  # they take turns; the first turn compiles
    for name, step in steps.items():
        start = time.perf_counter()
        jax.block_until_ready(step(time_blocks, time_x))
        seconds[name] += [time.perf_counter() - start] if trial else []
for name, values in seconds.items():
    print(f"{name:10} {np.median(values) / np.median(seconds['plain']):.2f} × plain")
# And what checkpoints of 24 blocks take at a million positions, 1,024 floats each:
assert 24 * 2**20 * 1024 * 4 == 96 * 2**30

# %% [markdown]
# By the count of multiplications it is a third. By the clock it may be less, or nothing: plain pays
# as well, since whatever it stores has to be written, and read again.
#
# So when is which the better choice?
#
# - **`jax.checkpoint`** where the network exists already (a pretrained Transformer is no reversible
#   network and cannot be run as one), where one activation for each block fits, or where you train
#   in bfloat16 throughout.
# - **Reversible** where depth × length is the problem: at a million positions and `d_model` 1,024
#   one activation is 4 GiB, so that the checkpoints of 24 blocks are 96 GiB.
# - One can also checkpoint only every $\sqrt n$-th block, for $O(\sqrt n)$ memory. It is between
#   the two.

# %% [markdown]
# ## What must be replayed
#
# Walking down, a branch is computed a second time. It must be the *same* function as the first
# time. For arithmetic that goes without saying. For three other things it does not.
#
# **Random numbers.** Dropout draws which units to drop. Draw them anew on the way down, and
# something else is subtracted than was added. (This was a bug in several libraries, whose generator
# had moved on.) In JAX a key is passed, so we pass the same one again. **How wrong are the
# gradients if we do not?**


# %%
def dropout_branch(w, x, key, extra, replay=None):
    kept = jax.random.bernoulli(key, 0.9, x.shape)
    return jnp.where(kept, jnp.tanh(x @ w) / 0.9, 0), None


def gradients_with(keys_down):
    """Of the weights, rebuilt with these keys on the way down."""
    (y1, y2), _ = memory.reversible_forward((dropout_branch,), (w,), x, x, (keys,))
    streams, gradients, found = (y1, y2), (weights[0], weights[1]), []
    for layer in reversed(range(len(w))):
        branch = partial(dropout_branch, key=keys_down[layer], extra=None)
        y, pull_back = jax.vjp(lambda w, x, branch=branch: branch(w, x)[0], w[layer], streams[0])
        g_w, g_through = pull_back(gradients[1])
        streams = streams[1] - y, streams[0]
        gradients = gradients[1], gradients[0] + g_through
        found.insert(0, g_w)
    return jnp.stack(found)


w = jax.random.normal(jax.random.key(3), (6, 64, 64)) / 8
keys = jax.random.split(jax.random.key(4), 6)


def loss_with_dropout(w):
    ys = memory.reversible_stack_reference((dropout_branch,), (w,), x, x, (keys,))
    return (weights * jnp.stack(ys)).sum()


right = jax.grad(loss_with_dropout)(w)
same, anew = (
    relative_error(gradients_with(k), right) for k in (keys, jax.random.split(jax.random.key(5), 6))
)
print(f"the same keys: {same:.0e}      keys drawn anew: {anew:.0%}")
assert same < 1e-5
assert anew > 0.1

# %% [markdown]
# ▸ After six layers they are wrong by 81% of their size.
#
# **Choices.** LSH attention puts each vector into a bucket, by an argmax
# ([Hashing](07_hashing.ipynb)). A rebuilt vector differs in its last bit, and if two buckets were
# nearly tied, the argmax may turn round. So choices are not made again: the forward hands them
# over, a small integer each, and the backward *replays* them. That is the `replay` of a branch.
# These integers are kept for every layer, but a byte or two for each position is little beside
# `d_model` floats.
#
# **What all layers share.** A decoder's layers all look at the encoder's output, here called
# `extra`. It is not rebuilt, it is simply kept, once. But its gradient comes from *every* layer,
# and has to be added up on the way down. With $n$ layers that each add `extra` to a stream, it is
# $n$:


# %%
def add_extra(w, x, key, extra, replay=None):
    return w * extra * jnp.ones_like(x), None


def first_entries(extra):
    y1, y2 = memory.reversible_stack((add_extra,), (jnp.ones(6),), x, x, None, extra)
    return y1[0, 0] + y2[0, 0]


assert jax.grad(first_entries)(jnp.float32(1)) == 6

# %% [markdown]
# ## Drift
#
# "Exactly invertible" is true of real numbers, and computers have none. Adding and taking away
# rounds, and on the way down these roundings add up. How fast depends on the dtype: float32 has 24
# bits for the digits of a number, float16 has 11, bfloat16 has 8.
#
# **Predict: how many digits are left after 32 blocks in bfloat16? And what if only the
# branches are in bfloat16, and the two streams stay in float32?**

# %%
N_UNDONE = np.array([1, 2, 4, 8, 16, 32])
DTYPES = {
    "bfloat16": (jnp.bfloat16, jnp.bfloat16),
    "float16": (jnp.float16, jnp.float16),
    "bfloat16, streams float32": (jnp.bfloat16, jnp.float32),
    "float32": (jnp.float32, jnp.float32),
}


@jax.jit
def normed_layer(w, x):
    """A feed-forward layer behind its norm, in the dtype of its weights."""
    w_in, w_out = w
    x = x.astype(w_in.dtype)
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return jax.nn.relu(scaled @ w_in) @ w_out


def random_layer(key, dtype):
    keys = jax.random.split(key)
    w_in = jax.random.normal(keys[0], (64, 256)) * 0.7 / 8
    w_out = jax.random.normal(keys[1], (256, 64)) * 0.7 / 16
    return w_in.astype(dtype), w_out.astype(dtype)


def drift(dtype, stream_dtype):
    """Up 32 blocks, which are 64 couplings, and down again: the error after each block undone."""
    layers = [random_layer(key, dtype) for key in jax.random.split(jax.random.key(6), 64)]
    start = jax.random.normal(jax.random.key(7), (64, 64)).astype(stream_dtype)
    levels = [(start, start)]
    for w in layers:
        a, b = levels[-1]
        levels.append((b, a + normed_layer(w, b).astype(stream_dtype)))
    streams, errors = levels.pop(), []
    for w in reversed(layers):
        b, c = streams
        streams = c - normed_layer(w, b).astype(stream_dtype), b
        ours, theirs = (jnp.float32(jnp.stack(pair)) for pair in (streams, levels.pop()))
        errors.append(relative_error(ours, theirs))
    return np.array(errors)[2 * N_UNDONE - 1]


N_BITS = {jnp.float32: 24, jnp.float16: 11, jnp.bfloat16: 8}
assert all(jnp.finfo(dtype).nmant + 1 == bits for dtype, bits in N_BITS.items())
drifts = {name: drift(*dtypes) for name, dtypes in DTYPES.items()}
plots.show(
    pictures.draw_drift(N_UNDONE, drifts),
    "Relative error of the rebuilt streams against the number of blocks undone, both axes "
    "logarithmic. float32, float16 and bfloat16 rise evenly, float32 to about 10⁻⁶, bfloat16 to "
    "some 10⁻². bfloat16 with streams in float32 begins as low as float32 and then jumps up.",
)
for name, errors in drifts.items():
    print(f"{name:26} {errors[-1]:.0e} after 32 blocks")
assert drifts["float32"][-1] < 1e-5
assert drifts["bfloat16"][-1] > 1000 * drifts["float32"][-1]
mixed = drifts["bfloat16, streams float32"]
assert mixed[0] < 1e-6
assert mixed[-1] < drifts["bfloat16"][-1] / 5

# %% [markdown]
# ▸ In bfloat16 little more than one digit is left, and the gradients are taken at points that the
# forward pass never saw. With the streams in float32 it is about three. In float32 throughout, the
# stack loses one or two of its seven digits and keeps plenty.
#
# The third line is the curious one. With the streams in float32, additions are as good as in
# float32. The branches round what they see to bfloat16, and as long as the rebuilt stream rounds to
# *the same* bfloat16 numbers, they give exactly what they gave before. But in a deep network with
# many numbers one of them, some day, lies so near the border between two bfloat16 numbers that a
# tiny error takes it across. From there on the branch sees another input, and the error spreads to
# all that comes below. It is the argmax of the bucket once more: rounding is a choice, too.
#
# So `efftx` keeps the streams in float32, whatever dtype the model has, and we say *exact* only
# with the dtype beside it.

# %% [markdown]
# ## Does it learn as well?
#
# The reversible network is *another function* of the same parameters. Whether it learns as well is
# an experiment, not a theorem. The talk shows BLEU on English-German translation, and finds the
# reversible Transformer on par with the baseline. The figures behind it, from the Reformer paper's
# Table 4 (newstest2014):
#
# | | BLEU |
# |---|---|
# | Transformer base (Vaswani et al.) | 27.3 |
# | reversible, base, 100,000 steps | 27.6 |
# | reversible, base, 500,000 steps | 28.0 |
# | Transformer big (Vaswani et al.) | 28.4 |
# | reversible, big | 29.1 |
#
# The rows come from different papers and different numbers of steps, so "on par" is as much as they
# say. We cannot repeat that on two cores. We can ask the same question of a small task:
# numbers in words, from English into German (chapter
# [01](01_from_rnns_to_transformers.ipynb) presents it). `experiments/reversible_bleu.py` trained
# both kinds of encoder-decoder from five seeds, with the same batches in the same order.

# %%
from efftx.results import recorded

results = recorded("reversible_bleu")
compared = results["reversible_less_plain"]
low, high = compared["interval_95"]
plots.show(
    pictures.draw_bleu(*compared["bleu"].values(), (low, high)),
    "Left: BLEU on held-out numbers for five seeds, plain and reversible side by side. Right: the "
    "five differences, and their mean with its 95 % interval.",
)
print(f"{results['config']['n_steps']} steps, {results['runs'][0]['n_parameters']:,} parameters")
print(
    f"reversible less plain: {compared['mean']:+.2f} BLEU, 95 % interval {low:+.2f} … {high:+.2f}"
)

# %% [markdown]
# On average the reversible model is a little behind, but the interval contains 0: five seeds of
# this task show no difference, and would not show one of a BLEU point or two either. The seeds
# among themselves differ by more. "On par" is a fair summary of that, and no proof.
#
# A reversible one, live, for a glance: a smaller model, the same task, fewer steps, one seed.

# %%
from efftx.models import encoder_decoder
from efftx.training.loop import train
from efftx.training.number_words import number_words
from efftx.training.optimisers import adamw
from efftx.training.translation import as_arrays, random_pairs, translation_loss

N_STEPS = 200
task = number_words(n_train=results["config"]["n_train"], n_held_out=100)
sources, targets = as_arrays(task.vocabulary, task.train)
small = Sizes(
    n_layers=2,
    d_model=64,
    d_ff=256,
    n_heads=4,
    d_head=16,
    max_len=32,
    vocab=len(task.vocabulary),
)
live = train(
    encoder_decoder(jax.random.key(0), small, residual=reversible_residual),
    loss=translation_loss,
    batch_at=lambda step: random_pairs(sources, targets, seed=0, step=step, batch=16),
    optimiser=adamw(N_STEPS, peak=3e-3),
    n_steps=N_STEPS,
)

# %%
from efftx.training.translation import bleu, translate

english, german = zip(*task.held_out, strict=True)
losses = np.asarray(live.losses)
said = translate(live.model, task.vocabulary, english, max_len=targets.shape[1])
print(
    f"loss {losses[:10].mean():.2f} → {losses[-10:].mean():.2f}, BLEU "
    f"{bleu(said, german, task.vocabulary):.0f} on numbers that it never saw. The first:"
)
print(f"{english[0]}\n→ {said[0]}\n  {german[0]}  would be right")
assert losses[-10:].mean() < losses[:10].mean() / 2

# %% [markdown]
# ## Its limits, honestly
#
# - **Time.** Every branch is computed once more. If a backward pass costs twice a forward, a step
#   has (1 + 1 + 2) / (1 + 2) times the arithmetic, a third more.
# - **Only depth.** The memory no longer grows with the number of blocks. It still grows with the
#   length, and one block, the embedding and the readout still need all they need.
# - **Parameters and optimiser stay.** For a large model with short texts they are most of the
#   memory, and reversible layers save nothing that matters.
# - **Another network.** It has to be trained as one. A pretrained Transformer cannot be switched
#   over.
# - **Everything must run the same twice.** Batch norm's running means, a global random generator, a
#   counter: whatever changes between forward and backward breaks it. Several libraries learned that
#   from bug reports.
# - **A batch under `jax.vmap`** costs more than it should: a `custom_vjp` knows one example, so
#   each example's gradients of the parameters exist side by side before they are added up. With few
#   long texts, the case for which all this is made, it does not matter. With many short ones it
#   does, and `jax.checkpoint` is better:


# %%
def step_for_batch(residual, batch, length):
    def loss(blocks, xs):
        ys = jax.vmap(lambda x: residual(blocks, x, (None, None)))(xs)
        return (ys**2).mean()

    xs = jax.ShapeDtypeStruct((batch, length, 256), jnp.float32)
    return planned_bytes(jax.grad(loss, argnums=(0, 1)), deep_blocks(6), xs)


many_short = {name: step_for_batch(residual, 32, 64) for name, residual in WAYS.items()}
print({name: f"{n / 2**20:.0f} MiB" for name, n in many_short.items()})
assert many_short["reversible"] > many_short["checkpoint"]

# %% [markdown]
# ## Then and now
#
# > As of November 2026 we know of no large language model in daily use that is trained reversibly;
# > `jax.checkpoint` and its like are what most people take. Research went on. *BDIA* (ICML 2025)
# > makes the inverse exact to the bit ([arXiv 2407.09093](https://arxiv.org/abs/2407.09093)).
# > *MEFT* turns pretrained models into reversible ones by adapters, and reports 84 % less memory
# > for activations ([arXiv 2306.00477](https://arxiv.org/abs/2306.00477)); *Reversing Large
# > Language Models* converts pretrained models whole
# > ([arXiv 2512.02056](https://arxiv.org/abs/2512.02056)).
#
# ## Exercises
#
# [Five parts](../exercises/03_reversible_layers.ipynb): undo a block, undo a stack with dropout,
# take one coupling's gradients, all of them, and hand them to JAX; then an experiment to predict.
# The solutions are [here](../solutions/03_reversible_layers.ipynb).
#
# ## Sources
#
# - A. N. Gomez, M. Ren, R. Urtasun, R. B. Grosse: *The Reversible Residual Network: Backpropagation
#   Without Storing Activations*, NIPS 2017, [arXiv 1707.04585](https://arxiv.org/abs/1707.04585).
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), section 3 and Table 4.
# - S. Jaszczur et al.: *Sparse is Enough in Scaling Transformers*, NeurIPS 2021,
#   [arXiv 2111.12763](https://arxiv.org/abs/2111.12763): the Terraformer, which takes the mean of
#   the two streams.
# - A. Vaswani et al.: *Attention Is All You Need*, NIPS 2017,
#   [arXiv 1706.03762](https://arxiv.org/abs/1706.03762), Table 2.
# - The talk "Efficient Transformers": reversible layers, and BLEU on WMT English-German.
