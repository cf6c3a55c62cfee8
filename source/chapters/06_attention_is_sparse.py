# %% [markdown]
# # 06 · Attention is sparse
#
# *Pillar two: time.* The first pillar made the memory of a deep network small. Now we turn to the
# one part of a Transformer whose work grows with the *square* of the length: attention. Before
# anyone can save work there, two questions must be answered. How much of it is needed? And how much
# can be saved without changing the result at all?
#
# After this chapter you can
#
# - train a small Transformer and read its attention maps;
# - measure how few keys a query really uses, and where that fails;
# - derive the *online softmax*, and compute exact attention without the $L \times L$ matrix;
# - say which cost that removes, and which it leaves as it was.
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
from efftx.numbers import attention_is_sparse as numbers
from efftx.plots import attention_is_sparse as pictures

# %% [markdown]
# ## The question
#
# A head of attention has for every position $i$ a query $q_i$, a key $k_i$ and a value $v_i$. In a
# model that reads from left to right, position $i$ takes
#
# $$o_i = \sum_{j \le i} p_{ij}\, v_j, \qquad
# p_{ij} = \frac{e^{s_{ij}}}{\sum_{l \le i} e^{s_{il}}}, \qquad
# s_{ij} = \frac{q_i \cdot k_j}{\sqrt d}.$$
#
# The weights $p_{ij}$ of one query are positive and add up to 1. They are a budget: what one key
# gets, the others lose. And the exponential is a harsh judge. A key whose score is lower by 5 gets
# 148 times less.
#
# **So guess: of the two hundred characters before it, how many does a query really listen to?** A
# guess is cheap, but a measurement is better. We need a model, and it should be one that has
# learned something: in an untrained one, queries and keys are noise. (A figure below shows your
# guess.)

# %%
assert round(np.exp(5)) == 148
my_guess = plots.ask("keys that carry 90 % of the weight")

# %% [markdown]
# ## Train one yourself
#
# The text is the documentation that Python brings along for its `help()`, byte by byte. A tenth of
# its topics is held out, so that we can see what the model has learned and not only what it
# remembers.

# %%
from efftx.training.corpora import as_text, python_documentation

corpus = python_documentation()
print(f"{len(corpus.train):,} bytes to train on, {len(corpus.held_out):,} held out, for example:\n")
print(as_text(corpus.held_out[:300]), "…")

# %% [markdown]
# The model is the Transformer of chapter 01: two layers of four heads. It reads 64 bytes and
# predicts, at each of them, the next. What it pays for a prediction is $-\log_2 p$ of the byte that
# really came, in bits. Knowing nothing costs 8 bits a byte.
#
# In each of 400 steps it sees 32 windows from random places of the text.

# %%
from tqdm.auto import tqdm

from efftx.models import Sizes, transformer
from efftx.training.batches import random_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte
from efftx.training.optimisers import adamw

WINDOW, N_STEPS = 64, 400
sizes = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=WINDOW)
untrained = transformer(jax.random.key(0), sizes)
bar = tqdm(total=N_STEPS, desc="train")


def batch_at(step):
    bar.update()
    return random_windows(corpus.train, seed=0, step=step, length=WINDOW, batch=32)


state = train(
    untrained,
    loss=bits_per_byte,
    batch_at=batch_at,
    optimiser=adamw(N_STEPS, peak=1e-2),
    n_steps=N_STEPS,
    progress=False,  # the bar above does it
)
bar.close()
model = state.model

# %% [markdown]
# Has it learned to *attend*? It could have lowered its loss without: by knowing which bytes are
# frequent, or which byte follows which. Both are mere tables of counts, and we can ask what they
# cost.


# %%
from efftx.training.losses import evaluate


def bits_of_counts(text, held_out, order):
    """Bits per byte of predicting the held-out text from counts, given the last `order` bytes."""
    context, following = text[:-1] * (order > 0), text[1:]
    counts = np.full((256, 256), 0.1)  # so that nothing is impossible
    np.add.at(counts, (context, following), 1)
    probability = counts / counts.sum(axis=1, keepdims=True)
    return -np.log2(probability[held_out[:-1] * (order > 0), held_out[1:]]).mean()


by_frequency, by_pairs = (bits_of_counts(corpus.train, corpus.held_out, n) for n in (0, 1))
by_model = evaluate(model, corpus.held_out, length=WINDOW, progress=False)
print(f"held-out text: {by_frequency:.2f} bits per byte from how frequent bytes are,")
print(f"               {by_pairs:.2f} from which byte follows which,")
print(f"               {by_model:.2f} from the model")
assert by_model < by_pairs < by_frequency < 8

# The curve below is of the text that it trains on, so its rivals are counted and asked there, too.
in_training = [bits_of_counts(corpus.train, corpus.train, order) for order in (0, 1)]
names = ("how frequent bytes are", "which byte follows which")
plots.show(
    pictures.draw_losses(np.asarray(state.losses), dict(zip(names, in_training, strict=True))),
    f"The training loss falls from 8 bits per byte to about {state.losses[-20:].mean():.1f}: "
    "quickly to what frequencies tell of the same text, then more slowly past what pairs of bytes "
    "tell.",
)
assert state.losses[-20:].mean() < in_training[1] < by_pairs

# %% [markdown]
# The first part is a long way down, and no attention is needed for it. What lies below the second
# line can only come from bytes further back, and attention is the only part of the model that
# carries anything from one position to another.
#
# What does it write, if it goes on by itself from a piece of held-out text?


# %%
@partial(jax.jit, static_argnames="n_bytes")
def write_on(model, window, n_bytes, key):
    """Draw `n_bytes` more, one by one, each from what the model predicts after the last WINDOW."""

    def step(window, key):
        logits = model(window)[-1]
        byte = jax.random.categorical(key, logits / 0.7)  # a little bolder than it is sure of
        return jnp.append(window[1:], byte), byte

    return jax.lax.scan(step, window, jax.random.split(key, n_bytes))[1]


prompt = "The arguments must either both be numbers or both be sequences o"
tokens = jnp.asarray(list(prompt.encode()), jnp.int32)
written = write_on(model, tokens, 200, jax.random.key(1))
print(f"{prompt} ▶ {as_text(written)}")

# %% [markdown]
# The words are nearly words. That will do: a model that spells must look back at the letters that
# it has.
#
# ## Its attention maps
#
# The weights of one head, written as a matrix: row $i$ is a query and holds the budget of one
# position, column $j$ is a key. Here is the formula from above, in full.


# %%
from efftx.models import attention_maps, attention_vectors


def attention_weights(q, k):
    """(length, d_head) twice -> (length, length): what each query (row) gives to each key."""
    scores = q @ k.T / jnp.sqrt(q.shape[1])
    not_later = jnp.tri(len(q), dtype=bool)
    return jax.nn.softmax(jnp.where(not_later, scores, -jnp.inf), axis=-1)


of_all_heads = jnp.vectorize(attention_weights, signature="(n,d),(n,d)->(n,n)")


@jax.jit
def look_inside(model, windows):
    """q, k, v and weights of all heads, each (window, layer, head, length, d_head or length)."""
    vectors = jax.vmap(attention_vectors, in_axes=(None, 0))(model, windows)
    q, k, v = jnp.moveaxis(vectors, 2, 0)
    return q, k, v, of_all_heads(q, k)


*_, my_weights = look_inside(model, tokens[None])
my_weights = np.asarray(my_weights[0])  # of the one window: (layer, head, query, key)
assert np.allclose(my_weights, jax.jit(attention_maps)(model, tokens), atol=1e-5)
assert np.allclose(my_weights.sum(axis=-1), 1, atol=1e-5)  # each row spends its whole budget

# %% [markdown]
# **Before you look: the model has to spell words. Where do you expect the dark places, and what
# would a head look like that listens to everything alike?**

# %%
plots.show(
    pictures.draw_maps(my_weights),
    "Eight attention maps, one for each head, of the same 64 bytes, in shades of blue. All are "
    "triangles, since no query sees what comes later. In layer 0 the weight lies on and just below "
    "the diagonal, in layer 1 in single spots and vertical stripes. Most of each triangle is pale.",
)

# %% [markdown]
# ▸ In layer 0 along the diagonal: its heads listen to the bytes just before. In layer 1 in stripes,
# keys that many queries listen to. A head that listens to everything alike would be a triangle
# without a pattern, each row a little paler than the one above it. None is like that here. Most of
# each triangle is pale: these keys get next to nothing.
#
# Whose are the stripes? Here is one head with its letters. Pick a row, and read in it which letters
# its query takes from.

# %%
SHOWN_LAYER, SHOWN_HEAD = 1, 0
plots.show(
    pictures.draw_map(my_weights[SHOWN_LAYER, SHOWN_HEAD, :48, :48], prompt[:48]),
    f"Layer {SHOWN_LAYER}, head {SHOWN_HEAD} on the first 48 letters. A row is a query, a column a "
    "key; dark is a large weight.",
)

# %% [markdown]
# The darkest columns of our run stand under first letters: the *a* of "arguments", the *m* of
# "must", the *b* of "both" and "be". A word is half known by how it begins. (Rounding differs from
# machine to machine, and so may your picture.)
#
# ## A model that was trained longer
#
# Four hundred steps prove little. The course brings two models that were trained for longer, on the
# source code of Python's standard library. Here is the plain one, with windows of 256 bytes from a
# file that it never saw.

# %%
from efftx.models import pretrained

trained_model = pretrained.small_text_model("plain")
example = pretrained.example_text()
windows = jnp.asarray(example[: 8 * 256].reshape(8, 256), jnp.int32)

bits = evaluate(trained_model, example, length=256, progress=False)
print(f"{bits:.2f} bits per byte on this file, which begins:\n")
print(as_text(windows[0]))
assert bits < 2.2

# %% [markdown]
# **Before you look: this text is code. Which keys could help to predict its next byte, apart from
# those just before it?**

# %%
*qkv, weights = map(np.asarray, look_inside(trained_model, windows))
values = qkv[2]
print("(window, layer, head, query, key):", weights.shape)
plots.show(
    pictures.draw_maps(weights[0, ..., :128, :128]),
    "The eight heads of the trained model on the first 128 of these bytes. In layer 0 nearly all "
    "weight lies on the last few bytes, along the diagonal. In layer 1 it is spread over single "
    "spots and short stripes, many of them far from the diagonal.",
)

# %% [markdown]
# ▸ Some that are far away: in layer 1 many of the spots lie far from the diagonal. What stands at
# such places, one head will show us below. It is the same division of labour: layer 0 looks at what
# is near, layer 1 jumps.
#
# ## How much do the top keys carry?
#
# Sort the weights of a query, the largest first, and add up the first $k$. This is the share of its
# budget that its top $k$ keys carry:
#
# $$M_k(i) = \max_{|S| = k}\, \sum_{j \in S} p_{ij}.$$
#
# *Uniform* attention, which gives every key the same, has $M_k(i) = k / i$ with $i$ keys: for half
# of the weight it needs half of the keys.


# %%
def top_shares(weights):
    """(…, length) weights -> (…, length): entry k - 1 is the share of the k largest."""
    largest_first = np.sort(weights, axis=-1)[..., ::-1]
    return np.cumsum(largest_first, axis=-1)


print(top_shares(np.array([0.0625, 0.5, 0.125, 0.25, 0.0625])))

# %% [markdown]
# We take the queries from 128 on, so that each has at least 128 keys to choose from, of all 8
# windows. **Uniform attention would give the top 8 keys 4 %. What do you expect of these heads?**

# %%
KS = (1, 2, 4, 8, 16, 32, 64, 128)
LATE = slice(128, 256)  # queries with 128 keys or more
shares = top_shares(weights)
mass = np.stack([shares[..., LATE, k - 1].mean(axis=(0, -1)) for k in KS], axis=-1)
uniform = np.array([np.mean([k / (i + 1) for i in range(128, 256)]) for k in KS])

plots.show(
    pictures.draw_top_mass(KS, mass, uniform),
    "How much of a query's weight its top k keys carry, for each head, averaged over queries with "
    "128 to 256 keys. All heads are far above the dashed line of uniform attention, those of layer "
    "0 farthest.",
)
of_top = dict(zip(KS, np.moveaxis(mass, -1, 0), strict=True))  # k -> (layer, head)
print("share of the top 8, a row for each layer:")
print(of_top[8].round(2))
assert (mass[..., :-1] > uniform[:-1]).all()
assert (of_top[8][0] > 0.9).all()
assert (of_top[8][1] > 0.55).all()
assert 0.04 < uniform[KS.index(8)] < 0.05

# %% [markdown]
# ▸ In layer 0, eight keys carry over 90 % of the weight. In layer 1 they carry 65 to 80 %, where
# uniform attention would give them 4.
#
# ### Does it need more keys when there are more?
#
# That is the question that matters for long texts. If a query needs *a tenth of all keys*, then
# twice the length still takes four times the work. If it needs *about ten keys*, whatever the
# length, the work could grow with $L$ instead of $L^2$.
#
# So count, for every query, how many keys it takes to carry 90 % of its weight, and look at queries
# with few and with many keys before them. **Guess: sixteen times more keys to choose from, how many
# times more are needed?**


# %%
def keys_needed(shares, share=0.9):
    """(…, length) -> (…): how many of the largest weights it takes to reach the share."""
    return (shares < share).sum(axis=-1) + 1


needed = keys_needed(shares)  # (window, layer, head, query)
STARTS = (8, 16, 32, 64, 128)  # queries 8 to 15, 16 to 31, …
by_start = np.stack([needed[..., n : 2 * n].mean(axis=(0, -1)) for n in STARTS], axis=-1)
my_guess.show(
    pictures.draw_keys_needed([1.5 * n for n in STARTS], by_start),
    "How many keys carry 90 % of a query's weight, against how many it can choose from, both axes "
    "logarithmic. The heads' lines rise far more slowly than the dashed one of uniform attention.",
)
growth = by_start[..., -1] / by_start[..., 0]
print("16 times more keys, and needed are this many times more:")
print(growth.round(1))
print("keys needed of 128 to 256, on average:")
print(by_start[..., -1].round(1))
assert (growth[0] < 4).all()
assert (growth < 6).all()

# %% [markdown]
# ▸ About one and a half to four times more. So the keys that matter are not a fixed share of all.
# There is something to be saved, and the longer the text, the more.
#
# ▸ And of some two hundred characters, if to listen means to carry 90 % of the weight, a query of
# layer 0 listens to 4 to 6, and one of layer 1 to 16 to 28, on average and by head.
#
# And the model of the next two chapters, the one with *shared QK*, whose queries are at the same
# time its keys? The same measurement:

# %%
shared_maps = jax.jit(jax.vmap(attention_maps, in_axes=(None, 0)))
shared_weights = np.asarray(shared_maps(pretrained.small_text_model("shared_qk"), windows))
shared_top_8 = top_shares(shared_weights)[..., LATE, 7].mean(axis=(0, -1))
print("share of the top 8, a row for each layer:")
print(shared_top_8.round(2))
assert (shared_top_8[0] > 0.9).all()
assert (shared_top_8[1] > 0.45).all()

# %% [markdown]
# ## Is the weight what counts?
#
# Weights are not the output. If we drop all but the top $k$ keys and spend their budget on those
# that remain, how far is the output from the true one? The *relative error* is
# $\lVert \tilde o - o \rVert / \lVert o \rVert$.
#
# We can also drop keys in a simpler way, without looking at any score: keep the **last** $k$. If
# that did as well, we could stop here. **Will it, in layer 0? In layer 1?**


# %%
def attend_to(keep, weights, v):
    """Outputs from the kept weights alone, brought back to sum 1."""
    kept = np.where(keep, weights, 0)
    return kept / kept.sum(axis=-1, keepdims=True) @ v


def top_keys(weights, k):
    kth_largest = np.partition(weights, -k, axis=-1)[..., -k, None]
    return weights >= kth_largest


def last_keys(weights, k):
    return ~np.tri(weights.shape[-1], k=-k, dtype=bool)  # j > i - k; later ones weigh 0 anyway


exact = weights @ values


def errors_of_layers(choose, k):
    """Relative error of each layer's outputs, over all heads and the late queries."""
    out = attend_to(choose(weights, k), weights, values)
    squares = [(x[..., LATE, :] ** 2).sum(axis=(0, 2, 3, 4)) for x in (out - exact, exact)]
    return np.sqrt(squares[0] / squares[1])


errors = {
    name: np.stack([errors_of_layers(choose, k) for k in KS], axis=-1)  # (layer, len(KS))
    for name, choose in {"the top k": top_keys, "the last k": last_keys}.items()
}
plots.show(
    pictures.draw_errors(KS, errors),
    "Error of the output if each query keeps only k keys: the k that weigh most, or the last k. "
    "In layer 0 a dozen of the last keys do well enough. In layer 1 they do not.",
)
top_16, last_16 = (errors[name][:, KS.index(16)] for name in ("the top k", "the last k"))
print(f"16 keys, layer 0: off by {top_16[0]:.0%} with the top ones, {last_16[0]:.0%} with the last")
print(f"16 keys, layer 1: off by {top_16[1]:.0%} with the top ones, {last_16[1]:.0%} with the last")
assert (top_16 < last_16).all()
assert top_16[0] < 0.05
assert last_16[0] < 0.2
assert top_16[1] < 0.25
assert last_16[1] > 0.5

# %% [markdown]
# ▸ In layer 0 nearly: the last 16 keys are off by 11%. In layer 1 not: they are off by 62%, where
# the top 16 are off by 15%.
#
# Two lessons. A layer that looks at its neighbours needs no search: a *window* of the last keys
# will nearly do, and it is known in advance. But layer 1 looks for *content*, and what it looks for
# may stand anywhere.
#
# What does it look for? Below is one of its heads on the first 48 bytes, with only the top four
# keys of each query. (What is left has grown, since the whole budget is now spent on four.) **The
# last row is a closing quotation mark. Where does it look?**

# %%
n = 48
small = dict(
    weights=weights[0, ..., :n, :n], values=values[0, ..., :n, :], text=as_text(windows[0, :n])
)
pictures.show_top(layer=1, head=0, k=4, **small)

few = attend_to(top_keys(small["weights"], 4), small["weights"], small["values"])
by_picture, _ = numbers.attend_to_top(small["weights"], small["values"], 4)
assert np.allclose(few, by_picture, atol=1e-6)

last_row = np.flatnonzero(top_keys(small["weights"][1, 0], 4)[-1])
print("The last query's keys:", ", ".join(f"{small['text'][j]} at {j}" for j in last_row))
assert {10, 20, 37} <= set(last_row.tolist())  # the bracket, and where two other words are opened

# %% [markdown]
# ▸ At the bracket, at the marks that open two of the words, one of them its own, and at the letter
# just before it. No window of the last 16 keys would have shown it the bracket, 37 places back.
#
# Now choose layer, head and $k$ yourself. Which head suffers least at $k = 1$, and which most?

# %%
import ipywidgets as widgets

layer = widgets.IntSlider(value=1, min=0, max=1, description="layer", continuous_update=False)
head = widgets.IntSlider(value=0, min=0, max=3, description="head", continuous_update=False)
k = widgets.SelectionSlider(
    value=4, options=(1, 2, 4, 8, 16, 32), description="top k", continuous_update=False
)
picture = widgets.interactive_output(
    partial(pictures.show_top, **small), {"layer": layer, "head": head, "k": k}
)
display(widgets.VBox([widgets.HBox([layer, head, k]), picture]))

# %% [markdown]
# ## Exact attention without the matrix
#
# So much for leaving things out. How far can we get *without* leaving anything out?
#
# The matrix of a sequence of $L$ is $L^2$ numbers: 4 MB at $L = 1{,}024$, 4.4 TB at $L = 2^{20}$.
# But it is only a step on the way. The inputs are $L \times d$, the output is $L \times d$. **Can a
# row of the matrix be used up while it is computed, so that it never exists as a whole?**
#
# What a query wants is a quotient of two sums, and sums can be built up key by key:
#
# $$o = \frac{\sum_j e^{s_j}\, v_j}{\sum_j e^{s_j}}.$$
#
# There is one obstacle. Nothing keeps a score from being 100, and $e^{100}$ is no float32:

# %%
assert round(4 * 2**40 / 1e12, 1) == 4.4  # terabytes, of a million times a million float32 scores

scores = jnp.array([100.0, 98.0])
assert jnp.isinf(jnp.exp(scores)).all()
assert jnp.allclose(jax.nn.softmax(scores), jnp.array([0.8808, 0.1192]), atol=1e-4)

# %% [markdown]
# `softmax` manages since it takes the largest score $m$ off first. That changes nothing, for
# $e^{-m}$ stands above and below and cancels:
#
# $$o = \frac{\sum_j e^{s_j - m}\, v_j}{\sum_j e^{s_j - m}}.$$
#
# But to know the largest, one must have seen all scores. That seems to bring the whole row back.
#
# ### The online softmax
#
# ▸ It can be used up as it comes. Take the largest score *so far*, and when a larger one comes,
# **correct** what has been summed. For a set of keys, keep three things for each query:
#
# $$m = \max_j s_j, \qquad \ell = \sum_j e^{s_j - m}, \qquad a = \sum_j e^{s_j - m}\, v_j.$$
#
# Now a block of new keys comes, with its own largest score $m'$. The new maximum is
# $m^{+} = \max(m, m')$. What was summed relative to $m$ becomes relative to $m^{+}$ by one factor,
# because $e^{s - m^{+}} = e^{s - m} \cdot e^{m - m^{+}}$:
#
# $$\ell^{+} = e^{m - m^{+}}\, \ell + \sum_{j \text{ new}} e^{s_j - m^{+}}, \qquad
# a^{+} = e^{m - m^{+}}\, a + \sum_{j \text{ new}} e^{s_j - m^{+}}\, v_j.$$
#
# At the end, $o = a / \ell$. The factor is at most 1, so nothing can overflow. Before the first
# key, $m = -\infty$ and both sums are 0.


# %%
def add_keys(state, scores, v):
    """One more block of keys: scores (rows, n_keys), v (n_keys, d_value)."""
    maximum, total, weighted = state  # (rows,), (rows,), (rows, d_value)
    new_maximum = jnp.maximum(maximum, scores.max(axis=-1))
    shrink = jnp.exp(maximum - new_maximum)
    p = jnp.exp(scores - new_maximum[:, None])
    return new_maximum, shrink * total + p.sum(axis=-1), shrink[:, None] * weighted + p @ v


def no_keys(rows, d_value):
    return jnp.full(rows, -jnp.inf), jnp.zeros(rows), jnp.zeros((rows, d_value))


# %% [markdown]
# One query, six keys, in three blocks. The last block brings a score that is larger by far. **What
# happens to `total` at that moment?**

# %%
scores = jnp.array([[1.0, 2.0, 3.0, 0.0, 100.0, 98.0]])
v = jnp.arange(6.0)[:, None]
state = no_keys(1, 1)
for block in (slice(0, 2), slice(2, 4), slice(4, 6)):
    state = add_keys(state, scores[:, block], v[block])
    maximum, total, weighted = (float(x.squeeze()) for x in state)
    print(f"maximum {maximum:5.1f}   total {total:.4f}   so far {weighted / total:.4f}")
assert jnp.allclose(weighted / total, jax.nn.softmax(scores) @ v)

# %% [markdown]
# ▸ It begins anew: what was there before is multiplied by $e^{-97}$, which is as good as nothing,
# and rightly so.
#
# ### In blocks
#
# The rest is two loops. Take a block of queries; go through the blocks of keys; divide. With a
# causal mask, blocks *above* the diagonal hold no allowed pair, so the inner loop stops at the
# diagonal.


# %%
def blocked_attention(q, k, v, block_len):
    """Exact causal attention of one head; block_len divides the length."""
    length, d_head = q.shape
    q_blocks, k_blocks, v_blocks = (x.reshape(-1, block_len, x.shape[1]) for x in (q, k, v))
    place = jnp.arange(block_len)

    def attend(i):  # the queries of block i
        def add_block(j, state):  # the keys of block j
            scores = q_blocks[i] @ k_blocks[j].T / jnp.sqrt(d_head)
            not_later = j * block_len + place <= i * block_len + place[:, None]
            return add_keys(state, jnp.where(not_later, scores, -jnp.inf), v_blocks[j])

        _, total, weighted = jax.lax.fori_loop(0, i + 1, add_block, no_keys(block_len, v.shape[1]))
        return weighted / total[:, None]

    outs = jax.lax.map(attend, jnp.arange(length // block_len))  # one block after the other
    return outs.reshape(length, -1)


# %% [markdown]
# Is it *exactly* the same? We take the vectors of a head of the trained model.

# %%
q, k, v = (x[0, 1, 0] for x in qkv)  # window 0, layer 1, head 0
in_blocks = jax.jit(partial(blocked_attention, block_len=32))
of_package = partial(attention.blocked_attention, causal=True, block_len=32)
by_matrix = jax.jit(partial(attention.full_attention, causal=True))
assert np.allclose(in_blocks(q, k, v), weights[0, 1, 0] @ v, atol=1e-5)
assert np.allclose(in_blocks(q, k, v), by_matrix(q, k, v), atol=1e-5)
assert np.allclose(in_blocks(q, k, v), of_package(q, k, v), atol=1e-5)

# %% [markdown]
# Yes: no approximation, only another order of summation. (You may wonder about
# $-\infty - (-\infty)$, which is nan. It cannot occur: the first block holds key 0, and every query
# may look at that one.)
#
# And are the blocks above the diagonal really skipped? Put nan into the last block of values. Were
# it computed and masked, every query would get $0 \cdot \text{nan} = \text{nan}$.

# %%
poisoned = np.concatenate([v[:-32], np.full_like(v[-32:], np.nan)])
assert np.isfinite(in_blocks(q, k, poisoned)[:-32]).all()
assert np.isnan(by_matrix(q, k, poisoned)).all()

# %% [markdown]
# ### And the gradient?
#
# A gradient needs the weights again. To keep them from the forward pass would bring the matrix
# back. The remedy is the idea of the first pillar: *compute again what you did not keep*. From the
# forward pass only the output and each row's *log-sum-exp* $z_i = m_i + \log \ell_i$ remain; a
# block's weights are rebuilt as $e^{s_{ij} - z_i}$ when their turn comes. The package's version
# does that (`efftx/attention/blocked.py`). Its gradients are those of the whole matrix:


# %%
def gradients(attend):
    """Of a sum over all outputs, each with a factor of its own."""
    factor = np.random.default_rng(0).normal(size=v.shape)

    def total(q, k, v):
        return (attend(q, k, v) * factor).sum()

    return jax.jit(jax.grad(total, argnums=(0, 1, 2)))(q, k, v)


for ours, exactly in zip(gradients(of_package), gradients(by_matrix), strict=True):
    assert np.allclose(ours, exactly, atol=1e-4)

# %% [markdown]
# ## What it saves, and what it does not
#
# **Memory first.** The compiler says how much working memory a function takes, beyond its inputs
# and outputs. Nothing is run, so we may ask for a million positions. **Predict: when the length
# grows four times, what happens to each?**

# %%
BLOCK_LEN = 512
LENGTHS = tuple(2**n for n in range(10, 21, 2))


def compiled(attend, length, d_head=64):
    with jax.default_device(jax.devices("cpu")[0]):  # the same program for every reader
        shape = jax.ShapeDtypeStruct((length, d_head), jnp.float32)
        return jax.jit(attend).lower(shape, shape, shape).compile()


def working_memory(attend, length):
    return compiled(attend, length).memory_analysis().temp_size_in_bytes


def whole_matrix(q, k, v):
    return attention_weights(q, k) @ v


in_blocks_of_512 = partial(blocked_attention, block_len=BLOCK_LEN)
memory = {
    "whole matrix": [working_memory(whole_matrix, n) for n in LENGTHS],
    "in blocks": [working_memory(in_blocks_of_512, n) for n in LENGTHS],
}
print("   length      whole matrix    in blocks")
for length, full, blocks in zip(LENGTHS, *memory.values(), strict=True):
    print(f"{length:9,} {full / 2**20:13,.0f} MiB {blocks / 2**20:8,.1f} MiB")

full_bytes, block_bytes = (np.array(memory[name]) for name in memory)
assert (full_bytes >= 4 * np.array(LENGTHS) ** 2).all()  # one float32 for each pair, at least
assert (full_bytes[2:] > 15 * full_bytes[1:-1]).all()
one_block, one_output = 4 * BLOCK_LEN**2, 4 * 64 * np.array(LENGTHS)
assert (block_bytes <= 4 * one_block + one_output).all()

# %% [markdown]
# ▸ Four times the length is sixteen times the matrix. (The first row may hold it twice: what is
# small the compiler does not always put into one place.) In blocks it takes little more than the
# scores of one block, 512 × 512 float32 or 1 MiB, whatever the length. (The package's function
# accepts any length, for which it copies its inputs; then it grows with $L$.)
#
# Forward and backward pass together have three gradients to write besides, each as long as the
# text. **So when the length doubles, what does each of the two do?**


# %%
def backward_memory(attend, length):
    def gradient(q, k, v):
        return jax.grad(lambda *qkv: attend(*qkv, causal=True).sum(), argnums=(0, 1, 2))(q, k, v)

    return working_memory(gradient, length)


for attend in (attention.full_attention, attention.blocked_attention):
    at_8k, at_16k = (backward_memory(attend, n) for n in (8192, 16384))
    print(
        f"{attend.__name__:18} {at_8k / 2**20:8,.1f} MiB at 8k  {at_16k / 2**20:8,.1f} MiB at 16k"
    )
    assert at_16k < 2.1 * at_8k if attend is attention.blocked_attention else at_16k > 3.9 * at_8k

# %% [markdown]
# ▸ The matrix takes four times as much, the blocks not quite twice: no longer flat, but in step
# with what goes in and out.
#
# **Now the work.** Count the scores. The whole matrix has $L^2$ of them. In $n = L / B$ blocks of
# $B$, the loop visits $1 + 2 + \dots + n$ blocks of $B^2$ scores:
#
# $$B^2 \cdot \frac{n (n + 1)}{2} = \frac{L^2}{2} \left(1 + \frac{1}{n}\right).$$
#
# Skipping nearly halves the work. **And if the length doubles?**


# %% tags=["nbval-check-output"]
def scores_in_blocks(length, block_len):
    """How many scores the two loops compute."""
    visited = sum(i + 1 for i in range(length // block_len))  # block i of queries meets 0 … i
    return visited * block_len**2


assert scores_in_blocks(256, 32) == 256**2 / 2 * (1 + 32 / 256)
for length in LENGTHS:
    blocks = scores_in_blocks(length, BLOCK_LEN)
    print(f"{length:9,} positions: {length**2:17,} scores, in blocks {blocks:15,}")

work = {
    "whole matrix": [n**2 for n in LENGTHS],
    "in blocks": [scores_in_blocks(n, BLOCK_LEN) for n in LENGTHS],
}
assert 15 < work["in blocks"][-1] / work["in blocks"][-2] < 16
assert 0.5 < work["in blocks"][-1] / work["whole matrix"][-1] < 0.501

# %% [markdown]
# ▸ Then it is four times as much without blocks, and nearly that with them. (The rows above go in
# steps of four times the length: sixteen times the scores, or nearly.) Half of a square still grows
# like a square.
#
# Each score costs $2d$ floating-point operations for $q \cdot k$, and its weight another $2d$ to
# take its share of $v$: $4 d L^2$ for the whole matrix. The compiler counts as well, and a little
# more, since it counts the softmax too:

# %%
flops = compiled(whole_matrix, 4096).cost_analysis()["flops"]
print(f"{flops / 1e9:.2f} GFLOP by the compiler, {4 * 64 * 4096**2 / 1e9:.2f} by the formula")
assert 1 <= flops / (4 * 64 * 4096**2) < 1.1

plots.show(
    pictures.draw_costs(LENGTHS, memory, work),
    "Left: working memory of one head against length. The whole matrix takes a gigabyte at 16,384 "
    "positions and four terabytes at a million; in blocks the line is flat, below two megabytes. "
    "Right: the scores that are computed, two parallel lines, in blocks half as many.",
)

# %% [markdown]
# The left picture is a success, the right one is not. What does that mean in seconds? It depends on
# your machine. **Guess: do blocks, with their loops and half of the scores, take less time than the
# whole matrix, or more?**


# %%
import time


def seconds(attend, length, repeats=3):
    vectors = np.random.default_rng(0).standard_normal((3, length, 64), np.float32)
    run = jax.jit(attend)
    run(*vectors).block_until_ready()  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(*vectors).block_until_ready()
        times.append(time.perf_counter() - start)
    return min(times)


print("one head, exact, on this machine:")
for length in (1024, 2048, 4096, 8192):
    took = seconds(in_blocks_of_512, length)
    whole = f"{1000 * seconds(whole_matrix, length):9.1f} ms whole" if length < 8192 else ""
    print(f"{length:9,} positions {1000 * took:9.1f} ms in blocks {whole}")
print(
    f"{2**20:9,} positions would take {took * 128**2 / 60:.0f} minutes (for one head of one layer)"
)

# %% [markdown]
# ▸ Less, on the machine that built this page: at a few thousand positions blocks are faster, by
# more than the half of the scores that they skip. A matrix of scores has to be written to memory
# and read again, several times; a block stays near the processor until it is used up. That is
# FlashAttention's own point: on a GPU this traffic, and not arithmetic, is what takes the time. It
# computes in blocks as we did, and so does cuDNN's attention: memory is no longer the problem, and
# nothing was left out for it.
#
# But look down the column. Twice the length takes about four times as long. Against *that* there is
# only one way left: **compute fewer scores**. The first half of this chapter says that most of them
# are hardly needed. The next two chapters leave them out.
#
# ## Its limits, honestly
#
# ### Not every head, and not every query
#
# Averages hide the worst cases. Here are, for every head, the mean number of keys that carry 90 %
# and the share that the top 8 carry for the *least sparse* 5 % of the late queries.

# %%
worst = np.quantile(shares[..., LATE, 7], 0.05, axis=(0, -1))
for (layer_, head_), keys in np.ndenumerate(by_start[..., -1]):
    print(f"layer {layer_}, head {head_}: {keys:4.1f} keys for 90 %;", end=" ")
    print(f"for 1 query in 20 the top 8 carry less than {worst[layer_, head_]:.0%}")
assert by_start[..., -1].max() > 5 * by_start[..., -1].min()
assert worst[1].min() < 0.5

# %% [markdown]
# A head that gathers a little from everywhere is not wrong, it does another job: a mean, say. No
# method that keeps a few keys will do it justice.
#
# ### Sparsity is learned
#
# It is not in the formula. In the model that you trained, before its first step and after its last:


# %%
def top_4_of(model):
    """Mean share of the top 4, over the queries with 32 to 64 keys of 32 held-out windows."""
    pieces = jnp.asarray(corpus.held_out[: 32 * WINDOW].reshape(32, WINDOW), jnp.int32)
    *_, weights = look_inside(model, pieces)
    return float(top_shares(weights)[..., WINDOW // 2 :, 3].mean())


before, after = top_4_of(untrained), top_4_of(model)
print(f"your model's top 4 keys carry {before:.0%} before training and {after:.0%} after it")
print(f"(uniform attention: {np.mean([4 / (i + 1) for i in range(WINDOW // 2, WINDOW)]):.0%})")
assert after > 1.5 * before

# %% [markdown]
# What is learned can also be missing. The trained model saw windows longer than 256 bytes only at
# the end of its training, for too short a time. Let it read 512, and look at the queries in the
# second half, where it has not learned what to look for:

# %%
long_window = jnp.asarray(example[None, :512], jnp.int32)
long_shares = top_shares(look_inside(trained_model, long_window)[-1])
learned, not_learned = (
    keys_needed(long_shares[..., n : 2 * n, :]).mean(axis=(0, -1)) for n in (128, 256)
)
print("keys that carry 90 %, a row for each layer")
print("queries 128 to 255:", *learned.round().astype(int).tolist(), sep="\n    ")
print("queries 256 to 511:", *not_learned.round().astype(int).tolist(), sep="\n    ")
assert (not_learned / learned).mean() > 3

# %% [markdown]
# Twice the keys to choose from, and many more than twice as many are needed. A head that does not
# know what to look for spreads its attention. And its predictions suffer:

# %%
over_512 = evaluate(trained_model, example, length=512, batch=2, progress=False)
print(f"{over_512:.2f} bits per byte in windows of 512, {bits:.2f} in windows of 256")
assert over_512 > bits + 0.2

# %% [markdown]
# ### These are small models
#
# Two layers, bytes, code. What larger ones do is not measured here. The Reformer's paper does not
# measure it either: it takes as its starting point that the largest scores dominate a softmax
# (section 2), and shows by the loss of its models that little is lost. Chapter 09 does that with
# ours.
#
# ### Knowing afterwards is not knowing before
#
# And here is the catch in the whole chapter: to *find* the top keys, we computed **all** scores and
# sorted them. We have saved nothing. What we need is a way to tell, before any score is computed,
# which few keys a query may want.
#
# For a window of the last keys that is easy, and for layer 0 it would do. For layer 1 we must find,
# among all keys, those that point in the direction of the query. That is a search for near
# neighbours, and it is solved by [hashing](07_hashing.ipynb).
#
# ## Then and now
#
# > Exact attention in blocks is the ordinary way today: JAX brings it as
# > [`jax.nn.dot_product_attention`](https://docs.jax.dev/en/latest/_autosummary/jax.nn.dot_product_attention.html),
# > which calls cuDNN's on a GPU. That attention is sparse is put to use as well, by *learning*
# > which keys matter: DeepSeek-V3.2 (September 2025) has a small indexer that scores all keys
# > cheaply, and attends to the best ones only
# > ([LMSYS on its release](https://www.lmsys.org/blog/2025-09-29-deepseek-V32)).
#
# ## Exercises
#
# [Four parts](../exercises/06_attention_is_sparse.ipynb): what the top keys carry, a softmax in
# pieces, counting the scores, causal attention in blocks, and an experiment to predict. The
# solutions are [here](../solutions/06_attention_is_sparse.ipynb).
#
# ## Sources
#
# - A. Vaswani et al.: *Attention Is All You Need*, 2017,
#   [arXiv 1706.03762](https://arxiv.org/abs/1706.03762).
# - M. Milakov, N. Gimelshein: *Online normalizer calculation for softmax*, 2018,
#   [arXiv 1805.02867](https://arxiv.org/abs/1805.02867).
# - M. Rabe, C. Staats: *Self-attention Does Not Need O(n²) Memory*, 2021,
#   [arXiv 2112.05682](https://arxiv.org/abs/2112.05682).
# - T. Dao et al.: *FlashAttention*, 2022, [arXiv 2205.14135](https://arxiv.org/abs/2205.14135).
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), section 2.
# - The talk "Efficient Transformers" by Kaiser, Kitaev, Levskaya and colleagues: "attention is
#   sparse".
