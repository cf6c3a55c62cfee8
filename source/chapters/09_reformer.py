# %% [markdown]
# # 09 · Reformer
#
# *Pillar two: time.* The talk promises "up to 1 million tokens on a single GPU or TPU". Every part
# of that promise has had its chapter. This one puts them together, reads a million tokens on a
# machine without any GPU, and asks what the price is.
#
# After this chapter you can
#
# - assemble a Reformer from a Transformer by exchanging two parts, and prove that nothing else has
#   changed;
# - say which part removes which wall, in bytes and in multiplications;
# - train it on thousands of tokens here, and know what a million took;
# - let it write, token by token;
# - say what hashing costs in quality, and when a Reformer is the right tool today.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx import memory, plots
from efftx.compiling import quick_jit  # jax.jit, for what runs a few times on little data
from efftx.plots import reformer as pictures

# %% [markdown]
# ## The promise, asked for
#
# That a model can *read* a million tokens says little. Does it find anything in them? Let us ask. A
# text of 2²⁰ symbols, about a million, is meaningless filler. Somewhere a key stands in it, once,
# with a value behind it; and at a distance of up to a million symbols the same key again. Which
# value follows? Only the first place knows. The 64 values are equally likely, so who guesses is
# right one time in 64. A window of a few thousand tokens can do no more than that.
#
# `experiments/needle.py` asks a model of one layer, 129,031 parameters, with LSH attention. It was
# trained on texts of at most 4,096 symbols, with 4 rounds of hashing. Rounds are no parameters, so
# it can be read with any number of them. **How often will it be right a million symbols away? With
# one round, and with 16?**

# %%
my_guess = plots.ask("the share right at a million with 16 rounds, 0 to 1")

# %%
from efftx.results import recorded
from efftx.training.recall import N_VALUES

needle = recorded("needle")
my_guess.show(
    pictures.draw_needle(needle["rounds"], by_chance=1 / N_VALUES),
    "The share of right answers against the distance between a question and its answer, from 64 to a "
    "million symbols, a line for each number of rounds. With 16 rounds more than three in four are "
    "right at every distance, at a million symbols too; fewer rounds answer less, but all of them "
    "more than chance, and all answer less at a million symbols than at a thousand.",
)
machine = needle["machine"]
print(f"measured on: {machine['processor']}, {machine['cores']} cores, {machine['device']}")
trained_on = needle["config"]["trained_on"]
print(f"a model of {needle['rounds']['1']['n_parameters']:,} parameters, trained on texts", end="")
print(f" of at most {max(n for _, n in trained_on['texts'].values()):,} symbols")
for n, row in needle["rounds"].items():
    print(f"{n:>2} rounds: {row['seconds']:5.0f} s a text, {row['peak_rss_gib']:.1f} GiB at most")
right = {int(n): list(row["right"].values()) for n, row in needle["rounds"].items()}
asked = needle["rounds"]["1"]["answers_at_each_distance"]
print(f"right a million symbols away: {right[1][-1] * asked:.0f} of {asked} with one round", end="")
print(f", {right[16][-1] * asked:.0f} with 16")
assert (right[1][-1] * asked, right[16][-1] * asked) == (6, 31)
assert min(right[16]) > 0.75
assert all(row[-1] < row[1] and min(row) > 5 / N_VALUES for row in right.values())
for n, row in needle["rounds"].items():  # see below: queries a little longer
    assert np.mean(right[int(n)]) > np.mean(list(row["as_trained"].values()))
shares = right[16], list(needle["rounds"]["16"]["as_trained"].values())
assert [round(float(np.mean(share)), 2) for share in shares] == [0.86, 0.67]

# %% [markdown]
# ▸ Six of 40 times with one round, 31 of 40 with sixteen. So this is what the promise means:
# **hashing finds one vector among a million, the more often the more rounds it has, and each round
# takes its time.** It is one model, and another one, trained in the same way on another machine,
# was right less often. And it is a task made for hashing: what is asked for is *equal* to what is
# looked for. Three things helped:
#
# - Sparse QKV ([chapter 11](11_sparse_qkv.ipynb)) lets each position see its two neighbours before
#   itself. Models without it did not learn the task when we tried.
# - There are no positions. The same key is the same vector, wherever it stands.
# - The more keys a softmax weighs, the less is left for the right one. So queries are stretched by
#   the factor ln 2²⁰ / ln 4,096 (Chiang and Cholak 2022). Without it fewer answers were right, with
#   16 rounds 67 instead of 86 %.
#
# The task is called *associative recall*. Arora et al. 2023 found that it explains 82 % of the gap
# between attention and the gated convolutions that were to replace it. But how does one come to
# read, and to train on, a million symbols on such a machine?
#
# ## The question
#
# Take a modest Transformer, 6 layers of width 256, and hand it a text of a million tokens. What
# stands in the way of one training step? The ledger of
# [Where the memory goes](02_where_the_memory_goes.ipynb) tells, line by line. **Which line will be
# the longest, and by what factor?**

# %% tags=["nbval-check-output"]
from efftx.memory.ledger import Step, entries
from efftx.models.reformer import MILLION_TOKENS

SIZES = MILLION_TOKENS
million = Step(**vars(SIZES), length=2**20)
for name, n in sorted(entries(million).items(), key=lambda entry: -entry[1]):
    print(f"{name:20}{n // 2**30:10,} GiB")

# %% [markdown]
# ▸ Attention scores, a quarter of a million GiB of them; the working memory is scores, too, those
# of one layer with their gradients. The longest line without scores has 48 GiB, thousands of times
# less. But suppose the scores were gone: the next lines are too long for a large machine as well.
# There are three walls, one behind the other, and every one of them has been dealt with in a
# chapter:
#
# | wall | grows with | remedy | chapter |
# |---|---|---|---|
# | scores, and their time | length² | attend within buckets | [08](08_lsh_attention.ipynb) |
# | activations of every layer | length × depth | rebuild them | [03](03_reversible_layers.ipynb) |
# | wide arrays in a layer, and logits | length × width | work in chunks | [04](04_chunking.ipynb) |
#
# A fourth one is new and small: most of the parameters are a table of a million positions. We come
# to it.
#
# ## A Transformer with two parts exchanged
#
# In this course a language model is a composition of five parts: how tokens are embedded, the two
# layers of a block, how the blocks are strung together, and the readout. Here are the Transformer
# and the Reformer, in full. **Find the differences.**


# %%
from efftx.models import (
    Sizes,
    attention_layer,
    chunked,
    init_feed_forward,
    language_model,
    lsh,
    plain_residual,
    reformer,
    reversible_residual,
    transformer,
)
from efftx.models.embedding import init_embedding


def a_transformer(key, sizes):
    return language_model(
        key,
        sizes,
        attention_layer(),
        init_feed_forward,
        plain_residual,
        partial(init_embedding, positions="learned"),
    )


def a_reformer(key, sizes, n_hashes=1):
    return language_model(
        key,
        sizes,
        lsh(n_hashes=n_hashes),
        chunked(init_feed_forward, 1024),
        reversible_residual,
        partial(init_embedding, positions="axial"),
    )


def same(ours, theirs):
    """Whether two makers compose the same parts, and draw all numbers in the same way."""
    shapes = [jax.eval_shape(make, key) for make in (ours, theirs)]
    programs = [str(jax.make_jaxpr(make)(key)) for make in (ours, theirs)]
    return shapes[0] == shapes[1] and programs[0] == programs[1]


key = jax.random.key(0)
small = Sizes(n_layers=2, d_model=64, d_ff=128, n_heads=4, d_head=16, max_len=512)
with_2_rounds = partial(reformer, attention=lsh(n_hashes=2))
ours_with_2_rounds = partial(a_reformer, n_hashes=2)
for ours, theirs in ((a_transformer, transformer), (ours_with_2_rounds, with_2_rounds)):
    assert same(*(partial(make, sizes=small) for make in (ours, theirs)))

# %% [markdown]
# These are the package's `transformer` and `reformer`, operation by operation. Four lines differ.
# Two of them are the exchanged parts, **attention** and **residual**; the other two, the chunks and
# the axial positions, save memory and are no different model.

# %%
from efftx.plots import architectures

plots.show(
    architectures.draw_reformer(),
    "The Reformer. The embedding, with axial positions, begins two streams. In a block LSH attention "
    "of the second is added to the first, then the feed-forward layer, in chunks, of the first to the "
    "second. Their mean goes through a norm to the readout, whose loss is taken in chunks. What a "
    "Transformer does not have is orange.",
)

# %% [markdown]
# Is that all? Let us prove it, line by line.
#
# ### Attention
#
# LSH attention approximates shared-QK attention. So if no pair is missed, nothing may be left of
# the difference. We take a layer of each kind with the same weights, and in place of hashing we
# put all positions into one bucket, of one chunk. (With a second bucket pairs are missed.)


# %%
from efftx.models import Attention, Hashed, Shared


def close(a, b, tolerance=1e-5):
    return np.allclose(a, b, rtol=0, atol=tolerance)


exact_layer = attention_layer(Shared())(key, small)
hashed_layer = Attention(exact_layer.projection, Hashed(n_hashes=2, chunk_len=64))
x = jax.random.normal(jax.random.key(1), (64, small.d_model))
one_bucket = jnp.zeros((small.n_heads, 2, 64), jnp.uint8)
exact = jax.jit(lambda x: exact_layer(x)[0])(x)
with_buckets = jax.jit(lambda buckets: hashed_layer(x, replay=buckets)[0])
assert close(with_buckets(one_bucket), exact)
two_buckets = one_bucket.at[..., 32:].set(1)  # the same in both rounds
assert not close(with_buckets(two_buckets), exact, 1e-3)

# %% [markdown]
# Rounds of hashing are no parameters, nor are rotations: they are drawn from the `key` that the
# model is called with. What a Reformer lacks is one projection in each layer, as queries and keys
# share theirs. Against a Transformer *with shared QK* its count is the same:

# %% tags=["nbval-check-output"]
from efftx.models import n_parameters

kinds = {
    "Transformer": transformer,
    "with shared QK": partial(transformer, kind=Shared()),
    "Reformer, learned positions": partial(reformer, positions="learned"),
}
counts = {
    name: n_parameters(jax.eval_shape(partial(make, sizes=small), key))
    for name, make in kinds.items()
}
for name, n in counts.items():
    print(f"{name:30}{n:8,} parameters")
projection = small.d_model * small.n_heads * small.d_head
plain, shared_qk, hashed = counts.values()
assert plain - shared_qk == small.n_layers * projection
assert hashed == shared_qk

# %% [markdown]
# ### The residual
#
# Reversible layers rebuild their activations on the way down. The gradients must be those of
# ordinary backpropagation through *the same* function, with everything stored. Here is that
# function as a residual, with the reference of chapter 03 in it:


# %%
from dataclasses import replace

from efftx.models import pretrained
from efftx.models.branch import branches
from efftx.training.losses import bits_per_byte


def run_branch(branch, x, key, extra, replay=None):
    return branch(x, key, replay=replay)


def stored_residual(blocks, x, keys, extra=None):
    """What reversible_residual computes, in a loop of which autodiff stores everything."""
    runs = (run_branch,) * len(branches(blocks))
    y1, y2 = memory.reversible_stack_reference(runs, branches(blocks), x, x, keys, extra)
    return (y1 + y2) / 2


def relative_error(ours, theirs):
    """Of all arrays together."""
    pairs = [jax.tree.map(np.asarray, jax.tree.leaves(tree)) for tree in (ours, theirs)]
    squares = [(((a - b) ** 2).sum(), (b**2).sum()) for a, b in zip(*pairs, strict=True)]
    return float(np.sqrt(np.divide(*np.sum(squares, axis=0))))


window = pretrained.example_text()[:129]
rebuilt = a_reformer(key, replace(small, n_layers=1), 2)  # chapter 03 has stacked them
stored = replace(rebuilt, residual=stored_residual)
gradient = quick_jit(jax.grad(bits_per_byte))
gap = relative_error(*(gradient(model, window, jax.random.key(3)) for model in (rebuilt, stored)))
print(f"relative error of all gradients: {gap:.0e}")
assert gap < 1e-5

# %% [markdown]
# ### Where the two pillars meet
#
# That the two parts get along is not a matter of course. Going down, a rebuilt vector differs from
# the original in its last digit, and a hash is an argmax: where two axes are nearly tied, it turns
# round, and the position finds itself in another bucket, among other keys. Then something else is
# subtracted than was added. So the forward pass hands its **buckets** to the backward pass, which
# *replays* them. **How much does it matter: how much farther are the streams off if we hash
# again?**


# %%
def up_and_down(model, tokens, dtype):
    """The embedded text, and what is rebuilt of it: with the buckets replayed, and hashed anew."""
    blocks = jax.tree.map(lambda w: w.astype(dtype), branches(model.blocks))
    runs = (lambda branch, x, *rest: run_branch(branch, x.astype(dtype), *rest),) * len(blocks)
    keys = tuple(jax.random.split(jax.random.key(4), (len(blocks), model.n_layers)))
    x = model.embedding(tokens)
    ends, replay = memory.reversible_forward(runs, blocks, x, x, keys)
    undo = partial(memory.reversible_inverse, runs, blocks, *ends, keys)
    return x, undo(replay=replay)[0], undo()[0]


deep = replace(small, n_layers=12, max_len=4096)
deep = quick_jit(partial(a_reformer, sizes=deep, n_hashes=2))(key)
text = jnp.asarray(pretrained.example_text()[:4096])
up_and_down = quick_jit(partial(up_and_down, dtype=jnp.bfloat16))
x, *rebuilt_streams = up_and_down(deep, text)
replayed, anew = (relative_error(ours, x) for ours in rebuilt_streams)
print(f"relative error of the rebuilt stream: {replayed:.0e} replayed, {anew:.0e} hashed anew")
assert anew > 3 * replayed

# %% [markdown]
# ▸ Several times as far, with branches in bfloat16, as accelerators like them. In a quarter of the
# text not one bucket turned on one of the two processors that we tried, and some did on the other.
# That is luck, and the longer the text and the deeper the model, the less there is of it. (In
# float32 there is much more. Exchange the `dtype` and see.)

# %% [markdown]
# ### In chunks, at any length
#
# Chunks of the feed-forward layer change no value, and no length has to be divisible by anything,
# neither by the chunks of hashing nor by those of the layer. (Implementations that you may meet ask
# for multiples of twice the chunk, or for positions whose factors multiply to the length.)

# %%
for n in (1, 511):
    logits = jax.eval_shape(rebuilt, jnp.zeros(n, jnp.uint8), key)
    assert logits.shape == (n, 256)

in_chunks_of_7 = chunked(init_feed_forward, 7)(key, small)
assert close(in_chunks_of_7(x[:100])[0], init_feed_forward(key, small)(x[:100])[0])

# %% [markdown]
# ### Axial positions
#
# A learned vector for each of a million positions makes a table of a million rows. It would be
# larger than all the rest of this model. The Reformer's code lays the positions out as the cells of
# a square, 1,024 lines of 1,024, and learns a vector for each line and for each column. Position
# $i$ gets their sum:
#
# $$p_i = a_{\lfloor i / 1024 \rfloor} + b_{i \bmod 1024}.$$
#
# (The sum is ours. The Reformer's code puts a short vector for the line and another for the column
# behind each other, which makes them as wide as the model only together.)

# %% tags=["nbval-check-output"]
from efftx.models.positions import init_axial

shapes = jax.eval_shape(partial(reformer, sizes=SIZES), key)
table = jax.eval_shape(partial(init_axial, max_len=2**20, d_model=256), key)
rest = n_parameters(shapes) - n_parameters(table)
print(f"a row for each position  {2**20 * 256:12,} numbers")
print(f"axial                    {n_parameters(table):12,} numbers")
print(f"all the rest of it       {rest:12,} numbers")

# %%
axial = init_axial(key, max_len=2**20, d_model=8)
assert len(axial) == 2**20
i = 123_456
assert close(axial[i], axial.first[i // 1024] + axial.second[i % 1024])
assert close(axial[: i + 1][-1], axial[i])

# %% [markdown]
# Two thousand vectors in place of a million. Positions of one line share a term, as neighbours
# should; the price is that the rows are no longer free.
#
# ## Which part removes which wall
#
# Now the measurement. A training step (loss and gradients) at a length of 4,096, with `d_model` 128
# and 2 or 12 layers, as the compiler plans it: the temporary memory beside parameters and their
# gradients. First the Transformer as it is. Then four models with everything in chunks: attention
# exact in blocks or by LSH, the residual plain or reversible. **Which of the two exchanges takes
# the slope along the depth away? What does the other do to memory?**

# %%
from efftx.compiling import planned_bytes
from efftx.models import Blocked
from efftx.plots.reversible_layers import draw_memory


LENGTH, DEPTHS = 4096, (2, 12)
ACTIVATION = LENGTH * 128 * 4


def temporary_bytes(make, n_layers, length=LENGTH):
    sizes = Sizes(n_layers, d_model=128, d_ff=512, n_heads=2, d_head=64, max_len=length)
    model = jax.eval_shape(partial(make, sizes=sizes), jax.random.key(0))
    window = jax.ShapeDtypeStruct((length + 1,), jnp.uint8)
    loss = partial(bits_per_byte, chunk_len=512)
    step = jax.value_and_grad(loss)
    return planned_bytes(step, model, window, jax.random.key(0))


ATTENTIONS = {"exact": attention_layer(Blocked()), "LSH": lsh()}
RESIDUALS = {"plain": plain_residual, "reversible": reversible_residual}
WAYS = {"Transformer": transformer} | {
    f"{which}, {how}": partial(reformer, attention=attention, residual=residual)
    for which, attention in ATTENTIONS.items()
    for how, residual in RESIDUALS.items()
}
n_bytes = {
    name: np.array([temporary_bytes(make, n) for n in DEPTHS]) for name, make in WAYS.items()
}
in_chunks = {name: values for name, values in n_bytes.items() if name != "Transformer"}
plots.show(
    draw_memory(DEPTHS, in_chunks),
    "Temporary memory of a training step with 2 and with 12 layers, for the four models in chunks. "
    "With a plain residual it rises, steeply with exact attention and less with LSH; with reversible "
    "layers both lines are flat, that of LSH a little lower. The Transformer is far above all.",
)
slope = {name: (b - a) / (DEPTHS[1] - DEPTHS[0]) / ACTIVATION for name, (a, b) in n_bytes.items()}
for name, values in n_bytes.items():
    print(f"{name:18}{(values / 2**20).round()} MiB; {slope[name]:6.2f} activations a layer")
assert slope["Transformer"] > 64  # the weights of two heads alone are as large as 64 activations
assert slope["exact, plain"] > 3 * slope["LSH, plain"] > 3
assert max(slope["exact, reversible"], slope["LSH, reversible"]) < 0.1
assert n_bytes["Transformer"][1] > 10 * n_bytes["exact, plain"][1]
assert 1 < n_bytes["exact, reversible"][1] / n_bytes["LSH, reversible"][1] < 2

# %% [markdown]
# The matrix of scores is by far the highest wall, and *exact* attention in blocks takes it away,
# too, not only LSH: that is worth remembering. What is left grows with each layer. ▸ **Only the
# reversible residual takes the slope away**, whatever the attention. LSH keeps fewer arrays for the
# backward pass than attention in blocks, so its line rises less; but beside reversible layers even
# that is no great matter. So hashing is not what memory needs. What it saves is *time*:
#
# ## Speed against length
#
# The talk shows a figure of attention's speed at a **fixed number of tokens**: a batch of many
# short texts, of few long ones, or of a single one. Full attention becomes slower and slower. LSH
# attention stays as fast as it was. **What do you expect here: at which length do the lines
# cross?** The benchmark of chapter 08 has measured it: 8 heads, forward and backward pass, up to
# 262,144 positions. Divided by the number of tokens it is the talk's figure:

# %%
from efftx.plots.lsh_attention import draw_times

benchmark = recorded("attention")


def per_token(who, n_hashes=None):
    """µs for each token, by length."""
    return {
        row["L"]: 1e6 * row["seconds"] / row["L"]
        for row in benchmark["results"]
        if (row["who"], row["pass"], row.get("n_hashes")) == (who, "both", n_hashes)
        and "seconds" in row
    }


curves = {
    "exact, torch flash": per_token("torch flash"),
    "exact, efftx in blocks": per_token("efftx blocked"),
    **{f"LSH, {n} round{'s' * (n > 1)}": per_token("efftx LSH", n) for n in (1, 4, 8)},
}
plots.show(
    draw_times(curves, ylabel="µs for each token"),
    "Microseconds for each token against the length of the texts, both axes logarithmic. The lines "
    "of exact attention rise in proportion to the length; those of LSH attention with 1, 4 and 8 "
    "rounds are nearly level, and higher with more rounds. With 1 round they lie below those of exact "
    "attention at every length, with 4 and 8 from a few thousand tokens on.",
)
machine = benchmark["machine"]
flash = curves["exact, torch flash"]
assert all(curves["LSH, 1 round"][n] < flash[n] for n in flash)
assert curves["LSH, 8 rounds"][1024] > flash[1024]
print(f"measured on: {machine['processor']}, {machine['cores']} cores, {machine['device']}")
for name, curve in curves.items():
    lengths = [n for n in sorted(curve) if n >= 4096]
    print(f"{name:24}{curve[lengths[-1]] / curve[4096]:6.1f} × from 4,096 to {lengths[-1]:,}")

# %% [markdown]
# ▸ With one round there is no crossing: its line lies lower at every length that was measured. With
# 4 and 8 rounds it is a few thousand tokens. And from 4,096 tokens on exact attention takes 4.5 to
# 5 times as long for each token where the text is 4 times as long. LSH attention does not quite
# stay as fast as it was either: 1.3 to 1.7 times as long where the text is 64 times as long.
#
# ## One step
#
# A training step on as long a text as a chapter has memory for, 8,192 tokens: 6 layers of width
# 256, forward and backward pass and Adam's update. (With a Transformer the scores alone would take
# 4 heads × 8,192² × 4 bytes = 1 GiB in each layer.)

# %%
import time

import optax

from efftx.memory.ledger import in_gib
from efftx.training.corpora import python_documentation
from efftx.training.records import peak_rss_gib

LONG = 8192
optimiser = optax.adam(1e-3)


@partial(jax.jit, donate_argnames="state")
def train_step(state, window, key):
    """The next model and optimiser state, in the memory of the ones before, and the loss."""
    model, moments = state
    loss = partial(bits_per_byte, chunk_len=1024)
    value, gradients = jax.value_and_grad(loss)(model, window, key)
    updates, moments = optimiser.update(gradients, moments, model)
    return (optax.apply_updates(model, updates), moments), value


def new_state():
    model = reformer(jax.random.key(0), SIZES, ff_chunk_len=1024)
    return model, optimiser.init(model)


text = python_documentation().train[: LONG + 1]
compiled = train_step.lower(jax.eval_shape(new_state), text, jax.random.key(1)).compile()
state = quick_jit(new_state)()
start = time.perf_counter()
state, loss = jax.block_until_ready(compiled(state, text, jax.random.key(1)))
seconds = time.perf_counter() - start
temporary = compiled.memory_analysis().temp_size_in_bytes
print(f"{LONG:,} tokens, {n_parameters(state[0]):,} parameters: {seconds:.1f} s a step")
print(f"temporary memory {in_gib(temporary)}, process at most {peak_rss_gib():.2f} GiB")
print(f"loss {loss:.2f} bits per byte: it has just begun")
assert temporary < 4 * LONG**2 * 4 / 4  # a quarter of what one layer's scores would take

# %% [markdown]
# Beside other implementations: the same sizes with 2 rounds, each step measured in turn on one
# machine by `benchmarks/reformer.py`, and the longest text (in powers of two) on which each
# completed a step within 12 GiB of memory. What stops the other two at twice that length is memory,
# tried or extrapolated. (Each step also had a limit of time: 600 seconds for them, which none of
# them reached, and 900 for ours.)

# %%
peers = recorded("reformer")
longest = {row["who"]: row["L"] for row in peers.get("largest", [])}
machine = peers["machine"]
print(f"measured on: {machine['processor']}, {machine['cores']} cores, {machine['device']}")
for row in peers["results"]:
    took = f"{row['seconds']:7.1f} s" if "seconds" in row else row["left_out"]
    print(f"{row['who']:18}{row['L']:8,} tokens {took}")
for who, length in longest.items():
    print(f"{who:18} at most {length:,} tokens")

# %% [markdown]
# ## A million tokens
#
# `experiments/million_tokens.py` does the same at 16,384 up to 1,048,576 tokens, with *one* round
# of hashing, each length in a process of its own. **Guess from your step above: how long does a
# step on a million tokens take, and how much memory?**

# %%
del state, compiled

millions = recorded("million_tokens")
steps = [case for case in millions["cases"] if case["n_hashes"] == 1]
machine = millions["machine"]
print(f"measured on: {machine['processor']}, {machine['cores']} cores, {machine['device']}")
print(f"{'tokens':>10}{'seconds':>10}{'µs/token':>10}{'peak GiB':>10}   bits per byte, each step")
for row in steps:
    falling = " ".join(f"{loss:.2f}" for loss in row["losses"])
    print(
        f"{row['L']:10,}{row['seconds']:10.1f}{row['microseconds_per_token']:10.1f}"
        f"{row['peak_rss_gib']:10.2f}   {falling}"
    )
plots.show(
    pictures.draw_steps(
        [row["L"] for row in steps],
        [row["microseconds_per_token"] for row in steps],
        [row["peak_rss_gib"] for row in steps],
    ),
    "Left: microseconds for each token against the length, nearly level. Right: the peak memory of "
    "the whole process, which grows in proportion to the length.",
)
longest = steps[-1]
assert longest["L"] == 2**20
assert longest["peak_rss_gib"] <= 8
depths = longest["temporary_gib_by_depth"]
print("temporary memory of a step on a million tokens: ", end="")
print(", ".join(f"{n} layers {gib:.2f} GiB" for n, gib in depths.items()))
assert depths["24"] < 1.15 * depths["6"]

# %% [markdown]
# ▸ Minutes, and less than 8 GiB. A token takes not much longer than in a text of 16,384, and with
# 24 layers the step's temporary memory is hardly larger than with 6.
#
# One round finds little: in the needle's text of the beginning, at this distance, hardly more than
# one answer of seven. **What do 2, 4 and 8 rounds cost in training, and what are they worth?**

# %%
in_turn = recorded("million_rounds")  # measured one after the other, on another machine
with_rounds_of = {case["n_hashes"]: case for case in in_turn["cases"]}
print(f"measured on: {in_turn['machine']['processor']}, {in_turn['machine']['cores']} cores")
needle, text = recorded("needle")["rounds"], recorded("text_quality")["variants"]
print("rounds | a step, minutes | peak GiB | right a million back | bits worse than exact, on text")
for n, case in with_rounds_of.items():
    found, worse = needle[str(n)]["right"]["1000000"], text[f"lsh_{n}"]["less_shared_qk"]["mean"]
    row = f"{case['seconds'] / 60:15.1f} | {case['peak_rss_gib']:8.1f} | {found:20.0%} | {worse:.3f}"
    print(f"{n:6} | {row}")
assert list(with_rounds_of) == [1, 2, 4, 8]
peaks = [case["peak_rss_gib"] for case in with_rounds_of.values()]
assert max(peaks) < 1.1 * min(peaks)
assert needle["8"]["right"]["1000000"] > 4 * needle["1"]["right"]["1000000"]
assert text["lsh_8"]["less_shared_qk"]["mean"] < text["lsh_1"]["less_shared_qk"]["mean"] / 15

# %% [markdown]
# ▸ 2 rounds take less than twice as long as one, 8 rounds four times, and hardly more memory: what
# a round computes is worked off before the next one begins. And it is worth it: with 8 rounds
# four times as many answers are right, and on text a fifteenth of the loss is left. So "a million
# tokens" without the number of rounds says little. (Nothing was *trained* at a million here: these
# are single steps. The answers and the bits are those of the models above and below.)
#
# "Single GPU or TPU", says the promise. We have neither. But their compilers run without the
# device, and say what a program would take there at its peak: `benchmarks/accelerators.py` gave
# them this step, and that of `SIXTEEN_GB`, a Reformer of 24 layers of width 1,024 at 2¹⁸ tokens,
# for two devices with 16 GB. These programs were compiled, **not run**; how long a step takes there
# we do not know.

# %%
from efftx.plots.accelerators import draw_compiled, lines_of_compiled

for_devices = recorded("accelerators")
plots.show(
    draw_compiled(for_devices, "round, Adam", budget=16e9),
    "Bars of the GiB that two programs take at their peak, on an NVIDIA T4 and on a TPU v5e, as their "
    "compilers plan it; all end before the dashed line of 16 GB.",
)
print("\n".join(lines_of_compiled(for_devices, "round, Adam")))
fits = [row for row in for_devices["results"] if "round, Adam" in row["program"]]
assert len(fits) == 4
assert all(row["peak_bytes"] < 16e9 for row in fits)

# %% [markdown]
# ## What would it cost?
#
# For other depths, lengths and rounds: the ledger's memory, and the time that the multiplications
# alone would take at the rate at which your machine multiplies matrices. No step can be faster than
# that; real ones also hash, sort, gather and norm. The crosses are the measured steps of the table
# above (at its depth and rounds). Their memory is that of the whole process, interpreter and
# compiler included, so short ones lie above the ledger's line. Long ones lie below it, for the
# ledger does not know that the package works off one head after another, in place.


# %%
def matmul_rate(n=2048, repeats=3):
    """Multiplications and additions a second of a large product of matrices in float32."""
    a = jnp.ones((n, n))
    multiply = jax.jit(lambda a: a @ a)
    multiply(a).block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        multiply(a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


rate = matmul_rate()
print(f"this machine: {rate / 1e9:.0f} GFLOP/s")
costs = {
    "sizes": million,
    "rate": rate,
    "budget": 16 * 2**30,
    "measured": [(row["L"], row["peak_rss_gib"], row["seconds"]) for row in steps],
}
pictures.show_costs(2**16, 6, 1, **costs)

# %%
import ipywidgets as widgets

length = widgets.SelectionSlider(
    options=[(pictures.short(n), n) for n in pictures.LENGTHS],
    value=2**20,
    description="length",
    continuous_update=False,
)
depth = widgets.SelectionSlider(
    options=[1, 2, 6, 12, 24, 48], value=6, description="layers", continuous_update=False
)
rounds = widgets.SelectionSlider(
    options=[1, 2, 4, 8], value=1, description="rounds", continuous_update=False
)
choices = {"length": length, "n_layers": depth, "n_hashes": rounds}
display(
    widgets.HBox([length, depth, rounds]),
    widgets.interactive_output(partial(pictures.show_costs, **costs), choices),
)

# %% [markdown]
# ## Is it as good?
#
# So it is possible. Is it worth it? LSH attention leaves out pairs, and what it leaves out might
# have been needed. Three experiments, from the kindest to the hardest.
#
# ### A trained model, hashed afterwards
#
# The small text model of chapter 08 was trained with exact shared-QK attention. `with_rounds` keeps
# its parameters and exchanges its attention. How many bits per byte does it need on a text that it
# never saw, with how many rounds? **Guess: how many rounds until you see no difference?**

# %%
from efftx.models import with_rounds

trained = pretrained.small_text_model("shared_qk")
window = pretrained.example_text()[:1025]
bits = {}
loss_of = quick_jit(bits_per_byte)
for n_rounds in (None, 8, 1):
    hashed = with_rounds(trained, n_rounds, chunk_len=32)
    bits[n_rounds] = float(loss_of(hashed, window, jax.random.key(0)))
    name = "exact" if n_rounds is None else f"LSH-{n_rounds}"
    print(f"{name:16}{bits[n_rounds]:.3f} bits per byte")
assert bits[None] < bits[8] < bits[1]

# %% [markdown]
# ▸ With 8 you still do: 2.479 bits per byte, where exact attention needs 2.413. It is a small
# difference. With one round it is a very large one: this model was trained without hashing.
#
# ### A task that needs one particular key
#
# The paper's hardest test of hashing is copying. A text is $0\,w\,0\,w$ with random symbols $w$,
# and the second $w$ has to be predicted from the first. Each symbol has to be looked up at *one*
# position, and if the hash does not find it, the model can only guess, one in 127.
#
# We train one live, 128 symbols long: one layer with exact shared-QK attention. On whole texts such
# a model long stays at guessing, ln 127 = 4.84 nats, for the symbol to copy is one among many and
# nothing yet tells it apart. So it begins with excerpts, 4 places of both copies, and in the middle
# of its 150 steps goes over to the whole. **How will its loss go down, steadily or at once?**

# %%
from efftx.models import step
from efftx.training import duplication as task
from efftx.training.loop import train
from efftx.training.optimisers import adamw

copied = recorded("duplication")
short, long = copied["tasks"]["short"], copied["tasks"]["long"]
N_STEPS = 150


def excerpts_at(step):
    """1,024 symbols: in short excerpts at first, then in whole texts."""
    window = 8 if step < N_STEPS // 2 else 128
    return task.excerpts_at(step, seed=0, length=128, batch=1024 // window, window=window)


copier = language_model(
    jax.random.key(0),
    Sizes(**short["config"]["sizes"]),
    attention_layer(Shared()),
    init_feed_forward,
    plain_residual,
)
live = train(
    copier,
    loss=task.excerpt_loss,
    batch_at=excerpts_at,
    optimiser=adamw(N_STEPS, peak=1e-2),
    n_steps=N_STEPS,
)
losses = np.asarray(live.losses)
assert round(np.log(127), 2) == 4.84
print("loss, in nats: ", " ".join(f"{loss:.2f}" for loss in losses.reshape(-1, 25).mean(axis=1)))
assert losses[:5].mean() > 4.5
assert losses[-20:].mean() < losses[:20].mean() / 10

# %% [markdown]
# ▸ At once, after some time in which it hardly moves. Where the texts become whole it leaps up for
# a moment, and is back within some 25 steps.
#
# Rounds are no parameters, so the trained model can be read with any number of them. **How many
# symbols will it find with a single one, and how many with 8?**

# %%
ROUNDS = ("Full", "LSH-8", "LSH-4", "LSH-2", "LSH-1")
fresh = task.batch_at(N_STEPS, seed=99, length=128, batch=64)
hashed = with_rounds(live.model, 1, chunk_len=8)
right = 100 * float(task.accuracy(hashed, fresh, key))
print(f"% right, live:   LSH-1 {right:.1f}")
row = short["per_cent"]["Full"]
recorded_right = (f"{name} {row[name]['by_seed']}" for name in ("LSH-1", "LSH-8"))
print("three recorded: ", ", ".join(recorded_right))
assert 50 < right < 90

# %% [markdown]
# ▸ About two in three with a single one, and nearly all of them with 8: so it is in the lower line,
# from `experiments/duplication.py`, with twice as many steps and three seeds. That experiment also
# trained models with LSH attention of 4, 2 and 1 rounds. Here is the whole table, once more at the
# paper's length, and the paper's own. **Before you look: will models that grew up with hashing do
# better with few rounds, or worse?**


# %%
def table_of(per_cent):
    """Rows: trained with; columns: evaluated with."""
    return np.array([[row[name]["mean"] for name in ROUNDS] for row in per_cent.values()])


paper = copied["paper"]
plots.show(
    pictures.draw_accuracies(
        {
            f"here, {short['L']} symbols, {len(short['seeds'])} seeds": table_of(short["per_cent"]),
            f"here, {long['L']:,} symbols, 1 seed": table_of(long["per_cent"]),
            f"the paper, {paper['L']:,} symbols": np.array(
                [list(row.values()) for row in paper["per_cent"].values()]
            ),
        },
        trained=list(paper["per_cent"]),
        evaluated=list(ROUNDS),
    ),
    "Three tables of accuracies in per cent, a row for what a model was trained with and a column "
    "for what it was evaluated with: here at 128 symbols, here at 1,024, and Table 2 of the paper.",
)
print(f"symbols seen: {short['symbols_seen']:,} at {short['L']}, ", end="")
print(f"{long['symbols_seen']:,} at {long['L']:,}; the paper: {paper['n_steps']:,} steps")
for table in (short, long):
    assert np.all(np.diff(table_of(table["per_cent"])[:, 1:]) <= 0)  # fewer rounds find fewer
    assert np.all(table_of(table["per_cent"])[:, :2] > 99.9)  # exact, and with 8 rounds
with_one = {name: row["LSH-1"]["mean"] for name, row in long["per_cent"].items()}
assert (round(with_one["LSH-1"]), round(with_one["Full"])) == (92, 77)

# %% [markdown]
# Read the tables **by row**: the more rounds in reading, the fewer symbols are missed, whatever a
# model was trained with. With 8 rounds nearly nothing is. This is the paper's finding, and it holds
# here.
#
# **By column** it becomes interesting. ▸ Models that grew up with hashing do better with few
# rounds. Here, the fewer rounds a model was *trained* with, the better it reads with few: one round
# finds 92 % of the symbols of a long text if the model grew up with one round, and 77 % if it grew
# up with exact attention. Who has only one try seems to learn vectors that fall into one bucket. In
# the paper the order among the three is the other way round.
#
# And one column is another altogether. The paper's models that were trained with hashing know
# nothing when read with **exact** attention: 0.8 % is guessing, one in 127. Ours copy without a
# mistake. The two trainings differ in much (150,000 steps there, some hundred here, which begin
# with excerpts), and we do not know which of it decides. A possible reason: hashing hides most
# keys, so training need never learn to push *those* down, and exact attention shows them all.

# %% [markdown]
# ### Text
#
# Copying is the extreme. What does hashing cost on ordinary text? `experiments/text_quality.py`
# trained small models of Python source, all with the same number of parameters, on the same bytes,
# in windows of up to 2,048: with full attention, with shared queries and keys, with 8, 4, 2 and 1
# rounds of LSH attention, with windows only, with a window layer below and an LSH layer above, and
# with no attention at all. Three seeds each. **Put them in order before you look. How far apart
# will "full" and "no attention" be?**

# %%
quality = recorded("text_quality")
NAMES = {
    "full": "full",
    "shared_qk": "shared QK",
    "lsh_8": "LSH, 8 rounds",
    "lsh_4": "LSH, 4 rounds",
    "lsh_2": "LSH, 2 rounds",
    "lsh_1": "LSH, 1 round",
    "local_then_lsh_4": "window, then LSH-4",
    "local": "windows only",
    "off": "no attention",
}
variants = quality["variants"]
plots.show(
    pictures.draw_seeds(
        {name: variants[kind]["bits_per_byte"] for kind, name in NAMES.items()},
        xlabel="bits per byte, held-out text",
    ),
    "Bits per byte on held-out text for nine kinds of attention: a grey dot for each seed, and the "
    "mean with its 95 % interval.",
)
print("bits per byte more than with shared QK, on average over the seeds")
for kind, name in NAMES.items():
    print(f"{name:30}{variants[kind]['less_shared_qk']['mean']:+.3f}")
for question, answer in quality["answers"].items():
    low, high = answer["interval_95"]
    print(f"{question:30}{answer['mean']:+.3f}   95 % interval {low:+.3f} … {high:+.3f}")

gap = {name: variants[name]["less_shared_qk"]["interval_95"] for name in ("lsh_8", "lsh_4")}
assert gap["lsh_8"][0] < 0 < gap["lsh_8"][1]  # no difference that three seeds could show
assert gap["lsh_4"][0] > 0.1
assert quality["answers"]["lsh_4 less off"]["interval_95"][1] < -0.5
assert quality["answers"]["local_then_lsh_4 less local"]["interval_95"][0] > 0

# %% [markdown]
# ▸ Best are exact attention with shared QK and windows only, level with each other. Then comes
# hashing, the fewer rounds the worse (with a window below it, between 8 and 4 rounds), and at the
# end no attention. "Full", which one expects at the top, stands between 2 rounds and 1, only 0.39
# bits before "no attention". Three answers are in these lines, and a warning.
#
# **8 rounds are nearly as good as the exact attention that they approximate**, shared QK. All three
# seeds are a little worse, by 0.04 bits on average, and the interval of that mean still holds the
# zero. With 4 rounds it is 0.18 bits, with 2 rounds 0.36, and with 1 round, that of the million
# tokens above, 0.55.
#
# **The LSH layers matter very much:** without attention the model is 0.64 bits worse than with 4
# rounds.
#
# **But on this text a window is as good as exact attention**, at a fraction of the work. And an LSH
# layer on top of a window layer does not help: it makes things *worse* by 0.12 bits. Models this
# small predict the next byte from the last few dozen. A window sees all of these; 4 rounds of
# hashing miss some, and find distant ones that such a model has no use for. Hashing pays where
# something *far away* decides, as in copying. Where nothing does, it only costs.
#
# **The warning: "full" is an artefact.** Full attention with separate queries and keys stands near
# the bottom, and its three seeds far apart. That is no virtue of hashing. **Was it worse all the
# time?** The experiment trains 500 steps on windows of 128 and 100 more on windows of 2,048:

# %%
before, after = {}, {}
for kind in ("full", "local", "shared_qk"):
    runs = [run["training_curve"] for run in quality["runs"] if run["attention"] == kind]
    before[kind], after[kind] = np.array(runs)[:, 24], np.array(runs)[:, 25]  # means of 20 steps
    print(f"{NAMES[kind]:14}before the windows grow {before[kind].mean():.2f} bits,", end=" ")
    print(f"in the next 20 steps {after[kind].mean():.2f}")
assert abs(before["full"] - before["local"]).max() < 0.1
assert (after["full"] - before["full"]).min() > 0.8
assert (after["local"] - before["local"]).max() < 0.1

# %% [markdown]
# ▸ It was not. On short windows it was as good as the others; where the windows grow its loss leaps
# up by almost a bit, and in the hundred steps that are left it does not catch up with the others.
# So this figure shows what a *sudden* change of length does to it, and says nothing about full
# attention that was trained at one length. Compare each LSH line with shared QK, the same thing
# without hashing, and do not read "LSH beats full attention" out of it.
#
# One more table is in the file: each model read with other rounds than it was trained with.

# %%
print("trained with        read with " + "".join(f"{n:>8}" for n in ("1", "2", "4", "8", "exact")))
for kind in ("lsh_1", "lsh_2", "lsh_4", "lsh_8", "shared_qk"):
    cells = [each["mean"] for each in variants[kind]["read_with"].values()]
    print(f"{NAMES[kind]:30}" + "".join(f"{bits:8.3f}" for bits in cells))
    assert cells[0] > cells[1] > cells[2] > cells[3]
for n in (1, 2, 4):
    read = {kind: variants[kind]["read_with"][str(n)]["mean"] for kind in NAMES if "lsh" in kind}
    del read["local_then_lsh_4"]  # its lower layer does not hash
    assert min(read, key=read.get) == f"lsh_{n}"

# %% [markdown]
# Every row falls as far as 8 rounds: **train with few, read with many** costs nothing in training
# and wins a good part of the loss back, though not all of it. And nobody reads with 1, 2 or 4
# rounds as well as the model that was trained with so many: a model learns to live with the rounds
# that it has.

# %% [markdown]
# ## What the work buys
#
# Copying, text, and the needle of the beginning: on one of them hashing loses to a window, on the
# others there is no comparison yet. `experiments/recall.py` makes one. It is the needle's task with
# a text of 32,768 symbols, and models of equal size: exact attention, a window, and 1 to 8 rounds
# of hashing, each trained on the same texts of up to 4,096. Work is what each of them does in any
# case: the products of a query and a key for each position. (Exact attention skips what is to come,
# and needs half of them.) **Put the models in order for both tasks, this one and the text above.**

# %%
recall = recorded("recall")
AT_32K, FAR = "32768", "16384"
SHORT = {"lsh_8": "8 rounds", "lsh_4": "4 rounds", "lsh_2": "2 rounds", "lsh_1": "1 round"}
answered = {
    name: (row["scores"][AT_32K] / int(AT_32K), row["right"][AT_32K][FAR]["mean"])
    for name, row in recall["variants"].items()
}
PER_ROUND = 2 * quality["config"]["chunk_len"]  # a chunk and the one before it
WORK = {"shared_qk": 2048 / 2, "local": PER_ROUND}
WORK |= {f"lsh_{n}": n * PER_ROUND for n in (1, 2, 4, 8)}
written = {name: (2 * n, variants[name]["bits_per_byte"]["mean"]) for name, n in WORK.items()}
written["local_then_lsh_4"] = (  # of two layers, as the others
    PER_ROUND + 4 * PER_ROUND,
    variants["local_then_lsh_4"]["bits_per_byte"]["mean"],
)
NAMED = SHORT | {
    "full": "exact",
    "shared_qk": "exact, shared QK",
    "window": "window",
    "local": "window",
    "window_then_lsh_4": "window, 4 rounds",
    "local_then_lsh_4": "window, 4 rounds",
}
plots.show(
    pictures.draw_work(
        {
            "recall, 16,384 symbols back": (
                "share of right answers",
                {NAMED[n]: point for n, point in answered.items() if n != "shared_qk"},  # as exact
            ),
            "text: less is better": (
                "bits per byte",
                {NAMED[name]: point for name, point in written.items()},
            ),
        }
    ),
    "Two pictures, scores for each position on a logarithmic axis. Left, recall: a window has few "
    "scores and is never right, rounds of hashing rise with their number, exact attention is always "
    "right with the most scores by far. Right, text: a window needs no more bits per byte than exact "
    "attention with shared QK, and the fewest scores; hashing needs fewer bits with each doubling of "
    "the rounds, and with 8 comes near both.",
)
seconds = recall["seconds_to_read"]["by_kind"]
assert max(n for _, n in recall["config"]["texts"].values()) == 4096
assert recall["config"]["n_steps"] == 1100
for name, (scores, share) in answered.items():
    print(
        f"{NAMED[name]:18}{scores:8,.0f} scores a position, {share:6.1%} right; "
        f"{seconds[name][AT_32K]['median']:5.2f} s to read it all"
    )
n_seeds = len(recall["seeds"])
print(f"{n_seeds} seed{'s' * (n_seeds > 1)}, guessing would be right in {1 / N_VALUES:.1%}")
assert answered["window"][1] < 0.05
assert answered["lsh_1"][1] < answered["lsh_2"][1] < answered["lsh_4"][1] < answered["lsh_8"][1]
assert answered["lsh_8"][1] > 0.85
assert answered["window_then_lsh_4"][1] < 0.05
assert answered["full"][0] > 30 * answered["lsh_8"][0]
assert answered["full"][1] > 0.99
assert abs(written["local"][1] - written["shared_qk"][1]) < 0.02
assert written["local"][1] < min(written[name][1] for name in SHORT)

# %% [markdown]
# **Far away, hashing wins.** A window is not right more often than by guessing, at this distance
# and at any that it does not reach, and no window that reaches 16,384 symbols would be cheaper than
# the exact model. Eight rounds find almost nine answers of ten with a thirtieth of the exact
# model's scores; and while its scores double with the length, theirs stay. **Nearby, the window
# wins**: it is as good as the exact model, as far as three seeds can tell, with the fewest scores.
# So ask of a task what it needs: the last few dozen, or one thing that may stand anywhere.
#
# To have both is not as easy as to put one upon the other. The model with a window layer below four
# rounds of hashing ended with the window's loss, and its upper layer had learned nothing, not even
# for exact reading. It is trained like the others, in 1,100 steps; what it would need, we have not
# found out.

# %% [markdown]
# ## Writing
#
# A model that reads a million tokens should also write the next one. Reading everything again for
# each new token would be absurd: what earlier positions contribute, their keys, values and buckets,
# has not changed. So it stands in a **cache** of a fixed size. A new query hashes itself, and
# attends to all cached keys that share its bucket in at least one round.
#
# Is that the same function? The whole model sorts, cuts into chunks and looks one chunk back; the
# step does nothing of the kind. **When can the two differ?** ▸ Only where a bucket is longer than a
# chunk. As long as none is, they find the same keys, and every step is the whole model's. We give
# it an ordinary text, and one that is nearly all blanks, so that most of its positions fall into
# one bucket:

# %%
from efftx.models import prefill


N_PROMPT = 20


def step_by_step(model, tokens, key):
    """The logits after the prompt, and after each further token."""
    logits, state = prefill(model, tokens[:N_PROMPT], capacity=len(tokens), key=key)
    one = lambda state, token: step(model, state, token)[::-1]  # noqa: E731
    return jnp.concatenate([logits[None], jax.lax.scan(one, state, tokens[N_PROMPT:])[1]])


@quick_jit
def gap_of_steps(model, tokens, key):
    """How far each step's logits are from the whole model's."""
    whole = model(tokens, key)[N_PROMPT - 1 :]
    return jnp.abs(step_by_step(model, tokens, key) - whole).max(axis=1)


model = reformer(jax.random.key(0), small, attention=lsh(n_hashes=2, chunk_len=48, n_buckets=4))
blanks = np.where(np.arange(100) % 10, ord(" "), window[:100])
roomy, crowded = (
    gap_of_steps(model, tokens, jax.random.key(1)) for tokens in (window[:100], blanks)
)
print(f"no bucket longer than a chunk:  logits differ by at most {roomy.max():.0e}")
print(f"a bucket longer than a chunk:   {(crowded > 1e-4).mean():.0%} of steps differ, ", end="")
print(f"by up to {crowded.max():.1g}")
assert roomy.max() < 1e-5
assert crowded.max() > 1e-3

# %% [markdown]
# Where buckets are crowded the step finds *more* than the whole model, namely keys of its bucket
# that lie further back than a chunk. That is no error of the step, but a model that was trained
# without these keys now sees them. With the default of half a chunk for each bucket it is rare.
#
# ## Where this stands today
#
# The Reformer is from 2020. What has become of its parts?
#
# **Exact attention no longer needs the matrix.** The $L^2$ scores were the wall that everyone saw.
# Since FlashAttention (Dao et al. 2022) exact attention is computed block by block in every large
# library; [Attention is sparse](06_attention_is_sparse.ipynb) builds it, and it is the second line
# in the figures above. So memory is no reason for hashing any more. Time is: $L^2$ multiplications
# remain. But multiplications are what processors are best at, GPUs even more than CPUs, while
# hashing means sorting and gathering. The length from which hashing is faster lies the further to
# the right, the better a machine multiplies.
#
# **What is used in place of hashing.** Long texts are read with
#
# - windows: most layers look at the last few thousand tokens, some at everything (Longformer,
#   Mistral 7B and many since);
# - more machines: the text is spread over many, and exact attention goes round in a ring (Ring
#   Attention);
# - smaller caches: several heads share keys and values (grouped queries);
# - states of a fixed size in place of a cache (Mamba, linear attention), often mixed with a few
#   layers of attention;
# - a *learned* choice of keys: in DeepSeek's sparse attention a small network scores all earlier
#   tokens and the query attends to the best 2,048. That is the Reformer's idea, "find the few keys
#   that matter first", with a trained selection in the place of random rotations.
#
# Hashing itself has come back where a cache is read: HyperAttention (2023) finds large scores by
# it, MagicPIG (2024) samples cached keys. And the other half has stayed. A loss in chunks is
# standard with large vocabularies, and reversible layers are used where activations are the wall,
# as in reversible vision transformers.
#
# **The doubts of implementers.** The author of a much used implementation in PyTorch wrote in March
# 2020 that he no longer believed the Reformer to learn as well as full attention, not even with
# many rounds, and advised to keep the reversible layers and to switch full attention on
# ([reformer-pytorch#69](https://github.com/lucidrains/reformer-pytorch/issues/69)). A user answered
# that with long texts there is nothing to compare with: some loss of quality is better than not
# being able to run at all. Two years later another one switched off the LSH layers of a published
# model, and on short inputs its loss stayed the same to the last digit
# ([transformers#16972](https://github.com/huggingface/transformers/issues/16972)). The measurements
# above are our answer to both.
#
# **When is a Reformer still the right tool?** ▸ In the first two of these cases, not in the third:
#
# - Where *depth × length* is the wall, on one machine: take chunks and reversible layers, whatever
#   the attention. Chunks change no value. Reversible layers make another network, which learned as
#   well as far as chapter 03 could tell, for a third more arithmetic.
# - Where the text is far longer than the crossing that you measured, and what a position needs is
#   *one or a few* similar positions far away. Recall and copying are such tasks, recurrence in
#   music or code may be.
# - Not for short texts, not to run an existing model, and not where a window would do: then local
#   attention is simpler, and faster.
#
# ## Its limits, honestly
#
# - **It is an approximation that trains.** The model learns to live with its hashes; how well
#   depends on the task, and no theorem tells.
# - **It leaks a little.** Where chunks end depends on later tokens, so a causal LSH model that
#   reads whole texts knows slightly more than it will when it writes (chapter 08 measures it).
# - **Time is linear, not small.** A million tokens took minutes for *one* step, and training takes
#   many thousands of them.
# - **Memory is linear in the length.** Depth is free, length is not: two streams, their gradients
#   and a few arrays of vectors must exist.
# - **A million tokens of context are worth what the model makes of them.** The needle shows that a
#   model finds what was put there to be found. Nothing here shows that a model *of text* uses
#   anything that far away.
# - **Nothing here ran on a GPU or a TPU.** `efftx.models.reformer.SIXTEEN_GB` is a preset of
#   which their compilers say that it fits.
#
# ## Exercises
#
# [Four parts](../exercises/09_reformer.ipynb): axial positions, the backward pass of a block that
# hashes, candidates from a cache, and the look-up, which together decode; and an experiment to
# predict. The solutions are [here](../solutions/09_reformer.ipynb).
#
# ## Sources
#
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451): Table 2 and figure 5.
# - The talk "Efficient Transformers": a million tokens; attention's speed against length.
# - The ML Reproducibility Challenge 2020's study of the Reformer,
#   [reformer_fastai](https://github.com/arampacha/reformer_fastai).
# - T. Dao et al.: *FlashAttention*, NeurIPS 2022,
#   [arXiv 2205.14135](https://arxiv.org/abs/2205.14135).
# - I. Beltagy et al.: *Longformer*, 2020, [arXiv 2004.05150](https://arxiv.org/abs/2004.05150);
#   A. Q. Jiang et al.: *Mistral 7B*, 2023, [arXiv 2310.06825](https://arxiv.org/abs/2310.06825).
# - H. Liu et al.: *Ring Attention*, 2023, [arXiv 2310.01889](https://arxiv.org/abs/2310.01889).
# - J. Ainslie et al.: *GQA*, 2023, [arXiv 2305.13245](https://arxiv.org/abs/2305.13245);
#   A. Gu, T. Dao: *Mamba*, 2023, [arXiv 2312.00752](https://arxiv.org/abs/2312.00752).
# - S. Arora et al.: *Zoology: Measuring and Improving Recall in Efficient Language Models*, 2023,
#   [arXiv 2312.04927](https://arxiv.org/abs/2312.04927); D. Chiang, P. Cholak: *Overcoming a
#   Theoretical Limitation of Self-Attention*, ACL 2022,
#   [arXiv 2202.12172](https://arxiv.org/abs/2202.12172).
# - DeepSeek-AI: *DeepSeek-V3.2*, 2025: DeepSeek Sparse Attention.
# - I. Han et al.: *HyperAttention*, ICLR 2024,
#   [arXiv 2310.05869](https://arxiv.org/abs/2310.05869); Z. Chen et al.: *MagicPIG*, 2024,
#   [arXiv 2410.16179](https://arxiv.org/abs/2410.16179).
# - K. Mangalam et al.: *Reversible Vision Transformers*, CVPR 2022,
#   [arXiv 2302.04869](https://arxiv.org/abs/2302.04869).
