# %% [markdown]
# # 11 · Sparse QKV
#
# *Pillar three: sparsity.* With its feed-forward layers sparse, a Transformer that writes a token
# spends nearly all its reading on attention's four square matrices. This chapter replaces them: by
# **a layer that multiplies instead of choosing**, and a small convolution.
#
# After this chapter you can
#
# - build the multiplicative layer, and say which dense layers it equals;
# - make it perform any permutation, and show what it cannot do;
# - add a causal convolution, and run it token by token with a history of two rows;
# - move the saved parameters to where they are cheap, and say why two savings together are worth
#   more than their sum.
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

from efftx import plots, sparsity
from efftx.numbers import sparse_qkv as numbers
from efftx.plots import sparse_qkv as pictures

# %% [markdown]
# ## The question
#
# A decoder writes one token at a time, and for each it reads its weights from memory. Reading is
# what takes the time: every weight is used once and then the next one is needed. So count what is
# read. A block of the paper's medium model has $d$ = `d_model` = 1,024 and `d_ff` = 4,096:
#
# - attention: four matrices $d \times d$, for queries, keys, values and the output;
# - the feed-forward layer: $d \times d_\text{ff}$ and back. Where it is
#   [sparse](10_sparse_feed_forward.ipynb), one unit in each block of $N$ = 64 is read, and the
#   controller that chooses them.
#
# **Predict: which part of a block's reading is attention's, once the feed-forward layer is
# sparse?**


# %%
D_MODEL, D_FF, N_UNITS, N_MODULES = 1024, 4096, 64, 16


def feed_forward_reads(d_ff, sparse):
    """How many weights of a feed-forward layer one token reads."""
    if not sparse:
        return sparsity.n_dense_feed_forward(D_MODEL, d_ff)
    controller = sparsity.default_d_lowrank(D_MODEL, N_UNITS) * (D_MODEL + d_ff)
    return controller + sparsity.n_dense_feed_forward(D_MODEL, d_ff // N_UNITS)


dense_attention = sparsity.n_dense_attention(D_MODEL)
assert dense_attention == 4 * D_MODEL**2
for sparse in (False, True):
    of_feed_forward = feed_forward_reads(D_FF, sparse)
    share = dense_attention / (dense_attention + of_feed_forward)
    kind = "sparse" if sparse else "dense"
    print(
        f"{kind:6} feed-forward {of_feed_forward:>9,}   attention {dense_attention:,} = {share:.0%}"
    )
assert share > 0.9

# %% [markdown]
# ▸ Almost all, 95 %; with dense layers it was a third. Whoever makes one part forty times cheaper
# has to look at the others next.
#
# The paper measured seconds per token, one token at a time, for models of two sizes
# ([arXiv 2111.12763](https://arxiv.org/abs/2111.12763)):
#
# | | 800M | saved | 17B | saved |
# |---|---|---|---|---|
# | dense | 0.160 | | 3.690 | |
# | sparse feed-forward | 0.093 | 0.067 | 1.595 | 2.095 |
# | sparse QKV | 0.152 | 0.008 | 3.154 | 0.536 |
# | both | 0.061 | 0.099 | 0.183 | 3.507 |
#
# Look at the savings. Sparse QKV alone saves next to nothing. And yet both together save more than
# the one and the other added up:

# %%
PAPER = {  # seconds per token
    "800M": {"dense": 0.160, "sparse FF": 0.093, "sparse QKV": 0.152, "both": 0.061},
    "17B": {"dense": 3.690, "sparse FF": 1.595, "sparse QKV": 3.154, "both": 0.183},
}
for size, seconds in PAPER.items():
    ff, qkv, both = (seconds["dense"] - seconds[k] for k in ("sparse FF", "sparse QKV", "both"))
    print(f"{size:5} one and the other save {ff + qkv:.3f} s, both together {both:.3f} s")
    assert both > ff + qkv

# %% [markdown]
# That is odd. A weight that is not read cannot be saved twice, so sums of savings should be just
# sums. **What could make the whole more than its parts?** Keep the question in mind. When we have
# counted parameters, the answer will be one line.
#
# ## The multiplicative layer
#
# A dense layer takes $d$ numbers to $d$ others with $d^2$ weights, one for each pair. To have fewer
# weights, some must be made from others.
#
# Cut the output into $S$ *modules* of $M = d/S$ numbers. Give each input $i$ two short rows: $S$
# weights $D_{i,s}$, which say *how much* of it goes to which module, and $M$ weights $E_{i,m}$,
# which say *where* in a module it goes. The weight from an input to a place is the product:
#
# $$y_{s,m} = \sum_i x_i\, D_{i,s}\, E_{i,m}.$$
#
# Here it is as a loop over the inputs. Each adds its own little table.


# %%
def by_loop(x, d, e):
    """x (length, d_model), D (d_model, S), E (d_model, M) -> (length, S, M)."""
    y = jnp.zeros((len(x), d.shape[1], e.shape[1]))
    for i in range(x.shape[1]):
        y += x[:, i, None, None] * jnp.outer(d[i], e[i])
    return y


# %% [markdown]
# And as sums of products, without a loop. There are two orders, and both have their use. For one
# token, multiply it with $D$ and then with $E$. For many tokens, multiply $D$ with $E$ once: this
# is $W$, the weights of **the dense layer that does the same**, and from there on it *is* one.


# %%
def one_token(x, d, e):
    return jnp.einsum("lis,im->lsm", x[:, :, None] * d, e)


def dense_weights(d, e):
    """(d_model, S · M): the weights from every input to every place, module after module."""
    return (d[:, :, None] * e[:, None, :]).reshape(len(d), -1)


def many_tokens(x, d, e):
    return (x @ dense_weights(d, e)).reshape(len(x), d.shape[1], e.shape[1])


def draw_factors(key, d_model, n_modules):
    """D and E that keep a vector's size."""
    d_key, e_key = jax.random.split(key)
    d = jax.random.normal(d_key, (d_model, n_modules))
    return d, jax.random.normal(e_key, (d_model, d_model // n_modules)) * d_model**-0.5


x = jax.random.normal(jax.random.key(0), (9, 24))
d, e = draw_factors(jax.random.key(1), 24, n_modules=4)
for ours in (one_token, many_tokens, sparsity.multiplicative, sparsity.multiplicative_reference):
    assert jnp.allclose(ours(x, d, e), by_loop(x, d, e), atol=1e-5)

# %% [markdown]
# All four agree; the last two are the package's.
#
# What is special about this $W$? Fold one of its rows, the weights of one input, into a table
# with a row for each module. **What is the rank of this table? And what is the rank of all of
# $W$?**

# %% tags=["nbval-check-output"]
w = np.asarray(dense_weights(d, e))
tables = w.reshape(24, 4, 6)
print("rank of an input's table:", {int(np.linalg.matrix_rank(table)) for table in tables})
print("rank of W:", int(np.linalg.matrix_rank(w)), "of", len(w))

# %% [markdown]
# ▸ One, and full. Each table is $D_i$ times $E_i$, a column times a row, and has rank one: every
# module sees the same pattern of its input, stronger or weaker. But the patterns of different
# inputs have nothing to do with each other, and $W$ as a whole has **full** rank. No direction of
# $x$ is lost.
#
# That is the difference to the usual way to save parameters, a bottleneck $x\,U\,V$ with $U$ and
# $V$ narrow: there everything has to go through a few numbers.
#
# ## How many parameters?
#
# $D$ has $d \cdot S$ and $E$ has $d \cdot M$, together
#
# $$S\, d + \frac{d^2}{S}$$
#
# in the place of $d^2$. With few modules $E$ is large, with many $D$ is. **At which $S$ is the sum
# smallest?** (Where do the two terms become equal?)

# %% tags=["nbval-check-output"]
counts = {}
for n_modules in (2**k for k in range(11)):
    d, e = jax.eval_shape(
        partial(draw_factors, d_model=D_MODEL, n_modules=n_modules), jax.random.key(0)
    )
    counts[n_modules] = d.size + e.size
    assert counts[n_modules] == n_modules * D_MODEL + D_MODEL**2 // n_modules
    assert counts[n_modules] == sparsity.n_multiplicative(D_MODEL, n_modules, D_MODEL // n_modules)
    print(
        f"S = {n_modules:4}   {counts[n_modules]:>9,}   {counts[n_modules] / D_MODEL**2:6.1%} of d²"
    )
best = min(counts, key=counts.get)
assert best == 32 == int(D_MODEL**0.5)
assert counts[best] == 2 * D_MODEL * best

# %% [markdown]
# ▸ At $S = \sqrt d$: 32 modules of 32 numbers, $2\,d^{1.5}$ parameters, a sixteenth of $d^2$. The
# paper takes about as many modules as heads, 16 here. Around the minimum the curve is flat, so it
# costs little. At both ends, with one module or with modules of one number, the layer *is* a dense
# one, and has $d$ parameters too many.
#
# Fewer parameters are fewer bytes to read. Are they also less work? Count the multiplications for
# one token: to make $x_i D_{i,s}$ takes $d \cdot S$ of them, and its product with $E$ takes
# $S \cdot d \cdot M = d^2$. **As many as a dense layer.** The compiler tells both:


# %%
from efftx.compiling import for_a_cpu


def compiled(layer, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    with for_a_cpu():  # so that every reader weighs the same program
        return jax.jit(layer).lower(*arrays).compile()


BIG, BIG_MODULES = 4096, 32  # the size of a model with ten billion parameters
layers = {
    "dense": compiled(jnp.dot, (1, BIG), (BIG, BIG)),
    "multiplicative": compiled(one_token, (1, BIG), (BIG, BIG_MODULES), (BIG, BIG // BIG_MODULES)),
}
read, work = {}, {}
for name, layer in layers.items():
    read[name] = layer.memory_analysis().argument_size_in_bytes
    work[name] = layer.cost_analysis()["flops"]
    print(f"{name:15} reads {read[name] / 2**20:5.1f} MiB, {work[name] / 1e6:.0f} million FLOPs")
assert read["multiplicative"] < read["dense"] / 20
assert 0.9 < work["multiplicative"] / work["dense"] < 1.2
assert layers["multiplicative"].memory_analysis().temp_size_in_bytes < read["dense"] / 20

# %% [markdown]
# So it saves reading and not arithmetic, and no $d \times d$ matrix is made on the way. That helps
# where reading is the bottleneck: one token at a time, a large $d$. A clock on this machine, the
# two in turn, the dense matrix written the way that reads it fastest:

# %%
import time

matrix = jax.random.normal(jax.random.key(2), (BIG, BIG)) / BIG**0.5
factors = draw_factors(jax.random.key(3), BIG, BIG_MODULES)
token = jax.random.normal(jax.random.key(4), (1, BIG))
timed = {
    "dense": (jax.jit(lambda x, w: w @ x[0]), (token, matrix)),
    "multiplicative": (jax.jit(one_token), (token, *factors)),
}
times = {name: [] for name in timed}
for _ in range(15):
    for name, (layer, arrays) in timed.items():
        start = time.perf_counter()
        jax.block_until_ready(layer(*arrays))
        times[name].append(time.perf_counter() - start)
medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
for name, seconds in medians.items():
    print(f"{name:15} {1000 * seconds:.2f} ms")
print(f"{medians['dense'] / medians['multiplicative']:.1f} times as fast")
del matrix, timed

# %% [markdown]
# Faster, but by less than the bytes promise: once little has to be read, the arithmetic that did
# not get less is what remains.
#
# ## What can it do?
#
# **Every permutation.** This is the paper's claim, and it fits the place: a layer in front of heads
# should be able to bring any number to any head. To move $x_i$ to place $o$, which is place
# $o \bmod M$ of module $\lfloor o/M \rfloor$, let row $i$ of $D$ have a single 1, at that module,
# and row $i$ of $E$ a single 1, at that place. Their product is 1 there and 0 elsewhere.


# %%
import itertools


def permute(permutation, n_modules):
    """D and E with which y, module after module, is x[permutation]."""
    d_module = len(permutation) // n_modules
    place = np.argsort(permutation)  # where x_i has to arrive: permutation[place[i]] = i
    return np.eye(n_modules)[place // d_module], np.eye(d_module)[place % d_module]


x = np.arange(1.0, 7)
n_reached = 0
for n_modules in (1, 2, 3, 6):
    for permutation in map(np.array, itertools.permutations(range(6))):
        d, e = permute(permutation, n_modules)
        assert (x @ numbers.dense_equivalent(d, e) == x[permutation]).all()
        n_reached += 1
print(f"{n_reached:,} cases: every permutation of 6 numbers, into 1, 2, 3 and 6 modules")

x = jax.random.normal(jax.random.key(5), (3, D_MODEL))
for seed in range(5):
    permutation = np.random.default_rng(seed).permutation(D_MODEL)
    d, e = permute(permutation, N_MODULES)
    y = sparsity.multiplicative(x, jnp.float32(d), jnp.float32(e))
    assert (y.reshape(3, D_MODEL) == x[:, permutation]).all()
    theirs = sparsity.permutation_factors(permutation, N_MODULES)
    assert all((ours == other).all() for ours, other in zip((d, e), theirs, strict=True))

# %% [markdown]
# The claim holds, for all of them and exactly. Of a bottleneck with as many parameters it would be
# false, as you will see in a moment.
#
# **Not every matrix.** $d(S + M)$ numbers cannot make all $d^2$ freely. How many can they? Move $D$
# and $E$ a little in all directions, and count in how many independent directions $W$ moves: the
# rank of its Jacobian. **Predict it for $d$ = 24, $S$ = 4: is it $24 \cdot (4 + 6) = 240$?**

# %% tags=["nbval-check-output"]
d, e = draw_factors(jax.random.key(6), 24, n_modules=4)
slopes = jax.jacobian(dense_weights, argnums=(0, 1))(d, e)
jacobian = np.concatenate([np.asarray(s).reshape(24 * 24, -1) for s in slopes], axis=1)
freedom = int(np.linalg.matrix_rank(jacobian))
print(f"{jacobian.shape[1]} parameters, {freedom} degrees of freedom, of {24 * 24} of all matrices")
assert freedom == 24 * (4 + 6 - 1)

# %% [markdown]
# ▸ No, a little less: $d(S + M - 1)$, which is 216. If row $i$ of $D$ is doubled and row $i$ of $E$
# halved, nothing changes, so one parameter for each input is lost. (This is also why the layer at
# the ends, with $S$ or $M$ equal to 1, is exactly as free as a dense one.)
#
# So most matrices are out of reach. How far? The best $D$ and $E$ for a given matrix can be found
# without training: each input's table wants the nearest table of rank one, and that is the first
# term of its singular value decomposition. In the same way the first terms of the whole matrix's
# decomposition are the best bottleneck. Take both, with equally many parameters, to a random
# permutation and to a random matrix. **Predict the four errors.**


# %%
def best_multiplicative(w, n_modules):
    """The nearest matrix to w that some D and E make."""
    tables = w.reshape(len(w), n_modules, -1)
    left, sizes, right = np.linalg.svd(tables, full_matrices=False)
    nearest = sizes[:, :1, None] * left[:, :, :1] * right[:, :1]
    return nearest.reshape(w.shape)


def best_bottleneck(w, rank):
    """The nearest matrix to w of this rank."""
    left, sizes, right = np.linalg.svd(w, full_matrices=False)
    return (left[:, :rank] * sizes[:rank]) @ right[:rank]


SMALL, SMALL_MODULES = 64, 8
rng = np.random.default_rng(7)
goals = {
    "a permutation": np.eye(SMALL)[:, rng.permutation(SMALL)],
    "a random matrix": rng.normal(size=(SMALL, SMALL)) / SMALL**0.5,
}
rank = (SMALL_MODULES + SMALL // SMALL_MODULES) // 2  # 2 · d · rank parameters, as many
errors = {}
for goal, w in goals.items():
    for kind, nearest in [
        ("multiplicative", best_multiplicative(w, SMALL_MODULES)),
        ("bottleneck", best_bottleneck(w, rank)),
    ]:
        errors[kind, goal] = numbers.relative_error(nearest, w)
        print(f"{kind:15} to {goal:16} relative error {errors[kind, goal]:4.0%}")

assert errors["multiplicative", "a permutation"] < 1e-12
assert errors["bottleneck", "a permutation"] > 0.9
assert errors["multiplicative", "a random matrix"] > 0.6
d, e = numbers.best_factors(goals["a random matrix"], SMALL_MODULES)
ours = best_multiplicative(goals["a random matrix"], SMALL_MODULES)
assert np.allclose(numbers.dense_equivalent(d, e), ours)

# %% [markdown]
# Neither comes near a random matrix: with a quarter of the parameters most of it is lost, whatever
# one does. But the multiplicative layer reaches permutations, which a bottleneck misses almost
# completely.

# %%
d, e = draw_factors(jax.random.key(8), SMALL, SMALL_MODULES)
plots.show(
    pictures.draw_matrices(
        {
            "made by a random D and E": np.asarray(dense_weights(d, e))[:10],
            "a random matrix": goals["a random matrix"][:10],
            "the nearest to it that D and E make": ours[:10],
        },
        SMALL_MODULES,
    ),
    "Ten rows of three 64 × 64 matrices, red above 0 and blue below, lines between eight modules "
    "of eight numbers. Top: each row repeats one pattern of eight, in every module stronger, "
    "weaker or with the sign turned. Middle: noise without a pattern. Bottom: its nearest, which "
    "again repeats itself from module to module.",
)

# %% [markdown]
# Move $S$ from one end to the other. Where are the parameters fewest, and what happens to the best
# fit of a random matrix at the two ends?

# %%
import ipywidgets as widgets

modules = widgets.SelectionSlider(
    options=numbers.divisors(SMALL), value=8, description="S", continuous_update=False
)
content = widgets.Dropdown(options=numbers.CONTENTS, description="matrix")
callback = partial(pictures.show_modules, d_model=SMALL)
display(
    modules,
    content,
    widgets.interactive_output(callback, {"n_modules": modules, "content": content}),
)

# %% [markdown]
# ## Then a convolution
#
# Queries, keys and values could have a multiplicative layer each. The paper goes further: **they
# share one**. Then something else must make them different, and it should also repair what the
# tables of rank one cannot do, that is to let modules differ in more than strength. A small
# convolution does both, one for each of the three.
#
# Think of $y$ as an image, positions along its height and modules along its width, with $M$
# channels. A kernel looks at 3 × 3 of its pixels, at each through an $M \times M$ matrix:
#
# $$z_{t,s} = \sum_{i=0}^{2} \sum_{j=0}^{2} y_{\,t-2+i,\; s-1+j}\; K_{i,j}.$$
#
# Along the modules it looks to both sides. Along the text it must not: a decoder has no future. So
# it looks at $t-2$, $t-1$ and $t$. What lies outside of the image is zero.


# %%
def convolve(y, kernel):
    """y (length, S, M), kernel (3, 3, M, d_out) -> (length, S, d_out)."""
    length, n_modules, _ = y.shape
    padded = jnp.pad(y, ((2, 0), (1, 1), (0, 0)))  # before the text, and on both sides of modules
    z = 0
    for i, j in itertools.product(range(3), range(3)):
        z += padded[i : i + length, j : j + n_modules] @ kernel[i, j]
    return z


def convolve_fast(y, kernel):
    """The same by XLA's own convolution."""
    return lax.conv_general_dilated(
        y[None], kernel, (1, 1), ((2, 0), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


y = jax.random.normal(jax.random.key(9), (10, 6, 5))
kernel = jax.random.normal(jax.random.key(10), (3, 3, 5, 5)) / 45**0.5
for ours in (convolve_fast, sparsity.convolution, sparsity.convolution_reference):
    assert jnp.allclose(ours(y, kernel), convolve(y, kernel), atol=1e-5)

# %% [markdown]
# Is it causal? Change the last positions, and look which outputs change. Beside ours stands the
# padding that image libraries use unless told otherwise, the same on all sides. **What does it
# do?**


# %%
def convolve_same(y, kernel):
    """Looks ahead: zeros on both sides of the text."""
    return lax.conv_general_dilated(
        y[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


changed = y.at[7:].add(1)
for layer in (convolve, convolve_fast, convolve_same):
    differs = (layer(y, kernel) != layer(changed, kernel)).any(axis=(1, 2))
    positions = [int(t) for t in np.flatnonzero(differs)]
    print(f"{layer.__name__:14} position 7 and later changed, and so did {positions}")
    assert (positions == [7, 8, 9]) == (layer is not convolve_same)

# %% [markdown]
# ▸ It looks ahead: position 6 sees position 7. A model with this layer would train wonderfully, for
# it copies the answer, and could not write a word. What one output depends on can be measured, by
# derivatives:

# %%
POSITION, MODULE = 6, 2
slopes = jax.jacobian(lambda y: convolve(y, kernel)[POSITION, MODULE])(y)
reach = np.asarray(jnp.sqrt((slopes**2).sum(axis=(0, 3))))  # (length, S)
plots.show(
    pictures.draw_reach(reach, POSITION, MODULE),
    "How strongly the output at position 6, module 2 (orange frame) depends on each position and "
    "module: on modules 1 to 3 of positions 4 to 6, and on nothing else.",
)
seen = np.argwhere(reach > 0).tolist()
assert seen == [[t, s] for t in (4, 5, 6) for s in (1, 2, 3)]

# %% [markdown]
# ### One token at a time
#
# A decoder has one new $y_t$ and needs the two before it. Dense layers remember nothing; this one
# must: a **history** of two rows, which goes from step to step as the attention's cache does.


# %%
def convolve_step(y_t, history, kernel):
    """One position (S, M) and the two before it (2, S, M) -> its output, the next history."""
    window = jnp.concatenate([history, y_t[None]])
    z = jnp.einsum("ism,ijmo->sjo", window, kernel)  # of each module, for each of its neighbours
    z = jnp.pad(z, ((1, 1), (0, 0), (0, 0)))
    n_modules = len(y_t)
    return sum(z[j : j + n_modules, j] for j in range(3)), window[1:]


history = jnp.zeros((2, 6, 5))
theirs_history = sparsity.no_history(kernel, n_modules=6)
for t, whole in enumerate(convolve(y, kernel)):
    z, history = convolve_step(y[t], history, kernel)
    theirs, theirs_history = sparsity.convolution_step(y[t : t + 1], theirs_history, kernel)
    assert jnp.allclose(z, whole, atol=1e-5)
    assert jnp.allclose(theirs[0], whole, atol=1e-5)
    assert (history == theirs_history).all()

forgotten, _ = convolve_step(y[9], jnp.zeros((2, 6, 5)), kernel)
error = numbers.relative_error(np.asarray(forgotten), np.asarray(convolve(y, kernel)[9]))
print(f"equal at all positions; with the history forgotten the last one is off by {error:.0%}")
assert error > 0.3

# %% [markdown]
# ## Attention with it
#
# Now put it together. One multiplicative layer, three convolutions, attention in heads as always,
# and then, in the paper's layer, **no output projection**: the heads' outputs stand side by side
# and are the result. To mix the heads is left to the layers that follow.

# %%
from efftx.plots import architectures

plots.show(
    architectures.draw_sparse_qkv(),
    "From left to right: x, the multiplicative layer with D and E, what it gives as S modules of M "
    "numbers, three convolutions for q, k and v, attention of each head, and the heads side by side "
    "without a projection.",
)

# %% [markdown]
# The package's layer holds the same parameters. On them, both compute the same:


# %%
from efftx.attention import full_attention
from efftx.models import Exact, Sizes, attention_layer, multiplicative


def sparse_attention(x, d, e, kernels, n_heads):
    """x (length, d_model), kernels (3, 3, M, 3, M): the last but one for q, k, v."""
    y = many_tokens(x, d, e)
    q, k, v = (convolve(y, kernels[:, :, :, which]) for which in range(3))
    heads = (z.reshape(len(x), n_heads, -1).swapaxes(0, 1) for z in (q, k, v))
    out = jax.vmap(partial(full_attention, causal=True))(*heads)  # (n_heads, length, d_head)
    return out.swapaxes(0, 1).reshape(len(x), -1)


sizes = Sizes(n_layers=2, d_model=32, n_heads=4, d_head=8)
layer = attention_layer(Exact(), multiplicative(8))(jax.random.key(11), sizes)
d, e, kernels = (getattr(layer.projection, name) for name in ("d", "e", "kernels"))
x = jax.random.normal(jax.random.key(12), (20, 32))
ours = sparse_attention(x, d, e, kernels, n_heads=4)
assert jnp.allclose(ours, layer(x)[0], atol=1e-5)
(q, k, v), _ = sparsity.sparse_qkv(x, d, e, kernels)
assert jnp.allclose(q, convolve(many_tokens(x, d, e), kernels[:, :, :, 0]), atol=1e-5)

# %% [markdown]
# (There were 8 modules and 4 heads. They need not be as many, for the row of $d$ numbers is simply
# cut anew.)
#
# The convolutions have parameters, too: three times $3 \cdot 3 \cdot M^2$. **So is $\sqrt d$ still
# the best number of modules?**

# %%
my_guess = plots.ask("the best number of modules", along="x")

# %% tags=["nbval-check-output"]
from efftx.models import n_parameters

medium = Sizes(d_model=D_MODEL, d_ff=D_FF, n_heads=16, d_head=64)
wholes = {}
for n_modules in (8, 16, 32, 64, 128):
    init = attention_layer(Exact(), multiplicative(n_modules))
    shapes = jax.eval_shape(lambda key, init=init: init(key, medium), jax.random.key(0))
    wholes[n_modules] = n_parameters(shapes)
    d_module = D_MODEL // n_modules
    assert wholes[n_modules] == n_modules * D_MODEL + D_MODEL**2 // n_modules + 3 * 9 * d_module**2
    assert wholes[n_modules] == sparsity.n_sparse_qkv(D_MODEL, n_modules)
    alone, whole = counts[n_modules], wholes[n_modules]
    print(f"S = {n_modules:3}   D and E {alone:>8,}   with convolutions {whole:>8,}")
assert min(wholes, key=wholes.get) == 64

# %%
my_guess.show(
    pictures.draw_parameters(D_MODEL),
    "Parameters against the number of modules in the medium model, both axes logarithmic. D and E "
    "alone have a flat minimum at the root of d. With the convolutions of q, k and v there are "
    "more with few modules, and the minimum lies further right. Dashed: d², and the 4 d² of dense "
    "attention, far above.",
)
print(f"dense attention / sparse QKV at S = 16: {dense_attention / wholes[16]:.0f} times fewer")
assert dense_attention / wholes[16] > 20

# %% [markdown]
# ▸ No: few modules mean wide kernels, and the best number moves to 64. At the paper's 16 more than
# half of the parameters are the convolutions'. It is still more than twenty times fewer than four
# dense matrices.
#
# ## Where the parameters go
#
# Fewer parameters make a smaller model, and a smaller model is usually a worse one. Is that a fair
# comparison? The talk has a sentence on it: sparse QKV has *"less parameters than dense,"* and so
# *"we always increase d_ff accordingly"*. How much is accordingly? Dense attention has $4 d^2$. One
# more unit of the feed-forward layer has $2d$ (its column of $W_1$ and its row of $W_2$). So almost
# all of $4 d^2$ is
#
# $$d_\text{ff}' = d_\text{ff} + 2\, d,$$
#
# which is what the paper does: 4,096 becomes 6,144.

# %%
widened = D_FF + 2 * D_MODEL
dense_block = dense_attention + sparsity.n_dense_feed_forward(D_MODEL, D_FF)
sparse_block = sparsity.n_sparse_qkv(D_MODEL, N_MODULES) + sparsity.n_dense_feed_forward(
    D_MODEL, widened
)
print(f"dense block {dense_block / 1e6:.1f} million, sparse {sparse_block / 1e6:.1f} million")
assert abs(sparse_block / dense_block - 1) < 0.02

ours = sparsity.widened_d_ff(D_MODEL, D_FF, n_modules=N_MODULES, n_units=N_UNITS)
counted = sparsity.n_sparse_qkv(D_MODEL, N_MODULES) + sparsity.n_sparse_feed_forward(
    D_MODEL, ours, N_UNITS
)
print(
    f"with the convolutions and a controller counted: d_ff = {ours:,}, {counted / dense_block:.2%}"
)
assert counted <= dense_block < counted + N_UNITS * 2 * D_MODEL * 1.01

# %% [markdown]
# The paper's round number makes the sparse block a little larger than the dense one.
# `sparsity.widened_d_ff` counts everything, controller too, and gives 5,952.
#
# **And now the riddle.** Four blocks with about the same number of parameters. What does a token
# read of each? Think first: in the block with sparse QKV and a *dense* feed-forward layer, where
# did attention's parameters go, and who reads them?

# %%
sparse_attention_reads = sparsity.n_sparse_qkv(D_MODEL, N_MODULES)
blocks = {  # attention is sparse, feed-forward is sparse
    "dense": (False, False),
    "sparse FF": (False, True),
    "sparse QKV": (True, False),
    "both": (True, True),
}
reads = {
    name: {
        "attention": sparse_attention_reads if attention else dense_attention,
        "feed-forward": feed_forward_reads(widened if attention else D_FF, feed_forward),
    }
    for name, (attention, feed_forward) in blocks.items()
}
plots.show(
    pictures.draw_reads(reads, PAPER["800M"]),
    "Left, the weights that a token reads of one block. Dense: a third is attention, the rest "
    "feed-forward. With sparse feed-forward only attention is left. With sparse QKV alone "
    "attention is gone, but the feed-forward layer has grown by as much. With both hardly anything "
    "is left. Right, seconds per token of the paper's 800M model, with the same pattern, though "
    "less extreme.",
)
total = {name: sum(parts.values()) for name, parts in reads.items()}
saved = {name: total["dense"] - n for name, n in total.items()}
for name in ("sparse FF", "sparse QKV", "both"):
    print(f"{name:11} reads {total[name]:>10,}   saves {saved[name]:>10,}")
assert saved["sparse QKV"] <= 0
assert saved["both"] > saved["sparse FF"] + saved["sparse QKV"]
assert total["dense"] / total["both"] > 20

# %% [markdown]
# Sparse QKV alone saves **nothing**: the parameters have moved to the feed-forward layer, and a
# dense feed-forward layer reads them all. Sparse feed-forward makes them cheap: of what moved
# there, a token reads one part in 64. That is the line that was promised. ▸ *One saving moves the
# parameters to where the other saves.*
#
# Without the balance there is no riddle. At the same `d_ff` the savings simply add up:

# %%
smaller = {
    (attention, feed_forward): (sparse_attention_reads if attention else dense_attention)
    + feed_forward_reads(D_FF, feed_forward)
    for attention, feed_forward in blocks.values()
}
start = smaller[False, False]
one, other, both = (start - smaller[k] for k in [(False, True), (True, False), (True, True)])
assert both == one + other
print(f"the same d_ff: {one:,} + {other:,} = {both:,}")

# %% [markdown]
# This is our count, and the explanation is ours. It predicts savings of 8.2, −0.2 and 12.1 million
# weights, in a pattern like the paper's 0.067, 0.008 and 0.099 seconds. It does not predict the
# ratio: our bytes shrink by more than twenty times, the paper's seconds by 2.6 times, since a step
# of a real decoder does much besides reading weights. [The next chapter](12_terraformer.ipynb)
# looks at where that time goes.
#
# ## Does it learn as well?
#
# The same number of parameters, in other places. Does the model get worse? A small test, live: two
# layers on Python source, byte by byte, three models with **equally many parameters** (to within
# two hundred):
#
# - **dense** attention;
# - **sparse QKV** with eight modules of eight numbers, and `d_ff` widened;
# - **sparse QKV without neighbours**: its kernel sees one position and one module only, so that
#   nothing is left but the multiplicative layer and a small matrix for each of q, k and v. It has
#   even fewer parameters, and gets them back in `d_ff` as well.
#
# The feed-forward layers are dense in all three, so that only attention differs. **Predict the
# order.**

# %%
from dataclasses import replace

from efftx.models import init_feed_forward, language_model, plain_residual

N_STEPS, LENGTH, BATCH = 200, 128, 8
small = Sizes(n_layers=2, d_model=64, d_ff=256, n_heads=4, d_head=16, max_len=LENGTH)


def with_equal_parameters(n_attention):
    """The sizes whose feed-forward layers have what attention does not need."""
    spare = sparsity.n_dense_attention(small.d_model) - n_attention
    return replace(small, d_ff=small.d_ff + spare // (2 * small.d_model + 1))


init_dense = attention_layer()
init_sparse = attention_layer(Exact(), multiplicative(8))


def init_without_neighbours(key, sizes):
    """Of the kernel only its last position and middle module, three times as large."""
    layer = init_sparse(key, sizes)
    projection = layer.projection
    alone = replace(projection, kernels=3 * projection.kernels[-1:, 1:2])
    return replace(layer, projection=alone)


CONTENDERS = {
    "dense": (init_dense, sparsity.n_dense_attention(64)),
    "sparse QKV": (init_sparse, sparsity.n_sparse_qkv(64, 8)),
    "without neighbours": (init_without_neighbours, sparsity.n_sparse_qkv(64, 8, kernel_size=1)),
}


def build(key, name):
    init, n_attention = CONTENDERS[name]
    sizes = with_equal_parameters(n_attention)
    return language_model(key, sizes, init, init_feed_forward, plain_residual)


built = {name: partial(build, name=name) for name in CONTENDERS}
shapes = {name: jax.eval_shape(start, jax.random.key(13)) for name, start in built.items()}
for name, (_, n_attention) in CONTENDERS.items():
    d_ff = with_equal_parameters(n_attention).d_ff
    print(f"{name:19} d_ff {d_ff}   {n_parameters(shapes[name]):,} parameters")
n_dense = n_parameters(shapes["dense"])
assert all(0 <= n_dense - n_parameters(model) < 0.005 * n_dense for model in shapes.values())

# %%
from efftx.training.batches import random_windows
from efftx.training.corpora import standard_library
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte, evaluate
from efftx.training.optimisers import adamw

corpus = standard_library()
text = corpus.held_out[:65_537]
losses, held_out = {}, {}


def learn(name):
    """Train one of the models, keep its losses, and see what it makes of held-out text."""
    model = jax.jit(built[name])(jax.random.key(13))
    state = train(
        model,
        loss=lambda model, window, key: bits_per_byte(model, window),
        batch_at=lambda step: random_windows(
            corpus.train, seed=0, step=step, length=LENGTH, batch=BATCH
        ),
        optimiser=adamw(N_STEPS, peak=3e-3),
        n_steps=N_STEPS,
    )
    losses[name] = np.asarray(state.losses)
    held_out[name] = evaluate(state.model, text, length=LENGTH, batch=16, progress=False)
    print(f"{name:19} {held_out[name]:.3f} bits per byte on held-out text, {state.seconds:.0f} s")


learn("dense")

# %%
learn("sparse QKV")

# %%
learn("without neighbours")

# %%
plots.show(
    pictures.draw_learning(losses, held_out, window=20),
    "Left: the training loss from the fortieth step on; the three lines fall together at first and "
    "then part. Right: bits per byte on held-out text. Sparse QKV is lowest, then dense, then "
    "sparse QKV without neighbours.",
)
n_times = np.bincount(text)
shares = n_times[n_times > 0] / len(text)
by_frequency = float(-(shares * np.log2(shares)).sum())
print(f"who only knows how often each byte occurs needs {by_frequency:.2f} bits per byte")
assert max(held_out.values()) < 0.9 * by_frequency
assert held_out["sparse QKV"] < held_out["dense"] - 0.05
assert held_out["sparse QKV"] < held_out["without neighbours"] - 0.1

# %% [markdown]
# After these steps sparse QKV is ahead of dense attention, by about 0.15 bits per byte. Without
# neighbours it is a little behind. Both have moved more than four fifths of attention's parameters
# into the feed-forward layers. So to move them costs a little, and what more than makes up for it
# is that a module sees the positions before it and the modules beside it.
#
# When we wrote this we tried two more seeds, for weights and batches: the same order, and nearly
# the same distances. Yet all three models are at their very beginning. They beat a list of how
# often each byte occurs, and could not write a line of Python.
#
# ### Three seeds, and beside sparse feed-forward layers
#
# That was one seed, and feed-forward layers that read everything. What counts is the pair, for only
# beside sparse feed-forward layers does sparse QKV save reading. A recorded run trained it, from
# three seeds: two layers of width 64 on the same kind of text, feed-forward layers in which one
# unit in 16 is on, with dense attention and with sparse QKV. Every model has as many parameters as
# the dense one, or a few fewer. All are evaluated as they would generate, each block with its one
# unit.
#
# **Which of the two steps costs more: to sparse feed-forward layers, or from there to both?**

# %%
from efftx.results import recorded
from efftx.training.records import mean_with_interval

quality = recorded("sparse_quality")
machine = quality["machine"]
print(f"trained on: {machine['processor']}, {machine['cores']} cores")
n_seeds, n_steps = len(quality["seeds"]), quality["config"]["n_steps"]
n_megabytes = quality["corpus"]["bytes_trained_on"] / 1e6
print(f"{n_seeds} seeds, {n_steps} steps on {n_megabytes:.1f} MB; bits per byte on held-out text")
print("                parameters   d_ff    mean   more than dense, 95 % interval")
KINDS = {"dense": "dense", "sparse_ff_16": "sparse FF", "sparse_ff_16_and_qkv": "both"}
for kind, label in KINDS.items():
    row = quality["variants"][kind]
    more, (low, high) = row["more_than_dense"]["mean"], row["more_than_dense"]["interval_95"]
    compared = "" if kind == "dense" else f"{more:+9.3f}  [{low:+.3f}, {high:+.3f}]"
    mean = row["bits_per_byte"]["mean"]
    print(f"{label:13} {row['n_parameters']:12,} {row['d_ff']:6} {mean:7.3f}{compared}")
ff, both = (
    np.array(quality["variants"][kind]["bits_per_byte"]["by_seed"]) for kind in list(KINDS)[1:]
)
step = mean_with_interval(both - ff, digits=3)
low, high = step["interval_95"]
print(f"both less sparse FF, seed by seed: {step['mean']:+.3f}  [{low:+.3f}, {high:+.3f}]")
took = {
    kind: sum(run["seconds"] for run in quality["runs"] if run["variant"] == kind) for kind in KINDS
}
longer = took["sparse_ff_16_and_qkv"] / took["sparse_ff_16"]
print(f"training took {longer:.1f} times as long with both as with sparse FF, by the clock")

n_of_dense = quality["variants"]["dense"]["n_parameters"]
for kind in KINDS:
    assert 0.97 * n_of_dense < quality["variants"][kind]["n_parameters"] <= n_of_dense
low_of_ff, high_of_ff = quality["variants"]["sparse_ff_16"]["more_than_dense"]["interval_95"]
assert low_of_ff < 0 < high_of_ff
assert quality["variants"]["sparse_ff_16_and_qkv"]["more_than_dense"]["interval_95"][1] < 0
assert high < 0

# %% [markdown]
# ▸ The first: sparse feed-forward layers cost a little. The interval contains 0, so three seeds are
# too few to be sure of it. Sparse QKV beside them costs nothing: the model with both is *better*
# than the dense one, by about 0.15 bits per byte, and the interval lies below 0. The step from
# sparse FF to both gains about 0.18, in every seed nearly the same.
#
# **Better with fewer weights for attention: do you believe it?** ▸ Not that the fewer weights are
# what makes it better. Ask first what else has changed. The live test asked, and with its kernel
# cut down to one position and one module sparse QKV was behind dense attention. So it is not the
# multiplicative layer that gains, but the convolution. We think that it is given what dense
# attention has to learn: to look at the letters just before. And a model that has seen 0.3 MB of
# text knows little more than which letters follow which. Whether anything of the gain is left after
# longer training, these runs do not say.
#
# The paper's comparison is at its own size. Its abstract reports, for models with sparse
# feed-forward layers and sparse QKV, the perplexity of the dense Transformer with as many
# parameters.
#
# ## The same idea for the vocabulary
#
# One dense matrix is left: the readout, $d \times$ vocab, from the last vector to a score for each
# token. With 32,000 tokens it is eight times as large as one of attention's matrices, and a token
# reads it all. The **sparse loss layer** is the multiplicative layer once more, with modules of
# $M = \lceil \text{vocab}/S \rceil$ scores:

# %%
VOCAB, LOSS_MODULES = 32_000, 4
dense_readout = D_MODEL * VOCAB
sparse_readout = sparsity.n_multiplicative(D_MODEL, LOSS_MODULES, VOCAB // LOSS_MODULES)
print(f"dense {dense_readout:,}, sparse {sparse_readout:,}, S = {LOSS_MODULES}")
assert round(dense_readout / sparse_readout, 1) == 4.0

x = jax.random.normal(jax.random.key(14), (5, 16))
d, _ = draw_factors(jax.random.key(15), 16, n_modules=4)
e = jax.random.normal(jax.random.key(16), (16, 8))
scores = sparsity.multiplicative_logits(x, d, e, vocab=30)  # 4 · 8 places, 30 tokens
assert scores.shape == (5, 30)
assert jnp.allclose(scores, (x @ dense_weights(d, e))[:, :30], atol=1e-5)
assert jnp.allclose(scores, sparsity.multiplicative_logits_reference(x, d, e, 30), atol=1e-5)

# %% [markdown]
# Here $E$ is nearly everything, and $S$ is the factor that it saves; the paper takes 4. Tokens that
# stand at the same place of different modules share their row of $E$, so their scores are tied
# together: token 5 cannot be told from token 8,005 by $E$, only by the four columns of $D$. A
# larger $S$ ties more of them.
#
# ## Its limits, honestly
#
# ### Training gets no faster
#
# The arithmetic is that of the dense layer it equals, and there is the convolution on top. Batches
# and long texts use each weight many times, so reading is not their bottleneck, and saving it is no
# use. On a CPU it gets slower: in the recorded runs, by the clock of a machine that had other work
# too, training took more than twice as long with sparse QKV as with dense attention.
#
# ### Alone it is of little use
#
# At equal parameters it saves no reading at all unless the feed-forward layers are sparse. And at
# equal `d_ff`, where it does, the model is smaller.
#
# ### The cache stays as large
#
# Keys and values of all earlier positions are read for each token, and they are as many as before.
# From which length on does the cache weigh more than the four matrices that we just saved?

# %%
cached = 2 * D_MODEL  # numbers for each position, one block
from_length = dense_attention // cached
print(f"at {from_length:,} positions the cache is as large as dense attention's weights,")
print(f"at {wholes[16] // cached:,} positions as large as sparse QKV")
assert from_length == 2 * D_MODEL

# %% [markdown]
# At a few thousand tokens the cache is the next thing to look at, which sparse QKV does not touch.
#
# ### It is another network
#
# A pretrained dense layer cannot be converted: most matrices are far from every $D$ and $E$, as you
# measured. It has to be trained this way from the beginning. And $S$ must divide $d$.
#
# ### What the small tests do not say
#
# Two layers and a few hundred kB of text say nothing about large models or long training. And they
# mix two things: the multiplicative layer, and a convolution that looks at the last three bytes and
# at modules side by side. Which of these two looks matters, we did not separate. Dense attention
# profits from such a convolution, too: *Primer* (So et al. 2021) found one after dense queries,
# keys and values, by a search through architectures, and it was among the two changes that helped
# most. We did not give it one, so "better than dense" is no fair title for what you saw.
#
# ## Then and now
#
# > As of November 2026 we know of no large model with multiplicative projections. What became usual
# > saves at the other end, in the cache: several query heads share one head of keys and values
# > (*grouped-query attention*, Ainslie et al. 2023,
# > [arXiv 2305.13245](https://arxiv.org/abs/2305.13245)). Chapter [12](12_terraformer.ipynb) counts
# > what that brings.
#
# ## Exercises
#
# [Four parts](../exercises/11_sparse_qkv.ipynb): the multiplicative layer, any permutation, the
# causal convolution, its steps, and an experiment to predict. The solutions are
# [here](../solutions/11_sparse_qkv.ipynb).
#
# ## Sources
#
# - S. Jaszczur, A. Chowdhery, A. Mohiuddin, Ł. Kaiser, W. Gajewski, H. Michalewski, J. Kanerva:
#   *Sparse is Enough in Scaling Transformers*, NeurIPS 2021,
#   [arXiv 2111.12763](https://arxiv.org/abs/2111.12763), sections 3.2 and 3.3, and the decoding
#   times.
# - The talk "Efficient Transformers": sparse QKV, and its sentence on d_ff.
# - D. So, W. Mańke, H. Liu, Z. Dai, N. Shazeer, Q. V. Le: *Primer: Searching for Efficient
#   Transformers for Language Modeling*, NeurIPS 2021,
#   [arXiv 2109.08668](https://arxiv.org/abs/2109.08668).
# - C. Eckart, G. Young: *The approximation of one matrix by another of lower rank*, Psychometrika
#   1936: why the first terms of the decomposition are the best.
