# %% [markdown]
# # Exercise 03 · Reversible layers
#
# <!-- measured -->
#
# In [the chapter](../chapters/03_reversible_layers.ipynb) a deep network was run backwards. Here
# you write that yourself: first one block, then a stack with dropout, then its gradients.
# Afterwards you can
#
# * undo a reversible block, and say why the order matters;
# * say what must be replayed on the way down, and what may be rebuilt;
# * take the gradient of one coupling with `jax.vjp`, at the right point;
# * write the backward pass of a whole stack that has stored none of its activations;
# * hand it to JAX as the backward pass of a real `jax.custom_vjp`;
# * say for which networks all this is no gain.
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

from efftx.check import reversible_layers as check

# %% [markdown]
# ## Part 1: Undo a block · ★☆☆ · 10 minutes
#
# The Reformer's block has two streams and two branches, $F$ (attention) and $G$ (feed-forward):
#
# $$y_1 = x_1 + F(x_2), \qquad y_2 = x_2 + G(y_1).$$
#
# Ours are as small as can be, $F(x) = \tanh(x W_F)$ and $G(x) = \tanh(x W_G)$. Write
# `undo_block(y1, y2, w_f, w_g)`, which returns `(x1, x2)`, the two streams as they were.
#
# By hand, with one number in each stream, $W_F = W_G = 1$, and tanh replaced by squaring, so that
# you can do it in your head. From $x_1 = 1$, $x_2 = 2$ the block makes $y_1 = 1 + 2^2 = 5$ and
# $y_2 = 2 + 5^2 = 27$. You are given 5 and 27. Which of the two inputs can you find first?
#
# <details><summary>Answer</summary>
#
# $x_2$. The block added $G(y_1) = 25$ to it, and $y_1 = 5$ is known: $27 - 25 = 2$. Only then is
# $x_1$ within reach: $5 - 2^2 = 1$. Squaring cannot be inverted, 4 may come from 2 or from -2, and
# it does not matter: nobody inverts it.
#
# </details>


# %%
def undo_block(y1, y2, w_f, w_g):
    """The streams before the block.

    y1, y2    (length, d): what the block left
    w_f, w_g  (d, d): the branches are F(x) = tanh(x @ w_f) and G(x) = tanh(x @ w_g)
    returns   x1, x2, each (length, d)
    """
    # SOLUTION
    x2 = y2 - jnp.tanh(y1 @ w_g)
    x1 = y1 - jnp.tanh(x2 @ w_f)
    return x1, x2
    # END SOLUTION

# %% tags=["mistakes"]
# x2 is right. But x1 looks like y1 - F(y2): the block computed F at x2, and that is what you have
# just rebuilt. Take F there.
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x1 = y1 - jnp.tanh(y2 @ w_f)

# It looks as if the block were undone in the order in which it was done. What came last must go
# first: x2 needs only what is known, y1 and y2; then x1.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x1 = y1 - jnp.tanh(y2 @ w_f)
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x2 = y2 - jnp.tanh(x1 @ w_g)

# It looks as if x1 and x2 were exchanged: return (x1, x2).
# - return x1, x2
# + return x2, x1

# It looks as if F and G were exchanged: G, with w_g, was added to the second stream.
# - y1 @ w_g
# + y1 @ w_f
# - x2 @ w_f
# + x2 @ w_g

# It looks as if the branches were added once more. To undo an addition, subtract.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x2 = y2 + jnp.tanh(y1 @ w_g)
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x1 = y1 + jnp.tanh(x2 @ w_f)

# x2 is right, but x1 is still y1: what F added is still in it.
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x1 = y1

# x2 is right. But x1 looks like y1 - F(y1): the block computed F at x2, the other stream.
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x1 = y1 - jnp.tanh(y1 @ w_f)

# It looks as if G were taken at y2, the stream that it was added to. The block ran it on y1.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x2 = y2 - jnp.tanh(y2 @ w_g)

# It looks as if the streams were exchanged: y1 - G(y2) and y2 - F(x1). G was added to the second
# stream, F to the first.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x1 = y1 - jnp.tanh(y2 @ w_g)
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x2 = y2 - jnp.tanh(x1 @ w_f)

# x1 looks right, but x2 is still y2. Or else x1 was taken from y2 as it is: G must be taken off
# first.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x2 = y2

# It looks as if the tanh were forgotten: the branches are tanh(x W).
# - jnp.tanh(y1 @ w_g)
# + y1 @ w_g
# - jnp.tanh(x2 @ w_f)
# + x2 @ w_f

# It looks as if the matrices stood on the wrong side, or transposed: x @ w, as in the block.
# - y1 @ w_g
# + y1 @ w_g.T
# - x2 @ w_f
# + x2 @ w_f.T

# It looks as if the block were run once more, and not undone: y1 + F(y2), y2 + G of that.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x1 = y1 + jnp.tanh(y2 @ w_f)
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x2 = y2 + jnp.tanh(x1 @ w_g)

# It looks as if only F were added once more. To undo an addition, subtract.
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x1 = y1 + jnp.tanh(x2 @ w_f)

# It looks as if the signs were turned round: it is what the block left that something is taken
# off.
# - x2 = y2 - jnp.tanh(y1 @ w_g)
# + x2 = jnp.tanh(y1 @ w_g) - y2
# - x1 = y1 - jnp.tanh(x2 @ w_f)
# + x1 = jnp.tanh(x2 @ w_f) - y1

# It looks as if both branches used w_f. G has w_g.
# - y1 @ w_g
# + y1 @ w_f

# It looks as if both branches used w_g. F has w_f.
# - x2 @ w_f
# + x2 @ w_g

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Solve the second equation for $x_2$, the first for $x_1$. Of which of the two right-hand sides do
# you know everything?
#
# </details>
#
# <details><summary>Hint 2: what came last goes first</summary>
#
# The block computed $y_2$ last, from $y_1$. You have $y_1$, so you can compute $G(y_1)$ again and
# take it off $y_2$.
#
# </details>
#
# <details><summary>Hint 3: the second step</summary>
#
# Now you have $x_2$. Put it into the first equation, and only $x_1$ is unknown there. At which of
# the streams that you have by now did the block run $F$?
#
# </details>

# %% tags=["check"]
check.undo_block(undo_block)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The block was done in two steps, and each step changed one stream by
# something computed from the *other*. That other stream is still there when the step is to be
# undone. So undoing needs the same branch, run in the same direction as before, and a minus.
#
# A plain residual layer $y = x + F(x)$ changes the stream that $F$ looked at. To undo it, one
# would have to solve $x = y - F(x)$ for $x$, which stands on both sides.

# %% tags=["solution-only"]
w_f, w_g = jnp.eye(2), 2 * jnp.eye(2)
x1, x2 = jnp.array([[1.0, -2.0]]), jnp.array([[0.5, 3.0]])
y1 = x1 + jnp.tanh(x2 @ w_f)
y2 = x2 + jnp.tanh(y1 @ w_g)
assert jnp.allclose(jnp.stack(undo_block(y1, y2, w_f, w_g)), jnp.stack([x1, x2]), atol=1e-6)

# %% [markdown]
# ## Part 2: Undo a stack, with dropout · ★★☆ · 15 minutes
#
# Half a block is a *coupling*. It changes one stream and exchanges the two, so that the next
# coupling changes the other one:
#
# $$(a, b) \;\to\; (b, c) \qquad \text{with } c = a + F(b).$$
#
# Two of them are a block. Now a stack of any number, odd or even, and in every branch there is
# dropout, drawn from a seed of its own; and all of them look at a vector `extra`, as all layers of
# a decoder look at the encoder's output. Here is the way forward, complete:


# %%
def branch(w, x, extra, seed):
    """F of one layer: w (d, d), x (length, d), extra (d,), seed an integer -> (length, d)."""
    kept = jax.random.bernoulli(jax.random.key(seed), 0.5, x.shape)
    return jnp.where(kept, 2 * jnp.tanh(x @ w + extra), 0)


def forward(x1, x2, w, extra, seeds):
    """A stack of couplings: w (n_layers, d, d), seeds (n_layers,)."""
    a, b = x1, x2
    for layer in range(len(w)):
        a, b = b, a + branch(w[layer], b, extra, seeds[layer])
    return a, b


# %% [markdown]
# Write `undo_stack(y1, y2, w, extra, seeds)`, which returns `(x1, x2)`: the streams that `forward`
# began with.
#
# Before you write: a colleague draws *new* seeds on the way down, "dropout is random anyway". What
# comes out?
#
# <details><summary>Answer</summary>
#
# Rubbish, from the first step on. What was added to the stream is $F(b)$ with certain entries
# dropped. Subtract it with others dropped, and both errors stay in the stream, and go into the
# branch of the next step. Random numbers need not be stored, but they must be drawn again *the
# same*.
#
# </details>


# %%
def undo_stack(y1, y2, w, extra, seeds):
    """The streams before the stack.

    y1, y2  (length, d): what forward(x1, x2, w, extra, seeds) returned
    w       (n_layers, d, d);  extra (d,);  seeds (n_layers,) integers
    returns x1, x2, each (length, d)
    """
    # SOLUTION
    b, c = y1, y2
    for layer in reversed(range(len(w))):
        a = c - branch(w[layer], b, extra, seeds[layer])
        b, c = a, b
    return b, c
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the layers were undone from the first to the last. The last one was added last,
# so it must go first, and its seed with it.
# -     b, c = y1, y2
# -     for layer in reversed(range(len(w))):
# +     b, c = y1, y2
# +     for layer in range(len(w)):

# The weights go from the last layer to the first, but it looks as if the seeds went from the
# first to the last: each layer's dropout must be drawn from its own seed again.
# - a = c - branch(w[layer], b, extra, seeds[layer])
# + a = c - branch(w[layer], b, extra, seeds[len(w) - 1 - layer])

# It looks as if all layers used the first layer's seed. Each has its own.
# - a = c - branch(w[layer], b, extra, seeds[layer])
# + a = c - branch(w[layer], b, extra, seeds[0])

# It looks as if new dropout were drawn, from seed + 1. What is subtracted must be exactly what
# was added: draw it from the same seed.
# - a = c - branch(w[layer], b, extra, seeds[layer])
# + a = c - branch(w[layer], b, extra, seeds[layer] + 1)

# It looks as if the branches were added once more. To undo an addition, subtract.
# - a = c - branch(w[layer], b, extra, seeds[layer])
# + a = c + branch(w[layer], b, extra, seeds[layer])

# It looks as if the branch ran on c, the stream that was changed. It ran on b, the one that was
# not, and so you still have what it saw.
# - a = c - branch(w[layer], b, extra, seeds[layer])
# + a = c - branch(w[layer], c, extra, seeds[layer])

# It looks as if only the last layer were undone. Does the `return` stand inside the loop?
# -         b, c = a, b
# -     return b, c
# +         return a, b

# It looks as if the first layer were left out. Does your loop stop too early?
# -     b, c = y1, y2
# -     for layer in reversed(range(len(w))):
# +     b, c = y1, y2
# +     for layer in reversed(range(1, len(w))):

# It looks as if the streams were not exchanged back: (b, c) becomes (a, b) with a = c - F(b).
# -         b, c = a, b
# +         c = a

# It looks as if x1 and x2 were exchanged: return (x1, x2).
# - return b, c
# + return c, b

# It looks as if all layers used the last layer's seed. Each has its own.
# - extra, seeds[layer])
# + extra, seeds[-1])

# It looks as if the layer's number were its seed. It is seeds[layer].
# - extra, seeds[layer])
# + extra, layer)

# It looks as if all layers had the first one's weights.
# - branch(w[layer], b
# + branch(w[0], b

# It looks as if all layers had the last one's weights.
# - branch(w[layer], b
# + branch(w[-1], b

# It looks as if there were no dropout on the way down. What is subtracted must be what was added:
# call `branch` with the layer's seed.
# - branch(w[layer], b, extra, seeds[layer])
# + jnp.tanh(b @ w[layer] + extra)
# or
# - branch(w[layer], b, extra, seeds[layer])
# + 2 * jnp.tanh(b @ w[layer] + extra)

# It looks as if `extra` were left out.
# - branch(w[layer], b, extra, seeds[layer])
# + branch(w[layer], b, 0 * extra, seeds[layer])

# It looks as if the last layer were left out: `range(len(w) - 1)` does not reach it.
# - reversed(range(len(w)))
# + reversed(range(len(w) - 1))

# It looks as if the streams were exchanged once too often, before the first step down.
# - b, c = y1, y2
# + b, c = y2, y1

# It looks as if the stack were run once more, and not undone.
# - for layer in reversed(range(len(w))):
# -         a = c - branch(w[layer], b, extra, seeds[layer])
# -         b, c = a, b
# + for layer in range(len(w)):
# +         b, c = c, b + branch(w[layer], c, extra, seeds[layer])

# It looks as if one layer at a time were undone from y1 and y2 again. Go on from what the step
# before has rebuilt.
# - a = c - branch(w[layer], b
# + b, c = y1, y2
# +         a = c - branch(w[layer], b

# It looks as if the branch's sign were turned round: it is what the layer left that something is
# taken off.
# - c - branch(w[layer], b, extra, seeds[layer])
# + branch(w[layer], b, extra, seeds[layer]) - c

# It looks as if nothing were undone: these are y1 and y2.
# - return b, c
# + return y1, y2

# %% [markdown]
# <details><summary>Hint 1: one step</summary>
#
# The last coupling left $(b, c)$, with $c = a + F(b)$. You know $b$. What is $a$? And in which
# order do $a$ and $b$ stand before the coupling?
#
# </details>
#
# <details><summary>Hint 2: the loop</summary>
#
# What was added last must be taken away first. `reversed(range(len(w)))` counts from the last layer
# down to 0. Use the layer's own weights *and* its own seed.
#
# </details>
#
# <details><summary>Hint 3: one turn of the loop</summary>
#
# A turn starts from a pair and ends with a pair. The new pair is $(a, b)$; in which variables does
# the next turn look for it? Try it on paper with two layers, until you are back at $(x_1, x_2)$.
#
# </details>

# %% tags=["check"]
check.undo_stack(undo_stack)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Each turn of the loop takes $(b, c)$ to $(a, b)$, the very pair that the
# coupling started from, so the next turn finds what it needs. The seeds travel with the weights.
# This is the place where several published implementations went wrong at first: their dropout was
# drawn from a global stream of random numbers, which had moved on by the time of the backward pass.
# With JAX's keys there is nothing to go wrong as long as the same key is passed.

# %% tags=["solution-only"]
w, extra, seeds = jax.random.normal(jax.random.key(0), (5, 3, 3)), jnp.ones(3), jnp.arange(5)
x1, x2 = jax.random.normal(jax.random.key(1), (2, 4, 3))
results = forward(x1, x2, w, extra, seeds)
assert jnp.allclose(
    jnp.stack(undo_stack(*results, w, extra, seeds)), jnp.stack([x1, x2]), atol=1e-5
)

# %% [markdown]
# ## Part 3: One coupling's gradients · ★★☆ · 20 minutes
#
# On the way down we do not only want the streams back, we want gradients. One coupling at a time:
# you are given what it left, $(b, c)$, and the gradients of the loss for these two, `g_b` and
# `g_c`. Write `backward_coupling(b, c, g_b, g_c, w, extra, seed)`. It returns five arrays:
#
# * `a`, rebuilt as in Part 2;
# * `g_a` and `g_b`, the gradients of the loss for the coupling's *inputs* $a$ and $b$;
# * `g_w` and `g_extra`, those for its weights and for `extra`.
#
# Remember what goes where: $b$ comes out twice, once unchanged and once through $F$ inside
# $c = a + F(b)$.
#
# `jax.vjp` does the differentiating:
#
#     y, pull_back = jax.vjp(f, *points)     # y = f(*points)
#     gradients = pull_back(g)               # one for each of the points; g is y's gradient
#
# A case in numbers. Let $F(b) = w b$, without dropout, with $w = 3$, $b = 2$ and $a = 1$, so that
# $c = 7$. Let the gradients that come in be `g_b` = 10 and `g_c` = 1. Which are `g_a`, the new
# `g_b`, and `g_w`?
#
# <details><summary>Answer</summary>
#
# `g_a` = 1: when $a$ grows by a little, so does $c$. The new `g_b` is 10 + 3 · 1 = 13: directly,
# and through $F$ with its slope 3. `g_w` = 2, which is $b$, times `g_c`.
#
# </details>


# %%
def backward_coupling(b, c, g_b, g_c, w, extra, seed):
    """From a coupling's results, and their gradients, to its inputs and theirs.

    b, c, g_b, g_c  (length, d);  w (d, d);  extra (d,);  seed an integer
    returns         a, g_a, g_b (length, d); g_w (d, d); g_extra (d,)
    """

    # SOLUTION
    def f(w, x, extra):
        return branch(w, x, extra, seed)

    y, pull_back = jax.vjp(f, w, b, extra)
    g_w, g_through, g_extra = pull_back(g_c)
    return c - y, g_c, g_b + g_through, g_w, g_extra
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the vjp were taken at the wrong point, at c. The branch ran on b: take it there.
# - jax.vjp(f, w, b, extra)
# + jax.vjp(f, w, c, extra)

# It looks as if the vjp were taken at the wrong point, at the rebuilt a. The branch ran on b,
# which needs no rebuilding.
# - y, pull_back = jax.vjp(f, w, b, extra)
# + y = f(w, b, extra)
# +     pull_back = jax.vjp(f, w, c - y, extra)[1]

# g_b looks like what comes back through the branch alone. b was also passed on unchanged: add the
# g_b that came in.
# - return c - y, g_c, g_b + g_through, g_w, g_extra
# + return c - y, g_c, g_through, g_w, g_extra

# g_b is still the one that came in. c depends on b too, through the branch: add what the vjp
# gives for x.
# - return c - y, g_c, g_b + g_through, g_w, g_extra
# + return c - y, g_c, g_b, g_w, g_extra

# g_a looks like the g_b that came in. Only c = a + F(b) depends on a, with slope 1: its gradient
# is that of c.
# - return c - y, g_c, g_b + g_through, g_w, g_extra
# + return c - y, g_b, g_b + g_through, g_w, g_extra

# It looks as if a minus had slipped into the gradients. The minus belongs to rebuilding, a = c -
# F(b). The gradients are those of the way forward, c = a + F(b).
# - pull_back(g_c)
# + pull_back(-g_c)

# It looks as if g_b were pulled back through the branch. Its result went into c: pull back g_c.
# - pull_back(g_c)
# + pull_back(g_b)

# It looks as if the gradient of `extra` were dropped: it is 0. The branch looks at it, so the vjp
# must be taken for it too.
# - return c - y, g_c, g_b + g_through, g_w, g_extra
# + return c - y, g_c, g_b + g_through, g_w, 0 * g_extra

# The gradients are right, but it looks as if F(b) were added to c once more. To rebuild a,
# subtract it.
# - return c - y, g_c, g_b + g_through, g_w, g_extra
# + return c + y, g_c, g_b + g_through, g_w, g_extra

# It looks as if g_a were a gradient pulled back through the branch. c = a + F(b) depends on a with
# the slope 1: g_a is g_c.
# - return c - y, g_c, g_b
# + return c - y, g_through, g_b

# It looks as if g_a had got the g_b that came in as well. a goes into c only.
# - return c - y, g_c, g_b
# + return c - y, g_c + g_b, g_b

# It looks as if g_b had got g_c as well. b reaches c only through the branch.
# - g_b + g_through
# + g_b + g_c + g_through

# It looks as if a gradient through the branch were taken off g_b. It is added: the minus belongs
# to rebuilding.
# - g_b + g_through
# + g_b - g_through

# It looks as if another dropout had been drawn: the seed must be the one that was passed in.
# - branch(w, x, extra, seed)
# + branch(w, x, extra, seed + 1)

# It looks as if `extra` were left out of the branch.
# - branch(w, x, extra, seed)
# + branch(w, x, 0 * extra, seed)

# It looks as if the gradient of w were transposed.
# - return c - y, g_c, g_b + g_through, g_w, g_extra
# + return c - y, g_c, g_b + g_through, g_w.T, g_extra

# It looks as if c were returned in the place of a. Take F(b) off.
# - return c - y,
# + return c,

# It looks as if b were returned in the place of a.
# - return c - y,
# + return b,

# It looks as if F(b) were returned in the place of a. It is c - F(b).
# - return c - y,
# + return y,

# It looks as if a were rebuilt from b: a = b - F(b). It is c that F(b) was added to.
# - return c - y,
# + return b - y,

# It looks as if g_a and g_b were exchanged.
# - g_c, g_b + g_through, g_w
# + g_b + g_through, g_c, g_w

# It looks as if a vector of ones were pulled back. It is g_c, the gradient of what F was added to.
# - pull_back(g_c)
# + pull_back(jnp.ones_like(g_c))

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First write down, on paper, the derivatives of $c = a + F(b)$ for $a$, $b$, $w$ and `extra`. Only
# one of the two gradients that come in has to go through $F$. Which?
#
# </details>
#
# <details><summary>Hint 2: the function to differentiate</summary>
#
# `jax.vjp` wants a function of exactly what you want gradients for. The seed has none, so leave it
# outside:
#
#     def f(w, x, extra):
#         return branch(w, x, extra, seed)
#
# At which `x` did the coupling run it?
#
# </details>
#
# <details><summary>Hint 3: one evaluation is enough</summary>
#
# `jax.vjp` also returns the value $y = F(b)$. You need it anyway: $a = c - y$.
#
# </details>
#
# <details><summary>Hint 4: five results</summary>
#
# `pull_back` gives three gradients. Two of them are results as they are. The third goes into the
# new `g_b`; what else has to be in there? The other two results, $a$ and `g_a`, need no
# derivative.
#
# </details>

# %% tags=["check"]
check.backward_coupling(backward_coupling)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Backpropagation of two lines, `b_out = b` and `c = a + F(b)`. The minus of
# $a = c - F(b)$ has no place in the gradients: it rebuilds the point, while the gradients are those
# of the way forward. And the point of $F$ is $b$, which nobody had to rebuild: the rebuilt $a$ is
# needed by the *next* step only.
#
# One evaluation of the branch gives both the value to subtract and the pull-back. So the backward
# pass costs one forward of each branch more than ordinary backpropagation, and not two.

# %% tags=["solution-only"]
one = jnp.ones((1, 1))
a, g_a, g_b, g_w, g_extra = backward_coupling(2 * one, 7 * one, 10 * one, one, 3 * one, one[0], 4)


def loss(a, b, w, extra):  # its gradients for b_out and c are 10 and 1
    return (10 * b + a + branch(w, b, extra, 4)).sum()


expected = jax.grad(loss, argnums=(0, 1, 2, 3))(a, 2 * one, 3 * one, one[0])
assert all(map(jnp.allclose, (g_a, g_b, g_w, g_extra), expected))

# %% [markdown]
# ## Part 4: The whole backward pass · ★★★ · 25 minutes
#
# Now all the way down. Write `backward_stack(y1, y2, g1, g2, w, extra, seeds)`: from the results of
# `forward`, and the gradients `g1`, `g2` of the loss for them, to
#
# * `x1`, `x2`, the rebuilt inputs, and `g_x1`, `g_x2`, their gradients;
# * `g_w`, shape `(n_layers, d, d)`: each layer's own, in the order of `w`;
# * `g_extra`, shape `(d,)`: there is one `extra`, and every layer looks at it.
#
# Nothing but what is passed in is known: no activation was stored. Use your `backward_coupling`.
#
# The check also looks at what your function holds at once, line by line as you wrote it, for 2
# layers and for 10. Besides the weights' gradients, which are a result, nothing may grow. A
# colleague rebuilds $x_1$ and $x_2$ with Part 2, and then takes `jax.vjp` of `forward` there. All
# his numbers are right. Does he pass?
#
# <details><summary>Answer</summary>
#
# No. `jax.vjp` runs `forward` anew and stores what every layer saw, for it knows nothing of
# undoing. So everything is there at once, and rebuilding was in vain.
#
# </details>


# %%
def backward_stack(y1, y2, g1, g2, w, extra, seeds):
    """From the results of a stack, and their gradients, to its inputs and all gradients.

    y1, y2, g1, g2  (length, d);  w (n_layers, d, d);  extra (d,);  seeds (n_layers,)
    returns         x1, x2, g_x1, g_x2 (length, d); g_w (n_layers, d, d); g_extra (d,)
    """
    # SOLUTION
    b, c, g_b, g_c = y1, y2, g1, g2
    g_ws, g_extra = [], jnp.zeros_like(extra)
    for layer in reversed(range(len(w))):
        a, g_a, g_b, g_w, g_seen = backward_coupling(b, c, g_b, g_c, w[layer], extra, seeds[layer])
        b, c, g_b, g_c = a, b, g_a, g_b
        g_ws.append(g_w)
        g_extra += g_seen
    return b, c, g_b, g_c, jnp.stack(g_ws[::-1]), g_extra
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the layers were taken from the first to the last. Both rebuilding and gradients
# go from the last to the first.
# - jnp.zeros_like(extra)
# -     for layer in reversed(range(len(w))):
# + jnp.zeros_like(extra)
# +     for layer in range(len(w)):
# - g_ws[::-1]
# + g_ws

# It looks as if g_w were stacked in the order in which it was computed, the last layer's first.
# Turn it round: g_w[i] belongs to w[i].
# - g_ws[::-1]
# + g_ws

# It looks as if g_extra were that of the first layer alone. Does the loop write over it? All
# layers look at `extra`: add their gradients up.
# - g_extra += g_seen
# + g_extra = g_seen

# It looks as if the gradient of `extra` were dropped: it is 0.
# - g_extra += g_seen
# + pass

# It looks as if g_extra were a mean over the layers. Gradients of what is used several times add
# up.
# - g_extra += g_seen
# + g_extra += g_seen / len(w)

# It looks as if all gradients were taken at y1. Each layer saw another stream: go on from the a
# and b that the step before has rebuilt.
# - b, c, g_b, g_c = a, b, g_a, g_b
# + g_b, g_c = g_a, g_b
# - return b, c, g_b
# + return y2, y1, g_b

# It looks as if all layers used the first layer's seed. Each has its own.
# - g_c, w[layer], extra, seeds[layer])
# + g_c, w[layer], extra, seeds[0])

# It looks as if new dropout were drawn, from seed + 1. The gradient is that of what was computed:
# draw it from the same seed.
# - g_c, w[layer], extra, seeds[layer])
# + g_c, w[layer], extra, seeds[layer] + 1)

# x1 and x2 are right, but it looks as if their gradients were exchanged.
# - return b, c, g_b, g_c, jnp
# + return b, c, g_c, g_b, jnp

# It looks as if all layers used the last layer's seed. Each has its own.
# - g_c, w[layer], extra, seeds[layer])
# + g_c, w[layer], extra, seeds[-1])

# It looks as if all layers had the first one's weights.
# - g_c, w[layer], extra
# + g_c, w[0], extra

# The streams are right, but it looks as if their gradients were not exchanged from layer to layer:
# the new (g_b, g_c) is (g_a, g_b).
# - = a, b, g_a, g_b
# + = a, b, g_b, g_a

# The streams are right, but it looks as if g1 and g2 were handed to every layer. Go on with the
# gradients that the layer above has found.
# - = a, b, g_a, g_b
# + = a, b, g1, g2

# It looks as if x1 and x2 were exchanged, and their gradients with them.
# - return b, c, g_b, g_c, jnp
# + return c, b, g_c, g_b, jnp

# The gradients are right, but it looks as if x1 and x2 were exchanged.
# - return b, c, g_b, g_c, jnp
# + return c, b, g_b, g_c, jnp

# It looks as if g1 and g2 were exchanged when the loop began.
# - = y1, y2, g1, g2
# + = y1, y2, g2, g1

# It looks as if y1 and y2 were exchanged when the loop began.
# - = y1, y2, g1, g2
# + = y2, y1, g1, g2

# It looks as if the first layer were left out. Does your loop stop too early?
# - reversed(range(len(w)))
# + reversed(range(min(1, len(w) - 1), len(w)))
# - jnp.stack(g_ws[::-1])
# + jnp.stack([0 * w[0]] * (len(w) - len(g_ws)) + g_ws[::-1])

# It looks as if all layers had the gradient of the last layer's weights, or of the first one's:
# each has its own.
# - jnp.stack(g_ws[::-1])
# + jnp.stack([g_ws[0]] * len(w))
# or
# - jnp.stack(g_ws[::-1])
# + jnp.stack([g_ws[-1]] * len(w))

# It looks as if the gradients of all layers' weights were added up. Each layer has weights of its
# own.
# - jnp.stack(g_ws[::-1])
# + jnp.stack([sum(g_ws)] * len(w))

# It looks as if y1 and y2 were returned in the place of the rebuilt streams.
# - return b, c, g_b
# + return y1, y2, g_b

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# It is the loop of Part 2 with `backward_coupling` in it. The gradients are exchanged just like the
# streams.
#
# </details>
#
# <details><summary>Hint 2: what is collected</summary>
#
# The loop meets the last layer first. Collect the `g_w` in a list and turn it round before
# `jnp.stack`. For `extra` start from zeros and add.
#
# </details>
#
# <details><summary>Hint 3: what goes on</summary>
#
# `backward_coupling` returns $a$ and the gradients for $(a, b)$. This pair is what the layer below
# has left: it is the next turn's $(b, c)$.
#
# </details>
#
# <details><summary>Hint 4: what a turn begins with</summary>
#
# A turn begins with four arrays and one layer's weights and seed, calls `backward_coupling`, and
# has to leave four arrays under the same names. Compare the order in which they come with the
# order in which the layer below wants them. Two things leave the loop on the way: one is
# collected, one is added up.
#
# </details>

# %% tags=["check"]
check.backward_stack(backward_stack)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** The loop carries four arrays, however many layers there are: two streams and
# their two gradients. That is the whole point. Weights and their gradients exist for each layer, as
# in any training; activations do not.
#
# `extra` is one vector with `n_layers` uses, so its gradient is the sum over them. Forget it, and
# an encoder-decoder would train its decoder only: no gradient would ever reach the encoder.

# %% [markdown]
# ## Part 5: Into JAX · ★★☆ · 15 minutes
#
# `jax.custom_vjp` makes of a function one that brings its own backward pass:
#
#     run = jax.custom_vjp(f)                 # values as ever: run(a, b, n) = f(a, b, n)
#
#     def keep(a, b, n):                      # called instead of f when a gradient is wanted
#         return f(a, b, n), what_to_keep
#
#     def pull_back(kept, g):                 # g is the gradient of what f returned, in its form
#         return g_a, g_b, None               # one for each argument; None where there is none
#
#     run.defvjp(keep, pull_back)
#
# Write `make_stack()`. It takes no arguments and returns such a function of
# `(x1, x2, w, extra, seeds)`: it computes what `forward` computes, and its backward pass is your
# `backward_stack`.
#
# What is kept lives from the forward pass to the backward pass. Which of these does
# `backward_stack` need, and what may go: `x1` and `x2`, `y1` and `y2`, `w`, `extra`, `seeds`, the
# streams in between?
#
# <details><summary>Answer</summary>
#
# It begins at the top, with `y1` and `y2`, and needs `w`, `extra` and `seeds`, which are there
# anyway. `x1` and `x2` are rebuilt at the end, and the streams in between on the way.
#
# </details>


# %%
def make_stack():
    """A function (x1, x2, w, extra, seeds) -> (y1, y2) whose backward pass stores nothing."""
    # SOLUTION
    stack = jax.custom_vjp(forward)

    def keep(x1, x2, w, extra, seeds):
        y1, y2 = forward(x1, x2, w, extra, seeds)
        return (y1, y2), (y1, y2, w, extra, seeds)

    def pull_back(kept, gradients):
        y1, y2, *layers = kept
        _, _, g_x1, g_x2, g_w, g_extra = backward_stack(y1, y2, *gradients, *layers)
        return g_x1, g_x2, g_w, g_extra, None

    stack.defvjp(keep, pull_back)
    return stack
    # END SOLUTION

# %% tags=["mistakes"]
# The results are right. It looks as if x1 and x2 were kept and undone from: `backward_stack` begins
# with what the stack returned.
# - (y1, y2, w, extra, seeds)
# -
# + (x1, x2, w, extra, seeds)
# +

# The results are right. It looks as if y1 and y2 were exchanged in what is kept.
# - (y1, y2, w, extra, seeds)
# -
# + (y2, y1, w, extra, seeds)
# +

# The results are right. It looks as if the gradients of y1 and y2 were exchanged on their way into
# `backward_stack`.
# - *gradients, *layers
# + *gradients[::-1], *layers

# The results are right. It looks as if pull_back returned the rebuilt streams in the place of their
# gradients: `backward_stack` returns both, the streams first.
# - _, _, g_x1, g_x2, g_w, g_extra
# + g_x1, g_x2, _, _, g_w, g_extra

# The results are right. It looks as if the gradients of x1 and x2 were exchanged: one for each
# argument, in the arguments' order.
# - return g_x1, g_x2, g_w
# + return g_x2, g_x1, g_w

# The results are right. It looks as if `extra` had got no gradient: None stands for a gradient of
# zeros. Only the seeds have none.
# - g_w, g_extra, None
# + g_w, None, None

# The results are right. It looks as if the weights had got no gradient: None stands for a gradient
# of zeros. Only the seeds have none.
# - g_w, g_extra, None
# + None, g_extra, None

# The gradients are right, but it looks as if y1 and y2 were exchanged in the result.
# - return (y1, y2),
# + return (y2, y1),

# It looks as if x1 and x2 were exchanged on the way in.
# - y1, y2 = forward(x1, x2, w, extra, seeds)
# + y1, y2 = forward(x2, x1, w, extra, seeds)

# The results are right. It looks as if the gradients that came in were returned for x1 and x2.
# They belong to the results: pass them on to `backward_stack`, and return what it finds.
# - return g_x1, g_x2, g_w
# + return *gradients, g_w

# The results are right. It looks as if x1 and x2 had got no gradient: None stands for zeros.
# - return g_x1, g_x2, g_w
# + return None, None, g_w

# The results are right. It looks as if a gradient of ones were pulled back, and not the one that
# came in.
# - *gradients, *layers
# + *map(jnp.ones_like, gradients), *layers

# The results are right. It looks as if the same gradient were passed on for both results.
# - *gradients, *layers
# + gradients[0], gradients[0], *layers
# or
# - *gradients, *layers
# + gradients[1], gradients[1], *layers

# The results are right. It looks as if y1 were kept for both of them.
# - return (y1, y2), (y1, y2, w, extra, seeds)
# + return (y1, y2), (y1, y1, w, extra, seeds)
# or
# - return (y1, y2), (y1, y2, w, extra, seeds)
# + return (y1, y2), (y2, y2, w, extra, seeds)

# The results are right. It looks as if other seeds were kept than those that were used.
# - (y1, y2, w, extra, seeds)
# -
# + (y1, y2, w, extra, seeds + 1)
# +

# The results are right. It looks as if the gradients were divided by something, or multiplied:
# return them as `backward_stack` finds them.
# - return g_x1, g_x2, g_w, g_extra, None
# + return g_x1 / 2, g_x2 / 2, g_w / 2, g_extra / 2, None

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Both functions are small. `keep` calls `forward`, `pull_back` calls `backward_stack`; all else is
# putting things in the order in which the next one wants them.
#
# </details>
#
# <details><summary>Hint 2: what comes in</summary>
#
# `pull_back(kept, gradients)`: the first is whatever `keep` returned as its second result, the
# second a pair, since `forward` returns a pair.
#
# </details>
#
# <details><summary>Hint 3: what goes out</summary>
#
# `backward_stack` returns six things, and `run` has five arguments. Two of the six are no
# gradients, and one of the five has none.
#
# </details>

# %% tags=["check"]
check.make_stack(make_stack)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** `jax.grad` works through it like through any function of jax's own, and
# agrees with what jax finds by storing everything:

# %% tags=["solution-only"]
def loss_of(run, x1, x2, w, extra):
    y1, y2 = run(x1, x2, w, extra, seeds)
    return (y1 * y2).sum()


every = (1, 2, 3, 4)  # the gradients of x1, x2, w and extra
rebuilt = jax.grad(loss_of, argnums=every)(make_stack(), x1, x2, w, extra)
stored = jax.grad(loss_of, argnums=every)(forward, x1, x2, w, extra)
for ours, theirs in zip(rebuilt, stored, strict=True):
    assert jnp.allclose(ours, theirs, rtol=1e-3, atol=1e-3)

# %% [markdown]
# ## Part 6: Break it · ★☆☆ · 10 minutes
#
# No activation is stored, so it must always take less memory? The experiment asks the compiler what
# a gradient needs beyond its inputs and results, in units of one stream. There are two contenders,
# both with branches tanh(x W), both as loops of the program:
#
# * `reversible_stack`, which rebuilds;
# * a plain residual stack, $x + F(x)$, with `jax.checkpoint` around each layer: it has *one*
#   stream, keeps each layer's input, and computes all else anew.
#
# **Predict before you run the next cells:** what is the smallest number of layers at which the
# reversible stack takes less? You are right if you are off by a factor of 1.5 at most.
#
# <details><summary>Hint 1: what is carried</summary>
#
# Which arrays does your loop in Part 4 hand from turn to turn? And which does ordinary
# backpropagation, of a network with one stream?
#
# </details>

# %% tags=["exercise-only"]
my_guess = ...  # layers

# %% tags=["solution-only"]
# Going back, the reversible stack carries two streams and two gradients, 4 arrays at any depth. The
# other carries one gradient and has kept an input for each layer: n + 1. Whatever the layer at hand
# needs comes to both. So it takes more than 3 layers.
my_guess = 4

# %% tags=["check"]
from efftx.check import reversible_layers_experiment as experiment
from efftx.plots import show
from efftx.plots.guesses import draw_experiment

predicted = check.worthwhile_depth.predicted(my_guess)
streams = {
    name: {n: experiment.streams(name, n) for n in (2, 4, 8, 16)} for name in experiment.RUNS
}
show(
    draw_experiment(streams, "layers", "streams", predicted=predicted, log="x"),
    "Working memory of a gradient, in streams, against the number of layers. The reversible stack "
    "takes 7 at any depth. With checkpoints it is 5 for two layers and one more for every layer, 7 "
    "for four of them and 19 for sixteen.",
)

# %% tags=["check"]
check.worthwhile_depth(my_guess)

# %% [markdown] tags=["solution-only"]
# **What it means.** Reversibility buys depth, at the price of a second stream and its gradient. For
# four layers checkpoints are as good, and simpler.

# %% [markdown]
# ### What separates yours from the package's
#
# `efftx.memory.reversible_stack` is your `make_stack` with a `lax.scan` in the place of the
# loops (so that 100 layers compile as fast as 2), with any branches in the place of `branch`, and
# with one thing more: *choices*. If a branch takes an argmax, as the hash of LSH attention does, a
# rebuilt input that is off by a rounding error may turn it round. So the forward hands these few
# integers over, and the backward replays them.
