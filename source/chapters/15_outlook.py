# %% [markdown]
# # 15 · What came true
#
# *Outlook.* The talk makes promises: a million tokens on one device, memory that does not grow with
# depth, models that read a few of their weights, fast answers on CPUs, fine-tuning for everyone. It
# is November 2026. This chapter puts what happened beside each promise, and beside that what you
# and this course have measured. It ends with a list of where to go on, with all words and formulas
# on a page each, and with ten questions.
#
# After this chapter you can
#
# - say which of the talk's promises came true, how, and where that is written;
# - tell a promise that was kept by the talk's own means from one that was kept by others;
# - name what the course's measurements support, and what they do not;
# - find each count of the course on one page, and do it in your head.
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %%
from IPython.display import Markdown, display

from efftx import plots
from efftx.numbers import outlook as numbers
from efftx.plots import outlook as pictures
from efftx.results import recorded

# %% [markdown]
# ## The question
#
# A promise can come true in two ways: by the means that were meant, or by others. **For each of
# these six, what do you think?**
#
# | | The talk | Chapters |
# |---|---|---|
# | length | "up to 1 million tokens … single GPU or TPU" | 02, 09 |
# | hashing | attention is sparse, and hashing finds what counts | 06, 07, 08 |
# | memory | reversible layers: what is kept does not grow with depth | 03 |
# | sparsity | a model reads a small part of its weights and is as good | 10, 11, 12 |
# | CPUs | decoding fast on CPUs | 12 |
# | everyone | fine-tuning for everyone | 13 |
#
# ## A million tokens
#
# BERT reads 512 tokens at once, GPT-2 1,024. The Reformer's paper tried 65,536, the talk promises a
# million. **What is the longest context that a model has been offered with since?**

# %%
my_guess = plots.ask("tokens of the longest context offered")

# %%
offered = [one for one in numbers.LENGTHS if not one.tested]
longest = max(offered, key=lambda one: one.value)
first = min((one for one in offered if one.value >= 10**6), key=lambda one: one.date)
my_guess.show(
    pictures.draw_lengths(),
    "Context lengths by date on a logarithmic axis. Filled points were offered, from 512 tokens (BERT, "
    "2018) over 4,096 (Llama 2, 2023) to a million (Qwen2.5-1M, 2025, and DeepSeek-V4, 2026) and ten "
    "million (Llama 4 Scout, 2025). Open points were tried: the Reformer's 65,536 in 2020, Gemini "
    "1.5's ten million in 2024, a training with four million in 2026. A dashed line is at a million.",
)
display(Markdown(numbers.table(numbers.LENGTHS, "Tokens", ",.0f")))
assert (longest.name, longest.value) == ("Llama 4 Scout", 10**7)
assert first.name == "Qwen2.5-1M"

# %% [markdown]
# ▸ Ten million tokens, with Llama 4 Scout, of the models in this table. *Offered* is what those who
# made a model say of it; that it uses all of it well is another claim. Only models are shown of
# which we found the number in their own words; many others are missing.
#
# **It came true, and mostly by other means.** Since January 2025 at the latest, models with open
# weights read a million tokens. What such models are built from stands in [chapter
# 09](09_reformer.ipynb): exact attention in blocks, several heads on one cache, more machines, a
# *learned* choice of keys. DeepSeek-V4-Pro needs 27 % of the FLOPs for a token and 10 % of the
# cache of DeepSeek-V3.2, at a million tokens, says its report; its attention is compressed and
# sparse ([arXiv 2606.19348](https://arxiv.org/abs/2606.19348)). The *single device* is the rarer
# part: *OOMB* reports training Qwen2.5-7B with a context of 4 million tokens on one H200, with
# activations computed anew and the cache moved to the CPU's memory and back ([arXiv
# 2602.02108](https://arxiv.org/abs/2602.02108)): means like those of chapters 03 to 05.
#
# **What did we measure?** ▸ A training step of the Reformer of chapter 09 on a million tokens, and
# a model that was asked for something a million symbols back:

# %%
steps = recorded("million_tokens")["cases"]
million = max(steps, key=lambda case: case["L"])
needle = recorded("needle")["rounds"]
found = {int(n): row["right"]["1000000"] for n, row in needle.items()}
print(f"a step on {million['L']:,} tokens: at most {million['peak_rss_gib']:.1f} GiB")
for n, share in found.items():
    print(f"right a million symbols away with {n:2} rounds: {share:.0%}")
assert million["L"] == 2**20
assert million["peak_rss_gib"] < 8
assert found[16] > 0.75 > 0.25 > found[1] > 5 / 64  # one of 64 would be right by guessing

# %% [markdown]
# So the promise holds as it was meant, on one machine (two cores of a CPU, in less than 8 GiB),
# with the talk's own means. What our measurements do *not* say: that a model of text makes anything
# of a million tokens. The needle was put there to be found.
#
# ## Hashing
#
# **If you may look at a few keys only, which?** The talk's answer is a random hash. Two
# measurements of chapter 09, one of recall and one of text:

# %%
recall = recorded("recall")["variants"]
far = {name: row["right"]["32768"]["16384"]["mean"] for name, row in recall.items()}
share = recall["lsh_8"]["scores"]["32768"] / recall["full"]["scores"]["32768"]
print(f"right 16,384 symbols away: a window {far['window']:.0%}, exact {far['full']:.0%}")
print(f"8 rounds {far['lsh_8']:.0%}, with {share:.0%} of the exact model's scores")
text = recorded("text_quality")["variants"]
bits = {name: row["bits_per_byte"]["mean"] for name, row in text.items()}
for name in ("shared_qk", "lsh_8", "lsh_4", "lsh_1", "local"):
    print(f"{name:10}{bits[name]:6.2f} bits per byte of text")
assert far["lsh_8"] > 0.8 > 0.05 > far["window"]
assert share < 0.04
assert bits["shared_qk"] < bits["lsh_8"] < bits["lsh_4"] < bits["lsh_1"]
assert bits["local"] < bits["lsh_8"]

# %% [markdown]
# ▸ For what stands far away those in the same bucket: eight rounds find 89 % of it, with 3 % of the
# exact model's scores. For text the nearest: a window was as good as eight rounds, and cheaper, in
# our small models.
#
# **That attention is sparse came true. That random hashes choose the keys did not, while
# training.** We know of no large model in 2026 that is trained with LSH attention. The choice is
# learned: *Native Sparse Attention* trains compressed and chosen blocks of keys from the start
# ([arXiv 2502.11089](https://arxiv.org/abs/2502.11089)), DeepSeek-V3.2 has an indexer ([LMSYS on
# its release](https://www.lmsys.org/blog/2025-09-29-deepseek-V32)), *HashAttention* learns codes of
# 32 bits ([arXiv 2412.14468](https://arxiv.org/abs/2412.14468)). Hashing lives where a cache is
# *read*: *MagicPIG* samples from it by LSH, on the CPU ([arXiv
# 2410.16179](https://arxiv.org/abs/2410.16179)); *RetrievalAttention* searches an index and touches
# 1 to 3 % ([arXiv 2409.10516](https://arxiv.org/abs/2409.10516)).
#
# ## Reversible layers
#
# **Does a reversible model learn as well?** The talk says it is on par. Five seeds of chapter 03,
# and the memory of the million tokens above at other depths:

# %%
compared = recorded("reversible_bleu")["reversible_less_plain"]
low, high = compared["interval_95"]
print(f"reversible less plain: {compared['mean']:+.2f} BLEU, 95 % interval {low:+.2f} to {high:+.2f}")
depths = million["temporary_gib_by_depth"]
print(", ".join(f"{n} layers: {gib:.2f} GiB" for n, gib in depths.items()))
assert low < 0 < high
assert depths["24"] < 1.05 * depths["2"]

# %% [markdown]
# ▸ Five seeds show no difference in quality, nor would they show one of a BLEU point. And twelve
# times the depth costs four per cent more temporary memory.
#
# **It is true, and it is not used.** We know of no large language model in daily use that is
# trained reversibly; most people keep checkpoints and compute the rest anew, which works for any
# network. Research goes on: *BDIA* is exact to the bit ([arXiv
# 2407.09093](https://arxiv.org/abs/2407.09093)), *MEFT* makes pretrained models reversible by
# adapters ([arXiv 2306.00477](https://arxiv.org/abs/2306.00477)), *Reversing Large Language Models*
# converts them whole ([arXiv 2512.02056](https://arxiv.org/abs/2512.02056)). The loss in chunks,
# the Reformer's other saving, did come into use: *Cut Cross-Entropy* reports 1 MB where 24 GB were
# ([arXiv 2411.09009](https://arxiv.org/abs/2411.09009)).
#
# ## Sparsity
#
# **Of all its parameters, how many does a model use for one token?** That is its *active share*.
# The dashed line is ours: the Terraformer of 10 billion parameters of chapter 12, all three parts
# sparse, counted.

# %%
whole = {row["who"]: row for row in recorded("decoding")["whole"]["rows"]}
terraformer, dense = whole["both, sparse readout"], whole["dense"]
ours = terraformer["weights_read"] / terraformer["parameters"]
plots.show(
    pictures.draw_shares(ours=ours),
    "The share of its parameters that a model uses for a token, by date, on a logarithmic axis: "
    "Mixtral 28 % in January 2024, DeepSeek-V2 9 %, DeepSeek-V3 5.5 %, Llama 4 Maverick, gpt-oss-120b "
    "and Kimi K2 between 3 and 5 % in 2025, DeepSeek-V4-Pro 3.1 % in 2026; the dense Llama 3.1 uses all "
    "of them. A dashed line at 1.8 % is the course's Terraformer of 10 billion parameters.",
)
display(Markdown(numbers.table(numbers.SHARES, "Used", ".1%")))
used = {one.name: one.value for one in numbers.SHARES}
assert round(ours, 3) == 0.018
assert ours < min(used.values())
assert used["DeepSeek-V4-Pro"] < used["DeepSeek-V3"] < used["DeepSeek-V2"] < used["Mixtral 8x7B"]

# %% [markdown]
# ▸ A dense model uses all of them. Of the mixtures of experts in this table Mixtral used 27.7 % in
# January 2024, and those since December of that year use 5.5 % and less.
#
# **It came true, in coarser pieces.** Mixtures of experts choose whole layers where the Terraformer
# chooses single units, for the sake of graphics cards, and they share out feed-forward layers only:
# sparse QKV was taken up by nobody we know of. They have come near to the Terraformer's share. For
# single units, *Deja Vu* fitted a controller to a finished OPT-175B and made it over twice as fast
# ([arXiv 2310.17157](https://arxiv.org/abs/2310.17157)); *Sparser, Faster, Lighter* trains models
# with over 99 % of the inner activations at zero ([arXiv
# 2603.23198](https://arxiv.org/abs/2603.23198)).
#
# And quality? Three seeds each, at the size of a toy:

# %%
for name, variant in recorded("sparse_quality")["variants"].items():
    more = variant["more_than_dense"]
    low, high = more["interval_95"]
    print(f"{name:22}{more['mean']:+.3f} bits per byte more than dense ({low:+.3f} to {high:+.3f})")
    assert more["mean"] < 0.1

# %% [markdown]
# Sparse feed-forward layers alone cost less than a tenth of a bit, more with larger blocks. The
# models with sparse QKV are ahead, probably by its convolutions (a guess, see chapter 12). What it
# is at the paper's size we have not measured.
#
# ## CPUs
#
# A token needs the weights that it reads, so on a CPU the bytes decide. **How many times fewer
# bytes does the Terraformer of 10 billion read than the dense model of its size?**

# %%
weights = dense["weights_read"] / terraformer["weights_read"]
fewer = dense["bytes_read"] / terraformer["bytes_read"]
faster = dense["seconds"] / terraformer["seconds"]
print(f"{weights:.0f} times fewer weights, {fewer:.0f} times fewer bytes, {faster:.0f} times faster")
print(f"dense, in eight bits: {dense['gb_per_second']:.0f} GB/s of its weights")
assert weights > 50
assert fewer > 15

# %% [markdown]
# ▸ 20 times. (Bytes fall less than weights, since parts of the sparse model are kept in more bits.)
# The dense opponent is ours, in eight bits and in JAX, and reads its weights slower than the memory
# could; a faster one would narrow the gap.
#
# **It came true, through bits first and sparsity second.** *T-MAC* looks products of weights of a
# few bits up in tables ([arXiv 2407.00088](https://arxiv.org/abs/2407.00088)). And
# [KTransformers](https://github.com/kvcache-ai/ktransformers/blob/main/doc/en/DeepseekR1_V3_tutorial.md)
# (February 2025) reports 8.7 to 13.7 tokens a second for DeepSeek's 671 billion parameters on two
# Xeons with one graphics card: four bits, and 5.5 % of them at a time.
#
# ## Fine-tuning for everyone
#
# The talk's table ends with a zero: BERT-Large cannot be tuned on 12 GB beyond 320 tokens. **What
# does a step of a model of 135 million parameters take in full, and what with everything of chapter
# 13?**

# %%
tuning = recorded("fine_tuning")
mib = {name: step["mib"]["together"] for name, step in tuning["step"].items()}
print(f"in full, Adam: {mib['full, all kept']:,.0f} MiB")
print(f"adapters on eight bits, checkpoints, a loss in chunks: {mib['int8']:,.0f} MiB")
for name, run in tuning["runs"].items():
    nats = run["held_out_nats"]
    last = max(nats, key=int)
    print(f"{name}: {nats['0']:.2f} nats a token held out, {nats[last]:.2f} after {last} steps")
    assert nats[last] < nats["0"]
assert mib["int8"] < mib["full, all kept"] / 8

# %% [markdown]
# ▸ In full 3,408 MiB, with everything 354.
#
# **It came true, and by an idea that the talk does not have**: freeze the model and train a small
# change of it. *QLoRA* tunes 65 billion parameters on one card of 48 GB ([arXiv
# 2305.14314](https://arxiv.org/abs/2305.14314)); *MeZO* needs forward passes only, and tunes 30
# billion on one card of 80 GB ([arXiv 2305.17333](https://arxiv.org/abs/2305.17333)). The talk's
# means are what is left to do then: with adapters alone the activations stay (chapter 13).
#
# ## Six promises
#
# ▸ Four came true, mostly by other means than the talk's. Hashing lives where caches are read, and
# reversible layers in research:
#
# | | Came true? | By what | Our measurements say |
# |---|---|---|---|
# | a million tokens | yes | blocks, machines, learned choice | the talk's means do it, on one machine |
# | hashing | where caches are read | learned indices, in training | far away yes, for nearby text no |
# | reversible layers | in research | checkpoints, in daily use | no difference seen, depth is free |
# | sparsity | yes | experts | 1.8 % of the weights; quality: small models only |
# | CPUs | yes | few bits, then experts | over 15 times fewer bytes |
# | fine-tuning | yes | frozen models, adapters, few bits | a step in less than an eighth of the memory |
#
# The ideas lasted better than the mechanisms. *Look at few keys*, *read few weights*, *compute anew
# what you need not keep*: all three are in daily use. The hash, the controller and the two streams
# are one way each to do it, and one in which you could see every step.
#
# ## Where to go next
#
# - [How To Scale Your Model](https://jax-ml.github.io/scaling-book/): what this course counts for
#   one device, counted for many; one of its authors, Anselm Levskaya, is one of the talk's.
# - T. Dao et al., *FlashAttention* ([arXiv 2205.14135](https://arxiv.org/abs/2205.14135)): exact
#   attention in blocks, seen from the memory of a graphics card.
# - H. Liu et al., *Ring Attention* ([arXiv 2310.01889](https://arxiv.org/abs/2310.01889)): the
#   same, with the text spread over machines; `efftx.attention.ring_attention` has it in short.
# - *Native Sparse Attention* ([arXiv 2502.11089](https://arxiv.org/abs/2502.11089)): how to learn
#   which keys to read, at the speed of hardware.
# - *MagicPIG* ([arXiv 2410.16179](https://arxiv.org/abs/2410.16179)): what LSH is still best at.
# - *Mixtral of Experts* ([arXiv 2401.04088](https://arxiv.org/abs/2401.04088)): a mixture of
#   experts on a few pages, and then *DeepSeek-V3* ([arXiv
#   2412.19437](https://arxiv.org/abs/2412.19437)) on many.
# - *Deja Vu* ([arXiv 2310.17157](https://arxiv.org/abs/2310.17157)): a controller for a model that
#   was never trained with one.
# - *QLoRA* ([arXiv 2305.14314](https://arxiv.org/abs/2305.14314)): four bits and adapters, with the
#   details that chapter 13 leaves out.
# - *OOMB* ([arXiv 2602.02108](https://arxiv.org/abs/2602.02108)): the talk's picture of one device
#   and a very long text, five years on.
# - And the two papers of the talk, which you can now read in an evening: *Reformer* ([arXiv
#   2001.04451](https://arxiv.org/abs/2001.04451)) and *Sparse is Enough in Scaling Transformers*
#   ([arXiv 2111.12763](https://arxiv.org/abs/2111.12763)).
#
# ## All words, all formulas
#
# Two pages to print: [the course's words](../docs/glossary.md) and [its
# formulas](../docs/formulas.md), made from one list. Each formula can be asked:

# %%
from efftx import terms

display(Markdown(terms.formula_sheet(chapters=".")))
scores = next(one for one in terms.formulas() if one.what.startswith("scores that exact"))
print(f"{scores.formula} at a million tokens: {scores.value(n_heads=1, L=2**20) / 1e12:.1f} TB")
assert len(terms.TERMS) > 40

# %% [markdown]
# ## Ten questions
#
# The last ones. Each answer is computed when you ask for it, by the same functions that the
# chapters used; a few per cent beside it is right. Take paper, not the package. (Boxes need a
# running kernel; `quiz.grade(1, 12.5)` does the same without.)

# %%
from efftx.check import quiz

for n in range(1, len(quiz.QUESTIONS) + 1):
    quiz.ask(n)

# %% [markdown]
# Ten of ten? Then you can say, of a model that nobody has built yet, what it will take. That was
# the talk's real point, and this course's.
#
# ## Sources
#
# Those of the pictures stand in the tables below them, those of the claims beside them; what is
# known "to us" is as of November 2026. The talk is "Efficient Transformers" by Kaiser, Kitaev,
# Levskaya and colleagues. Chapters [03](03_reversible_layers.ipynb) to [12](12_terraformer.ipynb)
# say more of each promise under "Then and now".
