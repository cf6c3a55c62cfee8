# %% [markdown]
# # 00 · Start here
#
# Can one machine read a million tokens at once? Can a very large language model answer quickly, and
# can people without a data centre train it? In the talk *Efficient Transformers*, Łukasz Kaiser,
# Nikita Kitaev, Anselm Levskaya and colleagues answer yes, and show how: with two models, the
# **Reformer** and the **Terraformer**, built from a handful of ideas.
#
# This course takes the talk apart into those ideas. You build each one from arrays, prove that it
# computes what it should, measure what it saves, and see where it stops. A laptop is enough.
#
# <!-- measured -->
#
# After this chapter you will
#
# - know that your installation works,
# - have seen the problem that the course is about, and a first glimpse of the way out,
# - have chosen your route,
# - read the JAX that the other chapters are written in,
# - know how to weigh a computation before you run it.
#
# Every notebook begins with the same folded cell. It finds the course's package, `efftx`, and says
# which device JAX will use. It also asks JAX for all digits of its products, which GPUs and TPUs
# would round to be faster: proofs of equality need them, training does without. Run it first.

# %% tags=["setup"]
# the build writes the set-up cell here

# %% [markdown]
# ## Is everything there?
#
# The course needs Python 3.11 or newer and JAX 0.10 or newer. A graphics card is welcome and not
# needed.

# %%
import sys

import jax
import jax.numpy as jnp

assert sys.version_info >= (3, 11), "the course needs Python 3.11 or newer"
assert jax.__version_info__ >= (0, 10), "the course needs jax 0.10 or newer"
python, device = ".".join(map(str, sys.version_info[:2])), jax.devices()[0].device_kind
print(f"Python {python} and jax {jax.__version__} are new enough; JAX computes on: {device}")

# %% [markdown]
# Does the package work too? Here is a question with a known answer. *LSH attention*, the heart of
# the Reformer, lets a position look only at positions in its own bucket. If all of them are in one
# bucket, it must give what exact attention gives.

# %%
from efftx.attention import lsh_attention, shared_qk_attention

vectors, values = jax.random.normal(jax.random.key(0), (2, 16, 8))  # 16 positions of width 8
one_bucket = jnp.zeros((1, 16), jnp.int32)
by_hashing = lsh_attention(vectors, values, buckets=one_bucket, n_buckets=2, chunk_len=16)
exactly = shared_qk_attention(vectors, values, causal=True)

assert jnp.allclose(by_hashing, exactly, atol=1e-2)  # graphics cards round products coarsely
print("efftx works:", by_hashing.shape, by_hashing.dtype)

# %% [markdown]
# ## A matrix that no machine can hold
#
# A Transformer reads by *attention*: every position is compared with every other, and takes from
# each the more, the better the two match. For a text of $L$ tokens that is an $L \times L$ matrix
# of scores.
#
# Let us take a real text, one that every Python brings along: the reference behind `help()`. Its
# bytes will be our tokens.

# %%
from pydoc_data.topics import topics

import numpy as np

text = "\n".join(topics[name] for name in sorted(topics))
ascii_bytes = text.encode("ascii", errors="replace")  # a few quotation marks become ?
tokens = jnp.asarray(np.frombuffer(ascii_bytes, np.uint8))
assert len(tokens) > 400_000
print(f"{len(tokens):,} bytes; somewhere among them:\n")
print(text[text.index('The "with" statement is') :].partition(".")[0] + ".")

# %% [markdown]
# About half a million bytes. The talk promises "up to 1 million tokens" on a single GPU or TPU, so
# let us ask for $L = 2^{20}$, a little more than a million.
#
# Guess before you read on: one attention head, float32. **Does its score matrix fit into your
# laptop? Into a graphics card with 80 GB?**
#
# We need not try. JAX compiles a function before it runs it, and the compiler already knows how
# much working memory the program will take. So we can weigh what we could never lift:

# %%
from efftx.attention import full_attention


def weigh(function, *shapes):
    """Bytes of working memory that the compiled function takes; nothing is run."""
    with jax.default_device(jax.devices("cpu")[0]):  # so that every reader weighs the same program
        inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        program = jax.jit(function).lower(*inputs).compile()
    return program.memory_analysis().temp_size_in_bytes


def full(qk, v):
    return full_attention(qk, qk, v, causal=True)


million = 2**20
matrix = 4 * million**2  # 4 bytes for each of the L × L scores
working_memory = weigh(full, (million, 64), (million, 64))

assert matrix == 4_398_046_511_104
assert working_memory >= matrix
print(f"one score matrix:         {matrix / 1e12:.1f} TB, or {matrix / 80e9:.0f} cards of 80 GB")
print(f"what the compiler wants:  {working_memory / 1e12:.1f} TB")

# %% [markdown]
# ▸ Into neither: it takes 4.4 **tera**bytes, 55 such cards, for one head of one layer. (Why does
# the compiler want twice the matrix? Scores, masked scores and weights are made one from the other,
# and while one is written, the one that it is made from must still be there.) And memory is only
# half of the trouble. Chapter 06 computes the same result piece by piece, without ever holding the
# matrix; a million times a million comparisons remain to be made.
#
# Does every position have to be compared with every other? The Reformer says no. *Hash* the
# vectors, so that those that point the same way tend to fall into the same bucket. Sort them by
# bucket, cut the sorted row into chunks of $m$, and compare only within a chunk and the one before
# it. If this is done `n_hashes` times, each time with another hash, then the number of scores is
#
# $$L \cdot 2m \cdot n_\text{hashes} \qquad\text{instead of}\qquad L \cdot L .$$


# %%
def lsh_scores(length, n_hashes, chunk_len=64):
    return length * 2 * chunk_len * n_hashes


few, all_pairs = lsh_scores(million, n_hashes=4), million**2
assert all_pairs == 2048 * few
assert (2 * million) ** 2 == 4096 * lsh_scores(2 * million, n_hashes=4)
print(f"{few:,} scores instead of {all_pairs:,}")

# %% [markdown]
# 2048 times fewer, and for a text of twice the length it would be 4096 times. What does the
# compiler say to that? Below are both kinds of attention, weighed at growing lengths. Both axes are
# logarithmic: the steeper the line, the higher the power of $L$.

# %%
from itertools import pairwise

from efftx.plots import show
from efftx.plots.start_here import draw_memory


def hashed(qk, v, n_hashes=4):
    return lsh_attention(qk, v, key=jax.random.key(1), n_hashes=n_hashes, chunk_len=64)


full_bytes = {n: weigh(full, (n, 64), (n, 64)) for n in (2**10, 2**12, 2**14, 2**16, 2**18, 2**20)}
hashed_bytes = {n: weigh(hashed, (n, 64), (n, 64)) for n in (2**12, 2**16, 2**20)}

assert all(15 < more / less < 17 for less, more in pairwise(full_bytes.values()))  # L × 4
assert hashed_bytes[2**20] / hashed_bytes[2**16] < 20  # L × 16
assert full_bytes[2**20] / hashed_bytes[2**20] > 1000

weighed = {"full attention": full_bytes, "LSH attention, 4 rounds": hashed_bytes}
show(
    draw_memory(weighed, len(tokens)),
    "Working memory of one attention head, as the compiler counts it. Full attention grows with "
    f"the square of the length and would take {full_bytes[million] / 1e12:.1f} TB at a million "
    "positions; LSH attention grows with the length and takes "
    f"{hashed_bytes[million] / 1e9:.1f} GB there.",
)

# %% [markdown]
# ## A reader that was never trained
#
# To compare less is easy: just leave most comparisons out. The question is whether the few that
# remain are the ones that matter.
#
# How would *you* guess the next letter of `The "with" stateme`? You might look for earlier places
# that read the same, and see what came next there. That is attention, and we can build it without
# any training:
#
# - the **vector** of a position stands for the last six bytes, the nearest counting most, so that
#   places that read the same point the same way;
# - its **value** is the byte that came next;
# - nobody may look at later positions.


# %%
def context_vectors(tokens, n_bytes=6, decay=0.8, sharpness=20.0, width=64):
    """A vector for each position: a random direction for each of the last bytes, added up."""
    directions = jax.random.normal(jax.random.key(2), (n_bytes, 128, width))
    mix = sum(decay**back * directions[back][jnp.roll(tokens, back)] for back in range(n_bytes))
    return sharpness * mix / jnp.linalg.norm(mix, axis=1, keepdims=True)


def cosine(a, b):
    return float(a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b))


book = tokens[: 2**15]
context = context_vectors(book)
first, second = (find("stateme", 0, len(book)) + 6 for find in (text.index, text.rindex))
alike = cosine(context[first], context[second])
different = cosine(context[first], context[second - 3])

assert alike > 0.99 > 0.5 > different
print(f"two places that read 'stateme':          cosine {alike:.2f}")
print(f"one that reads 'stateme', one 'stat':    cosine {different:.2f}")

# %% [markdown]
# Now let it read. At every position we ask for the next byte; the guess is the byte that got the
# most attention.
#
# One thing we must not overlook. In both kinds of attention a position that finds nobody to look at
# looks at itself, and there the answer is written. So a further column of the values holds the
# positions: who ends up with its own number has looked at itself, and may not guess.

# %%
NO_GUESS = 0  # a byte that does not occur in text


def read(attend, tokens):
    """Guess, at every position but the last, the byte that comes next."""
    following = tokens[1:]
    position = jnp.arange(len(following), dtype=jnp.float32)
    answers = jnp.column_stack([jax.nn.one_hot(following, 128), position])
    votes = attend(context_vectors(tokens)[:-1], answers)
    looked_back = votes[:, 128] < position - 0.5
    return jnp.where(looked_back, votes[:, :128].argmax(1), NO_GUESS)


def share_right(guesses, tokens):
    return float((guesses == tokens[1:]).mean())


def exact(qk, v):
    return shared_qk_attention(qk, v, causal=True)


page = book[: 2**13]
commonest = jnp.bincount(page).argmax()
share_of_commonest = share_right(jnp.full(len(page) - 1, commonest), page)
share_with_all = share_right(read(exact, page), page)

assert share_with_all > 2 * share_of_commonest
print(f"always guessing {chr(commonest)!r}:  {share_of_commonest:.1%} of {len(page):,} bytes")
print(f"full attention:       {share_with_all:.1%}")

# %% [markdown]
# More than half, by memory alone! But the full matrix has 8,192 scores for each byte. (Those that
# look ahead can be skipped, so on average half of them are needed.) **What do you expect of LSH
# attention with 128, one sixty-fourth? And if it may hash again?**

# %%
from efftx.plots import ask

my_guess = ask("the share right with 128 scores, 0 to 1")

# %%
from efftx.plots.start_here import draw_guesses

share_with_few = {
    lsh_scores(1, rounds): share_right(
        read(lambda qk, v, rounds=rounds: hashed(qk, v, rounds), page), page
    )
    for rounds in (1, 2, 4, 8)
}

assert all(less < more for less, more in pairwise(share_with_few.values()))
assert share_with_few[128] > 0.75 * share_with_all
assert share_with_few[1024] > 0.95 * share_with_all

my_guess.show(
    draw_guesses(share_with_few, (len(page), share_with_all), share_of_commonest),
    "Bytes guessed without training, against the scores for each of them. Full attention gets "
    f"{share_with_all:.0%} with {len(page):,} scores, LSH attention {share_with_few[128]:.0%} with "
    f"128 (1 round) and {share_with_few[1024]:.0%} with 1,024 (8 rounds); always guessing the "
    f"commonest byte would get {share_of_commonest:.0%}.",
)

# %% [markdown]
# ▸ With one sixty-fourth of the scores it is still right more than three quarters as often as full
# attention. With 8 rounds, an eighth of the scores, almost nothing is lost: the hash finds most of
# the comparisons that matter.
#
# What shall we do with what was saved? Remember more! Let LSH attention read four times as much
# text, and ask both about the same last 4,096 bytes. Full attention remembers 8,192, LSH attention
# 32,768.

# %%
asked = 2**12
guesses = read(hashed, book)
long_memory = share_right(guesses[-asked:], book[-asked - 1 :])
window = book[-len(page) :]
short_memory = share_right(read(exact, window)[-asked:], window[-asked - 1 :])

assert 4 * lsh_scores(len(book), n_hashes=4) == len(window) ** 2
assert long_memory > short_memory
print(f"about the last {asked:,} bytes:")
print(f"full attention remembers  {len(window):,} bytes and guesses {short_memory:.1%}")
print(f"LSH attention remembers  {len(book):,} bytes and guesses {long_memory:.1%}")

# %% [markdown]
# Better guesses, with a quarter of the scores (with half of them, if full attention skips those
# that look ahead).
#
# Here are some lines that LSH attention read, and below each the letters that it had guessed:

# %%
start = text.index("* If a class defines a slot")
stop = text.index("\n\n", start)
original = bytes(book[start:stop].tolist()).decode()
guessed = bytes(guesses[start - 1 : stop - 1].tolist()).decode()
letters = "".join(a if a in (b, "\n") else "·" for a, b in zip(original, guessed, strict=True))

for pair in zip(original.splitlines(), letters.splitlines(), strict=True):
    print(*pair, sep="\n", end="\n\n")

# %% [markdown]
# The vectors here were made by hand for this one purpose. Do the vectors of a *trained* Transformer
# have such a structure? Why does sorting replace searching? What is lost at the borders of the
# chunks, and when is the plain way the faster one? That is what the chapters are for.

# %% [markdown]
# ## The course
#
# <!-- course map -->
#
# Chapters 00 and 01 set the scene. After them the three pillars stand on their own, in the order of
# the talk: **memory** (02–05), **time** (06–09) and **sparsity** (10–12). Read them in any order,
# and the chapters of one pillar from its first to its last. Chapters 13 to 15 look further: how
# people fine-tune today, how you go on with your own text and hardware, and which of the talk's
# predictions came true.
#
# **What you should know.** Python and NumPy; what a matrix product, a gradient and a softmax are.
# No JAX (it follows below), and nothing about Transformers: chapter 01 builds one.
#
# **How a chapter goes.** An idea in words, then as an equation, then as the plainest code that
# computes it. Then the efficient version, a proof that both agree, a measurement and a picture; at
# the end the limits. Its first lines say how long it takes to read and to run, and how much memory
# it needs, all measured when the chapter was built. Claims about values, bytes and counts are
# `assert`s in cells: change a cell and see what happens. Times depend on your machine and are only
# printed. A question in bold type asks for your guess: make one before you scroll. The answer
# stands further down, behind a small triangle.
#
# **How an exercise goes.** Each has three parts or more, from ★☆☆ to ★★★, with the minutes that
# they may take. A part says what is wanted and leaves a function for you to fill in. Under it are
# hints, folded up, from a nudge to nearly the solution; open as many as you need. The last cell
# checks your function on random inputs, and if something is wrong it says what: the common mistakes
# it knows by name. A few checks also measure what a part asks for besides values: how many rows
# there are at once, or how many bytes are kept. Solutions are in a folder of their own, with the
# same numbers.
#
# What has passed is kept in a file of your own, and nowhere else, so that you see where you stand:
# the next cell draws it, and `python -m efftx.check` prints it. With the environment variable
# `EFFTX_PROGRESS=off` nothing is kept.

# %%
from efftx.check.map import count, course_parts
from efftx.plots.start_here import draw_progress

parts = course_parts()
n_passed, n_parts = count(parts)
show(
    draw_progress(parts),
    "Your map of the exercises: a square for each function that you write, filled once its check "
    f"has passed. {n_passed} of {n_parts} so far.",
)

# %% [markdown]
# ## JAX on one page
#
# JAX is NumPy with functions that take functions: one compiles, one repeats, one differentiates.
# Here is what the course uses of it, each with a proof. If you know JAX, go on to
# [the memory of a gradient](#The-memory-of-a-gradient).
#
# **Arrays do not change.** `x.at[…].set(…)` gives a new array and leaves the old one alone. So a
# function can have no hidden effect on its arguments, and that is what makes all the rest possible.

# %%
x = jnp.zeros(3)
y = x.at[1].set(5.0)

assert x.tolist() == [0, 0, 0]
assert y.tolist() == [0, 5, 0]

# %% [markdown]
# **Keys.** Is there a random number generator that remembers where it was? No: randomness comes
# from a *key* that you pass. The same key gives the same numbers, always; `split` makes new keys
# from one. Chapter 03 will depend on it: to run a layer a second time with the very same dropout,
# pass the same key.

# %%
key = jax.random.key(0)
once = jax.random.normal(key, (3,))
again = jax.random.normal(key, (3,))
first_key, second_key = jax.random.split(key)

assert (once == again).all()
assert (jax.random.normal(first_key, (3,)) != jax.random.normal(second_key, (3,))).all()

# %% [markdown]
# **`jit` compiles.** On the first call JAX runs the Python code once with stand-ins that have a
# shape and no values, writes down every operation, and compiles the list. Later calls skip the
# Python code. How often is the line with `append` executed below?

# %%
traced_shapes = []


@jax.jit
def normalise(x):
    traced_shapes.append(x.shape)
    return x / jnp.linalg.norm(x)


normalise(jnp.ones(4))
normalise(jnp.arange(4.0))  # the same shape: nothing to compile
normalise(jnp.ones(9))  # a new shape

assert traced_shapes == [(4,), (9,)]

# %% [markdown]
# **`vmap` repeats.** Write the function for one example, and map it over a new axis. That is why
# the functions of `efftx.attention` know one head only: `(length, d_head)` in and out.

# %%
queries, keys, head_values = jax.random.normal(jax.random.key(3), (3, 8, 16, 4))  # 8 heads


def attend(q, k, v):
    return full_attention(q, k, v, causal=True)


all_heads = jax.vmap(attend)(queries, keys, head_values)
one_by_one = jnp.stack([attend(*head) for head in zip(queries, keys, head_values, strict=True)])

assert all_heads.shape == (8, 16, 4)
assert jnp.allclose(all_heads, one_by_one, atol=1e-2)

# %% [markdown]
# **`einsum` names the axes.** Each letter is an axis of an array; a letter that is missing on the
# right of the arrow is summed over. All heads' scores, of every query with every key:

# %%
scores = jnp.einsum("hqd,hkd->hqk", queries, keys)

assert scores.shape == (8, 16, 16)
assert jnp.allclose(scores[2, 5, 7], queries[2, 5] @ keys[2, 7], atol=1e-2)

# %% [markdown]
# **Pytrees** are containers of arrays: lists, tuples, dictionaries, models, one in another. What
# JAX does to an array it does to all *leaves* of a tree. `tree.map` does it with a function of
# yours.

# %%
parameters = {"w": jnp.ones((2, 3)), "layers": [jnp.zeros(3), jnp.zeros(3)]}
moved = jax.tree.map(lambda leaf: leaf + 1, parameters)

assert [leaf.shape for leaf in jax.tree.leaves(parameters)] == [(3,), (3,), (2, 3)]
assert moved["layers"][1].tolist() == [1, 1, 1]

# %% [markdown]
# **`grad` differentiates.** It takes a function with a single number as its result, and returns the
# function that computes the gradient. Does it? Take a small step and see by how much the result
# changes.


# %%
def loss(w):
    return jnp.sum(jnp.tanh(w) ** 2)


w, step = jnp.array([0.3, -1.2, 0.7]), jnp.array([1e-3, 0.0, 0.0])
measured = (loss(w + step) - loss(w - step)) / 2e-3

assert jnp.allclose(jax.grad(loss)(w)[0], measured, rtol=1e-2)

# %% [markdown]
# The result need not be a single number. **`vjp`** runs a function, and returns with its result a
# second function that goes backwards: from how much each number of the result matters to how much
# each of the arguments does. (*vjp* stands for vector–Jacobian product.) `grad` is `vjp` of a
# single number that matters 1. Chapters 03 and 06 write backward passes by hand and compare them
# with it.

# %%
heads, go_back = jax.vjp(jax.vmap(attend), queries, keys, head_values)
only_one = jnp.zeros_like(heads).at[0, 5].set(1.0)  # position 5 of head 0 matters, nothing else
of_queries, of_keys, of_values = go_back(only_one)

assert (of_queries[0, 5] != 0).any()
assert (of_queries[1:] == 0).all()  # other heads had no part in it
assert (of_values[0, 6:] == 0).all()  # nor had later positions

# %% [markdown]
# **Look before you run.** `eval_shape` asks what a function *would* return, and computes nothing;
# so a model of a hundred billion parameters costs no memory. `make_jaxpr` shows the list of
# operations itself, with the shape of every array in between. Is there a matrix of scores in full
# attention? Then it stands there:

# %%
from jax import ShapeDtypeStruct

huge = ShapeDtypeStruct((2**20, 64), jnp.float32)  # a shape and a dtype, without numbers
attended = jax.eval_shape(attend, huge, huge, huge)
program = str(jax.make_jaxpr(attend)(huge, huge, huge))

assert attended.shape == (2**20, 64)
assert "f32[1048576,1048576]" in program

# %% [markdown]
# **`scan` is a loop that is compiled once.** It carries something from step to step, and may
# collect something at each. A Python loop over 1,000 steps would be written out 1,000 times in the
# compiled program; the body of a `scan` stands there once. Here it keeps the running maximum.

# %%
traced_steps = []


def keep_larger(largest, number):
    traced_steps.append(number.shape)
    largest = jnp.maximum(largest, number)
    return largest, largest  # what to carry, what to collect


numbers = jax.random.normal(jax.random.key(4), (1000,))
largest, so_far = jax.lax.scan(keep_larger, -jnp.inf, numbers)

assert largest == numbers.max()
assert (so_far == jax.lax.cummax(numbers)).all()
assert len(traced_steps) < 5  # not 1,000

# %% [markdown]
# Where nothing is carried, **`lax.map`** is that loop: one after the other what `vmap` does at
# once. It takes longer and less memory, and the course uses it wherever an array is too large to
# exist all at once.

# %%
in_turn = jax.lax.map(lambda head: attend(*head), (queries, keys, head_values))

assert jnp.allclose(in_turn, all_heads, atol=1e-2)

# %% [markdown]
# **`custom_vjp` puts the gradient into your hands.** You say what the forward pass must remember,
# and how the backward pass uses it.
#
# The gradient of $y = x^3$ is $3x^2$, so $x$ has to be remembered. Has it? It can be *rebuilt* from
# $y$, as its cube root. This is the idea of chapter 03 in one line; there, whole layers are
# rebuilt.


# %%
@jax.custom_vjp
def cube(x):
    return x**3


def cube_forward(x):
    y = x**3
    return y, y  # the result, and what to remember: the result alone


def cube_backward(y, incoming):
    rebuilt = jnp.cbrt(y)
    return (incoming * 3 * rebuilt**2,)


cube.defvjp(cube_forward, cube_backward)

assert jnp.allclose(jax.vmap(jax.grad(cube))(w), 3 * w**2, rtol=1e-4)

# %% [markdown]
# ## The memory of a gradient
#
# Time is easy to measure: run and look at the clock. But how does one measure memory, exactly and
# without disturbance by whatever else the computer does? You have seen it at the top: ask the
# compiler. `weigh` is this course's pair of scales; behind it is JAX's `memory_analysis()`. Because
# a weight is a number of bytes, the same at every run, chapters can `assert` it.
#
# Let us weigh something to take with us into the first pillar. Below are layers in a `scan`, each a
# matrix product and a sigmoid, on 1,024 positions of width 64. Guess: **with 64 layers instead of
# 8, how much more memory does the result take? And the gradient for the weights?**


# %%
def deep(x, weights):
    def layer(x, w):
        return jax.nn.sigmoid(x @ w), None

    return jax.lax.scan(layer, x, weights)[0].sum()


depths = (8, 64)
for_result = [weigh(deep, (1024, 64), (n, 64, 64)) for n in depths]
for_gradient = [weigh(jax.grad(deep, argnums=1), (1024, 64), (n, 64, 64)) for n in depths]
activation = 4 * 1024 * 64  # bytes of one layer's output
kept = (for_gradient[1] - for_gradient[0]) / (64 - 8) / activation

assert for_result[1] < 1.1 * for_result[0]
assert kept >= 1
for n, result, gradient in zip(depths, for_result, for_gradient, strict=True):
    print(f"{n:2} layers: result {result / 1e6:4.1f} MB, gradient {gradient / 1e6:4.1f} MB")
print(f"for the gradient each layer keeps {kept:.1f} activations")

# %% [markdown]
# ▸ The result needs no more: each layer overwrites the one before. The gradient needs something of
# *every* layer when it comes back, two activations: what went into the product, and the slope of
# the sigmoid. So depth costs memory only in training. And `cube` has shown that what is kept may
# also be rebuilt.
#
# The simplest way to do that is **`jax.checkpoint`**: of the function that it wraps only the
# arguments are kept, and on the way back the function runs once more. It is the opponent that
# reversible layers will have to beat. **How much does a layer keep now?**

# %%
def deep_with_checkpoints(x, weights):
    @jax.checkpoint
    def layer(x, w):
        return jax.nn.sigmoid(x @ w), None

    return jax.lax.scan(layer, x, weights)[0].sum()


gradient = jax.grad(deep_with_checkpoints, argnums=1)
with_checkpoints = [weigh(gradient, (1024, 64), (n, 64, 64)) for n in depths]
kept_now = (with_checkpoints[1] - with_checkpoints[0]) / (64 - 8) / activation

assert 0.9 < kept_now < kept - 0.5
print(f"with checkpoints each layer keeps {kept_now:.1f} activations")

# %% [markdown]
# ▸ One activation, its input. The rest is computed twice.
#
# Chapter [02](02_where_the_memory_goes.ipynb) adds up the whole bill, and chapter
# [03](03_reversible_layers.ipynb) stops paying for depth.

# %% [markdown]
# ## What the talk claims, and where you can test it
#
# The figures are those of the talk's slides and of the papers named below; in the chapters they
# stand beside what is measured there.
#
# <table>
# <tr><th>The claim</th><th>In figures</th><th>Chapter</th></tr>
# <tr>
#   <td>Attention replaced recurrence, and trains on less</td>
#   <td>WMT-14 English–German: GNMT ensemble 26.30 BLEU with 1.8·10²⁰ floating-point operations;
#     Transformer base 27.3 with 3.3·10¹⁸, big 28.4 with 2.3·10¹⁹ (slide)</td>
#   <td><a href="01_from_rnns_to_transformers.ipynb">01</a></td>
# </tr>
# <tr>
#   <td>Pretrained Transformers came close to people, and passed them</td>
#   <td>GLUE average: BiLSTM with ELMo and attention 70.0, BERT 80.5, people 87.1, ALBERT 89.4
#     (slide)</td>
#   <td><a href="01_from_rnns_to_transformers.ipynb">01</a></td>
# </tr>
# <tr>
#   <td>Large models hardly fit where people want to fine-tune them</td>
#   <td>BERT-Large on a 12 GB Titan X: batches of 12 fit at length 64, of 2 at 256, none at 384
#     (slide)</td>
#   <td><a href="02_where_the_memory_goes.ipynb">02</a></td>
# </tr>
# <tr>
#   <td>Reversible layers cost no quality</td>
#   <td>BLEU English–German, newstest2014: Transformer base 27.3, reversible base 28.0 after
#     500,000 steps (Reformer, table 4)</td>
#   <td><a href="03_reversible_layers.ipynb">03</a></td>
# </tr>
# <tr>
#   <td>Feed-forward layers can be computed in chunks</td>
#   <td>linear in L, where attention is quadratic (slide)</td>
#   <td><a href="04_chunking.ipynb">04</a></td>
# </tr>
# <tr>
#   <td>Parameters can wait in CPU memory, in fewer bits</td>
#   <td>“memory swapping to CPU and quantization” (slide)</td>
#   <td><a href="05_swapping_and_quantization.ipynb">05</a></td>
# </tr>
# <tr>
#   <td>Attention is sparse, and hashing finds what matters</td>
#   <td>bucket, sort, chunk, attend in the own chunk and the one before (slide)</td>
#   <td><a href="06_attention_is_sparse.ipynb">06</a>,
#     <a href="07_hashing.ipynb">07</a>,
#     <a href="08_lsh_attention.ipynb">08</a></td>
# </tr>
# <tr>
#   <td>With enough rounds, LSH attention is as good as full attention</td>
#   <td>8 rounds come close to it on images; trained with 4 rounds, the duplication task is solved
#     to 100% with 8 rounds and 91.9% with 1 (Reformer, table 2)</td>
#   <td><a href="08_lsh_attention.ipynb">08</a>,
#     <a href="09_reformer.ipynb">09</a></td>
# </tr>
# <tr>
#   <td>Its speed does not depend on the length</td>
#   <td>flat in L at a fixed number of tokens (Reformer)</td>
#   <td><a href="08_lsh_attention.ipynb">08</a>,
#     <a href="09_reformer.ipynb">09</a></td>
# </tr>
# <tr>
#   <td>A million tokens on one machine</td>
#   <td>“up to 1 million tokens … single GPU or TPU” (slide)</td>
#   <td><a href="09_reformer.ipynb">09</a></td>
# </tr>
# <tr>
#   <td>A feed-forward layer need not compute all its units</td>
#   <td>one unit of every 64: slightly better than dense; one of 128: slightly worse
#     (Sparse is Enough)</td>
#   <td><a href="10_sparse_feed_forward.ipynb">10</a></td>
# </tr>
# <tr>
#   <td>Queries, keys and values need no dense matrices</td>
#   <td>S·d + d²/S parameters instead of d²; what is saved goes into a wider feed-forward layer
#     (Sparse is Enough)</td>
#   <td><a href="11_sparse_qkv.ipynb">11</a></td>
# </tr>
# <tr>
#   <td>Terraformer: the quality of a dense model, and much faster decoding</td>
#   <td>more than 5× faster with 700 million parameters and 28× with 10 billion (the talk's claim);
#     2.62× with 800 million, 20× with 17 billion, 37× with a sparse loss layer as well
#     (Sparse is Enough)</td>
#   <td><a href="12_terraformer.ipynb">12</a></td>
# </tr>
# <tr>
#   <td>What comes next</td>
#   <td>all lengths, fast decoding on CPUs, fine-tuning for everyone (slide)</td>
#   <td><a href="13_fine_tuning_for_everyone.ipynb">13</a>, <a href="15_outlook.ipynb">15</a></td>
# </tr>
# </table>

# %% [markdown]
# ## Where to go from here
#
# - From the beginning: [01 · From RNNs to Transformers](01_from_rnns_to_transformers.ipynb).
# - To the heart of it: [08 · LSH attention](08_lsh_attention.ipynb), which explains how the reader
#   above found its comparisons, and then [the exercise](../exercises/08_lsh_attention.ipynb).
# - To your own project: `from efftx.attention import lsh_attention`, and `help(lsh_attention)`.
#   [The reference](../docs/api/index.rst) has every public function with an example; `make docs`
#   builds it, to be read and searched in a browser.
#
# ## Sources
#
# - *Efficient Transformers*, the talk: Ł. Kaiser, N. Kitaev, A. Levskaya and colleagues.
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451).
# - S. Jaszczur and others: *Sparse is Enough in Scaling Transformers*, 2021,
#   [arXiv 2111.12763](https://arxiv.org/abs/2111.12763).
# - A. N. Gomez, M. Ren, R. Urtasun, R. B. Grosse: *The Reversible Residual Network*, 2017,
#   [arXiv 1707.04585](https://arxiv.org/abs/1707.04585).
# - A. Vaswani and others: *Attention Is All You Need*, 2017,
#   [arXiv 1706.03762](https://arxiv.org/abs/1706.03762).
