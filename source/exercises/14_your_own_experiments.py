# %% [markdown]
# # Exercise 14 · Your own experiments
#
# <!-- measured -->
#
# In [the chapter](../chapters/14_your_own_experiments.ipynb) a sequence, a batch and a model were
# shared out over devices. Here you do it by hand. Afterwards you can
#
# * say what each device holds, when an array does not divide evenly;
# * find the reduction that is missing in a training step;
# * send keys and values round a ring, and never hold all of them;
# * tell whether exact or hashed attention sends less.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check tries your function on random inputs. If something is off it says what it
# looks like, and shows the smallest input that goes wrong. Nothing is graded: run it as often as
# you like.
#
# **Devices without devices.** In Parts 2 and 3 you write what *one* device does. `jax.lax.psum(x,
# "devices")` is the sum of what all devices have as their `x`; `jax.lax.axis_index("devices")` is
# the number of the one that runs. To try it on any machine, `jax.vmap(f, axis_name="devices")`
# plays all devices at once: index $i$ of each input is device $i$'s. `jax.shard_map` runs the same
# function, unchanged, on real ones.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx.check import your_own_experiments as check

# %% [markdown]
# ## Part 1: Shard a ledger · ★☆☆ · 10 minutes
#
# A *ledger* lists arrays: how many rows each has, and how many bytes a row takes. Some are shared
# out over the devices by rows, the others are whole on every device. If the rows do not divide
# evenly, some devices get one more than others: and it is the **fullest** device that must not run
# out of memory.
#
# Write `bytes_each(rows, row_bytes, shared, n_devices)`: how many bytes the fullest device holds.
#
# | array | rows | bytes of a row | shared out? | bytes on the fullest of 4 |
# |---|---|---|---|---|
# | an embedding | 10 | 8 | yes | ? |
# | a norm's scale | 1 | 8 | no | ? |
# | examples of the batch | 6 | 20 | yes | ? |
#
# <details><summary>Answer</summary>
#
# Ten rows on four devices: 3, 3, 2, 2. So 3 · 8 = 24 bytes. The scale takes its 8. Six examples: 2,
# 2, 1, 1, so 2 · 20 = 40. Together 72.
#
# </details>


# %%
def bytes_each(rows, row_bytes, shared, n_devices):
    """What the fullest device holds.

    rows       (n,), whole numbers: the rows of each array
    row_bytes  (n,), whole numbers: the bytes of one row
    shared     (n,), bool: whether its rows are shared out; else every device has it whole
    returns    a whole number of bytes
    """
    # SOLUTION
    most_rows = jnp.where(shared, -(-rows // n_devices), rows)
    return (most_rows * row_bytes).sum()
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if what is left over belonged to nobody: that is what the *emptiest* device holds.
# Round up.
# - -(-rows // n_devices)
# + rows // n_devices

# It looks as if rows could be cut: that is the mean of all devices. Whole rows lie on a device, and
# the fullest has one more.
# - -(-rows // n_devices)
# + rows / n_devices

# It looks as if every device got one row more than it needs. Only what does not divide is rounded
# up.
# - -(-rows // n_devices)
# + rows // n_devices + 1

# It looks as if everything were shared out. What is not shared is whole on every device.
# - jnp.where(shared, -(-rows // n_devices), rows)
# + -(-rows // n_devices)

# It looks as if nothing were shared out: that is what one device alone would hold.
# - jnp.where(shared, -(-rows // n_devices), rows)
# + rows

# It looks as if True and False were exchanged: True is for what is shared out.
# - jnp.where(shared, -(-rows // n_devices), rows)
# + jnp.where(shared, rows, -(-rows // n_devices))

# It looks as if bytes were shared out in place of rows: a row is never cut.
# - (most_rows * row_bytes).sum()
# + jnp.where(shared, -(-rows * row_bytes // n_devices), rows * row_bytes).sum()

# It looks as if rows were counted. Count bytes: each row takes `row_bytes`.
# - (most_rows * row_bytes).sum()
# + most_rows.sum()

# It looks as if only what is shared out were counted. The rest is on every device, too.
# - (most_rows * row_bytes).sum()
# + (most_rows * row_bytes * shared).sum()

# It looks as if the devices' bytes were added up. Ask for one device.
# - (most_rows * row_bytes).sum()
# + n_devices * (most_rows * row_bytes).sum()

# It looks as if only the largest array were counted. A device holds them all.
# - (most_rows * row_bytes).sum()
# + (most_rows * row_bytes).max()

# It looks as if the whole ledger were divided by the devices.
# - jnp.where(shared, -(-rows // n_devices), rows)
# + rows / n_devices

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First the rows that the fullest device has of each array, then their bytes, then the sum.
#
# </details>
#
# <details><summary>Hint 2: rounding up</summary>
#
# `a // b` rounds down, so `-(-a // b)` rounds up: 10 // 4 is 2, −10 // 4 is −3.
#
# </details>

# %% tags=["check"]
check.bytes_each(bytes_each)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the table, line by line. In numbers: a model of 335 million parameters,
# in 4 bytes each for weights, gradients and two means, and a batch of 32 examples with 100 MB of
# activations each. (In kilobytes, for JAX's whole numbers end at two billion.)

# %% tags=["solution-only"]
ROWS, ROW_KB = np.array([335_000, 32]), np.array([16, 100_000])
WAYS = {"nothing": (False, False), "the batch": (False, True), "both": (True, True)}
for name, shared in WAYS.items():
    each = [int(bytes_each(ROWS, ROW_KB, np.array(shared), n)) / 1e6 for n in (1, 2, 4, 8)]
    print(f"{name:9} shared out, on 1, 2, 4, 8 devices:", *(f"{gb:4.1f}" for gb in each), "GB")
assert 5.3 < each[0] - 3.2 < 5.4
assert each[3] == each[0] / 8

# %% [markdown] tags=["solution-only"]
# If only the batch is shared out, nothing gets below the 5.4 GB of the model. That is why its
# parameters and means are shared out, too, in ZeRO and FSDP, and a layer's are gathered when it is
# their turn.

# %% [markdown]
# ## Part 2: The missing reduction · ★★☆ · 15 minutes
#
# A linear model, $\hat y = x \cdot w$, is trained on examples that have a mark: those marked False
# only fill up the batch. On one device, a step of gradient descent on half the mean square is this:
#
#     error = jnp.where(counts, x @ w - y, 0)
#     return w - rate * (error @ x) / counts.sum()
#
# Somebody has put it on four devices as it stands, each with examples of its own. Nothing
# complains. The losses fall. But each device walks off with weights of its own, and what is saved
# in the end is device 0's.
#
# Write `one_step(w, x, y, counts, rate)`, what each device does, so that **all devices end with the
# weights that one device with all the examples would have.** Devices may have different numbers of
# examples that count, even none.
#
# In numbers: device 0 has one example that counts, with a gradient of 6. Device 1 has three, whose
# gradients add up to 2. What is to be subtracted, with a rate of 1?
#
# <details><summary>Answer</summary>
#
# (6 + 2) / (1 + 3) = 2. Not the mean of the devices' means, (6 / 1 + 2 / 3) / 2 = 3.33: then one
# example would weigh as much as three others together.
#
# </details>


# %%
def one_step(w, x, y, counts, rate):
    """The weights after a step, the same on every device.

    w       (d,): the same on every device;  rate, a number
    x       (n, d), y (n,): this device's examples
    counts  (n,), bool: False for those that only fill up
    returns (d,)
    """
    # SOLUTION
    error = jnp.where(counts, x @ w - y, 0)
    gradient = jax.lax.psum(error @ x, "devices")
    number = jax.lax.psum(counts.sum(), "devices")
    return w - rate * gradient / number
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if no device knew of the others: that is the step as it stands above. Two sums are
# over all devices.
# - jax.lax.psum(error @ x, "devices")
# + error @ x
# - jax.lax.psum(counts.sum(), "devices")
# + counts.sum()

# It looks as if the gradients of all devices were added up, and divided by the number of examples
# of one. How many are there on all devices?
# - jax.lax.psum(counts.sum(), "devices")
# + counts.sum()

# It looks as if the examples of all devices were counted, but each used its own gradient.
# - jax.lax.psum(error @ x, "devices")
# + error @ x

# It looks as if the devices' means, or the weights after their steps, were averaged. Then a device
# with one example weighs as much as one with many.
# - jax.lax.psum(error @ x, "devices")
# + jax.lax.pmean(error @ x / counts.sum(), "devices")
# - rate * gradient / number
# + rate * gradient
# or
# - return w - rate * gradient / number
# + return jax.lax.pmean(w - rate * error @ x / counts.sum(), "devices")

# It looks as if the devices' means were added up. Add up the sums, and divide once.
# - jax.lax.psum(error @ x, "devices")
# + jax.lax.psum(error @ x / counts.sum(), "devices")
# - rate * gradient / number
# + rate * gradient

# It looks as if the gradients were averaged over the devices, and then divided by the number of all
# examples: twice a mean. One of them is a sum.
# - jax.lax.psum(error @ x, "devices")
# + jax.lax.pmean(error @ x, "devices")

# It looks as if what fills up were counted as examples. `counts` says which count.
# - counts.sum()
# + len(counts)

# It looks as if what fills up had gradients. Its error is to be 0.
# - jnp.where(counts, x @ w - y, 0)
# + x @ w - y

# It looks as if the sum were not divided by anything. The loss is a mean.
# - rate * gradient / number
# + rate * gradient

# It looks as if the step went up the hill. Subtract it.
# - w - rate
# + w + rate

# It looks as if the gradient were twice what it is. That of half a square is the error itself.
# - rate * gradient / number
# + 2 * rate * gradient / number

# It looks as if that were the step alone, without the weights.
# - w - rate
# + -rate

# It looks as if the weights were added up over the devices. They are the same everywhere already.
# - w - rate
# + jax.lax.psum(w, "devices") - rate

# It looks as if the rate were forgotten.
# - rate * gradient / number
# + gradient / number

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A mean over all examples is a sum over all examples, divided by their number. Which of the two is
# known to one device alone?
#
# </details>
#
# <details><summary>Hint 2: the tool</summary>
#
# `jax.lax.psum(this, "devices")` is the sum of `this` over all devices. You need it twice.
#
# </details>

# %% tags=["check"]
check.one_step(one_step)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Sums may be made in any order, so the sum over examples is the sum over
# devices of the sums over theirs. A mean may not: it has to be divided once, at the end.
#
# **What made it hard to see?** A loss that falls on every device. So a run on many devices is
# tested against one device, as in the chapter, with a comparison that could fail:

# %% tags=["solution-only"]
random = np.random.default_rng(0)
x, y = random.normal(size=(4, 8, 3)), random.normal(size=(4, 8))
counts, w = random.random((4, 8)) < 0.6, jnp.ones(3)
on_devices = jax.vmap(one_step, in_axes=(None, 0, 0, 0, None), axis_name="devices")
on_one = on_devices(w, x.reshape(1, 32, 3), y.reshape(1, 32), counts.reshape(1, 32), 0.1)
assert jnp.allclose(on_devices(w, x, y, counts, 0.1), on_one)  # on each of the four
assert not jnp.allclose(on_devices(w, x, y, counts | True, 0.1), on_one, atol=1e-3)

# %% [markdown]
# ## Part 3: Attention in a ring · ★★★ · 30 minutes
#
# A sequence lies on $D$ devices: device $i$ has its positions $i n, \dots, i n + n - 1$, as
# queries, keys and values. Write `ring_attention(q, k, v)`, what each device does, so that together
# they compute **causal** softmax attention over the whole sequence. Scores are divided by the root
# of the width. **No device may hold all keys or all values at once.**
#
# In turn 0 a device has its own keys and values. After each turn it gives what it has to the next
# device, $i \to i + 1$, and the last one to the first. What has been seen so far is kept as in
# [chapter 06](../chapters/06_attention_is_sparse.ipynb): the largest score of each query, the sum
# of weights, and the weighted sum of values; when the largest score grows, both sums shrink.
#
# On paper first, with $D$ = 4: whose keys does device 1 have in turn 2? May its queries see them?
#
# <details><summary>Answer</summary>
#
# After one turn it has device 0's, after two device 3's: $(1 - 2) \bmod 4 = 3$. They come later in
# the text than all of its queries: in that turn it works for nothing.
#
# </details>


# %%
def ring_attention(q, k, v):
    """Causal attention of a sequence that lies on all "devices", for this device's queries.

    q, k     (n, d): this device's positions
    v        (n, d_value)
    returns  (n, d_value)
    """
    # SOLUTION
    n_devices, me = jax.lax.axis_size("devices"), jax.lax.axis_index("devices")
    to_next = [(i, (i + 1) % n_devices) for i in range(n_devices)]
    n = len(q)
    top, total, out = -jnp.inf, 0, 0
    for turn in range(n_devices):
        of_whom = (me - turn) % n_devices
        is_seen = of_whom * n + jnp.arange(n) <= me * n + jnp.arange(n)[:, None]
        scores = jnp.where(is_seen, q @ k.T / jnp.sqrt(q.shape[1]), -jnp.inf)
        new_top = jnp.maximum(top, scores.max(axis=1, keepdims=True))
        shrink, weights = jnp.exp(top - new_top), jnp.exp(scores - new_top)
        total = shrink * total + weights.sum(axis=1, keepdims=True)
        out = shrink * out + weights @ v
        top = new_top
        k, v = jax.lax.ppermute((k, v), "devices", to_next)
    return out / total
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if each device attended to its own positions only. There are as many turns as devices.
# - for turn in range(n_devices):
# + for turn in range(1):

# It looks as if a turn were missing: the last keys that come by are not looked at.
# - for turn in range(n_devices):
# + for turn in range(n_devices - 1):

# It looks as if every position saw the whole sequence. It is causal: a key is no later than its
# query.
# - jnp.where(is_seen, q @ k.T / jnp.sqrt(q.shape[1]), -jnp.inf)
# + q @ k.T / jnp.sqrt(q.shape[1])

# It looks as if the mask were made within a device, as if keys were always those of its own
# positions. They travel: whose are they, and where do these begin?
# - of_whom * n + jnp.arange(n) <= me * n + jnp.arange(n)[:, None]
# + jnp.arange(n) <= jnp.arange(n)[:, None]

# It looks as if the keys of other devices had no mask: those of later devices come later in the
# text.
# - of_whom * n + jnp.arange(n) <= me * n + jnp.arange(n)[:, None]
# + (of_whom != me) | (jnp.arange(n) <= jnp.arange(n)[:, None])

# It looks as if all of a device's own keys were seen. There, too, a key must be no later than its
# query.
# - of_whom * n + jnp.arange(n) <= me * n + jnp.arange(n)[:, None]
# + of_whom <= me + 0 * jnp.arange(n)[:, None] + 0 * jnp.arange(n)

# It looks as if keys and values went round one way, and the mask the other. After one turn a device
# has the keys of the one *before*.
# - (me - turn)
# + (me + turn)
# or
# - (i, (i + 1) % n_devices)
# + (i, (i - 1) % n_devices)

# It looks as if the keys travelled and the values stayed.
# - k, v = jax.lax.ppermute((k, v), "devices", to_next)
# + k = jax.lax.ppermute(k, "devices", to_next)

# It looks as if the values travelled and the keys stayed.
# - k, v = jax.lax.ppermute((k, v), "devices", to_next)
# + v = jax.lax.ppermute(v, "devices", to_next)

# It looks as if nothing travelled. `jax.lax.ppermute` sends.
# - k, v = jax.lax.ppermute((k, v), "devices", to_next)
# + pass

# It looks as if the scores were not divided by the root of the width.
# - q @ k.T / jnp.sqrt(q.shape[1])
# + q @ k.T

# It looks as if the scores were divided by the width. Divide by its root.
# - jnp.sqrt(q.shape[1])
# + q.shape[1]

# It looks as if the sum of weights did not shrink when a larger score was found.
# - shrink * total
# + total

# It looks as if the sum of values did not shrink when a larger score was found.
# - shrink * out
# + out

# It looks as if neither sum shrank when a larger score was found. What was added before was
# measured from a lower top.
# - shrink * total
# + total
# - shrink * out
# + out

# It looks as if only the last turn's weights were in the sum.
# - shrink * total + weights
# + weights

# It looks as if only the last turn's values were in the output.
# - shrink * out + weights
# + weights

# It looks as if the output were not divided by the sum of the weights.
# - out / total
# + out

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write it for one device first: a loop of one turn. Then let it send, and ask whose keys they are.
#
# </details>
#
# <details><summary>Hint 2: sending</summary>
#
# `jax.lax.ppermute(x, "devices", [(0, 1), (1, 2), …])` sends `x` from device 0 to 1, from 1 to 2,
# and returns what has come. It takes a pair of arrays, too. `jax.lax.axis_size("devices")` is how
# many devices there are, a number that Python knows.
#
# </details>
#
# <details><summary>Hint 3: the mask</summary>
#
# Keys of device `of_whom` stand at `of_whom * n + jnp.arange(n)`, this device's queries at
# `me * n + jnp.arange(n)`. A score is −∞ where the key is later. In turn 0 each query sees at least
# itself, so the largest score is a number from then on.
#
# </details>
#
# <details><summary>Hint 4: in pseudocode, with gaps</summary>
#
#     top, total, out = −∞, 0, 0
#     for each turn:
#         scores  = …, −∞ where the key is later
#         new_top = the larger of top and each row's largest score
#         shrink  = exp(top − new_top)
#         weights = exp(scores − …)
#         total   = … · total + weights, summed up
#         out     = … · out + weights @ v
#         top     = new_top
#         k, v    = what the device before has sent
#     return out / total
#
# </details>

# %% tags=["check"]
check.ring_attention(ring_attention)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the online softmax, whose blocks come from other devices. It does not
# matter in which order blocks come. Against the package's exact attention:

# %% tags=["solution-only"]
from efftx.attention import full_attention

q, k, v = jax.random.normal(jax.random.key(0), (3, 4, 16, 8))  # four devices of 16 positions
ours = jax.vmap(ring_attention, axis_name="devices")(q, k, v).reshape(64, 8)
whole = full_attention(*(x.reshape(64, 8) for x in (q, k, v)), causal=True)
assert jnp.allclose(ours, whole, atol=1e-5)


def loss(attend, *arrays):
    return jnp.sin(attend(*arrays)).sum()


in_a_ring = partial(loss, jax.vmap(ring_attention, axis_name="devices"))
gradients = jax.grad(in_a_ring, (0, 1, 2))(q, k, v)
together = partial(loss, partial(full_attention, causal=True))
theirs = jax.grad(together, (0, 1, 2))(*(x.reshape(64, 8) for x in (q, k, v)))
for mine, right in zip(gradients, theirs, strict=True):
    assert jnp.allclose(mine.reshape(64, 8), right, atol=1e-4)

# %% [markdown] tags=["solution-only"]
# Its gradient is right, too: what autodiff makes of a `ppermute` sends back the other way. But it
# keeps every turn's weights for the way back, $n \times n$ numbers in each of $D$ turns. The
# package's `ring_attention` keeps none and lets keys and values go round once more.

# %% [markdown]
# ## Part 4: Which sends less? · ★★☆ · 15 minutes
#
# A head's keys and values are `d` numbers wide, 4 bytes each. There are `length` positions on
# `n_devices`.
#
# * **Exact, in a ring.** In each of $D$ turns a device sends the keys and values that it has. (In
#   the last one they come home.)
# * **Hashed.** In each round of hashing a device has its share of positions, and of each position
#   it sends a query-key and a value to the device with its slot. If hashes spread evenly, that is
#   its own device in one case of $D$. From there comes back what attention has made: `d` numbers of
#   output and one log-sum-exp. What a device sends for others is as much as others send for it; so
#   count for each position that leaves what goes out and what comes back.
#
# Write `bytes_sent(length, d, n_devices, n_hashes)`: the bytes that each device sends, in the ring
# and hashed. Chunks of halo and counts of buckets are left out; so is what fills up buffers.
#
# In numbers: 12 positions of width 1 on 3 devices, 1 round. A device has 4 positions.
#
# <details><summary>Answer</summary>
#
# The ring: 3 turns · 4 positions · 2 numbers · 4 bytes = 96. Hashed: 2 of 3 positions leave, 8/3 of
# 4; each is 2 numbers out, 2 back. 8/3 · 4 · 4 = 42.7 bytes.
#
# </details>


# %%
def bytes_sent(length, d, n_devices, n_hashes):
    """What each device sends for one head, forward.

    length, d, n_devices, n_hashes   whole numbers
    returns   two numbers of bytes: in a ring, and hashed
    """
    # SOLUTION
    share = length / n_devices
    in_a_ring = n_devices * share * 2 * d * 4
    leave = share * (n_devices - 1) / n_devices
    hashed = n_hashes * leave * (2 * d + d + 1) * 4
    return in_a_ring, hashed
    # END SOLUTION

# %% tags=["mistakes"]
# The ring: it looks as if the last turn sent nothing. It brings keys and values home.
# - n_devices * share * 2
# + (n_devices - 1) * share * 2

# The ring: it looks as if one turn were counted. There are as many as devices.
# - n_devices * share * 2
# + share * 2

# The ring: it looks as if only keys were sent. Values travel with them.
# - share * 2 * d * 4
# + share * d * 4

# The ring: it looks as if queries were sent, too. They stay.
# - share * 2 * d * 4
# + share * 3 * d * 4

# The ring: it looks as if every turn sent the whole sequence. A device has its share.
# - n_devices * share * 2
# + n_devices * length * 2

# Hashed: it looks as if every position left its device. One in D stays.
# - leave = share * (n_devices - 1) / n_devices
# + leave = share

# Hashed: it looks as if one in D left its device. That is how many stay.
# - leave = share * (n_devices - 1) / n_devices
# + leave = share / n_devices

# Hashed: it looks as if one device sent for all. It has its share of the positions.
# - leave = share * (n_devices - 1) / n_devices
# + leave = length * (n_devices - 1) / n_devices

# Hashed: it looks as if nothing came back. Outputs and log-sum-exps do.
# - (2 * d + d + 1)
# + (2 * d)

# Hashed: it looks as if the log-sum-exps were forgotten: without them rounds cannot be put
# together.
# - (2 * d + d + 1)
# + (2 * d + d)

# Hashed: it looks as if only outputs and log-sum-exps were counted. Query-keys and values go out
# first.
# - (2 * d + d + 1)
# + (d + 1)

# Hashed: it looks as if values stayed at home. They are sent with the query-keys.
# - (2 * d + d + 1)
# + (d + d + 1)

# Hashed: it looks as if queries and keys were sent apart. They are one vector.
# - (2 * d + d + 1)
# + (3 * d + d + 1)

# Hashed: it looks as if a single round were counted. Positions travel in each.
# - n_hashes * leave
# + leave

# It looks as if numbers were counted. Count bytes: a float32 takes four.
# - share * 2 * d * 4
# + share * 2 * d
# - (2 * d + d + 1) * 4
# + (2 * d + d + 1)

# It looks as if the two stood in another order: the ring first.
# - return in_a_ring, hashed
# + return hashed, in_a_ring

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Both begin with the share of a device, `length / n_devices` positions. For each of them: how often
# is it sent, and how many numbers is it?
#
# </details>
#
# <details><summary>Hint 2: what leaves</summary>
#
# Of $D$ devices a slot's may be any. In $D - 1$ cases of $D$ it is another one.
#
# </details>

# %% tags=["check"]
check.bytes_sent(bytes_sent)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The devices cancel in the ring: $D \cdot L / D$. Hashed they do not: the more
# devices, the less each sends.

# %% tags=["solution-only"]
for n_hashes in (1, 2, 4, 8):
    sends_less = [n for n in range(2, 65) if np.subtract(*bytes_sent(2**20, 64, n, n_hashes)) > 0]
    print(f"rounds {n_hashes}: hashed attention sends less from {sends_less[0]} devices on")

# %% [markdown] tags=["solution-only"]
# With one round the hashed one always sends less. With eight it needs eleven devices. And the
# ring's work grows with the square of the length, which does not show in bytes.

# %% [markdown]
# ## Part 5: Break it · ★☆☆ · 10 minutes
#
# What travels costs time, so one sends it in half the bytes: in bfloat16. Gradients stand that, on
# the whole. And the number of examples? It is a whole number, and small.
#
# Each of $D$ devices has one example. They add up in a ring, one after the other: the first sends
# 1, the next one adds its 1 and sends 2, and so on, always rounded to bfloat16. That has 8
# binary digits for a number's leading digits (7 are stored, the first is always 1).
#
# **Predict before you run the next cells:** up to how many devices is the count right? You are
# right if you are off by 10 percent at most.
#
# <details><summary>Hint 1: decimal digits</summary>
#
# Suppose a number had 2 decimal digits. 98 + 1 = 99, 99 + 1 = 100, and 100 + 1 = 101 would be
# rounded to 100 again. What is the same with binary digits?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # devices

# %% tags=["solution-only"]
# With 8 binary digits all whole numbers up to 2⁸ can be written. 2⁸ + 1 needs nine digits: it lies
# in the middle between 2⁸ and 2⁸ + 2, and is rounded to the even one of them, 2⁸.
my_guess = 2**8

# %% tags=["check"]
from efftx.check import your_own_experiments_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.count_in_half_the_bytes.predicted(my_guess)
curves = {
    dtype: {n: experiment.counted(n, dtype) for n in experiment.DEVICES}
    for dtype in ("float32", "bfloat16")
}
figure = draw_experiment(curves, "devices", "their number, as counted", predicted=predicted)
show(
    figure,
    "The count against the number of devices, 32 to 2,048, both axes logarithmic. In float32 it is "
    "the number of devices. In bfloat16 it is the same up to 256 and stays there.",
)

# %% tags=["check"]
check.count_in_half_the_bytes(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** The count does not become inexact: it *stops*. With 2,048 devices the gradient
# would be divided by 256 in place of 2,048, and be eight times too large. The same happens to
# gradients that many small parts are added up to, on one device, too: so the package adds up in
# float32 whatever the model's dtype. (Real reductions add in a tree, or in several rings, and many
# add in float32 what they send in bfloat16. Then each number is rounded a few times only.)
#
# ### What separates yours from the fast one
#
# The package's `ring_attention` goes block by block inside a turn, so that no $n \times n$ scores
# exist; it has a backward pass of its own, takes padding and odd lengths, and leaves out the turns
# in which a device would work for nothing. `sharded_lsh_attention` sends what Part 4 counts, in
# buffers of a fixed size.
