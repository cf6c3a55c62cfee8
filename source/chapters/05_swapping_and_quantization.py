# %% [markdown]
# # 05 · Swapping and quantization
#
# *Pillar one: memory.* Reversible layers and chunks save activations. The model itself is still
# there: its parameters and what the optimiser keeps about them. This chapter makes that smaller in
# two ways: write it in **fewer bits**, or keep it in **another memory** and fetch it when it is
# needed.
#
# After this chapter you can
#
# - write a matrix in eight bits, say how far off it will be, and choose what shares a scale;
# - explain why small steps vanish when they are rounded, and how a coin mends that;
# - train with an Adam that keeps a quarter of its usual state, and say what makes it explode;
# - put layers into the host's memory, see that they are there, and compute when that pays.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx import memory, plots
from efftx.plots import swapping_and_quantization as pictures

# %% [markdown]
# ## The question
#
# What does a training step hold *whatever the batch*? For each parameter there is its value, its
# gradient, and two running means that Adam keeps. In float32 that is four numbers of four bytes.

# %% tags=["nbval-check-output"]
from efftx.memory.ledger import Step, entries, n_parameters

step = Step(
    n_layers=24, d_model=1024, d_ff=4096, n_heads=16, d_head=64, vocab=32_000,
    length=1024, batch=4, attention="blocked",
)  # fmt: skip
n = n_parameters(step)
print(f"{n:,} parameters")
for name in ("parameters", "gradients", "optimiser state"):
    print(f"{name:16}{entries(step)[name] // 2**20:6} MiB, {entries(step)[name] // n} bytes each")

# %% [markdown]
# Half of it is the optimiser's. **Must these numbers be in float32?** And must they be *here*? We
# ask the first question first.
#
# ## Eight bits, by hand
#
# An int8 holds a whole number from −128 to 127. To write a row of weights with it we need a scale.
# Take the largest magnitude of the row, its *absmax*, and let it be 127:
#
# $$q_i = \operatorname{round}\!\left(127 \cdot \frac{x_i}{\text{absmax}}\right), \qquad
# \hat x_i = \frac{q_i}{127} \cdot \text{absmax}.$$
#
# We keep the codes $q$, one byte each, and one absmax for the whole row. Take the row
# 0.5, −2, 1, 0. **Which four codes will it have?**

# %% tags=["nbval-check-output"]
row = jnp.array([0.5, -2.0, 1.0, 0.0])
absmax = jnp.abs(row).max()
codes = jnp.round(127 * row / absmax).astype(jnp.int8)
print(codes)
assert 127 / 4 == 31.75
assert round(32 / 127 * 2, 3) == 0.504

# %% [markdown]
# ▸ 32, −127, 64 and 0. For 0.5 is a quarter of 2, and a quarter of 127 is 31.75: the code is 32,
# which comes back as 0.504. The largest, −2, and the zero come back exactly. The next row could
# have another absmax, so for a matrix:


# %%
from efftx.memory import dequantize, quantize


def quantize_rows(x):
    """(rows, columns) -> int8 codes (rows, columns), absmax (rows, 1)."""
    absmax = jnp.abs(x).max(axis=1, keepdims=True)
    scaled = jnp.where(absmax == 0, 0, x / absmax)  # a row of zeros has nothing to divide by
    return jnp.round(127 * scaled).astype(jnp.int8), absmax


def restore(codes, absmax):
    return codes / 127 * absmax


matrix = jax.random.normal(jax.random.key(0), (64, 200))
codes, absmax = quantize_rows(matrix)
packed = quantize(matrix)  # the package's
assert (codes == packed.values).all()
assert jnp.allclose(restore(codes, absmax), dequantize(packed), rtol=1e-6)
print(f"{matrix.nbytes:,} bytes before, {packed.nbytes:,} after")
assert packed.nbytes == matrix.size + 4 * len(matrix)

# %% [markdown]
# How wrong can one number be? Neighbouring codes stand for numbers that are absmax/127 apart, and
# rounding to the nearer one errs by at most half of that:
#
# $$|\hat x_i - x_i| \le \frac{\text{absmax}}{254}.$$

# %%
error = jnp.abs(dequantize(packed) - matrix)
assert (error <= packed.absmax / 254 * 1.0001).all()
print(f"largest error {float((error / packed.absmax).max()):.5f} of absmax; 1/254 = {1 / 254:.5f}")

# %% [markdown]
# ## Who shares a scale?
#
# The bound says that a group of numbers is as precise as its **largest** member allows. Suppose
# that one weight of the matrix is 50 times larger than the others. **Whom does it hurt if the whole
# matrix has one absmax? Whom, if each row has its own?**

# %% tags=["nbval-check-output"]
spoiled = matrix.at[3, 5].set(200.0)
assert 50 * jnp.abs(matrix).max() < 200


def rows_hurt(quantized):
    """Rows with an error that the unspoiled matrix has nowhere."""
    row_error = jnp.abs(dequantize(quantized) - spoiled).max(axis=1)
    return int((row_error > error.max()).sum())


print("rows hurt, of 64")
print("one absmax for all:     ", rows_hurt(quantize(spoiled, axis=None)))
print("one absmax for each row:", rows_hurt(quantize(spoiled)))

# %% [markdown]
# ▸ One absmax for all hurts every row; with an absmax for each row, only its own is hurt. The fewer
# numbers share a scale, the fewer an outlier can spoil, and the more scales have to be kept.
# **Blocks** cut the flattened array into equal pieces, whatever its shape. Here are the
# ways side by side, on matrices of a small language model that was trained on Python source.

# %%
from efftx.memory import quantize_blockwise
from efftx.models import pretrained

model = jax.tree.map(lambda x: jnp.float32(x), pretrained.small_text_model("plain"))
layer = jax.tree.map(lambda x: x[0], model.blocks)
matrices = {
    "W1": layer.feed_forward.layer.w1,
    "W2": layer.feed_forward.layer.w2,
    "embedding": model.embedding.tokens,
    "readout": model.readout.w,
}
groupings = {
    "all": partial(quantize, axis=None),
    "a row": quantize,
    "a column": partial(quantize, axis=0),
    "64 numbers": partial(quantize_blockwise, block_len=64),
}


@jax.jit
def relative_errors(x):
    errors = {name: dequantize(method(x)) - x for name, method in groupings.items()}
    return {name: jnp.linalg.norm(e) / jnp.linalg.norm(x) for name, e in errors.items()}


errors = {name: jax.device_get(relative_errors(x)) for name, x in matrices.items()}
plots.show(
    pictures.draw_error_bars(errors),
    "The error that eight bits make, by what shares one absmax. All numbers of a matrix together "
    "are worst everywhere, blocks of 64 best. Whether rows or columns are better depends on the "
    "matrix.",
)
assert all(e["64 numbers"] < min(e["a row"], e["a column"]) < e["all"] for e in errors.values())

# %% [markdown]
# About one per cent or less, everywhere. Does the model notice? We put every array of it through
# eight bits, and through fewer, and let all versions predict the same text: 256 bytes, a length at
# which this model is at home. **At how many bits will it begin to hurt, and whom do blocks help?**


# %%
from efftx.training.losses import bits_per_byte


def in_bits(x, bits, block_len):
    """x, through whole numbers of so many bits with an absmax for each block_len of them."""
    blocks = jnp.pad(x.ravel(), (0, -x.size % block_len)).reshape(-1, block_len)
    absmax = jnp.maximum(jnp.abs(blocks).max(axis=1, keepdims=True), 1e-30)
    largest = 2 ** (bits - 1) - 1
    restored = jnp.round(largest * blocks / absmax) / largest * absmax
    return restored.ravel()[: x.size].reshape(x.shape)


w1 = matrices["W1"]
assert jnp.allclose(in_bits(w1, 8, 64), dequantize(quantize_blockwise(w1, block_len=64)), atol=1e-6)


@partial(jax.jit, static_argnames=("bits", "block_len"))
def through(model, bits, block_len):
    return jax.tree.map(lambda x: in_bits(x, bits, block_len or x.size), model)


window = pretrained.example_text()[:257]
loss = jax.jit(bits_per_byte)
exact = float(loss(model, window))
hurt = {
    (bits, block_len): float(loss(through(model, bits, block_len), window)) - exact
    for bits in (8, 4, 3)
    for block_len in (None, 64)
}
print(f"float32: {exact:.2f} bits per byte. More than that, in")
for bits in (8, 4, 3):
    print(f"  {bits} bits: one absmax {hurt[bits, None]:.2f}, blocks of 64 {hurt[bits, 64]:.2f}")
assert abs(hurt[8, None]) < 0.02
assert abs(hurt[8, 64]) < 0.02
assert hurt[4, None] > 2 * hurt[4, 64] > 0.1
assert hurt[3, 64] > 3 * hurt[4, 64]

# %% [markdown]
# ▸ At four, of those tried here, and there blocks spare the model most of the damage. Eight bits it
# does not notice, with or without blocks; three are too few for either. (The four-bit format that
# we meet below does not place its codes at equal distances, as ours are.)
#
# Choose bits and blocks, and look at two things: how often each code is used, and whether the same
# number of bits could have been spent better. **Is a block of 16 a good idea?**

# %%
numbers = np.asarray(matrices["W1"])
plots.show(
    pictures.draw_codes(numbers, bits=4, block_len=64),
    "Four bits, blocks of 64. Left: how often each of the 15 codes is used, most often 0 and least "
    "often the two ends. Right: the relative error against all bits that are kept, absmax "
    "included, for five block lengths; blocks of 16 lie far to the right of the others.",
)

# %%
import ipywidgets as widgets

bits = widgets.SelectionSlider(
    value=4, options=pictures.BITS, description="bits", continuous_update=False
)
block_len = widgets.SelectionSlider(
    value=64, options=pictures.BLOCK_LENS, description="block_len", continuous_update=False
)
callback = partial(pictures.explore_codes, numbers=numbers)
display(
    widgets.HBox([bits, block_len]),
    widgets.interactive_output(callback, {"bits": bits, "block_len": block_len}),
)

# %% [markdown]
# ▸ Not here. It spends two bits per number on its absmax, which is a float32, and each bit less for
# the codes doubles the error: one more bit for each code would have bought more. That is a verdict
# on *our* absmax, and not on small blocks. Keep the absmax itself in eight bits, and a block of 16
# costs half a bit per number: NVIDIA's four-bit format NVFP4 does so.
#
# ## Small steps
#
# So a trained model can be kept in eight bits. Can it be *trained* in them? A weight of 0.5, whose
# row has an absmax of 1, moves by a tenth of a code at each step, 200 times: by 20 codes in all.
# After each step it is rounded. **Where does it end?**

# %%
STEP, N_STEPS = 0.1 / 127, 200


def walk(keys):
    """The weight in codes after each step; with keys, one for each, it is rounded at random."""

    def move(weight, key):
        moved = jnp.array([[1.0, weight + STEP]])  # a row of two: absmax stays 1
        weight = dequantize(quantize(moved, key=key))[0, 1]
        return weight, 127 * weight

    return jax.lax.scan(move, jnp.float32(0.5), keys, length=N_STEPS)[1]


nearest = np.asarray(walk(None))
print(f"it starts at {127 * 0.5}, and ends at {nearest[-1]:.1f}")
assert nearest[-1] == 64

# %% [markdown]
# ▸ At 64, next to where it began. Every step is smaller than half a code, and every time it is
# rounded away.
#
# The remedy is to round **up or down at random**, up with a probability that equals the fractional
# part. 64.1 becomes 65 once in ten times. Then the *mean* of what is kept is right, and after ten
# steps of a tenth one code has been climbed, on average.


# %%
def round_stochastically(x, key):
    below = jnp.floor(x)
    return below + (jax.random.uniform(key, x.shape) < x - below)


x = jnp.array([64.1, -3.7, 0.5, 127.0])
keys = jax.random.split(jax.random.key(0), 20_000)
rounded = jax.vmap(lambda key: round_stochastically(x, key))(keys)
print("mean of 20,000:", rounded.mean(0))
assert jnp.allclose(rounded.mean(0), x, atol=0.02)
assert (rounded[:, 3] == 127).all()  # whole numbers stay
assert (rounded[0] == memory.round_stochastically(x, keys[0])).all()

walk_keys = jax.vmap(lambda key: jax.random.split(key, N_STEPS))(keys[:100])
stochastic = np.asarray(jax.vmap(walk)(walk_keys))
expected = 127 * 0.5 + 0.1 * np.arange(1, N_STEPS + 1)
plots.show(
    pictures.draw_walks(expected, nearest, stochastic),
    "A weight that moves by a tenth of a code 200 times. Rounded to the nearest code it stays at "
    "64. Rounded at random single walks climb unevenly; their mean follows the float32 line.",
)
assert abs(stochastic[:, -1].mean() - expected[-1]) < 2

# %% [markdown]
# The price is noise: a single walk is off by some codes in the end, as √steps. That is a reason to
# keep the *weights* in more bits, and to spend the eight elsewhere.
#
# ## Adam in eight bits
#
# Half of a training step's fixed memory belongs to Adam. It keeps for each parameter two running
# means, of the gradient and of its square:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2,
# \qquad w \leftarrow w - \eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon}.$$
#
# They are means, so they are blurred anyway. Dettmers et al. kept both in eight bits, block by
# block. The update itself is made in float32: restore $m$ and $v$, do one step, quantize them for
# the next.
#
# Here is Adam with the place left open in which the moments are kept.


# %%
import optax


def adam_that_keeps(keep_m, restore_m, keep_v, restore_v, b1=0.9, b2=0.999, eps=1e-8):
    """optax.scale_by_adam whose moments go through keep and restore between steps."""

    def init(params):
        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape), params)
        return jnp.int32(0), jax.tree.map(keep_m, zeros), jax.tree.map(keep_v, zeros)

    def one(g, m, v, count):
        m = b1 * restore_m(m) + (1 - b1) * g
        v = b2 * restore_v(v) + (1 - b2) * g**2
        step = m / (1 - b1**count) / (jnp.sqrt(v / (1 - b2**count)) + eps)
        return step, keep_m(m), keep_v(v)

    def update(gradient, state, params=None):
        count, ms, vs = state
        leaves, structure = jax.tree.flatten(gradient)
        kept = zip(leaves, structure.flatten_up_to(ms), structure.flatten_up_to(vs), strict=True)
        results = [one(*leaf, count + 1) for leaf in kept]
        steps, ms, vs = map(structure.unflatten, zip(*results, strict=True))
        return steps, (count + 1, ms, vs)

    return optax.GradientTransformation(jax.jit(init), update)


def nothing(x):
    return x


adam = adam_that_keeps(nothing, nothing, nothing, nothing)

# %% [markdown]
# A first attempt: both moments in blocks of 256. And a small text model to train, byte by byte, on
# the documentation of Python.

# %%
from tqdm.auto import trange

from efftx.models import Sizes, transformer
from efftx.training.batches import random_windows
from efftx.training.corpora import python_documentation
from efftx.training.loop import initial_state, train_step

even = partial(quantize_blockwise, block_len=256)
adam_even = adam_that_keeps(even, dequantize, even, dequantize)

SIZES = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=2, d_head=32, max_len=64)
text = python_documentation().train
small_model = transformer(jax.random.key(0), SIZES)


def train(scale_by, n_steps, name):
    """The state after n_steps, and the loss at each of them; the same batches for all."""
    optimiser = optax.chain(scale_by, optax.scale_by_learning_rate(3e-3))
    state = initial_state(small_model, optimiser, n_steps)
    for step in trange(n_steps, desc=name):
        batch = random_windows(text, seed=0, step=step, length=64, batch=8)
        key = jax.random.key(0)  # for a model that draws nothing
        state, _ = train_step(state, batch, key, loss=bits_per_byte, optimiser=optimiser)
    return state, np.asarray(state.losses)


N_TRAIN = 150
state, losses_float32 = train(adam, N_TRAIN, "float32")
_, losses_even = train(adam_even, N_TRAIN, "even codes")
print(f"loss at the end: float32 {losses_float32[-20:].mean():.2f} bits per byte, ", end="")
print(f"even codes {losses_even[-20:].mean():.2f}")
assert not losses_even[-20:].mean() < 2 * losses_float32[-20:].mean()  # nan would do, too

# %% [markdown]
# It explodes. **What does the rounding destroy?** Look at the float32 run: at $\sqrt v$, by which
# Adam divides, as a part of the largest $\sqrt v$ in its block.

# %%
_, _, v = state.optimiser_state[0]


def parts_of_the_largest(v, block_len=256):
    flat = np.sqrt(np.asarray(v)).ravel()
    blocks = np.pad(flat, (0, -flat.size % block_len)).reshape(-1, block_len)
    largest = np.maximum(blocks.max(axis=1, keepdims=True), 1e-30)
    return (blocks / largest).ravel()[: flat.size]


divisors = np.concatenate([parts_of_the_largest(leaf) for leaf in jax.tree.leaves(v)])
divisors = divisors[divisors > 0]  # the others never had a gradient
HALF_A_CODE = 1 / 254
smallest = {
    "v in even codes": HALF_A_CODE**0.5,
    "√v in even codes": HALF_A_CODE,
    "⁴√v in even codes": HALF_A_CODE**2,
}
plots.show(
    pictures.draw_reach_of_codes(divisors, smallest),
    "Histogram of √v as a part of the largest in its block, over several orders of magnitude. "
    "Codes for v itself take everything left of a sixteenth for zero, codes for √v everything left "
    "of 1/254, codes for the fourth root almost nothing.",
)
lost = {name: float((divisors < least).mean()) for name, least in smallest.items()}
print({name: f"{fraction:.1%}" for name, fraction in lost.items()})
assert lost["v in even codes"] > 0.1 > lost["√v in even codes"] > lost["⁴√v in even codes"]

# %% [markdown]
# ▸ The smallest divisors: 12% of all that had a gradient are taken for **zero**, and their
# parameters move by $\hat m / \varepsilon$, a hundred million times $\hat m$. For $v$ is a square,
# which spreads numbers twice as far apart (on this logarithmic axis), and even codes reach only
# from 1/254 to 1.
#
# The remedy: quantize not $v$ but a **root** of it, which pulls the numbers together. The fourth
# root of $v$, the square root of Adam's divisor, reaches down to $1/254^2$. The same helps $m$,
# with its sign. And where $v$ is not zero, its code must not be either: rounded *up*, a divisor
# makes a step that is too small, never one that is far too large.


# %%
from dataclasses import replace


def keep_m(m):
    return even(jnp.sign(m) * jnp.sqrt(jnp.abs(m)))


def restore_m(kept):
    root = dequantize(kept)
    return root * jnp.abs(root)


def keep_v(v):
    kept = even(v**0.25)
    return replace(kept, values=jnp.maximum(kept.values, (v > 0).astype(jnp.int8)))


def restore_v(kept):
    return dequantize(kept) ** 4


adam_roots = adam_that_keeps(keep_m, restore_m, keep_v, restore_v)


def last_steps(optimiser):
    """What it makes of the last of three gradients; any will do."""
    state, update = optimiser.init(matrix), jax.jit(optimiser.update)
    for factor in (1.0, -0.3, 2.0):
        steps, state = update(factor * matrix, state)
    return steps


assert jnp.allclose(last_steps(adam), last_steps(optax.scale_by_adam()), atol=1e-4)
assert jnp.allclose(last_steps(adam_roots), last_steps(memory.scale_by_adam_8bit()), atol=1e-4)

# %% [markdown]
# The package calls it `memory.adam_8bit(learning_rate)`, in place of `optax.adam`. Now the same
# training again. **By how much will the loss differ?**

# %%
my_guess = plots.ask("bits a byte at the end, roots in 8 bits")

# %%
state_8bit, losses_8bit = train(memory.scale_by_adam_8bit(), N_TRAIN, "roots in 8 bits")
my_guess.show(
    pictures.draw_losses(
        {"float32": losses_float32, "roots in 8 bits": losses_8bit, "even codes": losses_even}
    ),
    "Training loss. The curves of float32 and of roots in eight bits lie on each other. With even "
    "codes the loss leaves the picture in the first steps.",
)
difference = losses_8bit[-20:].mean() / losses_float32[-20:].mean() - 1
print(f"the loss differs by {difference:+.2%}")
assert abs(difference) < 0.02

# %% [markdown]
# ▸ By hardly anything: far less than 1%, after these 150 steps. And what it was for, in bytes:

# %%
n_small = sum(leaf.size for leaf in jax.tree.leaves(small_model))


def moment_bytes(state):
    arrays = [x for x in jax.tree.leaves(state.optimiser_state) if x.ndim > 0]  # not the count
    return sum(x.nbytes for x in arrays) / n_small


print(
    f"both moments, bytes per parameter: {moment_bytes(state)} and {moment_bytes(state_8bit):.3f}"
)
assert moment_bytes(state) == 8
assert moment_bytes(state_8bit) < 2.1

# %% [markdown]
# Two bytes for the codes, and 4 bytes of absmax for every 256 of them, twice: 2.03. A few biases
# are shorter than a block and have an absmax to themselves.
#
# ▸ So not all of these numbers must be in float32: eight bits were enough to *run* a trained model,
# and enough for Adam's moments, half of what is fixed, if their roots are kept. The weights that
# small steps must move are another matter.
#
# A longer run of the same comparison is in `experiments/eight_bit_adam.py`. Two seeds, to see how
# much two runs differ that differ in nothing but chance:

# %%
from efftx.results import recorded

results = recorded("eight_bit_adam")
print(f"{results['config']['n_steps']} steps, {results['runs'][0]['n_parameters']:,} parameters")
for run in results["runs"]:
    held_out = run["bits_per_byte"]["held_out"]
    print(f"seed {run['seed']}  {run['optimiser']:10} {held_out:.4f} bits per byte, held out")
assert max(results["largest_difference"].values()) < 0.02

# %% [markdown]
# ## Swapping: another memory
#
# Now the second question: **must these numbers be here?** An accelerator's own memory is small, the
# host's around it large. And at any moment only one layer computes. The Reformer paper says it in
# one sentence: parameters are swapped to CPU memory while their layer does not compute.
#
# JAX knows several memories of one device, and every array says where it lives.

# %% tags=["nbval-check-output"]
w = jnp.ones((4, 4))
on_host = memory.to_host(w)  # jax.device_put(w, jax.memory.Space.Host)
print(w.sharding.memory_kind, "->", on_host.sharding.memory_kind)

# %% [markdown]
# On a CPU both are the same chips, so nothing is saved here. But the arrays are placed, moved and
# checked as they would be on a GPU, and that is what we can look at.
#
# The place is part of a value's **type**. **What happens if we add the two?**

# %%
try:
    jax.jit(jnp.add)(w, on_host)
except ValueError as complaint:
    print(complaint)

# %% [markdown]
# ▸ JAX refuses: nothing moves behind our backs. A layer must fetch its parameters. Here is a stack
# of layers that does, each time it comes to one:


# %%
from efftx.memory import bytes_by_memory


def layer(params, x):
    return x + jax.nn.relu(x @ params["w1"]) @ params["w2"]


def fetch_and_compute(params, x):
    """x through all layers; their parameters have a leading axis of size n_layers."""

    def step(x, one_layer):
        return layer(memory.to_device(one_layer), x), None

    return jax.lax.scan(step, x, params)[0]


N_LAYERS, D_MODEL, D_FF, LENGTH = 12, 64, 256, 128
k1, k2, k3 = jax.random.split(jax.random.key(0), 3)
params = {
    "w1": jax.random.normal(k1, (N_LAYERS, D_MODEL, D_FF)) / 8,
    "w2": jax.random.normal(k2, (N_LAYERS, D_FF, D_MODEL)) / 32,
}
x = jax.random.normal(k3, (LENGTH, D_MODEL))
swapped = memory.to_host(params)
expected = memory.layers_reference(layer, params, x)  # a loop, all on the device
assert jnp.allclose(fetch_and_compute(swapped, x), expected, atol=1e-5)
assert bytes_by_memory(swapped) == {"pinned_host": sum(p.nbytes for p in params.values())}

# %% [markdown]
# The forward pass is right, and one layer at a time is on the device. **And in the backward pass?**
# What `jax.vjp` keeps can be asked where it lives:

# %%
kept = bytes_by_memory(jax.vjp(fetch_and_compute, swapped, x)[1])
print({kind: f"{n_bytes / 2**20:.2f} MiB" for kind, n_bytes in kept.items()})
all_parameters = sum(p.nbytes for p in params.values())
assert kept["device"] > all_parameters

# %% [markdown]
# ▸ There all is lost: the backward pass needs the weights, so each layer's copy on the device is
# kept, and in the end all of them are there. The copies must be thrown away and **fetched again**.
# That is what `jax.checkpoint` does: it keeps a function's inputs, here the layer's input and its
# parameters *on the host*, and computes everything else anew.
#
# One thing is left that grows with depth, each layer's input. It can wait on the host too: a
# checkpoint *policy* says what becomes of values that have a name.


# %%
from jax.ad_checkpoint import checkpoint_name


def layers_from_host(layer, params, x, offload_activations=False):
    policy = memory.offload_policy("layer_input") if offload_activations else None

    @partial(jax.checkpoint, policy=policy, prevent_cse=False)
    def step(x, one_layer):
        x = checkpoint_name(x, "layer_input")
        return layer(memory.to_device(one_layer), x), None

    return jax.lax.scan(step, x, params)[0]


print("kept for the backward pass      device        host")
for name, run in {
    "fetched, and kept": fetch_and_compute,
    "fetched again": partial(layers_from_host, layer),
    "and inputs on the host": partial(layers_from_host, layer, offload_activations=True),
}.items():
    y, pull_back = jax.vjp(run, swapped, x)
    kept = bytes_by_memory(pull_back)
    mib = [kept.get(kind, 0) / 2**20 for kind in ("device", "pinned_host")]
    print(f"{name:24} {mib[0]:9.2f} MiB {mib[1]:7.2f} MiB")
    gradient = pull_back(jnp.ones_like(y))[0]
    assert bytes_by_memory(gradient) == {"pinned_host": all_parameters}
assert kept.get("device", 0) == 0  # of the last

# %% [markdown]
# ▸ So they need not be here: not the parameters, and not what the backward pass wants of them. The
# values are those of layers that never left the device, and so are the gradients, which go to the
# host layer by layer. The chapter's function is the package's `memory.layers_from_host`.


# %%
def gradient_of(stack, params):
    return jax.jit(jax.grad(lambda params: (stack(layer, params, x) ** 2).sum()))(params)


wanted = gradient_of(memory.layers_reference, params)
for stack in (layers_from_host, memory.layers_from_host):
    ours = gradient_of(stack, swapped)
    assert all(np.allclose(ours[name], wanted[name], rtol=1e-4, atol=1e-4) for name in params)

# %% [markdown]
# Is it more than names? Let JAX translate the gradient **for a GPU that we do not have**, and
# look for transfers in the program. Each is a line with the shape of what is moved:

# %% tags=["nbval-check-output"]
swap = jax.jit(partial(gradient_of, memory.layers_from_host))
program = jax.export.export(swap, platforms=["cuda"])(swapped)
for line in program.mlir_module().splitlines():
    if "annotate_device_placement" in line:
        where = "to the device" if '"device"' in line else "to the host  "
        print(where, line.split("tensor<")[-1].split(">")[0])

# %% [markdown]
# Each of the two weights is fetched in the forward loop, fetched in the backward loop, and its
# gradient sent away; each time it is one layer's, never all twelve.
#
# ### The optimiser's step
#
# Adam's moments are twice the size of the parameters, and are needed for a moment only. The
# step goes layer by layer as well: fetch a layer's parameters, gradient and moments, update, send
# them back.

# %%
optimiser = optax.adam(1e-2)
moments = memory.init_layer_by_layer(optimiser, swapped)
updated, moments = memory.update_layer_by_layer(optimiser, gradient, moments, swapped)
plain, _ = memory.update_layers_reference(
    optimiser, memory.to_device(gradient), optimiser.init(params), params
)
assert all(np.allclose(updated[name], plain[name], atol=1e-6) for name in params)
assert set(bytes_by_memory((updated, moments))) == {"pinned_host"}

# %% [markdown]
# ### A language model that swaps
#
# In this course a model's *residual* says how the branches of all blocks are strung together. One
# that swaps is a few lines, and the rest of the model does not know:


# %%
from efftx.models.branch import branches


def swapped_residual(blocks, x, keys, extra=None):
    def one_block(block_and_keys, x):
        block, block_keys = block_and_keys
        for branch, key in zip(branches(block), block_keys, strict=True):
            x = x + branch(x, key, extra)[0]
        return x

    return memory.layers_from_host(one_block, (blocks, keys), x)


trained = state.model
on_the_host = replace(trained, blocks=memory.to_host(trained.blocks), residual=swapped_residual)
batch = random_windows(text, seed=1, step=0, length=64, batch=1)[0]
values = [float(bits_per_byte(m, batch)) for m in (trained, on_the_host)]
print(f"on the device {values[0]:.4f}, on the host {values[1]:.4f} bits per byte")
assert abs(values[0] - values[1]) < 1e-4
assert bytes_by_memory(on_the_host)["pinned_host"] > 0.6 * 4 * n_small

# %% [markdown]
# ## When does swapping pay?
#
# Fetching takes time. It costs nothing if the next layer arrives while this one computes. Let a
# layer have $P$ parameters of $b$ bytes, and let $T$ be the number of tokens in a batch, batch ×
# length.
#
# - The transfer takes $P\,b / W$ seconds, at $W$ bytes per second.
# - Each parameter meets each token in one multiplication and one addition: $2\,P\,T / F$ seconds,
#   at $F$ operations per second.
#
# The transfer is hidden if the second is no shorter than the first:
#
# $$\frac{2\,P\,T}{F} \ge \frac{P\,b}{W} \quad\Longleftrightarrow\quad T \ge \frac{b\,F}{2\,W}.$$
#
# **The layer's size cancels.** What counts is how many tokens go through it per fetch. That is why
# the Reformer can afford to swap: its batch × length is large.
#
# That was the forward pass. A training step moves more, and computes more. **How much is each, in
# moves of one layer's parameters and in forward passes?** Count before you read the next cell.


# %%
def tokens_to_hide(flops_per_second, bytes_per_second, bytes_per_parameter, moves=1, passes=1):
    return moves * bytes_per_parameter * flops_per_second / (passes * 2 * bytes_per_second)


MOVES = {
    "forward: parameters come": 1,
    "backward: parameters come, gradients go": 2,
    "Adam: parameters, gradients and two moments come": 4,
    "Adam: parameters and two moments go": 3,
}
PASSES = 1 + 1 + 2  # forward, forward once more, and backward, which is as long as two

print("A device of 100 TFLOP/s behind a link of 25 GB/s needs")
for name, n_bytes in {"float32": 4, "bfloat16": 2, "int8": 1}.items():
    forward = tokens_to_hide(100e12, 25e9, n_bytes)
    step_of = tokens_to_hide(100e12, 25e9, n_bytes, moves=sum(MOVES.values()), passes=PASSES)
    print(f"{forward:8,.0f} tokens forward, {step_of:8,.0f} in a training step, all in {name}")
assert tokens_to_hide(100e12, 25e9, 4) == 8_000
assert tokens_to_hide(100e12, 25e9, 4, moves=10, passes=4) == 20_000

# %% [markdown]
# ▸ Ten moves, if all that comes and all that goes is counted, and four forward passes. So a step
# needs 20,000 tokens where its forward pass alone would need 8,000.
#
# (Round numbers to reckon with, not those of any product.) A batch of a few long sequences has that
# many tokens. Decoding, one token at a time, has one, and there arithmetic hides nothing: a device
# is then as fast as it reads its parameters. From a memory of its own at, say, 2,000 GB/s or over
# that link at 25, it is eighty times slower to swap. And quantized parameters travel faster. Here
# is $F/W$ of the machine that runs this, with a plain copy in memory in the place of a link:

# %%
import time

square = jnp.ones((1024, 1024))
product, copy = jax.jit(jnp.matmul), jax.jit(lambda a: a + 1)


def seconds(f, *args, repeats=20):
    f(*args).block_until_ready()  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f(*args).block_until_ready()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


F = 2 * 1024**3 / seconds(product, square, square)
W = jnp.ones(2**22).nbytes / seconds(copy, jnp.ones(2**22))
print(f"{F / 1e9:.0f} GFLOP/s, {W / 1e9:.1f} GB/s: {tokens_to_hide(F, W, 4):.0f} tokens")

# %% [markdown]
# ## What each buys
#
# Back to the model from the beginning, and the ledger of chapter 02. With its layers swapped, the
# device holds a model of **one layer**: its parameters, gradient and moments, its activations while
# it is computed anew. Besides there are embeddings and readout, which we leave where they are, and
# each layer's input, unless that waits on the host too. **Which step will save most?**


# %%
def gib(step, inputs=0):
    e = entries(step)
    activations = sum(n for name, n in e.items() if name not in STATE) + inputs
    parts = {**{name: e[name] for name in STATE}, ACTIVATIONS: activations}
    return {name: n_bytes / 2**30 for name, n_bytes in parts.items()}


STATE = ("parameters", "gradients", "optimiser state")
eight_bit = replace(step, optimiser_bytes=2.03125)
one_layer = replace(eight_bit, n_layers=1)
ACTIVATIONS = "activations and working memory"
inputs = step.n_layers * step.batch * step.length * step.d_model * 4
ledger = {
    "everything in float32": gib(step),
    "8-bit Adam": gib(eight_bit),
    "and checkpoints": gib(eight_bit) | {ACTIVATIONS: gib(one_layer, inputs)[ACTIVATIONS]},
    "and layers on the host": gib(one_layer, inputs),
    "and their inputs too": gib(one_layer),
}
plots.show(
    pictures.draw_ledger(ledger),
    "GiB on the device in a training step of 24 layers and four sequences of 1,024 tokens: "
    "parameters, gradients, optimiser state and activations. 8-bit Adam cuts the optimiser's part "
    "to a quarter; checkpoints leave one layer's activations; swapping leaves one layer of all "
    "else; the inputs of the layers are small.",
)
totals = [sum(row.values()) for row in ledger.values()]
for name, total in zip(ledger, totals, strict=True):
    print(f"{name:24} {total:6.2f} GiB")
assert totals == sorted(totals, reverse=True)
saved = -np.diff(totals)
assert saved.argmax() == 1  # by checkpoints
assert eight_bit.optimiser_bytes * n < 0.26 * step.optimiser_bytes * n

# %% [markdown]
# ▸ Here the checkpoints, and they need no host at all. Swapping cannot do without them, since what
# is fetched must be fetched again; what it adds is that parameters, gradients and moments leave the
# device as well. It asks most: a fast link, many tokens, and enough memory on the other side. 8-bit
# Adam asks almost nothing.
#
# ## Limits, honestly
#
# **Eight bits are not faster here.** They save memory. A processor needs instructions for int8, and
# a compiler that uses them, to save time as well. On this CPU, one matrix times one vector, as in
# decoding:

# %%
big = jax.random.normal(jax.random.key(0), (2048, 2048))
vector = jnp.ones(2048)
packed = quantize(big)
as_float = jax.jit(lambda w, x: w @ x)
as_int8 = jax.jit(lambda q, x: (q.values.astype(jnp.float32) * x).sum(1) * q.absmax[:, 0] / 127)
assert jnp.allclose(as_int8(packed, vector), dequantize(packed) @ vector, atol=0.05)
for name, run, w in (("float32", as_float, big), ("int8", as_int8, packed)):
    print(f"{name:8} {1000 * seconds(run, w, vector):5.1f} ms, {w.nbytes / 2**20:3.0f} MiB")

# %% [markdown]
# Note the rescaling: it is done once for each row of the result, not for each weight.
#
# **On a CPU swapping saves nothing**: both memories are the same. And the programs of this chapter
# were translated for a GPU, but not run on one; whether transfers overlap with computing is up
# to the compiler and the device. JAX's own guide advises to measure before you rely on it.
#
# **8-bit Adam is not Adam.** One rounding of both moments changes the update by about 2 %, and
# after 300 steps the difference is some 10 % (measured for the package, on a small text model:
# `help(memory.eight_bit_adam)`). The loss does not mind, in the runs above and in the paper's much
# larger ones; but two runs will not be equal number for number. The paper also changes the
# embedding layer of language models, so that long runs stay stable.
#
# **An optimiser that goes layer by layer sees one layer.** A clip by the global norm becomes a clip
# by each layer's norm.
#
# **Not finite stays not finite.** An infinity in a block has an infinite absmax and takes the block
# with it. `quantize` refuses such numbers where it can see them:

# %%
try:
    quantize(jnp.array([[1.0, jnp.inf]]))
except ValueError as complaint:
    print(complaint)

# %% [markdown]
# ## Then and now
#
# > Fewer bits have become the ordinary way to run a large model, and the block with a scale of its
# > own is in the hardware: NVFP4, of 2025, is one (see the sources). Swapping has a part in the
# > longest texts that were trained on one device: *OOMB* (2026) reports Qwen2.5-7B with a context
# > of 4 million tokens on one H200, with activations computed anew and the cache of keys and values
# > moved to the CPU's memory and back ([arXiv 2602.02108](https://arxiv.org/abs/2602.02108)).
#
# ## Exercises
#
# [Four parts](../exercises/05_swapping_and_quantization.ipynb): write rows in eight bits, bring
# blocks back, round with a coin, find out when swapping pays, and predict an experiment. The
# solutions are [here](../solutions/05_swapping_and_quantization.ipynb).
#
# ## Sources
#
# - T. Dettmers, M. Lewis, S. Shleifer, L. Zettlemoyer: *8-bit Optimizers via Block-wise
#   Quantization*, ICLR 2022, [arXiv 2110.02861](https://arxiv.org/abs/2110.02861). Blocks are
#   theirs; their code is a table of 256 numbers ("dynamic"), where this chapter takes a root.
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), section 3, for swapping parameters.
# - NVIDIA: [Introducing NVFP4 for Efficient and Accurate Low-Precision
#   Inference](https://developer.nvidia.com/blog/introducing-nvfp4-for-efficient-and-accurate-low-precision-inference/),
#   June 2025: blocks of 16 with a scale in eight bits.
# - JAX documentation: [Memory spaces and host
#   offloading](https://docs.jax.dev/en/latest/201/memory-spaces.html).
# - The talk "Efficient Transformers": "memory swapping to CPU and quantization".
