# %% [markdown]
# # 13 · Fine-tuning for everyone
#
# *Outlook.* The talk begins with a table in which BERT-Large cannot be fine-tuned on a 12 GB card
# beyond 320 tokens. It ends with a hope: fine-tuning for everyone. This chapter puts the course's
# memory techniques together and adds the one that came after the talk: **freeze the model, and
# train a small change of it.**
#
# After this chapter you can
#
# - write a low-rank adapter, show that it changes nothing at the start, and merge it at the end;
# - say byte by byte what a training step on a frozen model takes, and what it still takes in full;
# - keep the frozen weights in eight or four bits, and see why that alone can cost memory;
# - fine-tune a model here, in less than a minute, and judge it on text that it did not see;
# - say what training by forward passes alone saves, and what it costs.
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
from efftx.numbers import fine_tuning_for_everyone as numbers
from efftx.plots import fine_tuning_for_everyone as pictures

# %% [markdown]
# ## ZERO, answered
#
# The talk's row says which batch of BERT-Large fits on such a card. `experiments/bert_large.py`
# builds a model of BERT-Large's sizes from the course's parts, and asks the compiler what a training
# step takes: arguments, results and temporaries, the new state in the place of the old. It adds one
# means after the other: checkpoints; reversible layers in their place; attention in blocks;
# feed-forward layers and loss in chunks; Adam in 8 bits; Adam's state on the host. (The update there
# comes layer by layer after the activations are gone, and is not in the sum.) The last row leaves
# the model alone, in 8 bits, and trains adapters, the subject of this chapter. Some batches are
# compiled and the largest is read off a line between them. As in chapter 02, 11.2 GiB of the 12 are
# usable. **In which row does the last ZERO stand?**

# %%
from efftx.memory import bert
from efftx.results import recorded

large = recorded("bert_large")
batches = {"the talk's": bert.QUOTED_MAX_BATCH} | {name: {} for name in large["config"]["ways"]}
for cell in large["cells"]:
    batches[cell["way"]][cell["L"]] = cell["batch"]
plots.show(
    pictures.draw_batches(batches),
    "The largest batch of BERT-Large's sizes that a card with 11.2 usable GiB can train, by length "
    "(an empty cell was not asked for). First row: the talk's. The others: by a CPU's compiler, "
    "each row with one means more than the row above; the last trains adapters only.",
)
lengths = sorted({cell["L"] for cell in large["cells"]})
for name, row in batches.items():
    print(f"{name:22}", *(f"{row[n] or 'ZERO':>6}" if n in row else 6 * " " for n in lengths))
assert batches["plain"][512] > 0 == batches["plain"][65_536]
assert batches["+ chunks"][65_536] == 0 < batches["+ 8-bit Adam"][65_536]
assert batches["adapters on 8 bits"][65_536] >= 1

# %% [markdown]
# ▸ In the row of the chunks, at 65,536 tokens. There Adam in 8 bits makes the room for 1 example. At
# 512, where the talk says ZERO, a plain step has room for 3 and a step of adapters for 183. Not
# every means helps everywhere: at 512 attention in blocks changes nothing, and with Adam in 8 bits
# the batch is 93 in place of 96.
#
# It is not BERT in all: our model looks back only, has its norms inside the branches, no dropout,
# no biases in its attention, and scores its whole vocabulary at every position, which fine-tuning of
# BERT does not. From "reversible" on it is another function of as many numbers. Why the talk has
# ZERO where a plain step fits is a question of chapter 02. **Does the ledger of chapter 02 agree
# with the compiler?**

# %%
for cell in large["cells"]:
    if cell["L"] == 512 and cell["ledger"] is not None:
        print(f"{cell['way']:22} at 512: ledger {cell['ledger']:4}, compiler {cell['batch']:4}")
for step in large["steps"]:
    what = f"{step['way']}, batch 1 of {step['L']:,} tokens"
    print(f"{what}: planned {step['planned_gib']} GiB, the process's peak {step['peak_rss_gib']} GiB")
    assert step["peak_rss_gib"] > 0.9 * step["planned_gib"]

# %% [markdown]
# ▸ For a plain step to the example; elsewhere it is off by up to a quarter, 73 for 96. A real step's
# peak is that of its whole process: interpreter and compiler come on top of the plan.
#
# ## The question
#
# Chapter 02 counted 16 bytes for each parameter that Adam trains: its value, its gradient and two
# running means. **What is left of the 16 bytes if a parameter is not trained?**
#
# ▸ Its value, and nothing else: 4 bytes in float32, 2 in bfloat16. Nobody changes it, so nothing
# keeps us from writing it in fewer bits, as in chapter 05. For the two models of this chapter's
# story:

# %% tags=["nbval-check-output"]
n_bert = sum(bert.parameters_by_part().values())
for name, n in {"BERT-Large": n_bert, "a model of 7 billion": 7 * 10**9}.items():
    each = {"trained": 16, "frozen, 16 bits": 2, "8 bits": 1, "4 bits": 0.625}
    print(f"{name:22}", ", ".join(f"{what} {n * b / 1e9:.1f} GB" for what, b in each.items()))

# %% [markdown]
# (In four bits with a scale for each 32 numbers: five bits in all.) The first column is why a model
# of 7 billion parameters was out of reach: 112 GB before the first activation.
#
# But a model of which nothing is trained learns nothing. **What small thing could be trained in
# its place?**
#
# ## A change of low rank
#
# ▸ A change of it. Write a fine-tuned matrix as what was there and a change, $W + \Delta W$. LoRA's
# guess is that the change can be thin: a product of two narrow matrices,
#
# $$\Delta W = \frac{\alpha}{r} A B, \qquad A \in \mathbb R^{d_{in} \times r},\;
# B \in \mathbb R^{r \times d_{out}}.$$
#
# $W$ is frozen. $A$ is drawn at random, $B$ begins as zeros. **Why not both at random? Why not both
# zero?** ▸ With both at random the model would be another one before the first step. With both zero
# neither would ever move: the gradient of each is a product with the other.


# %%
def change(a, b, alpha):
    """(α / r) A B."""
    return alpha / a.shape[1] * a @ b


d_in, d_out, rank, alpha = 96, 160, 4, 8
w = jax.random.normal(jax.random.key(0), (d_in, d_out)) * d_in**-0.5
x = jax.random.normal(jax.random.key(1), (10, d_in))
a = jax.random.normal(jax.random.key(2), (d_in, rank)) * d_in**-0.5
b = jnp.zeros((rank, d_out))
assert (w + change(a, b, alpha) == w).all()  # nothing is changed at the start

grad_a, grad_b = jax.grad(lambda a, b: jnp.sin(x @ (w + change(a, b, alpha))).sum(), (0, 1))(a, b)
assert (grad_a == 0).all()
assert (grad_b != 0).all()
print(f"{w.size:,} numbers in W, {a.size + b.size:,} in A and B")

# %% [markdown]
# In the first step only $B$ moves; from the second on $A$ does, too. The change need not be added
# to $W$: $x W + \frac{\alpha}{r} (x A) B$ is the same. Apart, one $W$ can serve many tasks;
# **merged**, a task costs nothing when the model is used. The package has both:

# %%
b = jax.random.normal(jax.random.key(3), b.shape)  # as if trained
ours = memory.LowRank(a, b, scale=alpha / rank)
together = x @ memory.merged(w, ours)
assert jnp.allclose(together, x @ (w + change(a, b, alpha)), atol=1e-5)
assert jnp.allclose(memory.low_rank_product(x, w, ours), together, atol=1e-4)
assert jnp.allclose(memory.unmerged(memory.merged(w, ours), ours), w, atol=1e-5)

# %% [markdown]
# ## Any model, by the names of its matrices
#
# `named_parameters` gives each array of a model a name. Adapters are chosen by patterns of names.
# They are a dictionary, and what trains, saves or counts a pytree takes them. `adapted` puts them
# onto the frozen model:

# %%
from efftx.models import adapted, init_adapters, n_parameters, pretrained

model = pretrained.small_text_model("plain")
adapters = init_adapters(jax.random.key(0), model, "blocks.*", rank=8, alpha=16)
for name, adapter in adapters.items():
    print(f"{name:42} A {adapter.a.shape!s:18} B {adapter.b.shape}")
text = pretrained.example_text()[:128]
assert jnp.allclose(adapted(model, adapters)(text), model(text), atol=1e-5)
print(f"{n_parameters(adapters):,} numbers are trained, {n_parameters(model):,} are frozen")

# %% [markdown]
# The first axis of each is the layer: every layer has its own $A$ and $B$. A pattern that matches
# nothing says so instead of training nothing:

# %%
try:
    init_adapters(jax.random.key(0), model, "*.query", rank=8)
except ValueError as complaint:
    print(str(complaint)[:110], "…")

# %% [markdown]
# ## The frozen part in fewer bits
#
# Each layer's matrices become float32 when the layer is called, and only then. **How much worse
# does the model become, in eight bits and in four?**

# %%
from efftx.models import in_bits
from efftx.training import evaluate, python_documentation

held_out = python_documentation().held_out[: 16 * 129]
frozen = {32: model, 8: in_bits(model, 8), 4: in_bits(model, 4)}


def n_bytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


for bits, stored in frozen.items():
    loss = evaluate(adapted(stored, {}), held_out, length=128, progress=False)
    print(f"{bits:2} bits: {n_bytes(stored.blocks):9,} bytes in blocks, {loss:.3f} bits per byte")
assert n_bytes(frozen[8].blocks) < 0.28 * n_bytes(model.blocks)
assert n_bytes(frozen[4].blocks) < 0.18 * n_bytes(model.blocks)

# %% [markdown]
# ▸ In eight bits it is as good as before, 2.800 bits per byte and 2.801; in four a little worse,
# 2.823. The adapters learn on top of what is there, its errors included. That is the idea of QLoRA.
#
# ## What a step takes
#
# Now a real model: SmolLM2-135M-Instruct, and one text of 512 tokens. The compiler says what a
# training step needs: *arguments* (weights, adapters, Adam's means), *results* (what is trained,
# and its means, anew) and *temporaries* (activations and all that exists for a moment; gradients
# may stand where the results will). `experiments/fine_tuning.py` asked it for full training and for
# adapters of rank 8 on all matrices of the blocks, which are there in 32, in 8 or in 4 bits; with
# all activations kept, or with checkpoints and a loss in chunks. **Which of those with adapters
# will need the most?**

# %%
my_guess = plots.ask("MiB of the last, 4 bits with everything", along="x")

# %%
results = recorded("fine_tuning")
mib = {name: step["mib"] for name, step in results["step"].items()}
names = {
    "full, all kept": "full, Adam",
    "full": "full, checkpoints, chunked loss",
    "lora, all kept": "adapters, 32 bits",
    "int8, all kept": "adapters, 8 bits",
    "int8, no checkpoints": "8 bits, chunked loss",
    "lora": "32 bits, checkpoints, chunked loss",
    "int8": "8 bits, checkpoints, chunked loss",
    "4bits": "4 bits, checkpoints, chunked loss",
}
parts = ("arguments", "results", "temporaries")
bars = {names[n]: {part: mib[n][part] for part in parts} for n in names}
my_guess.show(
    pictures.draw_steps(bars),
    "Memory of one training step of a model of 135 million parameters at 512 tokens, by the "
    f"compiler. In full with Adam {mib['full, all kept']['together']:,.0f} MiB. Adapters alone save "
    "arguments and results, not temporaries; with checkpoints and a chunked loss these go, "
    f"and on eight bits {mib['int8']['together']:.0f} MiB are left.",
)
for n, name in names.items():
    print(f"{name:36}{mib[n]['together']:7,.0f} MiB, temporaries {mib[n]['temporaries']:7,.0f}")
assert mib["int8"]["together"] <= 400
assert mib["full, all kept"]["together"] > 8 * mib["int8"]["together"]
assert mib["int8, all kept"]["temporaries"] > mib["lora, all kept"]["temporaries"]
assert mib["int8, no checkpoints"]["temporaries"] > 5 * mib["int8"]["temporaries"]

# %% [markdown]
# ▸ Those on 32 bits with everything kept: 2,142 MiB, of which 1,576 are temporaries. Adapters alone
# are no cure: they save the optimiser's state and the gradients, and the **activations stay**. The
# gradient of $A$ in the first layer goes back through all the layers above, frozen or not. Chapter
# 04's chunked loss and checkpoints take them away.
#
# And eight bits without checkpoints? **They save arguments and cost temporaries.** To go back
# through $y = x W$ autodiff keeps the matrix. Where it is a frozen float32 array it is an argument,
# there already. In eight bits, or with a change added, it is made anew, a float32 array that every
# layer keeps until the way back: the weights are there twice. Behind a checkpoint (or in a
# reversible residual) one layer's exist at a time.
#
# ## Fine-tune, here and now
#
# The course's own small model read Python *source*. We let it read Python's *documentation*: 28,672
# adapter numbers in float32 over weights in eight bits. The held-out text is not trained on.

# %%
import optax

from efftx.training import bits_per_byte, train
from efftx.training.batches import random_windows

corpus = python_documentation()
base = in_bits(model, 8)
N_STEPS, LENGTH, BATCH = 80, 128, 8


def loss_of_adapters(adapters, frozen, window, key):
    return bits_per_byte(adapted(frozen, adapters), window, key)


def batch_at(step):
    return random_windows(corpus.train, seed=0, step=step, length=LENGTH, batch=BATCH)


def held_out_bits(frozen, adapters):
    return evaluate(adapted(frozen, adapters), held_out, length=LENGTH, progress=False)


curve = {0: held_out_bits(base, adapters)}


def on_step(step, loss, state):
    if (step + 1) % 40 == 0:
        curve[step + 1] = held_out_bits(base, state.model)


tuned = train(
    adapters,
    loss=loss_of_adapters,
    batch_at=batch_at,
    optimiser=optax.adam(optax.cosine_decay_schedule(5e-3, N_STEPS)),
    n_steps=N_STEPS,
    frozen=base,
    vocab=256,
    on_step=on_step,
    progress=False,
).model
plots.show(
    pictures.draw_curves({"adapters on 8 bits": curve}, "bits per byte"),
    f"The loss on documentation that was held out falls from {curve[0]:.2f} to "
    f"{curve[N_STEPS]:.2f} bits per byte in {N_STEPS} steps.",
)
assert curve[N_STEPS] < curve[0] - 0.1

# %% [markdown]
# What does it write, before and after?

# %%
from efftx.models import merged
from efftx.training import as_text

whole = {"before": merged(base, adapters), "after": merged(base, tuned)}
prompt = np.frombuffer(b"The statement is ", np.uint8).astype(np.int32)
for name, one in whole.items():
    written = models.generate(one, prompt, 120, jax.random.key(3), temperature=0.5)
    print(f"{name}: {as_text(prompt)}{as_text(written)}\n")
assert jnp.allclose(whole["after"](text), adapted(base, tuned)(text), atol=1e-3)

# %% [markdown]
# `merged` made a model like any other: everything in the course takes it. A small model writes
# small sense, but it is another *kind* of text.
#
# ## With a model that knows something
#
# `make pretrained` installs SmolLM2 as a file of llama.cpp's kind, GGUF. `read_gguf` turns it into
# this course's model: RMS norms, rotary positions, grouped queries, a gated feed-forward layer, in
# the same composition as the Transformer of chapter 01. Where it is not installed, the next cell
# says so, and the chapter goes on.

# %%
file = models.pretrained_file()
if file is None:
    print("SmolLM2 is not installed here (`make pretrained`): the course's small model was tuned.")
else:
    pieces, smol = models.read_byte_pairs(file), models.read_gguf(file, bits=4)
    question = np.array(pieces.encode("The with statement is used to"))
    logits = jax.jit(lambda model, tokens: adapted(model, {})(tokens))(smol, question)
    best = jnp.argsort(logits[-1])[::-1][:5]
    print("after 'The with statement is used to':", [pieces.decode([token]) for token in best])

# %% [markdown]
# The experiment trains it on the same documentation, in tokens of its own vocabulary, 512 at a
# time. It takes a while beside other work, and goes on where it stopped. What it has recorded so
# far:

# %%
runs = results["runs"]
for name, run in runs.items():
    nats = run["held_out_nats"]
    last = max(nats, key=int)
    print(f"{name:6} {nats['0']:.3f} nats a token held out, {nats[last]:.3f} after {last} steps")
    assert nats[last] < nats["0"]

# %% [markdown]
# ## The oldest trick: no way back
#
# What takes the memory is the way back. **Can we train without it?** Take one random direction $z$
# and compare the loss a little forward and a little backward:
#
# $$g = \frac{L(\theta + \varepsilon z) - L(\theta - \varepsilon z)}{2 \varepsilon}, \qquad
# \theta \leftarrow \theta - \eta\, g\, z.$$
#
# On the average $g z$ is the gradient. $z$ need not be stored: the seed is enough to draw it again.
# MeZO tunes models of 30 billion parameters so, in the memory of running them. First the memory:
# one window of 512 bytes, by the compiler.


# %%
from efftx.compiling import planned_bytes


def drawn(key, tree):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    draws = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


def moved(tree, z, by):
    return jax.tree.map(lambda x, z: x + by * z, tree, z)


def forward_only_step(adapters, windows, key, rate, epsilon=1e-3):
    z = drawn(key, adapters)

    def loss_at(by):
        one = partial(loss_of_adapters, moved(adapters, z, by), base, key=None)
        return jax.lax.map(one, windows).mean()

    slope = (loss_at(epsilon) - loss_at(-epsilon)) / (2 * epsilon)
    return moved(adapters, z, -rate * slope)


window = jnp.asarray(corpus.train[:513], jnp.int32)
gradient = jax.grad(lambda adapters, window: loss_of_adapters(adapters, base, window, None))
back = planned_bytes(gradient, adapters, window)
forth = planned_bytes(partial(forward_only_step, rate=1e-3), adapters, window[None], jax.random.key(0))
print(f"there and back {back / 2**20:.1f} MiB, forward only {forth / 2**20:.1f} MiB")
assert forth < 0.8 * back

# %% [markdown]
# Now the price. One number comes out of two passes, and it says how the loss changes along **one**
# direction of some tens of thousands.

# %%
by_forward = jax.jit(partial(forward_only_step, rate=2e-4))
blind, slow = adapters, {0: curve[0]}
for step in range(N_STEPS):
    blind = by_forward(blind, jnp.asarray(batch_at(step), jnp.int32), jax.random.key(step))
slow[N_STEPS] = held_out_bits(base, blind)
plots.show(
    pictures.draw_curves({"gradient and Adam": curve, "forward only": slow}, "bits per byte"),
    f"After {N_STEPS} steps the gradient has brought the held-out loss to {curve[N_STEPS]:.2f} bits "
    f"per byte; forward passes alone to {slow[N_STEPS]:.2f}.",
)
assert slow[N_STEPS] > curve[N_STEPS] + 0.1

# %% [markdown]
# ▸ One can, in 9.7 MiB where the way back takes 42.1. But in as many steps the loss has hardly
# moved. Memory is bought with steps. The paper's tasks are prompts that a large model nearly solves
# already, and its runs have tens of thousands of steps.
#
# ## Which card?
#
# The parts as formulas: 16 bytes for what is trained, weights in the bits you choose, activations
# with or without checkpoints. First a model of 7 billion parameters and a text of 2,048 tokens;
# then set them yourself. **With which length do the activations overtake the weights?** Try it
# without checkpoints, too.

# %%
SETTING = {"size": "7B", "bits": 4, "length": 2048, "checkpoints": True}
rows = {m: numbers.gigabytes(method=m, **SETTING) for m in numbers.METHODS}
sums = {method: sum(parts.values()) for method, parts in rows.items()}
plots.show(
    pictures.draw_cards(rows),
    f"A step on 7 billion parameters and 2,048 tokens with checkpoints: {sums['full, Adam']:.0f} GB "
    f"in full with Adam, {sums['adapters']:.1f} GB with adapters on four bits, "
    f"{sums['forward only']:.1f} GB with forward passes only. Dashed lines: what cards have.",
)
assert sums["full, Adam"] > 80 > 12 > sums["adapters"]


def activations_overtake(**setting):
    parts = pictures.gigabytes(method="adapters", **SETTING | setting)
    return parts["activations"] > parts["frozen weights"]


assert activations_overtake(length=8192)
assert not activations_overtake(length=4096)
assert activations_overtake(length=512, checkpoints=False)

# %%
import ipywidgets as widgets

size = widgets.Dropdown(options=list(numbers.SHAPES), value="7B", description="model")
bits = widgets.Dropdown(options=list(numbers.BITS), value=4, description="bits")
length = widgets.SelectionSlider(
    options=[2**n for n in range(9, 17)], value=2048, description="length", continuous_update=False
)
checkpoints = widgets.Checkbox(value=True, description="checkpoints")
controls = {"size": size, "bits": bits, "length": length, "checkpoints": checkpoints}
widgets.VBox(
    [
        widgets.HBox(list(controls.values())),
        widgets.interactive_output(pictures.explore_cards, controls),
    ]
)

# %% [markdown]
# ▸ For adapters on four bits and with checkpoints, somewhere from 4,096 to 8,192 tokens. Without
# checkpoints they are ahead at the shortest length of the slider, 512.
#
# The formulas leave out what a framework keeps for itself and what a card rounds up; take a card
# with some room.
#
# ## Its limits, honestly
#
# **A low rank is a limit.** What is learned is a change of rank $r$ in each matrix. For another
# tone, a format, a domain near to what the model knows, that is enough; a new language may want
# more.
#
# **Adapters save no time.** The forward pass is the model's, and so is most of the way back. Here
# the matrices are made whole in each layer, so the backward pass even makes the gradient of each
# whole matrix for a moment, before $A$'s and $B$'s are made of it.
#
# **The loss on held-out documentation is one number.** It does not say what the model forgot about
# Python source while it learned prose.

# %%
source_text = pretrained.example_text()[: 8 * 129]
forgot = {
    name: evaluate(one, source_text, length=128, progress=False) for name, one in whole.items()
}
print({name: f"{loss:.2f} bits per byte of Python source" for name, loss in forgot.items()})

# %% [markdown]
# ## Exercises
#
# [Five parts](../exercises/13_fine_tuning_for_everyone.ipynb): an adapter that changes nothing yet,
# its product without a matrix of the change, an exchange of tasks, the bytes of a step kind by
# kind, the matrices for a budget, and an experiment to predict. The solutions are
# [here](../solutions/13_fine_tuning_for_everyone.ipynb).
#
# ## Sources
#
# - E. Hu et al.: *LoRA: Low-Rank Adaptation of Large Language Models*, 2021,
#   [arXiv 2106.09685](https://arxiv.org/abs/2106.09685), section 4.1.
# - T. Dettmers et al.: *QLoRA: Efficient Finetuning of Quantized LLMs*, 2023, [arXiv
#   2305.14314](https://arxiv.org/abs/2305.14314): a base in four bits (with sixteen levels that are
#   not equally far apart; ours are).
# - S. Malladi et al.: *Fine-Tuning Language Models with Just Forward Passes*, 2023,
#   [arXiv 2305.17333](https://arxiv.org/abs/2305.17333): MeZO.
# - H. Touvron et al.: *LLaMA*, 2023, [arXiv 2302.13971](https://arxiv.org/abs/2302.13971), table 2:
#   the sizes in the last picture.
# - T. Chen et al.: *Training Deep Nets with Sublinear Memory Cost*, 2016,
#   [arXiv 1604.06174](https://arxiv.org/abs/1604.06174): checkpoints.
# - J. Devlin et al.: *BERT*, [arXiv 1810.04805](https://arxiv.org/abs/1810.04805), and the talk
#   "Efficient Transformers", whose table this chapter comes back to.
