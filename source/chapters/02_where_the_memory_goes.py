# %% [markdown]
# # 02 · Where the memory goes
#
# *Pillar one: memory.* Before we save memory we want to know who takes it. This chapter writes a
# ledger of a training step, entry by entry, from nothing but the sizes of the model, and compares
# it with what JAX keeps.
#
# After this chapter you can
#
# - say what a training step keeps, and which part of it grows with what;
# - look up in JAX what the backward pass is handed by the forward pass;
# - predict the largest batch that fits into a given memory, before you run anything;
# - tell for each technique of this course which entry of the ledger it shortens.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp

from efftx import plots
from efftx.plots import where_the_memory_goes as pictures

GIB = 2**30

# %% [markdown]
# ## The question
#
# The talk shows this table. It says how many examples of which length one can put into a batch when
# BERT-Large is fine-tuned on a graphics card with 12 GB:

# %% tags=["nbval-check-output"]
from efftx.memory import bert

for length, batch in bert.QUOTED_MAX_BATCH.items():
    print(f"{length:4} tokens: batch {batch:2}")

# %% [markdown]
# From 384 tokens on, not even one example fits. BERT-Large is a network of 335 million parameters,
# and 335 million float32 numbers take 1.3 GB. **What fills the other ten?** Make a guess before you
# read on, and give it a number: how many bytes does a single token cost?
#
# ## What a step holds, whatever the batch
#
# Let us count. The parameters first, part by part:

# %% tags=["nbval-check-output"]
for part, count in bert.parameters_by_part().items():
    print(f"{part:13}{count:12,}")
n_bert = sum(bert.parameters_by_part().values())
print(f"{'together':13}{n_bert:12,}")
assert n_bert == 335_141_888

# %% [markdown]
# Each of them is there four times in training: the number itself, its gradient, and two moving
# averages that the optimiser Adam keeps, of the gradient and of its square. With 4 bytes each:

# %%
per_parameter = {"parameter": 4, "gradient": 4, "Adam's first moment": 4, "Adam's second moment": 4}
fixed = sum(per_parameter.values()) * n_bert
print(f"parameters {4 * n_bert / 1e9:.2f} GB, all four {fixed / 1e9:.2f} GB")
assert round(fixed / 1e9, 2) == 5.36

# %% [markdown]
# Nearly half of the card is gone before the first token comes in. But this part does not grow with
# batch or length, so it does not explain the table.
#
# ## What the forward pass keeps
#
# The backward pass goes through the network from the end to the beginning, and at each operation it
# needs something that the forward pass had in hand. For $y = xW$ the gradient of $W$ is $x^\top g$,
# so $x$ must be kept. For $y = \text{ReLU}(a)$ it must know where $a$ was positive. All these
# arrays wait in memory from the moment they are made until the backward pass comes by. They are
# called *activations*.
#
# JAX lets us look. `jax.vjp` returns the output and a function that does the backward pass, and
# that function is a pytree: its leaves are what it keeps. `jax.eval_shape` tells their shapes and
# computes nothing. **What will a feed-forward layer on 100 positions keep?**


# %%
def feed_forward(w1, b1, w2, x):
    return jax.nn.relu(x @ w1 + b1) @ w2


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


arguments = floats(8, 32), floats(32), floats(32, 8), floats(100, 8)
kept = jax.eval_shape(lambda *arguments: jax.vjp(feed_forward, *arguments)[1], *arguments)
shapes = [(leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(kept)]
for shape, dtype in shapes:
    print(f"{shape!s:12} {dtype}")
assert ((100, 8), "float32") in shapes  # x, for the gradient of w1
assert ((100, 32), "float32") in shapes  # the inside after the ReLU, for the gradient of w2
assert ((100, 32), "bool") in shapes  # where the inside is positive

# %% [markdown]
# ▸ The two matrices, which are there anyway; $x$; the inside after the ReLU; and its signs. (JAX
# may list one more array of the inside's shape. It is full of zeros, from JAX's rule for the ReLU,
# and a compiler throws it out.)
#
# What is kept *beyond what was given* is the memory we are looking for. This function adds it up:


# %%
def kept_arrays(f, *arguments) -> list:
    """What the forward pass hands to the backward pass, beyond the arguments themselves."""
    forward = lambda *arguments: jax.tree.leaves(jax.vjp(f, *arguments)[1])  # noqa: E731
    program = jax.make_jaxpr(forward)(*arguments).jaxpr
    given = set(map(id, program.invars))
    return list({id(v): v.aval for v in program.outvars if id(v) not in given}.values())


def kept_bytes(f, *arguments) -> int:
    return sum(array.size * array.dtype.itemsize for array in kept_arrays(f, *arguments))


def two_products(w1, w2, x):
    return x @ w1 @ w2


assert kept_bytes(two_products, floats(8, 32), floats(32, 8), floats(100, 8)) == 100 * 32 * 4

# %% [markdown]
# ## The rules
#
# Now a whole block, as small as it can be written: two norms, attention with its heads, a
# feed-forward layer. A deep network is a `lax.scan` over such blocks.


# %%
def norm(scale, shift, x):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / jnp.sqrt(variance + 1e-5) * scale + shift


def attention(w_in, w_out, x):
    q, k, v = jnp.einsum("lm,mphd->phld", x, w_in)
    scores = q @ k.mT / jnp.sqrt(q.shape[-1])
    weights = jax.nn.softmax(jnp.where(jnp.tri(len(x), dtype=bool), scores, -1e30))
    return jnp.einsum("hld,hdm->lm", weights @ v, w_out)


def network(blocks, x):
    def block(x, weights):
        of_norm_1, of_attention, of_norm_2, of_feed_forward = weights
        x = x + attention(*of_attention, norm(*of_norm_1, x))
        return x + feed_forward(*of_feed_forward, norm(*of_norm_2, x)), None

    return jax.lax.scan(block, x, blocks)[0]


N, LENGTH, D_MODEL, D_FF, N_HEADS, D_HEAD = 3, 100, 64, 256, 2, 24  # three blocks
of_norm = floats(N, D_MODEL), floats(N, D_MODEL)
of_attention = floats(N, D_MODEL, 3, N_HEADS, D_HEAD), floats(N, N_HEADS, D_HEAD, D_MODEL)
of_feed_forward = floats(N, D_MODEL, D_FF), floats(N, D_FF), floats(N, D_FF, D_MODEL)
blocks = of_norm, of_attention, of_norm, of_feed_forward
everything = kept_arrays(network, blocks, floats(LENGTH, D_MODEL))

# %% [markdown]
# What has an axis of three waits once for each block. We count these arrays by what one position
# has in them, and leave out means and variances, single numbers. **Which shapes do you expect, and
# how many of each?**

# %% tags=["nbval-check-output"]
from collections import Counter

PARTS = {64: "as wide as the model", 48: "all heads", 200: "scores", 256: "as wide as d_ff"}
of_block = Counter()
for array in everything:
    if array.shape[:1] == (N,) and LENGTH in array.shape and array.shape[-1] > 1:
        of_block[f"{PARTS[array.size // (N * LENGTH)]}, {array.dtype}"] += 1
for what, count in of_block.items():
    print(f"{count:3} x {what}")
assert of_block == {
    "as wide as the model, float32": 8,
    "all heads, float32": 4,
    "scores, float32": 2,
    "as wide as d_ff, float32": 1,
    "as wide as d_ff, bool": 1,
}

# %% [markdown]
# ▸ Eight are as wide as the model: each of the two norms keeps three for its own gradient, and what
# it hands on, the input of the layer behind it. Four are q, k, v and what the heads return. Two are
# scores, before the softmax and after it. And there is the inside of the feed-forward layer, with
# its signs, which take a quarter of its bytes. In float32 numbers for each position:
#
# | part | arrays | width |
# |---|---|---|
# | two layer norms | 3 each, and the input of what follows | $d_\text{model}$ |
# | attention, vectors | q, k, v and what the heads return | $n_\text{heads} \cdot d_\text{head}$ |
# | attention, scores | before the softmax, and after it | $n_\text{heads} \cdot L$ |
# | feed-forward | the inside, and its signs at a quarter of the size | $d_\text{ff}$ |
#
# Three rows of this table have the same width at any length. The scores do not. **At which length
# are they half of all, if $d_\text{model}$ = 64 and there are two heads of 32?**


# %%
def numbers_per_position(length, d_model, d_ff, n_heads, d_head):
    """What a block keeps for each position, without the single numbers."""
    return {
        "norms": 2 * (3 + 1) * d_model,
        "vectors": 4 * n_heads * d_head,
        "scores": 2 * n_heads * length,
        "feed-forward": 1.25 * d_ff,
    }


for length in (64, 272, 1024):
    parts = numbers_per_position(length, d_model=64, d_ff=256, n_heads=2, d_head=32)
    print(f"{length:5} positions: scores {parts['scores'] / sum(parts.values()):.0%}")

# %% [markdown]
# ▸ At 272 positions. From there on the scores are the larger half, and they keep growing.
#
# ## A ledger for the whole model
#
# `efftx.memory.ledger` does this bookkeeping for every part of the model, and for every technique
# of the course that changes it. A `Step` names the sizes. Is it right? We take a model of five
# blocks, add up what `jax.vjp` of its loss keeps, and compare.

# %%
from dataclasses import replace

from efftx.memory.ledger import Step, activation_bytes, n_parameters
from efftx.models import Blocked, Exact, Sizes, transformer
from efftx.models import n_parameters as count_parameters
from efftx.training.losses import bits_per_byte

sizes = Sizes(n_layers=5, d_model=64, d_ff=256, n_heads=2, d_head=32, max_len=1024, vocab=256)
step = Step(**vars(sizes), length=300, batch=2)
KINDS = {"full": Exact(), "blocked": Blocked()}


def program_of(step):
    """The mean loss over a batch, and the shapes of a model and of a batch to call it with."""

    def make():
        shape = replace(sizes, n_layers=step.n_layers)
        kind = KINDS[step.attention]
        return transformer(jax.random.key(0), shape, kind=kind, ff_chunk_len=step.ff_chunk_len)

    def loss(model, windows):
        one = partial(bits_per_byte, chunk_len=step.loss_chunk_len)
        return jax.vmap(one, in_axes=(None, 0))(model, windows).mean()

    windows = jax.ShapeDtypeStruct((step.batch, step.length + 1), jnp.int32)
    return loss, jax.eval_shape(make), windows


loss, model, windows = program_of(step)
assert n_parameters(step) == count_parameters(model)

really = kept_bytes(loss, model, windows)
predicted = activation_bytes(step)
for name, n_bytes in predicted.items():
    if n_bytes:
        print(f"{name:18}{n_bytes / 2**20:7.2f} MiB")
print(f"{'the ledger says':18}{sum(predicted.values()) / 2**20:7.2f} MiB")
print(f"{'jax.vjp keeps':18}{really / 2**20:7.2f} MiB")
assert abs(sum(predicted.values()) / really - 1) < 0.05

# %% [markdown]
# To less than one percent. And for two other ways to compute the same model, which later chapters
# explain: attention [in blocks](06_attention_is_sparse.ipynb), and layers and loss
# [in chunks](04_chunking.ipynb).

# %%
chunks = {"ff_chunk_len": 32, "loss_chunk_len": 32}
for how in ({"attention": "blocked"}, {"attention": "blocked", **chunks}):
    other = replace(step, **how)
    ratio = sum(activation_bytes(other).values()) / kept_bytes(*program_of(other))
    print(f"ledger / jax.vjp: {ratio:.4f}   {how}")
    assert abs(ratio - 1) < 0.05

# %% [markdown]
# ## Beside the compiler
#
# What JAX *lists* is one thing, what the compiler *sets aside* another: it may recompute what is
# cheap, and lay new arrays over dead ones. So we ask it, too. The number is what the compiled
# gradient needs beyond its inputs and outputs: the activations, and working memory for the layer at
# hand. Neither is run.
#
# **Guess the three shapes: how does it grow with the number of blocks, with the batch, and with the
# length?**


# %%
from efftx import compiling
from efftx.memory.ledger import example_bytes


def planned_bytes(step):
    f, *arguments = program_of(step)
    return compiling.planned_bytes(jax.value_and_grad(f), *arguments)


def curve(name, values):
    steps = [replace(step, **{"batch": 1, "length": 512, name: value}) for value in values]
    planned = [planned_bytes(s) for s in steps]
    return values, planned, [example_bytes(s) * s.batch for s in steps]


curves = {"blocks": curve("n_layers", (2, 4, 8))}

# %%
curves["batch"] = curve("batch", (1, 2, 4))

# %%
curves["length"] = curve("length", (128, 256, 512, 1024))
plots.show(
    pictures.draw_curves(curves),
    "Memory that the compiler plans for a gradient, as dots, and what the ledger says, as lines. "
    "It grows along a straight line with blocks and batch, and along a parabola with the length. "
    "The dots lie on the lines.",
)
for name, (_, planned, predicted) in curves.items():
    slope = (planned[-1] - planned[-2]) / (predicted[-1] - predicted[-2])
    print(f"{name:7} slope of the compiler / slope of the ledger: {slope:.2f}")
    assert 0.85 < slope < 1.15

# %% [markdown]
# ▸ Along straight lines with the blocks and with the batch, and along a parabola with the length:
# the scores of an example grow with its square.
#
# ## Back to BERT
#
# BERT-Large differs from our model. It has dropout and a GELU, and it ran on software that kept the
# result of nearly every operation. Counting those operations gives, for a block,
#
# $$28\, d_\text{model} + 3\, n_\text{heads}\, L \quad \text{numbers for each token.}$$
#
# Four of the 28 are q, k, v and what the heads return. Four arrays in each of the two branches, for
# projection, dropout, sum and norm, make eight. And four arrays around the GELU have the width
# $d_\text{ff} = 4\, d_\text{model}$, which makes sixteen. The three are the scores before the
# softmax, after it, and after its dropout. So what does a token cost?

# %%
one_token = 24 * (28 * 1024 + 3 * 16 * 512) * 4
print(f"at length 512: {one_token / 1e6:.1f} MB for each token")
of_blocks = activation_bytes(bert.bert_large(512))
assert abs(sum(of_blocks.values()) / (512 * one_token) - 1) < 0.01

# %% [markdown]
# Five megabytes for a single token. **So how much is a single example of 512 tokens, beside the
# 5.36 GB that are fixed?**

# %%
example = example_bytes(bert.bert_large(512))
print(f"one example of 512 tokens: {example / 1e9:.2f} GB; what is fixed: {fixed / 1e9:.2f} GB")
assert 0.4 < example / fixed < 0.5

# %% [markdown]
# ▸ Nearly half as much.
#
# ▸ And so we know what fills the rest of the card: gradients and Adam's moments take 4 GB of it
# whatever the batch, and activations all that the batch lets them. With a third example of 512
# tokens they take more than all that is fixed.
#
# Now the prediction. A card "with 12 GB" has 12 GiB, and some of it is taken by the driver and by
# the library; let 11.2 GiB be usable. **With 16 bytes per parameter, do you expect the prediction
# to be above or below the quoted batches?** The talk's is 12 at 64 tokens.

# %%
my_guess = plots.ask("the batch predicted at 64 tokens")

# %%
from efftx.memory.ledger import max_batch

quoted = list(bert.QUOTED_MAX_BATCH.values())
lengths = list(bert.QUOTED_MAX_BATCH)


def predict(bytes_per_parameter, usable=11.2 * GIB):
    steps = [bert.bert_large(n, bytes_per_parameter=bytes_per_parameter) for n in lengths]
    return [max_batch(step, usable).batch for step in steps]


batches = {"quoted": quoted, "16 bytes": predict(16), "28 bytes": predict(28)}
my_guess.show(
    pictures.draw_batches(lengths, batches),
    "The largest batch of BERT-Large by length. Predicted with 16 bytes per parameter it is two to "
    "four times the quoted one. With 28 bytes prediction and quotation nearly agree up to length "
    "320; at 384 and 512 the quotation says 0 and the prediction 1.",
)
for name, values in batches.items():
    print(f"{name:9} {values}")
print(f"fixed, with 28 bytes: {28 * n_bert / GIB:.1f} GiB")
assert batches["28 bytes"] == [13, 6, 2, 1, 1, 1]
times = [ours / theirs for ours, theirs in zip(batches["16 bytes"], quoted, strict=True) if theirs]
assert min(times) >= 2
assert max(times) == 4
assert batches["16 bytes"][0] == 33

# %% [markdown]
# ▸ Far above: two to four times. With the 16 bytes that we know of, batches of 33 should have fit
# at length 64. To come down to the quoted 12 one must assume about 28 bytes per parameter; then
# what is fixed takes 8.7 of the 11.2 GiB. We *fitted* that number; we do not know what the other 12
# bytes were. Copies of the gradients would be one candidate.
#
# And then there are the last two rows. We predict that one example of 384 or 512 tokens fits, and
# the table says it does not. Is our count of the activations wrong? **Could any other count explain
# the table?** Let us see. Suppose that $C$ bytes are left for the batch, and that an example of
# length $S$ takes $\alpha S + \gamma S^2$ bytes, with any $C$, $\alpha$ and $\gamma$ you like.
#
# - Length 64: 13 examples do not fit, so $13\,(64\,\alpha + 64^2 \gamma) > C$.
# - Length 128: 6 examples fit, so $6\,(128\,\alpha + 128^2 \gamma) \le C$.
# - Length 384: one does not fit, so $384\,\alpha + 384^2 \gamma > C$.
#
# The first two together say that $\alpha$ is large against $\gamma$, and the last two say that it
# is small:

# %% tags=["nbval-check-output"]
# 6 (128 α + 128² γ) < 13 (64 α + 64² γ), sorted by α and γ:
at_least = (6 * 128**2 - 13 * 64**2) // (13 * 64 - 6 * 128)
# 6 (128 α + 128² γ) < 384 α + 384² γ:
at_most = (384**2 - 6 * 128**2) // (6 * 128 - 384)
print(f"α > {at_least} γ   and   α < {at_most} γ")
assert at_least == 704
assert at_most == 128

# %% [markdown]
# ▸ None of this form: both cannot be. **No such model has all six rows**, whatever its constants.
# Something else happened at 384 and 512, and from the table alone we cannot tell what. So we take
# from it what it does show, that the batch shrinks faster than the length grows, and do not fit its
# last two rows.
#
# ## "1 million tokens"
#
# The talk promises to train on texts of a million tokens, on one machine. What would the ledger
# say? One array of vectors with $d_\text{model}$ = 256 takes 1 GiB, and one matrix of scores:

# %%
million = 2**20
assert million * 256 * 4 == GIB
print(f"one score matrix: {million**2 * 4 / 1e12:.1f} TB")
assert round(million**2 * 4 / 1e12, 1) == 4.4

# %% [markdown]
# Now a model with six blocks and four heads, and one technique after the other. **Which one do you
# expect to save most? And which is the one without which all others are in vain?**

# %%
from efftx.memory import flops
from efftx.memory.ledger import entries

plain = Step(n_layers=6, d_model=256, d_ff=1024, n_heads=4, d_head=64, vocab=256, length=million)
chunks = {"ff_chunk_len": 256, "loss_chunk_len": 256}
ways = {
    "full attention": plain,
    "blocked attention": replace(plain, attention="blocked"),
    "+ chunks": replace(plain, attention="blocked", **chunks),
    "+ reversible": replace(plain, attention="blocked", **chunks, reversible=True),
    "LSH in its place": replace(plain, attention="lsh", **chunks, reversible=True),
}
for name, way in ways.items():
    total = sum(entries(way).values())
    print(
        f"{name:18}{total / GIB:12,.1f} GiB   {flops.step_flops(way) / 1e15:8.2f} PFLOP for a step"
    )
totals = {name: sum(entries(way).values()) for name, way in ways.items()}
assert totals["full attention"] > 1000 * totals["blocked attention"]
assert totals["+ reversible"] < totals["+ chunks"] / 3
full, in_blocks = (flops.step_flops(ways[name]) for name in ("full attention", "blocked attention"))
assert 1 / 2 < in_blocks / full < 0.6
assert flops.step_flops(ways["LSH in its place"]) < flops.step_flops(ways["+ reversible"]) / 20

# %% [markdown]
# ▸ It is the same one: to do without full attention's matrix. Blocked attention leaves less than a
# thousandth of the bytes; as long as the matrix is there, nobody would notice what the others save.
# Once it is gone, everything else is a matter of gigabytes, and chunks and reversible layers bring
# it down to the few arrays that must be there. What blocked attention hardly saves is time. It
# leaves out the blocks above the diagonal, which nobody may look at, and that is not even half of
# the arithmetic; what remains still grows with the square of the length. For that there is
# [LSH attention](08_lsh_attention.ipynb).
#
# The same in a size for which all bars are visible, with a budget of 16 GiB:

# %%
model = Step(
    n_layers=12, d_model=768, d_ff=3072, n_heads=12, d_head=64, vocab=32_000, length=4096, batch=2
)
blocked_step = replace(model, attention="blocked")
ladder = {
    "full attention": model,
    "blocked attention": blocked_step,
    "+ chunks": replace(blocked_step, **chunks),
    "+ reversible": replace(blocked_step, **chunks, reversible=True),
    "+ 8-bit Adam": replace(blocked_step, **chunks, reversible=True, optimiser_bytes=2.1),
}
plots.show(
    pictures.draw_bars(ladder, budget=16 * GIB),
    "The ledger of one training step as stacked bars. With full attention most of it are attention "
    "scores, far over the budget of 16 GiB. Blocked attention removes them, chunks the "
    "feed-forward and loss pieces, reversible layers the norms and vectors, and 8-bit Adam most of "
    "the optimiser's state.",
)
order = [sum(entries(s).values()) for s in ladder.values()]
assert order == sorted(order, reverse=True)
assert order[0] > 16 * GIB > order[1]

# %% [markdown]
# Turn the techniques on and off yourself. Can you find sizes at which the parameters are the
# largest piece, and no technique for activations helps any more?

# %%
import ipywidgets as widgets

slider = partial(widgets.IntSlider, continuous_update=False)
controls = {
    "length": widgets.SelectionSlider(
        options=[2**n for n in range(8, 21)],
        value=4096,
        description="length",
        continuous_update=False,
    ),
    "n_layers": slider(value=12, min=1, max=48, description="blocks"),
    "batch": slider(value=2, min=1, max=64, description="batch"),
    "attention": widgets.Dropdown(options=["full", "blocked", "lsh"], description="attention"),
    "reversible": widgets.Checkbox(value=False, description="reversible layers"),
    "chunks": widgets.Checkbox(value=False, description="chunks of 256"),
    "small_optimiser": widgets.Checkbox(value=False, description="8-bit Adam"),
}
callback = partial(pictures.show_ledger, model=model, budget=16 * GIB)
display(widgets.VBox(list(controls.values())), widgets.interactive_output(callback, controls))

# %% [markdown]
# ## The largest batch, and the reason
#
# Since all that is not fixed is proportional to the batch, the largest batch is one division. Where
# nothing fits, it is 0, and `max_batch` says why.

# %%
for way in (model, ladder["+ reversible"], replace(model, n_layers=100)):
    fit = max_batch(way, 16 * GIB)
    print(f"{fit.batch:3} examples: {fit.reason}")
assert max_batch(model, 16 * GIB).batch == 0
assert max_batch(replace(model, n_layers=100), 8 * GIB).reason.startswith("parameters, gradients")

# %% [markdown]
# ## What it costs in time
#
# Memory can be traded for arithmetic: what is not kept is computed once more. A training step of
# the plain model has three times the products of its forward pass: once forward, twice backward.
# Reversible blocks go forward once more, on the way back. **How much more arithmetic is that?**

# %%
assert flops.step_flops(model) == 3 * flops.forward_flops(model)
more = flops.step_flops(replace(model, reversible=True)) / flops.step_flops(model)
print(f"reversible: {more - 1:.0%} more arithmetic")
assert 1.25 < more < 4 / 3

# %% [markdown]
# ▸ 29% more, a little less than a third: all but the readout is computed once more.
#
# ## Its limits, honestly
#
# - The ledger counts what *JAX* keeps for *our* layers. Another framework, or another rule for the
#   gradient of a layer norm, keeps something else.
# - A compiler may do better. It fuses operations, and on some devices it decides to recompute. That
#   is why the tests compare slopes with the compiler, and bytes only with `jax.vjp`.
# - *Working memory* is an estimate of the worst moment. What an allocator loses between the arrays,
#   and what a driver takes for itself, is in nobody's ledger. Leave some room.
# - A fit to quoted numbers, as our 28 bytes, explains nothing. It only says how far off the known
#   entries are.
#
# ## Exercises
#
# [Four parts](../exercises/02_where_the_memory_goes.ipynb): count the parameters, count what a
# block keeps, find the largest batches, and weigh what JAX keeps; then an experiment to predict.
# The solutions are [here](../solutions/02_where_the_memory_goes.ipynb).
#
# ## Sources
#
# - The talk "Efficient Transformers" by Kaiser, Kitaev, Levskaya and colleagues: the table of
#   maximum batches, and the promise of a million tokens.
# - J. Devlin, M.-W. Chang, K. Lee, K. Toutanova: *BERT*,
#   [arXiv 1810.04805](https://arxiv.org/abs/1810.04805): the sizes of BERT-Large.
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer: The Efficient Transformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451), sections 1 and 3.
