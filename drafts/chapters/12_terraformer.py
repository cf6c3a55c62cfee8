# %% [markdown]
# # 12 · Terraformer
#
# *Pillar three: sparsity.* A model that writes text reads its weights once for every token. This
# chapter puts the sparse parts together, so that a token reads a small share of them: **the
# Terraformer, a Transformer with four parts exchanged**.
#
# After this chapter you can
#
# - assemble a Terraformer from parts, and say what each exchange does to the parameters;
# - explain its recurrent branch, and why its decoder needs no cross-attention;
# - count the weights that a token reads, and predict from them how long it takes;
# - say why feed-forward and attention save more together than one by one;
# - set the talk's "5x" and "28x" beside the paper's figures and those of this machine.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import time
from dataclasses import replace
from functools import partial

import ipywidgets as widgets
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from efftx import plots
from efftx.models import by_layer as layered
from efftx.models.decoding import prefill, step
from efftx.models.layers import Sizes, full, init_attention, init_feed_forward
from efftx.models.parameters import n_parameters, named_parameters
from efftx.models.residuals import plain_residual, reversible_residual
from efftx.models.sampling import pick
from efftx.models.sparse_attention import init_sparse_attention
from efftx.models.sparse_layers import (
    SparseFeedForward,
    init_multiplicative_readout,
    init_sparse_feed_forward,
)
from efftx.models.sru import SRU, with_sru
from efftx.models.terraformer import terraformer, terraformer_with_encoder
from efftx.models.transformer import language_model
from efftx.plots import terraformer as pictures
from efftx.results import recorded

# %% [markdown]
# ## The question
#
# Reading a long text is one large product after another. Writing one is different. Each token must
# be there before the next can be computed, so every product is a matrix times *one* vector, and
# each weight is fetched from memory for a single multiplication. Memory cannot keep up with that:
# **how long a token takes is how many bytes it reads**.
#
# The medium model of the Terraformer paper has 24 layers of width 1,024 in its decoder. A dense
# layer of this kind has four matrices in attention and a feed-forward layer of 4,096 units:

# %% tags=["nbval-check-output"]
attention, feed_forward, readout = 4 * 1024**2, 2 * 1024 * 4096, 1024 * 32_000
in_all = 24 * (attention + feed_forward) + readout
print(f"{in_all / 1e6:.0f} million weights, {4 * in_all / 1e9:.1f} GB in float32, for every token")

# %% [markdown]
# At 20 GB/s that is fifteen tokens a second, whatever the processor can calculate. To be faster, a
# token must read less. [Sparse feed-forward layers](10_sparse_feed_forward.ipynb) read one unit in
# each block of $N$; [sparse QKV](11_sparse_qkv.ipynb) has few weights to begin with.
#
# **Guess before you go on:** the feed-forward layers are two thirds of a block. With $N = 64$ they
# nearly vanish. How many times faster can the model get by that alone?

# %% tags=["nbval-check-output"]
block = attention + feed_forward
print(f"at most {block / (block - feed_forward):.1f} times: a third of the block is still there")

# %% [markdown]
# ## Four parts exchanged
#
# Here is the whole model as a function. Each `if` exchanges one part of a Transformer, and nothing
# else. What comes out is still `embed → blocks → readout`.

# %%
N_UNITS = 64


def build(key, sizes, exchanged=()):
    """A Transformer, with some of its parts exchanged."""
    attention = partial(init_attention, n_projections=3, attend=full)
    feed_forward, residual = init_feed_forward, plain_residual
    if "FF" in exchanged:  # chapter 10
        feed_forward = partial(init_sparse_feed_forward, n_units=N_UNITS)
    if "QKV" in exchanged:  # chapter 11
        attention = partial(init_sparse_attention, n_projections=3, attend=full)
        sizes = replace(sizes, d_ff=sizes.d_ff + 2 * sizes.d_model)
    if "reversible" in exchanged:  # chapter 03
        residual = reversible_residual
    if "SRU" in exchanged:  # this chapter
        feed_forward = with_sru(feed_forward)
    model = language_model(key, sizes, attention, feed_forward, residual)
    if "readout" in exchanged:  # a multiplicative layer, as in chapter 11
        key = jax.random.fold_in(key, 1)
        model = replace(model, readout=init_multiplicative_readout(key, sizes, n_modules=4))
    return model


TECHNIQUES = {
    "dense": (),
    "+FF": ("FF",),
    "+QKV": ("QKV",),
    "both": ("FF", "QKV"),
    "Terraformer": ("FF", "QKV", "readout", "SRU", "reversible"),
}

# %% [markdown]
# One line needs a word: where QKV becomes sparse, `d_ff` grows by 2 · `d_model`. Sparse QKV has far
# fewer parameters, and a smaller model would be faster for a boring reason. So the parameters that
# attention gave up go into the feed-forward layer, and all five models are of one size. (The talk:
# *"less parameters than dense … we always increase d_ff accordingly"*.)
#
# The package's preset `terraformer` is this function with everything exchanged. From the same key
# it has the same parameters and gives the same scores:

# %%
small = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=64)
ours = build(jax.random.key(0), small, TECHNIQUES["Terraformer"])
theirs = terraformer(jax.random.key(0), replace(small, d_ff=256 + 2 * 64), n_units=N_UNITS)
tokens = np.arange(40) % 256
for name, array in named_parameters(ours).items():
    assert (array == named_parameters(theirs)[name]).all()
scores = jax.jit(lambda model: model(tokens))
assert jnp.allclose(scores(ours), scores(theirs), atol=1e-5)

# %% [markdown]
# Now the medium size. `jax.eval_shape` asks what a function *would* return, so that no gigabyte is
# filled with random numbers.

# %% tags=["nbval-check-output"]
jax.clear_caches()
medium = Sizes(24, d_model=1024, d_ff=4096, n_heads=16, d_head=64, max_len=1024, vocab=32_000)
shapes = {
    name: jax.eval_shape(partial(build, sizes=medium, exchanged=exchanged), jax.random.key(0))
    for name, exchanged in TECHNIQUES.items()
}
for name, model in shapes.items():
    print(f"{name:12}{n_parameters(model) / 1e6:5.0f} million parameters")
dense_size, sparse_size = (n_parameters(shapes[name].blocks) for name in ("dense", "both"))
assert dense_size <= sparse_size < 1.03 * dense_size  # the controller is what is more

# %% [markdown]
# Of the same size, up to the controller, the sparse readout, and a recurrent branch that we have
# yet to meet.
#
# ## The recurrent branch
#
# Beside each sparse feed-forward layer the Terraformer has a narrow recurrent one, a *simple
# recurrent unit* of width 32. The sum of both is what the branch adds. A recurrence is cheap here:
# while a model writes, it goes from token to token anyway, and all that it must remember is one
# vector. With the input $x_t$, already projected down to 32 numbers:
#
# $$f_t = \sigma(x_t W_f + b_f), \qquad r_t = \sigma(x_t W_r + b_r),$$
# $$c_t = f_t \odot c_{t-1} + (1 - f_t) \odot x_t W,$$
# $$h_t = r_t \odot \tanh(c_t) + (1 - r_t) \odot x_t.$$
#
# $c$ is what it carries: a mean of what came in, in which the past fades by $f_t$ at every step.
# What is *not* there makes it simple: an LSTM's gates look at the last output, these look at $x_t$
# alone. So all gates of a text can be computed at once. Only the line with $c$ goes step by step:


# %%
def sru_reference(x, w, w_f, w_r, b_f, b_r):
    """h of every position, one after the other."""
    f, r = jax.nn.sigmoid(x @ w_f + b_f), jax.nn.sigmoid(x @ w_r + b_r)
    c, shown = jnp.zeros(x.shape[1]), []
    for t in range(len(x)):
        c = f[t] * c + (1 - f[t]) * (x[t] @ w)
        shown.append(r[t] * jnp.tanh(c) + (1 - r[t]) * x[t])
    return jnp.stack(shown)


# %% [markdown]
# **And must even this one go step by step?** Take two steps of $c \to f \odot c + u$, one after the
# other:
#
# $$f_2 \odot (f_1 \odot c + u_1) + u_2 = (f_1 \odot f_2) \odot c + (f_2 \odot u_1 + u_2).$$
#
# Two steps are one step of the same form. So neighbours may be joined, all pairs at the same time,
# then pairs of pairs: $\log_2 L$ rounds and not $L$ steps. `lax.associative_scan` does that with
# any such rule.


# %%
def joined(earlier, later):
    (f1, u1), (f2, u2) = earlier, later
    return f1 * f2, f2 * u1 + u2


def sru(x, w, w_f, w_r, b_f, b_r):
    """The same in log L rounds."""
    f, r = jax.nn.sigmoid(x @ w_f + b_f), jax.nn.sigmoid(x @ w_r + b_r)
    _, c = lax.associative_scan(joined, (f, (1 - f) * (x @ w)))
    return r * jnp.tanh(c) + (1 - r) * x


keys = jax.random.split(jax.random.key(1), 3)
x = jax.random.normal(keys[0], (50, 8))
w, w_f, w_r = jax.random.normal(keys[1], (3, 8, 8))
b_f, b_r = jax.random.normal(keys[2], (2, 8))
step_by_step = sru_reference(x, w, w_f, w_r, b_f, b_r)
assert jnp.allclose(sru(x, w, w_f, w_r, b_f, b_r), step_by_step, atol=1e-5)
packages = SRU(jnp.stack([w, w_f, w_r], axis=1), jnp.stack([b_f, b_r]))
assert jnp.allclose(packages(x)[0], step_by_step, atol=1e-5)

# %% [markdown]
# The package's `SRU` also returns the last $c$, and takes one to begin with. A text in two pieces
# is then the text in one, and a piece may be a single token. That is the step that writing needs:

# %%
first, carried = packages(x[:49])
last, _ = packages(x[49:], carried)
assert jnp.allclose(jnp.concatenate([first, last]), step_by_step, atol=1e-5)

# %% [markdown]
# ## The source before the target
#
# The paper's Terraformer goes from one sequence to another, as a translation does. An
# [encoder-decoder](01_from_rnns_to_transformers.ipynb) has a third branch in each block of its
# decoder, cross-attention. The Terraformer has none. It takes the encoder's **output**, puts it
# before the target's embedded tokens, and lets a causal decoder read both as one text.
#
# What is won? Each block has two branches that look at nothing but their own stream, as a
# [reversible](03_reversible_layers.ipynb) block likes it best. There is one attention instead of
# two, without the second one's weights. And that attention may be
# [LSH attention](08_lsh_attention.ipynb), which has no use for keys that belong to another text.
#
# One thing needs care. Sources of a batch are filled up to the same length, and **padding must not
# stand between source and target**. Attention could mask it. But a convolution that looks two
# positions back would see padding where the source should end, and the recurrent branch would run
# over it and forget. What, then, is to be done with it?

# %%
plots.show(
    pictures.draw_source_first(n_source=4, n_padding=3, n_target=5),
    "Three rows of boxes. The encoder's output: four vectors of the source, then three of padding, "
    "shown as dots. What the decoder reads: the four, at once the target's five, then the padding. "
    "What goes to the readout: the five rows of the target.",
)

# %% [markdown]
# It goes to the end. The decoder is causal, so nothing sees what stands behind. The target is
# written over the padding, beginning where the source really ends, and later cut out from there:


# %%
jax.clear_caches()  # frees what was compiled so far: a free Binder has 1 GB


def after_source(source, mask, target):
    """source without its padding, then target, then what is left; and where target begins."""
    order = jnp.argsort(~mask, stable=True)  # True first, each in its order
    room = jnp.concatenate([source[order], jnp.zeros_like(target)])
    start = mask.sum()
    return lax.dynamic_update_slice_in_dim(room, target, start, axis=0), start


pair = terraformer_with_encoder(jax.random.key(0), small, n_units=N_UNITS)
source, target = np.arange(7) + 30, np.arange(5) + 90


@jax.jit
def by_hand(model, mask):
    vectors = model.encode(source).vectors
    padded = jnp.concatenate([vectors, jnp.full((3, 64), 1e3)])  # with padding that would hurt
    read, start = after_source(padded, mask, model.embedding(target))
    y = model.residual(model.decoder, read, (None, None))
    return model.readout(lax.dynamic_slice_in_dim(y, start, len(target)))


@jax.jit
def whole(model, source, mask=None):
    return model(source, target, key_mask=mask)


alone = whole(pair, source)
assert jnp.allclose(by_hand(pair, np.arange(10) < 7), alone, atol=1e-4)

# %% [markdown]
# That was the package's `terraformer_with_encoder`, taken apart: our padded batch of one gives what
# the model gives without padding. And padding handed to the whole model is no trouble either,
# wherever it stands:

# %%
for where in (0, 3, 7):
    padded = np.insert(source, where, [5, 5, 5])
    mask = np.insert(np.ones(7, bool), where, [False] * 3)
    assert jnp.allclose(whole(pair, padded, mask), alone, atol=1e-4)

# %% [markdown]
# ## What a token reads
#
# Back to the decoder-only models, whose speed we want to understand. Which weights does a step
# read? All of them, except: of the embedding it reads one row, and of a sparse feed-forward layer
# one unit in each block.


# %%
def weights_read(model):
    """How many weights a step reads."""
    layer = model.blocks.feed_forward.layer
    layer = getattr(layer, "layer", layer)  # the one beside the recurrent branch
    read = n_parameters((model.blocks, model.readout))
    read += 2 * model.embedding.tokens.shape[1]  # a row of the tokens', one of the positions'
    if isinstance(layer, SparseFeedForward):
        per_unit = n_parameters((layer.w1, layer.b1, layer.w2))
        read -= per_unit - per_unit // N_UNITS
    return read


reads = {name: weights_read(model) for name, model in shapes.items()}
for name, read in reads.items():
    print(f"{name:12}{read / 1e6:6.1f} million, {reads['dense'] / read:4.1f} times fewer")
    assert read == layered.weights_read(shapes[name])
assert reads["dense"] > 12 * reads["Terraformer"]

# %% [markdown]
# Is it true that the other units are not read? Poison will tell. We take one layer and one token,
# find the units that are on, and put NaN into all weights of all the others. Whoever multiplies one
# of them, if only by zero, gets NaN.

# %%
jax.clear_caches()
layer = jax.tree.map(lambda stacked: stacked[0], ours.blocks.feed_forward.layer.layer)
x = jax.random.normal(jax.random.key(2), (1, 64))
on = jnp.argmax(layer.scores(x), axis=-1)[0]  # for each block, its unit
is_on = (jnp.arange(N_UNITS) == on[:, None])[..., None]
poisoned = replace(
    layer, w1=jnp.where(is_on, layer.w1, jnp.nan), w2=jnp.where(is_on, layer.w2, jnp.nan)
)
y, _ = poisoned.step(x, (), 0)
assert jnp.allclose(y, layer(x), atol=1e-5)  # as if nothing had happened
assert jnp.isnan(poisoned(x)).all()  # the training path computes all units, then masks
print(f"{is_on.mean():.1%} of the units were read; the others were NaN")

# %% [markdown]
# ### More than the sum
#
# Look at the table once more. +FF saves more than half, and +QKV alone saves *nothing*: what
# attention no longer reads, the wider feed-forward layer does. The weights were only moved. But
# they were moved to where the controller is: **once the feed-forward layer is sparse, of these too
# only one in $N$ is read.** So the two together save more than one and one.

# %%
saved = {name: reads["dense"] - reads[name] for name in ("+FF", "+QKV", "both")}
for name, n in saved.items():
    print(f"{name:6} saves {n / reads['dense']:6.1%} of the weights that a token reads")
assert abs(saved["+QKV"]) < 0.02 * reads["dense"]
assert saved["both"] > 1.3 * (saved["+FF"] + saved["+QKV"])

# %% [markdown]
# The paper's Table 1 shows it in seconds: at 17 billion parameters feed-forward alone saves 2.1
# seconds of 3.7, QKV alone 0.5, and both 3.5.
#
# There is a second, simpler reason to think in seconds and not in factors. Speedups of parts do not
# multiply. Whatever is left of the dense model is what you wait for, so the last part that is made
# sparse seems to bring the most. (Part 4 of the [exercise](../exercises/12_terraformer.ipynb).)
#
# ## A slice of Table 1, on your machine
#
# The paper's authors could not run 17 billion parameters either, and timed a slice of the layers.
# We do the same: four layers, half as wide as the medium model, with a twelfth of its vocabulary so
# that the readout keeps its share. `by_layer` gives each layer arrays of its own: in the usual
# stack of all layers a loop copies each layer's share before it is used, and for a single vector
# the copy would cost more than the product. **Predict from the table above: how many times faster
# will "both" be?**

# %%
jax.clear_caches()

slice_sizes = Sizes(4, d_model=512, d_ff=2048, n_heads=8, d_head=64, max_len=256, vocab=2667)
N_TOKENS = 24


@jax.jit
def begin(model):
    return prefill(model, np.arange(8), capacity=8 + N_TOKENS)


@jax.jit
def write(model, logits, state):
    """N_TOKENS tokens, each time the likeliest."""

    def one(carry, _):
        logits, state = carry
        token = logits.argmax().astype(jnp.int32)
        return step(model, state, token), token

    return lax.scan(one, (logits, state), length=N_TOKENS)[1]


@jax.jit
def matvec(w, x):
    return w @ x


def seconds_of(f, *arguments):
    started = time.perf_counter()
    jax.block_until_ready(f(*arguments))
    return time.perf_counter() - started


def laid_out(exchanged):
    """A model by layer, and how many weights a step reads of it."""
    model = build(jax.random.key(0), slice_sizes, exchanged)
    return layered.by_layer(model), weights_read(model)


dense, dense_read = laid_out(())
live_reads, seconds, by_matvec = {"dense": dense_read}, {"dense": []}, []
matrix, vector = jnp.ones((6144, 2048)), jnp.ones(2048)
for name in list(TECHNIQUES)[1:]:
    model, live_reads[name] = laid_out(TECHNIQUES[name])
    pair = {"dense": (dense, *begin(dense)), name: (model, *begin(model))}
    seconds[name] = []
    for _ in range(7):  # they take turns; the first compiles, and a median does not mind
        for who, arguments in pair.items():
            seconds[who].append(seconds_of(write, *arguments) / N_TOKENS)
        by_matvec.append(seconds_of(matvec, matrix, vector))
seconds = {name: float(np.median(values)) for name, values in seconds.items()}
bandwidth = matrix.nbytes / float(np.median(by_matvec))

# %%
print(f"a matrix times a vector reads {bandwidth / 1e9:.1f} GB/s here")
for name, read in live_reads.items():
    times = seconds["dense"] / seconds[name]
    fewer = live_reads["dense"] / read
    print(
        f"{name:12}{1000 * seconds[name]:7.2f} ms a token, {times:4.1f} × as fast;"
        f"{read / 1e6:6.2f} million weights, {fewer:4.1f} × fewer"
    )
plots.show(
    pictures.draw_bytes_against_time(
        {name: (4 * read, seconds[name]) for name, read in live_reads.items()}, bandwidth / 1e9
    ),
    "Milliseconds a token against the megabytes of weights that it reads, both axes logarithmic, "
    "for the five models. A dashed line is the time that reading takes at the bandwidth of a "
    "matrix times a vector. Dense and +QKV lie near it, on the right; both and the Terraformer lie "
    "far to the left, and further above the line.",
)

# %% [markdown]
# The dense model sits on the line: all it does is read. The sparse models read a fraction, and are
# faster by less than that. Gathering scattered rows is slower than streaming a matrix, and what was
# nothing beside 50 MB becomes visible: layer norms, the cache of keys and values, the start of each
# small operation.

# %% [markdown]
# ## The whole of Table 1
#
# `benchmarks/decoding.py` timed all 24 layers and the full readout on a quiet machine, dense and
# sparse in turn, and also the same dense model in torch. The paper's 800M model has an encoder
# besides and looks across to it; seconds cannot be compared from machine to machine, ratios can.
# What each model reads we have counted above, so that can be checked:

# %%
benchmark = recorded("decoding")
rows = {row["who"]: row for row in benchmark["medium"]["rows"]}
WHO = {
    "dense": "dense",
    "+FF": "sparse feed-forward",
    "+QKV": "sparse QKV",
    "both": "both",
    "Terraformer": "Terraformer",
}
PAPER = {  # Table 1, seconds for a token
    "800M": {"dense": 0.160, "+FF": 0.093, "+QKV": 0.152, "both": 0.061},
    "17B": {"dense": 3.690, "+FF": 1.595, "+QKV": 3.154, "both": 0.183},
}
for name, who in WHO.items():
    row = rows[who]
    assert row["weights_read"] == reads[name]
    papers = f"{PAPER['800M'][name]:.3f} s" if name in PAPER["800M"] else "   –   "
    print(
        f"{name:12} paper, 800M: {papers}   here: {row['seconds']:.4f} s,"
        f" {rows['dense']['seconds'] / row['seconds']:4.1f} × as fast as dense,"
        f" {row['gb_per_second']:4.1f} GB/s"
    )
print(f"torch, dense: {rows['torch, dense']['seconds']:.4f} s")
print(f"one matrix times a vector: {benchmark['medium']['product']['gb_per_second']:.1f} GB/s")

# %%
jax.clear_caches()
del dense, model, pair, matrix

# %% [markdown]
# ## Text, token by token
#
# Speed is worth nothing if the model has learned nothing. A small Terraformer, trained on the
# source of Python's own library for about half a minute:

# %%
from efftx.plots.swapping_and_quantization import draw_losses
from efftx.training.batches import random_windows
from efftx.training.corpora import as_text, as_tokens, standard_library
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.optimisers import adamw

N_STEPS = 160
corpus = standard_library()
writer_sizes = Sizes(
    n_layers=2, d_model=128, d_ff=512 + 2 * 128, n_heads=4, d_head=32, max_len=1024
)
trained = train(
    terraformer(jax.random.key(0), writer_sizes, n_units=16),
    loss=bits_per_byte,
    batch_at=lambda step: random_windows(corpus.train, seed=0, step=step, length=64, batch=32),
    optimiser=adamw(N_STEPS, peak=5e-3),
    n_steps=N_STEPS,
)
losses = np.asarray(trained.losses)
assert losses[:5].mean() > 6
assert losses[-20:].mean() < 4

# %%
plots.show(
    draw_losses({"Terraformer": losses}),
    "Bits per byte against the training step: from 8, which is what knowing nothing costs, steeply "
    "down at first, then slowly.",
)

# %% [markdown]
# The loss is that of training, with soft masks most of the time. What counts for writing is the
# hard mask, with one unit of each block; a model without a key uses it. On text that it has not
# seen:

# %%
window = corpus.held_out[:1025]
pieces = jnp.asarray(window[: 16 * 64].reshape(16, 64))
hard = float(jax.vmap(partial(bits_per_byte, trained.model))(pieces).mean())
print(f"{hard:.2f} bits per byte with hard masks, on text that was held out")
assert hard < 4.5

# %% [markdown]
# And now it writes. `prefill` reads the prompt, `step` one token at a time. The state holds keys
# and values, the convolutions' last two positions, and each layer's $c$. Run the cell and watch:
# the letters come as they are computed.

# %%
one_step = jax.jit(step)
choose = jax.jit(partial(pick, temperature=0.7, top_p=0.95))
key = jax.random.key(3)
prompt = "def __init__(self"
print(prompt, end="")
logits, state = prefill(trained.model, as_tokens(prompt.encode()), capacity=400)
started = time.perf_counter()
for i in range(300):
    token = choose(logits, jax.random.fold_in(key, i))
    print(as_text([token]), end="", flush=True)
    logits, state = one_step(trained.model, state, token)
print(f"\n\n{300 / (time.perf_counter() - started):.0f} tokens a second, printing included")

# %% [markdown]
# It has learned the shape of Python and none of its sense: that is what half a minute gives.
#
# ## Explore
#
# Choose a model, and make its parts sparse one after the other. **Which order of the three switches
# makes the second one look best? Which part dominates at the end, in the medium model and in the
# big one?**

# %%
model_choice = widgets.Dropdown(options=list(pictures.MODELS), index=1, description="model")
switches = {
    name: widgets.ToggleButton(value=value, description=label)
    for name, value, label in [
        ("sparse_ff", True, "feed-forward"),
        ("sparse_qkv", False, "QKV"),
        ("sparse_readout", False, "readout"),
    ]
}
gb_per_second = 20
plots.show(
    pictures.draw_reads(
        {
            name: pictures.weights_read("medium: 24 × 1,024", *chosen)
            for name, chosen in {
                "dense": (False, False, False),
                "+FF": (True, False, False),
                "+QKV": (False, True, False),
                "both": (True, True, False),
                "both, readout": (True, True, True),
            }.items()
        }
    ),
    "Bars of the weights that a token reads in the medium model. Dense: 335 million, most of it "
    "feed-forward. +FF: attention and readout are left. +QKV: as long as dense, nearly all of it "
    "feed-forward. Both: the readout is left. With a sparse readout 20 million.",
)
display(
    widgets.HBox([model_choice, *switches.values()]),
    widgets.interactive_output(
        partial(pictures.show_reads, gb_per_second=gb_per_second),
        {"model": model_choice, **switches},
    ),
)

# %% [markdown]
# ## Its limits, honestly
#
# ### It is for one token at a time
#
# A batch of texts shares every weight that it reads, and each text turns on units of its own. With
# 64 texts at $N = 64$, how many of the units of a block does at least one of them want? If they
# chose at random:

# %% tags=["nbval-check-output"]
for batch in (1, 16, 64, 256):
    print(f"{batch:4} texts want {1 - (1 - 1 / 64) ** batch:4.0%} of the units")

# %% [markdown]
# So the gain melts away as the batch grows, and in training there is none: all units are computed
# there. The Terraformer is for *one* person who waits for an answer, on a machine whose memory is
# slow. That is the case that the talk has in mind.
#
# ### The cache comes next
#
# A token reads the keys and values of all tokens before it, 2 · `d_model` numbers for each of them
# in each layer. No technique of this chapter makes these fewer. **After how many tokens does a
# layer of the sparse model read more of its cache than of its weights?**

# %%
per_position = 2 * medium.d_model
crossing = {}
for name in ("dense", "both"):
    in_layers = reads[name] - n_parameters(shapes[name].readout)
    crossing[name] = in_layers / 24 / per_position
    print(f"{name:6} after {crossing[name]:6,.0f} tokens")
assert crossing["both"] < 500 < 5000 < crossing["dense"]

# %% [markdown]
# A page of text. Beyond it, the time of a sparse model is again the time of attention, and that is
# where LSH attention or the next section's idea must help.
#
# ## Where this stands today
#
# **Mixture of experts.** The models that came after it made the same bargain, more coarsely: not
# one unit in each block, but two of eight whole feed-forward layers, the *experts*, chosen by a
# router. A whole expert is a dense matrix, which graphics cards like far better than scattered
# rows. Mixtral 8x7B says of itself that a token "has access to 47B parameters, but only uses 13B".
# From its published configuration that can be counted:

# %% tags=["nbval-check-output"]
d_model, d_ff, n_layers, vocab = 4096, 14_336, 32, 32_000
n_experts, n_chosen, n_heads, n_kv_heads, d_head = 8, 2, 32, 8, 128
attention = d_model * d_head * (2 * n_heads + 2 * n_kv_heads)
expert = 3 * d_model * d_ff  # gated: three matrices
has, uses = (
    n_layers * (attention + n * expert) + 2 * vocab * d_model for n in (n_experts, n_chosen)
)
print(f"has {has / 1e9:.1f} billion, uses {uses / 1e9:.1f} billion, a factor of {has / uses:.1f}")
assert (round(has / 1e9), round(uses / 1e9)) == (47, 13)

# %% [markdown]
# The feed-forward layers are sparse by a factor of four. The Terraformer's are by 64 or 128, and
# its attention is sparse, too, which no widely used model has taken up.
#
# **Grouped-query attention** goes for the cache. Mixtral has 32 heads of queries but only 8 of keys
# and values, so that four queries share one. The cache is a quarter as large, and so is what a
# token reads of it.

# %% tags=["nbval-check-output"]
print(f"{n_heads // n_kv_heads} times less cache")

# %% [markdown]
# ## Exercises
#
# [Four parts](../exercises/12_terraformer.ipynb): what a token reads, the source before the target,
# a step of the SRU, and the speedup of the whole. Solutions stand
# [here](../solutions/12_terraformer.ipynb).
#
# ## Sources
#
# - S. Jaszczur, A. Chowdhery, A. Mohiuddin, Ł. Kaiser, W. Gajewski, H. Michalewski, J. Kanerva:
#   *Sparse is Enough in Scaling Transformers*, NeurIPS 2021,
#   [arXiv 2111.12763](https://arxiv.org/abs/2111.12763), section 4 and Table 1.
# - T. Lei, Y. Zhang, S. I. Wang, H. Dai, Y. Artzi: *Simple Recurrent Units for Highly
#   Parallelizable Recurrence*, EMNLP 2018, [arXiv 1709.02755](https://arxiv.org/abs/1709.02755).
# - A. Q. Jiang et al.: *Mixtral of Experts*, 2024,
#   [arXiv 2401.04088](https://arxiv.org/abs/2401.04088).
# - J. Ainslie et al.: *GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
#   Checkpoints*, EMNLP 2023, [arXiv 2305.13245](https://arxiv.org/abs/2305.13245).
# - The talk "Efficient Transformers": Terraformer, decoding speed, "we always increase d_ff
#   accordingly".
