# %% [markdown]
# # Exercise 12 · Terraformer
#
# <!-- measured -->
#
# In [the chapter](../chapters/12_terraformer.ipynb) four parts of a Transformer were exchanged, and
# a token read fewer and fewer weights. Here you build what the earlier exercises have not touched:
# the source before the target, and the recurrent branch. And you do the arithmetic of speed.
# Afterwards you can
#
# * count what a token reads in each part of a sparse model;
# * let a decoder read an encoder's output without cross-attention and without padding in the way;
# * write one step of an SRU, and know what it must remember;
# * predict what a whole model gains when its parts get faster, one of them or all.
#
# At the end your SRU runs over a text step by step, and a last check holds it against that of the
# package, which computes all positions at once.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import terraformer as check

# %% [markdown]
# ## Part 1: What a token reads · ★☆☆ · 15 minutes
#
# One token goes through one block and the readout of a Terraformer. How many weights are read for
# it, from each of these parts? Biases, layer norms and the recurrent branch are left aside.
#
# - **Controller.** $C_1$ is `d_model` × `d_lowrank`, $C_2$ is `d_lowrank` × `d_ff`. Every unit gets
#   a score.
# - **Chosen units.** $W_1$ is `d_model` × `d_ff`, $W_2$ is `d_ff` × `d_model`. In each block of
#   `n_units` units one is on, and the weights of the others are not read.
# - **QKV.** A multiplicative layer: $D$, `d_model` × $S$, and $E$, `d_model` × $M$. Here $S$ is
#   `n_modules` and $M$ is `d_model` / $S$. Then three convolutions, for q, k and v, each with a
#   kernel of 3 × 3 matrices of $M$ × $M$. There is no output projection.
# - **Readout.** A multiplicative layer to `vocab` scores with `readout_modules` modules: its $D$ is
#   `d_model` × `readout_modules`, its $E$ is `d_model` × `vocab` / `readout_modules`.
#
# Write `weights_read(…)`. It returns four counts in this order.
#
# On paper first: `d_model` 8, `d_ff` 16, `n_units` 4, `d_lowrank` 2, `n_modules` 4. How many units
# are on, and how many weights of $W_1$ and $W_2$ belong to them?
#
# <details><summary>Answer</summary>
#
# 16 / 4 = 4 units are on. Each has a column of $W_1$ and a row of $W_2$, 8 weights each: 4 · 16 =
# 64. The controller reads 8 · 2 + 2 · 16 = 48, nearly as much.
#
# </details>


# %%
def weights_read(d_model, d_ff, n_units, d_lowrank, n_modules, vocab, readout_modules):
    """Four counts: controller, chosen units, QKV, readout."""
    # SOLUTION
    controller = d_model * d_lowrank + d_lowrank * d_ff
    chosen_units = 2 * d_model * (d_ff // n_units)
    d_module = d_model // n_modules
    qkv = d_model * n_modules + d_model * d_module + 3 * 3 * 3 * d_module**2
    readout = d_model * readout_modules + d_model * (vocab // readout_modules)
    return np.array([controller, chosen_units, qkv, readout])
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three of the four parts are read whole. A matrix of $m \times n$ has $m\,n$ weights.
#
# </details>
#
# <details><summary>Hint 2: the convolutions</summary>
#
# A kernel looks at 3 positions and 3 modules: 9 matrices. There is one kernel for q, one for k, one
# for v.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     controller   = d_model · d_lowrank + d_lowrank · d_ff
#     chosen_units = (a column and a row of d_model) times (d_ff / n_units)
#     M            = d_model / n_modules
#     qkv          = d_model · n_modules + d_model · M + 3 kernels times 9 matrices times M · M
#     readout      = d_model · readout_modules + d_model · vocab / readout_modules
#     return all four in a numpy array
#
# </details>

# %% tags=["check"]
check.weights_read(weights_read)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the list, line by line. Put in the medium model of the paper (1,024;
# 6,144; $N$ = 64; $S$ = 16) with `d_lowrank` 16 and see what is left to be made smaller:

# %% tags=["solution-only"]
counts = weights_read(1024, 6144, 64, 16, 16, 32_000, 4)
print(dict(zip(["controller", "chosen units", "QKV", "readout"], counts.tolist(), strict=True)))
assert counts.tolist() == [114_688, 196_608, 192_512, 8_196_096]

# %% [markdown]
# ## Part 2: The source first · ★★☆ · 15 minutes
#
# A Terraformer has no cross-attention. Its decoder is causal and reads one text: first the
# encoder's output for the source, then the embedded target. What it makes of the target's positions
# goes to the readout.
#
# Sources come in batches, so short ones are filled up with padding. Between a source and its target
# padding would do harm: attention could look at it, the convolutions would see it in the place of
# the source's end, and a recurrent branch would run over it. So it must go.
#
# Write `decode_after_source(decoder, source, mask, target)`. `decoder` takes any number of vectors
# to as many; row $i$ of its result depends on rows $0 \dots i$. Return what it makes of the
# target's positions, in their order.
#
# A small case: `source` has the rows $a$, $b$, $p$, with `mask` True, True, False, and `target` the
# rows $t$, $u$. What does the decoder read, and which rows of its result do you return?
#
# <details><summary>Answer</summary>
#
# It reads $a, b, t, u$, and rows 2 and 3 are returned: those of $t$ and $u$. It may just as well
# read $a, b, t, u, p$: what stands behind them makes no difference to a causal decoder. That is how
# one does it for a batch, in which all texts must have the same length.
#
# </details>


# %%
def decode_after_source(decoder, source, mask, target):
    """What a causal decoder makes of the target, having read the source.

    decoder  a function, (n, d_model) -> (n, d_model) for any n
    source   (source_length, d_model): the encoder's output
    mask     (source_length,), bool: False for padding
    target   (target_length, d_model): the embedded target
    returns  (target_length, d_model)
    """
    # SOLUTION
    read_first = source[mask]
    y = decoder(jnp.concatenate([read_first, target]))
    return y[len(read_first) :]
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Three steps: leave out, put together, cut out. How many rows stand before the target?
#
# </details>
#
# <details><summary>Hint 2: leaving out</summary>
#
# `source[mask]` has the rows for which `mask` is True, in their order.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     first = rows of source where mask is True
#     y     = decoder(first and below it target)
#     return y without as many rows as first has
#
# </details>

# %% tags=["check"]
check.decode_after_source(decode_after_source)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The decoder sees exactly what it would see if there had been no batch, so
# padding cannot change its result. `source[mask]` has another shape for another mask, which
# `jax.jit` and `jax.vmap` do not allow. There one sorts the padding to the end, writes the target
# over it from row `mask.sum()` on, and lets the decoder run over what is left behind the target:

# %% tags=["solution-only"]


def decode_in_a_batch(decoder, source, mask, target):
    order = jnp.argsort(~mask, stable=True)
    room = jnp.concatenate([source[order], jnp.zeros_like(target)])
    start = mask.sum()
    y = decoder(jax.lax.dynamic_update_slice_in_dim(room, target, start, axis=0))
    return jax.lax.dynamic_slice_in_dim(jnp.asarray(y), start, len(target))


check.decode_after_source(decode_in_a_batch)

# %% [markdown]
# ## Part 3: A step of the SRU · ★★☆ · 15 minutes
#
# Beside its feed-forward layer a Terraformer has a narrow recurrent branch, a *simple recurrent
# unit*. It carries a vector $c$ from one position to the next. With the input $x$ of a position:
#
# $$f = \sigma(x W_f + b_f), \qquad r = \sigma(x W_r + b_r),$$
# $$c' = f \odot c + (1 - f) \odot x W,$$
# $$h = r \odot \tanh(c') + (1 - r) \odot x.$$
#
# $f$ says how much of the past is kept, $r$ how much of it is shown; $\sigma$ is `jax.nn.sigmoid`
# and $\odot$ multiplies entry by entry. Write `sru_step(…)`, which returns $h$ and $c'$.
#
# Before you begin: if $f$ is 1 everywhere, and $c$ begins as 0, what does the unit show?
#
# <details><summary>Answer</summary>
#
# $c$ stays 0 for ever, since nothing new is let in. So $h = (1 - r) \odot x$: a part of what came
# in.
#
# </details>


# %%
def sru_step(x, c, w, w_f, w_r, b_f, b_r):
    """One position: what the unit shows, and what it carries on.

    x, c         (d,): the input of this position, and what was carried to it
    w, w_f, w_r  (d, d);  b_f, b_r  (d,)
    returns      h (d,), c_next (d,)
    """
    # SOLUTION
    f = jax.nn.sigmoid(x @ w_f + b_f)
    r = jax.nn.sigmoid(x @ w_r + b_r)
    c_next = f * c + (1 - f) * (x @ w)
    h = r * jnp.tanh(c_next) + (1 - r) * x
    return h, c_next
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Four formulas, four lines. The order in which they stand is the order in which you need them.
#
# </details>
#
# <details><summary>Hint 2: which c</summary>
#
# $c$ stands in one of the formulas only. The last one uses the new $c'$.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     f      = sigmoid(x times w_f + b_f)
#     r      = sigmoid(x times w_r + b_r)
#     c_next = f · c + (1 - f) · (x times w)
#     h      = r · tanh(c_next) + (1 - r) · x
#     return h, c_next
#
# </details>

# %% tags=["check"]
check.sru_step(sru_step)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Line by line as it stands. The line with $c'$ is the only one that needs the
# position before, and it is a sum in which older terms fade. The gates, which are most of the work,
# look at $x$ alone, and can be computed for all positions at once. An LSTM's gates look at the last
# output, so there everything has to wait.

# %% [markdown]
# ## Part 4: How much faster is the whole? · ★★☆ · 15 minutes
#
# A token takes `seconds[i]` in part $i$ of a model: in the feed-forward layers, in the projections
# of attention, in the readout, in everything else. A technique makes part $i$ `factors[i]` times as
# fast. (A factor of 1 leaves it as it is.)
#
# Write `speedups(seconds, factors)`. It returns
#
# - `alone`, $(n,)$: how many times faster the *whole model* gets if technique $i$ is used alone;
# - `together`, one number: how many times faster it gets with all of them.
#
# Two parts take 8 and 2 seconds, and get 8 and 2 times faster. Guess first: is `together` the
# product of the two numbers in `alone`, less, or more?
#
# <details><summary>Answer</summary>
#
# Alone: 10 / (1 + 2) = 3.33 and 10 / (8 + 1) = 1.11. Their product is 3.7. Together it is 10 / (1 +
# 1) = 5, more. What was a fifth of the time became two thirds once the other part was fast. So it
# pays much more to make it faster then.
#
# </details>


# %%
def speedups(seconds, factors):
    """How many times faster the whole gets, by each technique alone and by all of them.

    seconds, factors  (n,): the time of each part, and how many times faster it can be made
    returns           alone (n,), together ()
    """
    # SOLUTION
    faster = seconds / factors
    whole = seconds.sum()
    alone = whole / (whole - seconds + faster)
    return alone, whole / faster.sum()
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Never multiply speedups. Add up seconds, before and after, and divide once.
#
# </details>
#
# <details><summary>Hint 2: one technique alone</summary>
#
# The whole takes `seconds.sum()`. Take off what part $i$ took, and add what it takes now.
#
# </details>
#
# <details><summary>Hint 3: in pseudocode</summary>
#
#     faster   = seconds / factors, entry by entry
#     whole    = sum of seconds
#     alone    = whole / (whole - seconds + faster), entry by entry
#     together = whole / sum of faster
#
# </details>

# %% tags=["check"]
check.speedups(speedups)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** A speedup is time before over time after, and times of parts add up. This is
# Amdahl's law: as long as one part stays as it was, the whole can never be faster than `whole` over
# that part.

# %% tags=["solution-only"]
alone, together = speedups(jnp.array([8.0, 2.0]), jnp.array([8.0, 2.0]))
assert jnp.allclose(alone, jnp.array([10 / 3, 10 / 9]))
assert together == 5

# %% [markdown]
# ## All together
#
# Your step, position after position, from a $c$ of zeros. The check compares with
# `efftx.models.sru.SRU`, which never goes step by step when it reads a text.


# %%
def my_sru(x, w, w_f, w_r, b_f, b_r):
    """h of every position; x (length, d)."""
    c = jnp.zeros(x.shape[1])
    shown = []
    for position in x:
        h, c = sru_step(position, c, w, w_f, w_r, b_f, b_r)
        shown.append(h)
    return jnp.stack(shown)


# %% tags=["check"]
check.my_sru(my_sru)

# %% [markdown]
# ### What separates yours from the fast one
#
# A fading sum, $c_t = f_t \odot c_{t-1} + u_t$, may be taken in any grouping: two neighbouring
# steps $(f_1, u_1)$ and $(f_2, u_2)$ are together one step $(f_1 f_2,\ f_2 u_1 + u_2)$. So
# `jax.lax.associative_scan` joins neighbours, then pairs of neighbours, and is done after
# $\log_2 L$ rounds in place of $L$ steps. When a model generates there is only one position at a
# time, and the package takes your step.
