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
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from efftx import plots
from efftx.numbers import terraformer as numbers
from efftx.plots import terraformer as pictures

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
print(f"at 20 GB/s: {20e9 / (4 * in_all):.0f} tokens a second")

# %% [markdown]
# Reading alone sets this limit, whatever the processor can calculate. To be faster, a
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
from dataclasses import replace

from efftx.models import (
    Exact,
    attention_layer,
    init_feed_forward,
    language_model,
    multiplicative,
    plain_residual,
    reversible_residual,
    sparse_feed_forward,
    with_sru,
)
from efftx.models.readouts import init_multiplicative_readout

N_UNITS = 64


def build(key, sizes, exchanged=()):
    """A Transformer, with some of its parts exchanged."""
    qkv = attention_layer()
    feed_forward, residual = init_feed_forward, plain_residual
    if "FF" in exchanged:  # chapter 10
        feed_forward = sparse_feed_forward(n_units=N_UNITS)
    if "QKV" in exchanged:  # chapter 11
        qkv = attention_layer(Exact(), multiplicative())
        sizes = replace(sizes, d_ff=sizes.d_ff + 2 * sizes.d_model)
    if "reversible" in exchanged:  # chapter 03
        residual = reversible_residual
    if "SRU" in exchanged:  # this chapter
        feed_forward = with_sru(feed_forward)
    model = language_model(key, sizes, qkv, feed_forward, residual)
    if "readout" in exchanged:  # a multiplicative layer, as in chapter 11
        key = jax.random.fold_in(key, 1)
        model = replace(model, readout=init_multiplicative_readout(key, sizes, n_modules=4))
    return model


TECHNIQUES = {
    "dense": (),
    "+FF": ("FF",),
    "+QKV": ("QKV",),
    "both": ("FF", "QKV"),
    "all three": ("FF", "QKV", "readout"),
    "Terraformer": ("FF", "QKV", "readout", "SRU", "reversible"),
}

# %% [markdown]
# One line needs a word: where QKV becomes sparse, `d_ff` grows by 2 · `d_model`. Sparse QKV has far
# fewer parameters, and a smaller model would be faster for a boring reason. So the parameters that
# attention gave up go into the feed-forward layer, and all six models are of about one size. (The
# talk: *"less parameters than dense … we always increase d_ff accordingly"*.)
#
# With everything exchanged it is a Terraformer. (The SRU has its own section below.)

# %%
from efftx.plots import architectures

plots.show(
    architectures.draw_terraformer(),
    "The Reformer's diagram with other parts: attention has sparse QKV, the feed-forward layer is "
    "sparse and has an SRU beside it, the readout is sparse; embedding and positions are ordinary.",
)

# %% [markdown]
# The package's preset `terraformer` is this function. From the same key it has the same parameters
# and gives the same scores:

# %%
from efftx.models import Sizes, named_parameters, terraformer

small = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=64)
ours = build(jax.random.key(0), small, TECHNIQUES["Terraformer"])
theirs = terraformer(jax.random.key(0), replace(small, d_ff=256 + 2 * 64), n_units=N_UNITS)
tokens = np.arange(40) % 256
for name, array in named_parameters(ours).items():
    assert np.array_equal(array, named_parameters(theirs)[name])
scores = jax.jit(lambda model: model(tokens))
assert jnp.allclose(scores(ours), scores(theirs), atol=1e-5)

# %% [markdown]
# Now the medium size. `jax.eval_shape` asks what a function *would* return, so that no gigabyte is
# filled with random numbers.

# %% tags=["nbval-check-output"]
from efftx.models import n_parameters

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
# Of the same size, up to the controller, the smaller readout, and a recurrent branch that we have
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
# **And must even this one go step by step?** ▸ No. Take two steps of $c \to f \odot c + u$, one
# after the other:
#
# $$f_2 \odot (f_1 \odot c + u_1) + u_2 = (f_1 \odot f_2) \odot c + (f_2 \odot u_1 + u_2).$$
#
# Two steps are one step of the same form. So neighbours may be joined, all pairs at the same time,
# then pairs of pairs: $\log_2 L$ rounds and not $L$ steps. `lax.associative_scan` does that with
# any such rule.


# %%
from efftx.models.sru import SRU


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
# ### What is it good for?
#
# A feed-forward layer sees one position. Attention sees others, and it is the branch before. The
# paper's reason for the SRU is that it lets information travel along the text inside the
# feed-forward layer, too. **What can such a layer know of the past all by itself?** A game: a text
# of blanks with a digit here and there. After each position, which digit came last? We train a
# feed-forward layer with an SRU beside it, no attention, and as a control the same layer without.

# %%
import optax

from efftx.compiling import quick_jit

GAME, N_STEPS = Sizes(n_layers=1, d_model=32, d_ff=128, n_heads=1, d_head=32), 150


def texts(key, n=8, length=64):
    """Blanks, 0, and a digit from 1 to 8 at one position of ten; and the last digit at each."""
    where, which = jax.random.split(key)
    is_digit = jax.random.bernoulli(where, 0.1, (n, length)).at[:, 0].set(True)
    text = jnp.where(is_digit, jax.random.randint(which, (n, length), 1, 9), 0)
    place = lax.cummax(jnp.where(is_digit, jnp.arange(length), 0), axis=1)
    return text, jnp.take_along_axis(text, place, axis=1), jnp.arange(length) - place


def scores_of(player, text):
    embedding, layer = player
    x = embedding[text]
    return (x + layer(x)[0]) @ embedding.T


def loss(player, key):
    text, last, _ = texts(key)
    scores = jax.vmap(partial(scores_of, player))(text)
    return optax.softmax_cross_entropy_with_integer_labels(scores, last).mean()


@quick_jit
def play(player):
    """The player after all steps of Adam."""
    optimiser = optax.adam(1e-2)

    def step(carry, key):
        player, state = carry
        updates, state = optimiser.update(jax.grad(loss)(player, key), state)
        return (optax.apply_updates(player, updates), state), None

    keys = jax.random.split(jax.random.key(5), N_STEPS)
    return lax.scan(step, (player, optimiser.init(player)), keys)[0][0]


embedding = jax.random.normal(jax.random.key(6), (9, GAME.d_model)) / 4
text, last, ago = texts(jax.random.key(7), n=256)
AGO, rights = (0, 1, 5, 20), {}
for name, init in {"alone": init_feed_forward, "with an SRU": with_sru(init_feed_forward)}.items():
    player = play((embedding, init(jax.random.key(8), GAME)))
    right = jax.vmap(partial(scores_of, player))(text).argmax(-1) == last
    rights[name] = {n: float(right[ago == n].mean()) for n in AGO}
    shares = ", ".join(f"{n} positions ago {share:.0%}" for n, share in rights[name].items())
    print(f"{name}, right about the digit {shares}")
assert rights["alone"][0] == 1
assert max(rights["alone"][n] for n in AGO[1:]) < 0.3
assert min(rights["with an SRU"].values()) > 0.9

# %% [markdown]
# ▸ Alone it knows what stands at its position, and guesses the rest, one of eight. With the SRU it
# knows the last digit, twenty blanks later as well: it can keep its $c$ at a blank and exchange it
# at a digit. What a mean that fades cannot hold is *which* of many things was where; that stays
# attention's work. The paper found its effect minimal on a large web text, and uses it for what
# follows the pretraining (section 4 of the paper). What we measured is what it *can* do, not that a
# language model needs it.
#
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
from efftx.models import terraformer_with_encoder


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
from efftx.models import SparseFeedForward, counts


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
    assert read == counts.weights_read(shapes[name])
assert reads["dense"] > 12 * reads["Terraformer"]

# %% [markdown]
# Is it true that the other units are not read? There are two witnesses. The first is poison. We
# take one layer and one token, find the units that are on, and put NaN into all weights of all the
# others. Whoever multiplies one of them, if only by zero, gets NaN.
#
# But poison tells who multiplies, and not who reads: a `jnp.where` over all the weights would hide
# it. So the second counts, in the program that jax traces, the numbers that are taken out of each
# array.

# %%
from efftx.check.promises import numbers_read

layer = jax.tree.map(lambda stacked: stacked[0], ours.blocks.feed_forward.layer.layer)
x = jax.random.normal(jax.random.key(2), (1, 64))
on = jnp.argmax(layer.scores(x), axis=-1)[0]  # for each block, its unit
is_on = (jnp.arange(N_UNITS) == on[:, None])[..., None]
poisoned = replace(
    layer, w1=jnp.where(is_on, layer.w1, jnp.nan), w2=jnp.where(is_on, layer.w2, jnp.nan)
)
y, _ = poisoned.step(x, (), 0)
assert jnp.allclose(y, layer(x)[0], atol=1e-5)  # as if nothing had happened
assert jnp.isnan(poisoned(x)[0]).all()  # the training path computes all units, then masks


def step_with(w1, w2, x):
    return replace(layer, w1=w1, w2=w2).step(x, (), 0)[0]


arrays = {"w1": np.asarray(layer.w1), "w2": np.asarray(layer.w2), "x": np.asarray(x)}
read = {name: numbers_read(step_with, arrays, name) for name in ("w1", "w2")}
print(f"of {layer.w1.size:,} numbers of w1 and of w2, a step reads {read}")
assert set(read.values()) == {layer.w1.size // N_UNITS}

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
# For its 17 billion parameters the paper timed a slice of the layers. We do the same: three layers,
# half as wide as the medium model, and a vocabulary so small that the readout keeps its share. More
# would not fit in the 1 GB of a free Binder. Two preparations:
#
# - `by_layer` gives each layer arrays of its own. In the usual stack of all layers a loop copies
#   each layer's share before it is used, and for a single vector the copy would cost more than the
#   product.
# - Nothing is trained, and nothing is read before. The weights are any random numbers, the caches
#   are empty: a step takes as long with these as with others.
#
# **Predict from the table above: how many times faster will "both" be?**

# %%
import time

from efftx.models import by_layer, prefill, step

slice_sizes = Sizes(3, d_model=512, d_ff=2048, n_heads=8, d_head=64, max_len=256, vocab=2000)
N_TOKENS = 24


def filled(exchanged):
    """A model by layer, of random numbers; and how many weights a step reads of it."""
    shapes = jax.eval_shape(
        partial(build, sizes=slice_sizes, exchanged=exchanged), jax.random.key(0)
    )
    random = np.random.default_rng(0)
    model = jax.tree.map(
        lambda leaf: jnp.asarray(0.02 * random.standard_normal(leaf.shape, np.float32)),
        jax.eval_shape(by_layer, shapes),
    )
    return model, weights_read(shapes)


def empty_state(model):
    """What `prefill` would return, without its work: all zeros."""
    shapes = jax.eval_shape(partial(prefill, capacity=N_TOKENS), model, np.arange(1))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


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


matrix, vector = jnp.ones((5120, 2048)), jnp.ones(2048)  # about what the dense model reads
by_matvec = [seconds_of(matvec, matrix, vector) for _ in range(30)]
bandwidth = matrix.nbytes / float(np.median(by_matvec))
del matrix

dense, dense_read = filled(())
live_reads, seconds = {"dense": dense_read}, {"dense": []}
for name in list(TECHNIQUES)[1:]:
    model, live_reads[name] = filled(TECHNIQUES[name])
    write_too = jax.jit(lambda *arguments: write(*arguments))  # a program that goes with its name
    pair = {
        "dense": (write, dense, *empty_state(dense)),
        name: (write_too, model, *empty_state(model)),
    }
    seconds[name] = []
    for _ in range(7):  # they take turns; the first compiles, and a median does not mind
        for who, call in pair.items():
            seconds[who].append(seconds_of(*call) / N_TOKENS)
    del model, pair, call, write_too
seconds = {name: float(np.median(values)) for name, values in seconds.items()}
del dense

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
    "for the six models. A dashed line is the time that reading takes at the bandwidth of a "
    "matrix times a vector. Dense and +QKV on the right and +FF in the middle lie near it, the models "
    "with more sparse parts far to the left and down, and above it.",
)

# %% [markdown]
# ▸ Not quite as many times as it reads fewer weights, which here is 6.1. Time follows the bytes.
# Where a point lies above the line, something besides reading takes time: gathering scattered rows
# is slower than streaming a matrix, and what was nothing beside 10.48 million weights becomes
# visible, layer norms, the cache of keys and values, the start of each small operation.
#
# But be careful with a slice. It may mislead in either direction: the few megabytes that a sparse
# one reads may stay in the processor's own cache from one token to the next, which they could not
# in the whole model; and what every operation costs to start weighs more the smaller the model is.
# So look at the whole.

# %% [markdown]
# ## The whole of Table 1
#
# `benchmarks/decoding.py` timed all 24 layers of the medium model and its full readout: dense and
# sparse models in turn, the same dense model in torch, and one product of a matrix that is as large
# as everything with a vector. No model can read faster than that product.
#
# What each model reads we have counted above, so this can be checked. **The model with all three
# sparse parts reads 16 times fewer weights. How many times faster was it?**

# %%
from efftx.results import recorded

benchmark = recorded("decoding")
WHO = {
    "dense": "dense",
    "+FF": "sparse feed-forward",
    "+QKV": "sparse QKV",
    "both": "both",
    "all three": "both, sparse readout",
    "Terraformer": "Terraformer",
}


def measured(part):
    """The rows of a part of the benchmark, by our names."""
    rows = {row["who"]: row for row in benchmark[part]["rows"]}
    return {name: rows[who] for name, who in WHO.items() if who in rows}


def speedups(seconds):
    """How many times as fast as the dense model."""
    return {name: seconds["dense"] / value for name, value in seconds.items() if name != "dense"}


machine, limit = benchmark["machine"], benchmark["medium"]["product"]["gb_per_second"]
print(
    f"measured on: {machine['processor']}, {machine['cores']} cores; the product: {limit:.1f} GB/s"
)
here = {
    part: {n: row["seconds"] for n, row in measured(part).items()} for part in ("medium", "big")
}
faster = {part: speedups(seconds) for part, seconds in here.items()}
print("              ms a token   × as fast   × fewer weights    GB/s   of the product's")
for name, row in measured("medium").items():
    assert row["weights_read"] == reads[name]
    print(
        f"{name:14}{1000 * row['seconds']:10.1f}{here['medium']['dense'] / row['seconds']:12.1f}"
        f"{reads['dense'] / reads[name]:18.1f}{row['gb_per_second']:8.1f}"
        f"{row['gb_per_second'] / limit:19.0%}"
    )
for row in benchmark["medium"]["rows"]:
    if row["who"].startswith("torch"):
        ratio = row["seconds"] / here["medium"]["all three"]
        print(f"{row['who']}: {1000 * row['seconds']:.1f} ms; all three are {ratio:.1f} × as fast")

# %% [markdown]
# ▸ 6 times, and the last column says why. Reading less is one thing, reading it well another. The
# dense model comes closest to what memory can give. A sparse step is many small products and
# scattered rows, and gets a smaller part of it: so the time falls by less than the weights do.
#
# Here are the paper's measurements beside ours, as ratios, since seconds of two machines cannot be
# compared. Nor are the models quite the same: the paper's has an encoder, and each block of its
# decoder also looks across to it. **In the bars of one colour, compare what +FF and +QKV bring with
# what they bring together: how many times faster will both be, here, in the big model?**

# %%
my_guess = plots.ask("times faster with both, here, big")

# %%
PAPER = {  # Table 1, seconds for a token
    "800M": {"dense": 0.160, "+FF": 0.093, "+QKV": 0.152, "both": 0.061},
    "17B": {"dense": 3.690, "+FF": 1.595, "+QKV": 3.154, "both": 0.183},
}
papers = {size: speedups(seconds) for size, seconds in PAPER.items()}
papers["17B"]["Terraformer"] = 37  # the paper gives this ratio
my_guess.show(
    pictures.draw_speedups(
        {
            "paper, 800M": papers["800M"],
            "here, medium": faster["medium"],
            "paper, 17B": papers["17B"],
            "here, big": faster["big"],
        }
    ),
    "Bars of how many times faster than dense a token is, on a logarithmic axis, in the paper at "
    "800 million and 17 billion parameters, and here in the medium and the big model. +QKV alone "
    "brings little or nothing, +FF some two to five times, both together more than that in all "
    "four, and far more in the large models than in the small.",
)

# %% [markdown]
# ▸ 12.8 times, where feed-forward alone brings less than five and QKV alone nothing.
#
# The same as seconds saved, in percent of the dense model's time. Seconds add up, ratios do not. (A
# part that is slower than dense saves less than nothing; in the picture it counts as nothing.)

# %%
savings = {
    f"{who}, {size}": {
        name: 100 * (1 - seconds[name] / seconds["dense"]) for name in ("+FF", "+QKV", "both")
    }
    for who, sizes in (("paper", PAPER), ("here", here))
    for size, seconds in sizes.items()
}
for name, saved in savings.items():
    alone = ", ".join(f"{part} alone {saved[part]:4.1f} %" for part in ("+FF", "+QKV"))
    print(f"{name:13} {alone}, both together {saved['both']:4.1f} %")
plots.show(
    pictures.draw_savings(savings),
    "For each of the four, what feed-forward and QKV save alone, one upon the other, in percent "
    "of the dense model's time, and beside them what both save together: a higher bar.",
)

# %% [markdown]
# ### Ten billion parameters
#
# They are 40 GB in float32, too much for the machine that measured. So for *big* the benchmark
# timed one, two and three layers, and takes what a layer more costs for each of the others, until
# there are ten billion parameters. In eight bits a number needs one byte and not four, and all
# layers fit in memory. Those, *whole*, were run as they are.

# %%
for part in ("big", "whole"):
    for name, row in (measured(part) if part in benchmark else {}).items():
        print(
            f"{part:6}{name:12}{row['n_layers']} layers, {row['parameters'] / 1e9:4.1f} billion, "
            f"reads {row['bytes_read'] / 1e9:5.2f} GB, {1000 * row['seconds']:7.1f} ms a token, "
            f"{1 / row['seconds']:5.2f} tokens a second"
        )
    if part == "big":
        assert abs(measured(part)["dense"]["parameters"] / 1e10 - 1) < 0.03

# %% [markdown]
# Ten billion parameters on two cores of a processor: in eight bits and with all three parts sparse
# they write 17 tokens a second, and dense a single one. (Eight bits are a matter of memory, less of
# time. Compare the dense rows: a quarter of the bytes does not take a quarter of the time, since
# each number must be turned into a float before it is used.)
#
# So our dense model in eight bits is a slow opponent. Who has such a model takes a library that is
# made for few bits. `benchmarks/opponents.py` sets the same matrices in onnxruntime beside ours, in
# eight bits and in four, on another machine; models of one and of three layers take turns, and the
# slope gives the time of all. **How much of the lead is left?**

# %%
opponents = recorded("opponents")
machine, rows = opponents["machine"], opponents["results"]
print(f"measured on: {machine['processor']}, {machine['cores']} cores; a token of all 29 layers")
ours = next(row for row in rows if "sparse" in row["who"])
for row in rows:
    low, high = (1000 * end for end in row["seconds_with_interval"]["interval_95"])
    print(
        f"{row['who']:36}{1000 * row['seconds']:6.0f} ms ({low:.0f} to {high:.0f}), "
        f"reads {row['bytes_read'] / 1e9:5.2f} GB at {row['gb_per_second']:4.1f} GB/s, "
        f"{row['seconds'] / ours['seconds']:4.1f} × the sparse one"
    )

# %% [markdown]
# ▸ Of the 23 times against our own dense model, 7 against onnxruntime in eight bits and 5 against
# it in four: where ours reads 5 GB/s, it reads 19. (It leaves out norms, the softmax and the cache,
# so a whole decoder would be a little slower.) The rest of the lead is what sparsity is about, a
# twentieth of the bytes; and there is room in it, for the sparse model reads no more than 6 GB/s.
#
# And what the talk claims, beside what the paper and this benchmark measured:

# %%
for part, claim, size in (("medium", "5 × (700M)", "800M"), ("big", "28 × (10B)", "17B")):
    ours = faster[part]
    print(
        f"{part:6} the talk claims more than {claim}; "
        f"the paper, {size}: both {papers[size]['both']:.1f} ×; "
        f"here: both {ours['both']:.1f} ×, all three {ours['all three']:.1f} ×"
    )
across = benchmark["medium"]["with_cross_attention"]
ratio = across["dense"] / across["both"]
print(
    f"weights read if a medium decoder also looked across: dense {across['dense'] / 1e6:.0f}, "
    f"both {across['both'] / 1e6:.0f} million, {ratio:.1f} × fewer"
)
assert 7.5 < ratio < 8.5

# %% [markdown]
# The talk does not say on which machine, nor which parts were sparse, so these are claims beside
# measurements. Of the models here those with all three parts come near the talk's numbers, or reach
# them; with a dense readout they stay behind. The last line shows how far apart weights and seconds
# may be: of a decoder that also looks across, as the paper's does, a token reads 8 times fewer
# weights with both parts sparse, and the paper measured it 2.6 times faster.
#
# What all of them agree in is the direction: **the larger the model, the more there is to leave
# unread**, and the less everything else counts.
#
# ## Does it cost quality?
#
# Speed is worth nothing if the model has learned nothing. The talk and the paper's abstract claim
# that sparse models of the same number of parameters are on par with dense ones.
# `experiments/sparse_quality.py` tried it with small models of one size on the source code of
# Python's own library, from several seeds, with $N$ = 16. **Which of them do you expect to be worse
# than the dense one?**

# %%
quality = recorded("sparse_quality")
print(
    f"{len(quality['seeds'])} seeds, each trained on "
    f"{quality['corpus']['bytes_trained_on']:,} bytes, "
    f"evaluated on {quality['corpus']['bytes_evaluated']:,} others"
)
print(f"{'':21}parameters   bits per byte   more than dense   (95 % interval)")
for name in ("dense", "sparse_ff_16", "sparse_ff_16_and_qkv", "terraformer"):
    variant = quality["variants"][name]
    bits, more = variant["bits_per_byte"]["mean"], variant["more_than_dense"]
    low, high = more["interval_95"]
    print(
        f"{name:21}{variant['n_parameters']:10,}{bits:16.3f}{more['mean']:+18.3f}"
        f"   ({low:+.3f} to {high:+.3f})"
    )
    assert more["mean"] < 0.15

# %% [markdown]
# ▸ Only the one with nothing but sparse feed-forward layers, and it only by a little, if at all:
# the interval holds the zero. With sparse QKV the model is *ahead* of the dense one, and the
# Terraformer is, too. That is more than the claim, and no reason to cheer: sparsity can hardly be
# what helps. Sparse QKV brings convolutions that look at the bytes right before, and those may be a
# good help to a small model that has seen 307,200 bytes of text. A small test of [chapter
# 11](11_sparse_qkv.ipynb) speaks for it; of these models nobody measured it. Nor does any of this
# say what would be at the paper's size, or after a long training.
#
# ## Text, token by token
#
# The first of these Terraformers comes with the package. Here it is with hard masks, one unit of
# each block, as a model without a key uses them, on a text that it has not seen:

# %%
from efftx.models import pretrained
from efftx.training.losses import evaluate

writer = pretrained.small_terraformer()
held_out = pretrained.example_text()[: 16 * 128 + 1]
hard = evaluate(writer, held_out, length=128, progress=False)
print(
    f"{n_parameters(writer):,} parameters, of which a token reads {counts.weights_read(writer):,}"
)
print(f"{hard:.2f} bits per byte with hard masks, on text that was held out")
assert hard < 4.5

# %% [markdown]
# `prefill` reads a prompt, `step` one token at a time. The state holds keys and values, the
# convolutions' last two positions, and each layer's $c$. Is a step the same as the whole model? We
# let it read eight bytes at once and eight one by one, and compare with all sixteen at once:

# %%
from efftx.training.corpora import as_tokens

one_step = jax.jit(step)
first_bytes = as_tokens(bytes(held_out[:16]))
logits, state = prefill(writer, first_bytes[:8], capacity=16)
by_step = [logits]
for token in first_bytes[8:]:
    logits, state = one_step(writer, state, token)
    by_step.append(logits)
at_once = jax.jit(lambda model: model(first_bytes))(writer)
assert jnp.allclose(jnp.stack(by_step), at_once[7:], atol=1e-3)

# %% [markdown]
# And now it writes. Run the cell and watch: the letters come as they are computed.

# %%
from efftx.models.sampling import pick
from efftx.training.corpora import as_text

choose = jax.jit(partial(pick, temperature=0.6))
key = jax.random.key(3)
prompt = '    """Return the '
n_new = 128 - len(prompt)  # it was trained on texts of 128 bytes
logits, state = prefill(writer, as_tokens(prompt.encode()), capacity=128)
print(prompt, end="")
times = []
for i in range(n_new):
    started = time.perf_counter()
    token = choose(logits, jax.random.fold_in(key, i))
    logits, state = one_step(writer, state, token)
    print(as_text([token]), end="", flush=True)
    times.append(time.perf_counter() - started)
print(f"\n\n{1 / np.median(times):.0f} bytes a second, printing included")

# %% [markdown]
# That is what 144,864 parameters and 307,200 bytes of text give: syllables, some of which are
# words, here and there a sign as in a program, and no sense. Nor is the speed a merit of sparsity.
# In a model that is so small, starting the operations is what takes the time; to read fewer weights
# pays where there are many.
#
# ## Explore
#
# Choose a model, and make its parts sparse one after the other. **Which order of the three switches
# makes the second one look best? Which part dominates at the end, in the medium model and in the
# big one?**

# %%
import ipywidgets as widgets

model_choice = widgets.Dropdown(options=list(numbers.MODELS), index=1, description="model")
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
            name: numbers.weights_read("medium: 24 × 1,024", *chosen)
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
    "feed-forward. Both: mostly the readout is left. With a sparse readout 20 million.",
)
display(
    widgets.HBox([model_choice, *switches.values()]),
    widgets.interactive_output(
        partial(pictures.show_reads, gb_per_second=gb_per_second),
        {"model": model_choice, **switches},
    ),
)

# %% [markdown]
# ▸ First QKV, which saves nothing by itself, and then feed-forward, which now looks as if it had
# saved everything. At the end, with all three, the readout is the longest part in the medium model,
# and the feed-forward layers are in the big one.
#
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
# ▸ After 249, not even a page of text. Beyond it a sparse model reads its cache more than its
# weights.
#
# LSH attention wants fewer keys. It is a *kind* of attention, sparse QKV a *projection*, and any
# kind goes with any projection: so a Terraformer may have [chapter 08](08_lsh_attention.ipynb)'s
# in the place of exact attention. **What does that change in the memory of a layer's gradient, in
# its scores, and in what a new token looks at?**

# %%
from efftx.attention import default_n_buckets
from efftx.compiling import planned_bytes
from efftx.models import Blocked
from efftx.models.terraformer import lsh_attentions

N_HASHES, CHUNK_LEN = 2, 32
kinds = {
    "whole matrices": attention_layer(Exact(), multiplicative()),
    "in blocks": attention_layer(Blocked(), multiplicative()),
    "LSH": lsh_attentions(n_hashes=N_HASHES, chunk_len=CHUNK_LEN)["attention"],
}
key, planned = jax.random.key(1), {}
hashing = terraformer(key, small, attention=kinds["LSH"])
assert jax.eval_shape(hashing, tokens, key).shape == (40, 256)


def loss(layer, x):
    return jnp.sin(layer(x, key)[0]).sum()


for name, kind in kinds.items():
    layer, x = kind(key, small), jnp.zeros((4096, small.d_model))
    planned[name] = planned_bytes(jax.grad(loss, (0, 1)), layer, x)
    print(f"4,096 tokens, {name:15}{planned[name] / 2**20:5.0f} MiB")
assert planned["whole matrices"] > 4 * max(planned["in blocks"], planned["LSH"])
n_buckets = default_n_buckets(4096, CHUNK_LEN)
reached = 4096 * (1 - (1 - 1 / n_buckets) ** N_HASHES)
print(f"scores of a query: {4096 // 2:,} on average, {N_HASHES * 2 * CHUNK_LEN} with LSH")
print(f"keys that share one of {n_buckets} buckets with it in {N_HASHES} rounds: {reached:.0f}")

# %% [markdown]
# ▸ In memory, nothing that blocks did not change before. In scores, much: a query has 128 in place
# of two thousand. And a new token looks at a few dozen keys, if hashes spread them evenly.
#
# *Looks at* is not yet *reads*. The package's step goes over all cached keys and masks those of
# other buckets; to leave them unread, a cache would have to be kept bucket by bucket, which is not
# done here. And nobody trained a Terraformer with LSH attention in this course: what it costs in
# quality is [chapter 09](09_reformer.ipynb)'s question, asked there of a Reformer.
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
# its attention is sparse, too, which no widely used model that we know of has taken up.
#
# **Grouped-query attention** goes for the cache. Mixtral has 32 heads of queries but only 8 of keys
# and values, so that four queries share one. The cache is a quarter as large, and so is what a
# token reads of it.

# %% tags=["nbval-check-output"]
print(f"{n_heads // n_kv_heads} times less cache")

# %% [markdown]
# ## Then and now
#
# > Large models do decode on CPUs today, and the larger part of it came from bits: *T-MAC* (2024)
# > computes with weights of a few bits by looking products up in tables ([arXiv
# > 2407.00088](https://arxiv.org/abs/2407.00088)). Sparsity came second, as mixtures of experts:
# > [KTransformers](https://github.com/kvcache-ai/ktransformers/blob/main/doc/en/DeepseekR1_V3_tutorial.md)
# > (February 2025) reports 8.7 to 13.7 tokens a second for DeepSeek's 671 billion parameters, in
# > four bits, on two Xeons with one graphics card. That is possible since each token reads only 37
# > billion of them.
#
# ## Exercises
#
# [Four parts](../exercises/12_terraformer.ipynb): what a token reads, the source before the target,
# a step of the SRU, the speedup of the whole, and an experiment to predict. The solutions are
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
