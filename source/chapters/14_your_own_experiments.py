# %% [markdown]
# # 14 · Your own experiments
#
# *Outlook.* The course has built its techniques, measured them and put them into models of its own.
# But you came with a model, a text, or a machine that is not ours. What does it take to use a
# technique there? This chapter goes into your framework, from your text to a model, and beyond
# one device.
#
# After this chapter you can
#
# - put LSH attention in the place of your model's attention, and prove that it is the right one;
# - make functions of your own the branches of a reversible stack, and take your loss in chunks;
# - train a model on your own text in one call that says first what it needs, and goes on where it
#   stopped;
# - say of several devices who holds what and what travels, in bytes;
# - choose how to share out a long sequence, and know what it costs.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from efftx import memory, models, plots
from efftx.compiling import quick_jit  # jax.jit, for what runs a few times on little data
from efftx.numbers import your_own_experiments as numbers
from efftx.plots import your_own_experiments as pictures

# %% [markdown]
# ## In your framework
#
# Here is a model as one writes it in plain JAX: parameters in a dictionary, functions of them,
# heads as most frameworks hold them, `(batch, length, heads, d)`. Its attention is JAX's own. **How
# many of its lines must change for its attention to be hashed?**

# %%
WIDTH, HEADS, VOCAB, LENGTH = 32, 4, 256, 64


def init(key):
    keys = iter(jax.random.split(key, 8))
    normal = lambda *shape: jax.random.normal(next(keys), shape) * shape[0] ** -0.5  # noqa: E731
    return {
        "tokens": normal(VOCAB, WIDTH),
        "qk": normal(WIDTH, HEADS, WIDTH // HEADS),
        "v": normal(WIDTH, HEADS, WIDTH // HEADS),
        "out": normal(HEADS, WIDTH // HEADS, WIDTH),
        "up": normal(WIDTH, 4 * WIDTH),
        "down": normal(4 * WIDTH, WIDTH),
        "readout": normal(WIDTH, VOCAB),
    }


def exact_attention(params, x, key):
    qk, v = (jnp.einsum("blm,mhd->blhd", x, params[name]) for name in ("qk", "v"))
    out = jax.nn.dot_product_attention(qk, qk, v, is_causal=True)
    return jnp.einsum("blhd,hdm->blm", out, params["out"])


HOW = {"n_hashes": 2, "chunk_len": 16}


def hashed_attention(params, x, key):
    qk, v = (jnp.einsum("blm,mhd->blhd", x, params[name]) for name in ("qk", "v"))
    out = models.lsh_attention_of_heads(qk, v, key=key, **HOW)
    return jnp.einsum("blhd,hdm->blm", out, params["out"])


# %% [markdown]
# ▸ One. (Queries and keys were one array here already. Where yours are two, keep one of them: that
# is shared QK of [chapter 08](08_lsh_attention.ipynb).) The `key` is JAX's, for the random
# rotations: a new one each step.
#
# **Is it the right function?** The shapes fit, but they would fit if heads and positions were
# exchanged, too. So do not believe it. Compare it with the function of one head, head by head:

# %%
from efftx.attention import lsh_attention

key, params = jax.random.key(1), init(jax.random.key(0))
qk, v = jax.random.normal(jax.random.key(2), (2, 3, LENGTH, HEADS, WIDTH // HEADS))  # 3 examples
of_heads = quick_jit(partial(models.lsh_attention_of_heads, **HOW))(qk, v, key=key)
keys = jax.random.split(key, 3 * HEADS).reshape(3, HEADS)  # each head has hashes of its own
of_one = quick_jit(partial(lsh_attention, **HOW))
for example, head in ((0, 0), (1, 3), (2, 1)):
    one = of_one(qk[example, :, head], v[example, :, head], key=keys[example, head])
    assert jnp.allclose(of_heads[example, :, head], one, atol=1e-5)

# %% [markdown]
# ▸ It is, for each head that was looked at. And it is what the package's own attention layer
# computes, into which we put *your* parameters:

# %%
from efftx.models import Attention, Dense, Hashed

x = jax.random.normal(jax.random.key(3), (LENGTH, WIDTH))


@quick_jit
def package_layer(params, x, key):
    yours = Dense(jnp.stack([params["qk"], params["v"]], axis=1), params["out"])
    return Attention(yours, Hashed(**HOW))(x, key)[0]


theirs = package_layer(params, x, key)
ours = quick_jit(hashed_attention)(params, x[None], key)[0]
assert jnp.allclose(ours, theirs, rtol=1e-4, atol=1e-5)

# %% [markdown]
# Where the shapes do *not* fit, a sentence says what was wanted:

# %%
try:
    models.lsh_attention_of_heads(qk[0], v[0], key=key)
except ValueError as complaint:
    print(complaint)

# %% [markdown]
# ### The rest of it: feed-forward, loss, optimiser
#
# The other techniques are functions, too. `map_chunks` takes the feed-forward layer over some
# positions at a time, `chunked_cross_entropy` the readout with its loss, and `adam_8bit` is an
# optax optimiser. **Which of the three changes a value?**

# %%
import optax


def feed_forward(params, x):
    return jax.nn.relu(x @ params["up"]) @ params["down"]


def readout(params, x):
    return x @ params["readout"]


def loss_in_chunks(params, windows, key, attention=hashed_attention):
    """Mean nats of each next byte; nowhere are the wide layer or the logits there as a whole."""
    x = params["tokens"][windows[:, :-1]]
    x = x + attention(params, x, key)

    def of_example(x, targets):
        x = x + memory.map_chunks(feed_forward, params, x, chunk_len=16)
        return memory.chunked_cross_entropy(readout, params, x, targets, chunk_len=16)

    return jax.vmap(of_example)(x, windows[:, 1:]).mean()


def loss_at_once(params, windows, key, attention=hashed_attention):
    """The same as anybody would write it."""
    x = params["tokens"][windows[:, :-1]]
    x = x + attention(params, x, key)
    logits = jax.nn.log_softmax(readout(params, x + feed_forward(params, x)))
    return -jnp.take_along_axis(logits, windows[:, 1:, None], axis=-1).mean()


TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 4, np.uint8)
windows = jnp.int32([TEXT[start : start + LENGTH + 1] for start in (0, 9)])
chunked, whole = (
    quick_jit(jax.value_and_grad(partial(loss, attention=exact_attention)))(params, windows, key)
    for loss in (loss_in_chunks, loss_at_once)
)
assert jnp.allclose(chunked[0], whole[0], atol=1e-5)
for ours, theirs in zip(*map(jax.tree.leaves, (chunked[1], whole[1])), strict=True):
    assert jnp.allclose(ours, theirs, atol=1e-5)

# %% [markdown]
# ▸ Only the optimiser: it keeps Adam's means in eight bits. Chunks change nothing, in the loss or
# in any gradient. A training step is what it always is in JAX:

# %%
optimiser = memory.adam_8bit(1e-2)


@quick_jit
def step(params, state, key):
    value, gradient = jax.value_and_grad(loss_in_chunks)(params, windows, key)
    updates, state = optimiser.update(gradient, state)
    return optax.apply_updates(params, updates), state, value


trained, state, values = params, optimiser.init(params), []
for number in range(10):
    trained, state, value = step(trained, state, jax.random.key(number))
    values.append(float(value))
print(f"loss {values[0]:.2f} -> {values[-1]:.2f} nats")
assert values[-1] < values[0]

# %% [markdown]
# **And in Flax NNX or Equinox?** ▸ The same function in the same place: their projections make
# `(batch, length, heads, d)`, too. [examples/](../examples/README.md) holds this program for plain
# JAX, [Flax NNX](../examples/flax_nnx.py) and [linen](../examples/flax_linen.py),
# [Equinox](../examples/equinox_model.py) and [Haiku](../examples/haiku_model.py), each with the
# comparison above. Three things are different there. Haiku's keys are of JAX's older kind, and
# become ours by `jax.random.wrap_key_data`. A module of Equinox holds functions beside
# arrays; what is to be chunked is taken apart by `equinox.partition` first. And NNX's optimiser
# takes a state apart that is no tree of plain arrays, so that example has optax's Adam.
#
# ### A function of yours in a reversible stack
#
# A reversible stack ([chapter 03](03_reversible_layers.ipynb)) asks little of its branches: a
# function `(params, x, key, extra, replay) -> (y, replay)` with a y of x's shape. Nothing in it
# must be invertible. Here are two that the course does not have: a convolution over two positions,
# and a layer with dropout. **On the way back each is evaluated anew. What becomes of the dropout?**


# %%
def convolution(params, x, key, extra, replay=None):
    """Each position and the one before it."""
    before = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    return jnp.tanh(x @ params["now"] + before @ params["before"]), None


def with_dropout(params, x, key, extra, replay=None):
    kept = jax.random.bernoulli(key, 0.9, x.shape)
    return jnp.where(kept, feed_forward(params, x) / 0.9, 0), None


def deep_params(n_layers):
    normal = lambda seed, *shape: jax.random.normal(  # noqa: E731
        jax.random.key(seed), (n_layers, *shape)
    ) * (0.5 * shape[0] ** -0.5)
    first = {"now": normal(4, WIDTH, WIDTH), "before": normal(5, WIDTH, WIDTH)}
    second = {"up": normal(6, WIDTH, 4 * WIDTH), "down": normal(7, 4 * WIDTH, WIDTH)}
    return first, second


def deep_loss(stack, params, x):
    keys = jax.random.split(jax.random.key(8), (2, len(params[0]["now"])))
    y1, y2 = stack((convolution, with_dropout), params, x, x, tuple(keys))
    return jnp.sin(y1 + y2).mean()


stream = jax.random.normal(jax.random.key(9), (2, 256, WIDTH))
stacks = {"stored": memory.reversible_stack_reference, "rebuilt": memory.reversible_stack}
gradients = [
    quick_jit(jax.grad(partial(deep_loss, stack), (0, 1)))(deep_params(4), stream)
    for stack in stacks.values()
]
for stored, rebuilt in zip(*map(jax.tree.leaves, gradients), strict=True):
    assert jnp.allclose(stored, rebuilt, rtol=1e-3, atol=1e-6)

# %% [markdown]
# ▸ It is the same on both ways: a branch gets the same key on the way back, and draws the same
# numbers. So the gradients are the same, too. (A branch that *chooses* by what it sees, as a hash
# does, hands its choice on as `replay`; [chapter 09](09_reformer.ipynb) shows why. The package's
# layers do so.) What is saved, by the compiler:

# %%
from efftx.compiling import planned_bytes

taken = {
    (name, n): planned_bytes(jax.grad(partial(deep_loss, stack)), deep_params(n), stream)
    for name, stack in stacks.items()
    for n in (2, 16)
}
for (name, n), n_bytes in taken.items():
    print(f"{name}, {n:2} layers: {n_bytes / 2**20:6.2f} MiB")
assert taken["stored", 16] > 4 * taken["stored", 2]
assert taken["rebuilt", 16] < 1.5 * taken["rebuilt", 2]

# %% [markdown]
# ## From your text to a model
#
# You have a text, and want a model of it. **What should be asked before anything starts?**
# ▸ Whether it will fit. `train_on_text` reads files or folders, holds a tenth of the text out, and
# asks the compiler for the bytes of a step. Then it trains. Our text is small, a piece of Python
# source, and so is the model, for the page's sake:

# %%
import tempfile
from pathlib import Path

from efftx.models import pretrained
from efftx.training import TextRun, train_on_text

folder = tempfile.TemporaryDirectory()
text = Path(folder.name, "text.txt")
text.write_bytes(pretrained.example_text().tobytes())
RUN = TextRun(
    model="transformer", length=64, layers=1, width=32, heads=2, batch=8, steps=60, rate=1e-2
)
known = {}


def on_start(corpus, needed, there_are, model):
    known.update(needed=needed, n_parameters=models.n_parameters(model), n_bytes=len(corpus.train))


straight = train_on_text([text], RUN, on_start=on_start, progress=False)
print(f"{known['n_bytes']:,} bytes to train with, {known['n_parameters']:,} parameters")
print(f"a step needs {known['needed'] / 2**20:.2f} MiB")
print(f"held out: {straight.bits_per_byte:.2f} bits per byte")
assert straight.bits_per_byte < 8  # those of a byte of which nothing is known
assert known["needed"] > 3 * 4 * known["n_parameters"]  # a number, and Adam's two means

# %% [markdown]
# **And where there is less memory than it needs?** We say that we have half of it.

# %%
try:
    train_on_text([text], RUN, memory=known["needed"] // 2, progress=False)
except ValueError as refusal:
    print(refusal)
    assert "--at-once 1" in str(refusal)

# %% [markdown]
# ▸ There it does not start what it could not end. The sentence names the mildest cure that works,
# as an option of the command; here it is a field of `TextRun`. (`at_once=1` takes the windows of a
# batch one after the other and adds their gradients up: the same step, but for rounding.) Other
# cures are `--reversible`, for a Reformer `--rounds 1`, at last a shorter `--length`.
#
# And if the power fails in the middle? With a `checkpoint` the run is saved now and then. The same
# call goes on from there. **Will it come to the same model, or to a similar one?**


# %%
class PowerCut(Exception):
    pass


def cut_at(number, losses):
    def on_step(step, loss, state):
        losses[step] = loss
        if step + 1 == number:
            raise PowerCut

    return on_step


before, after = {}, {}
how = {"checkpoint": Path(folder.name, "run.npz"), "save_every": 20, "progress": False}
try:
    train_on_text([text], RUN, on_step=cut_at(45, before), **how)
except PowerCut:
    resumed = train_on_text([text], RUN, on_step=cut_at(None, after), **how)
assert (min(before), max(before)) == (0, 44)
assert (min(after), max(after)) == (40, 59)  # from the last save on
for ours, theirs in zip(*map(jax.tree.leaves, (resumed, straight)), strict=True):
    assert np.array_equal(ours, theirs)  # model, losses and what it is worth: to the bit
plots.show(
    pictures.draw_resumed(straight.losses, resumed.losses, saved=40, stopped=45),
    "The loss of a run in one piece, a broad pale line, and on it the same run, which was stopped "
    "after 45 of 60 steps and went on from the last save, after 40. The lines are the same.",
)

# %% [markdown]
# ▸ To the same, bit by bit: the batch of a step and its random numbers depend on the seed and the
# number of the step, and on nothing that was lost. The file is a model, too, which writes:

# %%
from efftx.training import as_text

loaded = models.load_model(how["checkpoint"])
prompt = np.frombuffer(b"def ", np.uint8).astype(np.int32)
written = models.generate(loaded, prompt, 40, jax.random.key(0), temperature=0.5)
print(as_text(prompt) + as_text(written))
assert loaded.vocab == 256

# %% [markdown]
# (After sixty steps it knows which byte is the most frequent, the blank, and little more.) In a
# terminal the same is
#
#     python -m efftx train text.txt --length 64 --model transformer --layers 1 --width 32 …
#     python -m efftx generate efftx_run.npz --prompt "def "
#
# with `pip install 'efftx[train]'`. [docs/own_text.md](../docs/own_text.md) shows what it says.
#
# ## Beyond one device
#
# A head's queries, keys and values of a text of a million positions, each 64 numbers wide, are 256
# MiB an array; its gradient takes nearly a GiB beside them. Suppose that you have eight devices.
# **Who should hold what, and what must then travel between them?**
#
# ▸ In easy cases nothing must: *examples* of a batch have nothing to do with each other, nor have
# *heads*. Share them out, and attention sends nothing. But a single long text with a single head is
# one sequence, and every position may want to see every other. Here are the ways to share it out.
#
# ### Exact attention, in a ring
#
# Each device keeps its queries. What travels are keys and values, always to the next device:

# %%
N_DEVICES = 4
plots.show(
    pictures.draw_ring(N_DEVICES),
    "Ring attention on four devices, a row for each turn. In turn 0 each device has its own keys and "
    "values; after each turn it gives them to the next device, and the last one to the first. In "
    "four turns each has met all. With a causal mask, those of a later device are no work: device 0 rests "
    "three turns of four, device 3 works in all.",
)
works = [
    sum(numbers.keys_of(turn, d, N_DEVICES) <= d for turn in range(N_DEVICES))
    for d in range(N_DEVICES)
]
assert works == [1, 2, 3, 4]

# %% [markdown]
# What each turn adds is merged by the log-sum-exps, as between blocks on one device in
# [chapter 06](06_attention_is_sparse.ipynb). No device ever holds all keys.
#
# Look at what rests. A causal mask saves nearly half of the work and, with shares of neighbouring
# positions, **none of the time**: all wait for the last device. (Give each device one share from
# the front and one from the back, and they have equal work. The package does not do it.)
#
# **How many bytes?** ▸ A turn sends L/D keys and values. There are D turns. So it is the whole keys
# and values once, however many devices there are:

# %% tags=["nbval-check-output"]
MILLION = 2**20
for n in (2, 4, 8):
    sent = n * numbers.ring_turn_bytes(n, MILLION)
    print(f"{n} devices: each sends {sent // 2**20} MiB")
    assert sent == numbers.sent_bytes(numbers.RING, n, MILLION) == MILLION * (2 * 64 * 4 + 1)

# %% [markdown]
# (And a byte for each position, which says that it is none of those that fill up an odd length.)
#
# ### Hashed: a sort across devices
#
# LSH attention sorts positions by their buckets, and then only neighbours matter. So give each
# device a share of the *sorted slots*, too. **Which vectors must travel?** ▸ Those whose slot is on
# another device. And one chunk from each device to the next, because a chunk looks back to the one
# before:

# %%
buckets = np.random.default_rng(0).integers(6, size=32)
leaves = numbers.leaves_home(buckets, N_DEVICES)
plots.show(
    pictures.draw_sorting(buckets, N_DEVICES, chunk_len=4),
    f"32 positions on four devices above, in the colours of their buckets; below the slots that they "
    f"are sorted into, on the same devices. {leaves.sum()} of 32 vectors leave their device, by "
    "coloured lines; the others stay, by grey lines. Orange arrows: the last chunk of each device is "
    "halo for the next one.",
)
many = np.random.default_rng(1).integers(64, size=2**14)
assert 0.7 < numbers.leaves_home(many, N_DEVICES).mean() < 0.8  # 3 of 4, if hashes spread them

# %% [markdown]
# How does a device know the slot of its positions without having seen the others'? It needs no
# comparison, only counts. Before a position come all positions of lower buckets, those of its
# bucket on devices before, and those of its bucket before it on its own. So devices first tell each
# other how many of each bucket they have, and then the vectors go straight to their slots, in an
# *all-to-all*. Results travel back in the same way.
#
# A compiled program has buffers of fixed sizes, and nobody knows beforehand how many vectors one
# device has for another. For the worst case the buffer would hold the whole sequence. So it is
# small, an eighth of a device's rows, and is sent as often as needed: nine times if hashes spread
# evenly.
#
# ### Is it the same function?
#
# This kernel's JAX has begun with the devices that it found, and cannot get more. So we start
# another Python, in which XLA pretends that the CPU is four devices. It computes outputs and
# gradients on four and on one, with a length that four does not divide, and counts from the program
# what is sent in a turn.

# %%
import json
import os
import subprocess
import sys

import efftx

PROOF = """
import json
from collections import Counter
from functools import partial
import jax, jax.numpy as jnp
from efftx.attention import full_attention, lsh_attention, ring_attention, sharded_lsh_attention
from efftx.compiling import quick_jit
from efftx.training.devices import all_devices

over = {"mesh": all_devices("sequence"), "axis": "sequence"}
hashed = {"key": jax.random.key(1), "n_hashes": 2, "chunk_len": 8}
qk, v = jax.random.normal(jax.random.key(0), (2, 101, 16))

def both_ways(attend):
    def loss(qk, v):
        out = attend(qk, v)
        return jnp.sin(out).sum(), out
    gradient = jax.grad(loss, (0, 1), has_aux=True)
    (g_qk, g_v), out = quick_jit(gradient)(qk, v)
    return jnp.stack([jax.device_put(x, jax.devices()[0]) for x in (out, g_qk, g_v)])

def exact(attend, **how):
    return lambda qk, v: attend(qk, qk, v, causal=True, **how)

def gap(on_four, on_one):
    return float(abs(both_ways(on_four) - both_ways(on_one)).max())

def sent(attend):
    found = Counter()
    def look(program):
        for equation in program.eqns:
            if equation.primitive.name in ("all_to_all", "ppermute"):
                n_bytes = sum(x.aval.size * x.aval.dtype.itemsize for x in equation.invars)
                found[equation.primitive.name] += n_bytes
            for part in jax.tree.leaves(list(equation.params.values())):
                part = getattr(part, "jaxpr", part)
                if hasattr(part, "eqns"):
                    look(part)
    x = jnp.zeros((4096, 64))
    look(jax.make_jaxpr(attend)(x, x).jaxpr)
    return found

ring = exact(ring_attention, **over)
across = partial(sharded_lsh_attention, **over)
print(json.dumps({
    "devices": jax.device_count(),
    "ring": gap(ring, exact(full_attention)),
    "hashed": gap(partial(across, **hashed), partial(lsh_attention, **hashed)),
    "other rotations": gap(
        partial(across, **hashed), partial(lsh_attention, **{**hashed, "key": jax.random.key(2)})
    ),
    "a turn of the ring": sent(ring),
    "a turn of the all-to-all": sent(partial(across, key=jax.random.key(1))),
}))
"""


def on_four_devices(program):
    """What a program prints, as JSON, in a Python that sees four devices."""
    found = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": str(Path(efftx.__file__).parents[1]),
    }
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env={**os.environ, **found}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


found = on_four_devices(PROOF)
print(f"{found['devices']} devices; outputs and gradients differ from those of one by at most")
print(f"{found['ring']:.0e} in the ring, {found['hashed']:.0e} hashed")
assert found["devices"] == N_DEVICES
assert max(found["ring"], found["hashed"]) < 1e-5
print(f"and by {found['other rotations']:.1f} where the one device draws other rotations")
assert found["other rotations"] > 0.1  # so that the comparison could have failed

# %% [markdown]
# It is the same function, but for the order in which numbers are added. And what is sent? The
# formulas, against the program:

# %%
turn = found["a turn of the ring"]
assert turn == {"ppermute": numbers.ring_turn_bytes(N_DEVICES, 4096)}
exchange = found["a turn of the all-to-all"]
rows = numbers.exchange_turn_bytes(N_DEVICES, 4096, n_hashes=1)
print(f"of 4,096 positions, in a turn: ring {turn['ppermute']:,} bytes; all-to-all ", end="")
print(f"{exchange['all_to_all']:,}, of which {rows:,} are vectors and what belongs to them")
assert rows <= exchange["all_to_all"] < 1.05 * rows  # the rest are the counts of buckets
assert exchange["ppermute"] < turn["ppermute"] / 8  # a chunk of halo

# %% [markdown]
# ### What does each device hold?
#
# `benchmarks/devices.py` asked the compiler, for the gradient of one head: 2²⁰ positions, 64
# numbers wide, 8 rounds of hashing, on 1, 2, 4 and 8 simulated devices. Nothing was run. A third
# way needs no new function at all: hand arrays that lie spread to the function that is meant for
# one device, and leave the rest to the compiler. **By how much does each fall from one device to
# eight?**

# %%
my_guess = plots.ask("MiB on each of 8 devices, hashed, sequence shared out")

# %%
from efftx.results import recorded

record = recorded("devices")
shown = (numbers.SEQUENCE, numbers.RING, numbers.COMPILER)
held = {name: numbers.held_mib(record["compiled"], name, MILLION) for name in numbers.STRATEGIES}
curves = {name: {n: mib["beside them"] for n, mib in held[name].items()} for name in shown}
ours, ring, compiler = curves.values()
my_guess.show(
    pictures.draw_held(curves),
    "MiB that the compiler sets aside on each device beside inputs and outputs, against the number "
    f"of devices. Hashed with the sequence shared out: from {ours[1]:,.0f} on one to {ours[8]:,.0f} on "
    f"eight. Exact in a ring: from {ring[1]:,.0f} to {ring[8]:,.0f}. Left to the compiler: from "
    f"{compiler[1]:,.0f} to {compiler[8]:,.0f}.",
)
assert ours[8] < ours[1] / 7
assert ring[8] < ring[1] / 4
assert compiler[8] > compiler[1] / 2
assert 1.8 < ours[1] / compiler[1] < 2.2
assert ours[2] > compiler[2]
assert ours[4] < compiler[4]

# %% [markdown]
# ▸ The hashed one to less than a seventh, the ring to less than a quarter: shared out by hand,
# memory falls with the devices. Left to the compiler it falls by less than a third: a sort and a
# gather may want any row, and the compiler cannot know that chunks are local. Look at the left end,
# too: **on one device the sort across devices takes twice the memory** of the function that is
# meant for one. It is worth its trouble from four devices on.
#
# What does the compiled program send? Its collectives, each counted once, however often a loop
# comes by:

# %% tags=["nbval-check-output"]
collectives = {
    row["who"]: row["collectives"]
    for row in record["compiled"]
    if (row["length"], row["devices"], row["target"]) == (MILLION, 8, numbers.SIMULATED)
}
for who, kinds in collectives.items():
    print(f"{who:26}", ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
assert set(collectives[numbers.RING]) == {"collective-permute"}
assert "all-to-all" in collectives[numbers.SEQUENCE]
assert "all-to-all" not in collectives[numbers.COMPILER]

# %% [markdown]
# A *collective-permute* sends to one other device, an *all-to-all* something else to each, an
# *all-gather* makes something whole everywhere, an *all-reduce* adds up. Where an all-gather is of
# vectors, a device holds the whole sequence. (That of the hashed one is of numbers of rows.)
#
# "Rounds shared out" is another way to share out hashing: each device has all positions, and some
# of the rounds. Time falls with the devices, memory hardly does. **Which one would you take, with
# how many devices?**

# %%
import ipywidgets as widgets

devices = widgets.SelectionSlider(
    options=[1, 2, 4, 8], value=8, description="devices", continuous_update=False
)
strategy = widgets.Dropdown(options=list(numbers.STRATEGIES), description="strategy")
length = widgets.Dropdown(options=[2**20, 2**22], description="positions")
controls = {"devices": devices, "strategy": strategy, "length": length}
explore = partial(pictures.explore_strategies, record["compiled"])
explore(devices=8, strategy=numbers.SEQUENCE, length=MILLION)
widgets.VBox(
    [widgets.HBox(list(controls.values())), widgets.interactive_output(explore, controls)]
)

# %% [markdown]
# ▸ Where only memory counts: on one device or two the function that is meant for one, left to the
# compiler; from four on hashing with the sequence shared out. If attention must be exact, the ring.
# Which of them is fastest, nobody measured.
#
# On eight devices hashing *sends more* than the ring: vectors travel in every one of 8 rounds. But
# its bytes fall with the devices, those of the ring do not. **From how many devices on does it send
# less?**

# %%
sends = {
    n: [numbers.sent_bytes(who, n, MILLION) for who in (numbers.SEQUENCE, numbers.RING)]
    for n in (2, 4, 8, 16, 32)
}
for n, (hashed, in_a_ring) in sends.items():
    print(f"{n:2} devices: hashed {hashed / 2**20:6,.0f} MiB, ring {in_a_ring / 2**20:,.0f} MiB")
assert sends[8][0] > sends[8][1]
assert sends[16][0] < sends[16][1]

# %% [markdown]
# ▸ Of these numbers of devices, from 16 on. And bytes are not all: in the ring each device
# multiplies L²/D pairs, hashed some L·m/D in each round, with chunks of m.
#
# ### A whole model
#
# `train(…, mesh=all_devices())`, or `train_on_text(…, mesh=…)`, shares out the examples of a batch,
# the large parameters and the optimiser's state over all devices. A device gets the rest of a
# parameter when it needs it, and forgets it. **What does each of four then hold of a model, with
# Adam's means?**

# %%
STATE = """
import json
import jax
from efftx.models import pretrained
from efftx.training import adamw, initial_state
from efftx.training.devices import all_devices, placed

model = pretrained.small_text_model("plain")
state = placed(all_devices(), initial_state(model, adamw(2, peak=1e-3), 2))
arrays = jax.tree.leaves(state)
print(json.dumps({
    "all": sum(x.nbytes for x in arrays),
    "each": sum(x.addressable_shards[0].data.nbytes for x in arrays),
}))
"""
of_state = on_four_devices(STATE)
print(f"{of_state['all']:,} bytes in all, {of_state['each']:,} on each of four devices")
assert of_state["all"] / 4 <= of_state["each"] < of_state["all"] / 3.5

# %% [markdown]
# ▸ A quarter, and a little more. The losses are those of one device, to rounding, in one process or
# in several, where `jax.distributed.initialize` comes first. The first process writes the
# checkpoint, and a run goes on from it with another number of devices.
# [docs/devices.md](../docs/devices.md) has the details.
#
# ## Its limits, honestly
#
# **Nothing here ran on several real devices.** All devices were one CPU, in one process or in two
# that talked over loopback by Gloo, JAX's way for CPUs. So we know values, bytes and collectives.
# We do not know times. Whether a network keeps up with what is sent is for you to measure.
#
# **The all-to-all goes in turns.** A ragged all-to-all would send each row once; XLA does not have
# it for CPUs. If all rows of one device go to one other, the buffer is sent 8·D times in place of
# nine.
#
# **On one device it costs twice the memory,** and on two more than leaving it to the compiler. Use
# `lsh_attention` there.
#
# **The ring's work is uneven** under a causal mask, as you saw.
#
# **A mesh's axes must be `Auto`.** `jax.make_mesh` makes them Explicit unless it is told otherwise.
# efftx says so in a sentence.
#
# **A small model of a small text learns little.** The runs above show that everything is in its
# place, not that sixty steps make a model.
#
# ## Exercises
#
# [Five parts](../exercises/14_your_own_experiments.ipynb): what the fullest device holds, a
# reduction that is missing, attention in a ring by hand, the bytes that are sent, and a count that
# stops. The solutions are [here](../solutions/14_your_own_experiments.ipynb).
#
# ## Sources
#
# - H. Liu, M. Zaharia, P. Abbeel: *Ring Attention with Blockwise Transformers for Near-Infinite
#   Context*, 2023, [arXiv 2310.01889](https://arxiv.org/abs/2310.01889).
# - N. Kitaev, Ł. Kaiser, A. Levskaya: *Reformer*, ICLR 2020,
#   [arXiv 2001.04451](https://arxiv.org/abs/2001.04451). It hashes on one device; we found no
#   earlier account of LSH attention with one sequence sorted across several.
# - W. Brandon et al.: *Striped Attention*, 2023, [arXiv
#   2311.09431](https://arxiv.org/abs/2311.09431): even work in a causal ring.
# - S. Rajbhandari et al.: *ZeRO*, 2020, [arXiv 1910.02054](https://arxiv.org/abs/1910.02054); Y.
#   Zhao et al.: *PyTorch FSDP*, 2023, [arXiv 2304.11277](https://arxiv.org/abs/2304.11277):
#   parameters and state shared out.
# - JAX: [sharded computation](https://docs.jax.dev/en/latest/sharded-computation.html),
#   [`jax.shard_map`](https://docs.jax.dev/en/latest/notebooks/shard_map.html).
