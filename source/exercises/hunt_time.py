# %% [markdown]
# # Bug hunt · Neighbours that should not meet
#
# <!-- measured -->
#
# A colleague has written attention among neighbours in a sorted row, the heart of
# [LSH attention](../chapters/08_lsh_attention.ipynb). It runs, its shapes are right, a model trains
# with it. That says little: an attention that looks at the wrong keys trains, too, only worse. Here
# you do not write attention. You write the **tests** that tell a sound one from a broken one.
# Afterwards you can
#
# * test a function by computing the same in a second, plainer way;
# * make attention show whom it listens to, with values that are a unit matrix;
# * find out whether anything leaks from the future, by changing the future.
#
# **How it works.** In each part you write a function that takes an implementation. It says nothing
# if all is well, and raises `AssertionError` if not, as `assert` does. The check hands it sound
# implementations, which it must spare, and broken ones, which it must expose, and tells you which
# one got away. It never shows you their code: a test that knows its bug finds no other.
#
# You need chapter 08; `attend` here pays no heed to whether two vectors share a bucket, only to
# where they stand in the sorted row.

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
import numpy as np

from efftx.check import hunt_time as check
from efftx.check.hunt_time_sound import attend, sort_by_bucket

# %% [markdown]
# ## Part 1: The order · ★☆☆ · 10 minutes
#
# `sort_by_bucket(buckets)` returns the positions in the order of their buckets, the smallest first.
# Positions of the same bucket keep their order: the earlier one comes first.
#
# | position | 0 | 1 | 2 | 3 |
# |---|---|---|---|---|
# | bucket | 1 | 0 | 1 | 0 |
#
# gives `[1, 3, 0, 2]`. A test of this one row would pass many that are broken. Which rows would
# they fail on? Think of long ones, of many buckets, of ties.
#
# <details><summary>Answer</summary>
#
# Of a row with more positions and more buckets than any number that somebody may have built in: 64,
# 127, 255. And of a row with many ties. Random buckets from few and from many give both.
#
# </details>

# %%
sort_by_bucket([1, 0, 1, 0])


# %%
def test_order(sort_by_bucket):
    """Raises AssertionError if the positions come in the wrong order.

    sort_by_bucket  a function, (length,) integers -> (length,) integers
    """
    # SOLUTION
    for n_buckets in (2, 300):
        buckets = np.random.default_rng(n_buckets).integers(n_buckets, size=200)
        order = np.asarray(sort_by_bucket(buckets)).tolist()
        wanted = sorted(range(200), key=lambda position: (buckets[position], position))
        assert order == wanted, f"with {n_buckets} buckets the order is another"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: a nudge</summary>
#
# Python sorts, too: `sorted(range(length), key=…)`.
#
# </details>
#
# <details><summary>Hint 2: the key</summary>
#
# Tuples are compared from left to right: first by bucket, and where these are equal by position.
#
# </details>

# %% tags=["check"]
check.test_order(test_order)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It computes the same in another way, one that is slow and too simple to
# be wrong, on inputs that nobody has chosen to suit the function.

# %% [markdown]
# ## Part 2: The window · ★★☆ · 15 minutes
#
# `attend(q, v, buckets, chunk_len, causal)` sorts the positions, cuts the sorted row into chunks,
# and lets each query attend to its own chunk and the one before. Four rules:
#
# 1. The first chunk has none before it.
# 2. A query does not attend to itself,
# 3. unless it sees nobody else: then its output is its own value.
# 4. Apart from that it sees all of both chunks.
#
# Here there is one round, `buckets` has shape `(length,)`, and `causal` is `False`.
#
# How do you see whom a query listens to? The output is a mix of the rows of `v`. Which `v` makes
# the output *be* the weights?
#
# <details><summary>Answer</summary>
#
# A unit matrix, `np.eye(length)`: the output of query $i$ is then its row of weights.
#
# </details>


# %%
def test_window(attend):
    """Raises AssertionError if a query listens to somebody it should not hear, or misses one.

    attend  a function (q, v, buckets, chunk_len, causal) -> (length, d_value)
            q (length, d), v (length, d_value), buckets (length,), length a multiple of chunk_len
    """
    # SOLUTION
    rng = np.random.default_rng(0)
    length = 12
    q, buckets = rng.normal(size=(length, 3)), rng.integers(3, size=length)
    slot = np.argsort(np.lexsort((np.arange(length), buckets)))
    for chunk_len in (1, 3):
        chunk = slot // chunk_len
        back = chunk[:, None] - chunk
        seen = ((back == 0) | (back == 1)) & ~np.eye(length, dtype=bool)
        seen |= np.eye(length, dtype=bool) & ~seen.any(axis=1)[:, None]
        weights = attend(q, np.eye(length), buckets, chunk_len, False)
        assert ((weights > 0) == seen).all(), f"in chunks of {chunk_len}"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: who stands where</summary>
#
# `order` says which position stands in a slot. `np.argsort(order)` turns that round: in which slot
# a position stands. Its chunk is the slot divided by `chunk_len`, rounded down.
#
# </details>
#
# <details><summary>Hint 2: a whole matrix of answers</summary>
#
# `chunk[:, None] - chunk` is a matrix: how many chunks the key stands before the query. Where it is
# 0 or 1 the query sees the key.
#
# </details>
#
# <details><summary>Hint 3: who sees nobody?</summary>
#
# With `chunk_len` 1, the one query of the first chunk.
#
# </details>

# %% tags=["check"]
check.test_window(test_window)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It looks at all pairs at once, and at both kinds of mistake: a key that
# is heard and should not be, and a key that is missed. Chunks of 1 bring the rare case, a query
# that sees nobody.

# %% [markdown]
# ## Part 3: The rounds · ★★★ · 15 minutes
#
# With several rounds, `buckets` has shape `(n_rounds, length)`. Whatever the rounds, the output is
# *one* softmax over all keys that at least one round lets the query see, each key counted once. The
# score of query $i$ and key $j$ is $q_i \cdot q_j / \lVert q_j \rVert$.
#
# The function gets there by a detour: an output for each round, a weight for each round, and a
# $\log N$ taken off. You need not know how it goes. What would be the plainest way to the same
# numbers?
#
# <details><summary>Answer</summary>
#
# A whole matrix of scores, −∞ where no round allows the pair, and a softmax.
#
# </details>


# %%
def test_rounds(attend):
    """Raises AssertionError if several rounds are not one softmax over the union of their keys.

    attend  as in Part 2, with buckets (n_rounds, length)
    """
    # SOLUTION
    rng = np.random.default_rng(1)
    length, chunk_len = 24, 3
    q, v = rng.normal(size=(length, 3)), rng.normal(size=(length, 2))
    buckets = rng.integers(6, size=(4, length))
    union = np.zeros((length, length), bool)
    for one in buckets:
        chunk = np.argsort(np.lexsort((np.arange(length), one))) // chunk_len
        back = chunk[:, None] - chunk
        union |= (back == 0) | (back == 1)
    union &= ~np.eye(length, dtype=bool)
    weights = np.where(union, np.exp(q @ (q / np.linalg.norm(q, axis=1)[:, None]).T), 0)
    wanted = weights / weights.sum(axis=1, keepdims=True) @ v
    out = attend(q, v, buckets, chunk_len, False)
    assert np.allclose(out, wanted, rtol=1e-3, atol=1e-3), "not a softmax over the union"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: from Part 2</summary>
#
# Part 2 has the pairs of one round as a matrix of bools. The union of several is `|`.
#
# </details>
#
# <details><summary>Hint 2: why it must be many rounds</summary>
#
# With two rounds that are alike everything is found twice, and a function that counts twice is
# right again. Take rounds that agree about some pairs and not about others, and more than two of
# them.
#
# </details>

# %% tags=["check"]
check.test_rounds(test_rounds)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It tests the promise, not the way: whoever writes the rounds anew, in
# another order or with another trick, is still held to the same numbers. This is the oracle that
# the package's own tests use.

# %% [markdown]
# ## Part 4: The future · ★★☆ · 10 minutes
#
# With `causal=True` no output may depend on anything later. You could compare with a masked matrix
# once more. There is a shorter way, which needs to know nothing about attention at all, and works
# for whole models. What should happen to the outputs up to position $t$ if everything after $t$ is
# replaced by something else?
#
# <details><summary>Answer</summary>
#
# Nothing. If any of them changes, something has leaked.
#
# </details>


# %%
def test_causal(attend):
    """Raises AssertionError if an output depends on a later position.

    attend  as in Part 3, called with causal=True
    """
    # SOLUTION
    rng = np.random.default_rng(2)
    length, chunk_len = 12, 3
    q, v, other_q, other_v = rng.normal(size=(4, length, 3))
    buckets = rng.integers(4, size=(2, length))
    out = attend(q, v, buckets, chunk_len, True)
    for t in range(1, length):
        late = np.arange(length)[:, None] >= t
        changed = [np.where(late, x, y) for x, y in ((other_q, q), (other_v, v))]
        same = attend(*changed, buckets, chunk_len, True)[:t]
        assert np.allclose(out[:t], same, atol=1e-5), f"position {t} is heard before it comes"
    # END SOLUTION


# %% [markdown]
# <details><summary>Hint 1: which future?</summary>
#
# All of them: a leak may be in the last chunk only, or in one of the rounds. A loop over $t$ is
# cheap here.
#
# </details>
#
# <details><summary>Hint 2: what to change</summary>
#
# The values *and* the queries, which are the keys as well. A later key that gets no weight may
# still stand in the denominator.
#
# </details>

# %% tags=["check"]
check.test_causal(test_causal)

# %% [markdown] tags=["solution-only"]
# **Why it is a good test.** It says what causal means, and nothing else. It would serve for a
# recurrent model, a convolution or a whole Reformer just as well. What it does not see is an
# attention that is too deaf: one that hears nobody leaks nothing. That is Part 2's business.
