# %% [markdown]
# # 04 · Chunking
#
# *Pillar one: memory.* The widest arrays of a Transformer live for a moment only: the inside of a
# feed-forward layer, and the scores of all tokens at the end. This chapter makes sure that they are
# never there as a whole, and changes no value by it.
#
# After this chapter you can
#
# - say which layers may be cut into chunks of positions, and why attention is not one of them;
# - cut a feed-forward layer and a loss into chunks, in the forward and in the backward pass;
# - predict how many bytes that saves, and show it without running anything;
# - choose a chunk length, and say when chunking is not worth it.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx import plots
from efftx.plots import chunking as pictures

# %% [markdown]
# ## The question
#
# A feed-forward layer takes every vector of width $d_\text{model}$ to a wider one, of width
# $d_\text{ff}$, and back:
#
# $$\text{FFN}(x) = \text{ReLU}(x W_1 + b_1)\, W_2 + b_2.$$
#
# In the Reformer paper $d_\text{model}$ is 1,024 and $d_\text{ff}$ is 4,096. With a million
# positions the vectors take 4 GiB in float32. The inside takes 16 GiB, in every layer. And at the
# end of a model with 32,000 tokens in its vocabulary, the scores of all positions take 125 GiB.

# %% tags=["nbval-check-output"]
length = 2**20
for name, width in [("vectors", 1024), ("inside of FFN", 4096), ("scores", 32_000)]:
    print(f"{name:14}{length * width * 4 // 2**30:4} GiB")

# %% [markdown]
# We want none of these wide arrays for themselves. The inside of the layer is consumed by $W_2$,
# and the scores by the loss, which is a single number. **Must they exist all at once?**
#
# It depends on one property of the layer. Here is a small one, and a question to settle first: if
# you hand it only positions 3 to 6 of $x$, what do you get?


# %%
def feed_forward(params, x):
    """(length, d_model) -> (length, d_model), through (length, d_ff)."""
    return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


def draw_parameters(key, d_model, d_ff):
    k1, k2, k3 = jax.random.split(key, 3)
    return {
        "w1": jax.random.normal(k1, (d_model, d_ff)) / d_model**0.5,
        "b1": 0.1 * jax.random.normal(k2, (d_ff,)),
        "w2": jax.random.normal(k3, (d_ff, d_model)) / d_ff**0.5,
        "b2": jnp.zeros(d_model),
    }


params = draw_parameters(jax.random.key(0), d_model=16, d_ff=64)
x = jax.random.normal(jax.random.key(1), (45, 16))
y = feed_forward(params, x)
assert jnp.allclose(feed_forward(params, x[3:7]), y[3:7], atol=1e-5)

# %% [markdown]
# The same as rows 3 to 6 of the whole. A feed-forward layer treats every position alike and by
# itself; no row of the output looks at another row of the input. ▸ So its inside need not exist all
# at once: we are free to say *when* each row is computed. The same will be true of the loss.
#
# Attention is different. It is what carries information from one position to another, and there a
# slice gives something else:


# %%
from efftx.attention import full_attention


def attend(x):
    return full_attention(x, x, x, causal=True)


assert not jnp.allclose(attend(x[3:7]), attend(x)[3:7], atol=0.01)

# %% [markdown]
# ## The obvious loop
#
# Cut the positions into chunks of $m$, put each through the layer, join the results. The last chunk
# is shorter if $m$ does not divide the length. Nothing has to be padded.


# %%
from efftx.memory import map_chunks_reference


def by_loop(f, params, x, chunk_len):
    starts = range(0, len(x), chunk_len)
    return jnp.concatenate([f(params, x[start : start + chunk_len]) for start in starts])


for chunk_len in (1, 8, 45, 100):
    assert jnp.allclose(by_loop(feed_forward, params, x, chunk_len), y, atol=1e-5)
    theirs = map_chunks_reference(feed_forward, params, x, chunk_len=chunk_len)
    assert (by_loop(feed_forward, params, x, chunk_len) == theirs).all()

# %% [markdown]
# Equal for every $m$. This loop is the package's reference, `efftx.memory.map_chunks_reference`.
#
# But does it save memory? We can ask the compiler what it sets aside beyond inputs and results, and
# need not run anything. In the forward pass each chunk could use the memory of the chunk before.
# **What about training: does the backward pass let it?**


# %%
from efftx.compiling import planned_bytes


def working_mib(f, *arguments):
    """What the compiled function needs beyond its inputs and its results."""
    return planned_bytes(f, *arguments) / 2**20


def forward_and_backward(f):
    """The output, and the gradients of the sum of its squares."""

    def run(*arguments):
        out, pull_back = jax.vjp(f, *arguments)
        return out, pull_back(2 * out)

    return run


L, D_MODEL, D_FF = 8192, 128, 2048
shapes = jax.eval_shape(partial(draw_parameters, d_model=D_MODEL, d_ff=D_FF), jax.random.key(0))
x_shape = jax.ShapeDtypeStruct((L, D_MODEL), jnp.float32)
inside = L * D_FF * 4 / 2**20  # MiB


def in_a_loop(params, x):
    return by_loop(feed_forward, params, x, 1024)


print(f"the inside of the layer, whole: {inside:.0f} MiB")
needs = {}
for name, f in [("whole", feed_forward), ("in a loop of 8 chunks", in_a_loop)]:
    forward = working_mib(f, shapes, x_shape)
    both = working_mib(forward_and_backward(f), shapes, x_shape)
    print(f"{name:24} forward {forward:4.0f} MiB,   forward and backward {both:4.0f} MiB")
    needs[name] = forward, both
    assert both > 1.9 * inside
assert needs["in a loop of 8 chunks"][0] > 0.9 * inside
assert needs["in a loop of 8 chunks"][1] > 0.7 * needs["whole"][1]

# %% [markdown]
# ▸ It does not: in training the loop saves a quarter, and no more. The backward pass wants the
# inside of *every* chunk, and so autodiff keeps them all, as much as the inside of the whole layer.
# And not even forward does the loop help: Python has written it out eight times, and nothing in the
# program tells the compiler to finish one chunk before it begins the next. A real loop, one turn
# after the other, will mend that; it does nothing for the backward pass.
#
# ## Chunks in both directions
#
# The other half is to forget. Of each chunk we keep only what went in, a slice of $x$, which exists
# anyway. When the backward pass arrives at the chunk, it computes the inside again, uses it, and
# forgets it once more. In JAX that is one word, `jax.checkpoint`. And the chunks go into a real
# loop of the compiler, `lax.map`, so that it is one piece of memory that all of them use.


# %%
def in_chunks(f, params, x, chunk_len):
    """f(params, x), chunk_len positions at a time, forward and backward."""
    n_whole = len(x) // chunk_len
    end = n_whole * chunk_len
    one = jax.checkpoint(lambda chunk: f(params, chunk))
    whole = jax.lax.map(one, x[:end].reshape(n_whole, chunk_len, -1))
    rest = [one(x[end:])] if end < len(x) else []
    return jnp.concatenate([whole.reshape(end, -1), *rest])


# %% [markdown]
# Where are the gradients of $W_1$ and $W_2$? Every chunk has a part in them, and autodiff adds the
# parts up: in the backward pass the loop over chunks carries their sum along. The results are those
# of the whole layer, values and gradients, and also those of the package's `map_chunks`.


# %%
from efftx.memory import map_chunks


def relative_error(ours, theirs):
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in pairs)


whole = forward_and_backward(feed_forward)(params, x)
for chunk_len in (1, 8, 45):
    ours = forward_and_backward(partial(in_chunks, feed_forward, chunk_len=chunk_len))(params, x)
    theirs = forward_and_backward(partial(map_chunks, feed_forward, chunk_len=chunk_len))(params, x)
    assert relative_error(ours, whole) < 1e-5
    assert relative_error(theirs, whole) < 1e-5

# %% [markdown]
# Now the bytes. **Predict: with chunks of 256 of the 8,192 positions, by what factor does the
# working memory of forward and backward shrink?**

# %%
one_chunk = inside * 256 / L
for name, chunks in [("ours", in_chunks), ("efftx", map_chunks)]:
    f = partial(chunks, feed_forward, chunk_len=256)
    forward = working_mib(f, shapes, x_shape)
    both = working_mib(forward_and_backward(f), shapes, x_shape)
    print(f"{name:6} forward {forward:5.1f} MiB,   forward and backward {both:5.1f} MiB")
    assert forward < 1.2 * one_chunk
    assert both < inside * 3 / 15
print(f"one chunk of the inside: {one_chunk:.0f} MiB")

# %% [markdown]
# ▸ By about twenty. Three or four chunks' worth is in use at a time: the inside, its gradient, and
# what lies between. That part no longer depends on the length at all. The factor is not 32, the
# number of chunks, because of what has no chunks: the sums of the weights' gradients, and copies of
# the vectors.
#
# To scale, and with the chunk that is being worked on:

# %%
picture = {"length": 16_384, "d_model": 512, "d_ff": 2048}
shapes_drawn = (16_384, 512), (16_384, 2048), (1024, 2048)
assert [rows * width * 4 // 2**20 for rows, width in shapes_drawn] == [32, 128, 8]
plots.show(
    pictures.draw_layer(**picture, chunk_len=1024),
    "A feed-forward layer of 16,384 positions. Its input and its output exist as a whole, 32 MiB "
    "each. The hidden layer would be 128 MiB, drawn dashed; only the chunk at work exists, 8 MiB.",
)

# %% [markdown]
# Set the chunk length yourself. At which one is the chunk smaller than the weights? From there on a
# shorter chunk saves next to nothing.

# %%
import ipywidgets as widgets

chunk = widgets.SelectionSlider(
    options=[2**n for n in range(4, 15)],
    value=1024,
    description="chunk",
    continuous_update=False,
)
show_layer = partial(pictures.show_layer, **picture)
display(chunk, widgets.interactive_output(show_layer, {"chunk_len": chunk}))

# %% [markdown]
# ## A loss in chunks
#
# The loss of a language model is the mean over all positions of
#
# $$-\log p(t) = \log \sum_v e^{z_v} - z_t, \qquad z = x W,$$
#
# where $t$ is the token that really came and $z$ has one entry for each token of the vocabulary.
# The row $z$ is much wider than $x$. But it belongs to one position, and the loss takes one number
# out of it. So the same cut works: take $m$ positions, compute their scores, take the loss, forget
# the scores.


# %%
from efftx.memory import chunked_cross_entropy


def losses(w, x, targets):
    """(length,): −log p of each target; x (length, d_model), w (d_model, vocab)."""
    scores = x @ w
    chosen = jnp.take_along_axis(scores, targets[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(scores, axis=1) - chosen


key = jax.random.key(2)
w = jax.random.normal(key, (16, 1000))
targets = jax.random.randint(key, (45,), 0, 1000)

whole = forward_and_backward(partial(losses, targets=targets))(w, x)
chunked = partial(lambda w, x: map_chunks(losses, w, x, targets, chunk_len=8))
assert relative_error(forward_and_backward(chunked)(w, x), whole) < 1e-5
theirs = chunked_cross_entropy(lambda w, x: x @ w, w, x, targets, chunk_len=8)
assert jnp.allclose(whole[0], theirs, atol=1e-4)

# %% [markdown]
# `map_chunks` cuts as many arrays as it is given, here $x$ and the targets. The package has this as
# `chunked_cross_entropy`. How much does it save?

# %%
L, D_MODEL, VOCAB = 4096, 128, 32_000
w_shape = jax.ShapeDtypeStruct((D_MODEL, VOCAB), jnp.float32)
x_shape = jax.ShapeDtypeStruct((L, D_MODEL), jnp.float32)


def mean_loss(w, x, chunk_len=L):
    return map_chunks(losses, w, x, jnp.zeros(L, jnp.int32), chunk_len=chunk_len).mean()


scores_mib = L * VOCAB * 4 / 2**20
at_once = working_mib(jax.grad(mean_loss, argnums=(0, 1)), w_shape, x_shape)
by_chunks = working_mib(
    jax.grad(partial(mean_loss, chunk_len=64), argnums=(0, 1)), w_shape, x_shape
)
print(f"the scores of all positions {scores_mib:.0f} MiB")
print(f"gradient, at once {at_once:.0f} MiB;  in chunks of 64 {by_chunks:.0f} MiB")
assert at_once > scores_mib
assert by_chunks < at_once / 10

# %% [markdown]
# What is left of it is mostly the gradient of $W$, as large as $W$ itself (16 MiB). That is a first
# limit: chunks of positions make nothing smaller that has no positions.
#
# ## In a model
#
# `ff_chunk_len` builds a Transformer whose feed-forward layers work in chunks, and `chunk_len` does
# the same for the loss. Neither changes the parameters or their number. First the values of the
# loss and of its gradient, with the trained model of chapter 08 on text that it has not seen:

# %%
from efftx.models import pretrained
from efftx.training.losses import bits_per_byte


model = pretrained.small_text_model("plain")
window = pretrained.example_text()[:1025]
model = jax.tree.map(jnp.float32, model)
bits, whole = jax.jit(jax.value_and_grad(bits_per_byte))(model, window)
in_chunks_of_100 = partial(bits_per_byte, chunk_len=100)
bits_in_chunks, chunked = jax.jit(jax.value_and_grad(in_chunks_of_100))(model, window)
print(f"{float(bits):.4f} bits per byte;  with the loss in chunks {float(bits_in_chunks):.4f}")
assert abs(float(bits - bits_in_chunks)) < 1e-4
for ours, theirs in zip(jax.tree.leaves(chunked), jax.tree.leaves(whole), strict=True):
    assert jnp.allclose(ours, theirs, rtol=1e-3, atol=1e-6)

# %% [markdown]
# Then the bytes of a whole training step's gradient, for a model of four layers on 4,096 positions.
# **Which of the two cuts will save more: that of the layers, or that of the loss?**

# %%
from efftx.models import Blocked, Sizes, transformer

sizes = Sizes(n_layers=4, d_model=128, d_ff=2048, n_heads=2, d_head=64, max_len=4096, vocab=8192)


def step_mib(ff_chunk_len=None, loss_chunk_len=None):
    make = partial(transformer, kind=Blocked(), ff_chunk_len=ff_chunk_len)
    model = jax.eval_shape(lambda: make(jax.random.key(0), sizes))
    loss = partial(bits_per_byte, chunk_len=loss_chunk_len)
    return working_mib(jax.grad(loss), model, jax.ShapeDtypeStruct((4097,), jnp.int32))


table = {
    "neither": step_mib(),
    "loss in chunks": step_mib(None, 256),
    "layers in chunks": step_mib(256, None),
    "both": step_mib(256, 256),
}
for name, mib in table.items():
    print(f"{name:18}{mib:6.0f} MiB")
assert table["both"] < table["neither"] / 3
assert table["both"] < min(table["loss in chunks"], table["layers in chunks"])

# %% [markdown]
# ▸ Here they save about as much: of 521 MiB the loss in chunks leaves 326, the layers in chunks
# leave 336. Each cut alone leaves the other's wide array in place. Together they leave 113 MiB,
# what the attention keeps, with its layer norm; the feed-forward layer's own norm is taken chunk by
# chunk, too. That is the business of [reversible layers](03_reversible_layers.ipynb) and of the
# chapters on attention.
#
# ## What does it cost?
#
# The inside of each chunk is computed twice. Count the matrix products of a feed-forward layer: two
# in the forward pass, four in the backward pass. In chunks there is one more, $x W_1$ again; $W_2$
# is not needed for the inside. **So how much more arithmetic is it?**

# %%
from efftx.memory import flops
from efftx.memory.ledger import Step

whole = Step(
    n_layers=1,
    d_model=128,
    d_ff=2048,
    n_heads=1,
    d_head=1,
    vocab=1,
    length=8192,
    attention="blocked",
)
chunked = Step(**{**vars(whole), "ff_chunk_len": 256})
one_layer = 2 * 2 * whole.length * whole.d_model * whole.d_ff  # two products
assert flops.step_flops(chunked) - flops.step_flops(whole) == one_layer // 2
print(f"more arithmetic in the layer: {(one_layer / 2) / (3 * one_layer):.0%}")

# %% [markdown]
# ▸ A sixth more of the layer. How much more *time* it is depends on the chunk length. Short chunks
# are many small products instead of a few large ones, and each turn of the loop adds to the sum of
# the weights' gradients, which takes as long as ever, however short the chunk. Long chunks do not
# fit the cache. And the bytes? **How much working memory do chunks of 64 need, forward and
# backward, if the layer is 1,024 wide and there are 4,096 positions?** (Its inside alone, all at
# once, is 4,096 · 1,024 · 4 bytes, 16 MiB.) Measure both on your machine:

# %%
my_guess = plots.ask("MiB with chunks of 64")

# %%
import time


L, D_MODEL, D_FF = 4096, 128, 1024
CHUNK_LENS = (16, 64, 256, 1024)
params = draw_parameters(jax.random.key(0), D_MODEL, D_FF)
x = jax.random.normal(jax.random.key(1), (L, D_MODEL))


def measure(f, repeats=5):
    """Working memory in bytes, and the median of some times in seconds."""
    compiled = jax.jit(forward_and_backward(f)).lower(params, x).compile()
    jax.block_until_ready(compiled(params, x))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(params, x))
        times.append(time.perf_counter() - start)
    return planned_bytes(forward_and_backward(f), params, x), float(np.median(times))


without = measure(feed_forward)
costs = [measure(partial(map_chunks, feed_forward, chunk_len=m)) for m in CHUNK_LENS]
n_bytes, seconds = zip(*costs, strict=True)

my_guess.show(
    pictures.draw_costs(
        CHUNK_LENS,
        n_bytes,
        seconds,
        levels={"without chunks": without[0], "one array of vectors": x.nbytes},
        whole_seconds=without[1],
    ),
    "Left: working memory grows with the chunk length and stays far below that of the whole layer. "
    "Towards short chunks it levels out near one array of vectors, (length, d_model). Right: time "
    "is highest with the shortest chunks; with longer ones it is near that of the whole layer, or "
    "below it where a chunk fits into the cache and the whole does not.",
)
print(f"without chunks {without[0] / 2**20:6.1f} MiB {1000 * without[1]:6.1f} ms")
for m, (memory, seconds_taken) in zip(CHUNK_LENS, costs, strict=True):
    print(f"chunks of {m:5}{memory / 2**20:6.1f} MiB {1000 * seconds_taken:6.1f} ms")
assert n_bytes[2] < without[0] / 8  # chunks of 256
assert n_bytes[0] > n_bytes[1] / 4  # a quarter of the chunk does not save three quarters

# %% [markdown]
# ▸ 3.3 MiB, and a quarter of that length needs hardly less: what is left has no chunks. A few
# hundred positions are a good choice: most of the bytes are gone and the products are still large.
#
# ## Its limits, honestly
#
# ### Where weights dominate, there is nothing to save
#
# The inside of a chunk takes $4\, m\, d_\text{ff}$ bytes, the two matrices and their gradients
# $16\, d_\text{model}\, d_\text{ff}$. With $m \le 4\, d_\text{model}$ the chunk is the smaller one.
# A model that reads short texts, no longer than a few $d_\text{model}$, never had a problem.
#
# ### It is for position-wise layers only
#
# Layer norm, feed-forward layers, readouts and losses qualify. Attention does not, nor does
# anything that takes a mean over the positions, such as batch norm. `map_chunks` cannot check that:
# a function that mixes positions gives an answer, and a wrong one.

# %%
mixed = map_chunks(lambda _, x: attend(x), None, x[:64], chunk_len=16)
assert jnp.allclose(mixed[:16], attend(x[:64])[:16], atol=1e-4)  # the first chunk is right
assert not jnp.allclose(mixed[16:], attend(x[:64])[16:], atol=0.01)  # and no other

# %% [markdown]
# ### The gradient is a sum over chunks, and sums in bfloat16 are treacherous
#
# Every chunk adds its part to the weights' gradients. In float32 that is harmless. With weights in
# bfloat16 the sum would be rounded to 8 bits after each chunk, and what is small against the
# sum so far would be lost. `map_chunks` adds up in float32 and rounds once, at the end. Our own
# version above does not:

# %%
low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
x_low = x[:2048].astype(jnp.bfloat16)


def gradients(f, params, x):
    """Of the sum of the outputs: numbers that bfloat16 holds exactly go in."""
    out, pull_back = jax.vjp(f, params, x)
    return pull_back(jnp.ones_like(out))[0]


exact = gradients(feed_forward, *jax.tree.map(lambda p: p.astype(jnp.float32), (low, x_low)))
errors = {}
for name, chunks in [("ours", in_chunks), ("efftx", map_chunks)]:
    got = jax.jit(partial(gradients, partial(chunks, feed_forward, chunk_len=8)))(low, x_low)
    errors[name] = relative_error(got["w1"].astype(jnp.float32), exact["w1"])
    print(f"{name:6} error of the gradient of W1: {errors[name]:.2%}")
assert errors["efftx"] < 0.01
assert errors["ours"] > 2 * errors["efftx"]

# %% [markdown]
# ### A batch is a length, too
#
# Under `jax.vmap` each example has its chunk at the same time, so the working memory is the batch
# times that of one chunk. Choose $m$ with the batch in mind.
#
# ## Then and now
#
# > Of this chapter the loss in chunks has come farthest. *Cut Cross-Entropy* (2024) never writes
# > the logits to memory, and reports the loss of Gemma 2 (2B) in 1 MB where it took 24 GB
# > ([arXiv 2411.09009](https://arxiv.org/abs/2411.09009)). *Liger Kernel* (2024) computes loss and
# > gradients chunk by chunk, as this chapter does, and joins readout and loss in one kernel
# > ([arXiv 2410.10989](https://arxiv.org/abs/2410.10989)). Whoever fine-tunes with Hugging Face's
# > trainer turns it on with `use_liger_kernel=True`
# > ([documentation of version 5](https://huggingface.co/docs/transformers/v5.12.0/kernels), 2026).
#
# ## Exercises
#
# [Three parts](../exercises/04_chunking.ipynb): the forward pass in chunks, the backward pass in
# chunks by hand, the loss, and an experiment to predict. The solutions are
# [here](../solutions/04_chunking.ipynb).
#
# ## Sources
#
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), section 3: chunked feed-forward layers,
#   and the loss in chunks where the vocabulary is larger than $d_\text{model}$.
# - `jax.checkpoint` in the
#   [JAX documentation](https://docs.jax.dev/en/latest/gradient-checkpointing.html).
