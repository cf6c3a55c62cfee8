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

# %% tags=["mistakes"]
# It looks as if the chosen units had a column of W1 and no row of W2. Each has both: 2 · d_model
# weights.
# - 2 * d_model * (d_ff
# + d_model * (d_ff

# It looks as if all units were counted. Of each block of n_units one is on, so d_ff / n_units
# units are read.
# - (d_ff // n_units)
# + d_ff

# It looks as if n_units units were on in all. n_units is the size of a block; on is one in each
# of the d_ff / n_units blocks.
# - (d_ff // n_units)
# + n_units

# It looks as if the controller had C1 only. C2, d_lowrank × d_ff, is read too, and it is the
# larger one.
# - d_model * d_lowrank + d_lowrank * d_ff
# + d_model * d_lowrank

# It looks as if the controller were one matrix of d_model × d_ff. It goes through a bottleneck of
# d_lowrank numbers.
# - d_model * d_lowrank + d_lowrank * d_ff
# + d_model * d_ff

# It looks as if the convolutions had 9 matrices in all. A kernel looks at 3 positions and 3
# modules, which makes 9, and q, k and v have a kernel each.
# - 3 * 3 * 3 * d_module
# + 3 * 3 * d_module

# It looks as if the convolutions' matrices were S × S. Their channels are the M = d_model / S
# numbers of a module.
# - 3 * 3 * 3 * d_module**2
# + 27 * n_modules**2

# It looks as if D were forgotten in the readout: it is d_model × readout_modules.
# - d_model * readout_modules + d_model
# + d_model

# It looks as if the sizes of C1 and C2 were multiplied with each other. They are two matrices: add
# their weights.
# - d_model * d_lowrank + d_lowrank * d_ff
# + d_model * d_lowrank * d_ff

# It looks as if E of the readout were of the whole vocabulary. Each module has vocab /
# readout_modules scores.
# - (vocab // readout_modules)
# + vocab

# It looks as if the readout had the modules of the projections. It has a number of its own,
# readout_modules.
# - d_model * readout_modules + d_model * (vocab // readout_modules)
# + d_model * n_modules + d_model * (vocab // n_modules)

# It looks as if the readout had D only. E, d_model × vocab / readout_modules, is read too, and it
# is the larger one.
# -  + d_model * (vocab // readout_modules)

# It looks as if D or E, or both, were forgotten in QKV: they are d_model × S and d_model × M.
# -  + d_model * d_module
# or
# - d_model * n_modules + d_model * d_module
# + d_model * n_modules
# - + 3 * 3 * 3
# + + 3 * 3 * 3
# or
# - d_model * n_modules + d_model
# + d_model
# or
# - d_model * n_modules + d_model * d_module + 3
# + 3

# It looks as if the convolutions were forgotten in QKV, three kernels of 9 matrices.
# -  + 3 * 3 * 3 * d_module**2

# It looks as if a matrix of the convolutions had M weights, or d_model². It is M × M, with M =
# d_model / S.
# - d_module**2
# + d_module
# or
# - d_module**2
# + d_model**2

# It looks as if every module had convolutions of its own. All modules share the three kernels.
# - + 3 * 3 * 3
# + + n_modules * 3 * 3 * 3

# It looks as if QKV were dense: three matrices of d_model × d_model.
# - d_model * n_modules + d_model * d_module + 3 * 3 * 3 * d_module**2
# + 3 * d_model**2

# It looks as if M were the number of modules. It is the width of one, d_model / S.
# - d_model // n_modules
# + n_modules

# It looks as if one unit were on in all. On is one in each of the d_ff / n_units blocks.
# - (d_ff // n_units)
# + 1

# It looks as if the units that are *off* were counted. Their weights are not read.
# - (d_ff // n_units)
# + (d_ff - d_ff // n_units)

# It looks as if the four counts stood in another order. Return controller, chosen units, QKV,
# readout.
# - [controller, chosen_units, qkv, readout]
# + [chosen_units, controller, qkv, readout]
# or
# - [controller, chosen_units, qkv, readout]
# + [readout, qkv, chosen_units, controller]
# or
# - [controller, chosen_units, qkv, readout]
# + [qkv, controller, chosen_units, readout]

# It looks as if each count had those before it in it. Return the four by themselves.
# - return np.array(
# + return np.cumsum(
# or
# - chosen_units = 
# + chosen_units = controller + 

# It looks as if bytes were counted. Count weights.
# - qkv, readout])
# + qkv, readout]) * 4

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
# <details><summary>Hint 3: in pseudocode, with gaps</summary>
#
#     controller   = C1 and C2
#     chosen_units = (a column and a row) times (the number of units that are on)
#     M            = …
#     qkv          = D, E, and … matrices of M · M
#     readout      = D and E
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

# %% tags=["mistakes"]
# It looks as if the padding were left between source and target. Leave out the rows where mask is
# False.
# - read_first = source[mask]
# + read_first = source

# It looks as if the mask were turned round: True are the rows to keep.
# - read_first = source[mask]
# + read_first = source[~mask]

# It looks as if padding were expected at the end: the first rows were kept, as many as mask has
# True. Take those where mask is True.
# - read_first = source[mask]
# + read_first = source[: mask.sum()]

# It looks as if the decoder knew nothing of the source: it was not read, or read behind the
# target, where a causal decoder does not see it. It must come first.
# - [read_first, target]
# + [target, read_first]
# - y[len(read_first) :]
# + y[: len(target)]

# It looks as if the first rows of the result were returned. They are the source's; the target's
# come behind them.
# - y[len(read_first) :]
# + y[: len(target)]

# It looks as if the rows were cut out one too early: the first is that of the last row before the
# target.
# - y[len(read_first) :]
# + y[len(read_first) - 1 :][: len(target)]

# It looks as if the target were looked for behind a source of full length. The padding is gone,
# so it begins at row mask.sum().
# - [read_first, target]
# + [read_first, target, source[~mask]]
# - y[len(read_first) :]
# + y[len(source) :]

# It looks as if the padding were moved to the front. The decoder would begin with it, and carry it
# on to all that follows. It must go, or stand behind the target.
# - [read_first, target]
# + [source[~mask], read_first, target]
# - y[len(read_first) :]
# + y[len(source) :]

# It looks as if the padding were filled with the last row of the source. The decoder would read
# that row several times: leave the padding out.
# - read_first = source[mask]
# + read_first = jnp.where(mask[:, None], source, source[mask][-1])

# It looks as if the source were cut off at the first padding. What comes after it counts, too:
# take all rows where mask is True.
# - read_first = source[mask]
# + read_first = source[: len(mask) if mask.all() else jnp.argmin(mask)]

# It looks as if the decoder had read the mean of the source. It reads all of its rows, one after
# the other.
# - read_first = source[mask]
# + read_first = source[mask].mean(axis=0, keepdims=True)

# It looks as if the last row of the source were left out, or read twice.
# - read_first = source[mask]
# + read_first = source[mask][:-1]
# or
# - read_first = source[mask]
# + read_first = jnp.concatenate([source[mask], source[mask][-1:]])

# It looks as if the target were moved on by one row, with zeros before it. It
# comes embedded and ready: the decoder reads it as it is.
# - [read_first, target]
# + [read_first, 0 * target[:1], target[:-1]]

# It looks as if the rows were cut out one too late, or in reverse. Row i of the result belongs to
# row i of what was read.
# - return y[len(read_first) :]
# + return jnp.concatenate([y[len(read_first) + 1 :], y[-1:]])
# or
# - return y[len(read_first) :]
# + return y[len(read_first) :][::-1]

# It looks as if the target were added to the result. What the decoder makes of it is returned as
# it is.
# - return y[len(read_first) :]
# + return y[len(read_first) :] + target

# It looks as if the decoder were called twice, one call on the result of the other.
# - y = decoder(jnp.concatenate([read_first, target]))
# + y = decoder(decoder(jnp.concatenate([read_first, target])))

# It looks as if each row of the target were decoded without those before it. The decoder reads
# source and target as one text.
# - return y[len(read_first) :]
# + texts = [jnp.concatenate([read_first, row[None]]) for row in target]
# +     return jnp.stack([decoder(text)[-1] for text in texts])

# It looks as if the results for source and target were added. The decoder reads them as one text,
# once.
# - return y[len(read_first) :]
# + return decoder(target) + decoder(read_first).mean(axis=0)

# It looks as if the target had been read twice, before and after the source. It comes once, after
# it.
# - [read_first, target]
# + [target, read_first, target]
# - y[len(read_first) :]
# + y[-len(target) :]

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

# %% tags=["mistakes"]
# It looks as if f and 1 - f were exchanged: f says how much of the old c is kept.
# - f * c + (1 - f) * (x @ w)
# + (1 - f) * c + f * (x @ w)

# It looks as if new input came in at full strength: its factor is 1 - f.
# - f * c + (1 - f) * (x @ w)
# + f * c + x @ w

# It looks as if the weights of the two gates were exchanged.
# - f = jax.nn.sigmoid(x @ w_f + b_f)
# + f = jax.nn.sigmoid(x @ w_r + b_r)
# -     r = jax.nn.sigmoid(x @ w_r + b_r)
# +     r = jax.nn.sigmoid(x @ w_f + b_f)

# It looks as if the gates looked at c, as an LSTM's do. Here they look at x alone; that is what
# makes the unit simple.
# - x @ w_f
# + c @ w_f
# - x @ w_r
# + c @ w_r

# `c_next` is right, but `h` looks as if it were made from the old c.
# - r * jnp.tanh(c_next) + (1 - r) * x
# + r * jnp.tanh(c) + (1 - r) * x

# `c_next` is right, but in `h` the way past the unit seems to be missing: (1 - r) · x.
# - r * jnp.tanh(c_next) + (1 - r) * x
# + r * jnp.tanh(c_next)

# `c_next` looks as if tanh were taken of x W. There is one tanh, that of c_next in h.
# - f * c + (1 - f) * (x @ w)
# + f * c + (1 - f) * jnp.tanh(x @ w)

# It looks as if the two results were exchanged: return h, c_next.
# - return h, c_next
# + return c_next, h

# It looks as if one gate did the work of both. f and r have weights and biases of their own.
# - r = jax.nn.sigmoid(x @ w_r + b_r)
# + r = f

# It looks as if the biases of the two gates were exchanged.
# - + b_f
# + + b_r
# -  + b_r)
# -     c_next
# +  + b_f)
# +     c_next

# It looks as if only one of the gates had its bias.
# -  + b_r
# or
# -  + b_f

# It looks as if the biases were added behind the sigmoid, or subtracted. They are added inside:
# σ(x W + b).
# - jax.nn.sigmoid(x @ w_f + b_f)
# + jax.nn.sigmoid(x @ w_f) + b_f
# - jax.nn.sigmoid(x @ w_r + b_r)
# + jax.nn.sigmoid(x @ w_r) + b_r
# or
# - + b_f
# + - b_f
# - + b_r
# + - b_r

# It looks as if the gates went through a tanh or a ReLU. A sigmoid keeps them between 0 and 1.
# - jax.nn.sigmoid(x @ w_f
# + jnp.tanh(x @ w_f
# - jax.nn.sigmoid(x @ w_r
# + jnp.tanh(x @ w_r
# or
# - jax.nn.sigmoid(x @ w_f
# + jax.nn.relu(x @ w_f
# - jax.nn.sigmoid(x @ w_r
# + jax.nn.relu(x @ w_r

# It looks as if the gates looked at x and c together, as an LSTM's do, or r at c_next. Here both
# look at x alone.
# - x @ w_f
# + (x + c) @ w_f
# - x @ w_r
# + (x + c) @ w_r
# or
# -     h = r
# +     r = jax.nn.sigmoid(c_next @ w_r + b_r)
# +     h = r

# It looks as if c W came into c_next. What is new is x W.
# - (x @ w)
# + (c @ w)

# It looks as if c_next were gated by r. f says what is kept, r what is shown.
# - f * c + (1 - f) * (x @ w)
# + r * c + (1 - r) * (x @ w)

# `h` is right, but `c_next` was passed through tanh, or is the old c, or `h` itself. The unit
# carries c_next as it is.
# - return h, c_next
# + return h, jnp.tanh(c_next)
# or
# - return h, c_next
# + return h, c
# or
# - return h, c_next
# + return h, h

# `c_next` is right, but in `h` it looks as if tanh were taken of r · c_next. r stands outside.
# - r * jnp.tanh(c_next)
# + jnp.tanh(r * c_next)

# `c_next` is right, but in `h` x goes past the unit at full strength. Its factor is 1 - r.
# - (1 - r) * x
# + x

# `c_next` is right, but in `h` it looks as if another function stood in the place of tanh.
# - jnp.tanh(c_next)
# + jax.nn.sigmoid(c_next)
# or
# - jnp.tanh(c_next)
# + jax.nn.relu(c_next)

# `c_next` is right, but `h` looks like c_next, or its tanh, without the gate r: h = r ·
# tanh(c_next) + (1 - r) · x.
# - return h, c_next
# + return c_next, c_next
# or
# - return h, c_next
# + return jnp.tanh(c_next), c_next

# It looks as if a bias came into x W. Only the gates have one.
# - (x @ w)
# + (x @ w + b_f)

# It looks as if one of the matrices were multiplied from the wrong side, or w stood in the place
# of a gate's. It is x @ w_f and x @ w_r, with x as a row.
# - x @ w_f
# + w_f @ x
# or
# - x @ w_r
# + w_r @ x
# or
# - x @ w_f
# + x @ w
# - x @ w_r
# + x @ w

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

# %% tags=["mistakes"]
# `alone` is right, but `together` looks like the product of `alone`. Speedups of parts do not
# multiply: add up the seconds that are left, and divide once.
# - whole / faster.sum()
# + alone.prod()

# `alone` is right, but `together` looks like the mean of the factors, weighted by the seconds.
# Add up seconds, not factors: each part takes seconds / factor.
# - whole / faster.sum()
# + (seconds * factors).sum() / whole

# `together` is right, but `alone` looks like the factors themselves. They make a part faster; the
# rest of the model takes as long as before.
# - whole / (whole - seconds + faster)
# + factors

# `together` is right, but `alone` looks as if the faster part took no time at all. It takes
# seconds / factor.
# - whole / (whole - seconds + faster)
# + whole / (whole - seconds)

# `together` is right, but `alone` looks as if seconds / factor were what a part saves. It is what
# the part still takes.
# - whole / (whole - seconds + faster)
# + whole / (whole - faster)

# It looks as if the ratio were upside down. A speedup is the time before, divided by the time
# after.
# - whole / (whole - seconds + faster)
# + (whole - seconds + faster) / whole
# - whole / faster.sum()
# + faster.sum() / whole

# It looks as if a part took seconds · factor. It gets faster: it takes seconds / factor.
# - seconds / factors
# + seconds * factors

# It looks as if the time that is saved were returned, in seconds or as a share. How many times
# faster is the whole?
# - return alone, whole / faster.sum()
# + return seconds - faster, (seconds - faster).sum()
# or
# - return alone, whole / faster.sum()
# + return (seconds - faster) / whole, (seconds - faster).sum() / whole

# `alone` is right, but `together` looks as if only the slowest part that is left took time. The
# parts run one after the other: add their seconds.
# - whole / faster.sum()
# + whole / faster.max()

# `alone` is right, but `together` is made of the factors alone, their product, mean or smallest. A
# factor counts for as much as its part takes of the time.
# - whole / faster.sum()
# + factors.prod()
# or
# - whole / faster.sum()
# + factors.mean()
# or
# - whole / faster.sum()
# + factors.min()
# or
# - whole / faster.sum()
# + factors.prod() ** (1 / len(factors))

# `alone` is right, but `together` looks like a mean of it, or like its gains added up. Speedups do
# not add: add up the seconds that are left, and divide once.
# - whole / faster.sum()
# + alone.mean()
# or
# - whole / faster.sum()
# + 1 + (alone - 1).sum()

# `together` is right, but `alone` looks as if each technique came on top of those before it.
# - whole / (whole - seconds + faster)
# + whole / (whole - jnp.cumsum(seconds - faster))

# `together` is right, but `alone` looks as if all techniques were used but this one.
# - whole / (whole - seconds + faster)
# + whole / (faster.sum() - faster + seconds)

# `together` is right, but `alone` looks as if factors were averaged by the share of time. Add up
# seconds: the other parts take what they took, this one seconds / factor.
# - whole / (whole - seconds + faster)
# + seconds / whole * factors
# or
# - whole / (whole - seconds + faster)
# + 1 - seconds / whole + seconds / whole * factors

# `together` is right, but in `alone` it looks as if the part's old seconds were still there. Take
# them off before the new ones are added.
# - whole - seconds + faster
# + whole + faster

# It looks as if the whole were the mean of the seconds. It is their sum.
# - seconds.sum()
# + seconds.mean()

# It looks as if the gain were returned, a speedup less 1, or percent. "Twice as fast" is 2.
# - return alone, whole / faster.sum()
# + return alone - 1, whole / faster.sum() - 1
# or
# - return alone, whole / faster.sum()
# + return 100 * alone, 100 * whole / faster.sum()

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
# <details><summary>Hint 3: in pseudocode, with gaps</summary>
#
#     faster   = what each part takes now
#     whole    = what all took before
#     alone    = whole / (…), entry by entry
#     together = whole / (…)
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
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# A model of 8 blocks, with `d_model` 1,024, `d_ff` 4,096 and a vocabulary of 32,000. Three quarters
# of its weights are in the blocks, a quarter in the readout. Now all blocks are exchanged for
# sparse ones, and a token reads 30 times fewer weights in them. The readout is forgotten, and stays
# dense.
#
# **Predict before you run the next cells:** how many times fewer weights does a token read in the
# whole model? You are right if you are off by 15 percent at most.
#
# <details><summary>Hint 1: what is left</summary>
#
# Say that a token read 100 weights before. How many does it read now, in the blocks and in the
# readout?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # times fewer

# %% tags=["solution-only"]
# Of 100 weights 75 become 75 / 30, and 25 stay.
my_guess = 100 / (75 / 30 + 25)

# %% tags=["check"]
from efftx.check import terraformer_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.gain_with_a_dense_readout.predicted(my_guess)
gains = {
    name: {n: experiment.times_fewer(n, sparse) for n in experiment.DEPTHS}
    for name, sparse in {"sparse readout": True, "dense readout": False}.items()
}
mine = ("you predicted", predicted)
show(
    draw_experiment(gains, "blocks", "times fewer weights", limit=mine, log="x"),
    "How many times fewer weights a token reads against the number of blocks, on a "
    "logarithmic axis. With a dense readout 1.4 times at one block, 3.7 at 8 and 9.5 at 32; with a "
    "sparse one 5, 12 and 20.",
)

# %% tags=["check"]
check.gain_with_a_dense_readout(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** With 4 modules the readout reads a quarter, and the same model gains 11.6 in
# place of 3.7: the last part that is made sparse seems to bring the most, as in Part 4. Even then
# the readout is most of what is left. Deeper models, with more blocks to a readout, gain more.

# %% [markdown]
# ### What separates yours from the fast one
#
# A fading sum, $c_t = f_t \odot c_{t-1} + u_t$, may be taken in any grouping: two neighbouring
# steps $(f_1, u_1)$ and $(f_2, u_2)$ are together one step $(f_1 f_2,\ f_2 u_1 + u_2)$. So
# `jax.lax.associative_scan` joins neighbours, then pairs of neighbours, and is done after
# $\log_2 L$ rounds in place of $L$ steps. When a model generates there is only one position at a
# time, and the package takes your step.
