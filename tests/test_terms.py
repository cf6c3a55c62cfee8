"""The list of words and formulas: the pages are made of it, and the package counts as it says."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx import terms
from efftx.memory import init_low_rank, quantize_blockwise, quantize_four_bits
from efftx.memory.bert import bert_large
from efftx.memory.flops import forward_flops, step_flops
from efftx.memory.ledger import BLOCK_LEN, Step, activation_bytes, state_bytes, working_bytes
from efftx.models import Sizes, prefill, transformer
from efftx.results import recorded
from efftx.sparsity import n_dense_attention, n_dense_feed_forward, n_sparse_qkv, widened_d_ff
from tools import sheets
from tools.course import ROOT, load

BY_NAME = {one.what: one for one in terms.formulas()}
SIZES = {"d_model": 256, "d_ff": 1024, "n_heads": 4, "d_head": 64, "vocab": 256, "length": 4096}
STEP = Step(n_layers=3, **SIZES)
L, D, D_FF, VOCAB = STEP.length, STEP.d_model, STEP.d_ff, STEP.vocab
IN_PRODUCTS = STEP.n_layers * (4 * D * D + 2 * D * D_FF) + D * VOCAB  # weights


def the(start: str) -> terms.Formula:
    """The one formula whose description starts so."""
    (found,) = (one for what, one in BY_NAME.items() if what.startswith(start))
    return found


def of_a_layer(count, step: Step) -> int:
    """What one layer more adds."""
    return count(replace(step, n_layers=step.n_layers + 1)) - count(step)


def attention_flops(**attention) -> int:
    """Of one layer: what does not grow with its weights."""
    step = replace(STEP, **attention)
    n_projections = 4 if step.attention in ("full", "blocked") else 3
    return of_a_layer(forward_flops, step) - 2 * L * (n_projections * D * D + 2 * D * D_FF)


def test_the_pages_are_in_step():
    for page, text in sheets.pages().items():
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: run `make notebooks`"


def test_a_page_that_is_behind_is_brought_in_step(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/glossary.md").write_text("old")
    sheets.update(tmp_path)
    assert all(page.read_text(encoding="utf-8") == text for page, text in sheets.pages().items())
    assert (tmp_path / "docs/glossary.md").read_text(encoding="utf-8") == terms.glossary()


def test_both_pages_hold_the_whole_list():
    glossary, sheet = terms.glossary(), terms.formula_sheet()
    assert len(terms.TERMS) > 40
    assert all(f"| **{t.word}** | {t.meaning} |" in glossary for t in terms.TERMS)
    assert all(f"`{f.formula}` | {f.example} |" in sheet for f in terms.formulas())
    assert len(sheet.splitlines()) <= 45  # a page


def test_no_word_and_no_formula_stands_twice():
    words = [term.word for term in terms.TERMS]
    assert len(set(words)) == len(words)
    assert len(BY_NAME) == len(terms.formulas())


@pytest.mark.parametrize("term", terms.TERMS, ids=lambda term: term.word)
def test_a_word_stands_in_the_chapter_that_explains_it(term):
    text = load().source("chapters", term.chapter).read_text(encoding="utf-8").lower()
    names = re.sub(r" \(.*\)", "", term.word.lower()).split(", ")
    assert all(name in re.sub(r"\n# ", " ", text) for name in names)


def test_links_lead_to_chapters():
    """Those on the list, whether they are built yet or not."""
    course = load()
    planned = {course.notebook("chapters", chapter.stem) for chapter in course.chapters}
    links = re.findall(r"\]\((.*?)\)", terms.glossary() + terms.formula_sheet())
    assert len(links) == len(terms.TERMS) + len(terms.formulas())
    assert {(ROOT / "docs" / link).resolve() for link in links} <= planned


@pytest.mark.parametrize("sizes", [{}, {"n": 1, "m": 2}, {"m": 1}])
def test_other_sizes_are_refused_in_words(sizes):
    with pytest.raises(ValueError, match="the formula needs n; got"):
        the("weights, gradients").value(**sizes)


def test_bytes_of_a_step():
    bert = bert_large(512)
    n, state = bert.parameters, sum(state_bytes(bert).values())
    assert the("weights, gradients").value(n=n) == state
    eight = recorded("eight_bit_adam")["runs"][1]["moment_bytes_per_parameter"]
    assert the("the same, the means").value(n=1) == pytest.approx(8 + eight, rel=1e-3)
    assert the("scores that exact").value(n_heads=4, L=L) == of_a_layer(
        lambda step: activation_bytes(step)["attention scores"], STEP
    )
    assert the("activations that").value(L=L, d_ff=D_FF) == of_a_layer(
        lambda step: activation_bytes(step)["feed-forward"], STEP
    )
    reversible = replace(STEP, reversible=True)
    assert the("the two streams").value(L=L, d=D) == activation_bytes(reversible)["streams"]
    wider = replace(STEP, vocab=VOCAB + 1)
    more, less = (activation_bytes(step)["readout and loss"] for step in (wider, STEP))
    assert the("logits of").value(L=L, vocab=1) == more - less
    large = replace(STEP, vocab=10**6, loss_chunk_len=128, attention="lsh")
    assert the("logits and").value(c=128, vocab=10**6) == working_bytes(large)


def test_bytes_of_frozen_and_of_small_things():
    matrix = jnp.zeros((64, 512))
    assert the("n numbers in eight").value(n=matrix.size) == quantize_blockwise(matrix).nbytes
    assert the("n numbers in four").value(n=matrix.size) == quantize_four_bits(matrix).nbytes
    adapter = init_low_rank(jax.random.key(0), matrix, rank=8)
    n_bytes = adapter.a.nbytes + adapter.b.nbytes
    assert the("an adapter").value(r=8, d_in=64, d_out=512) == n_bytes


def test_the_cache_of_a_layer():
    sizes = Sizes(n_layers=1, d_model=32, d_ff=64, n_heads=2, d_head=16, max_len=8, vocab=16)
    model = transformer(jax.random.key(0), sizes)
    _, state = jax.eval_shape(partial(prefill, capacity=8), model, jnp.arange(4))
    n_bytes = sum(4 * x.size for x in jax.tree.leaves(state.caches))
    assert the("the cache").value(L=8, d=32) == n_bytes


def test_flops():
    scores = 3 * STEP.n_layers * attention_flops()
    assert the("a training step").value(n=IN_PRODUCTS, L=L) == step_flops(STEP) - scores
    again = step_flops(replace(STEP, reversible=True)) - step_flops(STEP)
    of_stack = IN_PRODUCTS - D * VOCAB
    extra = the("the same of a rev").value(n=of_stack, L=L) - the("a training").value(
        n=of_stack, L=L
    )
    assert again == extra + STEP.n_layers * attention_flops()
    assert the("scores and their").value(L=L, d=D) == attention_flops()
    blocked = the("the same, causal").value(L=L, b=BLOCK_LEN, d=D)
    assert blocked == attention_flops(attention="blocked")
    hashed = attention_flops(attention="lsh", n_hashes=4, lsh_chunk_len=64)
    assert the("the same, R rounds").value(L=L, R=4, m=64, d=D) == hashed


def test_weights_read():
    """By the functions that count, and by what the benchmark of decoding counted."""
    assert the("attention, dense").value(d=D) == n_dense_attention(D)
    assert the("sparse QKV").value(d=1024, S=16) == n_sparse_qkv(1024, 16)
    assert the("feed-forward layer").value(d=D, d_ff=D_FF) == n_dense_feed_forward(D, D_FF)
    medium = {row["who"]: row["weights_read"] for row in recorded("decoding")["medium"]["rows"]}
    dense = the("feed-forward layer").value(d=1024, d_ff=4096)
    sparse = the("sparse, one unit").value(d=1024, d_ff=4096, N=64, r=16)
    assert 24 * (dense - sparse) == medium["dense"] - medium["sparse feed-forward"]
    whole = the("readout, dense").value(d=1024, vocab=32_000)
    modules = the("readout, mult").value(d=1024, S=4, vocab=32_000)
    assert whole - modules == medium["both"] - medium["both, sparse readout"]


def test_other_counts():
    assert the("buckets").value(L=4096, m=64) * 64 == 2 * 4096
    met = np.random.default_rng(0).random((100_000, 8)) < 0.2
    chance = the("chance").value(p=0.2, R=8)
    assert chance == pytest.approx(met.any(1).mean(), abs=0.005)
    wanted = np.random.default_rng(1).integers(64, size=(20_000, 64)) == 0
    assert the("share of the units").value(N=64, B=64) == pytest.approx(
        wanted.any(1).mean(), abs=0.01
    )
    ours = widened_d_ff(1024, 4096, n_modules=16, n_units=64, d_lowrank=16)
    assert the("d_ff that").value(d_ff=4096, d=1024) == pytest.approx(ours, rel=0.05)
