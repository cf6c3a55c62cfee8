# %% [markdown]
# # 01 · From RNNs to Transformers
#
# The talk begins with a change of mind. For years, whoever wanted a neural network to read a text
# let it read *one word after another*. Then came a network that looks at *all words at once*, and
# soon it had replaced the other nearly everywhere. This chapter asks why, and at what price. The
# price is what the rest of the course is about.
#
# After this chapter you can
#
# - say what recurrence costs: in steps that must wait for each other, and in memory for the past;
# - build attention from an empty cell, a whole Transformer from attention, and watch it learn;
# - train one that translates English number words into German, and see where it looks;
# - check the training cost of the first Transformers, and compute what a model needs to be
#   fine-tuned.
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
from efftx.plots import from_rnns_to_transformers as pictures

# %% [markdown]
# ## One step after another
#
# How can a network with a fixed number of weights read a text of any length? A **recurrent
# network** keeps a *state*, a few hundred numbers. At every word it computes the next state from
# the last one and the word. All that it knows of the past is in that state.
#
# The best known is the LSTM. Its state has two halves. The *cell* $c$ is a notebook: at each step
# the network strikes something out and writes something in. The *output* $h$ is what it shows of
# the notebook. Three gates between 0 and 1 decide, each a function of the new input $x_t$ and the
# last output:
#
# $$
# \begin{aligned}
# c_t &= \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \tanh(g_t)
#   &&\text{forget, and take in} \\
# h_t &= \sigma(o_t) \odot \tanh(c_t) &&\text{show}
# \end{aligned}
# \qquad (f_t, i_t, g_t, o_t) = x_t W + h_{t-1} U + b
# $$
#
# As a loop, exactly as it stands there:


# %%
from efftx.models import Sizes
from efftx.models.recurrent import init_lstm


def lstm_by_loop(x, w, u, b):
    """(length, d_model) -> (length, d_model). w, u: (d_model, 4, d_model), b: (4, d_model)."""
    cell = output = jnp.zeros(x.shape[1])
    outputs = []
    for x_t in x:
        f, i, g, o = jnp.einsum("m,mgn->gn", x_t, w) + jnp.einsum("m,mgn->gn", output, u) + b
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        output = jax.nn.sigmoid(o) * jnp.tanh(cell)
        outputs.append(output)
    return jnp.stack(outputs)


SIZES = Sizes(d_model=64, n_heads=4, d_head=16)
lstm = init_lstm(jax.random.key(0), SIZES)
x = jax.random.normal(jax.random.key(1), (10, SIZES.d_model))
by_loop = jax.jit(lstm_by_loop)(x, lstm.w_in, lstm.w_state, lstm.b)
assert jnp.allclose(lstm(x)[0], by_loop, atol=1e-5)

# %% [markdown]
# The package's LSTM is the same loop as a `lax.scan`; and since the inputs $x_t W$ depend on no
# state, it computes them all in one matrix product before the loop begins.
#
# The $h_{t-1} U$ cannot be computed before the loop. **Each step needs the one before it.** A
# machine that could do a thousand multiplications at a time would have nothing for most of them to
# do.
#
# Now the rival. *Attention*, which we build in a moment, lets every position look at every other
# directly. Let us first count what that buys. Take a program as JAX sees it, a list of operations,
# and ask: what is the longest chain of matrix products of which each waits for the one before?


# %%
from efftx.models import Exact, attention_layer


def chain(jaxpr):
    """The longest chain of matrix products in a traced function, each needing the one before."""
    depth = {}  # of each value: how many products it has waited for
    for equation in jaxpr.eqns:
        waited = max([depth.get(id(value), 0) for value in equation.invars], default=0)
        inner = [p for p in equation.params.values() if hasattr(p, "jaxpr") or hasattr(p, "eqns")]
        own = sum(chain(getattr(part, "jaxpr", part)) for part in inner)
        own *= equation.params["length"] if equation.primitive.name == "scan" else 1
        own += equation.primitive.name == "dot_general"
        depth.update({id(value): waited + own for value in equation.outvars})
    return max([depth.get(id(value), 0) for value in jaxpr.outvars], default=0)


layer = attention_layer(Exact())(jax.random.key(0), SIZES)
LENGTHS = (16, 64, 256, 1024)


def chains(layer):
    inputs = [jax.ShapeDtypeStruct((length, SIZES.d_model), jnp.float32) for length in LENGTHS]
    return np.array([chain(jax.make_jaxpr(layer)(x).jaxpr) for x in inputs])


steps = {"LSTM": chains(lstm), "attention": chains(layer)}
print("length   ", *(f"{length:6,}" for length in LENGTHS))
for name, counts in steps.items():
    print(f"{name:9}", *(f"{count:6,}" for count in counts))
assert (steps["LSTM"] == 1 + np.array(LENGTHS)).all()
assert (steps["attention"] == 4).all()

# %% [markdown]
# One more step for each position against four, whatever the length: project, compare, take the
# mean, project back. (In a network of several recurrent layers, the second may begin as soon as the
# first has done one position, so their chains overlap. The length does not go away.)
#
# A chain is a lower bound. Whether your machine comes near it is another question, because
# attention pays for its short chain with *more* work: $L^2$ comparisons. **Guess before you run
# it: at which length does attention take longer on this machine?** One layer, its forward pass,
# one sequence:


# %%
import time


def milliseconds(layer, length, repeats=5):
    """The median time of a layer's forward pass."""
    x = jax.random.normal(jax.random.key(0), (length, SIZES.d_model))
    run = jax.jit(lambda layer, x: layer(x)[0])
    jax.block_until_ready(run(layer, x))  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run(layer, x))
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


times = {
    name: np.array([milliseconds(one, length) for length in LENGTHS])
    for name, one in {"LSTM": lstm, "attention": layer}.items()
}
plots.show(
    pictures.draw_against_length(LENGTHS, times, ylabel="milliseconds, forward pass"),
    "Time of one layer against the length. At large lengths the LSTM's grows in proportion to the "
    "length; that of attention grows faster, since it compares all pairs.",
)
for name, series in times.items():
    each = 1000 * series / np.array(LENGTHS)
    print(f"{name:9}", *(f"{value:7.1f} µs" for value in each), "for each position")

# %% [markdown]
# ▸ On the machine that built this page, somewhere between 64 and 256 positions: at 64 attention was
# still the faster one, at 256 no longer.
#
# The two printed lines hold the story of this course. Look at the right half of them. At short
# lengths the time *for each position* falls in both, for what it costs to start a layer at all is
# shared by more positions. From there the LSTM's comes to rest: each position waits for the one
# before, and a step takes what it takes. That of attention rises, as there is more and more to
# compare. A GPU has thousands of units that can work at the same time. They cannot shorten the
# LSTM's chain, while attention can use them all. But its growth stays, and part two of the course
# (chapters 06 to 09) is about nothing else.
#
# ## How far does it hear?
#
# Waiting is one cost. The other one is forgetting. What the LSTM knows of a word a hundred steps
# ago has gone through a hundred gates, each of which multiplied it by a number below 1.
#
# Measure it: how much does the *last* output change when an *earlier* input changes a little? Two
# fresh layers, as they are before training, with 100 positions. **What do you expect the curves to
# look like on a logarithmic axis?**


# %%
def influence(layer, x):
    """(length,): the size of d(last output) / d(each input), relative to the last input's."""
    jacobian = jax.jit(jax.jacrev(lambda x: layer(x)[0][-1]))(x)  # (d_model, length, d_model)
    size = jnp.sqrt((jacobian**2).sum((0, 2)))
    return np.asarray(size / size[-1])


x = jax.random.normal(jax.random.key(2), (100, SIZES.d_model))
heard = {"LSTM": influence(lstm, x), "attention": influence(layer, x)}
plots.show(
    pictures.draw_influence(heard),
    "Influence of earlier inputs on the last output, by distance, on a logarithmic axis. That of "
    "the LSTM falls along a straight line, by orders of magnitude; that of attention stays level.",
)
print({name: f"{values[0]:.1e}" for name, values in heard.items()}, "at distance 99")
assert heard["LSTM"][0] < 1e-6
assert heard["attention"].min() > 1e-3

# %% [markdown]
# ▸ The LSTM's is a straight line, and that is exponential decay: at distance 99, less than a
# millionth of the last input's influence is left. Attention's goes up and down, but does not fall
# with the distance.
#
# Training can open the forget gates, and a trained LSTM can hear much further than this one. But it
# has to *learn* to keep each thing, before it can learn what the thing is good for. With attention
# the way is one step long from the start.
#
# ## Attention: look it up
#
# Forget networks for a moment. A Python dictionary holds keys and values; you ask with a query,
# and get the value whose key is *equal* to it. Attention is that, made soft: every key is compared
# with the query, and you get the *mean* of all values, weighted by how well their keys fit.
#
# $$
# o_i = \sum_j p_{ij}\, v_j, \qquad
# p_{ij} = \frac{e^{s_{ij}}}{\sum_l e^{s_{il}}}, \qquad s_{ij} = \frac{q_i \cdot k_j}{\sqrt d}
# $$
#
# Fit is the dot product: large when two vectors point the same way. The exponential makes weights
# positive, and the sum below makes them add up to 1. And the $\sqrt d$? A dot product is a sum of
# $d$ terms. **What happens to the weights if $d$ grows, and nothing is divided by?** Draw queries
# and 64 keys at random, and look:

# %%
print("width    scores vary by    largest of 64 weights    after division by √d")
for width in (4, 64, 1024):
    query, keys = jax.random.normal(jax.random.key(width), (2, 50, 64, width))
    scores = (query[:, :1] * keys).sum(-1)  # of 50 queries with 64 keys each
    largest = jax.nn.softmax(scores).max(1).mean()
    divided = jax.nn.softmax(scores / width**0.5).max(1).mean()
    print(f"{width:5}{scores.std():18.1f}{largest:25.2f}{divided:24.2f}")
    assert abs(scores.std() / width**0.5 - 1) < 0.1
    assert 0.05 < divided < 0.2
assert largest > 0.9

# %% [markdown]
# ▸ They gather on one key: at width 1,024 the largest of the 64 weights is 0.96 in the mean. The
# scores vary by $\sqrt d$, and exponentials of such numbers leave nearly everything to the largest.
# The softmax has become a hard choice before anything was learned, and a hard choice has next to no
# gradient. Divided by $\sqrt d$, wide vectors start as softly as narrow ones.
#
# In a loop, one query and one key at a time:


# %%
def attention_by_loops(q, k, v):
    """(n_queries, d), (n_keys, d), (n_keys, d_value) -> (n_queries, d_value)."""
    outputs = []
    for q_i in q:
        fit = [jnp.exp(q_i @ k_j / len(q_i) ** 0.5) for k_j in k]
        outputs.append(sum(f * v_j for f, v_j in zip(fit, v, strict=True)) / sum(fit))
    return jnp.stack(outputs)


# %% [markdown]
# No step of these loops waits for another. So all of it fits into two matrix products and a
# softmax:


# %%
@jax.jit
def attend(q, k, v, mask=True):
    """The same for all queries at once. `mask` is True where a query may look at a key."""
    scores = q @ k.T / jnp.sqrt(q.shape[1])
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return weights @ v


q, k, v = jax.random.normal(jax.random.key(3), (3, 6, 8))
assert jnp.allclose(attend(q, k, v), jax.jit(attention_by_loops)(q, k, v), atol=1e-5)
assert jnp.allclose(attend(q, k, v), attention.full_attention(q, k, v, causal=False), atol=1e-5)

# %% [markdown]
# When a key points the way of the query and is long enough, the mean becomes a look-up:

# %%
keys = 20 * jnp.eye(3)  # "cat", "dog", "owl"
values = jnp.array([[4.0], [4.0], [2.0]])  # legs
assert jnp.allclose(attend(keys[2:], keys, values), 2.0)

# %% [markdown]
# ### It does not see order
#
# Something has been lost. **Shuffle the keys together with their values: what happens to the
# output?**

# %%
shuffled = jax.random.permutation(jax.random.key(4), 6)
assert jnp.allclose(attend(q, k[shuffled], v[shuffled]), attend(q, k, v), atol=1e-6)

# %% [markdown]
# ▸ Nothing. To attention a text is a bag of words. A recurrent network has the order in its bones;
# a Transformer must be *told*: a vector for the position is added to the vector of each word.
#
# ### It must not see the future
#
# A language model predicts the next word. In training we know the whole text, so it would simply
# look at the word to be predicted. The mask forbids it: position $i$ sees the positions up to $i$.
# It is a triangle.

# %%
triangle = jnp.tri(6, dtype=bool)
causal = attend(q, k, v, triangle)
assert jnp.allclose(causal, attention.full_attention(q, k, v, causal=True), atol=1e-5)

later = jnp.arange(6)[:, None] >= 4  # change keys and values from position 4 on
changed = attend(q, jnp.where(later, 9.0, k), jnp.where(later, 9.0, v), triangle)
assert jnp.allclose(changed[:4], causal[:4], atol=1e-6)
assert (jnp.abs(changed - causal).max(axis=1)[4:] > 0.1).all()

# %% [markdown]
# The first four outputs do not notice. That is why Transformers are trained so fast: one pass over
# a text of $L$ words gives the predictions after $L$ different beginnings, *all at once*, each as
# if the rest did not exist.
#
# ### Several heads
#
# One softmax is one question. A word may have several: where is my verb, and which noun did I
# replace? So the model's vectors are projected to several small sets of $q$, $k$ and $v$, each
# attends for itself, and a last matrix adds up what they found. All of multi-head attention:


# %%
from efftx.models import Attention


@jax.jit
def multi_head(x, source, w_in, w_out, mask=True):
    """(length, d_model), (source_length, d_model) -> (length, d_model).

    w_in: (d_model, 3, n_heads, d_head) for q, k, v; w_out: (n_heads, d_head, d_model).
    """
    q = jnp.einsum("lm,mhd->hld", x, w_in[:, 0])
    k, v = jnp.einsum("lm,mphd->phld", source, w_in[:, 1:])
    heads = jax.vmap(attend, in_axes=(0, 0, 0, None))(q, k, v, mask)
    return jnp.einsum("hld,hdm->lm", heads, w_out)


x = jax.random.normal(jax.random.key(5), (10, SIZES.d_model))
ours = multi_head(x, x, layer.projection.w_in, layer.projection.w_out, jnp.tri(10, dtype=bool))
assert isinstance(layer, Attention)
assert jnp.allclose(ours, layer(x)[0], atol=1e-5)

# %% [markdown]
# ## A whole Transformer, in the open
#
# Nothing is missing any more. A language model reads a text and says, after each byte, which byte
# comes next. It gives each byte a vector, adds one for the position, goes through a few *blocks*,
# and turns each last vector into a score for every byte. A block is two layers: attention, where
# positions exchange what they know, and a **feed-forward** layer, where each works on it alone.
# Each adds what it finds to what was there, $x \leftarrow x + F(\text{norm}(x))$, so that a deep
# network can begin as if it were shallow; the norm brings every vector to the same size before it
# is looked at.

# %%
from efftx.plots import architectures

plots.show(
    architectures.draw_transformer(),
    "From left to right: tokens, their embedding with positions, then a stream of vectors. In a "
    "block two branches leave the stream, each through a norm, one to attention and one to a "
    "feed-forward layer, and are added to it. A last norm and the readout give the scores.",
)

# %% [markdown]
# Function by function, each box and each arrow of it:


# %%
def norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift


def feed_forward(x, w1, b1, w2, b2):
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


def block(x, w):
    seen = norm(x, *w["norm 1"])
    x = x + multi_head(seen, seen, *w["attention"], jnp.tri(len(x), dtype=bool))
    return x + feed_forward(norm(x, *w["norm 2"]), *w["feed-forward"])


def logits(weights, text):
    """(length,) bytes -> (length, 256): a score for every byte that may come next."""
    x = weights["bytes"][text] + weights["positions"][: len(text)]
    for w in weights["blocks"]:
        x = block(x, w)
    return norm(x, *weights["last norm"]) @ weights["readout"]


# %% [markdown]
# That is all of it. It needs weights, which begin at random: small enough that a sum of $n$
# products with them is as large as what it is a sum of. Positions begin as waves of different
# lengths, so that neighbours look alike.


# %%
def waves(length, d_model):
    angles = jnp.arange(length)[:, None] / 10_000 ** (jnp.arange(d_model // 2) / (d_model // 2))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def fresh(key, n_blocks=2, d_model=64, d_ff=256, n_heads=4, d_head=16, length=64):
    keys = iter(jax.random.split(key, 4 * n_blocks + 2))

    def matrix(*shape, fan_in, smaller=1.0):
        return jax.random.normal(next(keys), shape) / jnp.sqrt(fan_in) * smaller

    def norm_weights():
        return jnp.ones(d_model), jnp.zeros(d_model)

    def block_weights():
        last = (2 * n_blocks) ** -0.5  # all branches together add as much as one alone would
        w_in = matrix(d_model, 3, n_heads, d_head, fan_in=d_model)
        w_out = matrix(n_heads, d_head, d_model, fan_in=n_heads * d_head, smaller=last)
        w1 = matrix(d_model, d_ff, fan_in=d_model)
        w2 = matrix(d_ff, d_model, fan_in=d_ff, smaller=last)
        return {
            "norm 1": norm_weights(),
            "attention": (w_in, w_out),
            "norm 2": norm_weights(),
            "feed-forward": (w1, jnp.zeros(d_ff), w2, jnp.zeros(d_model)),
        }

    return {
        "bytes": matrix(256, d_model, fan_in=2),
        "positions": waves(length, d_model),
        "blocks": [block_weights() for _ in range(n_blocks)],
        "last norm": norm_weights(),
        "readout": matrix(d_model, 256, fan_in=2500),
    }


# %% [markdown]
# The package's `transformer` is the same model. Given these weights, it says the same:

# %%
from dataclasses import replace

from efftx.models import named_parameters, transformer, with_parameters

weights = fresh(jax.random.key(0))
each = jax.tree.map(lambda *of_blocks: jnp.stack(of_blocks), *weights["blocks"])
ordered = [weights["bytes"], weights["positions"]]
for part in ("norm 1", "attention", "norm 2", "feed-forward"):
    ordered += each[part]
ordered += [*weights["last norm"], weights["readout"]]

package = transformer(jax.random.key(0), replace(SIZES, d_ff=256, max_len=64))
twin = with_parameters(package, dict(zip(named_parameters(package), ordered, strict=True)))
text = jnp.asarray(np.frombuffer(b"What is the next byte?", np.uint8)).astype(jnp.int32)
assert jnp.allclose(logits(weights, text), twin(text), atol=1e-5)

# %% [markdown]
# To learn is to make the right next byte likelier. The loss is the mean of $-\log p$ of what really
# came next; its gradient says for each weight which way is down. **Adam** does not follow each
# gradient, it follows the mean $m$ of the last ones, and divides by how large they usually are,
# $\sqrt v$, so that every weight moves at about the same pace:
#
# $$m \leftarrow 0.9\, m + 0.1\, g, \qquad v \leftarrow 0.999\, v + 0.001\, g^2, \qquad
#   w \leftarrow w - \eta\; \frac{m / (1 - 0.9^n)}{\sqrt{v / (1 - 0.999^n)} + 10^{-8}}.$$
#
# (The two divisions make up for beginning at 0.) Two more numbers for each weight: remember them
# when it comes to memory.


# %%
def mean_loss(weights, windows):
    """windows: (batch, length + 1) bytes; every one but the first is predicted."""

    def of_one(window):
        log_p = jax.nn.log_softmax(logits(weights, window[:-1]))
        return -jnp.take_along_axis(log_p, window[1:, None], axis=1).mean()

    return jax.vmap(of_one)(windows).mean()


def adam(weights, moments, gradient, n, rate):
    """Step n = 1, 2, … of Adam."""
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, moments[1], gradient)

    def moved(w, m, v):
        return w - rate * m / (1 - 0.9**n) / (jnp.sqrt(v / (1 - 0.999**n)) + 1e-8)

    return jax.tree.map(moved, weights, m, v), (m, v)


@jax.jit
def training_step(weights, moments, windows, n):
    value, gradient = jax.value_and_grad(mean_loss)(weights, windows)
    return *adam(weights, moments, gradient, n, rate=2e-3), value


# %% [markdown]
# The text is what stands behind Python's own `help()`. Windows of 64 bytes, 16 at a time. We write
# the loss down in bits, $-\log_2 p$: **a model that knows nothing pays 8 bits for a byte. Where
# will it be after 400 steps?**

# %%
my_guess = plots.ask("bits a byte after 400 steps")

# %%
from efftx.plots.attention_is_sparse import draw_losses
from efftx.training.batches import random_windows
from efftx.training.corpora import python_documentation

library = python_documentation().train
nothing = jax.tree.map(jnp.zeros_like, weights)
moments, losses = (nothing, nothing), []
for n in range(1, 401):
    windows = random_windows(library, seed=0, step=n, length=64, batch=16)
    weights, moments, value = training_step(weights, moments, windows.astype(np.int32), n)
    losses.append(float(value) / np.log(2))

my_guess.show(
    draw_losses(np.array(losses), {"knowing nothing": 8}),
    "The loss of the model above, in bits for each byte, over 400 steps. It begins at 8, where "
    "nothing is known, falls steeply in the first fifty steps and more slowly ever after.",
)
print(f"at first {losses[0]:.2f}, in the last 50 steps {np.mean(losses[-50:]):.2f} bits a byte")
assert abs(losses[0] - 8) < 0.2
assert np.mean(losses[-50:]) < 4

# %% [markdown]
# ▸ Near 3 bits, in the mean of the last 50 steps.
#
# And to write is to ask it for one byte after the other. What it has not written yet lies in its
# future, so it does not matter what stands there:


# %%
@jax.jit
def next_byte(weights, written, n, key):
    """After the first n bytes of `written` (64,)."""
    return jax.random.categorical(key, logits(weights, written)[n - 1] / 0.7)


written = np.zeros(64, np.int32)
written[:8] = np.frombuffer(b"The valu", np.uint8)
for n in range(8, 64):
    written[n] = next_byte(weights, written, n, jax.random.key(n))
print(bytes(written.astype(np.uint8)).decode("ascii", "replace"))

# %% [markdown]
# No English yet, but spaces, endings and pieces of words. **This model is the whole course.** What
# comes later exchanges one function of it: chapter 03 how `block` adds, 04 how `feed_forward` and
# `mean_loss` go through the positions, 05 where `moments` live and in how many bits, 06 to 09
# `attend`, 10 `feed_forward`, 11 the projections of `multi_head`.
#
# ## Encoder and decoder
#
# The function above takes *two* sequences, `x` and `source`. With `source = x` it is
# self-attention. With another source it is **cross-attention**: one text asks, another answers.
# That is all one needs to translate. Figure 1 of the Transformer paper, which is in the talk, has
# two halves:
#
# | | encoder, reads the source | decoder, writes the target |
# |---|---|---|
# | 1 | self-attention to *all* positions | self-attention to *earlier* positions |
# | 2 | | cross-attention to the encoder's output |
# | 3 | feed-forward: each position for itself | the same |
#
# A row adds what it computes to what came in, $x \leftarrow x + F(\text{norm}(x))$, and the block
# is repeated, here twice and in the paper six times. The decoder is a language model with a window
# to another text.
#
# Sentences in a batch have different lengths, so short ones are filled up with *padding*, and a
# mask hides it from every query. Then it does not matter what stands there:

# %%
from efftx.models import Across, Extra, Source

across = attention_layer(Across())(jax.random.key(6), SIZES)
weights = across.projection.w_in, across.projection.w_out
x, other, padding = jax.random.normal(jax.random.key(7), (3, 5, SIZES.d_model))
ours = multi_head(x, other, *weights)
assert jnp.allclose(ours, across(x, extra=Extra(source=Source(other)))[0], atol=1e-5)

padded, is_word = jnp.concatenate([other, padding]), jnp.arange(10) < 5
assert jnp.allclose(ours, multi_head(x, padded, *weights, is_word), atol=1e-5)
assert jnp.allclose(ours, across(x, extra=Extra(source=Source(padded, is_word)))[0], atol=1e-5)

# %% [markdown]
# ## It learns to translate
#
# The talk's benchmark is WMT 2014, four and a half million sentence pairs, days on eight GPUs. We
# have a minute and two CPU cores, so the language must be a small one: the words for numbers.

# %%
from efftx.training.number_words import number_words


task = number_words(n_train=120, n_held_out=500)
words = task.vocabulary
for english, german in task.train[:4]:
    print(f"{english:58} {german}")
print(f"\n{len(task.train)} pairs to learn from, of 1 to 6 digits")
print(f"{len(task.held_out)} held out, all of 6 digits")

# %% [markdown]
# Small, but not trivial. German writes a number as *one word*, and it turns units and tens around:
# *forty-two* is *zweiundvierzig*, "two and forty". The model has to find out what belongs where,
# from 120 examples, most of them shorter than what it will be asked.
#
# What is a token? A whole German number would be a word that the model has never seen. So the texts
# are cut into pieces, as every translation system does; ours are the words that number words are
# made of.

# %%
english, german = task.train[1]
print(words.split(english))
print(words.split(german))
print(len(words), "different tokens, with padding, start and end")

# %% [markdown]
# In training the decoder gets the right target, moved by one: from START and the first $n$ pieces
# it predicts piece $n + 1$. The loss is the mean of $-\log p$ of the right piece, over all
# positions that are not padding.

# %%
import optax

from efftx.models import encoder_decoder, n_parameters
from efftx.training.loop import train
from efftx.training.optimisers import adamw
from efftx.training.translation import as_arrays, random_pairs, translation_loss

N_STEPS = 250
sizes = Sizes(n_layers=2, d_model=96, d_ff=384, n_heads=4, d_head=24, max_len=24, vocab=len(words))
untrained = encoder_decoder(jax.random.key(0), sizes)
sources, targets = as_arrays(words, task.train)
state = train(
    untrained,
    loss=translation_loss,
    batch_at=lambda step: random_pairs(sources, targets, seed=0, step=step, batch=32),
    optimiser=optax.flatten(adamw(N_STEPS, peak=2e-3)),  # as one long vector: compiles faster
    n_steps=N_STEPS,
)
model = state.model
losses = np.asarray(state.losses)
print(
    f"{n_parameters(model):,} parameters; loss {losses[0]:.2f} at first, {losses[-1]:.4f} at last"
)
assert losses[-1] < 0.05

# %% [markdown]
# It knows its 120 pairs by heart. **Is it a translator, or a parrot?** The held-out numbers will
# tell: all have six digits, none was in training. To translate, it writes its likeliest next
# piece, reads it, and goes on, until it writes END.
#
# BLEU is the measure of the talk's table. It counts which pieces, pairs, triples and quadruples of
# pieces of the translation stand in the right one, and takes their geometric mean, 0 to 100. (For
# WMT the pieces are words. A German number is one word, right or wrong as a whole, so here we count
# its parts: *zwei und vierzig*.)

# %%
from efftx.training.translation import bleu, translate

questions, references = zip(*task.held_out, strict=True)

answers = translate(model, words, questions, max_len=16)
score = bleu(answers, references, words)
before = bleu(translate(untrained, words, questions, max_len=16), references, words)
exact = np.mean([ours == right for ours, right in zip(answers, references, strict=True)])
print(
    f"BLEU {before:.1f} before training, {score:.1f} after; {exact:.0%} are right to the letter\n"
)
wrong = [pair for pair in zip(questions, answers, references, strict=True) if pair[1] != pair[2]]
for question, ours, right in wrong[:3]:
    print(f"{question}\n  it writes  {words.spaced(ours)}\n  right is   {words.spaced(right)}")
assert before < 5 < 50 < score

# %% [markdown]
# ▸ Not a parrot: it never saw any of these numbers, and about half of them come out right to the
# letter, units and tens turned. Not a perfect translator either. Look at the three mistakes: **what
# do they have in common?**
#
# ▸ In each, the English leaves something out: a hundred, a ten or a unit that is zero. There the
# model loses its place. A number without gaps has eleven German pieces, so we can count:

# %%
n_pieces = np.array([len(words.split(right)) for right in references])
is_right = np.array([ours == right for ours, right in zip(answers, references, strict=True)])
gaps = n_pieces < 11
print(f"without gaps {is_right[~gaps].mean():4.0%} right, of {(~gaps).sum()}")
print(f"with gaps    {is_right[gaps].mean():4.0%} right, of {gaps.sum()}")
assert is_right[~gaps].mean() > 0.6
assert is_right[gaps].mean() < 0.4

# %% [markdown]
# Most of the full numbers come out right, and few of those with a gap. Has it seen too few of them?
# That is a guess, which more examples would test. (Eleven to nineteen are one piece in German, so
# they count as a gap here, too.) 120 examples are few on purpose: on a task that every
# model solves, no two can be compared.
#
# ## Where it looks
#
# Before it writes a piece, the decoder looks at the English words. We can look over its shoulder:
# the weights of cross-attention, a row for each piece to be written, a column for each English
# piece. **Where should the row of "sechs" in "sechsunddreißig" have its weight?**

# %%
from efftx.models import cross_attention_maps
from efftx.training.vocabularies import PAD

both_turned = [pair for pair in task.held_out if pair[0].count("-") == 2][:6]
looks, pieces = [], []
look = jax.jit(cross_attention_maps)
for source, target in zip(*as_arrays(words, both_turned), strict=True):
    looks.append(np.asarray(look(model, source, target[:-1], key_mask=source != PAD)))
for english, german in both_turned:
    pieces.append((words.split(english), [*words.split(german), "END"]))

number, layer_shown, head_shown = 3, 1, 0
columns, rows = pieces[number]
weights = looks[number][layer_shown, head_shown, : len(rows), : len(columns)]
plots.show(
    pictures.draw_weights(weights, rows, [column.strip() for column in columns]),
    "Cross-attention of one head. Rows are the German pieces that are about to be written, columns "
    "the English pieces. A frame marks where each row looks most: in most rows at the word that it "
    "translates. Where German turns units and tens around, the frames step forward and back.",
)

# %% [markdown]
# ▸ On *six*, behind *thirty* and the hyphen, and there it is. Nobody told the model which word
# translates which. Read the picture from top to bottom: for the units the frame jumps ahead, for
# the tens it comes back. For *und*, which has no counterpart here, it found one: the hyphen. Try
# other numbers and heads. Not every head is so tidy, and this one errs as well: what a head looks
# at is a hint of what the model computes, and not an explanation.

# %%
import ipywidgets as widgets

slider = partial(widgets.IntSlider, min=0, continuous_update=False)
controls = {
    "number": slider(value=0, max=5, description="number"),
    "layer": slider(value=1, max=1, description="layer"),
    "head": slider(value=0, max=3, description="head"),
}
shown = partial(pictures.show_looks, maps=looks, words=pieces)
picture = widgets.interactive_output(shown, controls)
display(widgets.VBox([widgets.HBox(list(controls.values())), picture]))

# %% [markdown]
# ## The table of the talk
#
# What did this give on real text? The talk shows the table of the Transformer paper: BLEU on WMT
# 2014, English to German, and the FLOPs that training took. Before you look: **was the best
# translator the most expensive one?**

# %%
SYSTEMS = {  # BLEU, FLOPs: as in the talk; its ByteNet, 23.75 BLEU, has no FLOPs
    "GNMT + RL": (24.6, 2.3e19),
    "ConvS2S": (25.16, 9.6e18),
    "MoE": (26.03, 2.0e19),
    "GNMT + RL, ensemble": (26.30, 1.8e20),
    "ConvS2S, ensemble": (26.36, 7.7e19),
    "Transformer base": (27.3, 3.3e18),
    "Transformer big": (28.4, 2.3e19),
}
plots.show(
    pictures.draw_bleu_against_flops(SYSTEMS, ours=("Transformer base", "Transformer big")),
    "BLEU against training FLOPs of seven systems of 2016 and 2017. The two Transformers stand "
    "above all others, and the smaller one is also the cheapest of all.",
)

# %% [markdown]
# ▸ No. Transformer big, the best, took about an eighth of the FLOPs of the most expensive system,
# an ensemble of GNMT; Transformer base, the second best, took the fewest of all.
#
# (For the big one the talk prints 28.4 and, in brackets, 29.1. The first is Vaswani et al.'s; we
# use it.)
#
# ### Where do these FLOPs come from?
#
# Nobody counted operations. The paper multiplied *time × number of GPUs × what a GPU sustains*,
# which it took as 9.5 TFLOPS for its P100s. The base model trained for 12 hours on eight of them,
# the big one for 3.5 days:

# %%
SUSTAINED = 9.5e12  # of a P100, as the paper has it
by_time = {"base": 12 * 3600 * 8 * SUSTAINED, "big": 3.5 * 24 * 3600 * 8 * SUSTAINED}
assert abs(by_time["base"] / SYSTEMS["Transformer base"][1] - 1) < 0.02
assert abs(by_time["big"] / SYSTEMS["Transformer big"][1] - 1) < 0.02

# %% [markdown]
# The table is right, and what it counts is *hardware time*. The arithmetic is something else. Each
# parameter of a matrix takes part in one multiplication and one addition for every token that
# passes it, and the backward pass takes twice as much as the forward: **6 FLOPs for each parameter
# and token**. But a token of the source passes the encoder only, and one of the target the
# decoder:
#
# $$\text{FLOPs} \approx 6\,(N_\text{enc} \cdot \text{source tokens}
#   + N_\text{dec} \cdot \text{target tokens}).$$
#
# $N$ follows from the architecture. An attention has four $d \times d$ matrices, a feed-forward
# layer two of $d \times d_{ff}$. Check the count with our own models, which are never built for
# it:


# %%
def matrix_parameters(n_layers, d_model, d_ff):
    """What the matrices of encoder and decoder hold; no biases, norms, embeddings."""
    attention, feed_forward = 4 * d_model**2, 2 * d_model * d_ff
    return n_layers * (attention + feed_forward), n_layers * (2 * attention + feed_forward)


SHAPES = {"base": (6, 512, 2048, 8), "big": (6, 1024, 4096, 16)}
for n_layers, d_model, d_ff, n_heads in SHAPES.values():
    shape = Sizes(n_layers, d_model, d_ff, n_heads, d_head=64, vocab=100)
    arrays = named_parameters(jax.eval_shape(lambda s=shape: encoder_decoder(jax.random.key(0), s)))
    counted = [
        sum(a.size for name, a in arrays.items() if name.startswith(half) and ".w" in name)
        for half in ("encoder.", "decoder.")
    ]
    assert tuple(counted) == matrix_parameters(n_layers, d_model, d_ff)

# %% [markdown]
# The readout, $d \times 37{,}000$ pieces of words, belongs to the decoder. The paper's batches held
# about 25,000 tokens of either language; base took 100,000 of them, big 300,000.

# %%
VOCABULARY, TOKENS_PER_BATCH = 37_000, 25_000
N_BATCHES = {"base": 100_000, "big": 300_000}
print("          parameters     in both halves    in its own half    of time × GPUs")
for name, (n_layers, d_model, d_ff, _) in SHAPES.items():
    n_encoder, n_decoder = matrix_parameters(n_layers, d_model, d_ff)
    n_decoder += d_model * VOCABULARY
    tokens = TOKENS_PER_BATCH * N_BATCHES[name]  # of either language
    in_both = 6 * (n_encoder + n_decoder) * (tokens + tokens)
    in_its_own = 6 * (n_encoder * tokens + n_decoder * tokens)
    share = in_its_own / by_time[name]
    millions = (n_encoder + n_decoder) / 1e6
    print(f"{name:8} {millions:9.0f} M {in_both:18.2e} {in_its_own:18.2e} {share:16.0%}")
    assert in_both == 2 * in_its_own  # every token sent through both halves counts twice
    assert 0.2 < share < 0.5

# %% [markdown]
# (The paper prints 65 and 213 million parameters.) The arithmetic is less than half of the hardware
# time. The rest went elsewhere: to padding, softmax and norms, to waiting for memory and for each
# other, or it never was, if a GPU "sustained" less than 9.5 TFLOPS. Keep the distinction in mind
# when you read a table of costs: are these FLOPs of the machine, or of the model?
#
# ## The same model, larger
#
# One architecture, more of it, trained on any text. The talk's next picture is GLUE, nine tests of
# understanding English. **Where would you put people on this list?**

# %%
GLUE = {  # averages, as in the talk
    "CBOW": 58.6,
    "BiLSTM + attention": 65.6,
    "BiLSTM + ELMo + attention": 70.0,
    "BERT": 80.5,
    "people": 87.1,
    "ALBERT": 89.4,
}
plots.show(
    pictures.draw_bars(GLUE, xlabel="GLUE average", stands_out="people", start=50),
    "GLUE averages, from 58.6 for a bag of words over 70.0 for the best LSTM and 80.5 for BERT to "
    "89.4 for ALBERT, with people at 87.1 in between. The axis begins at 50.",
)

# %% [markdown]
# ▸ Between BERT and ALBERT, at 87.1. Both of these are Transformers. Nothing in this chart says
# that ALBERT understands English better than people do. It does better on these nine tests.
#
# ## What it takes to own one
#
# BERT, ALBERT and GPT are trained once, at great cost, and then *fine-tuned* by anyone for a
# purpose. By anyone? That is the talk's question. Let us compute what fine-tuning needs, from the
# published architectures. A layer with its biases and norms has $12 d^2 + 13 d$ parameters:


# %%
def layers_with_biases(n_layers, d_model):
    """Attention 4 d² + 4 d, feed-forward with d_ff = 4 d: 8 d² + 5 d, two norms: 4 d."""
    return n_layers * (12 * d_model**2 + 13 * d_model)


def gpt(n_layers, d_model, max_len, vocab=50_257):
    """Tokens and positions are embedded; one more norm at the end; the readout is shared."""
    return layers_with_biases(n_layers, d_model) + (vocab + max_len + 2) * d_model


def bert(n_layers, d_model, max_len=512, vocab=30_522):
    """As well: two kinds of sentences, a norm of the embeddings, and the pooler."""
    embeddings = (vocab + max_len + 2 + 2) * d_model
    return layers_with_biases(n_layers, d_model) + embeddings + d_model**2 + d_model


MODELS = {
    "BERT-Large": bert(24, 1024),
    "GPT-2": gpt(48, 1600, max_len=1024),
    "GPT-3": gpt(96, 12_288, max_len=2048),
}
assert MODELS["BERT-Large"] == 335_141_888
assert round(MODELS["GPT-3"] / 1e9) == 175
for name, count in MODELS.items():
    print(f"{name:11} {count:15,} parameters")

# %% [markdown]
# To train with Adam in float32, keep for each parameter the weight, its gradient, and two moments:
# $4 \times 4 = 16$ bytes. **How many 12 GB cards does GPT-3 fill with these alone?** (12 GB is the
# Titan X of the talk's next slide.)

# %%
BYTES_EACH, CARD = 16, 12e9
needs = {f"{name}, {count / 1e9:.3g} B": BYTES_EACH * count for name, count in MODELS.items()}
plots.show(
    pictures.draw_bytes(needs, has={"one Titan X": CARD}),
    "Bytes for weights, gradients and Adam's moments on a logarithmic axis: BERT-Large 5.36 GB, "
    "less than the 12 GB of a Titan X; GPT-2 about 25 GB; GPT-3 about 2.8 TB.",
)
for name, needed in needs.items():
    print(f"{name:20} {pictures.readable_bytes(needed):>8} = {needed / CARD:6.1f} cards of 12 GB")
assert round(BYTES_EACH * MODELS["BERT-Large"] / 1e9, 2) == 5.36

# %% [markdown]
# ▸ GPT-3 fills 233 of them.
#
# BERT-Large fits into one, with more than half of it to spare. Or does it? The talk quotes a table:
# with sequences of 384 tokens, the largest batch on that card is **zero**. Parameters are not what
# fills it. [The next chapter](02_where_the_memory_goes.ipynb) finds out what does.
#
# ## Its limits, honestly
#
# - **The comparison of times** is one layer on one CPU, untuned. There are LSTM kernels that are
#   much faster than a scan. What none of them removes is the chain.
# - **Forgetting** was measured before training. A trained LSTM hears further; how far depends on
#   what it had to learn.
# - **Number words are no language.** One training run with one seed, on text without ambiguity.
#   The German is that of the program `num2words`, which writes an *s* too many in
#   *einhunderteinstausend*. For a model trained on it, that is right.
# - **BLEU** of pieces of words cannot be compared with the BLEU of whole words in the talk's table.
#   The package reads WMT 2014 too, if you have the files: `help(efftx.training.wmt14)`.
# - **16 bytes** is plain Adam in float32. Chapter 05 needs fewer, and chapter 03 removes most of
#   what comes on top.
# - **Attention is quadratic.** We saw its time; at $L = 2^{20}$ a single matrix of scores takes
#   4.4 TB. [Chapter 06](06_attention_is_sparse.ipynb) begins there.
#
# ## Exercises
#
# [Five parts](../exercises/01_from_rnns_to_transformers.ipynb): an LSTM, causal attention,
# cross-attention with padding, several heads, and a whole block; then an experiment to predict. The
# solutions are [here](../solutions/01_from_rnns_to_transformers.ipynb).
#
# ## Sources
#
# - A. Vaswani et al.: *Attention Is All You Need*, NeurIPS 2017,
#   [arXiv 1706.03762](https://arxiv.org/abs/1706.03762): figure 1, table 2, sections 3 and 5.
# - S. Hochreiter, J. Schmidhuber: *Long Short-Term Memory*, Neural Computation 9(8), 1997; the
#   forget gate is from F. Gers, J. Schmidhuber, F. Cummins: *Learning to Forget*, Neural
#   Computation 12(10), 2000.
# - A. Radford et al.: *Language Models are Unsupervised Multitask Learners*, 2019 (GPT-2),
#   J. Devlin et al.: *BERT*, 2018, [arXiv 1810.04805](https://arxiv.org/abs/1810.04805), and
#   T. Brown et al.: *Language Models are Few-Shot Learners*, 2020,
#   [arXiv 2005.14165](https://arxiv.org/abs/2005.14165): the architectures.
# - The talk "Efficient Transformers" by Kaiser, Kitaev, Levskaya and colleagues: both tables and
#   the question who can fine-tune.
