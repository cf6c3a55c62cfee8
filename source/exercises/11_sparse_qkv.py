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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     y = zeros of shape (length, S, M)
#     for every input i:
#         for every module s and every place m in it:
#             y[:, s, m] = y[:, s, m] + x[:, i] · d[i, s] · e[i, m]
#     return y as rows of S · M numbers
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     M     = d_model / S
#     place = the inverse of the permutation
#     row i of d has its 1 in column place[i] // M
#     row i of e has its 1 in column place[i] % M
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     padded = y with 2 zero rows before, and a zero module on each side
#     z = 0
#     for i in 0, 1, 2:
#         for j in 0, 1, 2:
#             moved = rows i to i + length of padded, and modules j to j + S
#             z = z + moved @ kernel[i, j]
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
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     window = the two rows of history, then y
#     z = the last row of causal_convolution(window, kernel)
#     return z, the last two rows of window
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
# ### What separates yours from the fast one
#
# `efftx.sparsity.sparse_qkv` does the same. It joins the three kernels to one with three times as
# many outputs, so that the history is read once, and hands it to `lax.conv_general_dilated`. And it
# chooses the order of the multiplicative layer's sums by the number of positions: for one token $x$
# is multiplied with $D$ first, for a long text $D$ with $E$.
