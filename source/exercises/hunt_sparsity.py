# %% [markdown]
# # Bug hunt · Fast, fluent and wrong
#
# <!-- measured -->
#
# A colleague has written the sparse parts of a [Terraformer](../chapters/12_terraformer.ipynb): a
# controller that chooses units, projections from few weights, a decoder with a cache. All of it is
# fast, and a model that is put together from it writes fluently. That says little. A model that
# chooses badly writes too, and so does one that forgets its ninth token. Here you write the
# **tests** that tell a sound part from a broken one. Afterwards you can
#
# * find a choice that is made wrongly now and then, with inputs that nobody had in mind;
# * test a fast function by the definition, written as a loop;
# * test a decoder that has a memory: against the whole text, when it is full, and when it is used
#   again;
# * test a gradient that is *not* the derivative of the value.
#
# **How it works.** In each part you write a function that takes an implementation. It says nothing
# if all is well, and raises `AssertionError` if not, as `assert` does. The check hands it sound
# implementations, which it must spare, and broken ones, which it must expose, and tells you which
# one got away. It never shows you their code: a test that knows its bug finds no other.
#
# You need chapters [10](../chapters/10_sparse_feed_forward.ipynb) and
# [11](../chapters/11_sparse_qkv.ipynb).

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

from efftx.check import hunt_sparsity as check
from efftx.check.hunt_sparsity_sound import attention, mask

# %% [markdown]
# ## The symptom
#
# This is what the colleague came with. A sparse layer learns a function, twice from the same start:
# once with a mask that is sound, once with another. Guess what you will see if the mask's values
# are right in both, and only something else is wrong with the second.


# %%
def loss(weights, noise, x, wanted, mask):
    """A layer's squared error; one unit of each block is on."""
    c1, c2, w1, w2 = weights
    on = jax.vmap(mask)(jnp.einsum("lr,rbn->lbn", x @ c1, c2), noise)
    hidden = jax.nn.relu(jnp.einsum("ld,bnd->lbn", x, w1))
    return ((jnp.einsum("lbn,bnd->ld", hidden * on, w2) - wanted) ** 2).mean()


def losses(mask, n_steps=400):
    """What 4 blocks of 8 units learn of a wave in 8 dimensions."""
    shapes = (512, 8), (8, 8), (8, 4), (4, 4, 8), (4, 8, 8), (4, 8, 8)
    keys = jax.random.split(jax.random.key(0), len(shapes))
    x, wave, *weights = map(jax.random.normal, keys, shapes)
    wanted, weights = jnp.sin(x @ wave), [w / 3 for w in weights]
    adam = optax.adam(0.02)

    def step(state, key):
        weights, moments = state
        noise = 0.1 * jax.random.gumbel(key, (512, 4, 8))
        now, slope = jax.value_and_grad(loss)(weights, noise, x, wanted, mask)
        change, moments = adam.update(slope, moments)
        return (optax.apply_updates(weights, change), moments), now

    keys = jax.random.split(jax.random.key(1), n_steps)
    return jax.lax.scan(step, (weights, adam.init(weights)), keys)[1]


sound, suspect = losses(mask), losses(check.test_gradient.suspect)
for step in (0, 100, 200, 399):
    print(f"step {step:3}: loss {sound[step]:.3f} with the sound one, {suspect[step]:.3f}")
assert sound[0] == suspect[0]
assert sound[-1] < 0.9 * suspect[-1]

# %% [markdown]
# The first loss is the same to the last digit, and both fall. Then the second stalls. Whoever has
# no sound one beside it sees a model that has learned what it can.
#
# The other three parts are broken in ways that are harder still to see: nothing stalls, a number is
# only not quite what it ought to be.
#
# ## Part 1: The choice · ★☆☆ · 15 minutes
#
# `feed_forward(x, controller, w1, b1, w2, b2)` is the layer of chapter 10 as it decodes. The
# controller, $(C_1, C_2)$, gives scores, $x C_1 C_2$. In each block the unit with the highest score
# is on, and nothing else is computed:
#
# $$y = \sum_{i \text{ on}} \text{ReLU}(x \cdot w_{1,i} + b_{1,i})\; w_{2,i} + b_2.$$
#
# Weights lie as in `efftx.sparsity`, block by block: `c2` is `(d_lowrank, n_blocks, N)`, `w1` and
# `w2` are `(n_blocks, N, d_model)`, `b1` is `(n_blocks, N)`. A test with one position and two
# blocks of four units would pass several that are broken. Which ones?
#
# <details><summary>Answer</summary>
#
# One that makes the same choice for all positions. And one that numbers units in a type that is too
# small for 300 of them. Take several positions, and once a block that is larger than anything that
# somebody may have had in mind.
#
# </details>


# %%
def test_choice(feed_forward):
    """Raises AssertionError if the layer is not the sum over the units that are on.

    feed_forward  a function (x, controller, w1, b1, w2, b2) -> (length, d_model)
                  x (length, d_model)
                  controller  c1 (d_model, d_lowrank), c2 (d_lowrank, n_blocks, N)
                  w1, w2 (n_blocks, N, d_model);  b1 (n_blocks, N);  b2 (d_model,)
    """
    # SOLUTION
    rng = np.random.default_rng(0)
    for length, n_blocks, n_units in ((7, 3, 4), (5, 2, 300)):
        x, c1, b2 = rng.normal(size=(length, 6)), rng.normal(size=(6, 4)), rng.normal(size=6)
        c2, b1 = rng.normal(size=(4, n_blocks, n_units)), rng.normal(size=(n_blocks, n_units))
        w1, w2 = rng.normal(size=(2, n_blocks, n_units, 6))
        wanted = np.zeros((length, 6)) + b2
        for t in range(length):
            for b in range(n_blocks):
                u = np.argmax(x[t] @ c1 @ c2[:, b])
                wanted[t] += max(w1[b, u] @ x[t] + b1[b, u], 0) * w2[b, u]
        got = feed_forward(x, (c1, c2), w1, b1, w2, b2)
        assert np.allclose(got, wanted, rtol=1e-3, atol=1e-3), f"in blocks of {n_units}"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two loops: over positions, and over blocks. In the innermost line stands one unit.
#
# </details>
#
# <details><summary>Hint 2: what must not be zero</summary>
#
# A bias that is zero can be taken from anywhere. A block whose scores are all above 0 does not care
# about a ReLU. Random numbers with both signs, for everything, are a good start.
#
# </details>
#
# <details><summary>Hint 3: how near is equal?</summary>
#
# float32 sums in another order differ in the seventh digit. A tolerance of 1e-3 leaves room for
# that, and no bug here is so small.
#
# </details>

# %% tags=["check"]
check.test_choice(test_choice)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It is the formula. It names no array that the fast version makes, so it
# also holds for one that computes all units and masks them. And it asks twice: the second time with
# more units than a byte can count.

# %% [markdown]
# ## Part 2: The projections · ★★☆ · 15 minutes
#
# `project(x, d, e, kernels)` returns queries, keys and values of a text, `(3, length, S, M)`:
# chapter 11's multiplicative layer, and a convolution for each of the three,
#
# $$y_{t,s,m} = \sum_i x_{t,i} D_{i,s} E_{i,m}, \qquad
#   z_{t,s} = \sum_{i=0}^{2} \sum_{j=0}^{2} y_{\,t-2+i,\; s-1+j}\; K_{i,j},$$
#
# with zeros before the text and beyond the first and the last module. `kernels` is `(3, 3, 3, M,
# M)`: which of the three, $i$, $j$, and the matrix.
#
# Test the two formulas. If $S$ and $M$ are the same number, some mistakes become harder to see.
# Which other sizes should not be too small?
#
# <details><summary>Answer</summary>
#
# With fewer than four modules a ring of them differs little from a row with zeros at its ends, and
# with fewer than three positions the kernel never sees its full past. Length 5, $S$ 4 and $M$ 3 are
# all different, and large enough.
#
# </details>


# %%
def test_projections(project):
    """Raises AssertionError if the projections are not those of the two formulas.

    project  a function (x, d, e, kernels) -> (3, length, S, M)
             x (length, d_model);  d (d_model, S), e (d_model, M);  kernels (3, 3, 3, M, M)
    """
    # SOLUTION
    rng = np.random.default_rng(0)
    length, n_modules, d_module = 5, 4, 3
    x, d = rng.normal(size=(length, 12)), rng.normal(size=(12, n_modules))
    e, kernels = rng.normal(size=(12, d_module)), rng.normal(size=(3, 3, 3, d_module, d_module))
    y = np.stack([[x[t] * d[:, s] @ e for s in range(n_modules)] for t in range(length)])
    wanted = np.zeros((3, length, n_modules, d_module))
    for p, t, s, i, j in np.ndindex(3, length, n_modules, 3, 3):
        if t - 2 + i >= 0 and 0 <= s - 1 + j < n_modules:
            wanted[p, t, s] += y[t - 2 + i, s - 1 + j] @ kernels[p, i, j]
    got = project(x, d, e, kernels)
    assert np.allclose(got, wanted, rtol=1e-3, atol=1e-3), "not the two formulas"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# First `y`, with a sum over $i$ and nothing else. Then add up for `z`, term by term, and skip a
# term that lies outside.
#
# </details>
#
# <details><summary>Hint 2: many loops in one</summary>
#
# `for p, t, s, i, j in np.ndindex(3, length, n_modules, 3, 3)` is five loops, one inside the other.
#
# </details>

# %% tags=["check"]
check.test_projections(test_projections)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** Slow, and in the words of the definition: every index that may be wrong
# stands there by its name. The edges come by themselves, since the loop goes over all positions and
# modules.

# %% [markdown]
# ## Part 3: Token by token · ★★☆ · 15 minutes
#
# `decode(x, d, e, kernels, room)` attends as a model that writes must: one token after the other.
# It keeps the keys and values of the tokens so far in a cache with room for `room` of them, at
# least as many as the text has, and the two rows that the convolution looks back to. Every module
# is a head.
#
# `attention(x, d, e, kernels)` does the same for a whole text, and has passed its tests: it was
# imported above. So one line would do for a test, if it were asked about the right texts. Which
# texts are those?
#
# <details><summary>Answer</summary>
#
# Long ones, since a cache may be too small inside. A text that leaves room, since empty slots must
# not be seen, and one that fills the cache to its last slot. And more than one text: what is left
# of the first one must not be there when the second begins.
#
# </details>


# %%
def test_decoding(decode):
    """Raises AssertionError if token by token is not the same as the whole text at once.

    decode  a function (x, d, e, kernels, room) -> (length, S·M), room at least the length
            x (length, d_model);  d (d_model, S), e (d_model, M);  kernels (3, 3, 3, M, M)
    """
    # SOLUTION
    rng = np.random.default_rng(0)
    d, e, kernels = (rng.normal(size=n) for n in ((6, 3), (6, 2), (3, 3, 3, 2, 2)))
    for length, room in ((12, 12), (12, 16)):
        x = rng.normal(size=(length, 6)) / 4
        got, wanted = decode(x, d, e, kernels, room), attention(x, d, e, kernels)
        assert np.allclose(got, wanted, rtol=1e-3, atol=1e-3), f"{length} tokens, room for {room}"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# A loop over pairs of length and room, with another text in each turn.
#
# </details>
#
# <details><summary>Hint 2: a softmax that listens to one</summary>
#
# If scores are large, the softmax gives all its weight to one key, and a key that is missed or one
# that should not be there makes no difference. How large are the scores of your text? Divide `x` by
# something.
#
# </details>

# %% tags=["check"]
check.test_decoding(test_decoding)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It compares the two ways in which the model is used, in training and in
# writing. Where they differ, the model writes as another one than was trained, and no loss shows
# it. The texts are chosen by what can go wrong with a memory: too little of it, too much of it, and
# something left in it.

# %% [markdown]
# ## Part 4: Straight through · ★★★ · 20 minutes
#
# Back to the loss that stalled. `mask(scores, noise)` takes one position's scores, `(n_blocks, N)`,
# and returns zeros and ones: in each block a 1 where score + noise is highest. Its gradient is
# *not* that of this function, which would be 0. It is that of the softmax of a block's scores,
# without noise, as in [chapter 10](../chapters/10_sparse_feed_forward.ipynb).
#
# A test by small changes, $(f(x + h) - f(x)) / h$, would accuse the sound one. So what do you
# compare the gradient with, and for which losses?
#
# <details><summary>Answer</summary>
#
# With the gradient of `jax.nn.softmax`, which jax knows. A gradient is asked for with a vector:
# `jax.vjp(mask, scores, noise)` returns the value and a function that pulls a gradient `g` of the
# mask back to `scores` and `noise`. Take a random `g`. (With all ones the softmax's gradient is 0,
# and so is that of many a broken one.)
#
# </details>


# %%
def test_gradient(mask):
    """Raises AssertionError if the mask is not the hard one, or its gradient not the softmax's.

    mask  a function (scores, noise) -> (n_blocks, N), both (n_blocks, N)
    """
    # SOLUTION
    rng = np.random.default_rng(0)
    for _ in range(5):
        scores, noise, g = jnp.asarray(rng.normal(size=(3, 3, 4)))
        on, pull_back = jax.vjp(mask, scores, noise)
        highest = (scores + noise).argmax(axis=-1)
        assert np.allclose(on, np.eye(4)[highest], atol=1e-5), "another unit is on, or not fully"
        wanted = jax.vjp(jax.nn.softmax, scores)[1](g)[0]
        assert np.allclose(pull_back(g)[0], wanted, atol=1e-4), "not the gradient of the softmax"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Two assertions: one about the value, one about the gradient. A mask may be right in one of them.
#
# </details>
#
# <details><summary>Hint 2: zeros and ones, nearly</summary>
#
# A sound mask may be computed as (hard + soft) − soft. Then a 1 may come out as 0.9999999.
#
# </details>
#
# <details><summary>Hint 3: jax.vjp</summary>
#
# It returns a pair, the value and a function. That function returns a tuple with one gradient for
# each argument.
#
# </details>

# %% tags=["check"]
check.test_gradient(test_gradient)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It says what was promised, a value and a gradient, each by itself. A
# loss that falls says neither: the one in the symptom fell too.
