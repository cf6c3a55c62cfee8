# %% [markdown]
# # Capstone · A reversible stack of your own
#
# <!-- measured -->
#
# [Exercise 03](03_reversible_layers.ipynb) took a reversible stack apart, with Python loops. Here
# you build the real thing: one function that jax can differentiate, that takes any two branches,
# and whose gradient needs as much working memory for 32 blocks as for 2. Afterwards you can
#
# * write a stack as one `jax.lax.scan`, forwards and backwards, and say why it has to be one;
# * write the backward pass of a scan, weights and all;
# * give jax a backward pass of your own with `jax.custom_vjp`, and prove what it saves.
#
# **How it works.** Each part has a statement, a function to finish, hints to open one at a time,
# and a check. The check compares values and gradients with those that jax finds by storing
# everything. Then it asks the compiler how many bytes your program takes at two depths, because a
# function that stores everything gives exactly the same numbers.
#
# You need [chapter 03](../chapters/03_reversible_layers.ipynb), and `jax.vjp` from exercise 03.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp

from efftx.check import capstone_memory as check

# %% [markdown]
# ## Part 1: Forward · ★★☆ · 15 minutes
#
# A block has two branches and two streams,
#
# $$y_1 = x_1 + F(x_2), \qquad y_2 = x_2 + G(y_1).$$
#
# The branches are given as functions: `f(w, x)` and `g(w, x)` take one block's weights and a
# stream, and return what is to be added. The weights of all blocks come in one array with the
# blocks along its first axis.
#
# Write `forward(f, g, w_f, w_g, x1, x2)`. It runs all blocks and returns the two streams at the
# end. Let `jax.lax.scan` run the loop:
#
#     carry, outputs = jax.lax.scan(step, start, (w_f, w_g))
#
# calls `step(carry, (one_w_f, one_w_g))`, block after block, and `step` returns the next carry and
# something to be collected (`None` if there is nothing).
#
# Why not a loop of Python? Think of what jax sees of it, before you open the answer.
#
# <details><summary>Answer</summary>
#
# Python's loop is gone when the program is compiled: jax sees every block written out, one after
# the other. The program for 32 blocks is 16 times as long as that for 2, and takes as many times
# longer to compile. And the compiler may reorder what is written out. It may find, for instance,
# that a stream which you rebuild with such care equals one that it has computed on the way up, and
# keep that one instead. What a loop's body has computed is gone when the next turn begins, unless
# it is carried or collected.
#
# </details>


# %%
def forward(f, g, w_f, w_g, x1, x2):
    """The streams behind all blocks.

    f, g      functions, (one block's weights, (length, d)) -> (length, d)
    w_f, w_g  (n_blocks, …) the weights of all blocks
    x1, x2    (length, d)
    returns   y1, y2, each (length, d)
    """

    # SOLUTION
    def block(streams, weights):
        x1, x2 = streams
        one_f, one_g = weights
        y1 = x1 + f(one_f, x2)
        y2 = x2 + g(one_g, y1)
        return (y1, y2), None

    results, _ = jax.lax.scan(block, (x1, x2), (w_f, w_g))
    return results
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if G looked at x1, as it was before the block. It looks at y1, which F has changed.
# - g(one_g, y1)
# + g(one_g, x1)

# It looks as if G looked at its own stream, x2. Then the block could not be undone: G looks at y1.
# - g(one_g, y1)
# + g(one_g, x2)

# It looks as if F looked at its own stream, x1. Then the block could not be undone: F looks at x2.
# - f(one_f, x2)
# + f(one_f, x1)

# It looks as if the streams were exchanged after every block. Here a block changes both, and they
# keep their places.
# - return (y1, y2), None
# + return (y2, y1), None

# It looks as if y1 and y2 were exchanged at the end: return (y1, y2).
# - return results
# + return results[::-1]

# It looks as if the blocks ran from the last to the first.
# - (w_f, w_g))
# + (w_f, w_g), reverse=True)

# It looks as if F and G were exchanged: F, with w_f, changes the first stream.
# - f(one_f, x2)
# + g(one_g, x2)
# - g(one_g, y1)
# + f(one_f, y1)

# It looks as if the streams were not passed on: the branches are there, and x1 and x2 are not
# added to them.
# - x1 + f
# + f
# - x2 + g
# + g

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Write one block first, as a function of the two streams and the two weights. The scan wants its
# arguments in pairs, and its result as a pair: the carry, and what is to be collected.
#
# </details>
#
# <details><summary>Hint 2: what is what</summary>
#
# The carry is what one block hands to the next: both streams. What the scan takes apart, one block
# at a time, are the weights: a tuple of arrays is fine.
#
# </details>

# %% tags=["check"]
check.forward(forward)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** It is the two equations, and a loop that is part of the program. The check
# counted the operations of the program for 2 and for 32 blocks: they are the same, since the body
# of the loop stands there once.

# %% [markdown]
# ## Part 2: Inverse · ★☆☆ · 10 minutes
#
# Write `inverse(f, g, w_f, w_g, y1, y2)`, which returns the streams that the stack began with. Use
# a scan here as well. `jax.lax.scan(…, reverse=True)` takes the last block first.
#
# Which of a block's two inputs do you find first, and what do you need for it?


# %%
def inverse(f, g, w_f, w_g, y1, y2):
    """The streams before all blocks.

    f, g, w_f, w_g  as in forward
    y1, y2          (length, d): what forward returned
    returns         x1, x2, each (length, d)
    """

    # SOLUTION
    def undo(streams, weights):
        y1, y2 = streams
        one_f, one_g = weights
        x2 = y2 - g(one_g, y1)
        x1 = y1 - f(one_f, x2)
        return (x1, x2), None

    inputs, _ = jax.lax.scan(undo, (y1, y2), (w_f, w_g), reverse=True)
    return inputs
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if the first block were undone first. The last one was added last, so it must go
# first.
# - , reverse=True
# +

# x2 is right for one block, but x1 looks like y1 - F(y2). The block ran F on x2, which you have
# just rebuilt.
# - f(one_f, x2)
# + f(one_f, y2)

# It looks as if a block were undone in the order in which it was done. What came last goes first:
# x2, then x1.
# - x2 = y2 - g(one_g, y1)
# + x1 = y1 - f(one_f, y2)
# - x1 = y1 - f(one_f, x2)
# + x2 = y2 - g(one_g, x1)

# It looks as if the branches were added once more. To undo an addition, subtract.
# - y2 - g
# + y2 + g
# - y1 - f
# + y1 + f

# It looks as if x1 and x2 were exchanged: return (x1, x2).
# - return inputs
# + return inputs[::-1]

# It looks as if F and G were exchanged: G, with w_g, was added to the second stream.
# - g(one_g, y1)
# + f(one_f, y1)
# - f(one_f, x2)
# + g(one_g, x2)

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Solve the two equations for $x_1$ and $x_2$. Only one of the two right-hand sides is made of
# things that you have.
#
# </details>
#
# <details><summary>Hint 2: the order of the blocks</summary>
#
# It is the loop of Part 1 with another body, and the last block comes first.
#
# </details>

# %% tags=["check"]
check.inverse(inverse)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Each turn takes the streams behind a block to the very streams before it, up
# to rounding, so that the next turn finds what it needs. No branch was inverted.

# %% [markdown]
# ## Part 3: Backward · ★★★ · 30 minutes
#
# Now rebuild and differentiate in one loop. You are given what the stack returned, `y1` and `y2`,
# and the gradients of the loss for these two, `g1` and `g2`. Write `backward`, which returns the
# gradients for `w_f`, `w_g`, `x1` and `x2`, in this order.
#
# One block first. Read its two lines from the bottom up. The gradients that come in are $g_1$ for
# $y_1$ and $g_2$ for $y_2$.
#
# | line | what it says about gradients |
# |---|---|
# | $y_2 = x_2 + G(y_1)$ | $y_1$ gets, besides $g_1$, what $g_2$ gives when it is pulled back through $G$ |
# | $y_1 = x_1 + F(x_2)$ | $x_2$ gets, besides $g_2$, something pulled back through $F$. Which gradient? |
#
# <details><summary>Answer</summary>
#
# The one of $y_1$ *after* the first line has added its part. $F$ changed $y_1$, and $y_1$ went two
# ways: out of the block, and into $G$.
#
# </details>
#
# `value, pull_back = jax.vjp(branch, weights, x)` gives a branch's value, which you need to
# rebuild, and the function that pulls a gradient back to its weights and to its `x`. What a scan
# collects it puts in the order of the blocks, also with `reverse=True`.
#
# The check looks at bytes: between 2 and 32 blocks nothing may be added to what your program
# keeps, save the gradients of the weights, which are a result.


# %%
def backward(f, g, w_f, w_g, y1, y2, g1, g2):
    """From the results of the stack and their gradients to the gradients of all inputs.

    f, g, w_f, w_g, y1, y2  as in inverse
    g1, g2   (length, d): the gradients of the loss for y1 and y2
    returns  the gradients for w_f, w_g, x1 and x2, of their shapes
    """

    # SOLUTION
    def undo(carry, weights):
        y1, y2, g1, g2 = carry
        one_f, one_g = weights
        added, through_g = jax.vjp(g, one_g, y1)
        g_one_g, more = through_g(g2)
        x2, g1 = y2 - added, g1 + more
        added, through_f = jax.vjp(f, one_f, x2)
        g_one_f, more = through_f(g1)
        x1, g2 = y1 - added, g2 + more
        return (x1, x2, g1, g2), (g_one_f, g_one_g)

    end, (g_w_f, g_w_g) = jax.lax.scan(undo, (y1, y2, g1, g2), (w_f, w_g), reverse=True)
    return g_w_f, g_w_g, *end[2:]
    # END SOLUTION

# %% tags=["mistakes"]
# It looks as if g1 were pulled back through F before G's part was added to it. F changed y1, and
# y1 went into G as well.
# - through_f(g1)
# + through_f(carry[2])

# It looks as if G were differentiated at y2. The block ran it on y1: take the vjp there.
# - added, through_g = jax.vjp(g, one_g, y1)
# + added, through_g = g(one_g, y1), jax.vjp(g, one_g, y2)[1]

# It looks as if F were differentiated at y2, as it was after the block. It ran on x2, which has to
# be rebuilt first.
# - added, through_f = jax.vjp(f, one_f, x2)
# + added, through_f = f(one_f, x2), jax.vjp(f, one_f, y2)[1]

# It looks as if what went past the branches were lost: the gradients that came in are to be added
# to those that were pulled back.
# - g1 + more
# + more
# - g2 + more
# + more

# It looks as if the first block were undone first. Both rebuilding and gradients go from the last
# to the first.
# - , reverse=True
# +

# It looks as if a minus had slipped into the gradients. It belongs to rebuilding; gradients are
# those of the way forward, where the branches are added.
# - g1 + more
# + g1 - more
# - g2 + more
# + g2 - more

# It looks as if the gradients of w_f and w_g were exchanged.
# - return g_w_f, g_w_g,
# + return g_w_g, g_w_f,

# It looks as if the gradients of x1 and x2 were exchanged.
# - *end[2:]
# + *end[:1:-1]

# It looks as if nothing were rebuilt: every block was differentiated at y1 and y2, which only the
# last one has seen.
# - x2, g1 = y2 - added, g1 + more
# + x2, g1 = y2, g1 + more
# - x1, g2 = y1 - added, g2 + more
# + x1, g2 = y1, g2 + more

# It looks as if the gradients of the weights stood in the order in which they were found, the last
# block's first.
# - return g_w_f, g_w_g,
# + return g_w_f[::-1], g_w_g[::-1],

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# The carry has four arrays: the two streams, and the gradient of each. Begin with the body of
# `inverse` and ask at each branch which gradient goes back through it.
#
# </details>
#
# <details><summary>Hint 2: one branch</summary>
#
# For the second line: `added, through_g = jax.vjp(g, one_g, y1)`. Then `added` is what has to be
# taken off $y_2$, and `through_g(…)` returns two gradients, one for the block's weights and one for
# $y_1$. What goes into the brackets?
#
# </details>
#
# <details><summary>Hint 3: what is collected</summary>
#
# A block's two gradients of weights are the second thing that the body returns. The scan stacks
# them, and puts the first block's first.
#
# </details>

# %% tags=["check"]
check.backward(backward)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** Four arrays are carried, whatever the depth. Each branch ran once, for its
# value and its pull-back; both are dropped when the turn ends. Compare what happens if `inverse` is
# called first, and `jax.vjp` then goes through `forward`: the gradients are the same to the last
# digit, and every block's stream is stored on the way. Only the bytes tell.

# %% [markdown]
# ## Part 4: Into jax · ★★☆ · 15 minutes
#
# Now jax shall use it. `jax.custom_vjp` makes of a function one that brings its own backward pass:
#
#     @jax.custom_vjp
#     def run(a, b): …                        # as ever
#
#     def keep(a, b):                         # instead of run, when a gradient is wanted
#         return run(a, b), what_to_keep
#
#     def pull_back(kept, gradients):         # the gradients of the results, as run returns them
#         return gradient_of_a, gradient_of_b # one for each argument
#
#     run.defvjp(keep, pull_back)
#
# Write `make_stack(f, g)`. It returns such a function of `(w_f, w_g, x1, x2)`, which computes what
# `forward` computes, and differentiates as `backward` does.
#
# Whatever you keep lives from the forward pass to the backward pass. What is the least that
# `backward` can do with?


# %%
def make_stack(f, g):
    """A function (w_f, w_g, x1, x2) -> (y1, y2) with a backward pass that stores no activations."""

    # SOLUTION
    @jax.custom_vjp
    def stack(w_f, w_g, x1, x2):
        return forward(f, g, w_f, w_g, x1, x2)

    def keep(w_f, w_g, x1, x2):
        y1, y2 = forward(f, g, w_f, w_g, x1, x2)
        return (y1, y2), (w_f, w_g, y1, y2)

    def pull_back(kept, gradients):
        return backward(f, g, *kept, *gradients)

    stack.defvjp(keep, pull_back)
    return stack
    # END SOLUTION

# %% tags=["mistakes"]
# The results are right. It looks as if x1 and x2 were kept and rebuilt from: `backward` begins
# with what the stack returned.
# - (w_f, w_g, y1, y2)
# + (w_f, w_g, x1, x2)

# The results are right. It looks as if y1 and y2 were exchanged in what is kept.
# - (w_f, w_g, y1, y2)
# + (w_f, w_g, y2, y1)

# The results are right. It looks as if the gradients of y1 and y2 were exchanged on their way into
# `backward`.
# - *gradients)
# + *gradients[::-1])

# The results are right. It looks as if pull_back returned the gradients of the streams first. They
# belong in the order of the arguments: w_f, w_g, x1, x2.
# - return backward(f, g, *kept, *gradients)
# + g_w_f, g_w_g, *streams = backward(f, g, *kept, *gradients)
# +         return g_w_f, g_w_g, *streams[::-1]

# The gradients are right, but it looks as if y1 and y2 were exchanged in the result.
# - y1, y2 = forward(f, g, w_f, w_g, x1, x2)
# -         return (y1, y2),
# + y1, y2 = forward(f, g, w_f, w_g, x1, x2)
# +         return (y2, y1),

# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# `f` and `g` are known to all three functions, since they are defined inside `make_stack`. So they
# need not be passed through custom_vjp at all.
#
# </details>
#
# <details><summary>Hint 2: what to keep</summary>
#
# Look at the arguments of `backward`. Which of them does jax pass to `pull_back` itself?
#
# </details>

# %% tags=["check"]
check.make_stack(make_stack)

# %% [markdown] tags=["solution-only"]
# **Why it is right.** `keep` hands over two streams and the weights, which are there anyway. The
# backward pass returns one gradient for each of the four arguments.
#
# jax uses it like any function of its own. The bytes of both ways, at three depths:

# %% tags=["solution-only"]
from efftx.compiling import planned_bytes


def branch(w, x):
    return jnp.tanh(x @ w)


def kib_of_gradient(run, n_blocks):
    """What a gradient takes beyond its inputs and results, as the compiler plans it."""
    w = jax.ShapeDtypeStruct((n_blocks, 8, 8), jnp.float32)
    x = jax.ShapeDtypeStruct((256, 8), jnp.float32)
    gradient = jax.grad(lambda *inputs: jnp.vdot(*run(*inputs)), argnums=(0, 1, 2, 3))
    return planned_bytes(gradient, w, w, x, x) / 1024


def stored(w_f, w_g, x1, x2):
    return forward(branch, branch, w_f, w_g, x1, x2)


rebuilt = make_stack(branch, branch)
for n_blocks in (2, 8, 32):
    kept, flat = kib_of_gradient(stored, n_blocks), kib_of_gradient(rebuilt, n_blocks)
    print(f"{n_blocks:3} blocks: {kept:6.0f} KiB stored, {flat:4.0f} KiB rebuilt")
assert kib_of_gradient(rebuilt, 32) < 1.5 * kib_of_gradient(rebuilt, 2)
assert kib_of_gradient(stored, 32) > 5 * kib_of_gradient(stored, 2)

# %% [markdown]
# ### What separates yours from the package's
#
# `efftx.memory.reversible_stack` is this function with four things more: dropout keys, which are
# replayed; a second input that all blocks look at, whose gradient is a sum; branches that make a
# choice (the buckets of LSH attention), which is handed over as it was made; and residuals of any
# form, not only these two lines.
