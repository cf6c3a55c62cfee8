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
# * write the backward pass of a whole stack that has stored none of its activations.
#
# At the end your last function becomes the backward pass of a real `jax.custom_vjp`, and JAX
# differentiates through it.
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     x2 = y2 - G(y1)
#     x1 = y1 - F(x2)
#     return x1, x2
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
# <details><summary>Hint 3: in pseudocode</summary>
#
#     b, c = y1, y2
#     for each layer, from the last to the first:
#         a = c - branch(the layer's w, b, extra, the layer's seed)
#         b, c = a, b
#     return b, c
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     y, pull_back = vjp of f at (w, b, extra)
#     g_w, g_through, g_extra = pull_back(g_c)
#     return c - y,  g_c,  g_b + g_through,  g_w,  g_extra
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
# <details><summary>Hint 4: in pseudocode</summary>
#
#     b, c, g_b, g_c = y1, y2, g1, g2
#     for each layer, from the last to the first:
#         a, g_a, g_b, g_w, g_seen = backward_coupling(b, c, g_b, g_c, the layer's w, …)
#         b, c     = a, b
#         g_b, g_c = g_a, g_b
#         put g_w aside; add g_seen to g_extra
#     return b, c, g_b, g_c, the g_w in the order of the layers, g_extra
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
#
# ### Into JAX
#
# `jax.custom_vjp` lets a function bring its own backward pass. The forward says what to keep (the
# results, weights, `extra` and seeds), the backward is yours. From now on `jax.grad` works through
# it, and agrees with what JAX finds by storing everything:

# %% tags=["solution-only"]
stack = jax.custom_vjp(forward)


def keep(*case):
    results = forward(*case)
    return results, (results, *case[2:])


def rebuild(kept, gradients):
    (y1, y2), w, extra, seeds = kept
    _, _, *found = backward_stack(y1, y2, *gradients, w, extra, seeds)
    return *found, None  # seeds have no gradient


stack.defvjp(keep, rebuild)


def loss_of(run, x1, x2, w, extra):
    y1, y2 = run(x1, x2, w, extra, seeds)
    return (y1 * y2).sum()


every = (1, 2, 3, 4)  # the gradients of x1, x2, w and extra
rebuilt = jax.grad(loss_of, argnums=every)(stack, x1, x2, w, extra)
stored = jax.grad(loss_of, argnums=every)(forward, x1, x2, w, extra)
for ours, theirs in zip(rebuilt, stored, strict=True):
    assert jnp.allclose(ours, theirs, rtol=1e-3, atol=1e-3)

# %% [markdown]
# ### What separates yours from the package's
#
# `efftx.memory.reversible_stack` is your `backward_stack` with a `lax.scan` in the place of the
# loop (so that 100 layers compile as fast as 2), with any branches in the place of `branch`, and
# with one thing more: *choices*. If a branch takes an argmax, as the hash of LSH attention does, a
# rebuilt input that is off by a rounding error may turn it round. So the forward hands these few
# integers over, and the backward replays them.
