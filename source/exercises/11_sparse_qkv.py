# %% [markdown]
# # Exercise 11 · Sparse QKV
#
# <!-- measured -->
#
# In [the chapter](../chapters/11_sparse_qkv.ipynb) a multiplicative layer and a convolution took
# the place of attention's dense projections. Here you write both, and run them as a decoder does,
# one token at a time. Afterwards you can
#
# * write the multiplicative layer from its formula, with its numbers in the right order;
# * choose its weights so that it performs any permutation you like;
# * write a convolution over positions and modules that never looks ahead;
# * run it token by token with a history of two rows.
#
# At the end your functions together make queries, keys and values while a text is generated, and a
# last check holds them against the whole text at once.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# Plain Python loops are fine here. The last section says what separates them from the fast version.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax.numpy as jnp

from efftx.check import sparse_qkv as check

# %% [markdown]
# ## Part 1: The multiplicative layer · ★☆☆ · 15 minutes
#
# A vector $x$ of $d$ numbers becomes $S$ *modules* of $M = d/S$ numbers each:
#
# $$y_{s,m} = \sum_i x_i\, D_{i,s}\, E_{i,m}.$$
#
# Write `multiplicative(x, d, e)` for all positions of a text. Return the modules side by side, in a
# row of $d$ numbers: first the $M$ numbers of module 0, then those of module 1, and so on. Number
# $s \cdot M + m$ of the row is $y_{s,m}$.
#
# A small case, one position with $d = 4$, $S = M = 2$:
#
# | $i$ | $x_i$ | $D_{i,0}$ | $D_{i,1}$ | $E_{i,0}$ | $E_{i,1}$ |
# |---|---|---|---|---|---|
# | 0 | 1 | 1 | 0 | 1 | 2 |
# | 1 | 2 | 0 | 1 | 1 | 0 |
# | 2 | 3 | 0 | 0 | 5 | 5 |
# | 3 | 4 | 1 | 1 | 0 | 1 |
#
# What is the row, and where did $x_2$ go?
#
# <details><summary>Answer</summary>
#
# $y_{0,0} = 1 \cdot 1 \cdot 1 + 4 \cdot 1 \cdot 0 = 1$, $y_{0,1} = 1 \cdot 1 \cdot 2 + 4 \cdot 1
# \cdot 1 = 6$, $y_{1,0} = 2$ and $y_{1,1} = 4$: the row is 1, 6, 2, 4. $x_2$ went nowhere. Its row
# of $D$ is zero, so that no module hears of it.
#
# </details>


# %%
def multiplicative(x, d, e):
    """The modules of every position, one after the other.

    x        (length, d_model);  d  (d_model, S);  e  (d_model, M), with S · M = d_model
    returns  (length, d_model)
    """
    # SOLUTION
    weights = d[:, :, None] * e[:, None, :]
    y = jnp.einsum("li,ism->lsm", x, weights)
    return y.reshape(len(x), -1)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the modules were not put one after the other: number s + m·S of your row is y[s,
# m], as when D and E are exchanged or y is reshaped from (M, S). It belongs at number s·M + m.
# - ism->lsm
# + ism->lms
# or
# - d[:, :, None] * e[:, None, :]
# + e[:, :, None] * d[:, None, :]

# It looks as if x were summed with D and once more with E, and the two sums multiplied. There is
# one sum over i, of products of three numbers: x_i · D[i, s] · E[i, m].
# - jnp.einsum("li,ism->lsm", x, weights)
# + (x @ d)[:, :, None] * (x @ e)[:, None, :]

# It looks as if D and E were added. The weight from x_i to y[s, m] is their product, D[i, s] ·
# E[i, m].
# - [:, :, None] * e
# + [:, :, None] + e

# It looks as if D had gone through a softmax over the modules. There is nothing to normalise: D
# holds weights as any matrix does, also negative ones.
# - d[:, :, None] *
# + (jnp.exp(d) / jnp.exp(d).sum(1, keepdims=True))[:, :, None] *

# It looks as if y had gone through a softmax over the modules. The layer is linear: return the
# sums as they are.
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.exp(jnp.einsum("li,ism->lsm", x, weights)); y = y / y.sum(1, keepdims=True)

# It looks as if x were forgotten: each of your rows is Σ_i D[i, s] E[i, m].
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.einsum("li,ism->lsm", 0 * x + 1, weights)

# It looks as if only the last i counted: is the sum overwritten at each turn of a loop?
# - jnp.einsum("li,ism->lsm", x, weights)
# + x[:, -1, None, None] * weights[-1]

# It looks as if the largest of the products were taken, or their mean. They are added up.
# - jnp.einsum("li,ism->lsm", x, weights)
# + (x[:, :, None, None] * weights).max(axis=1)
# or
# - jnp.einsum("li,ism->lsm", x, weights)
# + (x[:, :, None, None] * weights).mean(axis=1)

# It looks as if the positions were not kept apart. Row l of the result is made from row l of x
# alone.
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.einsum("li,ism->sm", x, weights)[None].repeat(len(x), axis=0)
# or
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.einsum("li,ism->lsm", x[:1].repeat(len(x), axis=0), weights)

# It looks as if only one of the two matrices were used. Each product has three factors, x_i · D[i,
# s] · E[i, m].
# - d[:, :, None] * e[:, None, :]
# + d[:, :, None] * jnp.ones_like(e)[:, None, :]
# or
# - d[:, :, None] * e[:, None, :]
# + jnp.ones_like(d)[:, :, None] * e[:, None, :]

# It looks as if each module saw only M of the inputs, its own. Every input reaches every module:
# the sum runs over all i.
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.einsum("li,ism->lsm", x, weights * jnp.eye(d.shape[1]).repeat(e.shape[1], 0)[..., None])

# It looks as if x_i stood in the product twice, with D and with E. There are three factors: x_i,
# D[i, s] and E[i, m].
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.einsum("li,ism->lsm", x**2, weights)

# It looks as if the sums were divided by √d or passed through a ReLU. The layer is linear: return
# them as they are.
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.einsum("li,ism->lsm", x, weights) / x.shape[1] ** 0.5
# or
# - jnp.einsum("li,ism->lsm", x, weights)
# + jnp.maximum(jnp.einsum("li,ism->lsm", x, weights), 0)

# It looks as if D or E had gone through a function before the product. They hold weights as any
# matrix does: take them as they are.
# - d[:, :, None] *
# + 1 / (1 + jnp.exp(-d[:, :, None])) *
# or
# - * e[:, None, :]
# + * (jnp.exp(e) / jnp.exp(e).sum(1, keepdims=True))[:, None, :]

# It looks as if x were added to the result. Nothing goes past this layer.
# - return y
# + return x + y

# It looks as if D were divided by E. The weight from x_i to y[s, m] is their product.
# - [:, :, None] * e
# + [:, :, None] / e

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three factors share the index $i$, which is summed; what stays is $s$ and $m$, and the position
# $l$. `jnp.einsum` writes that almost as the formula does.
#
# </details>
#
# <details><summary>Hint 2: the formula as letters</summary>
#
# `x` is `li`, `d` is `is`, `e` is `im`. The result should be `lsm`: modules before the numbers
# inside them.
#
# </details>
#
# <details><summary>Hint 3: into a row</summary>
#
# `y.reshape(length, -1)` of an array `(length, S, M)` puts the last axis together first: $M$
# numbers of one module, then the next module. Of an array `(length, M, S)` it would do something
# else.
#
# </details>
#
# <details><summary>Hint 4: in loops, with gaps</summary>
#
#     y = zeros of shape (length, S, M)
#     for every input i:
#         for every module s and every place m in it:
#             y[:, s, m] = y[:, s, m] + …
#     return y as rows of …
#
# </details>

# %% tags=["check"]
check.multiplicative(multiplicative)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The weight from input $i$ to place $(s, m)$ is $D_{i,s} E_{i,m}$. That is a
# matrix product with a matrix of $d$ rows and $S \cdot M = d$ columns: a dense layer, except that
# its $d^2$ weights are made from $d(S + M)$ numbers.
#
# For one token it is better never to make that matrix: `einsum("li,is,im->lsm", x, d, e)`
# multiplies $x$ with $D$ first, and reads nothing but $x$, $D$ and $E$.

# %% tags=["solution-only"]
x = jnp.array([[1.0, 2.0, 3.0, 4.0]])
d = jnp.array([[1, 0], [0, 1], [0, 0], [1, 1]])
e = jnp.array([[1, 2], [1, 0], [5, 5], [0, 1]])
assert multiplicative(x, d, e).tolist() == [[1, 6, 2, 4]]

# %% [markdown]
# ## Part 2: Any permutation · ★★☆ · 15 minutes
#
# So few parameters, and yet the layer can bring every number of $x$ to any place. Write
# `permutation_factors(permutation, n_modules)`: it returns $D$ and $E$, **all of whose entries are
# 0 or 1**, with which
#
# $$\text{multiplicative}(x, D, E)_o = x_{\,p(o)} \quad\text{for every place } o,$$
#
# where $p$ is the permutation. In code: `multiplicative(x, d, e)` is `x[:, permutation]`.
#
# An example with $d = 6$ and $S = 2$, so that $M = 3$. Read it once more: $p(o)$ is *what stands at
# place* $o$, not where something goes.
#
# | place $o$ | 0 | 1 | 2 | 3 | 4 | 5 |
# |---|---|---|---|---|---|---|
# | module $s$, and $m$ in it | 0, 0 | 0, 1 | 0, 2 | 1, 0 | 1, 1 | 1, 2 |
# | $p(o)$ | 3 | 0 | 4 | 1 | 5 | 2 |
#
# Where must $x_2$ arrive, and so what are row 2 of $D$ and row 2 of $E$?
#
# <details><summary>Answer</summary>
#
# $p$ holds the 2 at place 5. That is place 2 of module 1. So row 2 of $D$ is 0, 1 and row 2 of $E$
# is 0, 0, 1. Their products are 1 at $(1, 2)$ and 0 at the five other places.
#
# </details>


# %%
def permutation_factors(permutation, n_modules):
    """Weights that make the layer permute, zeros and ones.

    permutation  (d_model,) whole numbers, each of 0 … d_model - 1 once
    returns      d (d_model, S), e (d_model, M)
    """
    # SOLUTION
    d_module = len(permutation) // n_modules
    place = jnp.argsort(permutation)
    return jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the permutation were turned round: your x_i goes to place permutation[i]. But
# place o takes number permutation[o]. So x_i goes to the place at which permutation holds i.
# - jnp.argsort(permutation)
# + permutation

# It looks as if the places were dealt out to the modules like cards. Modules stand one after the
# other: place o lies in module o // M, at o % M.
# - jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
# + jnp.eye(n_modules)[place % n_modules], jnp.eye(d_module)[place // n_modules]

# It looks as if you divided by S, the number of modules. Place o lies in module o // M, at o % M,
# with M = d_model / S, the width of one module.
# - jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
# + jnp.eye(n_modules)[place // n_modules], jnp.eye(d_module)[place % n_modules]

# It looks as if the module were right, and the place inside it that of the permutation turned
# round. Take both from the same place.
# - [place % d_module]
# + [permutation % d_module]

# It looks as if x_i went everywhere in its module: E is all ones. Each row of E has one 1, at the
# place inside the module.
# - jnp.eye(d_module)[place % d_module]
# + jnp.ones((len(place), d_module))

# It looks as if the permutation were forgotten: your x_i stays at place i.
# - jnp.argsort(permutation)
# + jnp.arange(len(permutation))

# It looks as if x_i went to the right module and stayed at its own place there, or the other way
# round. Take both from the one place at which permutation holds i.
# - [place % d_module]
# + [jnp.arange(len(place)) % d_module]
# or
# - [place // d_module]
# + [jnp.arange(len(place)) // d_module]

# It looks as if x_i went to every module: D is all ones. Each row of D has one 1, in the column of
# its module.
# - jnp.eye(n_modules)[place // d_module]
# + jnp.ones((len(place), n_modules))

# It looks as if the inverse of the permutation were its reverse, or a sort from the largest down.
# The inverse says where each i stands: `jnp.argsort(permutation)`.
# - jnp.argsort(permutation)
# + permutation[::-1]
# or
# - jnp.argsort(permutation)
# + jnp.argsort(-permutation)
# or
# - jnp.argsort(permutation)
# + jnp.argsort(permutation)[::-1]

# It looks as if the place inside the module were right, and the module that of the permutation
# turned round. Take both from the same place.
# - [place // d_module]
# + [permutation // d_module]

# The layer would permute, but D and E are to hold zeros and ones.
# - return jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
# + return -jnp.eye(n_modules)[place // d_module], -jnp.eye(d_module)[place % d_module]
# or
# - return jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
# + return 2 * jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module] / 2

# It looks as if the other entries were -1. They are 0, so that x_i adds nothing anywhere else.
# - return jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
# + d, e = jnp.eye(n_modules)[place // d_module], jnp.eye(d_module)[place % d_module]
# +     return 2 * d - 1, 2 * e - 1

# It looks as if places or modules were counted from 1, or from the end. They count from 0, from
# the beginning.
# - [place % d_module]
# + [(place + 1) % d_module]
# or
# - jnp.argsort(permutation)
# + (jnp.argsort(permutation) + 1) % len(permutation)
# or
# - [place // d_module]
# + [n_modules - 1 - place // d_module]

# It looks as if the module were place % S. Modules stand one after the other: place o lies in
# module o // M.
# - [place // d_module]
# + [place % n_modules]

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Row $i$ of $D$ chooses a module, row $i$ of $E$ a place in a module. Together they must choose the
# one place at which $p$ holds $i$.
#
# </details>
#
# <details><summary>Hint 2: where does a number go?</summary>
#
# The inverse of a permutation: `jnp.argsort(permutation)[i]` is the place $o$ with $p(o) = i$.
#
# </details>
#
# <details><summary>Hint 3: rows with one 1</summary>
#
# Row $k$ of `jnp.eye(n)` has its 1 in column $k$. So `jnp.eye(n)[columns]` is a matrix with a row
# for each of the columns.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     M     = d_model / S
#     place = …
#     row i of d has its 1 in column …
#     row i of e has its 1 in column …
#
# </details>

# %% tags=["check"]
check.permutation_factors(permutation_factors)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** $D_{i,s} E_{i,m}$ is 1 where both are 1, that is at one place: the one with
# $p(o) = i$. So $x_i$ arrives there and nowhere else. And since $p$ holds each $i$ once, one number
# arrives at each place.
#
# Nothing in this needs zeros and ones. With other numbers in their place the layer permutes *and*
# scales.

# %% tags=["solution-only"]
permutation = jnp.array([3, 0, 4, 1, 5, 2])
d, e = permutation_factors(permutation, 2)
x = jnp.arange(6.0)[None]
assert (multiplicative(x, d, e) == x[:, permutation]).all()

# %% [markdown]
# ## Part 3: A convolution that never looks ahead · ★★★ · 20 minutes
#
# Now the modules are given, `y` of shape `(length, S, M)`, and a kernel `(3, 3, M, d_out)`: for
# each of 3 positions and 3 modules a matrix. The output at position $t$ and module $s$ is
#
# $$z_{t,s} = \sum_{i=0}^{2} \sum_{j=0}^{2} y_{\,t-2+i,\; s-1+j}\; K_{i,j},$$
#
# with zeros in the place of positions before the text and of modules beyond the first and the
# last. Write `causal_convolution(y, kernel)`.
#
# Which entries does position 4, module 1 look at? (■ yes)
#
# | | module 0 | module 1 | module 2 | module 3 |
# |---|---|---|---|---|
# | position 1 | · | · | · | · |
# | position 2 | ■ | ■ | ■ | · |
# | position 3 | ■ | ■ | ■ | · |
# | position 4 | ■ | **■** | ■ | · |
# | position 5 | ? | ? | ? | ? |
#
# And with which matrix is the entry at position 4, module 0 multiplied?
#
# <details><summary>Answer</summary>
#
# Row 5 has no ■: it is the future. Position 4 is $t - 2 + i$ with $i = 2$, module 0 is $s - 1 + j$
# with $j = 0$, so it is $K_{2,0}$.
#
# </details>


# %%
def causal_convolution(y, kernel):
    """Each module of each position, from its neighbours and the two positions before.

    y        (length, S, M);  kernel  (3, 3, M, d_out): positions, modules
    returns  (length, S, d_out)
    """
    # SOLUTION
    length, n_modules, _ = y.shape
    padded = jnp.pad(y, ((2, 0), (1, 1), (0, 0)))
    z = 0
    for i in range(3):
        for j in range(3):
            z += padded[i : i + length, j : j + n_modules] @ kernel[i, j]
    return z
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if position t saw position t + 1: the zeros stand on both sides along the length.
# With two zero rows before and none after, the last row of the kernel looks at t itself.
# - (2, 0)
# + (1, 1)

# It looks as if position t saw t + 1 and t + 2 and nothing before it: the zero rows stand after
# the text. They belong before it.
# - (2, 0)
# + (0, 2)

# It looks as if the kernel's rows were turned round in time. The last row belongs to position t
# itself, the first one to t - 2.
# - kernel[i, j]
# + kernel[2 - i, j]

# It looks as if the kernel's columns were turned round. Column 0 belongs to the module before,
# s - 1, column 2 to the one after.
# - kernel[i, j]
# + kernel[i, 2 - j]

# It looks as if the kernel were turned round both ways, as mathematicians and
# scipy.signal.convolve do. Here K[i, j] is taken with y[t - 2 + i, s - 1 + j].
# - kernel[i, j]
# + kernel[2 - i, 2 - j]

# It looks as if the kernel's two first axes were exchanged. The first goes along the length, the
# second along the modules.
# - kernel[i, j]
# + kernel[j, i]

# It looks as if modules were causal, too, and module s saw s - 2, s - 1 and s. There is no before
# and after among modules: it sees s - 1, s and s + 1.
# - (1, 1)
# + (2, 0)

# It looks as if the modules stood in a ring, the last one beside the first. Beyond them there are
# zeros.
# - padded[i : i + length, j : j + n_modules] @ kernel[i, j]
# + jnp.roll(padded[:, 1:-1], 1 - j, axis=1)[i : i + length] @ kernel[i, j]

# It looks as if the text stood in a ring, so that its end comes before its beginning: that is the
# future. Before the text there are zeros.
# - jnp.pad(y, ((2, 0), (1, 1), (0, 0)))
# + jnp.pad(y, ((0, 0), (1, 1), (0, 0)))
# - padded[i : i + length, j : j + n_modules] @ kernel[i, j]
# + jnp.roll(padded, 2 - i, axis=0)[:, j : j + n_modules] @ kernel[i, j]

# It looks as if the first position and the outer modules were repeated beyond the edge. There are
# zeros.
# - (0, 0)))
# + (0, 0)), mode="edge")

# It looks as if K[i, j] were transposed. Its rows belong to the numbers of y, its columns to
# those of z: y[…] @ K[i, j].
# - kernel[i, j]
# + kernel[i, j].T

# It looks as if each module saw itself only. The kernel also has columns for the modules beside
# it, s - 1 and s + 1.
# - for j in range(3)
# + for j in (1,)

# It looks as if only position t itself counted, or only it and the one before. The kernel has
# three rows: t - 2, t - 1 and t.
# - padded[i : i + length
# + padded[2 : 2 + length
# or
# - for i in range(3)
# + for i in (1, 2)
# or
# - for i in range(3)
# + for i in (2,)

# It looks as if only two of the three columns of the kernel counted. There is one for the module
# before, one for s itself, one for the module after.
# - for j in range(3)
# + for j in (0, 1)
# or
# - for j in range(3)
# + for j in (1, 2)

# It looks as if only the last of the nine products counted: is the sum overwritten at each turn of
# the loop?
# - z +=
# + z =

# It looks as if module s saw s, s + 1 and s + 2. It sees s - 1, s and s + 1: one zero module on
# each side.
# - (1, 1)
# + (0, 2)

# It looks as if position t saw only what stood before it: the last row of the kernel belongs to t
# itself.
# - padded = jnp.pad(y, ((2, 0)
# + padded = jnp.pad(y, ((3, 0)

# It looks as if something were done to the sum at the end: divided, passed through a ReLU, or y
# added. Return the sum of the nine products as it is.
# - return z
# + return z / 9
# or
# - return z
# + return jnp.maximum(z, 0)
# or
# - return z
# + return z + y

# It looks as if K[i, j] were multiplied number by number. It is a matrix: each number of z takes
# all M numbers of y, y[…] @ K[i, j].
# - @ kernel[i, j]
# + * jnp.diagonal(kernel[i, j])
# or
# - @ kernel[i, j]
# + * kernel[i, j].sum(axis=0)

# It looks as if there were ones beyond the edges. There are zeros.
# - (0, 0)))
# + (0, 0)), constant_values=1)

# It looks as if the first two positions, or the outer modules, were left out. They have an output,
# too, with zeros in the place of neighbours that are missing.
# - return z
# + return z.at[:2].set(0)
# or
# - return z
# + return z.at[:, 0].set(0).at[:, -1].set(0)

# It looks as if the three modules were multiplied with the same matrix. Each has one of its own,
# K[i, j].
# - kernel[i, j]
# + kernel[i, 1]

# It looks as if all nine products took y at t and s. K[i, j] belongs to y[t - 2 + i, s - 1 + j].
# - padded[i : i + length, j : j + n_modules]
# + y
# or
# - padded[i : i + length, j : j + n_modules]
# + padded[i : i + length, 1 : 1 + n_modules]

# It looks as if the zeros along the length and along the modules were exchanged: two positions
# before, and one module on each side.
# - ((2, 0), (1, 1)
# + ((1, 1), (2, 0)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Nine matrix products, one for each entry of the kernel, added up. Each takes a copy of `y` that
# was moved by $2 - i$ positions and $1 - j$ modules.
#
# </details>
#
# <details><summary>Hint 2: moving without corners</summary>
#
# Put zeros around `y` first: `jnp.pad(y, ((before, after), (before, after), (0, 0)))`. Then each
# moved copy is a slice, and zeros come in by themselves. How many rows before, how many after?
#
# </details>
#
# <details><summary>Hint 3: the zeros</summary>
#
# Two positions before the text and none after it; one module on each side.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     padded = y with zeros around it
#     z = 0
#     for i in 0, 1, 2:
#         for j in 0, 1, 2:
#             moved = rows … of padded, and modules …
#             z = z + …
#     return z
#
# </details>

# %% tags=["check"]
check.causal_convolution(causal_convolution)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Row $r$ of `padded` is row $r - 2$ of `y`. The slice that begins at $i$ has
# `padded[i + t]` at place $t$, which is $y_{t - 2 + i}$, as the formula wants. The largest is
# $i = 2$, position $t$ itself. A later one never comes in. Along the modules there is a zero on
# each side, so module $s$ of the slice that begins at $j$ is $y_{s - 1 + j}$.

# %% [markdown]
# ## Part 4: One token at a time · ★★☆ · 15 minutes
#
# A model that writes gets its tokens one by one. Position $t$ needs $y_t$, $y_{t-1}$ and $y_{t-2}$,
# and the last two went by a while ago. So they are kept: the *history*.
#
# Write `convolution_step(y, history, kernel)`. `y` is one position, `(S, M)`. `history` is
# `(2, S, M)`: what stood two positions back, then what stood one position back. Before the text
# both are zeros. Return the position's output, `(S, d_out)`, and the history for the next one.
#
# Call the positions a, b, c, d (each is an array; 0 is an array of zeros):
#
# | position | `history` that comes in | `history` that goes out |
# |---|---|---|
# | a | 0, 0 | 0, a |
# | b | 0, a | ? |
# | c | ? | b, c |
# | d | b, c | ? |
#
# <details><summary>Answer</summary>
#
# a, b goes out after b and comes in with c; after d it is c, d.
#
# </details>


# %%
def convolution_step(y, history, kernel):
    """The convolution's output at the next position.

    y        (S, M);  history  (2, S, M), the newest last;  kernel  (3, 3, M, d_out)
    returns  z (S, d_out), the new history (2, S, M)
    """
    # SOLUTION
    window = jnp.concatenate([history, y[None]])
    z = causal_convolution(window, kernel)[-1]
    return z, window[1:]
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the history were forgotten: z is that of a first position, with zeros before it.
# - jnp.concatenate([history, y[None]])
# + jnp.concatenate([0 * history, y[None]])
# - window[1:]
# + jnp.concatenate([history, y[None]])[1:]

# It looks as if the history were read from the wrong end. history[0] is two positions back,
# history[1] one.
# - jnp.concatenate([history, y[None]])
# + jnp.concatenate([history[::-1], y[None]])
# - window[1:]
# + jnp.concatenate([history, y[None]])[1:]

# It looks as if y had been put into the history before it was looked at, so that it counts twice.
# The kernel sees history[0], history[1], y.
# - jnp.concatenate([history, y[None]])
# + jnp.stack([history[1], y, y])

# It looks as if the window were the wrong way round: y stands first and the history after it. The
# last row of the kernel belongs to y.
# - jnp.concatenate([history, y[None]])
# + jnp.concatenate([y[None], history])
# - window[1:]
# + jnp.concatenate([history, y[None]])[1:]

# It looks as if the history were returned as it came. The next position has y one position back.
# - window[1:]
# + history

# It looks as if y had taken the place of the newest row. The oldest one is not needed any more.
# - window[1:]
# + history.at[1].set(y)

# It looks as if y stood at the beginning of the new history. The order is that of the text: the
# newest last.
# - window[1:]
# + jnp.stack([y, history[0]])

# It looks as if the new history had the right two rows in the wrong order. The newest stands
# last.
# - window[1:]
# + window[:0:-1]

# It looks as if z went into the history. The kernel looks at what goes into the convolution, y.
# - window[1:]
# + jnp.stack([history[1], z])

# It looks as if another row of the result were returned. y stands last in the window, so its
# output is the last row.
# - kernel)[-1]
# + kernel)[0]
# or
# - kernel)[-1]
# + kernel)[1]

# It looks as if the rows of the result were added up. The output of y is the last row alone.
# - kernel)[-1]
# + kernel).sum(axis=0)

# z is right, but the history was added to, or y stands in it twice. It holds two positions, the
# newest last: history[1], y.
# - window[1:]
# + history + y
# or
# - window[1:]
# + jnp.stack([y, y])
# or
# - window[1:]
# + jnp.stack([history[1], history[1] + y])

# z is right, but the new history is zeros. It holds two positions, the newest last: history[1], y.
# - window[1:]
# + 0 * history

# It looks as if modules did not see each other: the kernel also has columns for the modules beside
# each.
# - causal_convolution(window, kernel)[-1]
# + jnp.einsum("ism,imo->so", window, kernel[:, 1])

# It looks as if all three columns of the kernel were taken with the module itself. They belong to
# s - 1, s and s + 1.
# - causal_convolution(window, kernel)[-1]
# + jnp.einsum("ism,ijmo->so", window, kernel)

# It looks as if the kernel were turned round. Its last row belongs to y, its columns to s - 1, s,
# s + 1.
# - causal_convolution(window, kernel)[-1]
# + causal_convolution(window, kernel[::-1])[-1]
# or
# - causal_convolution(window, kernel)[-1]
# + causal_convolution(window, kernel[:, ::-1])[-1]

# It looks as if one row of the history were left out of z. The kernel sees history[0], history[1]
# and y.
# - causal_convolution(window, kernel)[-1]
# + causal_convolution(window.at[1].set(0), kernel)[-1]
# or
# - causal_convolution(window, kernel)[-1]
# + causal_convolution(window.at[0].set(0), kernel)[-1]

# It looks as if y stood between the two rows of the history. It is the newest, and stands last.
# - causal_convolution(window, kernel)[-1]
# + causal_convolution(jnp.stack([history[0], y, history[1]]), kernel)[-1]

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# History and `y` together are a text of three positions. What does Part 3 say about the last of
# them?
#
# </details>
#
# <details><summary>Hint 2: joining</summary>
#
# `y[None]` has shape `(1, S, M)`, and `jnp.concatenate([history, y[None]])` `(3, S, M)`.
#
# </details>

# %% tags=["check"]
check.convolution_step(convolution_step)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The kernel reaches two positions back and no further, so the last of three
# positions has all that it needs: what stood before them could not change it. It is a little
# wasteful, though: Part 3 also computes the two other rows of the window, and we throw them away.

# %% [markdown]
# ## All together
#
# A text is read token by token: multiplicative layer, then one convolution each for queries, keys
# and values. There is nothing left to write. The check compares with the whole text at once.


# %%
def decode(x, d, e, kernels):
    """q, k and v of every position, made one position at a time.

    x (length, d_model);  d (d_model, S);  e (d_model, M);  kernels (3, 3, 3, M, M), of q, k and v
    """
    history = jnp.zeros((2, d.shape[1], e.shape[1]))
    projections = []
    for token in x:
        y = multiplicative(token[None], d, e).reshape(history.shape[1:])
        steps = [convolution_step(y, history, kernel) for kernel in kernels]
        projections.append(jnp.stack([z for z, _ in steps]))
        history = steps[0][1]  # the same for all three: it holds y, not z
    return jnp.stack(projections, axis=1)


# %% tags=["check"]
check.decode(decode)

# %% [markdown]
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# How many modules should there be? For one token and `d_model` 256, a dense layer reads $3 \cdot
# 256^2$ = 196,608 weights to make queries, keys and values. The sparse one reads $D$, $E$ and three
# kernels, for $S$ modules of $M = 256 / S$ numbers. With a single module it reads more than nine
# times as many as the dense one.
#
# **Predict before you run the next cells:** with which $S$ out of 1, 2, 4, 8, … 256 does a token
# read the fewest weights?
#
# <details><summary>Hint 1: three terms</summary>
#
# $D$ is `d_model` × $S$ and $E$ is `d_model` × $M$. A kernel has 3 × 3 matrices of $M \times M$,
# and there are three.
#
# </details>
#
# <details><summary>Hint 2: two of them are in balance</summary>
#
# $D$ and $E$ together are smallest where $S = M$. Is the third term small there? In which direction
# does it pull?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # modules

# %% tags=["solution-only"]
# 256 · S + 256 · M + 27 · M²: at S = M = 16 the kernels are 6,912 of 15,104, and fall by 5,184 with
# twice as many modules, while D and E gain 2,048. At S = 64 D alone is more than all of that.
my_guess = 32

# %% tags=["check"]
from efftx.check import sparse_qkv_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.modules_that_read_least.predicted(my_guess)
weights = {n: experiment.weights_read(n) for n in experiment.MODULES}
dense = ("dense", experiment.DENSE)
show(
    draw_experiment({"sparse": weights}, "modules", "weights", predicted=predicted, limit=dense),
    "How many weights a token reads for queries, keys and values against the number of modules, "
    "both axes logarithmic. It falls steeply from 1.8 million with one module, passes the dense "
    "layer between 2 and 4, is lowest at 32 with 12 thousand, and rises again to 66 thousand at "
    "256.",
)

# %% tags=["check"]
check.modules_that_read_least(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** On the left a token reads kernels, on the right it reads $D$. At the extreme
# right a module is a single number, and the layer is a dense one again: $D$ has $256 \times 256$
# weights. The optimum moves with `d_model`: `efftx.sparsity.n_sparse_qkv` counts it for any size.

# %% [markdown]
# ### What separates yours from the fast one
#
# `efftx.sparsity.sparse_qkv` does the same. It joins the three kernels to one with three times as
# many outputs, so that the history is read once, and puts neighbours side by side, so that one
# product of matrices does what nine did. And it chooses the order of the multiplicative layer's
# sums by the number of positions: for one token $x$ is multiplied with $D$ first, for a long text
# $D$ with $E$.
