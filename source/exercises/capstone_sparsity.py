# %% [markdown]
# # Capstone · A decoder that reads only what it needs
#
# <!-- measured -->
#
# A model that writes goes through its weights once for every token, and how long that takes is how
# much it reads. In exercises [10](10_sparse_feed_forward.ipynb) and [11](11_sparse_qkv.ipynb) you
# built the sparse parts, for whole texts and with everything at hand. Here you put them into a
# decoder: one token comes in, a few rows are fetched, one token goes out. Afterwards you can
#
# * choose units and compute with them, without touching the others;
# * attend with a cache of keys and values, from projections that have no matrix of their own;
# * give scores to all tokens from a readout a fraction as large;
# * run all of it in one loop that jax compiles once, whatever it writes.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check compares your numbers with those of the dense model with masks, which
# computes everything and reads the whole text anew for each token. Then it counts what you read: a
# decoder that reads every weight writes exactly the same text.
#
# The model is one block of a [Terraformer](../chapters/12_terraformer.ipynb), without norms:
# attention, then the feed-forward layer, each added to the stream.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import capstone_sparsity as check

# %% [markdown]
# ## Part 1: The chosen units · ★★☆ · 15 minutes
#
# Write `feed_forward(x, c1, c2, w1, b1, w2, b2)` for one token, a vector `(d_model,)`. The
# controller gives each unit a score, $x C_1 C_2$; in each block the unit with the highest is on,
# and
#
# $$y = \sum_{i \text{ on}} \text{ReLU}(w_{1,i} \cdot x + b_{1,i})\; w_{2,i} + b_2.$$
#
# Weights lie as they are fetched, a row for each unit, block by block: `w1` and `w2` are
# `(n_blocks, N, d_model)`, `b1` is `(n_blocks, N)` and `c2` is `(d_lowrank, n_blocks, N)`.
#
# The check counts the numbers of `w1`, `b1` and `w2` that are read. With `d_model` 64, and 8 blocks
# of 16 units, how many of `w1` may it find?
#
# <details><summary>Answer</summary>
#
# 8 units are on, one in each block, and each has a row of 64: 512 of 8,192.
#
# </details>


# %%
def feed_forward(x, c1, c2, w1, b1, w2, b2):
    """One token through the units that are on.

    x        (d_model,)
    c1, c2   (d_model, d_lowrank), (d_lowrank, n_blocks, N): the controller
    w1, w2   (n_blocks, N, d_model);  b1 (n_blocks, N);  b2 (d_model,)
    returns  (d_model,)
    """
    # SOLUTION
    units = jnp.einsum("r,rbn->bn", x @ c1, c2).argmax(axis=-1)
    block = jnp.arange(len(units))
    hidden = jax.nn.relu(w1[block, units] @ x + b1[block, units])
    return hidden @ w2[block, units] + b2
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the first block's choice were made in all blocks. Each has a choice of its own.
# - .argmax(axis=-1)
# + .argmax(axis=-1)
# +     units = jnp.full_like(units, units[0])

# It looks as if the lowest score won.
# - .argmax(axis=-1)
# + .argmin(axis=-1)

# It looks as if the sign of the scores were lost: the highest wins, and −3 is lower than 1.
# - jnp.einsum("r,rbn->bn", x @ c1, c2)
# + abs(jnp.einsum("r,rbn->bn", x @ c1, c2))

# It looks as if a ReLU stood in the controller: in a block without a positive score the first unit
# is on.
# - jnp.einsum("r,rbn->bn", x @ c1, c2)
# + jax.nn.relu(jnp.einsum("r,rbn->bn", x @ c1, c2))

# It looks as if a block were every n-th unit, and not a row of c2's second axis.
# - .argmax(axis=-1)
# + .reshape(c2.shape[:0:-1]).argmax(axis=0)

# It looks as if each unit were multiplied with its probability, the soft mask. In decoding the mask
# is hard: a unit is on, and counts fully.
# - return hidden @
# + scores = jnp.einsum("r,rbn->bn", x @ c1, c2)
# +     hidden = hidden * jax.nn.softmax(scores, axis=-1).max(axis=-1)
# +     return hidden @

# It looks as if the ReLU were missing: a unit that is on may still come out negative, and then gives
# 0.
# - jax.nn.relu(w1[block, units] @ x + b1[block, units])
# + w1[block, units] @ x + b1[block, units]

# It looks as if b1 were missing.
# -  + b1[block, units]

# It looks as if b1 were added behind the ReLU. It goes through it.
# - jax.nn.relu(w1[block, units] @ x + b1[block, units])
# + jax.nn.relu(w1[block, units] @ x) + b1[block, units]

# It looks as if one of the three were taken at other units: w1, b1 and w2 belong together.
# - b1[block, units]
# + b1[block, 0]
# or
# - w2[block, units]
# + w2[block, 0]
# or
# - w2[block, units]
# + w2[block, units[::-1]]

# It looks as if rows of the first block were taken for all blocks: a row has two indices, its block
# and its unit.
# - w1[block, units]
# + w1[0, units]
# or
# - b1[block, units]
# + b1[0, units]
# or
# - w2[block, units]
# + w2[0, units]
# or
# - w1[block, units] @ x + b1[block, units]
# + w1[0, units] @ x + b1[0, units]
# - w2[block, units]
# + w2[0, units]

# It looks as if b2 were missing. It belongs to no unit, and is always added.
# - @ w2[block, units] + b2
# + @ w2[block, units]

# It looks as if b2 were added once for each block.
# - units] + b2
# + units] + len(block) * b2

# It looks as if x were added. That is the business of the block around this layer.
# - units] + b2
# + units] + b2 + x

# It looks as if a second ReLU stood behind the layer. There is one, before w2.
# - return hidden @ w2[block, units] + b2
# + return jax.nn.relu(hidden @ w2[block, units] + b2)

# It looks as if a ReLU stood between C1 and C2. The controller is two matrices and nothing else.
# - x @ c1, c2)
# + jax.nn.relu(x @ c1), c2)

# It looks as if another function stood in the place of the ReLU.
# - jax.nn.relu(w1
# + jax.nn.gelu(w1
# or
# - jax.nn.relu(w1
# + jnp.tanh(w1
# or
# - jax.nn.relu(w1
# + abs(w1

# It looks as if w1 stood in the place of w2, too.
# - w2[block, units]
# + w1[block, units]

# It looks as if the first unit of every block were on, whatever the scores.
# - .argmax(axis=-1)
# + .argmax(axis=-1) * 0

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First the number of the unit that is on, for each block. From there on nothing has an axis of
# length $N$.
#
# </details>
#
# <details><summary>Hint 2: one row of each block</summary>
#
# Two arrays of the same length pick pairs: `a[[0, 1, 2], [5, 0, 3]]` is `a[0, 5]`, `a[1, 0]` and
# `a[2, 3]`.
#
# </details>

# %% tags=["check"]
check.feed_forward(feed_forward)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The choice needs the controller, which is small. After it the layer is dense,
# with as many units as there are blocks. What belongs to the others has never been touched; the
# mask would have multiplied it with 0.

# %% [markdown]
# ## Part 2: Attention with a cache · ★★★ · 25 minutes
#
# Write `attention_step(x, t, cache, d, e, kernels)` for the token at position `t`. Its projections
# are those of chapter 11. The multiplicative layer makes $S$ modules of $M$ numbers,
#
# $$y_{s,m} = \sum_i x_i D_{i,s} E_{i,m},$$
#
# and three convolutions over the last three positions, and over each module's neighbours, make $q$,
# $k$ and $v$:
#
# $$z_s = \sum_{i=0}^{2} \sum_{j=0}^{2} y^{(t-2+i)}_{s-1+j}\, K_{i,j},$$
#
# with zeros before the text and beyond the outer modules. `kernels` is `(3, 3, 3, M, M)`: of $q$,
# $k$ or $v$, then $i$ and $j$.
#
# Each module is a head: it compares its $q$ with the keys of all positions up to `t`, its own
# included, divides by $\sqrt{M}$, and mixes their values by the softmax.
#
# `cache` holds what is needed of the tokens before, `(history, keys, values)`:
#
# * `history`, `(2, S, M)`: $y$ of the two positions before, the newest last;
# * `keys` and `values`, `(room, S, M)`: row $u$ belongs to position $u$. Rows from `t` on may hold
#   anything.
#
# Return the token's output, `(d_model,)`, module after module, and the cache for the next token.
# `t` may be a number that jax does not know yet.
#
# The layer with $W_{i,(s,m)} = D_{i,s} E_{i,m}$ would need $d_\text{model}^2$ numbers. The check
# makes sure that no array is so large. In which order do you multiply $x$, $D$ and $E$?
#
# <details><summary>Answer</summary>
#
# $x$ with $D$ first, entry by entry: `x[:, None] * d` is `(d_model, S)`. Its transpose times $E$ is
# $y$, `(S, M)`.
#
# </details>


# %%
def attention_step(x, t, cache, d, e, kernels):
    """Attention for the token at position t.

    x        (d_model,);  t  a whole number
    cache    history (2, S, M), keys (room, S, M), values (room, S, M)
    d, e     (d_model, S), (d_model, M);  kernels (3, 3, 3, M, M)
    returns  out (d_model,), (history, keys, values)
    """
    # SOLUTION
    history, keys, values = cache
    window = jnp.concatenate([history, ((x[:, None] * d).T @ e)[None]])
    padded = jnp.pad(window, ((0, 0), (1, 1), (0, 0)))
    beside = jnp.stack([padded[:, j : j + d.shape[1]] for j in range(3)], axis=1)
    q, k, v = jnp.einsum("ijsm,pijmn->psn", beside, kernels)
    keys, values = keys.at[t].set(k), values.at[t].set(v)
    scores = jnp.einsum("sm,usm->su", q, keys) / q.shape[-1] ** 0.5
    seen = jnp.arange(len(keys)) <= t
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
    out = jnp.einsum("su,usm->sm", weights, values)
    return out.reshape(-1), (window[1:], keys, values)
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if a token did not see itself. Its key and its value belong to those up to t.
# - <= t
# + < jnp.maximum(t, 1)

# It looks as if rows behind t were seen. They may hold anything, and must get no weight.
# - seen = jnp.arange(len(keys)) <= t
# + seen = True

# It looks as if the row behind t were seen, too.
# - <= t
# + <= t + 1

# It looks as if scores were divided by √d_model. A head has M numbers.
# - q.shape[-1] ** 0.5
# + q.size ** 0.5

# It looks as if scores were not divided by √M.
# -  / q.shape[-1] ** 0.5

# It looks as if the softmax ran over the heads. It runs over the positions.
# - axis=-1)
# + axis=0)

# It looks as if heads were joined across: module 0 comes first, whole, then module 1.
# - out.reshape(-1), (
# + out.T.reshape(-1), (

# It looks as if the history were forgotten: the convolution sees this token alone.
# - jnp.concatenate([history,
# + jnp.concatenate([0 * history,
# - (window[1:], keys
# + (window[1:].at[0].set(history[1]), keys

# It looks as if the kernels were turned round in time: i = 2 belongs to this token.
# - "ijsm,pijmn->psn", beside, kernels
# + "ijsm,pijmn->psn", beside, kernels[:, ::-1]

# It looks as if the kernels were turned round along the modules: j = 0 belongs to the module before.
# - "ijsm,pijmn->psn", beside, kernels
# + "ijsm,pijmn->psn", beside, kernels[:, :, ::-1]

# It looks as if the matrices of the kernels were transposed: y times K, from m to n.
# - pijmn->psn
# + pijnm->psn

# It looks as if the modules stood in a ring. Beyond the outer ones there are zeros.
# - (0, 0)))
# + (0, 0)), mode="wrap")
# - ((0, 0), (1, 1), (0
# + ((0, 0), (1, 1), (0

# It looks as if two sums were multiplied, x D and x E. The sum over i runs over products of three.
# - ((x[:, None] * d).T @ e)[None]
# + ((x @ d)[:, None] * (x @ e))[None]

# It looks as if keys and values were exchanged.
# - q, k, v = jnp
# + q, v, k = jnp

# It looks as if queries and keys were exchanged.
# - q, k, v = jnp
# + k, q, v = jnp

# It looks as if this token's key and value were not in the cache yet when it was looked at: row t
# held something else.
# - keys, values = keys.at[t].set(k), values.at[t].set(v)
# + pass
# - (window[1:], keys, values)
# + (window[1:], keys.at[t].set(k), values.at[t].set(v))
# or
# - keys, values = keys.at[t].set(k), values.at[t].set(v)
# + pass

# It looks as if key and value were added to what stood at row t. They take its place.
# - keys.at[t].set(k), values.at[t].set(v)
# + keys.at[t].add(k), values.at[t].add(v)

# It looks as if key and value were written at another row than t.
# - keys.at[t].set(k), values.at[t].set(v)
# + keys.at[t - 1].set(k), values.at[t - 1].set(v)
# or
# - keys.at[t].set(k), values.at[t].set(v)
# + keys.at[t + 1].set(k), values.at[t + 1].set(v)

# It looks as if the key were written in the place of the value, too.
# - values.at[t].set(v)
# + values.at[t].set(k)

# It looks as if rows behind t got the score 0. That is a score like any other: −∞ gets no weight.
# - jnp.where(seen, scores, -jnp.inf)
# + jnp.where(seen, scores, 0)

# It looks as if scores were divided by M, and not by its root.
# - q.shape[-1] ** 0.5
# + q.shape[-1]

# It looks as if a module saw neighbours on one side only: one zero module belongs on each side.
# - ((0, 0), (1, 1), (0, 0))
# + ((0, 0), (2, 0), (0, 0))
# or
# - ((0, 0), (1, 1), (0, 0))
# + ((0, 0), (0, 2), (0, 0))

# It looks as if the kernels' positions and modules were exchanged: i goes along the positions.
# - pijmn->psn
# + pjimn->psn

# It looks as if the window were in another order: two positions back, one back, this token.
# - ((x[:, None] * d).T @ e)[None]])
# + ((x[:, None] * d).T @ e)[None]])[jnp.array([1, 0, 2])]
# - (window[1:], keys
# + (window[jnp.array([0, 2])], keys

# `out` is right. It looks as if keys and values were exchanged in the cache that is returned.
# - (window[1:], keys, values)
# + (window[1:], values, keys)

# `out` is right. It looks as if a projection went into `history`. The convolution looks at y.
# - (window[1:], keys
# + (jnp.stack([history[1], k]), keys
# or
# - (window[1:], keys
# + (jnp.stack([history[1], q]), keys

# `out` is right. It looks as if `history` were returned as it came: for the next token this one is
# one position back.
# - (window[1:], keys
# + (history, keys

# `out` is right, but the two rows of `history` seem to be exchanged: the newest stands last.
# - (window[1:], keys
# + (window[:0:-1], keys

# `out` is right. It looks as if the history lost the wrong row: the oldest is not needed any more.
# - (window[1:], keys
# + (window[jnp.array([0, 2])], keys

# `out` is right, but key and value do not stand at row t of what is returned.
# - (window[1:], keys, values)
# + (window[1:], cache[1], cache[2])
# or
# - (window[1:], keys, values)
# + (window[1:], cache[1].at[t + 1].set(k), cache[2].at[t + 1].set(v))

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Four steps, each with its own shapes: $y$, the window of three positions, the three projections,
# and attention over the cache. Print the shapes as you go.
#
# </details>
#
# <details><summary>Hint 2: the convolution at one position</summary>
#
# History and $y$ together are three positions. Pad their modules with zeros, and take for $j$ = 0,
# 1, 2 the slice that begins at $j$. What remains is a sum over $i$, $j$ and $m$: one `einsum`.
#
# </details>
#
# <details><summary>Hint 3: the cache</summary>
#
# `keys.at[t].set(k)` also works with a `t` that is not known yet. A slice up to `t` does not: its
# length would not be known. So compare with all rows, and give those behind `t` a score of −∞.
#
# </details>

# %% tags=["check"]
check.attention_step(attention_step)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Position $t$ needs $y$ of three positions, and keys and values of all. All of
# it is either in the cache or made here, and what is made here goes into the cache. The convolution
# looks at $y$, so that $y$ is kept, not $q$, $k$ or $v$.

# %% [markdown]
# ## Part 3: Scores for all tokens · ★☆☆ · 10 minutes
#
# A dense readout has a column of `d_model` numbers for every token of the vocabulary. Write
# `token_scores(x, d, e, vocab)`, a multiplicative readout: token number $s M + m$ has the score
#
# $$\sum_i x_i D_{i,s} E_{i,m}, \qquad M = \lceil \text{vocab} / S \rceil.$$
#
# For 5 tokens and $S$ = 2, how many places are there, and what happens to those that are left?
#
# <details><summary>Answer</summary>
#
# $M$ = 3, so there are 6 places for 5 tokens. The last one has no token, and must not be returned:
# it might win.
#
# </details>


# %%
def token_scores(x, d, e, vocab):
    """The score of every token.

    x (d_model,);  d (d_model, S), e (d_model, M) with M = ⌈vocab / S⌉
    returns  (vocab,)
    """
    # SOLUTION
    return ((x[:, None] * d).T @ e).reshape(-1)[:vocab]
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the tokens were dealt out to the modules like cards. Token 0 to M − 1 are module 0,
# the next M are module 1.
# - .reshape(-1)[:vocab]
# + .T.reshape(-1)[:vocab]

# It looks as if two sums were multiplied, x D and x E. The sum over i runs over products of three.
# - ((x[:, None] * d).T @ e)
# + ((x @ d)[:, None] * (x @ e))

# It looks as if the first places were left out, not the last.
# - [:vocab]
# + [-vocab:]

# It looks as if a softmax had been taken. Scores are asked for.
# - return ((x[:, None] * d).T @ e).reshape(-1)[:vocab]
# + return jax.nn.softmax(((x[:, None] * d).T @ e).reshape(-1)[:vocab])
# or
# - return ((x[:, None] * d).T @ e).reshape(-1)[:vocab]
# + return jax.nn.log_softmax(((x[:, None] * d).T @ e).reshape(-1)[:vocab])
# or
# - return ((x[:, None] * d).T @ e).reshape(-1)[:vocab]
# + return jax.nn.log_softmax(((x[:, None] * d).T @ e).reshape(-1))[:vocab]

# It looks as if the scores were divided by a root. Here nothing is divided.
# - [:vocab]
# + [:vocab] / len(x) ** 0.5
# or
# - [:vocab]
# + [:vocab] / e.shape[1] ** 0.5

# It looks as if a ReLU had been taken. Scores may be negative.
# - return ((x[:, None] * d).T @ e).reshape(-1)[:vocab]
# + return jax.nn.relu((x[:, None] * d).T @ e).reshape(-1)[:vocab]

# It looks as if only one of D and E played a part.
# - ((x[:, None] * d).T @ e).reshape(-1)
# + (x @ d).repeat(e.shape[1])
# or
# - ((x[:, None] * d).T @ e).reshape(-1)
# + jnp.tile(x @ e, d.shape[1])

# It looks as if x D and x E were added up. The sum over i runs over products of three.
# - ((x[:, None] * d).T @ e)
# + ((x @ d)[:, None] + (x @ e))

# It looks as if the places stood the other way round, the last one first.
# - reshape(-1)[:vocab]
# + reshape(-1)[::-1][:vocab]

# It looks as if x were missing: the scores are those of D and E alone.
# - (x[:, None] * d)
# + d

# It looks as if x came in twice, with D and with E.
# - @ e)
# + @ (x[:, None] * e))

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# You have written this sum in Part 2. The rest is about the order of the places.
#
# </details>

# %% tags=["check"]
check.token_scores(token_scores)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** `reshape` puts module after module, so that place $s M + m$ is module $s$'s
# number $m$. `d_model` · ($S$ + $M$) numbers are read, instead of `d_model` · `vocab`.

# %% [markdown]
# ## Part 4: Write · ★★★ · 25 minutes
#
# Now the loop. Write `write(prompt, n_new, weights)`: it reads the tokens of the prompt, one after
# the other, and goes on by itself, each time with the token of the highest score. A token's way is
#
# 1. its row of `weights["embedding"]`;
# 2. plus attention of that, with `weights["d"]`, `"e"` and `"kernels"`;
# 3. plus the feed-forward layer of *that*, with `"c1"`, `"c2"`, `"w1"`, `"b1"`, `"w2"`, `"b2"`;
# 4. the readout, with `"d_out"` and `"e_out"`. `vocab` is the number of rows of the embedding.
#
# Return the `n_new` new tokens, and for each the scores from which it was chosen, `(n_new, vocab)`.
#
# Let `jax.lax.scan` run the loop, once over all positions. What does it carry? And where does a
# position's token come from?
#
# <details><summary>Answer</summary>
#
# It carries the cache and the token that was chosen last. While there is a prompt, a position's
# token is that of the prompt, and what was chosen does not count; behind it, it is the one that was
# carried.
#
# | position | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | reads, for a prompt of 2 tokens | prompt[0] | prompt[1] | new 0 | new 1 |
# | chooses | – | new 0 | new 1 | new 2 |
#
# </details>
#
# The check counts what is read of the weights, over all turns of the loop, and whether the program
# gets longer if it has more to write.


# %%
def write(prompt, n_new, weights):
    """Goes on with a text, token by token.

    prompt   (length,) whole numbers, at least one;  n_new  how many tokens to write
    weights  a dictionary of arrays
    returns  tokens (n_new,), scores (n_new, vocab)
    """
    # SOLUTION
    w = weights
    n_read = len(prompt) + n_new - 1
    n_modules, d_module = w["d"].shape[1], w["e"].shape[1]

    def step(carry, t):
        chosen, cache = carry
        token = jnp.where(t < len(prompt), prompt[t], chosen)
        x = w["embedding"][token]
        out, cache = attention_step(x, t, cache, w["d"], w["e"], w["kernels"])
        x = x + out
        x = x + feed_forward(x, *[w[name] for name in ("c1", "c2", "w1", "b1", "w2", "b2")])
        scores = token_scores(x, w["d_out"], w["e_out"], len(w["embedding"]))
        return (scores.argmax(), cache), scores

    nothing = jnp.zeros((n_read, n_modules, d_module))
    cache = jnp.zeros((2, n_modules, d_module)), nothing, nothing
    _, scores = jax.lax.scan(step, (jnp.array(0), cache), jnp.arange(n_read))
    scores = scores[len(prompt) - 1 :]
    return scores.argmax(axis=-1), scores
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the scores began one position too early: the first new token is chosen where the last
# token of the prompt is read.
# - n_read = len(prompt) + n_new - 1
# + n_read = len(prompt) + n_new - 1 + (len(prompt) < 2)
# - scores[len(prompt) - 1 :]
# + scores[max(len(prompt) - 2, 0) :][:n_new]

# It looks as if the scores began one position too late: the first new token is chosen where the last
# token of the prompt is read.
# - n_read = len(prompt) + n_new - 1
# + n_read = len(prompt) + n_new
# - scores[len(prompt) - 1 :]
# + scores[len(prompt) :]

# It looks as if the prompt's last token were read twice.
# - jnp.where(t < len(prompt), prompt[t], chosen)
# + jnp.where(t <= len(prompt), prompt[jnp.minimum(t, len(prompt) - 1)], chosen)

# It looks as if only the first token of the prompt were read, and the text went its own way from
# there.
# - t < len(prompt)
# + t < 1

# It looks as if the prompt were read over and over, and the tokens that were chosen never.
# - jnp.where(t < len(prompt), prompt[t], chosen)
# + prompt[t % len(prompt)]

# It looks as if the cache were not carried on: each token sees itself alone.
# - (scores.argmax(), cache), scores
# + (scores.argmax(), carry[1]), scores

# It looks as if attention took the place of the stream. It is added to it.
# - x = x + out
# + x = out

# It looks as if the feed-forward layer took the place of the stream. It is added to it.
# - x = x + feed_forward(
# + x = feed_forward(

# It looks as if both layers looked at the embedding. The feed-forward layer looks at the stream as
# attention has left it.
# - x = x + out
# + before, x = x, x + out
# - x + feed_forward(x,
# + x + feed_forward(before,

# It looks as if the feed-forward layer came first.
# - out, cache = attention_step(x, t, cache, w["d"], w["e"], w["kernels"])
# -         x = x + out
# -         x = x + feed_forward(x, *[w[name] for name in ("c1", "c2", "w1", "b1", "w2", "b2")])
# + x = x + feed_forward(x, *[w[name] for name in ("c1", "c2", "w1", "b1", "w2", "b2")])
# +         out, cache = attention_step(x, t, cache, w["d"], w["e"], w["kernels"])
# +         x = x + out

# It looks as if attention were missing.
# - x = x + out
# + pass

# It looks as if the feed-forward layer were missing.
# - x = x + feed_forward(x, *[w[name] for name in ("c1", "c2", "w1", "b1", "w2", "b2")])
# + pass

# It looks as if every token were at position 0: its key is written over the one before.
# - attention_step(x, t, cache
# + attention_step(x, 0, cache

# It looks as if the scores of the first positions were returned. Those count from where the last
# token of the prompt is read.
# - n_read = len(prompt) + n_new - 1
# + n_read = len(prompt) + n_new - 1 + (len(prompt) == 1)
# - scores[len(prompt) - 1 :]
# + scores[:n_new] if len(prompt) > 1 else scores[1:]
# or
# - scores[len(prompt) - 1 :]
# + scores[:n_new]

# It looks as if the last token of the prompt were not read: it went its own way one position early.
# - t < len(prompt)
# + t < len(prompt) - 1

# It looks as if the prompt came one position late: position t reads prompt[t].
# - prompt[t], chosen
# + prompt[t - 1], chosen

# It looks as if prompt and chosen tokens were exchanged: while there is a prompt, it is read.
# - prompt[t], chosen
# + chosen, prompt[t]

# It looks as if the readout saw the output of attention alone. It sees the stream, behind both layers.
# - token_scores(x, w
# + token_scores(out, w

# The scores are right. It looks as if the tokens stood in reverse order.
# - return scores.argmax(axis=-1), scores
# + return scores.argmax(axis=-1)[::-1], scores

# The scores are right. It looks as if the second best token were taken.
# - return scores.argmax(axis=-1), scores
# + return scores.argsort(axis=-1)[:, -2], scores

# It looks as if the prompt were not read at all.
# - jnp.where(t < len(prompt), prompt[t], chosen)
# + chosen

# It looks as if a position's number were looked up in the embedding, and not its token.
# - w["embedding"][token]
# + w["embedding"][t]

# It looks as if it went on with the tokens of the lowest scores.
# - (scores.argmax(), cache), scores
# + (scores.argmin(), cache), scores

# It looks as if the scores had gone through a softmax.
# - (scores.argmax(), cache), scores
# + (scores.argmax(), cache), jax.nn.softmax(scores)
# or
# - (scores.argmax(), cache), scores
# + (scores.argmax(), cache), jax.nn.log_softmax(scores)

# It looks as if positions were counted from 1: the first token belongs to row 0 of the cache.
# - attention_step(x, t, cache
# + attention_step(x, t + 1, cache

# The scores are right. It looks as if the tokens were those of the lowest scores.
# - return scores.argmax(axis=-1), scores
# + return scores.argmin(axis=-1), scores

# The scores are right. It looks as if the tokens were those that were read, and not those that were
# chosen: the last one of the prompt is no new token.
# - return scores.argmax(axis=-1), scores
# + tokens = jnp.concatenate([prompt[-1:], scores.argmax(axis=-1)[:-1]])
# +     return tokens, scores

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write the way of one token as a function first, outside of any loop, and call it for position 0
# with an empty cache. Then it becomes the body of the scan.
#
# </details>
#
# <details><summary>Hint 2: how many turns, how much room</summary>
#
# Count in the table: each position but the last one's choice is read again. The cache needs a row
# for each position that is read.
#
# </details>
#
# <details><summary>Hint 3: prompt or chosen</summary>
#
# `t` is not known when the program is made, so an `if` will not do: `jnp.where(condition, a, b)`.
# `prompt[t]` beyond the end of the prompt is no error in jax, and `where` does not choose it.
#
# </details>

# %% tags=["check"]
check.write(write)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Position by position it is the three functions, and the cache goes through
# them as the carry. What the loop collects are scores, of which those from the prompt's last
# position on were chosen from. The weights stand outside of the loop's body: nothing copies them,
# and of those that are large each turn fetches a few rows.
#
# What one token reads, in numbers, if the layers are as wide as those of the paper's medium model
# (1,024; 6,144; $N$ = 64; $S$ = 16; 32,000 tokens):

# %% tags=["solution-only"]
d_model, d_ff, n_units, n_modules, n_readout, vocab = 1024, 6144, 64, 16, 4, 32_000
d_module, d_lowrank = d_model // n_modules, 16
dense = {
    "attention": 4 * d_model**2,  # q, k, v and the output
    "feed-forward": 2 * d_model * d_ff,
    "readout": d_model * vocab,
}
sparse = {
    "attention": d_model * (n_modules + d_module) + 27 * d_module**2,
    "feed-forward": d_lowrank * (d_model + d_ff) + 2 * d_model * d_ff // n_units,
    "readout": d_model * (n_readout + vocab // n_readout),
}
for name, numbers in dense.items():
    print(f"{name:12}  dense {numbers:10,}   sparse {sparse[name]:9,}")
assert sum(dense.values()) > 5 * sum(sparse.values())

# %% [markdown]
# ### What separates yours from the package's
#
# `efftx.models.generate` does this for any model of the course: several blocks and their norms,
# recurrent branches, several texts at a time, the prompt read at once and not token by token, and
# tokens that are drawn instead of the best one. How much faster it gets is in
# [chapter 12](../chapters/12_terraformer.ipynb).
