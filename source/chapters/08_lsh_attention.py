# %% [markdown]
# # 08 · LSH attention
#
# *Pillar two: time.* Attention compares every position with every other. Most of these comparisons
# come to nothing. This chapter builds the Reformer's way around them: **bucket, sort, chunk,
# attend**.
#
# After this chapter you can
#
# - say what each of the steps does, and write each in a few lines;
# - explain why several rounds of hashing are joined by their log-sum-exps, and what log N is for;
# - prove that the efficient version computes exactly a softmax over a known set of pairs;
# - say what LSH attention gets wrong, and how much.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx import attention, plots
from efftx.plots import lsh_attention as pictures

# %% [markdown]
# ## The question
#
# For a sequence of $L$ positions, attention fills a matrix of $L \times L$ scores. At $L = 2^{20}$,
# a million tokens, one such matrix in float32 takes $4 \cdot 2^{40}$ bytes, 4 TiB.
#
# But the softmax turns most scores into weights of almost zero. A query only hears the keys whose
# score is among the largest. **If we knew for each query which few keys those are, could we skip
# all the others?**
#
# ▸ Yes: left out, a weight of almost zero changes the sum by almost nothing. The difficulty is to
# know these few *without computing every score*.
#
# A large score $q \cdot k$ between vectors of given lengths means that they point in a similar
# direction. So we are looking for *nearest neighbours on the sphere*, and for that there is an old
# trick: a **locality-sensitive hash**, a function that puts nearby vectors into the same bucket
# more often than distant ones. Only vectors that share a bucket are compared.
#
# Two preparations make this easy (Kitaev et al., section 2):
#
# - **Shared QK.** Queries and keys come from one projection. Then "query *i* is near key *j*" is
#   the same as "vectors *i* and *j* are near each other", and one hash serves both.
# - **Keys of length one**, $k_j = q_j / \lVert q_j \rVert$. A key then counts by its direction
#   only, which is all that the hash sees.

# %% [markdown]
# ## Real vectors
#
# Everything below works on vectors that a model really uses. A small Transformer with shared QK was
# trained on the source code of Python's standard library, byte by byte; here are the `qk` and `v`
# vectors of the heads of its second layer, for 512 characters of a file that it never saw.

# %%
from efftx.models import attention_vectors, pretrained

LAYER, HEAD, LENGTH = 1, 0, 512
tokens = pretrained.example_text()[:LENGTH]
text = bytes(tokens).decode("ascii")
heads_qk, heads_v = attention_vectors(pretrained.small_text_model("shared_qk"), tokens)[LAYER]
qk, v = heads_qk[HEAD], heads_v[HEAD]  # each (length, d_head)
print(text[:160], "…")

# %% [markdown]
# What LSH attention is meant to approximate is exact attention with these shared vectors. A vector
# is always most similar to itself, so a position may attend to **itself only as a last resort**:
# the very first position has nothing else.
#
# $$o_i = \sum_{j<i} p_{ij}\, v_j, \qquad p_{ij} = \frac{\exp(q_i \cdot k_j)}{\sum_{l<i} \exp(q_i \cdot k_l)}$$


# %%
def exact_attention(qk, v):
    """(length, d_head), (length, d_value) -> (length, d_value), through the L × L matrix."""
    position = jnp.arange(len(qk))
    scores = qk @ attention.unit_keys(qk).T
    scores = jnp.where(position[:, None] > position, scores, -jnp.inf)
    scores = scores.at[0, 0].set(0.0)  # the last resort
    return jax.nn.softmax(scores, axis=-1) @ v


exact = exact_attention(qk, v)
assert jnp.allclose(exact, attention.shared_qk_attention(qk, v, causal=True), atol=1e-5)

# %% [markdown]
# ## Step 1: bucket
#
# Take a random matrix $R$ with $b/2$ columns, rotate the vector, and see which axis it lands
# nearest to, in the positive or the negative direction. With $b/2$ axes there are $b$ buckets:
#
# $$h(x) = \operatorname{argmax}\,[\,xR;\; -xR\,]$$
#
# Two vectors that point the same way land near the same axis. Nothing is learned here; $R$ is drawn
# once from a Gaussian. (Chapter 07 looks at how often this works.)


# %%
def bucket(x, rotation):
    """(length, d_head), (d_head, n_buckets / 2) -> (length,) bucket of each vector."""
    rotated = x @ rotation
    return jnp.argmax(jnp.concatenate([rotated, -rotated], axis=-1), axis=-1)


n_buckets, chunk_len = 16, 32
rotations = attention.random_rotations(jax.random.key(0), qk.shape[1], n_buckets, n_hashes=1)
buckets = bucket(qk, rotations[0][0])
assert (buckets == attention.hash_vectors(qk, rotations)[0]).all()
assert (buckets == bucket(attention.unit_keys(qk), rotations[0][0])).all()  # length plays no role

# %% [markdown]
# ## Step 2: sort
#
# Members of a bucket are scattered over the sequence. A computer likes them side by side. So we
# sort the positions **by bucket, and within a bucket by position**. The order within a bucket will
# matter in a moment. **Can you say for what?**


# %%
def sort(buckets):
    """(length,) -> (length,): the positions, ordered by (bucket, position)."""
    position = jnp.arange(len(buckets))
    return jnp.lexsort((position, buckets))  # the last key is the first to sort by


order = sort(buckets)
assert (order == attention.sort_by_bucket(buckets, n_buckets)).all()

# %% [markdown]
# ## Step 3: chunk
#
# Buckets have all sizes, and a GPU or a CPU wants equal pieces. So the sorted sequence is cut into
# **chunks of m positions**, without regard to buckets. A bucket may then straddle a border. To
# mend most of that, every chunk also looks at the chunk before it.
#
# Before you read on: the first chunk has no chunk before it. What should it see there?


# %%
def chunk(x, order, m):
    """(length, …) -> (length / m, m, …): sorted, and cut into chunks."""
    return x[order].reshape(-1, m, *x.shape[1:])


def look_back(chunks, fill=0):
    """(chunks, m, …) -> (chunks, 2m, …): each chunk with the one before it, the first with a filler."""
    before = jnp.concatenate([jnp.full_like(chunks[:1], fill), chunks[:-1]])
    return jnp.concatenate([before, chunks], axis=1)


tiny = chunk(jnp.arange(6), jnp.arange(6), 2)
print(look_back(tiny, fill=-1))

# %% [markdown]
# Nothing: a filler that is never attended to. (Some implementations let the first chunk look
# at the *last* one, by wrapping around. We come back to that.)
#
# And here is what the order within a bucket is for. ▸ A chunk looks *back*, so what is earlier in
# the text must stand before it. Sort the members of each bucket the other way round, and count
# which pairs of a bucket can still meet:

# %%
position = jnp.arange(LENGTH)
in_one_bucket = (buckets[:, None] == buckets) & (position[:, None] > position)


def can_meet(order, m):
    """(length, length): query i and an earlier key j of its bucket, in its chunk or the one before."""
    of_chunk = jnp.argsort(order) // m
    back = of_chunk[:, None] - of_chunk
    return in_one_bucket & ((back == 0) | (back == 1))


met = can_meet(order, chunk_len)
met_reversed = can_meet(jnp.lexsort((-position, buckets)), chunk_len)
print(
    f"{in_one_bucket.sum():,} pairs share a bucket. {met.sum():,} can meet; with the order within"
)
print(f"each bucket reversed {met_reversed.sum():,}")
assert met_reversed.sum() < met.sum() / 2
assert (met == (attention.reach_count(buckets[None], chunk_len=chunk_len) > 0)).all()

# %% [markdown]
# So sort by position, and four pairs in ten still are lost. We come back to those as well.
#
# ## Step 4: attend
#
# Within its $2m$ keys, a query attends to those **in its own bucket** and **before it**. Itself
# gets a score of $-10^5$: so small that it counts only when nothing else does. We also return the
# log of the softmax's denominator, since the next step needs it.


# %%
from jax.nn import logsumexp


def attend_one_round(qk, v, buckets, m, count=None):
    """One round: output (length, d_value) and log-sum-exp (length,) of every query."""
    order = sort(buckets)
    position = jnp.arange(len(qk))
    q, q_position, q_bucket = (chunk(x, order, m) for x in (qk, position, buckets))
    k = look_back(chunk(attention.unit_keys(qk), order, m))
    values = look_back(chunk(v, order, m))
    k_position, k_bucket = look_back(q_position, fill=-1), look_back(q_bucket, fill=-1)

    scores = jnp.einsum("cqd,ckd->cqk", q, k)
    if count is not None:  # N_ij, see below
        scores -= jnp.log(jnp.maximum(count[q_position[:, :, None], k_position[:, None, :]], 1))
    same_bucket = q_bucket[:, :, None] == k_bucket[:, None, :]
    earlier = k_position[:, None, :] < q_position[:, :, None]
    itself = k_position[:, None, :] == q_position[:, :, None]
    scores = jnp.where(same_bucket & earlier, scores, -jnp.inf)
    scores = jnp.where(itself, -1e5, scores)

    lse = logsumexp(scores, axis=-1)
    out = jnp.exp(scores - lse[..., None]) @ values
    place = jnp.argsort(order)  # undo the sort: where each position went
    return out.reshape(len(v), -1)[place], lse.reshape(-1)[place]


ours, lse = attend_one_round(qk, v, buckets, chunk_len)
theirs = attention.lsh_attention(
    qk, v, buckets=buckets[None], n_buckets=n_buckets, chunk_len=chunk_len
)
assert jnp.allclose(ours, theirs, atol=1e-5)

# %% [markdown]
# These are all the steps of one round, and the last line says that the package computes the same.
#
# ## The picture
#
# The talk draws these steps with coloured boxes. Here they are for 32 characters of the text and
# the vectors of this head, with 8 buckets and chunks of 4. The colour is the bucket. **Before you
# look: do you expect equal letters to share a bucket? Must they?**

# %%
piece = slice(348, 380)
piece_rotations = attention.random_rotations(jax.random.key(7), qk.shape[1], 8, 1)
piece_buckets = np.asarray(attention.hash_vectors(qk[piece], piece_rotations)[0])
plots.show(
    pictures.draw_steps(text[piece], piece_buckets, 4, query=21),
    "Bucket, sort, chunk, attend. Equal colours are equal buckets. The lines at the bottom lead "
    "from keys to the queries that attend to them: in the same bucket, earlier in the text, and "
    "in the query's own chunk or the one before. One query's way is drawn in orange.",
)

# %% [markdown]
# ▸ A vector is made from the letter *and* its surroundings, so equal letters may share a bucket,
# but need not: here the three blanks do, and of the three t no two. Look for a bucket that is cut
# by two borders: its later members no longer see the first ones.
#
# Step through it yourself, and follow any character.

# %%
import ipywidgets as widgets

step = widgets.IntSlider(value=1, min=0, max=4, description="step", continuous_update=False)
query = widgets.IntSlider(value=21, min=0, max=31, description="query", continuous_update=False)
callback = partial(pictures.step_through, text=text[piece], buckets=piece_buckets, chunk_len=4)
display(
    widgets.HBox([step, query]),
    widgets.interactive_output(callback, {"step": step, "query": query}),
)

# %% [markdown]
# As matrices: on the left all pairs in the same bucket, scattered. Sorting moves them to the
# diagonal. Chunking keeps what lies inside the black boxes, all of the same size, $m \times 2m$:
# that is what makes the work regular, and linear in $L$.

# %%
plots.show(
    pictures.draw_reach(np.asarray(buckets[:256]), chunk_len),
    "Three 256 by 256 matrices, queries in rows and keys in columns. Left: pairs of the same bucket, "
    "scattered. Middle: sorted by bucket they form triangles on the diagonal. Right: each "
    "chunk of 32 queries sees two chunks of keys, and pairs outside these boxes are lost.",
)

# %% [markdown]
# ## Several rounds
#
# A single hash is a gamble: two near vectors may fall on different sides of a border. The remedy is
# to hash again with another $R$. If one round finds a pair with probability $p$, then $r$ rounds
# find it with probability $1 - (1-p)^r$.
#
# Each round gives an output $o^{(r)}$ and a log-sum-exp $z^{(r)}$, its share of the whole
# denominator. **How should they be joined? Is the mean good enough?**
#
# ▸ Not by their mean. Suppose a query finds its best key in round 1 only, and only poor ones in the
# other rounds: the mean would give the poor ones most of the say. A softmax over everything that
# was found has the denominator $\sum_r e^{z^{(r)}}$, and round $r$ owns the fraction
#
# $$w^{(r)} = \frac{e^{z^{(r)}}}{\sum_s e^{z^{(s)}}}, \qquad o = \sum_r w^{(r)}\, o^{(r)}.$$


# %%
def combine(outs, lses):
    """(n_hashes, length, d_value), (n_hashes, length) -> (length, d_value)."""
    weights = jax.nn.softmax(lses, axis=0)
    return jnp.einsum("rl,rld->ld", weights, outs)


n_hashes = 4
rotations = attention.random_rotations(jax.random.key(1), qk.shape[1], n_buckets, n_hashes)
all_buckets = attention.hash_vectors(qk, rotations)
rounds = [attend_one_round(qk, v, b, chunk_len) for b in all_buckets]
naive = combine(*map(jnp.stack, zip(*rounds, strict=True)))

# %% [markdown]
# ### Counting twice
#
# Is this the softmax over the *union* of what the rounds found? Let us build that, with the whole
# matrix, as an oracle. `reach_count` says in how many rounds query *i* reaches key *j*; call it
# $N_{ij}$.

# %%
count = attention.reach_count(all_buckets, chunk_len=chunk_len)


def union_attention(qk, v, count):
    """Softmax over every pair that at least one round reaches, each taken once."""
    scores = jnp.where(count > 0, qk @ attention.unit_keys(qk).T, -jnp.inf)
    scores = jnp.where(jnp.eye(len(qk), dtype=bool), -1e5, scores)
    return jax.nn.softmax(scores, axis=-1) @ v


def relative_error(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


union = union_attention(qk, v, count)
error_without_discount = relative_error(naive, union)
print(f"without log N, the output is off by {error_without_discount:.1%}")
assert error_without_discount > 0.01

# %% [markdown]
# It is not. A pair found in three rounds was counted three times, so its weight is three times too
# large. The remedy stands in the paper: subtract $\log N_{ij}$ from the score. Three copies of a
# third make one.

# %%
rounds = [attend_one_round(qk, v, b, chunk_len, count) for b in all_buckets]
discounted = combine(*map(jnp.stack, zip(*rounds, strict=True)))
assert relative_error(discounted, union) < 1e-5

# %% [markdown]
# With the discount, the rounds together are **exactly** the softmax over the union of their pairs.
# And so is the package's function:

# %%
efficient = attention.lsh_attention(
    qk, v, buckets=all_buckets, n_hashes=n_hashes, n_buckets=n_buckets, chunk_len=chunk_len
)
assert relative_error(efficient, union) < 1e-5
reference = attention.lsh_attention_reference(qk, v, all_buckets, chunk_len=chunk_len)
assert relative_error(efficient, reference) < 1e-5

# %% [markdown]
# ## How the package does it
#
# `efftx.attention.lsh_attention` never builds the $L \times L$ matrix `count`. It needs three
# ideas, and you can read them in `efftx/attention/layout.py` and `chunks.py`.
#
# 1. **One subtraction tells whether a round reaches a pair.** Give every position the number code =
#    chunk + 2 · bucket. Then $\text{code}_i - \text{code}_j$ is 0 (same bucket, same chunk) or 1
#    (same bucket, chunk before) exactly when the pair is reached. Try to find a pair that breaks
#    this: in the sorted sequence neither bucket nor chunk ever decreases.
# 2. **Each pair is served once.** Instead of dividing by $N_{ij}$, a pair is kept in the first
#    round that reaches it and left out of later ones. One copy of weight one is the same as $N$
#    copies of weight $1/N$, and needs neither a count nor a logarithm.
# 3. **No weight is kept for the backward pass**, only the output, its log-sum-exp $z_i$ and where
#    each position stood. A pair's weight is rebuilt as $e^{s_{ij} - z_i}$ when its gradient is
#    needed, so memory stays linear in $L$.
#
# The first idea as a check, over all pairs and rounds:


# %%
def reached_by_code(buckets, m):
    """(length, length): whether code_i − code_j is 0 or 1."""
    place = jnp.argsort(sort(buckets))
    code = place // m + 2 * buckets
    difference = code[:, None] - code
    return (difference == 0) | (difference == 1)


earlier = jnp.tril(jnp.ones((len(qk), len(qk)), bool), -1)
by_code = sum((reached_by_code(b, chunk_len) & earlier).astype(int) for b in all_buckets)
assert (by_code == count).all()

# %% [markdown]
# And the memory, as the compiler plans it. Doubling the length doubles what LSH attention needs, in
# the forward and the backward pass together; the full matrix takes four times as much.


# %%
from efftx.compiling import planned_bytes


def working_memory(attend, length):
    """Bytes that the compiled gradient of `attend` needs beyond its inputs and outputs."""
    shape = jax.ShapeDtypeStruct((length, 32), jnp.float32)
    gradient = jax.grad(lambda qk, v: attend(qk, v).sum(), argnums=(0, 1))
    return planned_bytes(gradient, shape, shape)


by_hash = partial(attention.lsh_attention, key=jax.random.key(0), n_hashes=2, chunk_len=32)
by_matrix = partial(attention.shared_qk_attention_reference, causal=True)
for name, attend in [("LSH, 2 rounds", by_hash), ("whole matrix", by_matrix)]:
    at_4k, at_8k = working_memory(attend, 4096), working_memory(attend, 8192)
    print(f"{name:14} {at_4k / 2**20:6.1f} MiB at 4,096  {at_8k / 2**20:6.1f} MiB at 8,192")
    if attend is by_hash:
        assert at_8k < 2.1 * at_4k
    else:
        assert at_8k > 3.9 * at_4k

# %% [markdown]
# ## How good is it?
#
# The oracle proved that we compute *what we meant*. Is it near *exact attention*? **Predict: does
# the error fall faster with more rounds, or with longer chunks?**
#
# The error is $\lVert o - o_\text{exact}\rVert / \lVert o_\text{exact}\rVert$ over all heads of the
# layer. The number of buckets follows the chunk, $2L/m$, so that a bucket fills half a chunk on
# average.
#
# (A trick saves compiling: we always run 8 rounds, and to have only $n$ of them we repeat the first
# $n$. In a union, what is there already adds nothing.)

# %%
my_guess = plots.ask("the error of 8 rounds with chunks of 64")

# %%
ROUNDS = (1, 2, 4, 8)
heads_exact = jax.vmap(partial(attention.shared_qk_attention, causal=True))(heads_qk, heads_v)


def error_of_heads(n_rounds, chunk_len, semantics="paper"):
    n_buckets = attention.default_n_buckets(len(qk), chunk_len)
    rotations = attention.random_rotations(jax.random.key(2), qk.shape[1], n_buckets, 8)
    rounds = jax.vmap(lambda x: attention.hash_vectors(x, rotations))(heads_qk)
    hashed = jax.vmap(
        lambda qk, v, buckets: attention.lsh_attention(
            qk, v, buckets=buckets, n_hashes=8, chunk_len=chunk_len, semantics=semantics
        )
    )(heads_qk, heads_v, rounds[:, jnp.arange(8) % n_rounds])
    return relative_error(hashed, heads_exact)


errors = {f"chunk {m}": np.array([error_of_heads(n, m) for n in ROUNDS]) for m in (16, 32, 64)}
my_guess.show(
    pictures.draw_errors(ROUNDS, errors, ylabel="relative error"),
    "Error against exact attention falls with every doubling of the rounds, and with longer chunks.",
)
print("rounds   ", *(f"{n:6}" for n in ROUNDS))
for name, series in errors.items():
    print(f"{name:9}", *(f"{error:6.2f}" for error in series))
    assert (np.diff(series) < 0).all()
assert errors["chunk 16"][2] < 0.6 * errors["chunk 64"][0]  # as many scores: 4 · 16 = 1 · 64
assert min(series[0] for series in errors.values()) > 0.9

# %% [markdown]
# ▸ **With more rounds.** Both cost alike: twice the rounds or twice the chunk, twice the scores.
# Four times the chunk, with one round, takes little off the error; four times the rounds takes off
# more than half. A longer chunk sees more of the same bucket; another round asks another question.
#
# And be warned of the first column. Zeros, in place of the whole attention, would have an error of
# 1. By this measure one round is hardly better than nothing, or worse, for *these* vectors, which
# were trained with exact attention. A model that is trained with few rounds learns to live with
# them, as chapter 09 will show.

# %% [markdown]
# ## Its limits, honestly
#
# ### It leaks a little about the future
#
# A causal model must not know what comes later. LSH attention with causal mask does not attend to
# later positions. Yet look at *where chunks end*: that depends on how many members each bucket has,
# and later tokens are members too. **Change only the last vector: which earlier outputs move?**

# %%
changed = qk.at[-1].set(-qk[-1])
round_of = partial(
    attention.lsh_attention, v=v, n_buckets=n_buckets, n_hashes=n_hashes, chunk_len=chunk_len
)


def change_before_last(**how):
    a, b = round_of(qk, **how), round_of(changed, **how)
    return np.asarray(jnp.linalg.norm(a - b, axis=1) / jnp.linalg.norm(a, axis=1))[:-1]


leak = {
    "hashed anew": change_before_last(key=jax.random.key(3)),
    "buckets given": change_before_last(buckets=all_buckets),
}
plots.show(
    pictures.draw_leak(leak),
    "How much the output at each earlier position moves when only the last vector changes. Hashed "
    "anew, some outputs move, because chunk borders shift; with the buckets given, none does.",
)
n_moved = int((leak["hashed anew"] > 1e-6).sum())
print(
    f"{n_moved} of {len(qk) - 1} earlier outputs move, by at most {leak['hashed anew'].max():.1%}"
)
assert n_moved > 0
assert (leak["buckets given"] == 0).all()

# %% [markdown]
# ▸ Two in five of all the earlier ones: most of them hardly, a few by a good part of their length.
# No position *attends* to a later one, but which of the earlier keys it finds depends a little on
# what is still to come: a causal LSH model that sees whole sequences knows slightly more than it
# would when it decodes token by token. The paper does not discuss this.
#
# ### Implementations differ from the paper
#
# trax and Hugging Face leave out the bucket mask (a query attends to all of its two chunks), the
# log N discount, and the mask of the first chunk's look-back. `semantics="trax"` switches to that.
# **Is it worse?**

# %%
by_semantics = {
    name: np.array([error_of_heads(n, 32, name) for n in ROUNDS]) for name in ("paper", "trax")
}
plots.show(
    pictures.draw_errors(ROUNDS, by_semantics, ylabel="relative error"),
    "With one or two rounds trax's looser rule is nearer to exact attention. With eight the paper's "
    "is: then counting pairs several times costs more than the additional keys are worth.",
)
print({name: series.round(3).tolist() for name, series in by_semantics.items()})
assert by_semantics["trax"][0] < by_semantics["paper"][0]
assert by_semantics["paper"][-1] < by_semantics["trax"][-1]

# %% [markdown]
# ▸ It depends. Without the bucket mask a query sees more keys, and with few rounds more keys help:
# with one or two the looser rule is nearer to exact attention, with four it is as near, with eight
# farther away. Then it finds the same neighbours again in every round, and each time they gain
# weight. More rounds lead it to a softmax that is not the one we wanted, while the paper's union
# goes on towards it.

# %% [markdown]
# ### At short lengths it is slower
#
# Hashing, sorting and gathering cost time of their own. Below some length the exact way wins; that
# is what `full_below` is for. Where the border lies depends on your machine, so measure it:

# %%
import time


def milliseconds(attend, length, repeats=5):
    vectors = jax.random.normal(jax.random.key(0), (length, 64))
    run = jax.jit(lambda x: attend(x, x))
    run(vectors).block_until_ready()  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(vectors).block_until_ready()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


hashed = partial(attention.lsh_attention, key=jax.random.key(0), n_hashes=4)
blocked = partial(attention.shared_qk_attention, causal=True)
print("one head, forward pass     LSH, 4 rounds    exact, in blocks")
for length in (1024, 4096):
    ours, theirs = milliseconds(hashed, length), milliseconds(blocked, length)
    print(f"{length:17,} positions {ours:10.1f} ms {theirs:16.1f} ms")

# %% [markdown]
# That was one head, once, on your machine. `make bench` takes longer and looks closer: 8 heads of
# width 64, forward and backward pass, up to 262,144 positions, and the contenders take turns.
# **Before you look: how do the lines of exact attention and of LSH attention differ in slope? And
# do four rounds cost four times as much as one?**

# %%
from efftx.results import recorded

measured = recorded("attention")


def seconds_by_length(who, n_hashes=None):
    return {
        row["L"]: row["seconds"]
        for row in measured["results"]
        if (row["who"], row["pass"], row.get("n_hashes")) == (who, "both", n_hashes)
        and "seconds" in row
    }


times = {
    "LSH, 1 round": seconds_by_length("efftx LSH", 1),
    "LSH, 4 rounds": seconds_by_length("efftx LSH", 4),
    "LSH, 8 rounds": seconds_by_length("efftx LSH", 8),
    "exact, torch flash": seconds_by_length("torch flash"),
    "exact, efftx in blocks": seconds_by_length("efftx blocked"),
}
machine = measured["machine"]
print(f"measured on: {machine['processor']}, {machine['cores']} cores, {machine['device']}")
print("4 rounds take", end=" ")
four_for_one = {n: times["LSH, 4 rounds"][n] / t for n, t in times["LSH, 1 round"].items()}
print(", ".join(f"{ratio:.1f} × at {n:,}" for n, ratio in four_for_one.items()), "of the time of 1")
for name, series in times.items():
    shortest, longest = min(series), max(series)
    slope = np.log(series[longest] / series[shortest]) / np.log(longest / shortest)
    print(f"{name:23} slope {slope:.2f} from {shortest:,} to {longest:,}")
    assert 0.8 < slope < 1.2 if "LSH" in name else 1.6 < slope < 2.1
for rounds in (1, 4, 8):
    name = f"LSH, {rounds} round{'s' if rounds > 1 else ''}"
    ours, exact = times[name], times["exact, torch flash"]
    faster = [length for length in sorted(exact) if length in ours and ours[length] < exact[length]]
    print(f"{name}: ahead of torch's flash attention from {faster[0]:,} positions on")
plots.show(
    pictures.draw_times(times),
    "Seconds of a forward and backward pass against length, both on logarithmic scales. Exact "
    "attention is steeper. The lines of LSH attention lie higher with more rounds; with 4 or 8 rounds "
    "they cross those of exact attention between a thousand and sixteen thousand positions.",
)

# %% [markdown]
# ▸ Exact attention without the $L^2$ matrix saves memory, and its time still grows with the square
# of the length: its line comes to slope 2 where lengths are large. LSH attention has slope 1 over
# all, if not in each piece of the line, and with four rounds or eight a start that is more
# expensive. Four rounds do not cost four times as much as one: less than that at short lengths,
# more at long ones. (Why, this table does not tell.) Where the lines cross is a matter of the
# machine: hashing, sorting and gathering are paid in memory accesses, exact attention in
# multiplications. The more multiplications a machine does for each access, the further to the right
# they cross. On yours the lines will lie elsewhere; their slopes come from what is counted, $L^2$
# here and $L$ there.

# %% [markdown]
# ### What it cannot find
#
# - A hash only sees directions. A head that spreads its attention evenly has no few best keys, and
#   no hash will find them.
# - A bucket that spreads over three chunks loses pairs, whatever the hash says. How many are they?
# - It is random. Pass the same `key` (or the buckets themselves) to get the same result again.

# %%
from collections import Counter

lost = in_one_bucket & ~met
print(
    f"of the round above {lost.sum() / in_one_bucket.sum():.0%} of the pairs of a bucket are lost:"
)
for b, size in Counter(buckets.tolist()).most_common(5):
    of_b = (lost & (buckets == b)[:, None]).sum()
    print(f"  in a bucket of {size:3} {of_b:5,}")
assert 0.3 < lost.sum() / in_one_bucket.sum() < 0.45

# %% [markdown]
# Nearly all of them in three buckets, several chunks long, where this head's vectors crowd. But
# already one of 40 may be cut by two borders, if they fall badly: chunks are 32 long here.
#
# ## Then and now
#
# > Nobody we know of trains large models with LSH attention as it stands here. Hashing lives where
# > a long cache of keys is *read*. *MagicPIG* (ICLR 2025) keeps hash tables on the CPU and samples
# > from them ([arXiv 2410.16179](https://arxiv.org/abs/2410.16179)); *RetrievalAttention* (2024)
# > searches an index for each token and touches 1 to 3 % of the keys ([arXiv
# > 2409.10516](https://arxiv.org/abs/2409.10516)).
#
# ## Exercises
#
# [Four parts](../exercises/08_lsh_attention.ipynb): sort and undo it, find out which keys a query
# may see, attend in one round, join several, and predict an experiment. The solutions are
# [here](../solutions/08_lsh_attention.ipynb).
#
# ## Sources
#
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), section 2 and appendix A.
# - A. Andoni, P. Indyk, T. Laarhoven, I. Razenshteyn, L. Schmidt: *Practical and Optimal LSH for
#   Angular Distance*, NeurIPS 2015, [arXiv 1509.02897](https://arxiv.org/abs/1509.02897).
# - The talk "Efficient Transformers" by Kaiser, Kitaev, Levskaya and colleagues: the five pictures.
# - What trax and Hugging Face do differently was read in their code.
